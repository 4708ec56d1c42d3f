package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/pec-operator/pec-operator/internal/admin"
)

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
	if err := errors.Join(foundOne(result, address), noteEnding(ctx, tx, address, ScriptEnded)); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("storing the password of %s: %w", address, err)
	}
	return nil
}
