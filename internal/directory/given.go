package directory

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// putGiven stores what a mailbox's resource gives its holder, and says whether a session that is open may do more than he may now: it
// manages scripts, which are rules. admin.ErrNotFound if there is no such mailbox.
func putGiven(ctx context.Context, tx *transaction, address string, h admin.Given) (fewer bool, err error) {
	address = strings.ToLower(address)
	raw, err := json.Marshal(h)
	if err != nil {
		return false, fmt.Errorf("encoding what the holder of %s is given: %w", address, err)
	}
	var stored string
	err = tx.QueryRowContext(ctx, readGiven, address).Scan(&stored)
	if errors.Is(err, sql.ErrNoRows) {
		return false, fmt.Errorf("mailbox %s: %w", address, admin.ErrNotFound)
	}
	if err != nil {
		return false, fmt.Errorf("reading what the holder of %s is given: %w", address, err)
	}
	var before admin.Given
	_ = json.Unmarshal([]byte(stored), &before) // what cannot be read let nobody in
	result, err := tx.ExecContext(ctx, storeGiven, string(raw), address)
	if err != nil {
		return false, fmt.Errorf("storing what the holder of %s is given: %w", address, err)
	}
	return slices.Contains(before.MayChange, admin.ChoiceRules) && !slices.Contains(h.MayChange, admin.ChoiceRules), one(result, address)
}

// Given reads it. admin.ErrNotFound if there is no such mailbox.
func (d *Directory) Given(ctx context.Context, address string) (h admin.Given, err error) {
	address = strings.ToLower(address)
	var raw string
	err = d.db.QueryRowContext(ctx, readGiven, address).Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) {
		return h, fmt.Errorf("mailbox %s: %w", address, admin.ErrNotFound)
	}
	if err == nil {
		err = json.Unmarshal([]byte(raw), &h)
	}
	if err != nil {
		return h, fmt.Errorf("reading what the holder of %s is given: %w", address, err)
	}
	return h, nil
}

// Held is all that the directory holds of a mailbox. What of Given cannot be read is nothing: whoever compares puts it again.
type Held struct {
	admin.Mailbox // with its password
	Given         admin.Given
}

const heldQuery = `SELECT ` + mailboxColumns + `, password, given FROM mailbox`

// Held reads it. admin.ErrNotFound if there is no such mailbox.
func (d *Directory) Held(ctx context.Context, address string) (Held, error) {
	address = strings.ToLower(address)
	h, err := scanHeld(d.db.QueryRowContext(ctx, readHeld, address))
	if errors.Is(err, sql.ErrNoRows) {
		return h, fmt.Errorf("mailbox %s: %w", address, admin.ErrNotFound)
	}
	if err != nil {
		return h, fmt.Errorf("reading mailbox %s: %w", address, err)
	}
	return h, nil
}

// HeldAll reads it of every mailbox.
func (d *Directory) HeldAll(ctx context.Context) ([]Held, error) {
	rows, err := d.db.QueryContext(ctx, heldQuery)
	if err != nil {
		return nil, fmt.Errorf("listing mailboxes: %w", err)
	}
	return collect(rows, func(rows *sql.Rows) (Held, error) { return scanHeld(rows) })
}

func scanHeld(row interface{ Scan(...any) error }) (h Held, err error) {
	var password, given string
	h.Mailbox, err = scanMailbox(row, &password, &given)
	h.Password = password
	if json.Unmarshal([]byte(given), &h.Given) != nil {
		h.Given = admin.Given{}
	}
	return h, err
}

// Version changes whenever somebody else than this Directory has changed the database.
func (d *Directory) Version(ctx context.Context) (n int64, err error) {
	if err := d.db.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&n); err != nil {
		return 0, fmt.Errorf("reading the version of the directory: %w", err)
	}
	return n, nil
}

// Password is the hash that a mailbox's logins are checked with. admin.ErrNotFound if there is no such mailbox.
func (d *Directory) Password(ctx context.Context, address string) (hash string, err error) {
	err = d.db.QueryRowContext(ctx, `SELECT password FROM mailbox WHERE address = ?`, strings.ToLower(address)).Scan(&hash)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("mailbox %s: %w", address, admin.ErrNotFound)
	}
	if err != nil {
		return "", fmt.Errorf("reading the password of %s: %w", address, err)
	}
	return hash, nil
}

// SetPassword makes a hash that the holder chose the mailbox's password.
func (d *Directory) SetPassword(ctx context.Context, address, hash string) error {
	return d.password(ctx, address, hash, true)
}

// ResetPassword makes a hash that came with the resource the mailbox's password again.
func (d *Directory) ResetPassword(ctx context.Context, address, hash string) error {
	return d.password(ctx, address, hash, false)
}

func (d *Directory) password(ctx context.Context, address, hash string, byHolder bool) error {
	address = strings.ToLower(address)
	if !passwordForm.MatchString(hash) {
		return fmt.Errorf("mailbox %s: %w: no hash of a password", address, ErrInvalid)
	}
	tx, err := d.db.begin(ctx)
	if err != nil {
		return fmt.Errorf("storing the password of %s: %w", address, err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it has nothing to do
	result, err := tx.ExecContext(ctx, `UPDATE mailbox SET password = ?, password_changed = ? WHERE address = ?`, hash, byHolder, address)
	if err != nil {
		return fmt.Errorf("storing the password of %s: %w", address, err)
	}
	if err := errors.Join(one(result, address), endSessions(ctx, tx, address, false)); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("storing the password of %s: %w", address, err)
	}
	return nil
}

func one(result sql.Result, address string) error {
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return fmt.Errorf("mailbox %s: %w", address, admin.ErrNotFound)
}
