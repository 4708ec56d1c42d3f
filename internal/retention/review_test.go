package retention

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pec-operator/pec-operator/internal/store"
)

// twin is a mailbox with the same messages under other names and numbers, as another site's store may have them.
func twin(box *mailbox) *mailbox {
	other := &mailbox{folders: map[string][]stored{}}
	for folder, messages := range box.folders {
		for i := len(messages) - 1; i >= 0; i-- {
			m := messages[i]
			m.GUID, m.UID = store.Digest([]byte(m.GUID))[:32], uint32(1000+len(messages)-i)
			other.folders[folder] = append(other.folders[folder], m)
		}
	}
	return other
}

func TestTwoSitesListTheSameFromTheirOwnStores(t *testing.T) {
	smallPackages(t, 30)
	dir := t.TempDir()
	place, box := Directory(dir), newMailbox(t, 90)
	if first := archive(t, box, place, task(t, daysAgo(200))); first.Archived == 0 || first.Archived == int64(box.count()) {
		t.Fatalf("the first run archived %d of %d messages", first.Archived, box.count())
	}
	later := task(t, noon)
	later.Day = noon.AddDate(0, 0, 40)
	later.Removal = &Removal{ArchivedBefore: later.Day.AddDate(0, 0, -30)}
	here := archive(t, box, place, later)
	if here.Due.Count == 0 {
		t.Fatal("nothing is due")
	}
	review := func(t *testing.T, from source) Result {
		t.Helper()
		result, err := Review(context.Background(), from, place, later)
		if err != nil || !result.Reviewed || result.Messages != 0 {
			t.Fatalf("reviewed %+v, %v", result, err)
		}
		return result
	}
	old := func(b *mailbox) *stored { // one that is due
		t.Helper()
		for i, m := range b.folders["Sent"] {
			if m.Date.Before(daysAgo(200)) {
				return &b.folders["Sent"][i]
			}
		}
		t.Fatal("no old message")
		return nil
	}
	files := func() (n int) {
		entries, err := os.ReadDir(filepath.Join(dir, "pec.test/ufficio"))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := files()
	t.Run("equal mail, whatever it is called there", func(t *testing.T) {
		if there := review(t, twin(box)); there.Due != here.Due {
			t.Errorf("here %+v, there %+v", here.Due, there.Due)
		}
	})
	t.Run("one message of which a byte is another's", func(t *testing.T) {
		there := twin(box)
		m := old(there)
		m.raw = append([]byte("x"), m.raw[1:]...)
		if got := review(t, there); got.Due.Count != here.Due.Count-1 || got.Due.Digest == here.Due.Digest {
			t.Errorf("here %+v, there %+v", here.Due, got.Due)
		}
	})
	t.Run("a folder that is not there", func(t *testing.T) {
		there := twin(box)
		delete(there.folders, "Sent")
		if got := review(t, there); got.Due.Count >= here.Due.Count {
			t.Errorf("here %+v, there %+v", here.Due, got.Due)
		}
	})
	t.Run("a package without its seal proves nothing, and is not sealed", func(t *testing.T) {
		entries, err := os.ReadDir(filepath.Join(dir, "pec.test/ufficio"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), sealSuffix) {
				if err := os.Remove(filepath.Join(dir, "pec.test/ufficio", e.Name())); err != nil {
					t.Fatal(err)
				}
				before--
				break
			}
		}
		if got := review(t, twin(box)); got.Due.Count >= here.Due.Count {
			t.Errorf("here %+v, there %+v", here.Due, got.Due)
		}
	})
	if after := files(); after != before {
		t.Errorf("a review wrote into the archive: %d files, were %d", after, before)
	}
	held := later
	held.Removal = &Removal{ArchivedBefore: later.Removal.ArchivedBefore, Held: true}
	there := twin(box)
	if got, err := Review(context.Background(), there, place, held); err != nil || got.Due.Count != 0 || there.opened != 0 {
		t.Errorf("under a hold %+v is due, and %d messages were read (%v)", got.Due, there.opened, err)
	}
}
