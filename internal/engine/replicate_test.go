package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/sieve"
)

const colleague = "anna@" + theirs

// sentFrom is a submission at a site whose envelope reached the other provider; what that answers waits outside.
func sentFrom(t *testing.T, x *twin) (provider *world) {
	t.Helper()
	provider = newWorldOf(t, theirs)
	x.submit(sender, []string{colleague}, letter(sender, colleague, ""))
	x.world.run(enoughRounds)
	carryOut(t, x.world, provider)
	if n := x.engine.timers.count(x.settings.Site); n != 1 {
		t.Fatalf("%d timers, want 1", n)
	}
	return provider
}

// A peer that is taken back is let in no more, gives nothing and gets nothing, on the connections of before either.
func TestAPeerThatIsTakenBack(t *testing.T) {
	a, b := newTwins(t)
	sentFrom(t, a)
	agree(t, a, b)
	c := a.client(admin.OperatorURI("a"), a.authority)
	before, err := c.Status(t.Context())
	if err != nil || before.Peer.Site != "b" || before.Peer.Digest == "" {
		t.Fatalf("the engine says of its peer %+v, %v", before.Peer, err)
	}
	if err := c.PutPeer(t.Context(), admin.Peer{}); err != nil {
		t.Fatal(err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.Peer.Configured || s.Peer.Site != "" || s.Peer.Digest != (admin.Peer{}).Digest() {
		t.Errorf("taken back, the engine says %+v, %v", s.Peer, err)
	}
	held := func() [2]uint64 {
		return [2]uint64{a.engine.mirrors.of(b.engine.logName).Head().Seq, b.engine.mirrors.of(a.engine.logName).Head().Seq}
	}
	was := held()
	for _, x := range []*twin{a, b} {
		x.submit(sender, []string{colleague}, letter(sender, colleague, ""))
		x.world.run(enoughRounds)
	}
	time.Sleep(100 * b.engine.replica.news) // a hundred times what new records take
	if is := held(); is != was {
		t.Errorf("the mirrors hold %v records, and held %v", is, was)
	}
	a.meets(b)
	agree(t, a, b)
}

// The worst that two sites that know nothing of each other do: the receipt came to the one, and the other tells the sender that
// there was none.
func TestReceiptAtTheOtherSiteEndsTheTimer(t *testing.T) {
	a, b := newTwins(t)
	provider := sentFrom(t, a)
	agree(t, a, b)
	if n := b.engine.timers.count("a"); n != 1 {
		t.Fatalf("site b knows %d timers of site a, want 1", n)
	}
	carryOut(t, provider, b.world)
	agree(t, a, b)
	for _, x := range []*twin{a, b} {
		if n := len(x.engine.timers.open); n != 0 {
			t.Errorf("site %s still waits for %d", x.settings.Site, n)
		}
	}
	live(48*time.Hour, time.Hour, a, b)
	if a.silences(sender)+b.silences(sender) != 0 {
		t.Error("a notice of silence about what was delivered")
	}
	sameState(t, a, b)
}

// The receipt may even come before the record of what it is about: the link was cut when the message went out.
func TestReceiptBeforeItsSubmissionIsKnown(t *testing.T) {
	a, b := newTwins(t)
	agree(t, a, b)
	cut(a, b)
	provider := sentFrom(t, a)
	carryOut(t, provider, b.world)
	if left := len(b.queue); left != 0 {
		t.Errorf("%d notices wait at site b", left)
	}
	heal(a, b)
	agree(t, a, b)
	live(26*time.Hour, time.Hour, a, b)
	if a.silences(sender)+b.silences(sender) != 0 {
		t.Error("a notice of silence about what was delivered")
	}
}

func TestNoticesOfSilenceWhileTheSitesAreApart(t *testing.T) {
	cases := map[string]struct {
		receiptAtB        bool
		gone              string        // the site that is lost right after the submission at a; "" if only the link is cut
		heals             time.Duration // after the submission; 0 for never
		at1230, at14, at2 int           // notices in the sender's mailboxes of both sites after 12 h 30, 14 h, and 24 h
		end               int           // and after two days
	}{
		"the link heals within the hour, and the receipt was at the other site": {receiptAtB: true, heals: 12*time.Hour + 40*time.Minute},
		"the link heals within the hour, and nothing was heard anywhere":        {heals: 12*time.Hour + 40*time.Minute, at14: 1, at2: 2, end: 2},
		"the other building is lost":                                            {gone: "b", at14: 1, at2: 2, end: 2},
		"the building that sent is lost, and the other speaks for it":           {gone: "a", at14: 1, at2: 2, end: 2},
		"the building that sent is lost, and the receipt came to the other":     {gone: "a", receiptAtB: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a, b := newTwins(t)
			provider := sentFrom(t, a)
			agree(t, a, b)
			cut(a, b)
			if c.receiptAtB {
				carryOut(t, provider, b.world)
			}
			there := []*twin{a, b}
			if c.gone != "" {
				there = slices.DeleteFunc(there, func(x *twin) bool { return x.settings.Site == c.gone })
			}
			told := func() (n int) {
				for _, x := range there {
					n += x.silences(sender)
				}
				return n
			}
			begun, healed := there[0].time(), c.heals == 0
			for _, step := range []struct {
				until time.Duration
				want  int
			}{{12 * time.Hour, 0}, {12*time.Hour + 30*time.Minute, c.at1230}, {14 * time.Hour, c.at14}, {22 * time.Hour, c.at14}, {24*time.Hour - 6*time.Minute, c.at14}, {24 * time.Hour, c.at2}, {30 * time.Hour, c.end}} {
				for there[0].time().Before(begun.Add(step.until)) {
					live(min(20*time.Minute, begun.Add(step.until).Sub(there[0].time())), 10*time.Minute, there...)
					if !healed && !there[0].time().Before(begun.Add(c.heals)) {
						heal(a, b)
						agree(t, a, b)
						healed = true
					}
				}
				if got := told(); got != step.want {
					t.Fatalf("after %s: %d notices, want %d", step.until, got, step.want)
				}
			}
		})
	}
}

func TestWhenANoticeMayBeSent(t *testing.T) {
	due := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(h float64) time.Time { return due.Add(time.Duration(h * float64(time.Hour))) }
	long := at(-100)
	cases := map[string]struct {
		h      hearing
		others bool
		not    []float64 // hours after it is due at which it may not
		may    []float64
	}{
		"there is no other site":                            {h: hearing{alone: true, began: long}, not: []float64{-0.1}, may: []float64{0, 5}},
		"the other site was heard since":                    {h: hearing{caughtUpAt: at(0), began: long}, may: []float64{0.01, 5}},
		"the other site fell silent before":                 {h: hearing{caughtUpAt: at(-0.1), began: long}, not: []float64{0, 0.99}, may: []float64{1, 5}},
		"the other site was never heard":                    {h: hearing{began: long}, not: []float64{0, 0.99}, may: []float64{1}},
		"this one starts when it was due long ago":          {h: hearing{began: at(13)}, not: []float64{13, 13.99}, may: []float64{14}},
		"the other site sent it and speaks":                 {others: true, h: hearing{caughtUpAt: at(5), began: long}, not: []float64{0, 5, 16.9}},
		"the other site sent it and is silent since then":   {others: true, h: hearing{caughtUpAt: at(-12), began: long}, not: []float64{0, 0.99}, may: []float64{1}},
		"the other site sent it and fell silent just now":   {others: true, h: hearing{caughtUpAt: at(-1), began: long}, not: []float64{0, 10.9}, may: []float64{11}},
		"the other site sent it, this one has just begun":   {others: true, h: hearing{began: at(0)}, not: []float64{1, 11.9}, may: []float64{12}},
		"the other site sent it and there is none any more": {others: true, h: hearing{alone: true, began: long}, may: []float64{1}},
	}
	for name, c := range cases {
		for _, hour := range c.not {
			if c.h.mayAct(at(hour), due, time.Hour, c.others) {
				t.Errorf("%s: sent %v hours after it was due", name, hour)
			}
		}
		for _, hour := range c.may {
			if !c.h.mayAct(at(hour), due, time.Hour, c.others) {
				t.Errorf("%s: not sent %v hours after it was due", name, hour)
			}
		}
	}
}

func TestDeliverySaysWhetherTheOtherSiteHasTheMessage(t *testing.T) {
	a, b := newTwins(t)
	agree(t, a, b)
	deliver := func(rcpt string) time.Duration {
		t.Helper()
		a.submit(sender, []string{rcpt}, letter(sender, rcpt, ""))
		begun := time.Now()
		a.world.run(enoughRounds)
		return time.Since(begun)
	}
	deliver("anna@" + ours)
	if diff := cmp.Diff([]string{"anna copied"}, replicaOf(t, a)); diff != "" {
		t.Fatalf("with the link whole (-want +got):\n%s", diff)
	}
	begun := evidenceOf(t, a, kindDelivering)[0]
	if !b.engine.custody.Has(namesOf(begun)[0]) {
		t.Fatal("the evidence says copied, and there is no copy")
	}
	b.door.mu.Lock()
	b.door.deaf = true // it takes what is sent, and nothing happens
	b.door.mu.Unlock()
	a.door.mu.Lock()
	a.door.deaf = true
	a.door.mu.Unlock()
	slow := deliver("altra@" + ours)
	if slow > 10*time.Second {
		t.Errorf("a peer that hangs held up a delivery for %s", slow)
	}
	a.engine.replica.patience = time.Hour // nobody waits a second time for a peer that does not move
	deliver("aperta@" + ours)
	cut(a, b)
	deliver("avanti@" + ours)
	want := []string{"anna copied", "altra pending", "aperta pending", "avanti pending"}
	if diff := cmp.Diff(want, replicaOf(t, a)); diff != "" {
		t.Fatalf("with the link cut (-want +got):\n%s", diff)
	}
	if n := a.engine.replication().CopiesPending; n != 3 {
		t.Errorf("%d copies pending, want 3", n)
	}
	a.kill()
	if n := a.engine.replication().CopiesPending; n != 3 {
		t.Errorf("%d copies pending after a restart, want 3", n)
	}
	for _, x := range []*twin{a, b} {
		x.door.mu.Lock()
		x.door.deaf = false
		x.door.mu.Unlock()
	}
	heal(a, b)
	eventually(t, func() string {
		if n := a.engine.replication().CopiesPending; n != 0 {
			return fmt.Sprint(n, " copies are still pending: ", b.engine.replication().LastError)
		}
		return ""
	})
	if n := len(evidenceOf(t, a, kindReplicated)); n != 3 {
		t.Errorf("%d repairs are recorded, want 3", n)
	}
	agree(t, a, b)
	wholeCustody(t, a, b)
	a.kill()
	if n := a.engine.replication().CopiesPending; n != 0 {
		t.Errorf("%d copies pending after another restart", n)
	}
}

func TestSiteThatIsAloneSaysNothingOfAnother(t *testing.T) {
	w := newWorld(t)
	w.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
	w.run(enoughRounds)
	if words := replicaOf(t, &twin{site: &site{world: w}}); len(words) != 0 {
		t.Errorf("%v", words)
	}
}

// An envelope that its sender's server tries at the other site too, because the answer was lost, is delivered once and answered once.
func TestEnvelopeTriedAtBothSites(t *testing.T) {
	cases := map[string]struct {
		cut  bool     // when the first site gets it
		gone bool     // when the second one does
		atB  []string // what the mailbox holds at b
		sent int      // receipts that left b
	}{
		"the sites hear each other":      {},
		"the first site is gone by then": {gone: true, atB: []string{"posta-certificata"}, sent: 1},
		"the link was cut all the time":  {cut: true, gone: true, atB: []string{"posta-certificata"}, sent: 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a, b := newTwins(t)
			agree(t, a, b)
			if c.cut {
				cut(a, b)
			}
			_, raw := foreignEnvelope(t, colleague, "anna@"+ours, "q1")
			a.arrive(colleague, []string{"anna@" + ours}, raw)
			a.world.run(enoughRounds)
			if !c.cut {
				agree(t, a, b)
			}
			if c.gone {
				cut(a, b)
				later(time.Hour, b)
			}
			b.arrive(colleague, []string{"anna@" + ours}, raw)
			b.world.run(enoughRounds)
			if diff := cmp.Diff(append([]string{}, c.atB...), b.titles("anna@"+ours)); diff != "" {
				t.Errorf("the mailbox at b (-want +got):\n%s", diff)
			}
			receipts := func(x *twin) (list []message) {
				for _, m := range x.outside {
					if title(t, m.bytes) == "avvenuta-consegna" {
						list = append(list, m)
					}
				}
				return list
			}
			first, second := receipts(a), receipts(b)
			if len(first) != 1 || len(second) != c.sent {
				t.Fatalf("%d and %d receipts left the sites", len(first), len(second))
			}
			if len(second) == 1 && messageIDOf(t, first[0].bytes) != messageIDOf(t, second[0].bytes) {
				t.Error("the sender gets two receipts of different names")
			}
		})
	}
}

// A building whose volume is new gets back what it was from the other: its timers, its holders' choices, its messages.
func TestSiteThatIsRebuiltGetsItsFormerSelfBack(t *testing.T) {
	a, b := newTwins(t)
	a.put(sender, "s/1", first, admin.AccessFull)
	b.put(sender, "t/9", first, admin.AccessFull)
	sentFrom(t, a)
	password := hashed(t, second)
	if err := a.engine.choose(t.Context(), choice{Address: sender, Setting: admin.ChoicePassword, Password: password}, anybody); err != nil {
		t.Fatal(err)
	}
	agree(t, a, b)
	if !b.world.knows(sender, second) {
		t.Error("a password that was changed at a does not work at b")
	}
	former := a.engine.logName
	later(time.Hour, a, b)
	a.rebuild(b)
	a.put(sender, "u/1", first, admin.AccessFull) // the operator reads the Secret again, in another cluster
	a.give(sender, admin.Given{MayChange: allChoices})
	agree(t, a, b)
	eventually(t, func() string {
		if m := a.engine.mirrors.of(former); m == nil || m.Head() != b.engine.mirrors.of(former).Head() {
			return "the former log did not come back"
		}
		return ""
	})
	if a.engine.logName == former {
		t.Fatal("the new log has the name of the former one")
	}
	a.engine.retryLater(t.Context())
	if !a.world.knows(sender, second) || !b.world.knows(sender, second) {
		t.Error("the rebuilt site brought the old password back")
	}
	eventually(t, func() string {
		if r := a.engine.replication(); r.CopiesLacking != 0 || a.engine.timers.count("a") != 1 {
			return fmt.Sprintf("%d timers are back, want 1", a.engine.timers.count("a"))
		}
		return ""
	})
	sameState(t, a, b)
	wholeChains(t, a, b)
	eventually(t, func() string {
		for _, m := range a.engine.mirrors.all() {
			for _, r := range recordsOf(t, m) {
				for _, digest := range namesOf(r) {
					if !a.engine.custody.Has(digest) {
						return "a message of the former log did not come back"
					}
				}
			}
		}
		return ""
	})
	live(26*time.Hour, 30*time.Minute, a, b)
	if n := a.silences(sender) + b.silences(sender); n != 2 {
		t.Errorf("%d notices of silence, want the two that the former self owed", n)
	}
	a.kill()
	sameState(t, a, b)
}

// A site whose disk was put back to an earlier state forgets nothing that the other site holds, and both logs are kept.
func TestSiteWhoseDiskWasPutBack(t *testing.T) {
	a, b := newTwins(t)
	a.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, "")) // is in the log as it was, and in the one that it becomes
	a.world.run(enoughRounds)
	agree(t, a, b)
	saved := filepath.Join(t.TempDir(), "saved")
	log := filepath.Join(a.settings.Files.State, evidenceDir)
	a.between(func() {
		if err := os.CopyFS(saved, os.DirFS(log)); err != nil {
			t.Fatal(err)
		}
	})
	sentFrom(t, a)
	agree(t, a, b)
	lost, _ := a.engine.evidence.Head()
	a.between(func() {
		if err := os.RemoveAll(log); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(log, os.DirFS(saved)); err != nil {
			t.Fatal(err)
		}
	})
	if n := a.engine.timers.count("a"); n != 0 {
		t.Fatalf("%d timers before the other site was heard", n)
	}
	a.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
	a.world.run(enoughRounds)
	agree(t, a, b)
	wantSent := func(x *twin, want int64) {
		t.Helper()
		if n := sentInMonth(x)[sender]; n != want {
			t.Errorf("site %s counts %d messages of a month, want %d", x.settings.Site, n, want)
		}
	}
	wantSent(b, 3)
	var aside *mirror
	for _, m := range b.engine.mirrors.all() {
		if m.Head().Seq == lost && m.name != a.engine.logName {
			aside = m
		}
	}
	if aside == nil {
		t.Fatalf("the log that was is not kept: %v", b.engine.logNames())
	}
	b.kill()
	a.kill() // lists the logs anew
	eventually(t, func() string {
		if m := a.engine.mirrors.of(aside.name); m == nil || m.Head().Seq != lost || a.engine.timers.count("a") != 1 {
			return "what the disk forgot did not come back"
		}
		return ""
	})
	sameState(t, a, b)
	wantSent(a, 3)
	wholeChains(t, a, b)
}

// Postfix' queue is a volume of its own: what comes back of it may come before the log that tells what it is.
func TestWhatComesBackWaitsForTheLogThatTellsOfIt(t *testing.T) {
	const x = "x@ordinaria.test"
	log := func(a *twin) string { return filepath.Join(a.settings.Files.State, evidenceDir) }
	for name, c := range map[string]struct {
		begin func(a *twin, saved string)
		lose  func(a, b *twin, saved string)
		whole func(a, b *twin) // the former log is back
	}{
		"its volume is new": {
			begin: func(*twin, string) {},
			lose:  func(a, b *twin, _ string) { a.rebuild(b) },
			whole: func(*twin, *twin) {},
		},
		"its volume was put back": {
			begin: func(a *twin, saved string) {
				a.between(func() {
					if err := os.CopyFS(saved, os.DirFS(log(a))); err != nil {
						a.t.Fatal(err)
					}
				})
			},
			lose: func(a, _ *twin, saved string) {
				a.between(func() {
					if err := errors.Join(os.RemoveAll(log(a)), os.CopyFS(log(a), os.DirFS(saved))); err != nil {
						a.t.Fatal(err)
					}
				})
			},
			whole: func(a, b *twin) {
				later(relistEvery, a, b)
				agree(a.t, a, b)
				eventually(a.t, func() string {
					if len(a.engine.mirrors.all()) < 2 {
						return "what the disk forgot did not come back"
					}
					return ""
				})
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newTwins(t)
			agree(t, a, b)
			saved := filepath.Join(t.TempDir(), "saved")
			c.begin(a, saved)
			envelope := a.submit(sender, []string{x}, letter(sender, x, ""))
			if answer := a.arrive(stranger, []string{forwarder}, []byte(letter(stranger, forwarder, ""))); answer != "" {
				t.Fatal(answer)
			}
			a.world.run(enoughRounds)
			sentOn := a.outside[slices.IndexFunc(a.outside, func(m message) bool { return m.to == "casa@ordinaria.test" })]
			expired := a.submit(sender, []string{x}, letter(sender, x, ""))
			a.engine.journal = &crashing{journal: a.engine.journal, left: 1, after: true}
			if survived(func() { a.engine.access(a.queue[0].mail) }) {
				t.Fatal("the engine was not stopped")
			}
			a.queue = nil
			a.kill()
			agree(t, a, b)
			cut(a, b)
			c.lose(a, b, saved)
			a.bounce(sender, "Original-Envelope-Id: "+pec.Identifier("a", envelope, ours), x+" 5.1.1")
			a.bounce(sentOn.from, "Original-Envelope-Id: "+sentOn.envid, sentOn.to+" 5.7.1")
			a.bounce(sender, "X-Postfix-Queue-ID: "+expired, x+" 4.3.0")
			a.queue = slices.DeleteFunc(slices.Clone(a.queue), func(q queued) bool { return a.engine.incoming(q.mail)[0] == nil })
			if n := len(a.queue); n != 3 {
				t.Errorf("%d wait, want 3", n)
			}
			heal(a, b)
			agree(t, a, b)
			c.whole(a, b)
			a.world.run(enoughRounds)
			eventually(t, func() string {
				a.engine.passOwed(t.Context()) // its copy comes after the log
				a.world.run(enoughRounds)
				return cmp.Diff([]string{"errore"}, a.titles(forwarder))
			})
			got := a.titles(sender)
			slices.Sort(got)
			if diff := cmp.Diff([]string{"accettazione", "accettazione", "errore-consegna", "errore-consegna"}, got); diff != "" {
				t.Errorf("the sender's mailbox (-want +got):\n%s", diff)
			}
		})
	}
}

// A log that came to the other site while the link was whole, as one that was set aside there does, is found by the engine's own clock.
func TestLogsAreListedAnew(t *testing.T) {
	a, b := newTwins(t)
	agree(t, a, b)
	former := "a-0123456789abcdef"
	if _, err := b.engine.mirrors.open(former, evidence.Position{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * a.engine.replica.news)
	if a.engine.mirrors.of(former) != nil {
		t.Fatal("the logs are listed with each question")
	}
	later(relistEvery, a, b)
	eventually(t, func() string {
		if a.engine.mirrors.of(former) == nil {
			return "the log did not come"
		}
		return ""
	})
}

func TestSettingsAndLimitsAreOfBothSites(t *testing.T) {
	a, b := newTwins(t)
	for _, x := range []*twin{a, b} {
		x.put(sender, x.settings.Site+"/1", first, admin.AccessFull)
		x.give(sender, admin.Given{MayChange: allChoices, MessagesPerDay: 3})
	}
	agree(t, a, b)
	choose := func(x *twin, c choice) {
		t.Helper()
		c.Address = sender
		if err := x.engine.choose(t.Context(), c, anybody); err != nil {
			t.Fatal(err)
		}
	}
	cut(a, b) // the later choice counts, whichever comes first
	choose(a, choice{Setting: admin.ChoiceOrdinaryMail, OrdinaryMail: &admin.Ordinary{Policy: admin.OrdinaryDeliver}})
	later(time.Second, a, b)
	choose(b, choice{Setting: admin.ChoiceOrdinaryMail, OrdinaryMail: &admin.Ordinary{Policy: admin.OrdinaryDiscard}})
	choose(b, choice{Setting: admin.ChoicePassword, Password: hashed(t, second)})
	later(time.Second, a, b)
	choose(a, choice{Setting: admin.ChoiceRules, Rules: []admin.Rule{{Name: "r", Header: "Subject", Contains: "x", Folder: "X"}}})
	choose(a, choice{Setting: admin.ChoiceNotifications, Notifications: &admin.Notifications{Addresses: []string{"casa@ordinaria.test"}}})
	a.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
	b.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
	heal(a, b)
	agree(t, a, b)
	sameState(t, a, b)
	for _, x := range []*twin{a, b} {
		row, err := x.engine.directory.Mailbox(t.Context(), sender)
		if err != nil {
			t.Fatal(err)
		}
		h, err := x.engine.holder(t.Context(), row)
		if err != nil {
			t.Fatal(err)
		}
		if h.InForce.OrdinaryMail.Policy != admin.OrdinaryDiscard || len(h.InForce.Rules) != 1 || len(h.InForce.Notifications.Addresses) != 1 || h.SentToday != 2 || !x.world.knows(sender, second) {
			t.Errorf("site %s: %+v", x.settings.Site, h)
		}
		script, err := os.ReadFile(x.engine.rulesPath(sieve.Path(sender)))
		if err != nil || !strings.Contains(string(script), `"X"`) {
			t.Errorf("site %s: the rules' script: %s %v", x.settings.Site, script, err)
		}
	}
	a.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
	agree(t, a, b)
	if answer := b.engine.judgeTransaction("q9", transaction{Port: portSubmission, User: sender, From: sender, Recipients: []string{"anna@" + ours}}, nil); !strings.HasPrefix(answer, "450") {
		t.Errorf("the fourth message of the day was answered %q", answer)
	}
}

// How much a mailbox sends in a month is the same at both sites, whichever it sent through, and also after one of them was built anew.
func TestWhatIsSentInAMonthIsOfBothSites(t *testing.T) {
	a, b := newTwins(t)
	send := func(x *twin, times int) {
		for range times {
			x.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
		}
		x.world.run(enoughRounds * times)
	}
	want := func(when string, month int64) {
		t.Helper()
		eventually(t, func() string {
			for _, x := range []*twin{a, b} {
				if n := sentInMonth(x)[sender]; n != month {
					return fmt.Sprintf("%s site %s counts %d messages of a month, want %d", when, x.settings.Site, n, month)
				}
			}
			return ""
		})
	}
	send(a, 2)
	agree(t, a, b)
	want("after two at site a,", 2)
	cut(a, b)
	send(a, 1)
	send(b, 3)
	heal(a, b)
	agree(t, a, b)
	want("after one and three during a cut,", 6)
	b.kill()
	want("after site b was killed,", 6)
	a.rebuild(b)
	agree(t, a, b)
	want("after site a was built anew,", 6)
	later(29*24*time.Hour, a, b)
	want("29 days later,", 6)
	later(24*time.Hour, a, b)
	want("30 days later,", 0)
}

// twinsOfAHolder are two sites at which a mailbox had its Secret's first password, until its holder chose a second one a while ago.
func twinsOfAHolder(t *testing.T) (a, b *twin) {
	t.Helper()
	a, b = newTwins(t)
	a.put(sender, "a/1", first, admin.AccessFull)
	b.put(sender, "b/1", first, admin.AccessFull)
	agree(t, a, b)
	later(time.Minute, a, b)
	agree(t, a, b)
	if err := b.engine.choose(t.Context(), choice{Address: sender, Setting: admin.ChoicePassword, Password: hashed(t, second)}, anybody); err != nil {
		t.Fatal(err)
	}
	agree(t, a, b)
	a.engine.retryLater(t.Context())
	later(time.Minute, a, b)
	agree(t, a, b)
	return a, b
}

// Which password counts when a Secret is edited, read late, or read again.
func TestSecretAgainstThePasswordThatTheHolderChose(t *testing.T) {
	cases := map[string]struct {
		then  func(a, b *twin)
		wantA string
		wantB string
	}{
		"nothing happens to the Secret": {then: func(*twin, *twin) {}, wantA: second, wantB: second},
		"it is edited, and both sites have it": {then: func(a, b *twin) {
			a.put(sender, "a/2", third, admin.AccessFull)
			b.put(sender, "b/2", third, admin.AccessFull)
		}, wantA: third, wantB: third},
		"one site reads it anew, with no edit":   {then: func(a, _ *twin) { a.put(sender, "a/2", first, admin.AccessFull) }, wantA: second, wantB: second},
		"it is edited while the other is silent": {then: func(a, b *twin) { cut(a, b); later(time.Hour, a); a.put(sender, "a/2", third, admin.AccessFull) }, wantA: third, wantB: second},
		"one site reads it anew while the other is silent, and then hears it": {then: func(a, b *twin) {
			cut(a, b)
			later(time.Hour, a, b)
			a.put(sender, "a/2", first, admin.AccessFull)
			heal(a, b)
			agree(a.t, a, b)
		}, wantA: second, wantB: second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a, b := twinsOfAHolder(t)
			c.then(a, b)
			eventually(t, func() string {
				a.engine.retryLater(t.Context())
				b.engine.retryLater(t.Context())
				if !a.world.knows(sender, c.wantA) || !b.world.knows(sender, c.wantB) {
					return fmt.Sprintf("a has the wanted password: %v, b: %v", a.world.knows(sender, c.wantA), b.world.knows(sender, c.wantB))
				}
				return ""
			})
		})
	}
}

// Who leaves is put out of the site at which the Secret counted only later than it was placed.
func TestSessionsEndWhereTheSecretCountsLate(t *testing.T) {
	for name, then := range map[string]func(a, b *twin){
		"once the other site has read it": func(_, b *twin) { b.put(sender, "b/2", third, admin.AccessFull) },
		"once the other site is silent":   func(a, b *twin) { cut(a, b); later(time.Hour, a) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := twinsOfAHolder(t)
			a.put(sender, "a/2", third, admin.AccessFull)
			if !a.world.knows(sender, second) {
				t.Fatal("the Secret counts before the other site has read it")
			}
			before, began := len(a.kicked()), a.engine.logins.changes()
			then(a, b)
			eventually(t, func() string {
				a.engine.retryLater(t.Context())
				switch kicked := a.kicked()[before:]; {
				case !a.world.knows(sender, third):
					return "the Secret does not count"
				case !slices.Contains(kicked, sender):
					return fmt.Sprintf("of sessions ended only those of %v", kicked)
				case !a.engine.logins.former(sender, began):
					return "a submission session goes on"
				}
				return ""
			})
		})
	}
}

// Whatever is sent, received, chosen, cut and killed: once the sites hear each other again they know the same, and nothing that
// either wrote is lost.
func TestSitesAgreeAfterRandomExchangesCutsAndKills(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	for seed := range rounds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(uint64(seed), 11))
			a, b := newTwins(t)
			both, provider := []*twin{a, b}, newWorldOf(t, theirs)
			people := []string{"mario@" + ours, "anna@" + ours, "altra@" + ours}
			sent := 0
			for range 25 {
				x, what := both[random.IntN(2)], random.IntN(6)
				if what < 2 {
					from, to := people[random.IntN(3)], []string{people[random.IntN(3)], colleague, "nessuno@" + theirs}[random.IntN(3)]
					x.submit(from, []string{to}, letter(from, to, ""))
					sent++
				}
				if random.IntN(3) == 0 {
					x.engine.journal = &crashing{journal: x.engine.journal, left: 1 + random.IntN(5), after: random.IntN(2) == 0}
				}
				lived := survived(func() {
					switch what {
					case 2: // what the other provider answers comes to either
						carryOut(t, a.world, provider)
						carryOut(t, b.world, provider)
						carryOut(t, provider, x.world)
					case 3:
						c := choice{Address: people[random.IntN(3)], Setting: admin.ChoiceNotifications, Notifications: &admin.Notifications{Frequency: admin.Daily, Addresses: []string{fmt.Sprint("c", random.IntN(99), "@ordinaria.test")}}}
						if err := x.engine.choose(context.Background(), c, anybody); err != nil {
							t.Error(err)
						}
					case 4:
						cut(a, b)
					case 5:
						heal(a, b)
					}
					x.world.run(1000)
				})
				x.engine.journal = x.engine.evidence
				if !lived || random.IntN(8) == 0 {
					x.kill()
				}
				later(time.Duration(random.IntN(1000))*time.Millisecond, a, b)
			}
			heal(a, b)
			for range 3 {
				a.world.run(1000)
				b.world.run(1000)
				carryOut(t, a.world, provider)
				carryOut(t, b.world, provider)
				carryOut(t, provider, both[random.IntN(2)].world)
			}
			a.world.run(1000)
			b.world.run(1000)
			agree(t, a, b)
			eventually(t, func() string {
				for _, x := range both {
					if n := x.engine.replication().CopiesPending; n != 0 {
						return fmt.Sprintf("%d copies are pending at site %s", n, x.settings.Site)
					}
				}
				return ""
			})
			agree(t, a, b)
			sameState(t, a, b)
			wholeChains(t, a, b)
			wholeCustody(t, a, b)
			for _, x := range both { // and after a start from the disk alone
				cut(a, b)
				x.kill()
			}
			sameState(t, a, b)
			live(25*time.Hour, 30*time.Minute, a, b)
			if n := a.silences(people[0]) + b.silences(people[0]); n != 0 {
				t.Errorf("%d notices of silence, and all was answered", n)
			}
			for _, x := range both {
				for _, mailbox := range people {
					for id, n := range twice(t, x, mailbox) {
						t.Errorf("site %s: %s holds %s %d times", x.settings.Site, mailbox, id, n)
					}
				}
			}
			t.Logf("%d submissions, %d and %d records", sent, len(recordsOf(t, a.engine.evidence)), len(recordsOf(t, b.engine.evidence)))
		})
	}
}

// twice are the certified messages that a mailbox of a site holds more than once.
func twice(t *testing.T, x *twin, mailbox string) map[string]int {
	t.Helper()
	count := map[string]int{}
	for _, raw := range x.store[mailbox] {
		if kind := title(t, raw); kind != string(pec.TypeAnomaly) {
			count[messageIDOf(t, raw)]++
		}
	}
	for id, n := range count {
		if n == 1 {
			delete(count, id)
		}
	}
	return count
}
