package retention

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/store"
)

// source is what is asked of a store to archive from it; *store.Client is one.
type source interface {
	Folders(ctx context.Context, address string) ([]store.Folder, error)
	Messages(ctx context.Context, address, folder string, after uint32) ([]store.Message, error)
	Open(ctx context.Context, address, folder string, uid uint32) (io.ReadCloser, error)
}

// Task is the work on one mailbox.
type Task struct {
	Address string
	Rule    Rule
	// Day is the day of the run that this is part of, whenever it happens.
	Day time.Time
	// Removal says what to count as due; nil counts nothing.
	Removal *Removal
	// Work is a directory for the journal.
	Work string
}

// Result is what became of the work on one mailbox.
type Result struct {
	Address  string    `json:"address"`
	Messages int64     `json:"messages"` // in the archive, with those of earlier runs
	Archived int64     `json:"archived"` // by this run
	Packages []Sealed  `json:"packages,omitempty"`
	Due      DueResult `json:"due,omitzero"`
	// Reviewed says that another site archives it: here only Due was made.
	Reviewed bool `json:"reviewed,omitempty"`
}

// Sealed is a package that was written, read back and found whole.
type Sealed struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// DueResult is a list of what would be removed.
type DueResult struct {
	Count  int64  `json:"count"`
	Digest string `json:"digest"`
}

// Archive does the work on one mailbox. Ended at any point and begun again, it does what is left; done twice, it does nothing.
func Archive(ctx context.Context, from source, to Place, t Task) (Result, error) {
	result := Result{Address: t.Address}
	archived, err := Catalogue(ctx, to, t.Address)
	if err != nil {
		return result, err
	}
	scan := &scan{source: from, task: t, done: map[string]bool{}, uids: map[string]uint32{}}
	for _, a := range archived {
		scan.done[journalKey(a.Folder, a.GUID)] = true
	}
	journal, err := openJournal(filepath.Join(t.Work, strings.ReplaceAll(t.Address, "/", "_")+".journal"))
	if err != nil {
		return result, err
	}
	defer journal.close() //nolint:errcheck // what it lost is read again
	candidates, err := scan.read(ctx, journal)
	if err != nil {
		return result, err
	}
	for _, chunk := range packageLimits.chunks(Select(candidates, t.Rule)) {
		sealed, err := pack(ctx, scan, to, NewPackage(t.Address, t.Rule.Before, chunk))
		if err != nil {
			return result, err
		}
		result.Packages = append(result.Packages, sealed)
		result.Archived += int64(len(chunk))
		for _, m := range chunk {
			archived = append(archived, Archived{Message: m, Day: dayStart(t.Day), Package: sealed.Name})
		}
	}
	result.Messages = int64(len(archived))
	if t.Removal != nil {
		if result.Due, err = review(ctx, from, t, archived); err != nil {
			return result, err
		}
	}
	return result, journal.drop()
}

func dayStart(at time.Time) time.Time { return at.UTC().Truncate(24 * time.Hour) }

// pack writes one package, or finds that an earlier try wrote it, and seals it.
func pack(ctx context.Context, scan *scan, to Place, p Package) (Sealed, error) {
	name, err := nameOf(p, scan.task.Day)
	if err != nil {
		return Sealed{}, err
	}
	size, err := p.Size()
	if err != nil {
		return Sealed{}, err
	}
	open := func(m Message) (io.ReadCloser, error) { return scan.open(ctx, m) }
	err = to.Create(ctx, name, size, func(w io.Writer) error { return p.Write(w, open) })
	if err != nil && (!errors.Is(err, fs.ErrExist) || errors.Is(err, errNotLocked)) {
		return Sealed{}, fmt.Errorf("archiving %s: %w", p.Mailbox, err)
	}
	sum, err := seal(ctx, to, name)
	return Sealed{Name: name, SHA256: sum}, err
}

// scan is one look at a mailbox.
type scan struct {
	source source
	task   Task
	done   map[string]bool   // archived, by folder and GUID
	uids   map[string]uint32 // of every message, by folder and GUID
}

// read describes every message that is not archived and may be due, or kin to one that is.
func (s *scan) read(ctx context.Context, j *journal) ([]Message, error) {
	folders, err := s.source.Folders(ctx, s.task.Address)
	if err != nil {
		return nil, fmt.Errorf("listing the folders of %s: %w", s.task.Address, err)
	}
	horizon := s.task.Rule.Before.Add(kinWindow)
	var found []Message
	for _, folder := range folders {
		listed, err := s.source.Messages(ctx, s.task.Address, folder.Name, 0)
		if err != nil {
			return nil, fmt.Errorf("listing a folder of %s: %w", s.task.Address, err)
		}
		for _, l := range listed {
			key := journalKey(folder.Name, l.GUID)
			s.uids[key] = l.UID
			if s.done[key] || !l.Date.Before(horizon) {
				continue
			}
			m, err := s.describe(ctx, j, folder.Name, l)
			switch {
			case errors.Is(err, store.ErrNotFound):
				continue // its holder removed it meanwhile
			case err != nil:
				return nil, err
			}
			found = append(found, m)
		}
	}
	return found, nil
}

func (s *scan) describe(ctx context.Context, j *journal, folder string, l store.Message) (Message, error) {
	if known, ok := j.known[journalKey(folder, l.GUID)]; ok {
		known.Flags = slices.Sorted(slices.Values(l.Flags))
		return known, nil
	}
	body, err := s.source.Open(ctx, s.task.Address, folder, l.UID)
	if err != nil {
		return Message{}, fmt.Errorf("opening a message of %s: %w", s.task.Address, err)
	}
	defer body.Close() //nolint:errcheck // it was only read
	m, err := describe(folder, l, body)
	if err != nil {
		return Message{}, err
	}
	return m, j.add(m)
}

func (s *scan) open(ctx context.Context, m Message) (io.ReadCloser, error) {
	return s.source.Open(ctx, s.task.Address, m.Folder, s.uids[journalKey(m.Folder, m.GUID)])
}
