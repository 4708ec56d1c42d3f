package retention

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/store"
)

const office = "ufficio@pec.test"

func task(t testing.TB, before time.Time) Task {
	return Task{Address: office, Rule: Rule{Before: before}, Day: noon, Work: t.TempDir()}
}

// smallPackages makes many packages of few messages, until the test ends.
func smallPackages(t testing.TB, messages int) {
	t.Helper()
	was := packageLimits
	packageLimits.messages = messages
	t.Cleanup(func() { packageLimits = was })
}

func archive(t testing.TB, box source, to Place, task Task) Result {
	t.Helper()
	result, err := Archive(context.Background(), box, to, task)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// restoredFrom is a mailbox into which everything was restored.
func restoredFrom(t testing.TB, place Place) *mailbox {
	t.Helper()
	empty := &mailbox{folders: map[string][]stored{}}
	if _, err := Restore(context.Background(), place, office, Wanted{}, &StoreSink{Store: empty, Address: office}); err != nil {
		t.Fatal(err)
	}
	return empty
}

func TestArchiveAndRestoreAreEqual(t *testing.T) {
	smallPackages(t, 50)
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			box := newMailbox(t, 400)
			result := archive(t, box, place, task(t, noon))
			if result.Archived != int64(box.count()) || len(result.Packages) < 5 {
				t.Errorf("archived %d of %d messages in %d packages", result.Archived, box.count(), len(result.Packages))
			}
			if diff := cmp.Diff(box.all(), restoredFrom(t, place).all()); diff != "" {
				t.Errorf("restored: %s", diff)
			}
			again := archive(t, box, place, task(t, noon))
			if again.Archived != 0 || len(again.Packages) != 0 || again.Messages != result.Archived {
				t.Errorf("a second run archived %d messages, of %d in all", again.Archived, again.Messages)
			}
		})
	}
}

func TestTwoArchivesOfOneMailboxAreTheSameFiles(t *testing.T) {
	box, a, b := newMailbox(t, 100), Directory(t.TempDir()), Directory(t.TempDir())
	if diff := cmp.Diff(archive(t, box, a, task(t, noon)), archive(t, box, b, task(t, noon))); diff != "" {
		t.Error(diff)
	}
}

func TestALaterRunAddsWhatBecameDue(t *testing.T) {
	place, box := Directory(t.TempDir()), newMailbox(t, 100)
	first := task(t, daysAgo(200))
	one := archive(t, box, place, first)
	if one.Archived == 0 || one.Archived == int64(box.count()) {
		t.Fatalf("the first run archived %d of %d messages", one.Archived, box.count())
	}
	second := task(t, noon)
	second.Day = noon.AddDate(0, 0, 40)
	second.Removal = &Removal{ArchivedBefore: second.Day.AddDate(0, 0, -30)}
	two := archive(t, box, place, second)
	if one.Archived+two.Archived != int64(box.count()) {
		t.Errorf("%d and %d of %d messages", one.Archived, two.Archived, box.count())
	}
	if two.Due.Count == 0 || two.Due.Count > one.Archived || len(two.Due.Digest) != 64 {
		t.Errorf("of %d messages archived forty days ago, %d are due", one.Archived, two.Due.Count)
	}
	if diff := cmp.Diff(box.all(), restoredFrom(t, place).all()); diff != "" {
		t.Error(diff)
	}
}

func TestReceiptsStandBesideTheirMessage(t *testing.T) {
	place, box := Directory(t.TempDir()), newMailbox(t, 60)
	archive(t, box, place, task(t, noon))
	archived, err := Catalogue(context.Background(), place, office)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, a := range archived {
		if i > 0 && a.Identifier != "" && a.Identifier != archived[i-1].Identifier && seen[a.Identifier] {
			t.Errorf("%s is in two places", a.Identifier)
		}
		seen[a.Identifier] = true
	}
	if len(seen) < 5 {
		t.Fatalf("%d identifiers found", len(seen))
	}
}

func TestRestoreOfOneMessageAndTwice(t *testing.T) {
	place, box := Directory(t.TempDir()), newMailbox(t, 60)
	archive(t, box, place, task(t, noon))
	archived, err := Catalogue(context.Background(), place, office)
	if err != nil {
		t.Fatal(err)
	}
	var one Archived
	for _, a := range archived {
		if a.Class == Certified {
			one = a
		}
	}
	dir := t.TempDir()
	for name, want := range map[string]struct {
		wanted         Wanted
		added, existed int
	}{
		"a message by its hash":                          {wanted: Wanted{SHA256: one.SHA256}},
		"a message with its receipts, by the identifier": {wanted: Wanted{Identifier: one.Identifier}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Restore(context.Background(), place, office, want.wanted, DirectorySink(filepath.Join(dir, name)))
			if err != nil {
				t.Fatal(err)
			}
			again, err := Restore(context.Background(), place, office, want.wanted, DirectorySink(filepath.Join(dir, name)))
			if err != nil || again.Added != 0 || again.Existed != got.Added || got.Added == 0 {
				t.Errorf("first %+v, then %+v, %v", got, again, err)
			}
		})
	}
	var whole int
	err = filepath.WalkDir(filepath.Join(dir, "a message by its hash"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			raw, readErr := os.ReadFile(path)
			if store.Digest(raw) != one.SHA256 {
				t.Errorf("%s is not the message (%v)", path, readErr)
			}
			whole++
		}
		return err
	})
	if err != nil || whole == 0 {
		t.Errorf("%d files, %v", whole, err)
	}
	into := restoredFrom(t, place)
	before := into.count()
	got, err := Restore(context.Background(), place, office, Wanted{}, &StoreSink{Store: into, Address: office})
	if err != nil || got.Added != 0 || into.count() != before {
		t.Errorf("a second restore into the mailbox added %d messages (%v)", got.Added, err)
	}
	if got, err = Restore(context.Background(), place, office, Wanted{}, &StoreSink{Store: box, Address: office}); err != nil || got.Added != 0 {
		t.Errorf("a restore into the mailbox that still holds everything added %d messages (%v)", got.Added, err)
	}
}

func TestADamagedArchiveIsFoundAndNotRestored(t *testing.T) {
	smallPackages(t, 20)
	place, box := Directory(t.TempDir()), newMailbox(t, 60)
	result := archive(t, box, place, task(t, noon))
	victim := filepath.Join(string(place), result.Packages[1].Name)
	flip := func() {
		t.Helper()
		raw, err := os.ReadFile(victim)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)/2] ^= 4
		if err := errors.Join(os.Remove(victim), os.WriteFile(victim, raw, 0o440)); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	into := &mailbox{folders: map[string][]stored{}}
	_, err := Restore(context.Background(), place, office, Wanted{}, &StoreSink{Store: into, Address: office})
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), filepath.Base(victim)) {
		t.Errorf("restoring: %v", err)
	}
	if into.count() > 30 {
		t.Error("messages of the damaged package were restored")
	}
	flip()
	if diff := cmp.Diff(box.all(), restoredFrom(t, place).all()); diff != "" {
		t.Error(diff)
	}
}

// insideVariable is set in the process that archives until it is killed.
const insideVariable = "PEC_RETENTION_TEST_INSIDE"

func TestArchiveKilledAnywhereIsCompletedByTheNextRun(t *testing.T) {
	const messages = 600
	smallPackages(t, 25)
	if dir := os.Getenv(insideVariable); dir != "" {
		box := &reporting{mailbox: newMailbox(t, messages)}
		work := task(t, noon)
		work.Work = filepath.Join(dir, "work")
		_, err := Archive(context.Background(), box, Directory(filepath.Join(dir, "archive")), work)
		fmt.Println("finished:", err)
		return
	}
	dir, box := t.TempDir(), newMailbox(t, messages)
	kills := 0
	for after := 1; ; after = after*3/2 + 40 {
		if !killedAfter(t, dir, after) {
			break
		}
		kills++
	}
	if kills < 5 {
		t.Errorf("the archiving process was killed %d times only", kills)
	}
	place := Directory(filepath.Join(dir, "archive"))
	final := task(t, noon)
	final.Work = filepath.Join(dir, "work")
	if result := archive(t, box, place, final); result.Archived != 0 || result.Messages != int64(box.count()) {
		t.Errorf("after the run that ended by itself, %d were left to archive; the archive holds %d of %d", result.Archived, result.Messages, box.count())
	}
	if diff := cmp.Diff(box.all(), restoredFrom(t, place).all()); diff != "" {
		t.Error(diff)
	}
	whole, killed := Directory(t.TempDir()), map[string]bool{}
	for _, p := range archive(t, box, whole, task(t, noon)).Packages {
		killed[filepath.Base(p.Name)] = true
	}
	names, err := place.List(context.Background(), "pec.test/ufficio")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, packageSuffix) && !killed[filepath.Base(name)] {
			t.Errorf("%s is none of the packages of a run without a crash", name)
		}
	}
	t.Logf("killed %d times", kills)
}

// inProcess runs a test in a process of its own, and answers what it printed.
func inProcess(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// killedAfter runs the archive in a process of its own and kills it once it has opened that many messages; false if it ended first.
func killedAfter(t *testing.T, dir string, opened int) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait() //nolint:errcheck // killed
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if end, ok := strings.CutPrefix(lines.Text(), "finished: "); ok {
			if end != "<nil>" {
				t.Errorf("the archiving process ended with %s", end)
			}
			return false
		}
		if lines.Text() == "opened" {
			opened--
		}
		if opened == 0 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			return true
		}
	}
	t.Fatal("the archiving process ended without a word")
	return false
}

// reporting says when a message is opened.
type reporting struct{ *mailbox }

func (r *reporting) Open(ctx context.Context, address, folder string, uid uint32) (io.ReadCloser, error) {
	fmt.Println("opened")
	return r.mailbox.Open(ctx, address, folder, uid)
}

func TestTheJournalSurvivesATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.add(letter("a", 1)), j.add(letter("b", 2)), j.close()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(raw) {
		if err := os.WriteFile(path, raw[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := bytes.Count(raw[:cut], []byte("\n")); len(j.known) != want {
			t.Fatalf("cut at %d: %d messages known, want %d", cut, len(j.known), want)
		}
		if err := errors.Join(j.add(letter("c", 3)), j.close()); err != nil {
			t.Fatal(err)
		}
		if j, err = openJournal(path); err != nil || len(j.known) != bytes.Count(raw[:cut], []byte("\n"))+1 {
			t.Fatalf("cut at %d and written on: %d messages known (%v)", cut, len(j.known), err)
		}
		_ = j.close()
	}
}
