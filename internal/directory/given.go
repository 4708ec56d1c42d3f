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

// putGiven stores what the holder of a mailbox that is there is given.
func putGiven(ctx context.Context, tx *transaction, address string, g admin.Given) error {
	raw, err := encodeGiven(address, g)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, storeGiven, raw, address); err != nil {
		return fmt.Errorf("storing what the holder of %s is given: %w", address, err)
	}
	return nil
}

func encodeGiven(address string, g admin.Given) (string, error) {
	raw, err := json.Marshal(g)
	if err != nil {
		return "", fmt.Errorf("encoding what the holder of %s is given: %w", address, err)
	}
	return string(raw), nil
}

// losesScripts says whether an open session may still manage scripts, which are rules, where its holder no longer may.
func losesScripts(before, now admin.Given) bool {
	return slices.Contains(before.MayChange, admin.ChoiceRules) && !slices.Contains(now.MayChange, admin.ChoiceRules)
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
