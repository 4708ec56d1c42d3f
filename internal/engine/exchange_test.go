package engine

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/pec"
)

func custodyOf(t *testing.T, w *world) (all []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(w.settings.Files.State, custodyDir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		all = append(all, string(raw))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// exchange is two providers and the wire between them.
type exchange struct {
	a, b    *world
	lost    func(m message) bool // what never arrives
	arrived []message            // what did, from one to the other
}

func newExchange(t *testing.T) *exchange {
	return &exchange{a: newWorldOf(t, ours), b: newWorldOf(t, theirs), lost: func(message) bool { return false }}
}

func (x *exchange) worlds() []*world { return []*world{x.a, x.b} }

// settle works everything off and carries what leaves one building into the other, until nothing moves.
func (x *exchange) settle() {
	for range 100 {
		x.a.run(enoughRounds * 10)
		x.b.run(enoughRounds * 10)
		if !x.carry(x.a, x.b) && !x.carry(x.b, x.a) {
			return
		}
	}
	x.a.t.Error("the exchange does not end")
}

func (x *exchange) carry(from, to *world) (moved bool) {
	var rest []message
	for _, m := range from.outside {
		switch {
		case domainOf(m.to) != to.domain:
			rest = append(rest, m)
		case x.lost(m):
			moved = true
		default:
			moved = true
			x.arrived = append(x.arrived, m)
			if answer := to.arrive(m.from, []string{m.to}, m.bytes); answer != "" {
				from.t.Errorf("%s to %s was answered %q", title(from.t, m.bytes), m.to, answer)
			}
		}
	}
	from.outside = rest
	return moved
}

func TestVirusFoundByTheOtherProviderBecomesAFailureForOurUser(t *testing.T) {
	x := newExchange(t)
	x.a.engine.settings.Antivirus.Clamd = "" // its definitions do not know it yet
	rcpts := []string{"anna@" + theirs, "altra@" + theirs, "nessuno@" + theirs}
	x.a.submit(sender, rcpts, letter(sender, strings.Join(rcpts, ", "), "X-Allegato: "+virus+"\r\n"))
	x.settle()
	got := x.a.titles(sender)
	slices.Sort(got)
	if diff := cmp.Diff([]string{"accettazione", "errore-consegna", "errore-consegna", "errore-consegna"}, got); diff != "" {
		t.Errorf("sender's mailbox (-want +got):\n%s", diff)
	}
	for _, raw := range x.a.store[sender][1:] {
		if !bytes.Contains(raw, []byte("X-VerificaSicurezza: errore")) {
			t.Errorf("not a failure for a virus:\n%s", raw)
		}
	}
	if len(x.b.store) != 0 {
		t.Error("something infected was delivered")
	}
	if !slices.ContainsFunc(custodyOf(t, x.b), func(kept string) bool { return strings.Contains(kept, virus) }) {
		t.Error("the infected envelope was not kept")
	}
	if n := x.a.engine.timers.count("a"); n != 0 {
		t.Errorf("%d timers did not end", n)
	}
	x.a.pass(48 * time.Hour)
	if n := len(x.a.titles(sender)); n != 4 {
		t.Errorf("after two days %d messages, want no notice of silence", n)
	}
}

// pass lets so much time pass, minute by minute.
func (w *world) pass(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(time.Minute)
		w.engine.passTimers()
	}
	refreshed := filepath.Join(w.settings.Antivirus.Definitions, "test.ndb") // somebody does, day and night
	if err := os.Chtimes(refreshed, w.now, w.now); err != nil {
		w.t.Fatal(err)
	}
	w.run(enoughRounds * 10)
}

func TestSilenceOfACertifiedRecipientIsToldAtTwelveAndTwentyFourHours(t *testing.T) {
	x := newExchange(t)
	cases := map[string]struct {
		lost                          string // what the other side never sends
		to                            string
		at12, before22, at24, after48 int // notices of silence
		restart                       bool
	}{
		"nothing is heard":                          {lost: "presa-in-carico avvenuta-consegna", to: "anna@" + theirs, at12: 1, before22: 1, at24: 2, after48: 2},
		"nothing is heard, across restarts":         {lost: "presa-in-carico avvenuta-consegna", to: "anna@" + theirs, at12: 1, before22: 1, at24: 2, after48: 2, restart: true},
		"it is taken in charge and never delivered": {lost: "avvenuta-consegna", to: "anna@" + theirs, at24: 1, after48: 1},
		"it is delivered":                           {to: "anna@" + theirs},
		"it is delivered, the rest is lost":         {lost: "presa-in-carico", to: "anna@" + theirs},
		"it fails":                                  {to: "nessuno@" + theirs},
		"it fails, across restarts":                 {to: "nessuno@" + theirs, restart: true},
		"it goes to ordinary mail":                  {to: "x@ordinaria.test"},
		"it is delivered in the own house":          {to: "anna@" + ours},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			x = newExchange(t)
			x.lost = func(m message) bool { return strings.Contains(c.lost, title(t, m.bytes)) }
			x.a.submit(sender, []string{c.to}, letter(sender, c.to, ""))
			x.settle()
			begun := x.a.now
			for _, step := range []struct {
				until time.Duration
				want  int
			}{{12*time.Hour - time.Minute, 0}, {12*time.Hour + time.Minute, c.at12}, {22 * time.Hour, c.before22}, {24 * time.Hour, c.at24}, {48 * time.Hour, c.after48}} {
				x.a.pass(begun.Add(step.until).Sub(x.a.now))
				if c.restart {
					x.a.crash()
				}
				got := 0
				for _, title := range x.a.titles(sender) {
					if title == "preavviso-errore-consegna" {
						got++
					}
				}
				if got != step.want {
					t.Errorf("after %s: %d notices, want %d", step.until, got, step.want)
				}
			}
			if n := x.a.engine.timers.count("a"); n != 0 {
				t.Errorf("%d timers are still open after two days", n)
			}
		})
	}
}

func TestDeliveryBetweenTheNoticesEndsThem(t *testing.T) {
	x := newExchange(t)
	var held []message
	x.lost = func(m message) bool {
		if m.to == "anna@"+theirs {
			held = append(held, m)
			return true
		}
		return false
	}
	x.a.submit(sender, []string{"anna@" + theirs}, letter(sender, "anna@"+theirs, ""))
	x.settle()
	x.a.pass(13 * time.Hour)
	x.lost = func(message) bool { return false }
	x.a.outside = append(x.a.outside, held...)
	x.settle()
	x.a.pass(20 * time.Hour)
	got := x.a.titles(sender)
	if diff := cmp.Diff([]string{"accettazione", "preavviso-errore-consegna", "avvenuta-consegna"}, got); diff != "" {
		t.Errorf("sender's mailbox (-want +got):\n%s", diff)
	}
}

// A provider that answers for mailboxes of another's is believed in nothing.
func TestNoticesOfTheWrongProviderCountForNothing(t *testing.T) {
	w := newWorld(t)
	third := "carla@ordinaria.test"
	id := w.submit(sender, []string{"anna@" + ours, third}, letter(sender, "anna@"+ours+", "+third, ""))
	w.run(enoughRounds)
	before := len(w.titles(sender))
	identifier := pec.Identifier("a", id, ours)
	signer, p := other(t)
	transit := pec.Transit{Identifier: identifier, Sender: sender, Subject: "Prova", Receipt: pec.ReceiptFull, Recipients: []pec.Recipient{{Address: "anna@" + ours, Certified: true}, {Address: third}}}
	forge := func(name string, to string, raw []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		w.arrive(p.ServiceAddress, []string{to}, raw)
		w.run(enoughRounds)
		for _, m := range w.store[to][min(before, len(w.store[to])):] {
			if title(t, m) != "errore" {
				t.Errorf("%s was delivered as %s", name, title(t, m))
			}
		}
		before = len(w.store[sender])
		for _, kind := range []string{kindAcknowledged, kindSettled} {
			if found, _ := w.engine.lookup(kind, identifier+" "+third, nil); found {
				t.Errorf("%s: %s is %s", name, third, kind)
			}
		}
	}
	raw, err := signer.Delivery(p, transit, "x1@"+theirs, third, nil, w.now)
	forge("a delivery", sender, raw, err)
	raw, err = signer.DeliveryError(p, transit, "x2@"+theirs, third, pec.ErrorOther, "5.0.0 - x - no", w.now)
	forge("a failure", sender, raw, err)
	raw, err = signer.Acceptance(p, transit, "x3@"+theirs, w.now)
	forge("an acceptance", sender, raw, err)
	raw, err = signer.VirusDetection(p, transit, "x4@"+theirs, "ricevute@"+ours, "anna@"+ours, "Finto", w.now)
	forge("a virus", "ricevute@"+ours, raw, err)
	raw, err = signer.TakeCharge(p, transit, "x5@"+theirs, "ricevute@"+ours, []string{third}, w.now)
	forge("a taking in charge", "ricevute@"+ours, raw, err)
}

// laterRoads are those of ordinary mail, of viruses and of the service mailbox.
func laterRoads() map[string]crashRoad {
	from := "bruno@" + theirs
	return map[string]crashRoad{
		"ordinary mail for two mailboxes, one of which sends it on": {
			records: 4,
			begin: func(w *world) {
				raw := []byte(letter(stranger, "aperta@"+ours, ""))
				if answer := w.arrive(stranger, []string{"aperta@" + ours, "avanti@" + ours}, raw); answer != "" {
					w.t.Fatal(answer)
				}
			},
			want: map[string][]string{"aperta@" + ours: {"errore"}},
			out:  []string{"casa@ordinaria.test "},
		},
		"an infected envelope for two mailboxes": {
			records: 7,
			begin: func(w *world) {
				rcpts := []string{"anna@" + ours, "aperta@" + ours}
				_, raw := foreignEnvelopeOf(w.t, from, rcpts[0], "q1", letter(from, strings.Join(rcpts, ", "), "X-Allegato: "+virus+"\r\n"))
				if answer := w.arrive(from, rcpts, raw); answer != "" {
					w.t.Fatal(answer)
				}
			},
			want: map[string][]string{"anna@" + ours: {}, "aperta@" + ours: {}},
			out:  []string{"ricevute@" + theirs + " rilevazione-virus", "ricevute@" + theirs + " rilevazione-virus"},
		},
		"an infected submission": {
			records: 3,
			begin: func(w *world) {
				w.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, "X-Allegato: "+virus+"\r\n"))
			},
			want: map[string][]string{sender: {"non-accettazione"}},
			out:  []string{},
		},
		"what another provider says of our envelope": {
			records: 8,
			begin: func(w *world) {
				rcpts := []string{"carla@" + theirs, "dario@" + theirs}
				id := w.submit(sender, rcpts, letter(sender, strings.Join(rcpts, ", "), ""))
				w.run(enoughRounds)
				signer, err := pec.NewSigner(keys().certs[theirs], keys().signer[theirs])
				if err != nil {
					w.t.Fatal(err)
				}
				p := pec.Provider{Name: "Gestore " + theirs, MailDomain: theirs, ServiceAddress: "posta-certificata@" + theirs}
				var s accepted
				if found, err := w.engine.lookup(kindAccepted, pec.Identifier("a", id, ours), &s); !found || err != nil {
					w.t.Fatal("not accepted", err)
				}
				t := s.Transit.transit()
				taken, err1 := signer.TakeCharge(p, t, "t1@"+theirs, "ricevute@"+ours, rcpts[:1], w.now)
				found, err2 := signer.VirusDetection(p, t, "t2@"+theirs, "ricevute@"+ours, rcpts[1], "Prova", w.now)
				stored, err3 := signer.Delivery(p, t, "t3@"+theirs, rcpts[0], nil, w.now)
				if err := errors.Join(err1, err2, err3); err != nil {
					w.t.Fatal(err)
				}
				for to, raws := range map[string][][]byte{"ricevute@" + ours: {taken, found}, sender: {stored}} {
					for _, raw := range raws {
						if answer := w.arrive(p.ServiceAddress, []string{to}, raw); answer != "" {
							w.t.Fatal(answer)
						}
					}
				}
			},
			want: map[string][]string{sender: {"accettazione", "avvenuta-consegna", "errore-consegna"}},
			out:  []string{"carla@" + theirs + " posta-certificata", "dario@" + theirs + " posta-certificata"},
		},
	}
}

// A kill between the notices' deadlines and their records loses no notice and sends none twice.
func TestKilledAtEveryRecordOfANoticeOfSilence(t *testing.T) {
	for n := 1; ; n++ {
		reached := false
		for _, after := range []bool{false, true} {
			w := newWorld(t)
			w.submit(sender, []string{"x@" + theirs}, letter(sender, "x@"+theirs, ""))
			w.run(enoughRounds)
			for _, later := range []time.Duration{12 * time.Hour, 24 * time.Hour} {
				w.now = w.now.Add(later)
				w.engine.journal = &crashing{journal: w.engine.journal, left: n, after: after}
				if !survived(w.engine.passTimers) {
					reached = true
					w.crash()
					w.engine.passTimers()
				}
				w.engine.journal = w.engine.evidence
				w.run(enoughRounds)
			}
			if diff := cmp.Diff([]string{"accettazione", "preavviso-errore-consegna", "preavviso-errore-consegna"}, w.titles(sender)); diff != "" {
				t.Fatalf("killed at record %d, written %v (-want +got):\n%s", n, after, diff)
			}
		}
		if !reached {
			if n < 3 {
				t.Fatal("the kills did not happen")
			}
			return
		}
	}
}

// The delivery receipt carries what its sender asked for, and nothing of the message where the recipient is in copy.
func TestDeliveryReceiptIsAsItsSenderAskedFor(t *testing.T) {
	const part = "--b\r\nContent-Type: application/octet-stream; name=a.bin\r\nContent-Transfer-Encoding: base64\r\n\r\nQUFBQQ==\r\n--b--\r\n"
	cases := map[string]struct {
		header    string
		whole     bool // the attachment is in the receipt
		hash      bool
		copyOnly  bool
		wantNoEML bool
	}{
		"not asked for, complete": {whole: true},
		"complete":                {header: "X-TipoRicevuta: completa\r\n", whole: true},
		"brief":                   {header: "X-TipoRicevuta: breve\r\n", hash: true},
		"concise":                 {header: "X-TipoRicevuta: sintetica\r\n", wantNoEML: true},
		"complete, but in copy":   {copyOnly: true, wantNoEML: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			fields := c.header + "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
			rcpts, to := []string{"anna@" + ours}, "anna@"+ours
			if c.copyOnly {
				rcpts, to = []string{"anna@" + ours, "x@ordinaria.test"}, "x@ordinaria.test"
				fields += "Cc: anna@" + ours + "\r\n"
			}
			head, _, _ := strings.Cut(letter(sender, to, fields), "\r\n\r\n")
			w.submit(sender, rcpts, head+"\r\n\r\n"+part)
			w.run(enoughRounds)
			index, roots, err := w.engine.providers()
			if err != nil {
				t.Fatal(err)
			}
			for _, raw := range w.store[sender] {
				j := pec.Classify(raw, index, roots, w.now)
				if j.Type != pec.TypeDelivery {
					continue
				}
				if (j.Postacert == nil) != c.wantNoEML || bytes.Contains(j.Postacert, []byte("QUFBQQ==")) != c.whole || bytes.Contains(j.Postacert, []byte("a.bin.hash")) != c.hash {
					t.Errorf("the receipt carries:\n%s", j.Postacert)
				}
				return
			}
			t.Errorf("no delivery receipt among %v", w.titles(sender))
		})
	}
}
