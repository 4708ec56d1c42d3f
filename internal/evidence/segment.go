package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/durable"
	"github.com/pec-operator/pec-operator/internal/pec"
)

const segmentSuffix = ".jsonl"

// Position is the place of a record in the chain.
type Position struct {
	Seq  uint64
	Head string // its hash
}

// day is what the log knows of one day of Europe/Rome: its last record.
type day struct {
	name string // 2026-11-21
	last Position
}

// dayOf is the day of an instant on the clocks of Europe/Rome, by which the log is closed.
func dayOf(t time.Time) string { return t.In(pec.Rome()).Format(time.DateOnly) }

// note takes a record into the account and says whether it begins a day after another. A clock that goes back begins none: the
// record belongs to the day that is open.
func (l *Log) note(r Record) (newDay bool) {
	l.last = Position{r.Seq, r.Hash}
	return l.noteDay(dayOf(r.Time))
}

// noteDay counts the last record to a day.
func (l *Log) noteDay(name string) (newDay bool) {
	if n := len(l.days); n > 0 && name <= l.days[n-1].name {
		l.days[n-1].last = l.last
		return false
	}
	l.days = append(l.days, day{name, l.last})
	return len(l.days) > 1
}

// segmentPaths are the log's files, oldest first: their names have a fixed width.
func segmentPaths(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		return nil, fmt.Errorf("listing evidence segments: %w", err)
	}
	return paths, nil
}

// firstRecord is the number of the record that a segment begins with.
func firstRecord(path string) (uint64, error) {
	return strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), segmentSuffix), 10, 64)
}

// begin is the position before the first segment: the log's very beginning, or the end of a sealed day when what is older was
// taken away after its time; for a mirror of such a log, where the mirror began.
func begin(dir string, paths []string) Position {
	base := readBase(dir)
	if len(paths) == 0 {
		return base
	}
	first, err := firstRecord(paths[0])
	if err != nil || first <= 1 {
		return Position{}
	}
	if base.Seq == first-1 {
		return base
	}
	seals, _ := readSeals(dir)
	for _, s := range seals {
		if s.Last == first-1 {
			return Position{s.Last, s.Head}
		}
	}
	return Position{}
}

// load reads and verifies every segment and fills the index.
func (l *Log) load() error {
	paths, err := segmentPaths(l.dir)
	if err != nil {
		return err
	}
	l.base = begin(l.dir, paths)
	l.last = l.base
	for i, path := range paths {
		last := i == len(paths)-1
		l.begun = l.last
		if !last && l.loadClosed(path) {
			continue
		}
		err := l.loadSegment(path, last)
		if l.onDisk = l.last; err == nil && !last {
			l.closeSegment()
		}
		if err != nil {
			return fmt.Errorf("verifying evidence log: %w; do not edit or delete it: restore the volume %s from its last "+
				"good copy, or move the directory aside and keep it for the inquiry", err, l.dir)
		}
	}
	l.written = l.last.Seq
	if len(paths) == 0 {
		return l.newSegment(l.base.Seq + 1)
	}
	return nil
}

func (l *Log) loadSegment(path string, last bool) error {
	first, err := firstRecord(path)
	if err != nil || first != l.last.Seq+1 {
		return fmt.Errorf("%s: expected the segment that begins with record %d", path, l.last.Seq+1)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading evidence segment: %w", err)
	}
	segment, offset := len(l.files), 0
	for offset < len(raw) {
		end := bytes.IndexByte(raw[offset:], '\n')
		if end < 0 {
			break
		}
		line := raw[offset : offset+end+1]
		r, err := decodeLine(line)
		if err == nil && (r.Seq != l.last.Seq+1 || r.Prev != l.last.Head) {
			err = fmt.Errorf("%w: it does not follow record %d", errBroken, l.last.Seq)
		}
		if err != nil {
			return fmt.Errorf("%s at byte %d: %w", path, offset, err)
		}
		l.index[keyOf(r.Kind, r.Key)] = &place{segment: segment, offset: int64(offset), length: len(line)}
		l.note(r)
		offset += len(line)
	}
	return l.openSegment(path, first, raw[offset:], int64(offset), last)
}

// openSegment opens a verified segment, and cuts off the torn line that may end the last one.
func (l *Log) openSegment(path string, first uint64, torn []byte, size int64, last bool) error {
	if len(torn) > 0 {
		if err := checkTorn(torn, last); err != nil {
			return fmt.Errorf("%s at byte %d: %w", path, size, err)
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening evidence segment: %w", err)
	}
	l.files, l.firsts, l.size = append(l.files, f), append(l.firsts, first), size
	if len(torn) == 0 {
		return nil
	}
	if err := errors.Join(f.Truncate(size), f.Sync()); err != nil {
		return fmt.Errorf("cutting the torn line off %s: %w", path, err)
	}
	return nil
}

// checkTorn accepts only what an interrupted write leaves: the beginning of a line. A whole record whose newline became
// something else was damaged afterwards.
func checkTorn(torn []byte, last bool) error {
	if !last {
		return fmt.Errorf("%w: the line does not end, and the log goes on in another file", errBroken)
	}
	whole := append(bytes.Clone(torn[:len(torn)-1]), '\n')
	if _, err := decodeLine(whole); err == nil {
		return fmt.Errorf("%w: the byte after a whole record is not a newline", errBroken)
	}
	return nil
}

// newSegment begins the file whose first record is numbered first. The directory is synced, or a crash could lose the file
// with its records.
func (l *Log) newSegment(first uint64) error {
	path := filepath.Join(l.dir, fmt.Sprintf("%020d%s", first, segmentSuffix))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, fileMode)
	if err != nil {
		return fmt.Errorf("beginning evidence segment: %w", err)
	}
	if err := durable.Dir(l.dir); err != nil {
		_ = f.Close()
		return err
	}
	l.files, l.firsts, l.size = append(l.files, f), append(l.firsts, first), 0
	return nil
}

// write is the one goroutine that writes: while it syncs a batch, the next one gathers.
func (l *Log) write() {
	defer close(l.done)
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for len(l.waiting) == 0 && !l.closing {
			l.wake.Wait()
		}
		if len(l.waiting) == 0 {
			return
		}
		b := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.commit(b)
	}
}

// commit is called with the lock held; it lets it go while the disk works.
func (l *Log) commit(b *batch) {
	defer close(b.done)
	if l.failed == nil && l.size > 0 && (b.newDay || l.size >= l.segmentSize) {
		l.closeSegment()
		l.begun = l.onDisk
		l.failed = l.newSegment(b.first)
	}
	f, segment, offset := l.files[len(l.files)-1], len(l.files)-1, l.size
	failed := l.failed
	l.mu.Unlock()
	if failed == nil {
		_, failed = f.WriteAt(b.lines, offset)
	}
	if failed == nil {
		failed = f.Sync()
	}
	l.mu.Lock()
	if failed != nil {
		l.failed, b.err = failed, failed
		return
	}
	last := b.places[len(b.places)-1].record
	l.onDisk = Position{last.Seq, last.Hash}
	for _, p := range b.places {
		p.segment, p.offset, p.batch, p.record = segment, offset, nil, nil
		offset += int64(p.length)
	}
	l.size, l.written = offset, l.written+uint64(len(b.places))
	close(l.grown)
	l.grown = make(chan struct{})
}
