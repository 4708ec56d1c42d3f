package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func mustMirror(t testing.TB, dir string, base Position) *Mirror {
	t.Helper()
	m, err := OpenMirror(dir, base, clock())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// catchUp carries over what the mirror does not have, in pieces of about so many bytes.
func catchUp(t testing.TB, l *Log, m *Mirror, about int) {
	t.Helper()
	r, err := l.After(m.Head())
	if err != nil {
		t.Fatal(err)
	}
	for {
		lines, err := r.Next(about)
		if err != nil {
			t.Fatal(err)
		}
		if len(lines) == 0 {
			return
		}
		if _, err := m.Extend(lines); err != nil {
			t.Fatal(err)
		}
		if m.Head() != r.At() {
			t.Fatalf("the mirror is at %v, the reader at %v", m.Head(), r.At())
		}
	}
}

// content is all lines of a log's directory, in order.
func content(t testing.TB, dir string) (all []byte) {
	t.Helper()
	paths, err := segmentPaths(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, raw...)
	}
	return all
}

// However the records come, in whatever pieces, across restarts of both and power cuts of the mirror, it ends as the same bytes.
func TestMirrorBecomesTheLogByteForByte(t *testing.T) {
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 3))
		dir, mirrorDir := t.TempDir(), filepath.Join(t.TempDir(), "mirror")
		at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
		open := func() *Log {
			l, err := Open(dir, 3000, func() time.Time { at = at.Add(time.Duration(random.IntN(7200)) * time.Second); return at })
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		l, m := open(), mustMirror(t, mirrorDir, Position{})
		for n := range 60 {
			for i := range random.IntN(12) {
				if _, err := l.Append("event", fmt.Sprint(n, " ", i), "", strings.Repeat("x", random.IntN(900))); err != nil {
					t.Fatal(err)
				}
			}
			switch random.IntN(6) {
			case 0:
				_ = l.Close()
				l = open()
			case 1:
				_ = m.Close()
				if random.IntN(2) == 0 {
					tear(t, mirrorDir, random)
				}
				m = mustMirror(t, mirrorDir, Position{})
			case 2, 3:
				catchUp(t, l, m, 1+random.IntN(5000))
			}
		}
		catchUp(t, l, m, 1)
		if records, head := l.Head(); m.Head() != (Position{records, head}) {
			t.Fatalf("the mirror ends at %v, the log at %d", m.Head(), records)
		}
		_, _ = l.Close(), m.Close()
		if !bytes.Equal(content(t, dir), content(t, mirrorDir)) {
			t.Fatal("the mirror holds other bytes than the log")
		}
		if report, err := Verify(mirrorDir, Expect{}); err != nil || len(report.Faults) > 0 {
			t.Fatalf("the mirror does not verify: %v %v", report.Faults, err)
		}
	}
}

// tear cuts off the last bytes of a log, as a power cut may.
func tear(t *testing.T, dir string, random *rand.Rand) {
	paths, _ := segmentPaths(dir)
	path := paths[len(paths)-1]
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw[:len(raw)-min(len(raw), random.IntN(2000))], 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMirrorTakesNothingThatDoesNotFollow(t *testing.T) {
	dir, _ := filled(t, 20, DefaultSegmentSize)
	lines := bytes.SplitAfter(content(t, dir), []byte("\n"))
	otherDir := t.TempDir()
	other := mustOpen(t, otherDir, DefaultSegmentSize)
	for i := range 12 {
		if _, err := other.Append("event", fmt.Sprint(i), "", "of another log"); err != nil {
			t.Fatal(err)
		}
	}
	strange := bytes.SplitAfter(content(t, otherDir), []byte("\n"))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, wrong := range map[string][]byte{
		"a record is left out":              join(lines[10], lines[12]),
		"the first one is left out":         lines[11],
		"two are exchanged":                 join(lines[11], lines[10]),
		"one comes twice":                   join(lines[10], lines[10]),
		"one that is here comes again":      lines[9],
		"a byte is changed":                 bytes.Replace(lines[10], []byte("event"), []byte("evenT"), 1),
		"the last one is cut":               join(lines[10], lines[11][:40]),
		"it goes on with another log":       join(lines[10], strange[11]),
		"the bytes are no records":          []byte("ciao\n"),
		"there is an empty line in between": join(lines[10], []byte("\n"), lines[11]),
	} {
		t.Run(name, func(t *testing.T) {
			mirrorDir := t.TempDir()
			m := mustMirror(t, mirrorDir, Position{})
			if _, err := m.Extend(join(lines[:10]...)); err != nil {
				t.Fatal(err)
			}
			before := m.Head()
			if _, err := m.Extend(wrong); !errors.Is(err, errBroken) {
				t.Fatalf("it was taken: %v", err)
			}
			if m.Head() != before || !bytes.Equal(content(t, mirrorDir), join(lines[:10]...)) {
				t.Error("something of it was written")
			}
			if _, err := m.Extend(lines[10]); err != nil {
				t.Errorf("what follows is not taken any more: %v", err)
			}
		})
	}
}

// The seals of a mirrored log are at the other site: they are missed in a log, and named in a mirror.
func TestVerifyOfAMirrorNamesTheSealsThatAreElsewhere(t *testing.T) {
	dir, mirrorDir := t.TempDir(), filepath.Join(t.TempDir(), "mirror")
	l := mustOpen(t, dir, DefaultSegmentSize)
	if _, err := l.Append(KindSealed, "2026-11-20", "", sealedData{Seal: strings.Repeat("0", 64), Signature: strings.Repeat("1", 64)}); err != nil {
		t.Fatal(err)
	}
	catchUp(t, l, mustMirror(t, mirrorDir, Position{}), 1<<20)
	for where, want := range map[string][2]int{dir: {2, 0}, mirrorDir: {0, 2}} {
		report, err := Verify(where, Expect{})
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]int{len(report.Faults), len(report.Notes)}; got != want {
			t.Errorf("%d faults and %d notes, want %v: %v %v", got[0], got[1], want, report.Faults, report.Notes)
		}
	}
}

func TestReadingBehindARecordThatIsNotThere(t *testing.T) {
	dir, head := filled(t, 20, 2048)
	l := mustOpen(t, dir, 2048)
	for name, p := range map[string]Position{
		"beyond the end":               {21, head},
		"of another log":               {7, head},
		"before the beginning":         {0, head},
		"the last, with another hash":  {20, strings.Repeat("0", 64)},
		"one in the middle, no hash":   {12, ""},
		"far beyond, and of another's": {1 << 60, strings.Repeat("f", 64)},
	} {
		if _, err := l.After(p); !errors.Is(err, ErrElsewhere) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r, err := l.After(Position{20, head}); err != nil || r.At().Seq != 20 {
		t.Errorf("behind the last: %v", err)
	}
}

// A log whose oldest files went to long-term storage can still be mirrored by a site that begins with nothing.
func TestMirrorOfALogWithoutItsBeginning(t *testing.T) {
	dir := t.TempDir()
	whole := mustMirror(t, dir, Position{7, strings.Repeat("a", 64)})
	_ = whole.Close()
	m := mustMirror(t, dir, Position{})
	if m.Head().Seq != 7 {
		t.Fatalf("it begins after record %d", m.Head().Seq)
	}
	r := Record{Seq: 8, Time: clock()(), Kind: "event", Key: "8", Prev: strings.Repeat("a", 64)}
	line, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Extend(line); err != nil {
		t.Fatal(err)
	}
	_ = m.Close()
	if m = mustMirror(t, dir, Position{}); m.Head().Seq != 8 {
		t.Fatalf("reopened after record %d", m.Head().Seq)
	}
}

func TestLogThatIsBegunAnewHasAnotherName(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, DefaultSegmentSize)
	first, err := l.Identity("a")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	again, err := mustOpen(t, dir, DefaultSegmentSize).Identity("a")
	if err != nil || again != first {
		t.Fatalf("reopened it is %q, before %q: %v", again, first, err)
	}
	if other, err := mustOpen(t, t.TempDir(), DefaultSegmentSize).Identity("a"); err != nil || other == first {
		t.Fatalf("another log has the same name: %v", err)
	}
}

func TestCustodyTakesOnlyWhatItsNameSays(t *testing.T) {
	c, err := OpenCustody(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenCustody(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	digest, err := c.Put([]byte("una busta"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{strings.Repeat("0", 64), strings.ToUpper(digest), "../../../../../../../../../../../../../../../../../../../etc/pass", ""} {
		if err := other.Take(name, strings.NewReader("una busta")); !errors.Is(err, ErrOther) {
			t.Errorf("%q was taken: %v", name, err)
		}
	}
	if err := other.Take(digest, strings.NewReader("un'altra busta")); !errors.Is(err, ErrOther) || other.Has(digest) {
		t.Errorf("another body under the same name: %v", err)
	}
	for range 2 {
		if err := other.Take(digest, strings.NewReader("una busta")); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := other.Get(digest); err != nil || string(got) != "una busta" {
		t.Errorf("%q, %v", got, err)
	}
	if left, _ := filepath.Glob(filepath.Join(other.dir, ".new-*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestWhatWasCopiedOutlivesARestart(t *testing.T) {
	dir, _ := filled(t, 9, DefaultSegmentSize)
	m := mustMirror(t, dir, Position{})
	want := Copied{Seq: 6, Lacking: []string{strings.Repeat("0", 64), strings.Repeat("1", 64)}}
	if err := m.SetCopied(want); err != nil {
		t.Fatal(err)
	}
	_ = m.Close()
	m = mustMirror(t, dir, Position{})
	if got := m.Copied(); got.Seq != want.Seq || strings.Join(got.Lacking, " ") != strings.Join(want.Lacking, " ") {
		t.Errorf("%v, want %v", got, want)
	}
	if r, err := m.Behind(m.Copied().Seq); err != nil || r.At().Seq != 6 {
		t.Errorf("reading on: %v", err)
	}
	if err := m.SetCopied(Copied{Lacking: make([]string, maxLacking+1)}); err == nil {
		t.Error("there is no end to what may be lacking")
	}
}
