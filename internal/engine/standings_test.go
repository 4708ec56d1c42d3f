package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
	"github.com/pec-operator/pec-operator/internal/evidence"
)

// former is a row as the operator places it for a mailbox of a body.
func former(t *testing.T, name string, access admin.Access, quota int64) admin.Mailbox {
	t.Helper()
	row := admin.Mailbox{
		Address: name + "@" + ours, Domain: ours, Password: hashed(t, first), CredentialsVersion: "s/1", QuotaBytes: quota, Access: access,
		OrdinaryMail: admin.OrdinaryDiscard, AdmittedAs: "Massive", AdmittedIn: "regione/pec.regione.test", Owner: admin.Owner{Namespace: "comune", UID: "u-" + name},
	}
	return row
}

// close places what the operator does when a resource is gone.
func (w *world) close(row admin.Mailbox) admin.Mailbox {
	w.t.Helper()
	row.Password, row.Access, row.ClosedAt = "", admin.AccessClosed, w.time().UTC().Truncate(time.Second)
	w.place(admin.Place{Address: row.Address, Mailbox: &row})
	return row
}

// wantRow fails unless the directory holds a row; of a restored one the password is nobody's business.
func (w *world) wantRow(what string, want admin.Mailbox) {
	w.t.Helper()
	got, err := w.engine.directory.Mailbox(w.t.Context(), want.Address)
	want.Password = ""
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		w.t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
	}
}

func TestADirectoryThatWasLostIsMadeAgainFromTheLog(t *testing.T) {
	w := newWorld(t)
	open, gone, old := former(t, "resta", admin.AccessFull, 5), former(t, "chiusa", admin.AccessFull, 7), former(t, "vecchia", admin.AccessClosed, 9)
	w.place(admin.Place{Address: open.Address, Mailbox: &open})
	w.place(admin.Place{Address: gone.Address, Mailbox: &gone})
	gone.QuotaBytes = 8 // what the contract counts at the end
	w.place(admin.Place{Address: gone.Address, Mailbox: &gone})
	gone = w.close(gone)
	old.ClosedAt = w.now.UTC().Add(-time.Hour)
	if _, err := w.engine.directory.PutMailbox(t.Context(), old); err != nil { // by a release that recorded nothing of it
		t.Fatal(err)
	}
	w.crash()
	records, _ := w.engine.evidence.Head()
	w.crash()
	if again, _ := w.engine.evidence.Head(); again != records {
		t.Errorf("%d records were written about rows that did not change", again-records)
	}
	w.loseDirectory()
	open.Access, open.Restored = admin.AccessSuspended, true // until the operator says
	w.wantRow("an open mailbox", open)
	w.wantRow("one that was closed", gone)
	old.CredentialsVersion = ""
	w.wantRow("one of a release that recorded nothing", old)
	records, _ = w.engine.evidence.Head()
	w.crash()
	if again, _ := w.engine.evidence.Head(); again != records {
		t.Errorf("%d records were written about rows that were restored", again-records)
	}
}

// A building whose volume is new says that it does not know what was, until all of it is there again.
func TestSiteThatIsRebuiltGetsItsTombstonesBackBeforeItSaysSo(t *testing.T) {
	a, b := newTwins(t)
	open, gone := former(t, "resta", admin.AccessFull, 5), former(t, "chiusa", admin.AccessFull, 7)
	var closed admin.Mailbox
	for _, x := range []*twin{a, b} {
		x.place(admin.Place{Address: open.Address, Mailbox: &open})
		x.place(admin.Place{Address: gone.Address, Mailbox: &gone})
		closed = x.close(gone)
	}
	there := former(t, "solo-di-la", admin.AccessFull, 3) // was never here
	b.place(admin.Place{Address: there.Address, Mailbox: &there})
	there = b.close(there)
	elsewhere := former(t, "aperta-di-la", admin.AccessFull, 3)
	b.place(admin.Place{Address: elsewhere.Address, Mailbox: &elsewhere})
	agree(t, a, b)
	a.wantRow("what was closed at the other site only", func() admin.Mailbox { m := there; m.CredentialsVersion = ""; return m }())
	if _, err := a.engine.directory.Mailbox(t.Context(), elsewhere.Address); !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("what is open at the other site came without its resource: %v", err)
	}

	cut(a, b)
	later(time.Hour, a, b)
	a.alone = true
	a.rebuild(b)
	for range 2 { // also after a restart in the middle
		if got := a.engine.recallState(); got == admin.RecallDone {
			t.Fatal("a site with an empty volume says that it knows what was")
		}
		a.kill()
	}
	b.engine.mirrors.mu.Lock() // the other site takes the connection, and its volume hangs
	works := sync.OnceFunc(b.engine.mirrors.mu.Unlock)
	t.Cleanup(works)
	later(time.Second, a, b) // it is reached later than this one starts
	heal(a, b)
	eventually(t, func() string {
		if a.engine.replica.hearing().began.Before(a.time()) {
			return "the other site is not reached"
		}
		return ""
	})
	for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if got := a.engine.recallState(); got != admin.RecallSilent {
			t.Fatalf("while nothing comes the state is %s", got)
		}
	}
	isWhole := func(when string, want bool) {
		t.Helper()
		if got, err := a.engine.directory.Whole(t.Context()); err != nil || got != want {
			t.Errorf("%s the directory says that it is whole: %v, %v", when, got, err)
		}
	}
	isWhole("while nothing comes", false)
	works()
	eventually(t, func() string {
		if a.engine.recallState() != admin.RecallDone {
			return "the site does not say that it knows what was: " + a.engine.replication().LastError
		}
		return ""
	})
	if !a.engine.replica.isPulling(a.time()) || a.engine.replica.isPulling(a.time().Add(silentAfter)) {
		t.Error("that records have come is not known, or for longer than a moment")
	}
	isWhole("as soon as the site says that it knows", true)
	a.wantRow("a tombstone, as soon as the site says that it knows", closed)
	open.Access, open.Restored = admin.AccessSuspended, true
	a.wantRow("an open mailbox", open)
	a.kill()
	if got := a.engine.recallState(); got != admin.RecallDone {
		t.Errorf("after a restart the state is %s", got)
	}
	agree(t, a, b)
	sameState(t, a, b)
	a.loseDirectory()
	isWhole("when it was made again from the log", true)
}

// A guest whose mailboxes are all at the other site has nothing here that would be restored. His domain is held, also where the directory has
// long been whole, or his senders would be told for good that this is not where his mail goes, before the operator has come to him.
func TestTheDomainsOfWhatIsOpenAtTheOtherSiteAreHeld(t *testing.T) {
	const guest, gone, late, never = "pec.ospite.test", "pec.partito.test", "pec.altrove.test", "pec.mai.test"
	a, b := newTwins(t)
	opens := func(domain string) admin.Mailbox {
		row := admin.Mailbox{
			Address: "ufficio@" + domain, Domain: domain, Password: hashed(t, first), CredentialsVersion: "s/1", QuotaBytes: 5, Access: admin.AccessFull,
			Owner: admin.Owner{Namespace: "comune", UID: "u-" + domain},
		}
		if err := b.engine.directory.PutDomain(t.Context(), admin.Domain{Name: domain, Local: true}); err != nil {
			t.Fatal(err)
		}
		b.place(admin.Place{Address: row.Address, Mailbox: &row})
		return row
	}
	opens(guest)
	b.close(opens(gone))
	agree(t, a, b)
	cut(a, b)
	a.alone = true
	holds := func(when, domain string, want bool) {
		t.Helper()
		eventually(t, func() string {
			domains, err := a.engine.directory.Domains(t.Context())
			i := slices.IndexFunc(domains, func(d admin.Domain) bool { return d.Name == domain })
			if err != nil || i >= 0 != want || i >= 0 && domains[i].Local {
				return fmt.Sprintf("%s, of %s the directory holds %+v, %v", when, domain, domains, err)
			}
			return ""
		})
	}
	a.rebuild(b)
	holds("before anything came", guest, false)
	heal(a, b)
	eventually(t, func() string {
		if a.engine.recallState() != admin.RecallDone {
			return "the site does not say that it knows what was: " + a.engine.replication().LastError
		}
		return ""
	})
	holds("when it says that it knows", guest, true)
	holds("when it says that it knows", gone, true)
	a.loseDirectory()
	holds("when the directory was lost too, and with it who the peer is", guest, true)
	a.meets(b)
	agree(t, a, b)
	a.kill()
	holds("before it is opened there", late, false)
	opens(late)
	holds("when it is opened there, and the directory here has been whole for long", late, true)
	b.stop()
	if err := a.engine.directory.PutPeer(t.Context(), admin.Peer{}); err != nil {
		t.Fatal(err)
	}
	a.engine.standings.take("b", mailboxStanding{Address: "ufficio@" + never, Domain: never, At: a.time()})
	if err := a.engine.restoreRows(t.Context()); err != nil {
		t.Fatal(err)
	}
	holds("when the other site was given up", never, false)
}

// slow is a journal that has the end of a restoring wait, and then says what it is told.
type slow struct {
	journal
	waits chan bool
	goes  chan error
}

func (s slow) Append(kind, key, identifier string, data any) (evidence.Record, error) {
	if kind == kindRecalled {
		s.waits <- true
		if err := <-s.goes; err != nil {
			return evidence.Record{}, err
		}
	}
	return s.journal.Append(kind, key, identifier, data)
}

// Ten thousand mailboxes take longer to restore than the other site may be silent.
func TestASiteThatRestoresWhatItPulledIsNotLeftAlone(t *testing.T) {
	a, b := newTwins(t)
	row := former(t, "resta", admin.AccessFull, 5)
	b.place(admin.Place{Address: row.Address, Mailbox: &row})
	agree(t, a, b)
	cut(a, b)
	a.alone = true
	a.rebuild(b)
	a.stop()
	restoring := slow{a.engine.journal, make(chan bool, 9), make(chan error)}
	t.Cleanup(func() { close(restoring.goes) })
	a.engine.journal = restoring
	a.run()
	says := func(when string, want admin.Recall) {
		t.Helper()
		eventually(t, func() string {
			if got := a.engine.recallState(); got != want {
				return when + " it says " + string(got)
			}
			return ""
		})
	}
	works := sync.OnceFunc(a.engine.locks.lock("holder " + row.Address))
	t.Cleanup(works)
	heal(a, b)
	says("while it takes in the first of it", admin.RecallUnderWay)
	later(2*silentAfter, a, b)
	says("when that takes long", admin.RecallUnderWay)
	works()
	<-restoring.waits
	later(2*silentAfter, a, b)
	says("when it restores for long", admin.RecallUnderWay)
	cut(a, b)
	restoring.goes <- errors.New("no space left on device")
	says("when that failed, and nothing comes any more", admin.RecallSilent)
	heal(a, b)
	<-restoring.waits
	restoring.goes <- nil
	says("at the end", admin.RecallDone)
}

// An address is closed and given to somebody else; then the directory is lost, and its rows come new, without a word of that.
func TestWhoHasAnAddressGetsNothingOfTheFormerHolderFromALogEither(t *testing.T) {
	choices := []choice{
		{Setting: admin.ChoiceNotifications, Notifications: &admin.Notifications{Addresses: []string{"mario@ordinaria.test"}}},
		{Setting: admin.ChoiceOrdinaryMail, OrdinaryMail: &admin.Ordinary{Policy: admin.OrdinaryForward, ForwardTo: "mario@ordinaria.test"}},
		{Setting: admin.ChoiceRules, Rules: []admin.Rule{{Name: "r", Header: "Subject", Contains: "x", Folder: "X"}}},
	}
	// lived is a mailbox whose holder chose, and which is another's since.
	lived := func(t *testing.T, x *world) admin.Mailbox {
		row := former(t, "ufficio", admin.AccessFull, 5)
		x.place(admin.Place{Address: row.Address, Mailbox: &row})
		for _, c := range append(choices, choice{Setting: admin.ChoicePassword, Password: hashed(t, second)}) {
			c.Address = row.Address
			if err := x.engine.choose(t.Context(), c, anybody); err != nil {
				t.Fatal(err)
			}
		}
		row = x.close(row) // in the same second: the row's time says less than the log's
		row.Access, row.Owner.UID, row.Password, row.CredentialsVersion = admin.AccessFull, "u-2", hashed(t, third), "s/2"
		x.place(admin.Place{Address: row.Address, Mailbox: &row})
		return row
	}
	nothing := func(t *testing.T, x *world, row admin.Mailbox) {
		t.Helper()
		held, err := x.engine.directory.Mailbox(t.Context(), row.Address)
		if err != nil {
			t.Fatal(err)
		}
		h, err := x.engine.holder(t.Context(), held)
		if err != nil || len(h.Changed) > 0 || len(h.InForce.Notifications.Addresses) > 0 || h.InForce.OrdinaryMail.ForwardTo != "" || len(h.InForce.Rules) > 0 || !x.knows(row.Address, third) {
			t.Errorf("of the former holder acts %+v, %v; the new password works: %v", h.InForce, err, x.knows(row.Address, third))
		}
	}
	fresh := func(row admin.Mailbox, x *world) {
		row.ClosedAt = time.Time{}
		x.place(admin.Place{Address: row.Address, Mailbox: &row, Given: &admin.Given{MayChange: allChoices}})
	}
	t.Run("the directory alone is lost", func(t *testing.T) {
		w := newWorld(t)
		row := lived(t, w)
		nothing(t, w, row)
		w.loseDirectory()
		fresh(row, w)
		nothing(t, w, row)
		mine := choice{Address: row.Address, Setting: admin.ChoiceNotifications, Notifications: &admin.Notifications{Addresses: []string{"anna@ordinaria.test"}}}
		if err := w.engine.choose(t.Context(), mine, anybody); err != nil {
			t.Fatal(err)
		}
		w.loseDirectory()
		fresh(row, w)
		held, err := w.engine.directory.Mailbox(t.Context(), row.Address)
		if c, ok := w.engine.holders.of(held, admin.ChoiceNotifications); err != nil || !ok || c.Notifications.Addresses[0] != "anna@ordinaria.test" {
			t.Errorf("what the new holder chose is %+v, %v, %v", c, ok, err)
		}
	})
	t.Run("the site is rebuilt", func(t *testing.T) {
		a, b := newTwins(t)
		row := lived(t, a.world)
		agree(t, a, b)
		cut(a, b)
		a.rebuild(b)
		fresh(row, a.world)
		heal(a, b)
		eventually(t, func() string {
			if nothing(t, a.world, row); t.Failed() {
				return ""
			}
			if !a.engine.recalled.Load() {
				return "it does not know what was"
			}
			return ""
		})
		agree(t, a, b)
		nothing(t, a.world, row)
		a.kill()
		nothing(t, a.world, row)
	})
	t.Run("the other site never heard of the deletion", func(t *testing.T) {
		a, b := newTwins(t)
		row := former(t, "ufficio", admin.AccessFull, 5)
		row.Password = hashed(t, third) // both holders have it from one Secret
		b.place(admin.Place{Address: row.Address, Mailbox: &row, Given: &admin.Given{MayChange: allChoices}})
		agree(t, a, b)
		later(time.Second, a, b)
		lived(t, a.world)
		agree(t, a, b)
		eventually(t, func() string {
			held, err := b.engine.directory.Mailbox(t.Context(), row.Address)
			if err != nil || held.PasswordChangedByHolder {
				return fmt.Sprintf("the row is %+v, %v", held, err)
			}
			return ""
		})
		nothing(t, b.world, row)
	})
}

// A mailbox that is deleted at one site alone keeps what its holder chose at the other, where he still is: also when what the contract counts
// changes there. When it is closed there too, nothing of it is the next holder's.
func TestWhatAHolderChoseStandsWhereHisMailboxDoes(t *testing.T) {
	a, b := newTwins(t)
	at := func(x *twin, change func(*admin.Mailbox)) admin.Mailbox {
		row := former(t, "ufficio", admin.AccessFull, 5)
		row.Owner.UID += "-" + x.settings.Site
		if change != nil {
			change(&row)
		}
		x.place(admin.Place{Address: row.Address, Mailbox: &row, Given: &admin.Given{MayChange: allChoices}})
		return row
	}
	rowOfA, row := at(a, nil), at(b, nil)
	agree(t, a, b)
	later(time.Second, a, b)
	for _, c := range []choice{
		{Setting: admin.ChoicePassword, Password: hashed(t, second)},
		{Setting: admin.ChoiceOrdinaryMail, OrdinaryMail: &admin.Ordinary{Policy: admin.OrdinaryForward, ForwardTo: "casa@ordinaria.test"}},
	} {
		c.Address = row.Address
		if err := b.engine.choose(t.Context(), c, anybody); err != nil {
			t.Fatal(err)
		}
	}
	agree(t, a, b)
	later(time.Second, a, b)
	a.close(rowOfA)
	agree(t, a, b)
	stands := func(when string, want bool) {
		t.Helper()
		held, err := b.engine.directory.Mailbox(t.Context(), row.Address)
		if err != nil {
			t.Fatal(err)
		}
		c, ok := b.engine.holders.of(held, admin.ChoiceOrdinaryMail)
		if ok != want || held.PasswordChangedByHolder != want || want && c.OrdinaryMail.ForwardTo != "casa@ordinaria.test" {
			t.Errorf("%s: what he chose stands: %v, his password: %v, want %v", when, ok, held.PasswordChangedByHolder, want)
		}
	}
	stands("closed at the other site", true)
	b.kill()
	stands("after a restart", true)
	later(time.Second, a, b)
	at(b, func(m *admin.Mailbox) { m.Password, m.QuotaBytes = "", 6 })
	stands("with another quota", true)
	b.close(row)
	at(b, func(m *admin.Mailbox) {
		m.CredentialsVersion = "s/2"
		m.ClosedAt = b.time().UTC().Truncate(time.Second)
	})
	stands("closed and given to the next", false)
}

// Whatever order the records of both sites come in, the same row is lost, and the same is a former holder's.
func TestStandingsMergeInAnyOrder(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	one := func(hours int, closed bool, quota int64) mailboxStanding {
		s := mailboxStanding{Address: sender, Domain: ours, At: at.Add(time.Duration(hours) * time.Hour), Closed: closed, QuotaBytes: quota}
		if closed {
			s.ClosedAt = s.At
		}
		return s
	}
	type word struct {
		site string
		mailboxStanding
	}
	words := []word{{"a", one(0, false, 1)}, {"a", one(1, true, 2)}, {"b", one(0, false, 1)}, {"b", one(3, true, 3)}, {"a", one(2, false, 4)}}
	for i := range words {
		l := newStandings()
		for j := range 2 * len(words) {
			w := words[(i+j)%len(words)]
			l.take(w.site, w.mailboxStanding)
		}
		if s, ok := l.lost("a", sender); !ok || s.Closed || s.QuotaBytes != 4 {
			t.Errorf("beginning with %d, site a lost %+v, %v", i, s, ok)
		}
		if s, ok := l.lost("c", sender); !ok || !s.Closed || s.QuotaBytes != 3 {
			t.Errorf("beginning with %d, a site that never had it lost %+v, %v", i, s, ok)
		}
		for site, hours := range map[string]time.Duration{"a": 1, "b": 3, "c": 3} { // b closed it alone while a had it open again
			if got := l.formerUntil(site, sender); !got.Equal(at.Add(hours * time.Hour)) {
				t.Errorf("beginning with %d, at site %s it ended at %s", i, site, got)
			}
		}
	}
	again := []word{{"b", one(0, false, 1)}, {"b", one(1, true, 1)}, {"b", one(2, false, 1)}, {"b", one(3, true, 1)}, {"a", one(0, false, 1)}}
	for range 100 {
		rand.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		l := newStandings()
		for _, w := range append(again, again...) {
			l.take(w.site, w.mailboxStanding)
		}
		for site, hours := range map[string]time.Duration{"a": 1, "b": 3, "c": 3} { // b's last closing alone is no order
			if got := l.formerUntil(site, sender); !got.Equal(at.Add(hours * time.Hour)) {
				t.Fatalf("in the order %v it ended at %s at site %s", again, got, site)
			}
		}
	}
}

// What a former holder chose ended with the closing after which the other site opened the mailbox for the next one: that it is closed there
// a second time, while this site never closed it, brings nothing of it back.
func TestASecondClosingBringsNothingOfAFormerHolderBack(t *testing.T) {
	a, b := newTwins(t)
	row := former(t, "ufficio", admin.AccessFull, 5)
	at := func(x *twin, owner string) admin.Mailbox {
		row := row
		row.Owner.UID = owner
		x.place(admin.Place{Address: row.Address, Mailbox: &row, Given: &admin.Given{MayChange: allChoices}})
		return row
	}
	stands := func(when string, x *twin, want bool) {
		t.Helper()
		agree(t, a, b)
		held, err := x.engine.directory.Mailbox(t.Context(), row.Address)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := x.engine.holders.of(held, admin.ChoiceOrdinaryMail); ok != want {
			t.Errorf("%s: what he chose stands: %v, want %v", when, ok, want)
		}
		later(time.Minute, a, b)
	}
	chooses := func(x *twin, forwardTo string) {
		t.Helper()
		c := choice{Address: row.Address, Setting: admin.ChoiceOrdinaryMail, OrdinaryMail: &admin.Ordinary{Policy: admin.OrdinaryForward, ForwardTo: forwardTo}}
		if err := x.engine.choose(t.Context(), c, anybody); err != nil {
			t.Fatal(err)
		}
	}
	at(a, "first-a")
	first := at(b, "first-b")
	chooses(a, "casa@ordinaria.test")
	stands("while both have it", a, true)
	b.close(first)
	stands("closed at the other site, which may be wrong", a, true)
	next := at(b, "next-b")
	stands("opened for the next one there", a, false)
	b.close(next)
	stands("and closed again", a, false)
	a.kill()
	stands("after a restart", a, false)
	at(b, "last-b")
	stands("opened once more", a, false)
	chooses(b, "ufficio@ordinaria.test")
	stands("what the last one chose", a, true)
	at(a, "last-a")
	stands("when this site has the new resource", a, true)
}

// full is a journal that has no room for a word about a mailbox.
type full struct{ journal }

func (f full) Append(kind, key, identifier string, data any) (evidence.Record, error) {
	if kind == kindStanding {
		return evidence.Record{}, errors.New("no space left on device")
	}
	return f.journal.Append(kind, key, identifier, data)
}

// The operator's word for when it closed a mailbox is the beginning of its pass. What the holder chose after that, and before the row was
// closed, is not the next one's, also where the closing could not be recorded.
func TestAClosingThatCouldNotBeRecordedEndsWhatWasChosenBeforeIt(t *testing.T) {
	for name, until := range map[string]func(w *world, placesNext func()){
		"the engine was killed": func(w *world, placesNext func()) { w.crash(); placesNext() },
		"the log had room again": func(w *world, placesNext func()) {
			w.engine.journal = w.engine.evidence
			w.engine.retryLater(w.t.Context())
			placesNext()
		},
		"it had when the next one got the mailbox": func(w *world, placesNext func()) {
			w.engine.journal = w.engine.evidence
			placesNext()
		},
		"the next one was not recorded either, and is in a minute": func(w *world, placesNext func()) {
			placesNext()
			w.engine.journal = w.engine.evidence
			w.engine.retryLater(w.t.Context())
		},
		"nor was he before the engine was killed": func(w *world, placesNext func()) { placesNext(); w.crash() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			row := former(t, "ufficio", admin.AccessFull, 5)
			w.place(admin.Place{Address: row.Address, Mailbox: &row, Given: &admin.Given{MayChange: allChoices}})
			began := w.now.Add(time.Hour).UTC().Truncate(time.Second)
			w.later(time.Hour + time.Minute)
			chooses := func(forwardTo string) {
				t.Helper()
				c := choice{Address: row.Address, Setting: admin.ChoiceOrdinaryMail, OrdinaryMail: &admin.Ordinary{Policy: admin.OrdinaryForward, ForwardTo: forwardTo}}
				if err := w.engine.choose(t.Context(), c, anybody); err != nil {
					t.Fatal(err)
				}
			}
			stands := func(when string, want bool) {
				t.Helper()
				held, err := w.engine.directory.Mailbox(t.Context(), row.Address)
				if err != nil || held.Access != admin.AccessFull {
					t.Fatalf("the row is %+v, %v", held, err)
				}
				if c, ok := w.engine.holders.of(held, admin.ChoiceOrdinaryMail); ok != want {
					t.Errorf("%s stands: %v, want %v: %+v", when, ok, want, c.OrdinaryMail)
				}
			}
			chooses("casa@ordinaria.test")
			w.engine.journal = full{w.engine.journal}
			row.Password, row.Access, row.ClosedAt = "", admin.AccessClosed, began
			if a := w.placing(admin.Place{Address: row.Address, Mailbox: &row}); a.Failed == "" {
				t.Fatalf("the operator hears %+v", a)
			}
			until(w, func() {
				row.Access, row.Owner.UID = admin.AccessFull, "u-2"
				w.placing(admin.Place{Address: row.Address, Mailbox: &row})
			})
			stands("what the former holder chose", false)
			if last, _ := w.engine.standings.lost(w.settings.Site, row.Address); last.Closed || !last.since().After(began) {
				t.Errorf("it is recorded as open since %s: %+v", last.since(), last)
			}
			chooses("ufficio@ordinaria.test")
			stands("what the next one chose", true)
			w.crash()
			stands("after a restart, that", true)
		})
	}
}

// A site that was built anew, or whose directory was lost, tells nobody that a mailbox is not there, or is disabled, before it can know.
func TestNothingIsSaidOfAMailboxThatTheDirectoryDoesNotKnowYet(t *testing.T) {
	for name, lose := range map[string]func(*world){
		"the volume is new":              func(w *world) { w.rebuildAlone() },
		"the directory was lost":         func(w *world) { w.loseDirectory() },
		"and the engine was killed then": func(w *world) { w.loseDirectory(); w.crash() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.crash() // which records how the rows stand that no operator placed
			w.alone = true
			lose(w)
			if answer := w.arrive(stranger, []string{"aperta@" + ours}, []byte(letter(stranger, "aperta@"+ours, ""))); answer != answerTemporary {
				t.Errorf("ordinary mail is answered %q", answer)
			}
			provider := newWorldOf(t, theirs)
			provider.submit(colleague, []string{"anna@" + ours}, letter(colleague, "anna@"+ours, ""))
			provider.run(enoughRounds)
			x := &exchange{a: provider, b: w, lost: func(message) bool { return false }}
			x.carry(provider, w)
			for _, q := range w.queue {
				for _, err := range w.engine.incoming(q.mail) {
					if err == nil {
						t.Error("an envelope for a mailbox that is not there yet is done with")
					}
				}
			}
			w.records(kindUndeliverable, func(r evidence.Record) { t.Errorf("recorded for good: %s", r.Key) })
			w.placeAll()
			w.run(enoughRounds)
			if got := w.titles("anna@" + ours); len(got) != 1 {
				t.Errorf("when the mailboxes are placed, anna has %v", got)
			}
			if answer := w.arrive(stranger, []string{"nessuno@" + ours}, []byte(letter(stranger, "nessuno@"+ours, ""))); answer != answerUnknown {
				t.Errorf("then mail for nobody is answered %q", answer)
			}
		})
	}
}

// A row that is placed before the other site has told what its holder chose says what the spec says, and no more.
func TestOrdinaryMailIsNotRefusedBeforeItIsKnownWhatItsHolderChose(t *testing.T) {
	w := newWorld(t)
	w.alone = true
	w.rebuildAlone()
	w.placeAll()
	for _, c := range []struct {
		to          string
		whole       bool
		want, about string
	}{
		{"anna@" + ours, false, answerTemporary, "a mailbox whose spec says Discard"},
		{"avanti@" + ours, false, answerTemporary, "one whose spec says where to"},
		{"aperta@" + ours, false, "", "one that takes it"},
		{"anna@" + ours, true, answerUncertified, "the first, when all is known"},
	} {
		w.engine.whole.Store(c.whole)
		if got := w.arrive(stranger, []string{c.to}, []byte(letter(stranger, c.to, ""))); got != c.want {
			t.Errorf("%s: answered %q, want %q", c.about, got, c.want)
		}
	}
}

// Nor is what waits for such a mailbox given up.
func TestReceiptsWaitForAMailboxThatTheDirectoryDoesNotKnowYet(t *testing.T) {
	full := "piena@" + ours
	w := newWorld(t)
	w.submit(full, []string{"anna@" + ours}, letter(full, "anna@"+ours, ""))
	w.run(enoughRounds)
	w.alone, w.room = true, true
	w.loseDirectory()
	w.engine.recalled.Store(false) // its log was lost too, and has come back as the other site's word
	w.engine.passHeld(t.Context())
	if n := w.engine.held.count(); n != 2 {
		t.Fatalf("%d messages wait, want 2", n)
	}
	w.placeAll()
	w.engine.passHeld(t.Context())
	if got := w.titles(full); len(got) != 2 {
		t.Errorf("when the mailbox is placed it has %v", got)
	}
}

// What is open at the other site is not denied at this one: its mail waits here, until the operator of this site has placed it, or the
// other site has closed it or was given up.
func TestAMailboxThatIsOpenAtTheOtherSiteIsNotDenied(t *testing.T) {
	open := func(x *twin) admin.Mailbox {
		row := former(t, "nuova", admin.AccessFull, 1<<20)
		row.Owner.UID += "-" + x.settings.Site
		x.place(admin.Place{Address: row.Address, Mailbox: &row})
		return row
	}
	both := func(t *testing.T, a, b *twin) (ofA, ofB admin.Mailbox) {
		ofA, ofB = open(a), open(b)
		agree(t, a, b)
		later(time.Minute, a, b)
		return ofA, ofB
	}
	const waits, denied = answerTemporary, answerUnknown
	givesUp := func(t *testing.T, a *twin) {
		if err := a.client(admin.OperatorURI("a"), a.authority).PutPeer(t.Context(), admin.Peer{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		lives func(t *testing.T, a, b *twin)
		want  string // what a stranger is answered at site a
	}{
		"it was made there": {func(_ *testing.T, _, b *twin) { open(b) }, waits},
		"it was made there, and this site was built anew since": {func(t *testing.T, a, b *twin) {
			open(b)
			agree(t, a, b)
			a.rebuild(b)
		}, waits},
		"it was closed at both, and made again there": {func(t *testing.T, a, b *twin) {
			ofA, ofB := both(t, a, b)
			a.close(ofA)
			b.close(ofB)
			agree(t, a, b)
			later(time.Minute, a, b)
			open(b)
		}, waits},
		"it was closed there, where alone it had been, and made again": {func(t *testing.T, a, b *twin) {
			b.close(open(b))
			agree(t, a, b)
			later(time.Minute, a, b)
			open(b)
		}, waits},
		"it was closed here alone": {func(t *testing.T, a, b *twin) {
			ofA, _ := both(t, a, b)
			a.close(ofA)
		}, denied},
		"it was closed there too": {func(t *testing.T, a, b *twin) {
			row := open(b)
			agree(t, a, b)
			later(time.Minute, a, b)
			b.close(row)
		}, denied},
		"it was made there, and that site was given up": {func(t *testing.T, a, b *twin) {
			open(b)
			agree(t, a, b)
			b.stop()
			givesUp(t, a)
			a.kill()
		}, denied},
		"it was made there, and the directory here was lost while that site cannot be read": {func(t *testing.T, a, b *twin) {
			open(b)
			agree(t, a, b)
			b.stop()
			a.loseDirectory()
		}, waits},
		"that, and that site was given up": {func(t *testing.T, a, b *twin) {
			open(b)
			agree(t, a, b)
			b.stop()
			a.loseDirectory()
			givesUp(t, a)
			a.kill()
		}, denied},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newTwins(t)
			c.lives(t, a, b)
			if a.engine.hasPeer(t.Context()) {
				agree(t, a, b)
			}
			address := "nuova@" + ours
			if answer := a.arrive(stranger, []string{address}, []byte(letter(stranger, address, ""))); answer != c.want {
				t.Fatalf("a stranger is answered %q, want %q", answer, c.want)
			}
			if c.want == denied {
				return
			}
			_, envelope := foreignEnvelope(t, colleague, address, "q1")
			a.arrive(colleague, []string{address}, envelope)
			foreignAnswer(a.world, address)
			for _, q := range a.queue { // a receipt may wait for longer than Postfix waits
				for _, err := range a.engine.incoming(q.mail) {
					if isEnvelope := q.from == colleague; (err != nil) != isEnvelope {
						t.Errorf("mail from %s: %v", q.from, err)
					}
				}
			}
			a.records(kindUndeliverable, func(r evidence.Record) { t.Errorf("recorded for good: %s", r.Key) })
			later(time.Minute, a, b)
			open(a)
			a.engine.passHeld(t.Context())
			a.world.run(enoughRounds)
			got := a.titles(address)
			slices.Sort(got)
			if want := []string{"avvenuta-consegna", "posta-certificata"}; !slices.Equal(got, want) {
				t.Errorf("when it is placed it has %v, want %v", got, want)
			}
		})
	}
}

// rebuildAlone gives the site a new volume.
func (w *world) rebuildAlone() {
	w.t.Helper()
	_ = w.engine.Close()
	if err := os.RemoveAll(w.settings.Files.State); err != nil {
		w.t.Fatal(err)
	}
	w.start()
}

// A row that could not be made again is looked for again, and keeps no other from being made.
func TestARowThatCouldNotBeRestoredIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"prima", "seconda"} {
		closed := former(t, name, admin.AccessClosed, 3)
		closed.ClosedAt = w.now
		w.engine.standings.take("b", standingOf(closed, w.now))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.engine.restoreRows(ended); err == nil {
		t.Fatal("rows are restored by an engine that ends")
	}
	if err := w.engine.restoreRows(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"prima", "seconda"} {
		if row, err := w.engine.directory.Mailbox(t.Context(), name+"@"+ours); err != nil || row.Access != admin.AccessClosed {
			t.Errorf("%s: %+v, %v", name, row, err)
		}
	}
}

// The last Secret that a site had read before it was given up does not count for ever: it reads no other.
func TestASiteThatWasGivenUpKeepsNoSecretFromCounting(t *testing.T) {
	a, b := newTwins(t)
	row := former(t, "ufficio", admin.AccessFull, 5)
	place := func(change func(*admin.Mailbox)) {
		change(&row)
		for _, x := range []*twin{a, b} {
			x.place(admin.Place{Address: row.Address, Mailbox: &row, Given: &admin.Given{MayChange: allChoices}})
		}
		agree(t, a, b)
		later(time.Second, a, b)
	}
	a.engine.holders.addPlacement("z", placement{Address: row.Address, Version: "s/0", At: a.time().Add(-time.Hour), Password: row.Password})
	place(func(*admin.Mailbox) {})
	if err := a.engine.choose(t.Context(), choice{Address: row.Address, Setting: admin.ChoicePassword, Password: hashed(t, second)}, anybody); err != nil {
		t.Fatal(err)
	}
	agree(t, a, b)
	later(time.Second, a, b)
	place(func(m *admin.Mailbox) { m.Password, m.CredentialsVersion = hashed(t, third), "s/2" })
	eventually(t, func() string {
		if err := a.engine.derive(t.Context(), row.Address); err != nil || !a.world.knows(row.Address, third) {
			return fmt.Sprintf("the edited Secret does not count: %v", err)
		}
		return ""
	})
}

// Two requests may place one mailbox one after the other, and come to note it in the other order: one was held up, or given up by its client.
func TestTheLogSaysHowTheRowStandsWhoeverNotesItLast(t *testing.T) {
	w := newWorld(t)
	row, err := w.engine.directory.Mailbox(t.Context(), sender)
	if err != nil {
		t.Fatal(err)
	}
	closed := row
	closed.Access, closed.ClosedAt = admin.AccessClosed, w.now
	places := []admin.Place{{Address: sender, Mailbox: &closed}, {Address: sender, Mailbox: &row}}
	var outcomes []directory.Outcome
	for i := range places {
		o, err := w.engine.directory.Place(t.Context(), places[i:i+1])
		if err != nil {
			t.Fatal(err)
		}
		outcomes = append(outcomes, o...)
	}
	for _, i := range []int{1, 0} {
		if err := w.engine.actOn(t.Context(), places[i], outcomes[i]); err != nil {
			t.Fatal(err)
		}
	}
	if s, said := w.engine.standings.of("a", standingOf(row, w.now)); !said || s.Closed {
		t.Errorf("the mailbox is open, and the log says %+v", s)
	}
}
