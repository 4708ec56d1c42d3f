// Package evidence keeps what the engine must be able to prove: an append-only, hash-chained log of events and the custody
// copies of the messages that the events name.
//
// The log is also the engine's journal. (kind, key) is unique: appending it again returns the first record, whatever the new
// one says, and so a step that is retried after a crash finds what it did. What the chain cannot see is a log that lost whole
// records at its end: that shows against the seal of a day that has ended, and against a head kept elsewhere (Head).
package evidence

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultSegmentSize is the size, in bytes, after which a new file is begun.
const DefaultSegmentSize = 64 << 20

// Log is an open event log. It is safe for concurrent use; one process at a time may have it open.
type Log struct {
	dir         string
	segmentSize int64
	now         func() time.Time
	lock        *os.File

	mu      sync.Mutex
	wake    *sync.Cond          // a batch waits, or the log closes
	index   map[indexKey]*place // of what no closed index has
	closed  []closedIndex       // of closed segments, oldest first
	base    Position            // before the first record that is here
	begun   Position            // before the segment that is written
	onDisk  Position            // of the last record that is written
	files   []*os.File          // segments, oldest first; the last one is written
	firsts  []uint64            // the number of the first record of each
	size    int64               // bytes of the last segment that are written
	last    Position            // of the last record, pending ones included
	written uint64              // records on disk
	days    []day               // the days that have records, oldest first
	waiting []*batch            // oldest first; the last one gathers
	grown   chan struct{}       // closed, and made anew, when records came to the disk
	failed  error               // first write error: the file may hold half a batch, so nothing more is written by this process
	closing bool
	done    chan struct{}

	sealNames sealNames
}

type indexKey [16]byte

func keyOf(kind, key string) indexKey {
	sum := sha256.Sum256([]byte(kind + "\x00" + key))
	return indexKey(sum[:16])
}

// fileMode is that of the log's files and of what stands beside them.
const fileMode = 0o640

// place is where a record lies, and until it is on disk the batch that carries it.
type place struct {
	segment int
	offset  int64
	length  int
	batch   *batch
	record  *Record // only while batch is set
}

// batch is a group of records of one day that share one write and one fsync.
type batch struct {
	first  uint64 // number of its first record
	newDay bool   // its records go into a new segment, so that no segment holds two days
	lines  []byte
	places []*place
	done   chan struct{}
	err    error
}

// gathering is the batch that a new record goes into.
func (l *Log) gathering(first uint64, newDay bool) *batch {
	if n := len(l.waiting); n > 0 && !newDay {
		return l.waiting[n-1]
	}
	b := &batch{first: first, newDay: newDay, done: make(chan struct{})}
	l.waiting = append(l.waiting, b)
	return b
}

// Open verifies the whole log in dir and opens it for appending. An incomplete last line is what a power cut leaves: it was
// never acknowledged, and is cut off. Anything else that does not verify is an error that says what to do.
func Open(dir string, segmentSize int64, now func() time.Time) (*Log, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("opening evidence log: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, fmt.Errorf("opening evidence log: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("locking evidence log %s: another engine has it open: %w", dir, err)
	}
	l := &Log{dir: dir, segmentSize: segmentSize, now: now, lock: lock, index: map[indexKey]*place{}, grown: make(chan struct{}), done: make(chan struct{})}
	l.wake = sync.NewCond(&l.mu)
	if err := l.load(); err != nil {
		l.closeFiles()
		return nil, err
	}
	go l.write()
	return l, nil
}

// Append records an event and returns when it is on disk. data is encoded as JSON. If (kind, key) is there already, the
// first record is returned and nothing is written. An error leaves it unknown whether the record is on disk: the caller
// retries after the process has started again.
func (l *Log) Append(kind, key, identifier string, data any) (Record, error) {
	raw, err := json.Marshal(data)
	if err != nil {
		return Record{}, fmt.Errorf("encoding evidence %s: %w", kind, err)
	}
	l.mu.Lock()
	if p, ok := l.place(keyOf(kind, key)); ok {
		l.mu.Unlock()
		return l.read(p)
	}
	if l.failed != nil || l.closing {
		defer l.mu.Unlock()
		return Record{}, fmt.Errorf("recording %s: %w", kind, errors.Join(l.failed, errClosed))
	}
	r := Record{Seq: l.last.Seq + 1, Time: l.now().UTC().Truncate(time.Microsecond), Kind: kind, Key: key, Identifier: identifier, Data: raw, Prev: l.last.Head}
	line, err := r.encode()
	if err != nil {
		l.mu.Unlock()
		return Record{}, err
	}
	b := l.gathering(r.Seq, l.note(r))
	p := &place{length: len(line), batch: b, record: &r}
	b.lines, b.places = append(b.lines, line...), append(b.places, p)
	l.index[keyOf(kind, key)] = p
	l.wake.Signal()
	l.mu.Unlock()

	<-b.done
	if b.err != nil {
		return Record{}, fmt.Errorf("recording %s: %w", kind, b.err)
	}
	return r, nil
}

var errClosed = errors.New("the evidence log takes no more records")

// Get returns the record of (kind, key), if there is one.
func (l *Log) Get(kind, key string) (Record, bool, error) {
	l.mu.Lock()
	p, ok := l.place(keyOf(kind, key))
	l.mu.Unlock()
	if !ok {
		return Record{}, false, nil
	}
	r, err := l.read(p)
	return r, err == nil, err
}

// Head is the number of records and the hash of the last one, pending ones included.
func (l *Log) Head() (records uint64, hash string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.Seq, l.last.Head
}

// ended are the days before today whose records are all on disk.
func (l *Log) ended(today string) []day {
	l.mu.Lock()
	defer l.mu.Unlock()
	var days []day
	for _, d := range l.days {
		if d.name < today && d.last.Seq <= l.written {
			days = append(days, d)
		}
	}
	return days
}

// Failed is the error that ended the writing, or nil. A log that failed needs a new process.
func (l *Log) Failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// Close writes what waits and closes the files.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closing = true
	l.wake.Signal()
	l.mu.Unlock()
	<-l.done
	l.closeFiles()
	return l.failed
}

func (l *Log) closeFiles() {
	for _, f := range l.files {
		_ = f.Close()
	}
	l.mu.Lock()
	for _, c := range l.closed {
		c.close()
	}
	l.closed = nil
	l.mu.Unlock()
	_ = l.lock.Close()
}

// read returns the record at p, once it is on disk.
func (l *Log) read(p *place) (Record, error) {
	l.mu.Lock()
	b, waits := p.batch, p.record
	l.mu.Unlock()
	if b != nil {
		<-b.done
		return *waits, b.err
	}
	l.mu.Lock()
	f := l.files[p.segment]
	l.mu.Unlock()
	line := make([]byte, p.length)
	if _, err := f.ReadAt(line, p.offset); err != nil {
		return Record{}, fmt.Errorf("reading evidence at %s:%d: %w", f.Name(), p.offset, err)
	}
	r, err := decodeLine(line)
	if err != nil {
		return Record{}, fmt.Errorf("reading evidence at %s:%d: %w", f.Name(), p.offset, err)
	}
	return r, nil
}
