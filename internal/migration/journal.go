package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/pec-operator/pec-operator/internal/store"
)

// journal remembers which bytes a UID of the source has, so that a later pass need not fetch them again. It is kept with the
// mailbox in our store. Losing it costs time and nothing else: what is copied is known by its GUID.
type journal struct {
	Folders map[string]*folderJournal `json:"folders"` // by the source's name
	unsaved int
}

// folderJournal is one folder's; it counts for one UIDVALIDITY only.
type folderJournal struct {
	UIDValidity uint32            `json:"uidValidity"`
	Digests     map[uint32]string `json:"digests"`
	// Inexact are the UIDs among them whose bytes our store cannot hold.
	Inexact map[uint32]bool `json:"inexact,omitempty"`
}

// journalEvery is how many messages a crash may make a copy fetch again.
const journalEvery = 500

func journalName(migration string) string {
	return "journal-" + strings.ReplaceAll(migration, "/", ".")
}

func readJournal(ctx context.Context, c *store.Client, plan Plan, target string) (*journal, error) {
	j := &journal{Folders: map[string]*folderJournal{}}
	raw, err := c.Record(ctx, target, journalName(plan.Migration))
	if errors.Is(err, store.ErrNotFound) {
		return j, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, j); err != nil || j.Folders == nil {
		return &journal{Folders: map[string]*folderJournal{}}, nil // it only saves time
	}
	return j, nil
}

// of is a folder's journal, empty if the source numbers its messages anew.
func (j *journal) of(folder string, validity uint32) *folderJournal {
	f := j.Folders[folder]
	if f == nil || f.UIDValidity != validity || f.Digests == nil {
		f = &folderJournal{UIDValidity: validity, Digests: map[uint32]string{}}
		j.Folders[folder] = f
	}
	if f.Inexact == nil {
		f.Inexact = map[uint32]bool{}
	}
	return f
}

func (j *journal) save(ctx context.Context, c *store.Client, plan Plan, target string) error {
	if j.unsaved == 0 || plan.DryRun {
		return nil
	}
	raw, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("encoding the journal: %w", err)
	}
	if err := c.PutRecord(ctx, target, journalName(plan.Migration), raw); err != nil {
		return err
	}
	j.unsaved = 0
	return nil
}
