package evidence

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/pec-operator/pec-operator/internal/durable"
)

// ErrElsewhere is the answer to who wants to read on behind a record that the log does not hold: the log was begun anew, or lost
// its end, or it is the reader who has another log.
var ErrElsewhere = errors.New("this log does not hold that record")

// identityFile names the chain that a directory holds. A log that is begun anew has another name, also in the same directory.
const identityFile = "chain"

var identityForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

// Identity is the name of this log among all that ever were: the site that writes it, and what identityFile holds. The site is noted beside it, for
// who reads a copy.
func (l *Log) Identity(site string) (string, error) {
	id, err := l.identity()
	if err == nil && readWord(l.dir, siteFile) != site {
		err = durable.Write(filepath.Join(l.dir, siteFile), []byte(site+"\n"), fileMode)
	}
	if err != nil {
		return "", fmt.Errorf("naming the evidence log: %w", err)
	}
	return site + "-" + id, nil
}

func (l *Log) identity() (string, error) {
	raw, err := os.ReadFile(filepath.Join(l.dir, identityFile))
	if id := strings.TrimSpace(string(raw)); err == nil && identityForm.MatchString(id) {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	name := hex.EncodeToString(id[:])
	return name, durable.Write(filepath.Join(l.dir, identityFile), []byte(name+"\n"), fileMode)
}

// Reader reads the lines of a log that are on disk, in order, and those that come later.
type Reader struct {
	log     *Log
	segment int
	offset  int64
	at      Position
}

// After reads behind a record. From nothing it begins where the log does, which At tells.
func (l *Log) After(p Position) (*Reader, error) {
	if p == (Position{}) {
		return l.behind(0)
	}
	r, err := l.behind(p.Seq)
	if err == nil && r.at != p {
		err = ErrElsewhere
	}
	return r, err
}

// behind reads behind the record of a number, or from the beginning if that is later.
func (l *Log) behind(seq uint64) (*Reader, error) {
	l.mu.Lock()
	r := &Reader{log: l, at: l.base}
	firsts, written := l.firsts, l.written
	l.mu.Unlock()
	if seq <= r.at.Seq {
		return r, nil
	}
	if seq > written {
		return nil, ErrElsewhere
	}
	r.segment = sort.Search(len(firsts), func(i int) bool { return firsts[i] > seq }) - 1
	r.at = Position{Seq: firsts[r.segment] - 1}
	for r.at.Seq < seq {
		if _, err := r.take(1<<20, seq); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// At is the last record that was read.
func (r *Reader) At() Position { return r.at }

// Next returns whole lines, about so many bytes of them, none when all on disk was read.
func (r *Reader) Next(about int) ([]byte, error) { return r.take(about, 0) }

// take reads up to the record last, 0 for no end.
func (r *Reader) take(about int, last uint64) ([]byte, error) {
	for {
		f, end, isLast, err := r.open()
		if err != nil {
			return nil, err
		}
		if r.offset < end {
			return r.lines(f, min(end-r.offset, int64(max(about, 1))), end, last)
		}
		if isLast {
			return nil, nil
		}
		r.segment, r.offset = r.segment+1, 0
	}
}

// open is the segment that the reader stands in, and how much of it is on disk.
func (r *Reader) open() (f *os.File, end int64, isLast bool, err error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	f, end = r.log.files[r.segment], r.log.size
	if isLast = r.segment == len(r.log.files)-1; isLast {
		return f, end, true, nil
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, false, fmt.Errorf("reading evidence: %w", err)
	}
	return f, info.Size(), false, nil
}

// lines reads whole lines of a segment: one at least, however long it is.
func (r *Reader) lines(f *os.File, size, end int64, last uint64) ([]byte, error) {
	for {
		raw := make([]byte, size)
		if _, err := f.ReadAt(raw, r.offset); err != nil {
			return nil, fmt.Errorf("reading evidence in %s: %w", f.Name(), err)
		}
		if whole := bytes.LastIndexByte(raw, '\n') + 1; whole > 0 {
			return r.advance(f, raw[:whole], last)
		}
		if r.offset+size >= end {
			return nil, fmt.Errorf("reading evidence in %s at byte %d: %w", f.Name(), r.offset, errBroken)
		}
		size = min(2*size, end-r.offset)
	}
}

// advance moves the reader behind the lines, or behind the record last if that is among them.
func (r *Reader) advance(f *os.File, raw []byte, last uint64) ([]byte, error) {
	if last > 0 {
		size := 0
		for n := r.at.Seq; n < last && size < len(raw); n++ {
			size += bytes.IndexByte(raw[size:], '\n') + 1
		}
		raw = raw[:size]
	}
	record, err := decodeLine(raw[bytes.LastIndexByte(raw[:len(raw)-1], '\n')+1:])
	if err != nil {
		return nil, fmt.Errorf("reading evidence in %s: %w", f.Name(), err)
	}
	r.at, r.offset = Position{record.Seq, record.Hash}, r.offset+int64(len(raw))
	return raw, nil
}

// Written is the number of the last record on disk, and a channel that is closed when there are more.
func (l *Log) Written() (records uint64, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written, l.grown
}

// extend appends lines that another log wrote, byte for byte, if they follow what is there; it returns when they are on disk. Of
// lines that do not follow, none is taken.
func (l *Log) extend(lines []byte) ([]Record, error) {
	l.mu.Lock()
	records, parts, err := follow(l.last, lines)
	if err == nil && (l.failed != nil || l.closing) {
		err = errors.Join(l.failed, errClosed)
	}
	if err != nil {
		l.mu.Unlock()
		return nil, err
	}
	var batches []*batch
	for i, r := range records {
		b := l.gathering(r.Seq, l.note(r))
		p := &place{length: len(parts[i]), batch: b, record: &r}
		b.lines, b.places = append(b.lines, parts[i]...), append(b.places, p)
		l.index[keyOf(r.Kind, r.Key)] = p
		if n := len(batches); n == 0 || batches[n-1] != b {
			batches = append(batches, b)
		}
	}
	l.wake.Signal()
	l.mu.Unlock()
	for _, b := range batches {
		<-b.done
		err = errors.Join(err, b.err)
	}
	return records, err
}

// follow takes lines apart and verifies that they go on from a position.
func follow(at Position, lines []byte) (records []Record, parts [][]byte, err error) {
	for line := range bytes.Lines(lines) {
		r, err := decodeLine(line)
		if err == nil && (r.Seq != at.Seq+1 || r.Prev != at.Head) {
			err = fmt.Errorf("%w: it does not follow record %d", errBroken, at.Seq)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("after record %d: %w", at.Seq, err)
		}
		at = Position{r.Seq, r.Hash}
		records, parts = append(records, r), append(parts, line)
	}
	return records, parts, nil
}

// Records is Next, decoded.
func (r *Reader) Records(about int) (records []Record, err error) {
	lines, err := r.Next(about)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(lines) {
		record, err := decodeLine(line)
		if err != nil {
			return nil, fmt.Errorf("reading evidence: %w", err)
		}
		records = append(records, record)
	}
	return records, nil
}
