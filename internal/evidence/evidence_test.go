package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/durable"
)

func clock() func() time.Time {
	at := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		at = at.Add(time.Second)
		return at
	}
}

func mustOpen(t testing.TB, dir string, segmentSize int64) *Log {
	t.Helper()
	l, err := Open(dir, segmentSize, clock())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// filled makes a log of n records, closes it and returns its directory and head.
func filled(t testing.TB, n int, segmentSize int64) (dir, head string) {
	t.Helper()
	dir = t.TempDir()
	l := mustOpen(t, dir, segmentSize)
	for i := range n {
		if _, err := l.Append("event", fmt.Sprint(i), "id@example.it", map[string]int{"n": i}); err != nil {
			t.Fatal(err)
		}
	}
	_, head = l.Head()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, head
}

func TestSecondAppendOfAKeyReturnsTheFirstRecord(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, DefaultSegmentSize)
	first, err := l.Append("accepted", "k", "id", "first")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := l.Append("accepted", "k", "id", "second"); err != nil || again.Hash != first.Hash {
		t.Fatalf("second append: %v %v, want record %s", again, err, first.Hash)
	}
	if other, err := l.Append("sent", "k", "id", "other kind"); err != nil || other.Seq != 2 {
		t.Fatalf("the same key of another kind: %v %v, want a second record", other, err)
	}
	_ = l.Close()
	l = mustOpen(t, dir, DefaultSegmentSize)
	if again, err := l.Append("accepted", "k", "id", "third"); err != nil || again.Hash != first.Hash || !again.Time.Equal(first.Time) {
		t.Fatalf("append after reopening: %v %v, want record %v", again, err, first)
	}
}

func TestConcurrentAppendsChainAndSurviveReopening(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 4096)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 100 {
				if _, err := l.Append("event", fmt.Sprintf("%d", (w*37+i)%500), "", i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	records, head := l.Head()
	_ = l.Close()
	l = mustOpen(t, dir, 4096)
	if n, h := l.Head(); n != records || h != head {
		t.Fatalf("reopened at %d %s, want %d %s", n, h, records, head)
	}
	for i := range 359 { // the keys that the loops above cover
		if _, ok, err := l.Get("event", fmt.Sprint(i)); !ok || err != nil {
			t.Fatalf("record %d: found %v, %v", i, ok, err)
		}
	}
	if segments, _ := filepath.Glob(filepath.Join(dir, "*.jsonl")); len(segments) < 10 {
		t.Fatalf("%d segments, want the log split by size", len(segments))
	}
}

func TestTornLastLineIsCutOff(t *testing.T) {
	dir, _ := filled(t, 5, DefaultSegmentSize)
	path := filepath.Join(dir, "00000000000000000001.jsonl")
	whole, _ := os.ReadFile(path)
	lastLine := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	for cut := lastLine; cut < len(whole); cut++ {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir, DefaultSegmentSize, clock())
		if err != nil {
			t.Fatalf("cut at byte %d of %d: %v", cut, len(whole), err)
		}
		r, err := l.Append("event", "after", "", nil)
		if err != nil || r.Seq != 5 {
			t.Fatalf("cut at byte %d: appended %v, %v, want record 5", cut, r, err)
		}
		_ = l.Close()
	}
}

// Every change of a byte, and every removal, insertion or exchange of a line but the last, is found; the last line can only
// be seen to be missing by a head kept elsewhere.
func TestEveryMutationIsDetected(t *testing.T) {
	dir, head := filled(t, 40, 2048)
	paths, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 1500 {
		path := paths[random.IntN(len(paths))]
		whole, _ := os.ReadFile(path)
		if len(whole) == 0 {
			continue
		}
		changed, what := mutate(random, bytes.Clone(whole), path == paths[len(paths)-1])
		if bytes.Equal(changed, whole) {
			continue
		}
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := Open(dir, 2048, clock()); err == nil {
			_, got := l.Head()
			_ = l.Close()
			if got == head {
				t.Fatalf("round %d: %s in %s was not detected", round, what, filepath.Base(path))
			}
			if what != "truncate" {
				t.Fatalf("round %d: %s in %s opened with head %s", round, what, filepath.Base(path), got)
			}
		} else if !errors.Is(err, errBroken) && !strings.Contains(err.Error(), "expected the segment") {
			t.Fatalf("round %d: %s: %v", round, what, err)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func mutate(random *rand.Rand, b []byte, last bool) ([]byte, string) {
	at := random.IntN(len(b))
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines = lines[:len(lines)-1]
	switch random.IntN(5) {
	case 0:
		b[at] ^= 1 << random.IntN(8)
		return b, "bit flip"
	case 1:
		return append(b[:at:at], append([]byte{byte(random.IntN(256))}, b[at:]...)...), "insert"
	case 2:
		return b[:at], "truncate"
	case 3:
		i := random.IntN(len(lines))
		if last && i == len(lines)-1 {
			return b, "" // the last record of all: only the head tells
		}
		return bytes.Join(append(lines[:i:i], lines[i+1:]...), nil), "line removed"
	default:
		i, j := random.IntN(len(lines)), random.IntN(len(lines))
		lines[i], lines[j] = lines[j], lines[i]
		return bytes.Join(lines, nil), "lines exchanged"
	}
}

func TestTwoProcessesCannotOpenOneLog(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, dir, DefaultSegmentSize)
	if _, err := Open(dir, DefaultSegmentSize, clock()); err == nil {
		t.Fatal("a second writer opened the log")
	}
}

func TestCustodyReturnsWhatWasPutAndFindsChanges(t *testing.T) {
	dir := t.TempDir()
	c, err := OpenCustody(dir)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := c.Put([]byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.Put([]byte("message")); err != nil || again != digest {
		t.Fatalf("second put: %s %v, want %s", again, err, digest)
	}
	if got, err := c.Get(digest); err != nil || string(got) != "message" {
		t.Fatalf("get: %q %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, digest[:2], digest), []byte("massage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(digest); err == nil {
		t.Fatal("a changed copy was returned")
	}
}

func TestSweepTakesWhatAKilledEngineLeft(t *testing.T) {
	dir := t.TempDir()
	c, err := OpenCustody(dir)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := c.Put([]byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	if _, err := c.Write(func(io.Writer) (err error) { // killed here, the engine leaves the file under the name that it has now
		left, err = filepath.Glob(filepath.Join(dir, durable.Unfinished))
		return err
	}); err != nil || len(left) != 1 {
		t.Fatalf("%q are being written, %v", left, err)
	}
	if err := os.WriteFile(left[0], []byte("mess"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Sweep(); err != nil {
		t.Fatal(err)
	}
	if names, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(names) > 0 || !c.Has(digest) {
		t.Errorf("left are %q, and the message is there: %v", names, c.Has(digest))
	}
}

// BenchmarkAppend is 16 transactions for each processor that wait for their record to be on disk.
func BenchmarkAppend(b *testing.B) {
	l := mustOpen(b, b.TempDir(), DefaultSegmentSize)
	b.SetParallelism(16)
	var n int64
	var mu sync.Mutex
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			mu.Lock()
			n++
			key := fmt.Sprint(n)
			mu.Unlock()
			if _, err := l.Append("event", key, "id", "data"); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
