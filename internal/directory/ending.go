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
	Change       int64
	FormerScript FormerScript
}

// FormerScript is what becomes of a former holder's script, which must not file the messages of whoever has the address now.
type FormerScript int

const (
	// ScriptEnded is not active, or never was.
	ScriptEnded FormerScript = iota
	// ScriptActive is still to be deactivated.
	ScriptActive
	// ScriptEndedThere was deactivated by another site, and is active here until a sync brings that.
	ScriptEndedThere
)

// Ending are the mailboxes whose open sessions have rights of before. They are written with the change itself: an engine that dies between
// the change and the end of the sessions ends them when it is back.
func (d *Directory) Ending(ctx context.Context) (map[string]End, error) {
	rows, err := d.db.QueryContext(ctx, `SELECT address, change, reopened FROM ending`)
	if err != nil {
		return nil, fmt.Errorf("listing whose sessions have to end: %w", err)
	}
	type due struct {
		address string
		end     End
	}
	list, err := collect(rows, func(rows *sql.Rows) (e due, err error) {
		return e, rows.Scan(&e.address, &e.end.Change, &e.end.FormerScript)
	})
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

// FormerScript is what becomes of the former holder's script of a mailbox.
func (d *Directory) FormerScript(ctx context.Context, address string) (former FormerScript, err error) {
	if err := d.db.QueryRowContext(ctx, readFormerScript, strings.ToLower(address)).Scan(&former); err != nil {
		return former, fmt.Errorf("reading whose script %s has: %w", address, err)
	}
	return former, nil
}

// ScriptsDeactivated notes that the scripts of mailboxes were deactivated: what is activated from now on is the next holder's.
func (d *Directory) ScriptsDeactivated(ctx context.Context, addresses []string) error {
	for _, address := range addresses {
		if _, err := d.db.ExecContext(ctx, `UPDATE ending SET reopened = 0 WHERE address = ?`, address); err != nil {
			return fmt.Errorf("noting that the scripts of %s are deactivated: %w", address, err)
		}
	}
	return nil
}

// dropEnding forgets of a mailbox that is closed that the other site was to end its former holder's script: if its word does not come, this site
// would end the script itself, and take it from whoever has the mailbox over there.
func dropEnding(ctx context.Context, tx *transaction, address string) error {
	if _, err := tx.ExecContext(ctx, dropEndedThere, address, ScriptEndedThere); err != nil {
		return fmt.Errorf("noting that the script of %s is not this site's to end: %w", address, err)
	}
	return nil
}

// noteEnding adds a mailbox to Ending, by a new change: none is taken for one that was carried out.
func noteEnding(ctx context.Context, tx *transaction, address string, former FormerScript) error {
	address = strings.ToLower(address)
	if _, err := tx.ExecContext(ctx, storeEnding, address, former); err != nil {
		return fmt.Errorf("noting that the sessions of %s have to end: %w", address, err)
	}
	return nil
}
