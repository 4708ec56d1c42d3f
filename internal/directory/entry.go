package directory

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// Entry is all that the directory holds of a mailbox. What of Given cannot be read is nothing: whoever compares puts it again.
type Entry struct {
	admin.Mailbox // with its password
	Given         admin.Given
}

const entryQuery = `SELECT ` + mailboxColumns + `, password, given FROM mailbox`

// Entry is all of one mailbox. admin.ErrNotFound if there is no such mailbox.
func (d *Directory) Entry(ctx context.Context, address string) (Entry, error) {
	address = strings.ToLower(address)
	e, err := scanEntry(d.db.QueryRowContext(ctx, readEntry, address))
	if errors.Is(err, sql.ErrNoRows) {
		return e, fmt.Errorf("mailbox %s: %w", address, admin.ErrNotFound)
	}
	if err != nil {
		return e, fmt.Errorf("reading mailbox %s: %w", address, err)
	}
	return e, nil
}

// Entries is all of every mailbox.
func (d *Directory) Entries(ctx context.Context) ([]Entry, error) {
	rows, err := d.db.QueryContext(ctx, entryQuery)
	if err != nil {
		return nil, fmt.Errorf("listing mailboxes: %w", err)
	}
	return collect(rows, func(rows *sql.Rows) (Entry, error) { return scanEntry(rows) })
}

func scanEntry(row interface{ Scan(...any) error }) (e Entry, err error) {
	var password, given string
	e.Mailbox, err = scanMailbox(row, &password, &given)
	e.Password = password
	if json.Unmarshal([]byte(given), &e.Given) != nil {
		e.Given = admin.Given{}
	}
	return e, err
}
