package engine

import (
	"bytes"
	"fmt"
	"log/slog"
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
)

func TestReceiptsOfAFullSenderWaitForRoom(t *testing.T) {
	full, receipts := "piena@"+ours, []string{"accettazione", "avvenuta-consegna"}
	w := newWorld(t)
	w.submit(full, []string{"anna@" + ours}, letter(full, "anna@"+ours, ""))
	w.run(enoughRounds)
	pass := func(when string, want ...string) {
		t.Helper()
		w.engine.passHeld(t.Context())
		got := w.titles(full)
		slices.Sort(got)
		if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	pass("without room")
	if n := w.engine.held.count(); n != 2 {
		t.Errorf("%d messages wait, want 2", n)
	}
	w.crash()
	pass("without room, after a restart")
	w.room = true
	pass("with room", receipts...)
	pass("once more", receipts...)
	if n := w.engine.held.count(); n != 0 {
		t.Errorf("%d messages wait after they were delivered", n)
	}
	w.crash()
	pass("after a restart", receipts...)
	if len(w.outside) > 0 || len(w.titles("anna@"+ours)) != 1 {
		t.Errorf("a receipt was answered: %d messages left, the recipient has %v", len(w.outside), w.titles("anna@"+ours))
	}
}

func TestAHeldMessageWithoutItsCopyHoldsUpNoOther(t *testing.T) {
	full := "piena@" + ours
	w := newWorld(t)
	w.submit(full, []string{"anna@" + ours}, letter(full, "anna@"+ours, ""))
	w.run(enoughRounds)
	w.room = true
	list := w.engine.held.byMailbox(func(heldMessage) bool { return true })[full]
	if len(list) != 2 {
		t.Fatalf("%d messages wait, want 2", len(list))
	}
	working := w.engine.lmtp
	w.engine.lmtp = newRelay("127.0.0.1:1", "x", true)
	if err := w.engine.releaseAll(t.Context(), full, list); err == nil || strings.Contains(err.Error(), list[1].key) {
		t.Errorf("a Dovecot that is not there is asked for each message: %v", err)
	}
	w.engine.lmtp = working
	var h heldData
	if found, err := w.engine.known(kindHeld, list[0].key, &h); err != nil || !found {
		t.Fatal(found, err)
	}
	if err := os.Remove(filepath.Join(w.settings.Files.State, custodyDir, h.Digest[:2], h.Digest)); err != nil {
		t.Fatal(err)
	}
	err := w.engine.releaseAll(t.Context(), full, list)
	if err == nil || !strings.Contains(err.Error(), list[0].key) || strings.Contains(err.Error(), list[1].key) {
		t.Errorf("the message that was lost is not named: %v", err)
	}
	if got := w.titles(full); len(got) != 1 || w.engine.held.count() != 1 {
		t.Errorf("%v is delivered, and %d wait", got, w.engine.held.count())
	}
}

// Killed at any record on the way into custody and out of it, the engine neither loses a receipt nor delivers it twice.
func TestKilledWhileReceiptsWaitNothingIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	full, receipts := "piena@"+ours, []string{"accettazione", "avvenuta-consegna"}
	for n := 1; ; n++ {
		reached := false
		for _, after := range []bool{false, true} {
			w := newWorld(t)
			w.submit(full, []string{"anna@" + ours}, letter(full, "anna@"+ours, ""))
			w.engine.journal = &crashing{journal: w.engine.journal, left: n, after: after}
			road := func() { w.run(enoughRounds); w.room = true; w.engine.passHeld(t.Context()) }
			if !survived(road) {
				reached = true
				w.crash()
				road()
			}
			got := w.titles(full)
			if slices.Sort(got); !slices.Equal(got, receipts) {
				t.Fatalf("killed at record %d, written %v: %v, want %v", n, after, got, receipts)
			}
		}
		if !reached {
			if n < 10 {
				t.Fatalf("the road took %d records: the crashes did not happen", n)
			}
			return
		}
	}
}

func TestWhatWaitsForAMailbox(t *testing.T) {
	full := "piena@" + ours
	for name, c := range map[string]struct {
		rcpt        string
		arrive      func(w *world, rcpt string) // what is put into the queue
		then        func(w *world, rcpt string) // what becomes of the mailbox
		held, ended int
		kept        string // the title of what stays in custody alone
	}{
		"a receipt for a suspended mailbox, until that is opened": {
			rcpt: "sospesa@" + ours, arrive: foreignAnswer, held: 1, ended: 1,
			then: func(w *world, rcpt string) { w.setAccess(rcpt, admin.AccessFull) },
		},
		"a receipt, until the mailbox is closed": {
			rcpt: full, arrive: foreignAnswer, held: 1, kept: "avvenuta-consegna",
			then: func(w *world, rcpt string) { w.setAccess(rcpt, admin.AccessClosed) },
		},
		"ordinary mail, until the mailbox is closed": {
			rcpt: "aperta@" + ours, held: 1, kept: "errore",
			arrive: func(w *world, rcpt string) {
				w.arrive(stranger, []string{rcpt}, []byte(letter(stranger, rcpt, "")))
				w.setAccess(rcpt, admin.AccessSuspended)
			},
			then: func(w *world, rcpt string) { w.setAccess(rcpt, admin.AccessClosed) },
		},
		"no receipt for a mailbox that there is not": {
			rcpt: "nessuno@" + ours, arrive: foreignAnswer, kept: "avvenuta-consegna", then: func(*world, string) {},
		},
		"no envelope: its sender was told": {
			rcpt: full, then: func(w *world, _ string) { w.room = true },
			arrive: func(w *world, rcpt string) {
				from := "bruno@" + theirs
				_, raw := foreignEnvelope(w.t, from, rcpt, "q1")
				w.arrive(from, []string{rcpt}, raw)
			},
		},
		"a large message does not hold up a small one": {
			rcpt: full, held: 2, ended: 1,
			arrive: func(w *world, rcpt string) {
				signer, provider := other(w.t)
				for i, size := range []int{3 << 19, 1} {
					transit, about := sentTo("x@"+theirs, rcpt, "Prova")
					raw, err := signer.Delivery(provider, transit, fmt.Sprintf("c%d@%s", i, theirs), about, append([]byte("Subject: x\r\n\r\n"), bytes.Repeat([]byte("x\r\n"), size/3+1)...), time.Now())
					if err != nil {
						w.t.Fatal(err)
					}
					w.arrive(provider.ServiceAddress, []string{rcpt}, raw)
				}
			},
			then: func(w *world, _ string) { w.room = true },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.arrive(w, c.rcpt)
			w.run(enoughRounds)
			if n := w.engine.held.count(); n != c.held {
				t.Fatalf("%d wait, want %d", n, c.held)
			}
			c.then(w, c.rcpt)
			w.engine.passHeld(t.Context())
			if got := len(w.titles(c.rcpt)); got != c.ended {
				t.Errorf("the mailbox has %d messages then, want %d", got, c.ended)
			}
			w.now = w.now.Add(time.Hour)
			w.engine.passHeld(t.Context())
			if got := len(w.titles(c.rcpt)); got != c.ended {
				t.Errorf("the mailbox has %d messages in the end, want %d", got, c.ended)
			}
			if c.kept == "" {
				return
			}
			var kept deliveryData
			w.records(kindUndeliverable, func(r evidence.Record) { _ = r.Decode(&kept) })
			raw, err := w.engine.custody.Get(kept.Digest)
			if err != nil || kept.Mailbox != c.rcpt || title(t, raw) != c.kept || !strings.HasPrefix(kept.Reply, "5.1.1 ") {
				t.Errorf("its end is recorded as %+v, and custody has %q: %v", kept, raw, err)
			}
		})
	}
}

// What one site holds the other delivers when the first is gone, and not while it may still do so itself.
func TestTheOtherSiteDeliversWhatAGoneOneHeld(t *testing.T) {
	start := time.Now()
	h := held{all: map[string]heldMessage{}}
	h.add(heldMessage{key: "k", mailbox: "m", site: "b", at: start})
	knows := hearing{caughtUpAt: start, began: start}
	for after, want := range map[time.Duration]int{time.Minute: 0, takenOverAfter - time.Minute: 0, takenOverAfter: 1} {
		may := func(m heldMessage) bool { return knows.mayAct(start.Add(after), m.at, 0, m.site != "a") }
		if got := len(h.byMailbox(may)["m"]); got != want {
			t.Errorf("after %s of silence this site delivers %d, want %d", after, got, want)
		}
	}
	h.add(heldMessage{key: "k", mailbox: "m", site: "a", at: start.Add(time.Second)})
	own := func(m heldMessage) bool { return m.site == "a" }
	if h.add(heldMessage{key: "k", mailbox: "m", site: "b", at: start}); len(h.byMailbox(own)["m"]) != 1 {
		t.Error("two sites that hold one message do not agree on who delivers it")
	}
}

func TestNeitherSiteWaitsForWhatOneOfThemDelivered(t *testing.T) {
	full := "piena@" + ours
	a, b := newTwins(t)
	counts := func(when string, wantA, wantB int) {
		t.Helper()
		agree(t, a, b)
		if gotA, gotB := a.engine.held.count(), b.engine.held.count(); gotA != wantA || gotB != wantB {
			t.Errorf("%s: %d wait at site a and %d at site b, want %d and %d", when, gotA, gotB, wantA, wantB)
		}
	}
	_, provider := other(t)
	receipt := foreignReceipt(t, "x@"+ours, full, "")
	cut(a, b)
	b.room = true
	for _, x := range []*twin{a, b} { // the one holds what the other delivers
		x.arrive(provider.ServiceAddress, []string{full}, receipt)
		x.world.run(enoughRounds)
	}
	heal(a, b)
	counts("delivered at the other site before it heard that it waits", 0, 0)
	b.room = false
	a.submit(full, []string{"anna@" + ours}, letter(full, "anna@"+ours, ""))
	a.world.run(enoughRounds)
	counts("held at one site", 2, 2)
	a.kill()
	b.kill()
	counts("and both restarted", 2, 2)
	a.room = true
	a.engine.passHeld(t.Context())
	counts("delivered where it was held", 0, 0)
	a.room = false
	a.kill()
	b.kill()
	counts("and both restarted again", 0, 0)
}

// The other site held it, and its provider's server tried this one.
func TestADeliveryEndsWhatTheOtherSiteHolds(t *testing.T) {
	for to, room := range map[string]bool{"piena@" + ours: true, "chiusa@" + ours: false} {
		w := newWorld(t)
		w.room = room
		receipt := foreignReceipt(t, "x@"+ours, to, "")
		key := deliveryKey("ricevute@"+theirs, strings.Trim(messageIDOf(t, receipt), "<>"), to)
		w.engine.held.add(heldMessage{key: key, mailbox: to, site: "b", at: w.now})
		w.arrive("posta-certificata@"+theirs, []string{to}, receipt)
		w.run(enoughRounds)
		if ended, err := w.engine.endedHeld(key); !ended || err != nil || w.engine.held.count() != 0 {
			t.Errorf("%s: its end is recorded %v, and %d messages wait: %v", to, ended, w.engine.held.count(), err)
		}
	}
}

func foreignAnswer(w *world, rcpt string) {
	_, provider := other(w.t)
	w.arrive(provider.ServiceAddress, []string{rcpt}, foreignReceipt(w.t, "x@"+ours, rcpt, ""))
}

func (w *world) setAccess(address string, access admin.Access) {
	w.t.Helper()
	w.change(address, func(row *admin.Mailbox) {
		row.Access = access
		if access == admin.AccessClosed {
			row.ClosedAt = w.now.Truncate(time.Second)
		}
	})
}

func TestWaits(t *testing.T) {
	for name, c := range map[string]struct {
		kind pec.Type
		why  failure
		want bool
	}{
		"a receipt that does not fit":                {pec.TypeDelivery, failure{Status: "5.2.2"}, true},
		"a receipt for a mailbox that takes nothing": {pec.TypeAcceptance, failure{Status: "5.2.1"}, true},
		"an anomaly envelope that does not fit":      {pec.TypeAnomaly, failure{Status: "5.2.2"}, true},
		"an envelope, whose sender is told":          {pec.TypeEnvelope, failure{Status: "5.2.2"}, false},
		"a receipt for a mailbox that is not there":  {pec.TypeDelivery, failure{Status: "5.1.1"}, false},
		"a receipt with a virus":                     {pec.TypeDelivery, failure{Status: "5.2.2", Threat: "x"}, false},
	} {
		if got := c.why.waits(c.kind); got != c.want {
			t.Errorf("%s: waits is %v, want %v", name, got, c.want)
		}
	}
}

// The quota shrank since: no deletion makes room for it, and so whoever may give the mailbox more is told, once.
func TestWhatWaitsAndNeverFitsIsSaid(t *testing.T) {
	full := "piena@" + ours
	w := newWorld(t)
	foreignAnswer(w, full)
	w.run(enoughRounds)
	w.room = true
	w.change(full, func(row *admin.Mailbox) { row.QuotaBytes = 100 })
	var log bytes.Buffer
	w.engine.log = slog.New(slog.NewTextHandler(&log, nil))
	for range 2 {
		w.engine.passHeld(t.Context())
	}
	if n := strings.Count(log.String(), "larger than the whole mailbox"); n != 1 || w.engine.held.count() != 1 {
		t.Errorf("it is said %d times, and %d messages wait:\n%s", n, w.engine.held.count(), &log)
	}
	w.change(full, func(row *admin.Mailbox) { row.QuotaBytes = 1 << 20 })
	w.engine.passHeld(t.Context())
	if got := w.titles(full); len(got) != 1 {
		t.Errorf("with a larger quota the mailbox has %v", got)
	}
}
