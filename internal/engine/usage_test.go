package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/mailage"
	"github.com/pec-operator/pec-operator/internal/mailtest"
	"github.com/pec-operator/pec-operator/internal/store"
)

func (w *world) usage(_ context.Context, user string) (u admin.Usage, err error) {
	if w.isFull(user) {
		return admin.Usage{Bytes: 1 << 20}, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, raw := range w.store[user] {
		u.Bytes, u.Messages = u.Bytes+int64(len(raw)), u.Messages+1
	}
	return u, nil
}

func TestUsage(t *testing.T) {
	mailtest.Inside(t, func(t *testing.T) {
		s, _, job := withDovecot(t)
		key := writeFile(t, "key", []byte(mailtest.DoveadmKey))
		s.engine.doveadmHTTP = newDoveadmHTTP("http://127.0.0.1:24280", newReloading(parseLine, key).Get)
		operator := s.client(admin.OperatorURI("a"), s.authority)
		if u, err := operator.Usage(t.Context(), sender); err != nil || u != (admin.Usage{}) {
			t.Fatalf("an empty mailbox holds %+v, %v", u, err)
		}
		if err := job.MakeFolder(t.Context(), sender, "Prot"); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if _, err := job.Save(t.Context(), sender, newMessage("Prot", i+1, hostile), bytes.NewReader(hostile)); err != nil {
				t.Fatal(err)
			}
		}
		u, err := operator.Usage(t.Context(), sender)
		if size := 3 * int64(len(hostile)); err != nil || u.Messages != 3 || u.Bytes < size || u.Bytes > size+4096 {
			t.Errorf("three messages of %d bytes are %+v, %v", len(hostile), u, err)
		}
		if err := os.Truncate(key, 0); err != nil {
			t.Fatal(err)
		}
		if again, err := operator.Usage(t.Context(), sender); err != nil || again != u {
			t.Errorf("with the key of before, whose file is empty now: %+v, %v, want %+v", again, err, u)
		}
		if _, err := operator.Usage(t.Context(), "nessuno@"+ours); !errors.Is(err, admin.ErrNotFound) {
			t.Errorf("a mailbox that is not there: %v", err)
		}
		if u.Ages != nil {
			t.Errorf("a mailbox that was never searched says %+v", u.Ages)
		}
		checkAges(t, s, operator, job)
	})
}

// checkAges has three messages of some years ago, and puts others beside them.
func checkAges(t *testing.T, s *site, operator *admin.Client, job *store.Client) {
	size := int64(len(hostile))
	for i, days := range []int{3, 29, 100} {
		m := newMessage("Prot", 10+i, hostile)
		m.Date = s.now.AddDate(0, 0, -days)
		if _, err := job.Save(t.Context(), sender, m, bytes.NewReader(hostile)); err != nil {
			t.Fatal(err)
		}
	}
	if err := job.MakeFolder(t.Context(), sender, store.Expunged); err != nil {
		t.Fatal(err)
	}
	deleted := newMessage(store.Expunged, 20, hostile)
	deleted.Date = s.now.AddDate(0, 0, -1)
	if _, err := job.Save(t.Context(), sender, deleted, bytes.NewReader(hostile)); err != nil {
		t.Fatal(err)
	}
	if err := s.engine.searchAges(t.Context()); err != nil {
		t.Fatal(err)
	}
	u, err := operator.Usage(t.Context(), sender)
	if err != nil || u.Ages == nil || u.Ages.Month != 2*size || u.Ages.Year != 3*size || u.Ages.Since.Unix() != s.now.AddDate(0, 0, -29).Unix() {
		t.Errorf("of six messages of %d bytes, two of this month, three of this year and one deleted: %+v, %v", size, u.Ages, err)
	}
	if u, err := operator.Usage(t.Context(), "anna@"+ours); err != nil || u.Ages == nil || *u.Ages != (mailage.Ages{}) {
		t.Errorf("an empty mailbox: %+v, %v", u.Ages, err)
	}
	if s.engine.ages.due(sender, s.now.Add(agesEvery-time.Minute)) || !s.engine.ages.due(sender, s.now.Add(agesEvery)) {
		t.Error("a mailbox is not searched once a day")
	}
}

func TestSentInMonthSurvives(t *testing.T) {
	w := newWorld(t)
	sent := func() int64 { return w.engine.senders.month(sender, w.now) }
	for range 3 {
		w.submit(sender, []string{"anna@" + ours, "ugo@" + theirs}, letter(sender, "anna@"+ours+", ugo@"+theirs, ""))
	}
	w.run(50)
	for _, days := range []int{0, 29} {
		w.later(time.Duration(days) * 24 * time.Hour)
		before := sent()
		if w.crash(); before != 3 || sent() != 3 {
			t.Errorf("three accepted messages are %d after %d days, and %d after a restart", before, days, sent())
		}
	}
	w.later(24 * time.Hour)
	before := sent()
	if w.crash(); before != 0 || sent() != 0 {
		t.Errorf("after 30 days they are %d, and after a restart %d", before, sent())
	}
}

func TestSenders(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		ago  []int // days before the first look
		then int   // days until the second
		want [2]int64
	}{
		"nobody sent":                            {nil, 1, [2]int64{0, 0}},
		"today and yesterday":                    {[]int{0, 1, 1}, 1, [2]int64{3, 3}},
		"thirty days ago is no more":             {[]int{30, 29}, 0, [2]int64{1, 1}},
		"a day is forgotten when its turn comes": {[]int{29, 28, 0}, 1, [2]int64{3, 2}},
		"all is forgotten after a long silence":  {[]int{5, 0}, 400, [2]int64{2, 0}},
	} {
		s := newSenders()
		for i, days := range c.ago {
			for range 2 { // two logs tell of each
				s.add("a@b.test", fmt.Sprint(i), now.AddDate(0, 0, -days), now)
			}
		}
		got := [2]int64{s.month("a@b.test", now), s.month("a@b.test", now.AddDate(0, 0, c.then))}
		if got != c.want {
			t.Errorf("%s: %d", name, got)
		}
	}
	s := newSenders()
	for day := range 400 {
		at := now.AddDate(0, 0, day)
		s.add("a@b.test", at.String(), at, at)
	}
	if n := len(s.counted); n != mailage.MonthDays {
		t.Errorf("%d submissions are remembered after a year of one a day", n)
	}
}
