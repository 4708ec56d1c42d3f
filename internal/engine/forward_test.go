package engine

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
)

const forwarder = "avanti@" + ours

// forwardsTo has a mailbox send its ordinary mail on to an address.
func (w *world) forwardsTo(mailbox, address string) {
	w.change(mailbox, func(row *admin.Mailbox) { row.OrdinaryMail, row.ForwardTo = admin.OrdinaryForward, address })
}

func (w *world) setPolicy(mailbox string, policy admin.OrdinaryMail) {
	w.change(mailbox, func(row *admin.Mailbox) { row.OrdinaryMail, row.ForwardTo = policy, "" })
}

// change writes a row as something else.
func (w *world) change(mailbox string, change func(row *admin.Mailbox)) {
	w.t.Helper()
	row, err := w.engine.directory.Mailbox(w.t.Context(), mailbox)
	if err != nil {
		w.t.Fatal(err)
	}
	change(&row)
	if _, err := w.engine.directory.PutMailbox(w.t.Context(), row); err != nil {
		w.t.Fatal(err)
	}
}

// refuseForwarded is the next server, that does not take what was sent on: Postfix says so, and after a crash of its own says so again.
func refuseForwarded(w *world) {
	for _, m := range w.outside {
		w.bounce(m.from, "Original-Envelope-Id: "+m.envid, m.to+" 5.7.1")
		w.bounce(m.from, "Original-Envelope-Id: "+m.envid, m.to+" 5.7.1")
	}
	w.run(enoughRounds)
}

// The stranger has his 250: what comes back is for the mailbox that had it sent on, once, and nobody else hears of it.
func TestWhatWasSentOnAndComesBackIsForItsMailbox(t *testing.T) {
	raw := []byte(letter(stranger, forwarder, ""))
	set := func(a admin.Access) func(*world) { return func(w *world) { w.setAccess(forwarder, a) } }
	for name, c := range map[string]struct {
		to    string         // where it is sent on
		since func(w *world) // what becomes of the mailbox before it comes back
		then  func(w *world) // and after
		want  []string       // in the mailbox
		held  int            // between since and then
		kept  bool           // in custody alone
		kills int            // one at each record, if there are so many
	}{
		"refused by its server":                 {to: "casa@ordinaria.test", want: []string{"errore"}, kills: 6},
		"an address that Postfix does not take": {to: "storto@ordinaria.test", want: []string{"errore"}, kills: 5},
		"a message that Postfix does not take":  {to: "giri@ordinaria.test", want: []string{"errore"}, kills: 5},
		"while the mailbox takes nothing": {
			to: "casa@ordinaria.test", since: set(admin.AccessSuspended), held: 1, then: set(admin.AccessFull), want: []string{"errore"},
		},
		"after the policy became another": {
			to: "casa@ordinaria.test", since: func(w *world) { w.forwardsTo(forwarder, "altrove@ordinaria.test") }, want: []string{"errore"},
		},
		"after the mailbox was closed": {to: "casa@ordinaria.test", since: set(admin.AccessClosed), want: []string{}, kept: true, kills: 4},
		"after somebody else got the address": {to: "casa@ordinaria.test", want: []string{}, kept: true, since: func(w *world) {
			row := former(t, "avanti", admin.AccessFull, 1<<20)
			w.close(row)
			row.OrdinaryMail, row.Owner.UID = admin.OrdinaryDeliver, "u-new"
			w.place(admin.Place{Address: row.Address, Mailbox: &row})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			walk := func(t *testing.T, w *world, step func(func())) {
				w.forwardsTo(forwarder, c.to)
				if answer := w.arrive(stranger, []string{forwarder}, raw); answer != "" {
					t.Fatal(answer)
				}
				key := deliveryKey("a", w.queue[0].id, forwarder)
				step(func() { w.run(enoughRounds) })
				w.now = w.now.Add(time.Minute)
				if c.since != nil {
					c.since(w)
				}
				step(func() { refuseForwarded(w) })
				if n := w.engine.held.count(); n != c.held {
					t.Errorf("%d messages wait, want %d", n, c.held)
				}
				if c.then != nil {
					c.then(w)
				}
				step(func() { w.engine.passHeld(t.Context()) })
				if diff := cmp.Diff(c.want, w.titles(forwarder)); diff != "" {
					t.Errorf("the mailbox (-want +got):\n%s", diff)
				}
				for _, m := range w.outside {
					if m.to != c.to {
						t.Errorf("%s was sent something", m.to)
					}
				}
				var kept deliveryData
				found, err := w.engine.lookup(kindUndeliverable, key, &kept)
				if err != nil || found != c.kept {
					t.Fatalf("kept is %v, want %v: %v", found, c.kept, err)
				}
				if c.kept {
					if got, err := w.engine.custody.Get(kept.Digest); err != nil || !bytes.HasSuffix(got, raw) {
						t.Errorf("not in custody: %v", err)
					}
				} else if j := w.judged(forwarder, 0); !bytes.Equal(j.Postacert, raw) {
					t.Errorf("the envelope does not hold what was sent: %q", j.Postacert)
				}
			}
			if c.kills == 0 {
				walk(t, newWorld(t), func(do func()) { do() })
				return
			}
			eachKill(t, c.kills, walk)
		})
	}
}

func TestWhatCameBackSaysWhy(t *testing.T) {
	w := newWorld(t)
	if answer := w.arrive(stranger, []string{forwarder}, []byte(letter(stranger, forwarder, ""))); answer != "" {
		t.Fatal(answer)
	}
	w.run(enoughRounds)
	refuseForwarded(w)
	if all := strings.ReplaceAll(string(bytes.Join(w.store[forwarder], nil)), "=\r\n", ""); !strings.Contains(all, "inoltrato a casa@ordinaria.test, non =E8 stato accettato: Host or domain name not found") {
		t.Errorf("its reader is not told why:\n%s", all)
	}
	w.checkCustody(map[string]int{})
}

// Killed before Postfix had it, the engine sends it on as it had begun: to one address, whatever the policy is by then.
func TestAForwardThatWasBegunGoesOn(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"to another address": func(w *world) { w.forwardsTo(forwarder, "altrove@ordinaria.test") },
		"to the mailbox":     func(w *world) { w.setPolicy(forwarder, admin.OrdinaryDeliver) },
		"to nobody":          func(w *world) { w.setPolicy(forwarder, admin.OrdinaryDiscard) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, left := range []int{1, 2} {
				w := newWorld(t)
				if answer := w.arrive(stranger, []string{forwarder}, []byte(letter(stranger, forwarder, ""))); answer != "" {
					t.Fatal(answer)
				}
				w.engine.journal = &crashing{journal: w.engine.journal, left: left, after: true}
				if survived(func() { w.run(enoughRounds) }) {
					t.Fatal("it was not killed")
				}
				w.crash()
				change(w)
				w.run(enoughRounds)
				if len(w.outside) != 1 || w.outside[0].to != "casa@ordinaria.test" || len(w.titles(forwarder)) != 0 {
					t.Errorf("killed after record %d: sent out %v, the mailbox has %v", left, w.outside, w.titles(forwarder))
				}
			}
		})
	}
}

// A certified mailbox refuses what a stranger wrote, and its sender would have a 250: he is refused at the door, as by that mailbox.
func TestNothingIsSentOnToACertifiedMailbox(t *testing.T) {
	other := "aperta@" + ours
	for name, prepare := range map[string]func(w *world){
		"of this house":            func(w *world) { w.forwardsTo(forwarder, "anna@"+ours) },
		"of another provider":      func(w *world) { w.forwardsTo(forwarder, "anna@"+theirs) },
		"that sends it on in turn": func(w *world) { w.forwardsTo(forwarder, other); w.forwardsTo(other, forwarder) },
		"of a domain that is local": func(w *world) {
			if err := w.engine.directory.PutDomain(w.t.Context(), admin.Domain{Name: "comune.test", Local: true}); err != nil {
				w.t.Fatal(err)
			}
			w.forwardsTo(forwarder, "anna@comune.test")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			prepare(w)
			raw := []byte(letter(stranger, forwarder, ""))
			if answer := w.arrive(stranger, []string{forwarder}, raw); answer != answerUncertified {
				t.Errorf("the stranger is answered %q", answer)
			}
			w.forwardsTo(forwarder, "casa@ordinaria.test")
			if answer := w.arrive(stranger, []string{forwarder}, raw); answer != "" {
				t.Fatal(answer)
			}
			prepare(w) // after the 250
			w.run(enoughRounds)
			if diff := cmp.Diff([]string{"errore"}, w.titles(forwarder)); diff != "" || len(w.outside)+len(w.inside) != 0 {
				t.Errorf("%d messages were sent on, and the mailbox has (-want +got):\n%s", len(w.outside)+len(w.inside), diff)
			}
		})
	}
}

// What a spec gives and cannot be is left out, and said at each asking, since the row does not become what was asked; the rest acts.
func TestAPlaceThatSendsToACertifiedMailbox(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		forwardTo string
		told      []string
		refused   []string // what the answer names
	}{
		"ordinary addresses":                        {forwardTo: "casa@ordinaria.test", told: []string{"casa@ordinaria.test"}},
		"ordinary mail for a mailbox of this house": {forwardTo: "anna@" + ours, told: []string{"casa@ordinaria.test"}, refused: []string{"anna@" + ours}},
		"ordinary mail for itself":                  {forwardTo: "nuova@" + ours, refused: []string{"nuova@" + ours}},
		"notifications for another provider's":      {forwardTo: "casa@ordinaria.test", told: []string{"casa@ordinaria.test", "anna@" + theirs}, refused: []string{"anna@" + theirs}},
		"both":                                      {forwardTo: "anna@" + theirs, told: []string{"anna@" + ours, "casa@ordinaria.test"}, refused: []string{"anna@" + ours, "anna@" + theirs}},
	} {
		t.Run(name, func(t *testing.T) {
			row := former(t, "nuova", admin.AccessReadOnly, 5)
			row.OrdinaryMail, row.ForwardTo = admin.OrdinaryForward, c.forwardTo
			for range 2 {
				wanted := row
				given := admin.Given{MessagesPerDay: 7, Notifications: admin.Notifications{Addresses: c.told}}
				a := w.placing(admin.Place{Address: row.Address, Mailbox: &wanted, Given: &given})
				if a.Failed != "" || a.Placed == nil {
					t.Fatalf("answered %+v", a)
				}
				for _, named := range c.refused {
					if !strings.Contains(a.Refused, named+": it is a certified mailbox") {
						t.Errorf("%s is not named: %q", named, a.Refused)
					}
				}
				asked := a.Placed.Mailbox.Same(row) && a.Placed.Holder.Given.Same(given)
				if asked != (len(c.refused) == 0) || (a.Refused == "") != asked {
					t.Errorf("refused is %q, and placed what was asked is %v", a.Refused, asked)
				}
				if a.Placed.Mailbox.Access != row.Access || a.Placed.Holder.Given.MessagesPerDay != 7 {
					t.Errorf("what is right is not placed: %+v", a.Placed)
				}
			}
		})
	}
}

// Nothing that a holder does makes room where what was sent on is kept: a stranger must not fill it for the whole stack.
func TestWhatAMailboxSendsOnInTwoDaysIsBoundedByItsQuota(t *testing.T) {
	w := newWorld(t)
	raw := []byte(letter(stranger, forwarder, "") + strings.Repeat("x\r\n", 1<<17)) // of a quota of 1 MiB
	arrive := func(when, want string, out int) {
		t.Helper()
		if answer := w.arrive(stranger, []string{forwarder}, raw); answer != want {
			t.Errorf("%s the milter answered %q, want %q", when, answer, want)
		}
		w.run(enoughRounds)
		if len(w.outside) != out {
			t.Errorf("%s %d messages are sent on, want %d", when, len(w.outside), out)
		}
	}
	arrive("first", "", 1)
	arrive("then", "", 2)
	kept := len(custodyOf(t, w))
	arrive("beyond the quota", answerFull, 2)
	w.crash()
	arrive("after a restart", answerFull, 2)
	w.engine.settings.Antivirus.MaxAgeMinutes = 72 * 60
	w.later(47 * time.Hour)
	arrive("a day later", answerFull, 2)
	if n := len(custodyOf(t, w)); n != kept {
		t.Errorf("custody has %d files, and had %d before what was refused", n, kept)
	}
	w.later(time.Hour)
	arrive("two days later", "", 3)
}

func TestWhatIsSentOnAtTheOtherSiteCountsToo(t *testing.T) {
	a, b := newTwins(t)
	for _, x := range []*twin{a, b} {
		x.forwardsTo(forwarder, "casa@ordinaria.test")
	}
	raw := []byte(letter(stranger, forwarder, "") + strings.Repeat("x\r\n", 1<<18))
	if answer := a.arrive(stranger, []string{forwarder}, raw); answer != "" {
		t.Fatal(answer)
	}
	a.world.run(enoughRounds)
	agree(t, a, b)
	for range 2 {
		if answer := b.arrive(stranger, []string{forwarder}, raw); answer != answerFull {
			t.Errorf("the other site answered %q", answer)
		}
		b.crash()
	}
}

// A site where no mail comes in is asked for the sum of no mailbox, and hears of all that the other sends on.
func TestWhatWasSentOnIsForgottenUnasked(t *testing.T) {
	s, start := newForwards(), time.Now()
	for hour := range 100 {
		at := start.Add(time.Duration(hour) * time.Hour)
		s.add(fmt.Sprintf("m%d@%s", hour, ours), "k", 1, at, at)
	}
	if n := len(s.by); n != 48 {
		t.Errorf("what %d mailboxes sent on is remembered, want that of the last 48 hours", n)
	}
}

// Postfix drops a bounce after a day, and nobody would come back to what it was about.
func TestWhatCameBackIsOwedUntilItsMailboxHasIt(t *testing.T) {
	for name, c := range map[string]struct{ shut, open func(w *world) }{
		"while its row is restored": {
			shut: func(w *world) { w.change(forwarder, func(row *admin.Mailbox) { row.Restored = true }) },
			open: func(w *world) { w.change(forwarder, func(row *admin.Mailbox) { row.Restored = false }) },
		},
		"while there is no signing certificate": {
			shut: func(w *world) { w.settings.Files.SigningCert += ".gone"; w.crash() },
			open: func(w *world) {
				w.settings.Files.SigningCert = strings.TrimSuffix(w.settings.Files.SigningCert, ".gone")
				w.crash()
			},
		},
	} {
		for _, restarts := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				raw := []byte(letter(stranger, forwarder, ""))
				if answer := w.arrive(stranger, []string{forwarder}, raw); answer != "" {
					t.Fatal(answer)
				}
				w.run(enoughRounds)
				w.alone = true // no operator says at a start how the rows stand
				c.shut(w)
				refuseForwarded(w) // fails if a bounce is not answered 250
				if restarts {
					w.crash()
				}
				w.engine.passHeld(t.Context())
				if got := w.titles(forwarder); len(got) != 0 || len(w.engine.forwards.allOwed()) != 1 {
					t.Errorf("the mailbox has %v, and %d messages are owed", got, len(w.engine.forwards.allOwed()))
				}
				c.open(w)
				for range 2 {
					w.engine.passHeld(t.Context())
				}
				w.crash()
				w.engine.passHeld(t.Context())
				if diff := cmp.Diff([]string{"errore"}, w.titles(forwarder)); diff != "" {
					t.Fatalf("the mailbox (-want +got):\n%s", diff)
				}
				if n := len(w.engine.forwards.allOwed()); n != 0 || !bytes.Equal(w.judged(forwarder, 0).Postacert, raw) {
					t.Errorf("%d messages are still owed, or it is another one", n)
				}
			})
		}
	}
}

func TestWhatPostfixRefusesIsOwedUntilItsMailboxHasIt(t *testing.T) {
	for _, to := range []string{"storto@ordinaria.test", "giri@ordinaria.test"} {
		t.Run(to, func(t *testing.T) {
			w := newWorld(t)
			w.forwardsTo(forwarder, to)
			if answer := w.arrive(stranger, []string{forwarder}, []byte(letter(stranger, forwarder, ""))); answer != "" {
				t.Fatal(answer)
			}
			cert := w.settings.Files.SigningCert
			w.settings.Files.SigningCert += ".gone"
			w.crash()
			w.run(enoughRounds) // fails if Postfix is not answered 250
			w.engine.passHeld(t.Context())
			if got := w.titles(forwarder); len(got) != 0 {
				t.Errorf("unsigned, the mailbox has %v", got)
			}
			w.settings.Files.SigningCert = cert
			w.crash()
			for range 2 {
				w.engine.passHeld(t.Context())
			}
			if diff := cmp.Diff([]string{"errore"}, w.titles(forwarder)); diff != "" || len(w.outside) != 0 {
				t.Errorf("%d were sent out, and the mailbox has (-want +got):\n%s", len(w.outside), diff)
			}
		})
	}
}

// What came back to a building that is lost is in custody at the other, whose mailbox has it once it is given up.
func TestWhatCameBackIsGivenByTheOtherSiteWhenItsOwnIsLost(t *testing.T) {
	for name, lost := range map[string]bool{"the building is lost, and returns": true, "it has a signing certificate again": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newTwins(t)
			raw := []byte(letter(stranger, forwarder, ""))
			if answer := b.arrive(stranger, []string{forwarder}, raw); answer != "" {
				t.Fatal(answer)
			}
			b.world.run(enoughRounds)
			cert := b.settings.Files.SigningCert
			b.settings.Files.SigningCert += ".gone"
			b.kill()
			refuseForwarded(b.world)
			agree(t, a, b)
			eventually(t, func() string {
				if len(a.engine.forwards.allOwed()) == 0 {
					return "site a did not hear that it came back"
				}
				return ""
			})
			pass := func(when string, owed int, wantA, wantB []string) {
				t.Helper()
				for _, x := range []*twin{a, b} {
					x.engine.passHeld(t.Context())
				}
				if n := len(a.engine.forwards.allOwed()); n != owed {
					t.Errorf("%s %d messages are owed, want %d", when, n, owed)
				}
				if diff := cmp.Diff([][]string{wantA, wantB}, [][]string{a.titles(forwarder), b.titles(forwarder)}); diff != "" {
					t.Errorf("%s the mailbox has, at either site (-want +got):\n%s", when, diff)
				}
			}
			none, it := []string{}, []string{"errore"}
			pass("while the other site speaks", 1, none, none)
			giver, wantA, wantB := a, it, none
			if !lost {
				giver, wantA, wantB = b, none, it
				b.settings.Files.SigningCert = cert
				b.kill()
				b.engine.passHeld(t.Context())
				agree(t, a, b)
				pass("given where it came back", 0, wantA, wantB)
			}
			b.stop()
			later(takenOverAfter-time.Minute, a, b)
			if lost {
				pass("while it may come back", 1, none, none)
			}
			later(2*time.Minute, a, b)
			pass("when it is given up", 0, wantA, wantB)
			b.settings.Files.SigningCert = cert
			b.kill()
			agree(t, a, b)
			pass("when it is back", 0, wantA, wantB)
			if n := len(b.engine.forwards.allOwed()); n != 0 {
				t.Errorf("%d messages are owed at site b", n)
			}
			if !bytes.Equal(giver.judged(forwarder, 0).Postacert, raw) {
				t.Error("it is another message")
			}
		})
	}
}
