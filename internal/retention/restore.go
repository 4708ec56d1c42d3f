package retention

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/store"
)

// Wanted says which messages of a mailbox's archive to restore; the zero value is all.
type Wanted struct {
	SHA256     string    `json:"sha256,omitempty"`
	Identifier string    `json:"identifier,omitempty"` // a message with its receipts
	MessageID  string    `json:"messageID,omitempty"`
	Folder     string    `json:"folder,omitempty"` // with those below it
	From       time.Time `json:"from,omitzero"`    // arrived then or later
	Before     time.Time `json:"before,omitzero"`  // arrived earlier
}

func (w Wanted) is(m Message) bool {
	return (w.SHA256 == "" || w.SHA256 == m.SHA256) &&
		(w.Identifier == "" || w.Identifier == m.Identifier) &&
		(w.MessageID == "" || w.MessageID == m.MessageID) &&
		(w.Folder == "" || within(m.Folder, w.Folder)) &&
		!m.Date.Before(w.From) && (w.Before.IsZero() || m.Date.Before(w.Before))
}

// Sink takes restored messages. It only adds: what it holds already stays as it is.
type Sink interface {
	// Put adds a message; copyOf counts the equal messages of the same folder before it. It answers whether it was there.
	Put(ctx context.Context, m Message, copyOf int, body io.Reader) (existed bool, err error)
}

// Restored counts what a restore did.
type Restored struct {
	Added   int
	Existed int
}

// Restore gives the wanted messages of a mailbox's sealed packages to a sink. Each package is checked whole before anything of it
// is put anywhere. Ended at any point and begun again, it does what is left.
func Restore(ctx context.Context, from Place, address string, wanted Wanted, to Sink) (Restored, error) {
	archived, err := Catalogue(ctx, from, address)
	if err != nil {
		return Restored{}, err
	}
	return restore(ctx, from, archived, wanted, to)
}

func restore(ctx context.Context, from Place, archived []Archived, wanted Wanted, to Sink) (done Restored, err error) {
	equal := map[string]int{}
	for _, name := range packagesOf(archived, wanted) {
		if err := verifyNamed(ctx, from, name); err != nil {
			return done, err
		}
		r, err := from.Open(ctx, name)
		if err != nil {
			return done, err
		}
		err = Extract(r, wanted.is, func(m Message, body io.Reader) error {
			key := journalKey(m.Folder, m.SHA256)
			existed, err := to.Put(ctx, m, equal[key], body)
			equal[key]++
			if existed {
				done.Existed++
			} else if err == nil {
				done.Added++
			}
			return err
		})
		if err := errors.Join(err, r.Close()); err != nil {
			return done, fmt.Errorf("restoring from %s: %w", name, err)
		}
	}
	return done, nil
}

// packagesOf are the packages that hold something wanted, in order.
func packagesOf(archived []Archived, wanted Wanted) []string {
	var names []string
	for _, a := range archived {
		if wanted.is(a.Message) && (len(names) == 0 || names[len(names)-1] != a.Package) {
			names = append(names, a.Package)
		}
	}
	return names
}

// verifyNamed checks a package against itself and against its seal.
func verifyNamed(ctx context.Context, place Place, name string) error {
	sealed, err := readSeal(ctx, place, name)
	if err != nil {
		return err
	}
	r, err := place.Open(ctx, name)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // it was only read
	found, err := Verify(r)
	if err != nil {
		return fmt.Errorf("verifying %s: %w", name, err)
	}
	if found.SHA256 != sealed {
		return fmt.Errorf("verifying %s: %w", name, corrupt("its SHA-256 is not the one that its seal holds"))
	}
	return nil
}

func readSeal(ctx context.Context, place Place, name string) (string, error) {
	r, err := place.Open(ctx, strings.TrimSuffix(name, packageSuffix)+sealSuffix)
	if err != nil {
		return "", err
	}
	defer r.Close() //nolint:errcheck // it was only read
	raw, err := io.ReadAll(io.LimitReader(r, 1024))
	if err != nil {
		return "", fmt.Errorf("reading the seal of %s: %w", name, err)
	}
	sum, _, _ := strings.Cut(string(raw), " ")
	return sum, nil
}

// sink is what is asked of a store to restore into it; *store.Client is one.
type sink interface {
	MakeFolder(ctx context.Context, address, folder string) error
	Messages(ctx context.Context, address, folder string, after uint32) ([]store.Message, error)
	Save(ctx context.Context, address string, m store.New, body io.Reader) (store.Saved, error)
}

// StoreSink restores into a mailbox of an engine.
type StoreSink struct {
	Store   sink
	Address string
	// Below is a folder below which everything is put; "" is where it was.
	Below   string
	folders map[string]*folderState
}

// folderState is what a folder held when it was first looked at, and what was put there since.
type folderState struct {
	guids map[string]bool
	seen  uint32
}

// Put implements Sink. What is in its folder still, or was restored before, is not added. The GUID of what is added derives from
// the whole message; equal messages of one folder have one each.
func (s *StoreSink) Put(ctx context.Context, m Message, copyOf int, body io.Reader) (bool, error) {
	name := m.Folder
	if s.Below != "" {
		name = s.Below + "/" + m.Folder
	}
	folder, err := s.folder(ctx, name)
	if err != nil {
		return false, err
	}
	guid := restoredGUID(m, copyOf)
	if folder.guids[m.GUID] || folder.guids[guid] {
		_, err := io.Copy(io.Discard, body)
		return true, err
	}
	saved, err := s.Store.Save(ctx, s.Address, store.New{
		Folder: name, GUID: guid, Date: m.Date, Flags: m.Flags, SHA256: m.SHA256, Seen: folder.seen,
	}, body)
	if err != nil {
		return false, fmt.Errorf("saving a message of %s: %w", s.Address, err)
	}
	// The engine need not look again at what was saved: it would look at ever more of it.
	folder.seen = max(folder.seen, saved.UID)
	folder.guids[guid] = true
	return saved.Existed, nil
}

func (s *StoreSink) folder(ctx context.Context, name string) (*folderState, error) {
	if known := s.folders[name]; known != nil {
		return known, nil
	}
	if err := s.Store.MakeFolder(ctx, s.Address, name); err != nil {
		return nil, fmt.Errorf("making a folder of %s: %w", s.Address, err)
	}
	listed, err := s.Store.Messages(ctx, s.Address, name, 0)
	if err != nil {
		return nil, fmt.Errorf("listing a folder of %s: %w", s.Address, err)
	}
	state := &folderState{guids: map[string]bool{}}
	for _, m := range listed {
		state.guids[m.GUID], state.seen = true, max(state.seen, m.UID)
	}
	if s.folders == nil {
		s.folders = map[string]*folderState{}
	}
	s.folders[name] = state
	return state, nil
}

func restoredGUID(m Message, copyOf int) string {
	sum := sha256.Sum256([]byte(m.SHA256 + " " + strconv.Itoa(copyOf)))
	return hex.EncodeToString(sum[:16])
}

// DirectorySink restores into files, a directory for each folder.
type DirectorySink string

// Put implements Sink.
func (d DirectorySink) Put(_ context.Context, m Message, copyOf int, body io.Reader) (existed bool, err error) {
	parts := strings.Split(m.Folder, "/")
	for i := range parts {
		parts[i] = fileName(parts[i])
	}
	dir := filepath.Join(append([]string{string(d)}, parts...)...)
	path := filepath.Join(dir, m.Date.UTC().Format("20060102T150405Z")+"-"+m.SHA256[:16]+"-"+strconv.Itoa(copyOf)+".eml")
	if _, err := os.Lstat(path); err == nil {
		_, err := io.Copy(io.Discard, body)
		return true, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return false, err
	}
	f, err := os.OpenFile(path+partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(f, body)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return false, errors.Join(err, os.Remove(path+partial))
	}
	if err := os.Link(path+partial, path); err != nil {
		return false, err
	}
	return false, os.Remove(path + partial)
}

// fileName makes a folder's name, which its holder chose, a name of a directory: never one above, never hidden.
func fileName(folder string) string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, folder)
	if strings.HasPrefix(name, ".") || name == "" {
		name = "_" + name
	}
	return name
}
