package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Where each record lies is known in memory for the segment that is written, and for each closed one from a file beside it: sorted
// entries, mapped and not read. The file is derived: whatever is wrong with it, the segment is read and verified and the file
// made anew. It stands for that verification only while the segment has the size and the time that it had.

const (
	indexSuffix  = ".index"
	indexEntry   = len(indexKey{}) + 4 + 4 // key, offset, length
	indexHeadMax = 4 << 10
)

// closedHead is the first line of the file: the segment, as it was when it was closed.
type closedHead struct {
	Size    int64  `json:"size"`
	Changed int64  `json:"changed"` // nanoseconds
	Day     string `json:"day"`
	First   uint64 `json:"first"` // number of its first record
	Prev    string `json:"prev"`  // hash before that
	Last    uint64 `json:"last"`
	Head    string `json:"head"`
	Entries int    `json:"entries"`
}

// closedIndex is the index of one closed segment.
type closedIndex struct {
	segment int
	mapped  []byte
	entries []byte // in mapped
}

// find searches by where a key must lie: keys are hashes, so they are spread evenly.
func (c closedIndex) find(key indexKey) (*place, bool) {
	low, high := 0, len(c.entries)/indexEntry
	wanted := binary.BigEndian.Uint64(key[:])
	from, to := uint64(0), uint64(math.MaxUint64)
	for low < high {
		guess := low + int(float64(high-low)*(float64(wanted-from)/(float64(to-from)+1)))
		guess = min(max(guess, low), high-1)
		entry := c.entries[guess*indexEntry:][:indexEntry]
		switch order := bytes.Compare(entry[:len(key)], key[:]); {
		case order == 0:
			at := entry[len(key):]
			return &place{segment: c.segment, offset: int64(binary.BigEndian.Uint32(at)), length: int(binary.BigEndian.Uint32(at[4:]))}, true
		case order < 0:
			low, from = guess+1, binary.BigEndian.Uint64(entry)
		default:
			high, to = guess, binary.BigEndian.Uint64(entry)
		}
	}
	return nil, false
}

func (c closedIndex) close() { _ = unix.Munmap(c.mapped) }

// place is where the record of a key lies; it is called with the lock held.
func (l *Log) place(key indexKey) (*place, bool) {
	if p, ok := l.index[key]; ok {
		return p, true
	}
	for _, c := range slices.Backward(l.closed) { // what is asked for is most often young
		if p, ok := c.find(key); ok {
			return p, true
		}
	}
	return nil, false
}

func indexPath(segment string) string {
	return strings.TrimSuffix(segment, segmentSuffix) + indexSuffix
}

// closeSegment writes the index of the last segment, whose records are all on disk, and lets them go from memory. If it cannot be
// written they stay there, which costs memory and nothing else, and the next start tries again.
func (l *Log) closeSegment() {
	segment := len(l.files) - 1
	open := make(map[indexKey]*place)
	var keys []indexKey
	for key, p := range l.index {
		switch {
		case p.batch != nil || p.segment != segment:
			open[key] = p
		case p.offset > math.MaxUint32-int64(p.length): // no segment of ours is so large
			return
		default:
			keys = append(keys, key)
		}
	}
	path := filepath.Join(l.dir, filepath.Base(l.files[segment].Name())) // the log may have moved since that was opened
	if err := writeIndex(path, l.closedHead(len(keys)), l.entries(keys)); err != nil {
		return
	}
	if closed, _, err := openIndex(path, segment); err == nil {
		l.closed, l.index = append(l.closed, closed), open
	}
}

func (l *Log) closedHead(entries int) closedHead {
	return closedHead{First: l.begun.Seq + 1, Prev: l.begun.Head, Last: l.onDisk.Seq, Head: l.onDisk.Head, Day: l.dayHolding(l.onDisk.Seq), Entries: entries}
}

// entries are the places of these keys, sorted.
func (l *Log) entries(keys []indexKey) []byte {
	slices.SortFunc(keys, func(a, b indexKey) int { return bytes.Compare(a[:], b[:]) })
	entries := make([]byte, 0, len(keys)*indexEntry)
	for _, key := range keys {
		p := l.index[key]
		entries = append(entries, key[:]...)
		entries = binary.BigEndian.AppendUint32(entries, uint32(p.offset)) //nolint:gosec // its caller has bounded it
		entries = binary.BigEndian.AppendUint32(entries, uint32(p.length)) //nolint:gosec // as above
	}
	return entries
}

// dayHolding is the day that a record is counted to.
func (l *Log) dayHolding(seq uint64) string {
	for _, d := range l.days {
		if seq <= d.last.Seq {
			return d.name
		}
	}
	return ""
}

// writeIndex puts the file in place whole. It is not synced: one that a crash took a part of does not have its checksum.
func writeIndex(segment string, head closedHead, entries []byte) error {
	info, err := os.Stat(segment)
	if err != nil {
		return fmt.Errorf("indexing %s: %w", segment, err)
	}
	head.Size, head.Changed = info.Size(), info.ModTime().UnixNano()
	line, err := json.Marshal(head)
	if err != nil {
		return fmt.Errorf("indexing %s: %w", segment, err)
	}
	content := append(append(line, '\n'), entries...)
	sum := sha256.Sum256(content)
	path := indexPath(segment)
	tmp := filepath.Join(filepath.Dir(path), ".new"+indexSuffix)
	if err := os.WriteFile(tmp, append(content, sum[:]...), 0o600); err != nil {
		return fmt.Errorf("indexing %s: %w", segment, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("indexing %s: %w", segment, err)
	}
	return nil
}

var errStale = errors.New("the index is not of this segment as it is now")

// openIndex maps the index of a segment if it is whole, and of the segment as that is now.
func openIndex(segmentPath string, segment int) (closedIndex, closedHead, error) {
	c, head := closedIndex{segment: segment}, closedHead{}
	info, err := os.Stat(segmentPath)
	if err != nil {
		return c, head, err
	}
	f, err := os.Open(indexPath(segmentPath))
	if err != nil {
		return c, head, err
	}
	defer func() { _ = f.Close() }() // the mapping stays
	own, err := f.Stat()
	if err != nil || own.Size() <= sha256.Size || own.Size() > math.MaxInt32 {
		return c, head, errors.Join(errStale, err)
	}
	if c.mapped, err = unix.Mmap(int(f.Fd()), 0, int(own.Size()), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return c, head, err
	}
	content, sum := c.mapped[:len(c.mapped)-sha256.Size], c.mapped[len(c.mapped)-sha256.Size:]
	end := bytes.IndexByte(content[:min(len(content), indexHeadMax)], '\n')
	if actual := sha256.Sum256(content); end < 0 || !bytes.Equal(actual[:], sum) || json.Unmarshal(content[:end], &head) != nil ||
		head.Size != info.Size() || head.Changed != info.ModTime().UnixNano() || len(content)-end-1 != head.Entries*indexEntry {
		c.close()
		return c, head, errStale
	}
	c.entries = content[end+1:]
	return c, head, nil
}

// loadClosed takes a closed segment by its index, and says whether it could. What does not follow the segment before is left to
// the reading, which says what is wrong.
func (l *Log) loadClosed(path string) bool {
	c, head, err := openIndex(path, len(l.files))
	if err != nil {
		return false
	}
	first, err := firstRecord(path)
	if err != nil || first != head.First || head.First != l.last.Seq+1 || head.Prev != l.last.Head || head.Day == "" {
		c.close()
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		c.close()
		return false
	}
	l.files, l.firsts, l.closed, l.size = append(l.files, f), append(l.firsts, first), append(l.closed, c), head.Size
	l.last.Seq, l.last.Head = head.Last, head.Head
	l.noteDay(head.Day)
	return true
}
