package directory

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// End is what the last change of a mailbox left to be done in Dovecot.
type End struct {
	// Change is a number that no other change has.
	Change int64
	// Closed says that the mailbox was closed: by this change, or by one before it that was not carried out yet. Whoever has the address
	// now must not have his messages filed by the former holder's script.
	Closed bool
}

// Ending are the mailboxes whose open sessions have rights of before. They are written with the change itself: an engine that dies between
// the change and the end of the sessions ends them when it is back.
func (d *Directory) Ending(ctx context.Context) (map[string]End, error) {
	rows, err := d.db.QueryContext(ctx, `SELECT address, change, closed FROM ending`)
	if err != nil {
		return nil, fmt.Errorf("listing whose sessions have to end: %w", err)
	}
	type due struct {
		address string
		end     End
	}
	list, err := collect(rows, func(rows *sql.Rows) (e due, err error) { return e, rows.Scan(&e.address, &e.end.Change, &e.end.Closed) })
	ending := map[string]End{}
	for _, e := range list {
		ending[e.address] = e.end
	}
	return ending, err
}

// Ended forgets those of Ending whose sessions ended. A mailbox that was changed meanwhile stays.
func (d *Directory) Ended(ctx context.Context, ended map[string]End) error {
	if len(ended) == 0 {
		return nil
	}
	tx, err := d.db.begin(ctx)
	if err != nil {
		return fmt.Errorf("noting whose sessions ended: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it has nothing to do
	for address, end := range ended {
		if _, err := tx.ExecContext(ctx, `DELETE FROM ending WHERE address = ? AND change = ?`, address, end.Change); err != nil {
			return fmt.Errorf("noting that the sessions of %s ended: %w", address, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("noting whose sessions ended: %w", err)
	}
	return nil
}

// endSessions adds a mailbox to Ending, by a new change: none is taken for one that was carried out.
func endSessions(ctx context.Context, tx *transaction, address string, closed bool) error {
	address = strings.ToLower(address)
	if _, err := tx.ExecContext(ctx, storeEnding, address, closed); err != nil {
		return fmt.Errorf("noting that the sessions of %s have to end: %w", address, err)
	}
	return nil
}
