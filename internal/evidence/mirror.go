package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/durable"
)

// Mirror is another engine's log, kept here byte for byte: a chain of its own that nobody here writes a record to. It is a log's
// directory like any other, and verifies like one. Beside the records it says up to which of them the messages that they name are
// in custody here, and which are not.
type Mirror struct {
	log    *Log
	copied Copied
}

// Copied says up to which record what the records name was copied. Lacking are the digests that could not be.
type Copied struct {
	Seq     uint64
	Lacking []string
}

// The files of a mirror beside the segments.
const (
	mirrorFile = "mirror" // says that a seal of this log may still be where it was made
	baseFile   = "base"
	copiedFile = "copied"
	// maxLacking bounds what may be lacking before the copying stops.
	maxLacking = 10_000
)

// OpenMirror opens a mirror, or begins one at a position: of a log whose oldest records were taken away after their time.
func OpenMirror(dir string, base Position, now func() time.Time) (*Mirror, error) {
	if paths, err := segmentPaths(dir); err != nil {
		return nil, err
	} else if len(paths) == 0 && base.Seq > 0 {
		if err := durable.Write(filepath.Join(dir, baseFile), fmt.Appendf(nil, "%d %s\n", base.Seq, base.Head), fileMode); err != nil {
			return nil, fmt.Errorf("beginning a mirror: %w", err)
		}
	}
	l, err := Open(dir, DefaultSegmentSize, now)
	if err != nil {
		return nil, err
	}
	if !isMirror(dir) {
		if err := durable.Write(filepath.Join(dir, mirrorFile), nil, fileMode); err != nil {
			return nil, errors.Join(fmt.Errorf("beginning a mirror: %w", err), l.Close())
		}
	}
	m := &Mirror{log: l}
	if err := m.readCopied(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return m, nil
}

func isMirror(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, mirrorFile))
	return err == nil
}

// readBase is where a mirror began, zero if at the very beginning.
func readBase(dir string) Position {
	raw, err := os.ReadFile(filepath.Join(dir, baseFile))
	seq, head, found := strings.Cut(strings.TrimSpace(string(raw)), " ")
	n, wrong := strconv.ParseUint(seq, 10, 64)
	if err != nil || !found || wrong != nil {
		return Position{}
	}
	return Position{n, head}
}

// Extend appends lines of the mirrored log and returns their records when they are on disk. Lines that do not follow what is here
// are refused, all of them.
func (m *Mirror) Extend(lines []byte) ([]Record, error) { return m.log.extend(lines) }

// Head is the last record that is here.
func (m *Mirror) Head() Position {
	records, hash := m.log.Head()
	return Position{records, hash}
}

// Get, Each, After, Written, SealFile and Close are the log's.
func (m *Mirror) Get(kind, key string) (Record, bool, error) { return m.log.Get(kind, key) }
func (m *Mirror) Each(visit func(Record) error) error        { return m.log.Each(visit) }
func (m *Mirror) After(p Position) (*Reader, error)          { return m.log.After(p) }
func (m *Mirror) Written() (uint64, <-chan struct{})         { return m.log.Written() }
func (m *Mirror) SealFile(digest string) ([]byte, error)     { return m.log.SealFile(digest) }
func (m *Mirror) Close() error                               { return m.log.Close() }

// Behind reads behind the record of a number.
func (m *Mirror) Behind(seq uint64) (*Reader, error) { return m.log.behind(seq) }

// Rename gives the mirror another directory: it stays open.
func (m *Mirror) Rename(dir string) error {
	l := m.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := os.Rename(l.dir, dir); err != nil {
		return fmt.Errorf("setting a mirror aside: %w", err)
	}
	l.dir = dir
	return durable.Dir(filepath.Dir(dir))
}

// Copied says what was copied, as SetCopied was told last.
func (m *Mirror) Copied() Copied { return m.copied }

// SetCopied keeps it over a restart. It may lag behind the truth, and never be ahead of it.
func (m *Mirror) SetCopied(c Copied) error {
	if len(c.Lacking) > maxLacking {
		return fmt.Errorf("%d custody copies are lacking here: the peer's custody must be looked at", len(c.Lacking))
	}
	lines := append([]string{strconv.FormatUint(c.Seq, 10)}, c.Lacking...)
	if err := durable.Write(filepath.Join(m.log.dir, copiedFile), []byte(strings.Join(lines, "\n")+"\n"), fileMode); err != nil {
		return fmt.Errorf("noting what was copied: %w", err)
	}
	m.copied = c
	return nil
}

func (m *Mirror) readCopied() error {
	raw, err := os.ReadFile(filepath.Join(m.log.dir, copiedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading what was copied: %w", err)
	}
	lines := strings.Fields(string(raw))
	if len(lines) == 0 {
		return nil
	}
	seq, err := strconv.ParseUint(lines[0], 10, 64)
	if err != nil {
		return nil //nolint:nilerr // looked for again from the beginning
	}
	m.copied = Copied{Seq: min(seq, m.Head().Seq), Lacking: lines[1:]}
	return nil
}
