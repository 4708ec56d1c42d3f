package directory

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Ending are the mailboxes whose open sessions have rights of before, each with its last change. They are written with the change
// itself: an engine that dies between the change and the end of the sessions ends them when it is back.
func (d *Directory) Ending(ctx context.Context) (map[string]int64, error) {
	rows, err := d.db.QueryContext(ctx, `SELECT address, change FROM ending`)
	if err != nil {
		return nil, fmt.Errorf("listing whose sessions have to end: %w", err)
	}
	type due struct {
		address string
		change  int64
	}
	list, err := collect(rows, func(rows *sql.Rows) (e due, err error) { return e, rows.Scan(&e.address, &e.change) })
	ending := map[string]int64{}
	for _, e := range list {
		ending[e.address] = e.change
	}
	return ending, err
}

// Ended forgets those of Ending whose sessions ended. A mailbox that was changed meanwhile stays.
func (d *Directory) Ended(ctx context.Context, ended map[string]int64) error {
	if len(ended) == 0 {
		return nil
	}
	tx, err := d.db.begin(ctx)
	if err != nil {
		return fmt.Errorf("noting whose sessions ended: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it has nothing to do
	for address, change := range ended {
		if _, err := tx.ExecContext(ctx, `DELETE FROM ending WHERE address = ? AND change = ?`, address, change); err != nil {
			return fmt.Errorf("noting that the sessions of %s ended: %w", address, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("noting whose sessions ended: %w", err)
	}
	return nil
}

// endSessions adds a mailbox to Ending. A change is a number that no other has, so that none is taken for one that was carried out.
func endSessions(ctx context.Context, tx *transaction, address string) error {
	address = strings.ToLower(address)
	if _, err := tx.ExecContext(ctx, storeEnding, address); err != nil {
		return fmt.Errorf("noting that the sessions of %s have to end: %w", address, err)
	}
	return nil
}
