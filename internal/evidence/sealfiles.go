package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pec-operator/pec-operator/internal/durable"
)

// The log has a record of each seal and of each time-stamp, with the SHA-256 of the files. So a mirror knows which files it must have, and
// takes only those.

// SealFile is one file of a mirrored log's seals.
type SealFile struct {
	Digest      string
	day, suffix string
}

// Name is the file's, below seals/.
func (f SealFile) Name() string { return f.day + f.suffix }

// LackingSeals are the files that are not here, oldest day first, and each day's in the order in which they are to be taken: a seal's own
// file makes it exist, so its signature comes before it.
func (m *Mirror) LackingSeals() (list []SealFile, err error) {
	for _, day := range m.log.dayNames() {
		var sealed sealedData
		var stamped stampedData
		if err := errors.Join(m.recorded(KindSealed, day, &sealed), m.recorded(KindStamped, day, &stamped)); err != nil {
			return nil, err
		}
		for _, f := range []SealFile{{sealed.Signature, day, signatureSuffix}, {sealed.Seal, day, sealSuffix}, {stamped.Stamp, day, stampSuffix}} {
			if _, err := os.Stat(sealPath(m.log.dir, day, f.suffix)); f.Digest != "" && errors.Is(err, fs.ErrNotExist) {
				list = append(list, f)
			}
		}
	}
	return list, nil
}

func (m *Mirror) recorded(kind, day string, data any) error {
	r, found, err := m.log.Get(kind, day)
	if err != nil || !found {
		return err
	}
	return r.Decode(data)
}

// TakeSeal keeps one of the lacking files, if it is the one that the record names and seals what is mirrored here. ErrOther says that it is not.
func (m *Mirror) TakeSeal(f SealFile, content []byte) error {
	if hexDigest(content) != f.Digest {
		return fmt.Errorf("taking %s: %w", f.Name(), ErrOther)
	}
	if f.suffix == sealSuffix {
		if err := m.fits(f.day, content); err != nil {
			return fmt.Errorf("taking %s: %w", f.Name(), err)
		}
	}
	if err := durable.Write(filepath.Join(m.log.dir, sealDir, f.Name()), content, fileMode); err != nil {
		return fmt.Errorf("taking %s: %w", f.Name(), err)
	}
	return nil
}

// fits says whether a seal is of that day, has its signature here and ends in the record that is here under its number. What lies before the
// beginning of the mirror is not asked.
func (m *Mirror) fits(day string, content []byte) error {
	var s Seal
	if err := json.Unmarshal(content, &s); err != nil || s.Day != day {
		return fmt.Errorf("%w: it is not the seal of that day", ErrOther)
	}
	if _, err := os.Stat(sealPath(m.log.dir, day, signatureSuffix)); err != nil {
		return fmt.Errorf("%w: its signature is not here", ErrOther)
	}
	at, err := m.log.behind(s.Last)
	if err != nil && !errors.Is(err, ErrElsewhere) {
		return err
	}
	if err != nil || (s.Last >= m.log.base.Seq && at.At() != Position{s.Last, s.Head}) {
		return fmt.Errorf("%w: record %d is not the one that was sealed", ErrOther, s.Last)
	}
	return nil
}

func (l *Log) dayNames() (names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.days {
		names = append(names, d.name)
	}
	return names
}

// sealNames are the files of a log's seals by their SHA-256, as they were at the last look.
type sealNames struct {
	mu       sync.Mutex
	byDigest map[string]string
}

// SealFile is the file of a seal that has this SHA-256, fs.ErrNotExist if there is none.
func (l *Log) SealFile(digest string) ([]byte, error) {
	l.mu.Lock()
	dir := filepath.Join(l.dir, sealDir)
	l.mu.Unlock()
	s := &l.sealNames
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byDigest[digest] == "" {
		if err := s.look(dir); err != nil {
			return nil, fmt.Errorf("reading seals: %w", err)
		}
	}
	name := s.byDigest[digest]
	if name == "" {
		return nil, fs.ErrNotExist
	}
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err == nil && hexDigest(raw) != digest {
		err = fmt.Errorf("%s: %w", name, ErrOther)
	}
	return raw, err
}

// look reads them all: once for a mirror that is begun, and then for each that is new or cannot be found.
func (s *sealNames) look(dir string) error {
	s.byDigest = map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") { // not written to its end yet
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return err
		}
		s.byDigest[hexDigest(raw)] = entry.Name()
	}
	return nil
}
