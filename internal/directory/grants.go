package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// maxGrant bounds the addresses of one grant. A retention policy's job has every mailbox of a domain, and its plan, a ConfigMap, has
// room for about five thousand.
const maxGrant = 8192

// PutGrant replaces what a job may do with the stores of mailboxes. Grants that ended are forgotten.
func (d *Directory) PutGrant(ctx context.Context, job string, g admin.Grant, now time.Time) error {
	if len(g.Addresses) > maxGrant {
		return fmt.Errorf("grant of %s: %w: more than %d addresses", job, ErrInvalid, maxGrant)
	}
	tx, err := d.db.begin(ctx)
	if err != nil {
		return fmt.Errorf("storing the grant of %s: %w", job, err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it has nothing to do
	_, err = tx.ExecContext(ctx, `DELETE FROM job_grant WHERE job = ? OR until <= ?`, job, now.Unix())
	for _, address := range slices.Compact(slices.Sorted(slices.Values(g.Addresses))) {
		if err == nil {
			_, err = tx.ExecContext(ctx, `INSERT INTO job_grant (job, address, writes, until) VALUES (?, ?, ?, ?)`, job, strings.ToLower(address), g.Write, g.Until.Unix())
		}
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return fmt.Errorf("storing the grant of %s: %w", job, err)
	}
	return nil
}

// Granted says whether a job may read the store of a mailbox now, and whether it may write there.
func (d *Directory) Granted(ctx context.Context, job, address string, now time.Time) (read, write bool, err error) {
	err = d.db.QueryRowContext(ctx, `SELECT writes FROM job_grant WHERE job = ? AND address = ? AND until > ?`,
		job, strings.ToLower(address), now.Unix()).Scan(&write)
	if errors.Is(err, sql.ErrNoRows) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("reading the grant of %s: %w", job, err)
	}
	return true, write, nil
}
