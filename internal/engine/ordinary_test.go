package engine

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-milter"
	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/pec"
)

const stranger = "qualcuno@ordinaria.test"

// arrive is a message that another server brings to the MX port; it answers as the milter does.
func (w *world) arrive(from string, rcpts []string, raw []byte) string {
	w.t.Helper()
	id := w.enqueue("incoming", from, rcpts, raw)
	answer := w.engine.judgeTransaction(id, transaction{Port: portMX, From: from, Recipients: rcpts}, raw)
	if answer != "" {
		w.queue = w.queue[:len(w.queue)-1]
	}
	return answer
}

func TestOrdinaryMailEndsAsItsMailboxWants(t *testing.T) {
	cases := map[string]struct {
		to, extra string
		answer    string   // of the milter
		mailbox   []string // what it holds in the end
		out       []string
	}{
		"delivered in an anomaly envelope":              {to: "aperta@" + ours, mailbox: []string{"errore"}},
		"sent on to the address that its holder chose":  {to: "avanti@" + ours, out: []string{"casa@ordinaria.test"}},
		"refused where certified mail alone is wanted":  {to: "anna@" + ours, answer: answerUncertified},
		"refused for a mailbox that does not exist":     {to: "nessuno@" + ours, answer: answerUnknown},
		"refused for a full mailbox":                    {to: "piena@" + ours, answer: answerFull},
		"refused for a suspended mailbox":               {to: "sospesa@" + ours, answer: answerDisabled},
		"refused for the provider's own address":        {to: "ricevute@" + ours, answer: answerUncertified},
		"refused with a virus":                          {to: "aperta@" + ours, extra: "X-Allegato: " + virus + "\r\n", answer: answerVirus + ": Test.Virus"},
		"refused when it was forwarded from there":      {to: "avanti@" + ours, extra: "Delivered-To: Avanti@" + ours + "\r\n", answer: answerLoop},
		"delivered though somebody else forwarded it":   {to: "aperta@" + ours, extra: "Delivered-To: avanti@" + ours + "\r\n", mailbox: []string{"errore"}},
		"delivered with a header that nobody certifies": {to: "aperta@" + ours, extra: "From: a@b.test\r\nX-Ricevuta: accettazione\r\n", mailbox: []string{"errore"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if answer := w.arrive(stranger, []string{c.to}, []byte(letter(stranger, c.to, c.extra))); answer != c.answer {
				t.Fatalf("the milter answered %q, want %q", answer, c.answer)
			}
			w.run(enoughRounds)
			if diff := cmp.Diff(append([]string{}, c.mailbox...), w.titles(c.to)); diff != "" {
				t.Errorf("mailbox (-want +got):\n%s", diff)
			}
			var out []string
			for _, m := range w.outside {
				out = append(out, m.to)
			}
			if diff := cmp.Diff(c.out, out); diff != "" {
				t.Errorf("sent out (-want +got):\n%s", diff)
			}
		})
	}
}

func TestForwardedMailIsOursToFailAndComesBackToNobody(t *testing.T) {
	w := newWorld(t)
	raw := []byte(letter(stranger, "avanti@"+ours, ""))
	if answer := w.arrive(stranger, []string{"avanti@" + ours}, raw); answer != "" {
		t.Fatal(answer)
	}
	w.run(enoughRounds)
	m := w.outside[0]
	if m.from != "posta-certificata@"+ours || !bytes.HasSuffix(m.bytes, raw) || !bytes.HasPrefix(m.bytes, []byte("Delivered-To: avanti@"+ours+"\r\n")) {
		t.Errorf("from %s:\n%s", m.from, m.bytes)
	}
	// What was forwarded comes round again.
	if answer := w.arrive(m.from, []string{"avanti@" + ours}, m.bytes); answer != answerLoop {
		t.Errorf("the message was taken a second time: %q", answer)
	}
}

func TestStrangersRecipientsOfOneTransactionHaveOneAnswer(t *testing.T) {
	w := newWorld(t)
	restored := "anna@" + ours // from the log, and nobody has said yet how it stands
	w.change(restored, func(row *admin.Mailbox) { row.Restored = true })
	cases := map[string]struct {
		from string
		to   []string
		want []string // that were taken
	}{
		"the same answer":                                       {stranger, []string{"aperta@" + ours, "altra@" + ours}, []string{"aperta@" + ours, "altra@" + ours}},
		"an unknown one among two":                              {stranger, []string{"aperta@" + ours, "nessuno@" + ours, "altra@" + ours}, []string{"aperta@" + ours, "altra@" + ours}},
		"first an unknown one":                                  {stranger, []string{"nessuno@" + ours, "aperta@" + ours}, []string{"nessuno@" + ours}},
		"a full one":                                            {stranger, []string{"aperta@" + ours, "piena@" + ours}, []string{"aperta@" + ours}},
		"one of which nothing can be said among two":            {stranger, []string{"aperta@" + ours, restored, "altra@" + ours}, []string{"aperta@" + ours, "altra@" + ours}},
		"first one of which nothing can be said":                {stranger, []string{restored, "aperta@" + ours, "piena@" + ours}, []string{"aperta@" + ours}},
		"of which nothing can be said, from a certified domain": {"bruno@" + theirs, []string{restored, "aperta@" + ours}, []string{restored, "aperta@" + ours}},
		"from a certified domain":                               {"bruno@" + theirs, []string{"aperta@" + ours, "nessuno@" + ours, "piena@" + ours}, []string{"aperta@" + ours, "nessuno@" + ours, "piena@" + ours}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := &milterSession{engine: w.engine, port: portMX}
			_, _ = s.MailFrom(c.from, &milter.Modifier{})
			for _, to := range c.to {
				response, err := s.RcptTo(to, &milter.Modifier{})
				if err != nil {
					t.Fatal(err)
				}
				want := ""
				switch {
				case slices.Contains(c.want, to):
				case to == restored:
					want = answerTemporary
				default:
					want = answerApart
				}
				if answer := strings.TrimRight(string(response.Response().Data), "\x00"); answer != want {
					t.Errorf("%s is answered %q, want %q", to, answer, want)
				}
			}
			if diff := cmp.Diff(c.want, s.rcpts); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
		})
	}
}

// What a holder chose is not known where what he is given cannot be read: a stranger is not refused for that.
func TestNobodyIsRefusedByWhatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.shell(`UPDATE mailbox SET given = '{' WHERE address = ?`, "anna@"+ours)
	if answer := w.arrive(stranger, []string{"anna@" + ours}, []byte(letter(stranger, "anna@"+ours, ""))); answer != answerTemporary {
		t.Errorf("the stranger is told %q", answer)
	}
}

func TestAMailboxThatChangedAfterDataLosesNothing(t *testing.T) {
	w := newWorld(t)
	raw := []byte(letter(stranger, "aperta@"+ours, ""))
	if answer := w.arrive(stranger, []string{"aperta@" + ours}, raw); answer != "" {
		t.Fatal(answer)
	}
	w.setAccess("aperta@"+ours, admin.AccessClosed)
	id := w.queue[0].id
	w.run(enoughRounds)
	var kept deliveryData
	if found, err := w.engine.lookup(kindUndeliverable, deliveryKey("a", id, "aperta@"+ours), &kept); !found || err != nil {
		t.Fatalf("no record: %v", err)
	}
	if got, err := w.engine.custody.Get(kept.Digest); err != nil || !bytes.Contains(got, raw) {
		t.Errorf("not in custody: %v", err)
	}
	if len(w.outside) != 0 {
		t.Error("a stranger was told")
	}
}

// eachKill walks a road once without a kill, and once for each record that it makes, and each side of it, with a kill there. A road that
// makes fewer records than it should was not killed.
func eachKill(t *testing.T, records int, walk func(t *testing.T, w *world, step func(func()))) {
	t.Helper()
	for n := 0; ; n++ {
		reached := false
		for _, after := range []bool{false, true} {
			w := newWorld(t)
			crashes := &crashing{left: n, after: after}
			walk(t, w, func(do func()) {
				crashes.journal = w.engine.journal
				if w.engine.journal = crashes; survived(do) {
					w.engine.journal = crashes.journal
					return
				}
				reached = true
				w.crash()
				do()
			})
			if t.Failed() {
				t.Fatalf("killed at record %d, written %v", n, after)
			}
		}
		if n > 0 && !reached {
			if n <= records {
				t.Fatalf("the road took %d records: the crashes did not happen", n-1)
			}
			return
		}
	}
}

func TestOrdinaryMailThatWasTakenWaitsForItsMailbox(t *testing.T) {
	access := func(to string, a admin.Access) func(*world) { return func(w *world) { w.setAccess(to, a) } }
	for name, c := range map[string]struct {
		to         string
		shut, open func(w *world)
	}{
		"that filled up":                       {"piena@" + ours, func(w *world) { w.room = false }, func(w *world) { w.room = true }},
		"that was suspended":                   {"aperta@" + ours, access("aperta@"+ours, admin.AccessSuspended), access("aperta@"+ours, admin.AccessFull)},
		"that was suspended and would forward": {"avanti@" + ours, access("avanti@"+ours, admin.AccessSuspended), access("avanti@"+ours, admin.AccessFull)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachKill(t, 3, func(t *testing.T, w *world, step func(func())) {
				w.room = true
				if answer := w.arrive(stranger, []string{c.to}, []byte(letter(stranger, c.to, ""))); answer != "" {
					t.Fatal(answer)
				}
				key := deliveryKey("a", w.queue[0].id, c.to)
				c.shut(w)
				step(func() { w.run(enoughRounds); w.engine.passHeld(t.Context()) })
				if got, n := w.titles(c.to), w.engine.held.count(); len(got) != 0 || n != 1 {
					t.Errorf("the mailbox takes nothing, and has %v; %d messages wait", got, n)
				}
				c.open(w)
				for range 2 {
					step(func() { w.engine.passHeld(t.Context()) })
				}
				if diff := cmp.Diff([]string{"errore"}, w.titles(c.to)); diff != "" || w.engine.held.count() != 0 || len(w.outside) != 0 {
					t.Errorf("%d wait, %d were sent out, and the mailbox has (-want +got):\n%s", w.engine.held.count(), len(w.outside), diff)
				}
				if found, err := w.engine.lookup(kindUndeliverable, key, nil); found || err != nil {
					t.Errorf("it was given up: %v", err)
				}
			})
		})
	}
}

// It was closed here since, and is open at the other site.
func TestOrdinaryMailThatWasTakenWaitsForAMailboxThatIsOpenAtTheOtherSite(t *testing.T) {
	a, b := newTwins(t)
	agree(t, a, b)
	row := former(t, "ufficio", admin.AccessFull, 1<<20)
	row.OrdinaryMail = admin.OrdinaryDeliver
	place := func(x *twin) {
		row := row
		row.Owner.UID += "-" + x.settings.Site // each cluster has its own: one that is the other's says nothing new
		x.place(admin.Place{Address: row.Address, Mailbox: &row})
	}
	place(a)
	if answer := a.arrive(stranger, []string{row.Address}, []byte(letter(stranger, row.Address, ""))); answer != "" {
		t.Fatal(answer)
	}
	a.close(row)
	later(time.Minute, a, b)
	place(b)
	agree(t, a, b)
	hears(t, a, b, row.Address)
	a.world.run(enoughRounds)
	if n := a.engine.held.count(); n != 1 {
		t.Fatalf("%d messages wait, want 1", n)
	}
	place(a)
	a.engine.passHeld(t.Context())
	if diff := cmp.Diff([]string{"errore"}, a.titles(row.Address)); diff != "" {
		t.Errorf("the mailbox (-want +got):\n%s", diff)
	}
}

// A kill between two roads that a mailbox's policy has in turn has nothing walk both.
func TestAPolicyThatChangesAfterAKillDoublesNothing(t *testing.T) {
	to := "aperta@" + ours
	for name, c := range map[string]struct {
		before func(w *world)
		after  func(w *world)
	}{
		"delivered, then to be sent on": {before: func(*world) {}, after: func(w *world) { w.forwardsTo(to, "casa@ordinaria.test") }},
		"delivered, then unwanted":      {before: func(*world) {}, after: func(w *world) { w.setPolicy(to, admin.OrdinaryDiscard) }},
		"held, then to be sent on": {
			before: func(w *world) { w.setAccess(to, admin.AccessSuspended) },
			after: func(w *world) {
				w.setAccess(to, admin.AccessFull)
				w.forwardsTo(to, "casa@ordinaria.test")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; n <= 2; n++ {
				for _, after := range []bool{false, true} {
					w := newWorld(t)
					if answer := w.arrive(stranger, []string{to}, []byte(letter(stranger, to, ""))); answer != "" {
						t.Fatal(answer)
					}
					c.before(w)
					key := deliveryKey("a", w.queue[0].id, to)
					w.engine.journal = &crashing{journal: w.engine.journal, left: n, after: after}
					_ = survived(func() { w.run(enoughRounds) })
					w.crash()
					c.after(w)
					w.run(enoughRounds)
					w.engine.passHeld(t.Context())
					kept, err := w.engine.lookup(kindUndeliverable, key, nil)
					ends := len(w.titles(to)) + len(w.outside)
					if kept {
						ends++
					}
					if err != nil || ends != 1 {
						t.Fatalf("killed at record %d, written %v: the mailbox has %v, %d were sent out, given up %v: %v", n, after, w.titles(to), len(w.outside), kept, err)
					}
				}
			}
		})
	}
}

// What is known of one recipient only when the whole message is there is not said of the others.
func TestOneRecipientsLateAnswerIsNotTheOthers(t *testing.T) {
	aperta, full := "aperta@"+ours, "piena@"+ours
	small := func(names ...string) func(w *world) {
		return func(w *world) {
			for _, name := range names {
				w.change(name, func(row *admin.Mailbox) { row.QuotaBytes = 64 << 10 })
				w.store[name] = [][]byte{make([]byte, 64<<10-100)} // until the end of DATA
			}
		}
	}
	tiny := func(w *world) { w.change(full, func(row *admin.Mailbox) { row.QuotaBytes = 100 }) }
	loop := func(names ...string) (fields string) {
		for _, name := range names {
			fields += "Delivered-To: " + name + "\r\n"
		}
		return fields
	}
	for name, c := range map[string]struct {
		from, extra string
		to          []string
		before      func(w *world)
		answer      string
		held        int // until there is room
		out         int
		want        map[string][]string
	}{
		"one of two has no room": {
			to: []string{full, aperta}, before: small(full), held: 1,
			want: map[string][]string{full: {"errore"}, aperta: {"errore"}},
		},
		"neither has room": {to: []string{full, aperta}, before: small(full, aperta), answer: answerFull, want: map[string][]string{full: {}, aperta: {}}},
		"one of two sent it on before, and keeps it now": {
			to: []string{forwarder, aperta}, extra: loop(forwarder),
			want: map[string][]string{forwarder: {"errore"}, aperta: {"errore"}},
		},
		"one of two can never hold it": {to: []string{full, aperta}, before: tiny, answer: answerTooLarge, want: map[string][]string{full: {}, aperta: {}}},
		"one that sends mail on could never hold it": {
			to: []string{full, aperta}, answer: answerTooLarge, want: map[string][]string{full: {}, aperta: {}},
			before: func(w *world) { tiny(w); w.forwardsTo(full, "casa@ordinaria.test") },
		},
		"both sent it on before":                       {to: []string{forwarder, aperta}, extra: loop(forwarder, aperta), answer: answerLoop, want: map[string][]string{forwarder: {}, aperta: {}}},
		"one sent it on before, the other has no room": {to: []string{forwarder, full}, extra: loop(forwarder), before: small(full), answer: answerLoop, want: map[string][]string{forwarder: {}, full: {}}},
		"one sends it on, the other has no room": {
			to: []string{forwarder, full}, before: small(full), held: 1, out: 1,
			want: map[string][]string{forwarder: {}, full: {"errore"}},
		},
		"from a certified domain, to a full one": {
			from: "bruno@" + theirs, to: []string{aperta, full}, before: small(full), held: 1,
			want: map[string][]string{aperta: {"errore"}, full: {"errore"}},
		},
		"from a certified domain, to one that does not exist": {
			from: "bruno@" + theirs, to: []string{aperta, "nessuno@" + ours}, answer: answerUnknown, want: map[string][]string{aperta: {}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.room = true
			if c.before != nil {
				c.before(w)
			}
			from := stranger
			if c.from != "" {
				from = c.from
			}
			if answer := w.arrive(from, c.to, []byte(letter(from, c.to[0], c.extra))); answer != c.answer {
				t.Fatalf("the milter answered %q, want %q", answer, c.answer)
			}
			w.room = false
			clear(w.store)
			w.run(enoughRounds)
			if n := w.engine.held.count(); n != c.held {
				t.Errorf("%d messages wait, want %d", n, c.held)
			}
			w.room = true
			w.change(full, func(row *admin.Mailbox) { row.QuotaBytes = 1 << 20 })
			w.engine.passHeld(t.Context())
			for mailbox, want := range c.want {
				if diff := cmp.Diff(want, w.titles(mailbox)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", mailbox, diff)
				}
			}
			if len(w.outside) != c.out {
				t.Errorf("%d messages went out, want %d", len(w.outside), c.out)
			}
		})
	}
}

// Dovecot gets the envelope, in which what is not 7 bit takes a third more: what it cannot take must not have been answered 250.
func TestWhatIsJudgedIsTheEnvelope(t *testing.T) {
	aperta, eight, seven := "aperta@"+ours, strings.Repeat("à", 24)+"\r\n", strings.Repeat("x", 48)+"\r\n"
	const quota = 96 << 10
	for name, c := range map[string]struct {
		to, line string
		used     int
		want     string
	}{
		"8 bit, which never fits":                      {aperta, eight, 0, answerTooLarge},
		"7 bit, which fits":                            {aperta, seven, 0, ""},
		"8 bit, which never fits if it comes back":     {forwarder, eight, 0, answerTooLarge},
		"7 bit, which fits if it comes back":           {forwarder, seven, 0, ""},
		"7 bit, with room for all but the envelope":    {aperta, seven, quota - 76_000, answerFull},
		"7 bit, with room for it and for its envelope": {aperta, seven, quota - 95_000, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.change(c.to, func(row *admin.Mailbox) { row.QuotaBytes = quota })
			w.store[c.to] = [][]byte{make([]byte, c.used)}
			if answer := w.arrive(stranger, []string{c.to}, []byte(letter(stranger, c.to, "")+strings.Repeat(c.line, 1500))); answer != c.want {
				t.Errorf("answered %q, want %q", answer, c.want)
			}
		})
	}
}

// Each try would leave another whole message where nothing is ever removed.
func TestTriesOfAnEnvelopeThatIsSignedOtherwiseEachTimeLeaveOneCopy(t *testing.T) {
	away := func(w *world) { w.engine.lmtp = newRelay("127.0.0.1:1", "x", true) }
	busy := func(w *world) {
		w.lmtpFail = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Temporary internal error"}
	}
	for name, c := range map[string]struct {
		to     string
		fails  func(w *world)
		copies int
	}{
		"Dovecot is not there":                                            {"aperta@" + ours, away, 0},
		"Dovecot cannot store it":                                         {"aperta@" + ours, busy, 1},
		"it was sent on and came back, and Dovecot is not there":          {forwarder, away, 1}, // what was sent on
		"it was sent on and came back, and Dovecot first cannot store it": {forwarder, busy, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.signsOtherwiseEachTime()
			raw := []byte(letter(stranger, c.to, ""))
			if answer := w.arrive(stranger, []string{c.to}, raw); answer != "" {
				t.Fatal(answer)
			}
			if c.to == forwarder {
				w.run(enoughRounds)
				w.bounce(w.outside[0].from, "Original-Envelope-Id: "+w.outside[0].envid, w.outside[0].to+" 5.7.1")
			}
			working := w.engine.lmtp
			for range 5 {
				c.fails(w)
				w.engine.incoming(w.queue[0].mail)
				w.engine.passHeld(t.Context())
			}
			if all := custodyOf(t, w); len(all) != c.copies {
				t.Errorf("there are %d copies in custody, want %d", len(all), c.copies)
			}
			w.engine.lmtp, w.lmtpFail = working, nil
			w.run(enoughRounds)
			w.engine.passHeld(t.Context())
			if diff := cmp.Diff([]string{"errore"}, w.titles(c.to)); diff != "" {
				t.Fatalf("the mailbox (-want +got):\n%s", diff)
			}
			if stored := w.store[c.to][0]; !slices.ContainsFunc(custodyOf(t, w), func(kept string) bool { return strings.HasSuffix(string(stored), kept) }) {
				t.Error("custody has another one than Dovecot")
			}
		})
	}
}

// signsOtherwiseEachTime gives the engine a key that is not in a file, as an HSM has it.
func (w *world) signsOtherwiseEachTime() {
	w.t.Helper()
	must := func(err error) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := *keys().leaves[ours]
	der, err := x509.CreateCertificate(rand.Reader, &template, keys().root, key.Public(), keys().rootKey)
	must(err)
	leaf, err := x509.ParseCertificate(der)
	must(err)
	signer, err := pec.NewSignerWithKey([]*x509.Certificate{leaf}, struct{ crypto.Signer }{key})
	w.engine.signer = newReloading(func([][]byte) (*pec.Signer, error) { return signer, err }, w.settings.Files.SigningCert)
}

// A bounce that Postfix would send to a stranger comes to the engine, which keeps it.
func TestOurOwnBouncesNeverLeave(t *testing.T) {
	w := newWorld(t)
	raw := "From: MAILER-DAEMON@mx.uno.test\r\nTo: " + stranger + "\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.uno.test\r\n\r\nFinal-Recipient: rfc822; anna@" + ours + "\r\nAction: failed\r\nStatus: 4.3.0\r\n\r\n--b--\r\n"
	id := w.enqueue("incoming", "", []string{stranger}, []byte(raw))
	w.run(enoughRounds)
	var kept struct{ Digest string }
	if found, err := w.engine.lookup(kindReport, id+" "+stranger, &kept); !found || err != nil {
		t.Fatalf("no record: %v", err)
	}
	if got, err := w.engine.custody.Get(kept.Digest); err != nil || !bytes.Contains(got, []byte(raw)) || len(w.outside) != 0 {
		t.Errorf("custody %v, %d sent out", err, len(w.outside))
	}
}

// Whom a stranger writes as his sender did not send it, and gets no report with the whole of it past his own policy.
func TestABounceOfAStrangersMailIsForNobody(t *testing.T) {
	for _, forged := range []string{"anna@" + ours, "posta-certificata@" + ours} {
		t.Run(forged, func(t *testing.T) {
			w := newWorld(t)
			if answer := w.arrive(forged, []string{"aperta@" + ours}, []byte(letter(forged, "aperta@"+ours, ""))); answer != "" {
				t.Fatal(answer)
			}
			about := "X-Postfix-Queue-ID: " + w.queue[0].id
			w.queue = nil // after a day
			w.bounce(forged, about, "aperta@"+ours+" 4.3.0")
			report := w.queue[0]
			w.run(enoughRounds)
			if got := w.titles(forged); len(got)+len(w.outside) != 0 {
				t.Errorf("the mailbox has %q, and %d messages left", got, len(w.outside))
			}
			var kept struct{ Digest string }
			if found, err := w.engine.lookup(kindReport, report.id+" "+forged, &kept); err != nil || !found {
				t.Fatalf("it is not kept: %v", err)
			}
			if raw, err := w.engine.custody.Get(kept.Digest); err != nil || !bytes.Equal(raw, report.raw) {
				t.Errorf("what is kept is not the report: %v", err)
			}
		})
	}
}

func TestScannerThatCannotScanMakesMailWait(t *testing.T) {
	faults := map[string]func(w *world, back bool){
		"unreachable": func(w *world, back bool) { w.clamdOff = !back },
		"definitions that are too old": func(w *world, back bool) {
			w.engine.settings.Antivirus.MaxAgeMinutes = map[bool]int{false: -60, true: 60}[back]
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			before := w.engine.problems(t.Context())
			fault(w, false)
			if answer := w.arrive(stranger, []string{"aperta@" + ours}, []byte(letter(stranger, "aperta@"+ours, ""))); answer != answerTemporary {
				t.Errorf("ordinary mail was answered %q", answer)
			}
			from := "bruno@" + theirs
			_, raw := foreignEnvelope(t, from, "anna@"+ours, "q1")
			if answer := w.arrive(from, []string{"anna@" + ours}, raw); answer != answerTemporary {
				t.Errorf("an envelope was answered %q", answer)
			}
			if answer := w.arrive("posta-certificata@"+theirs, []string{sender}, foreignReceipt(t, "x@"+theirs, sender, "")); answer != answerTemporary {
				t.Errorf("a receipt was answered %q", answer)
			}
			w.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
			for _, q := range slices.Clone(w.queue) {
				handle := map[string]func(mail) []error{"access": w.engine.access, "incoming": w.engine.incoming}[q.point]
				if answers := handle(q.mail); answers[0] == nil {
					t.Errorf("at %s it was answered 250 unscanned", q.point)
				}
			}
			if len(w.store) != 0 || len(w.outside) != 0 {
				t.Fatal("something went on unscanned")
			}
			status, err := w.engine.status(t.Context())
			if err != nil || status.Antivirus.Problem == "" {
				t.Errorf("the operator is told %+v, %v", status.Antivirus, err)
			}
			if diff := cmp.Diff(append(slices.Clone(before), status.Antivirus.Problem), status.Problems); diff != "" {
				t.Errorf("the operator is told (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, w.engine.problems(t.Context())); diff != "" {
				t.Errorf("readiness hangs on the scanner, so that no client reaches the mail that is there (-want +got):\n%s", diff)
			}
			fault(w, true)
			if answer := w.arrive(from, []string{"anna@" + ours}, raw); answer != "" {
				t.Errorf("an envelope sent again was answered %q", answer)
			}
			w.run(enoughRounds)
			if diff := cmp.Diff([]string{"posta-certificata", "posta-certificata"}, w.titles("anna@"+ours)); diff != "" {
				t.Errorf("after the scanner came back (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVirusAtAccessIsRefusedByANoticeAndKept(t *testing.T) {
	w := newWorld(t)
	text := letter(sender, "anna@"+ours, "X-Allegato: "+virus+"\r\n")
	w.submit(sender, []string{"anna@" + ours}, text)
	w.run(enoughRounds)
	if diff := cmp.Diff([]string{"non-accettazione"}, w.titles(sender)); diff != "" {
		t.Fatalf("sender's mailbox (-want +got):\n%s", diff)
	}
	if raw := w.store[sender][0]; !bytes.Contains(raw, []byte("X-VerificaSicurezza: errore")) || bytes.Contains(raw, []byte(virus)) {
		t.Errorf("the notice is not of a virus, or holds it:\n%s", raw)
	}
	digest := ""
	for _, kept := range custodyOf(t, w) {
		if strings.Contains(kept, virus) {
			digest = kept
		}
	}
	if digest != text {
		t.Error("the infected message was not kept as it was")
	}
}

// What another provider says of our message counts, and nobody's mailbox gets the virus that came with it.
func TestInfectedNoticeCountsAndIsKeptBack(t *testing.T) {
	cases := map[string]struct {
		to, kind string
		raw      func(identifier string) []byte
	}{
		"a receipt with the message in it": {sender, kindSettled, func(id string) []byte {
			return foreignReceipt(t, id, sender, letter(sender, "anna@"+theirs, "X-Allegato: "+virus+"\r\n"))
		}},
		"a taking in charge": {"ricevute@" + ours, kindAcknowledged, func(id string) []byte { return foreignTakeCharge(t, id, sender, virus) }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			rcpt := "anna@" + theirs
			identifier := pec.Identifier("a", w.submit(sender, []string{rcpt}, letter(sender, rcpt, "")), ours)
			w.run(enoughRounds)
			w.outside = nil
			raw := c.raw(identifier)
			if answer := w.arrive("posta-certificata@"+theirs, []string{c.to}, raw); answer != "" {
				t.Fatalf("answered %q", answer)
			}
			w.engine.settings.Antivirus.Clamd = "" // the verdict stands, whatever the scanner says now
			w.run(enoughRounds)
			if diff := cmp.Diff([]string{"accettazione"}, w.titles(sender)); diff != "" || len(w.outside) != 0 {
				t.Errorf("it was answered %d times, or stored (-want +got):\n%s", len(w.outside), diff)
			}
			if found, err := w.engine.lookup(c.kind, identifier+" "+rcpt, nil); err != nil || !found {
				t.Errorf("what it says counts for nothing: %v", err)
			}
			if !slices.Contains(custodyOf(t, w), string(raw)) {
				t.Error("it was not kept")
			}
		})
	}
}
