package evidence

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func indexesOf(t testing.TB, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"+indexSuffix))
	if err != nil || len(paths) < 5 {
		t.Fatalf("%d indexes, %v", len(paths), err)
	}
	return paths
}

func change(t testing.TB, path string, how func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, how(raw), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whatever becomes of the derived files, every record is found, nothing else is, and only the open segment is in memory.
func TestIndexesAreDerived(t *testing.T) {
	const records, segmentSize = 500, 4 << 10
	flip := func(raw []byte) []byte { raw[len(raw)/2] ^= 1; return raw }
	for name, damage := range map[string]func(t *testing.T, indexes []string){
		"nothing":                   func(*testing.T, []string) {},
		"all are gone":              func(t *testing.T, list []string) { removeAll(t, list...) },
		"one is gone":               func(t *testing.T, list []string) { removeAll(t, list[2]) },
		"one was cut":               func(t *testing.T, list []string) { change(t, list[1], func(b []byte) []byte { return b[:len(b)-40] }) },
		"one is empty":              func(t *testing.T, list []string) { change(t, list[1], func([]byte) []byte { return nil }) },
		"a byte of one changed":     func(t *testing.T, list []string) { change(t, list[3], flip) },
		"one is another segment's":  func(t *testing.T, list []string) { copyFile(t, list[0], list[1]) },
		"a segment was copied back": func(t *testing.T, list []string) { change(t, segmentOf(list[2]), func(b []byte) []byte { return b }) },
		"the engine was killed in one": func(t *testing.T, list []string) {
			copyFile(t, list[0], filepath.Join(filepath.Dir(list[0]), ".new"+indexSuffix))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, head := filled(t, records, segmentSize)
			damage(t, indexesOf(t, dir))
			l := mustOpen(t, dir, segmentSize)
			if n, got := l.Head(); n != records || got != head {
				t.Fatalf("head %d %s", n, got)
			}
			for range 2 { // again after more records, in more segments
				for i := range records {
					r, found, err := l.Get("event", fmt.Sprint(i))
					if err != nil || !found || r.Key != fmt.Sprint(i) || r.Seq != uint64(i+1) {
						t.Fatalf("record %d: %+v, %v, %v", i, r, found, err)
					}
				}
				for i := range records {
					if _, found, err := l.Get("event", fmt.Sprint("x", i)); found || err != nil {
						t.Fatalf("found what is not there: %v", err)
					}
				}
				for i := range 60 {
					if r, err := l.Append("event", fmt.Sprint(i), "id", "other"); err != nil || r.Seq != uint64(i+1) {
						t.Fatalf("appended twice: %+v, %v", r, err)
					}
				}
				head, _ := l.Head()
				for i := range 60 {
					if _, err := l.Append("later", fmt.Sprint(head, i), "id", "new"); err != nil {
						t.Fatal(err)
					}
				}
			}
			if n := len(l.index); n > 60 {
				t.Errorf("%d places in memory", n)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			var faults []string
			if err := Walk(dir, func(string, Record) error { return nil }, func(f string) { faults = append(faults, f) }); err != nil || len(faults) > 0 {
				t.Errorf("the log does not verify: %v, %v", err, faults)
			}
		})
	}
}

func removeAll(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func segmentOf(index string) string { return strings.TrimSuffix(index, indexSuffix) + segmentSuffix }

// A changed segment is found when the log is opened, as if there were no index; one whose time was set back is found when the record
// is read, and by a verification.
func TestIndexHidesNoTampering(t *testing.T) {
	const records, segmentSize = 500, 4 << 10
	dir, _ := filled(t, records, segmentSize)
	segment := segmentOf(indexesOf(t, dir)[1])
	info, err := os.Stat(segment)
	if err != nil {
		t.Fatal(err)
	}
	change(t, segment, func(b []byte) []byte { b[strings.Index(string(b), `"n":`)+4] ^= 1; return b })
	if _, err := Open(dir, segmentSize, clock()); err == nil || !strings.Contains(err.Error(), filepath.Base(segment)) {
		t.Errorf("opened a log with a changed segment: %v", err)
	}
	if err := os.Chtimes(segment, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, dir, segmentSize)
	broken := 0
	for i := range records {
		if _, _, err := l.Get("event", fmt.Sprint(i)); err != nil {
			broken++
		}
	}
	var faults []string
	if err := Walk(dir, func(string, Record) error { return nil }, func(f string) { faults = append(faults, f) }); err != nil || broken != 1 || len(faults) == 0 {
		t.Errorf("%d records broken, faults %v, %v", broken, faults, err)
	}
}

// BenchmarkOpen opens a log of a million records whose closed segments have their indexes, and looks records up. "B-heap/record" is
// what the log keeps in memory of each, "cold-s" is an opening that has to read all.
func BenchmarkOpen(b *testing.B) {
	const records = 1_000_000
	dir := b.TempDir()
	writeLog(b, dir, records)
	start := time.Now()
	l := mustOpen(b, dir, DefaultSegmentSize)
	cold := time.Since(start)
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		l, err := Open(dir, DefaultSegmentSize, time.Now)
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(cold.Seconds(), "cold-s")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/records, "B-heap/record")
}

// BenchmarkAbsent is the question that each new record asks: is its key there already?
func BenchmarkAbsent(b *testing.B) {
	dir := b.TempDir()
	writeLog(b, dir, 1_000_000)
	l := mustOpen(b, dir, DefaultSegmentSize)
	n := 0
	for b.Loop() {
		n++
		if _, found, err := l.Get("absent", fmt.Sprint(n)); found || err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(l.closed)), "segments")
}

// writeLog writes the segments of a log as the log would, without syncing each record.
func writeLog(b *testing.B, dir string, records int) {
	b.Helper()
	at := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	transit := map[string]any{"sender": "mario.rossi@pec.comune-esempio.test", "recipients": []string{"protocollo@pec.regione-esempio.test"}, "subject": "Trasmissione della delibera di giunta comunale", "digest": strings.Repeat("0a1b2c3d", 8)}
	var at0 Position
	var segment []byte
	first := uint64(1)
	flush := func() {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%020d%s", first, segmentSuffix)), segment, 0o600); err != nil {
			b.Fatal(err)
		}
		segment, first = segment[:0], at0.Seq+1
	}
	data, err := json.Marshal(transit)
	if err != nil {
		b.Fatal(err)
	}
	for i := range records {
		r := Record{Seq: at0.Seq + 1, Time: at.Add(time.Duration(i) * time.Millisecond), Kind: "delivered", Key: fmt.Sprintf("%032x", i), Identifier: fmt.Sprintf("pec%026d@pec.gestore-uno.test", i/8), Data: data, Prev: at0.Head}
		line, err := r.encode()
		if err != nil {
			b.Fatal(err)
		}
		segment = append(segment, line...)
		at0 = Position{r.Seq, r.Hash}
		if len(segment) >= DefaultSegmentSize {
			flush()
		}
	}
	flush()
}
