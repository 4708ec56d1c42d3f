package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// takeSeals gives a mirror what it lacks of a log's seals.
func takeSeals(t *testing.T, l *Log, m *Mirror) (names []string) {
	t.Helper()
	lacking, err := m.LackingSeals()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range lacking {
		raw, err := l.SealFile(f.Digest)
		if err != nil {
			t.Fatalf("%s: %v", f.Name(), err)
		}
		if err := m.TakeSeal(f, raw); err != nil {
			t.Fatal(err)
		}
		names = append(names, f.Name())
	}
	return names
}

// A mirror with the seals proves the closed days as the log itself does, time-stamps too; whatever came before or after.
func TestAMirrorProvesTheClosedDays(t *testing.T) {
	k := newKept(t)
	dir := filepath.Join(t.TempDir(), "a-0123456789abcdef")
	m := mustMirror(t, dir, Position{})
	catchUp(t, k.log, m, 1<<20)
	if report, err := Verify(dir, Expect{Now: k.now}); err != nil || len(report.Faults) > 0 || len(report.Seals) > 0 || !strings.Contains(strings.Join(report.Notes, " "), "has not come here yet") {
		t.Fatalf("without the seals: %v %+v", err, report)
	}
	if names := takeSeals(t, k.log, m); len(names) != 5*2+3 {
		t.Fatalf("%d files: %v", len(names), names)
	}
	k.fill(t, "later", 2)
	k.now = k.now.AddDate(0, 0, 1)
	k.sealer.Pass(t.Context())
	catchUp(t, k.log, m, 1<<20)
	_ = m.Close()
	m = mustMirror(t, dir, Position{}) // what is lacking is known after a restart too
	if names := takeSeals(t, k.log, m); len(names) != 2 {
		t.Fatalf("after another day: %v", names)
	}
	if left, err := m.LackingSeals(); err != nil || len(left) > 0 {
		t.Fatalf("%v %v", left, err)
	}
	expect := Expect{Roots: k.root.pool(), Provider: provider, Now: k.now}
	mirrored, err := Verify(dir, expect)
	if err != nil {
		t.Fatal(err)
	}
	if mirrored.Log != "a-0123456789abcdef" || mirrored.Site != "a" {
		t.Errorf("it is said to be %s of site %s", mirrored.Log, mirrored.Site)
	}
	own, err := Verify(k.dir, expect)
	if err != nil {
		t.Fatal(err)
	}
	own.Log = mirrored.Log
	if diff := cmp.Diff(own, mirrored); diff != "" {
		t.Errorf("log and mirror verify differently (-log +mirror):\n%s", diff)
	}
	if len(own.Seals) != 6 || own.Seals[0].Stamped.IsZero() || own.Seals[5].Chains != "trusted" || len(own.Faults) > 0 {
		t.Errorf("%+v", own)
	}
	if _, err := k.log.SealFile(strings.Repeat("0", 64)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that there is not: %v", err)
	}
}

// A mirror of a log whose first days were taken away after their time begins with the first day that it has whole.
func TestAMirrorThatBeganLateProvesWhatItHas(t *testing.T) {
	k := newKept(t)
	seals, err := readSeals(k.dir)
	if err != nil {
		t.Fatal(err)
	}
	base := Position{seals[1].Last, seals[1].Head}
	dir := t.TempDir()
	m := mustMirror(t, dir, base)
	reader, err := k.log.After(base)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := reader.Next(1 << 20)
	for ; err == nil && len(lines) > 0; lines, err = reader.Next(1 << 20) {
		if _, err := m.Extend(lines); err != nil {
			t.Fatal(err)
		}
	}
	takeSeals(t, k.log, m)
	expect := Expect{Roots: k.root.pool(), Provider: provider, Now: k.now.AddDate(0, keepMonths, 1)}
	report, err := Verify(dir, expect)
	if err != nil || len(report.Faults) > 0 || len(report.Seals) != 3 || report.Unsealed != 4 {
		t.Errorf("%v %+v", err, report)
	}
	expect.Now = k.now // or whoever hides days would call a log a mirror
	if report, err = Verify(dir, expect); err != nil || len(report.Faults) != 1 || !strings.Contains(report.Faults[0], "must be kept") {
		t.Errorf("while what was before must be there: %v %q", err, report.Faults)
	}
}

func TestAMirrorTakesNoSealThatDoesNotFit(t *testing.T) {
	const day = "2026-11-21"
	seal := func(day string, last int, head string) string {
		return fmt.Sprintf(`{"version":1,"day":%q,"first":1,"last":%d,"head":%q}`, day, last, head)
	}
	signature, zero := "una firma", strings.Repeat("0", 64)
	cases := map[string]struct {
		recorded, given string // the seal's own file; head stands for that of record 3
		unsigned        bool
		taken           bool
	}{
		"the seal that was recorded":                      {recorded: seal(day, 3, "head"), taken: true},
		"another file than was recorded":                  {recorded: seal(day, 3, "head"), given: seal(day, 2, "head")},
		"a recorded seal of records that are others here": {recorded: seal(day, 3, zero)},
		"a recorded seal of records that are not here":    {recorded: seal(day, 99, zero)},
		"a recorded seal of another day":                  {recorded: seal("2026-11-20", 3, "head")},
		"a recorded seal that is none":                    {recorded: "un seme"},
		"a seal whose signature did not come":             {recorded: seal(day, 3, "head"), unsigned: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			source, err := Open(t.TempDir(), DefaultSegmentSize, func() time.Time { return time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC) })
			if err != nil {
				t.Fatal(err)
			}
			defer source.Close()
			for i := range 3 {
				if _, err := source.Append("event", fmt.Sprint(i), "", nil); err != nil {
					t.Fatal(err)
				}
			}
			_, head := source.Head()
			recorded, given := strings.ReplaceAll(c.recorded, `"head":"head"`, `"head":"`+head+`"`), strings.ReplaceAll(c.given, `"head":"head"`, `"head":"`+head+`"`)
			if given == "" {
				given = recorded
			}
			if _, err := source.Append(KindSealed, day, "", sealedData{Seal: hexDigest([]byte(recorded)), Signature: hexDigest([]byte(signature))}); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			m := mustMirror(t, dir, Position{})
			catchUp(t, source, m, 1<<20)
			lacking, err := m.LackingSeals()
			if err != nil || len(lacking) != 2 || lacking[0].Name() != day+signatureSuffix {
				t.Fatalf("%v %v", lacking, err)
			}
			if !c.unsigned {
				if err := m.TakeSeal(lacking[0], []byte(signature)); err != nil {
					t.Fatal(err)
				}
			}
			err = m.TakeSeal(lacking[1], []byte(given))
			if _, there := os.Stat(sealPath(dir, day, sealSuffix)); (err == nil) != c.taken || (there == nil) != c.taken || (err != nil && !errors.Is(err, ErrOther)) {
				t.Errorf("taken: %v, there: %v", err, there)
			}
		})
	}
}

func TestSourcesOfAnEnginesState(t *testing.T) {
	state := t.TempDir()
	own := mustOpen(t, filepath.Join(state, OwnDir), DefaultSegmentSize)
	chain, err := own.Identity("a")
	if err != nil {
		t.Fatal(err)
	}
	want := []Source{{filepath.Join(state, OwnDir), chain, "a"}}
	for _, name := range []string{"a-0123456789abcdef", "b-0123456789abcdef", "b-0123456789abcdef@12-0123456789abcdef"} {
		mustMirror(t, filepath.Join(state, MirrorsDir, name), Position{})
		want = append(want, Source{filepath.Join(state, MirrorsDir, name), name, SiteOf(name)})
	}
	mustMirror(t, filepath.Join(state, MirrorsDir, "b-0123456789abcdef.damaged-1"), Position{})
	got, err := Sources(state)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for _, one := range want {
		if got, err := Sources(one.Dir); err != nil || len(got) != 1 || got[0] != one {
			t.Errorf("%s alone: %v %v", one.Name, got, err)
		}
	}
	if _, err := Sources(t.TempDir()); err == nil {
		t.Error("an empty folder has logs")
	}
}
