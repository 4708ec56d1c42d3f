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
	return slices.Contains(before.MayChange, admin.ChoiceRules) && !slices.Contains(h.MayChange, admin.ChoiceRules), foundOne(result, address)
}

// Given is what the holder of a mailbox is given. admin.ErrNotFound if there is no such mailbox.
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
