package engine

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/providers"
)

// Postfix gives up after a day, which is when the last notice is due: whichever comes first is what the sender is told.
func TestARecipientHasOneOutcome(t *testing.T) {
	anna, x := "anna@"+theirs, "x@ordinaria.test"
	silence := "preavviso-errore-consegna"
	gaveUp := func(w *world, identifier, rcpt string) {
		w.bounce(sender, "Original-Envelope-Id: "+identifier, rcpt+" 4.4.1")
	}
	cases := map[string]struct {
		to   string
		then func(w *world, identifier string)
		want []string // sorted
	}{
		"Postfix gives up, then the last notice is due": {
			to: anna,
			then: func(w *world, identifier string) {
				w.pass(23 * time.Hour)
				gaveUp(w, identifier, anna)
				w.run(enoughRounds)
			},
			want: []string{"accettazione", "errore-consegna", silence},
		},
		"Postfix gives up, and the last notice is due before that is read": {
			to: anna,
			then: func(w *world, identifier string) {
				w.pass(23 * time.Hour)
				gaveUp(w, identifier, anna)
				if answers := w.engine.incoming(w.queue[0].mail); answers[0] != nil {
					w.t.Fatal(answers)
				}
				w.now = w.now.Add(time.Hour)
				w.engine.passTimers()
				w.run(enoughRounds)
			},
			want: []string{"accettazione", "errore-consegna", silence},
		},
		"the last notice, then Postfix gives up": {
			to: anna,
			then: func(w *world, identifier string) {
				w.pass(24 * time.Hour)
				gaveUp(w, identifier, anna)
				w.run(enoughRounds)
			},
			want: []string{"accettazione", silence, silence},
		},
		"the last notice, then Postfix gives up, across a restart": {
			to: anna,
			then: func(w *world, identifier string) {
				w.pass(24 * time.Hour)
				w.crash()
				gaveUp(w, identifier, anna)
				w.run(enoughRounds)
			},
			want: []string{"accettazione", silence, silence},
		},
		"a delivery receipt, then Postfix gives up because it never got the answer": {
			to: anna,
			then: func(w *world, identifier string) {
				w.arrive("posta-certificata@"+theirs, []string{sender}, foreignReceipt(w.t, identifier, sender, ""))
				w.run(enoughRounds)
				gaveUp(w, identifier, anna)
				w.run(enoughRounds)
			},
			want: []string{"accettazione", "avvenuta-consegna"},
		},
		"the last notice, then the virus that the other provider found": {
			to: anna,
			then: func(w *world, identifier string) {
				w.pass(24 * time.Hour)
				signer, p := other(w.t)
				transit, rcpt := sentTo(identifier, sender, "Prova")
				raw, err := signer.VirusDetection(p, transit, "v1@"+theirs, "ricevute@"+ours, rcpt, "Prova", w.now)
				if err != nil {
					w.t.Fatal(err)
				}
				w.arrive(p.ServiceAddress, []string{"ricevute@" + ours}, raw)
				w.run(enoughRounds)
			},
			want: []string{"accettazione", "errore-consegna", silence, silence},
		},
		"an ordinary recipient, for whom there are no notices": {
			to: x,
			then: func(w *world, identifier string) {
				w.pass(24 * time.Hour)
				gaveUp(w, identifier, x)
				w.run(enoughRounds)
			},
			want: []string{"accettazione", "errore-consegna"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.submit(sender, []string{c.to}, letter(sender, c.to, ""))
			w.run(enoughRounds)
			c.then(w, pec.Identifier("a", id, ours))
			w.pass(25 * time.Hour)
			got := w.titles(sender)
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("the sender's mailbox (-want +got):\n%s", diff)
			}
		})
	}
}

// A submission that Postfix drops after a day has by then been accepted, refused, or neither; what was promised is kept.
func TestASubmissionThatExpires(t *testing.T) {
	rcpts := []string{"anna@" + theirs, "x@ordinaria.test"}
	cases := map[string]struct {
		records int // after how many the engine stops for a day
		rcpts   []string
		want    []string
		outside []string
	}{
		"before it is certified":  {want: []string{""}},
		"after it is accepted":    {records: 1, want: []string{"accettazione", "errore-consegna", "errore-consegna"}},
		"after the acceptance":    {records: 3, want: []string{"accettazione", "errore-consegna", "errore-consegna"}},
		"after one envelope left": {records: 4, want: []string{"accettazione", "errore-consegna"}, outside: rcpts[:1]},
		"after it is refused":     {records: 1, rcpts: []string{"anna@" + theirs, "nascosta@" + theirs}, want: []string{"non-accettazione"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			to := rcpts
			if c.rcpts != nil {
				to = c.rcpts
			}
			id := w.submit(sender, to, letter(sender, strings.Join(rcpts, ", "), ""))
			submission := w.queue[0].mail
			if c.records > 0 {
				w.engine.journal = &crashing{journal: w.engine.journal, left: c.records, after: true}
				if survived(func() { w.engine.access(submission) }) {
					t.Fatal("the engine was not stopped")
				}
				w.crash()
			}
			w.queue = w.queue[1:]
			w.bounce(sender, "X-Postfix-Queue-ID: "+id, to[0]+" 4.3.0", to[1]+" 4.3.0")
			w.run(enoughRounds)
			if diff := cmp.Diff(c.want, w.titles(sender)); diff != "" {
				t.Errorf("the sender's mailbox (-want +got):\n%s", diff)
			}
			var out []string
			for _, m := range w.outside {
				out = append(out, m.to)
			}
			if diff := cmp.Diff(c.outside, out); diff != "" {
				t.Errorf("sent out (-want +got):\n%s", diff)
			}
		})
	}
}

// An envelope that was taken with 250 and could not be worked on for a day ends in a certified failure, and in custody.
func TestAnEnvelopeThatExpires(t *testing.T) {
	from, anna := "bruno@"+theirs, "anna@"+ours
	for name, c := range map[string]struct {
		extra string
		ran   bool // it was delivered, and Postfix did not get the answer
		want  []string
	}{
		"before anything was done": {want: []string{from + " errore-consegna"}},
		"with a virus":             {extra: "X-Allegato: " + virus + "\r\n", want: []string{"ricevute@" + theirs + " rilevazione-virus"}},
		"after it was delivered":   {ran: true, want: []string{"ricevute@" + theirs + " presa-in-carico", from + " avvenuta-consegna"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, raw := foreignEnvelopeOf(t, from, anna, "q1", letter(from, anna, c.extra))
			if answer := w.arrive(from, []string{anna}, raw); answer != "" {
				t.Fatal(answer)
			}
			id := w.queue[0].id
			if c.ran {
				w.run(enoughRounds)
			}
			w.queue = nil
			for range 2 { // Postfix may write it again
				w.bounce(from, "X-Postfix-Queue-ID: "+id, anna+" 4.3.0")
			}
			w.run(enoughRounds)
			var out []string
			for _, m := range w.outside {
				out = append(out, m.to+" "+title(t, m.bytes))
			}
			if diff := cmp.Diff(c.want, out); diff != "" {
				t.Errorf("sent out (-want +got):\n%s", diff)
			}
			if !slices.ContainsFunc(custodyOf(t, w), func(kept string) bool { return strings.Contains(kept, "X-Postfix-Queue-ID: "+id) }) {
				t.Error("the report is not in custody")
			}
		})
	}
}

// unreadable is a log that cannot find refusals.
type unreadable struct{ journal }

func (u unreadable) Get(kind, key string) (evidence.Record, bool, error) {
	if kind == kindRefused {
		return evidence.Record{}, false, io.ErrUnexpectedEOF
	}
	return u.journal.Get(kind, key)
}

// What the log does not say nobody is told: the report waits until it can be read.
func TestAReportWaitsForALogThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.engine.journal = unreadable{w.engine.journal}
	before, _ := w.engine.evidence.Head()
	answers := w.engine.expired(mail{rcpts: []string{sender}}, "4F2", report{queueID: "4F1"})
	after, _ := w.engine.evidence.Head()
	if len(answers) != 1 || answers[0] == nil || len(w.queue) > 0 || after != before {
		t.Errorf("answered %v; %d messages and %d records were written", answers, len(w.queue), after-before)
	}
}

// What 250 was said to stays what it was judged to be, whatever the index or another reading of the header says since.
func TestTheVerdictAtTheDoorCounts(t *testing.T) {
	from, anna, aperta := "bruno@"+theirs, "anna@"+ours, "aperta@"+ours
	forgets := func(w *world) {
		entry := providers.Entry{IndexEntry: pec.IndexEntry{Name: "Gestore " + ours, MailReceipt: "ricevute@" + ours, Domains: []string{ours}}}
		entry.Certificates = append(entry.Certificates, keys().leaves[ours])
		if err := writeIfChanged(w.settings.Files.ProvidersIndex, providers.Format([]providers.Entry{entry})); err != nil {
			w.t.Fatal(err)
		}
		w.crash()
	}
	as := func(header, otherwise string) func(w *world) {
		return func(w *world) {
			before := w.queue[0].raw
			if w.queue[0].raw = bytes.Replace(before, []byte(header), []byte(otherwise), 1); bytes.Equal(before, w.queue[0].raw) {
				w.t.Fatalf("the message has no %q", header)
			}
		}
	}
	certified := []string{"ricevute@" + theirs + " presa-in-carico", from + " avvenuta-consegna"}
	cases := map[string]struct {
		to    string
		was   func(raw []byte) []byte // as the milter was shown it
		since func(w *world)
		want  string
		out   []string
	}{
		"an envelope whose provider leaves the index": {to: anna, since: forgets, want: "posta-certificata", out: certified},
		"an envelope with a doubled field":            {to: anna, since: as("Subject: ", "Subject: doppio\r\nSubject: "), want: "posta-certificata", out: certified},
		"an envelope of another identifier":           {to: anna, since: as("Message-ID: <", "Message-ID: <un.altro."), want: "posta-certificata", out: certified},
		"ordinary mail that reads as an envelope": {
			to: aperta, want: "errore", since: func(*world) {},
			was: func(raw []byte) []byte {
				return bytes.Replace(raw, []byte("multipart/signed"), []byte("multipart/mixed"), 1)
			},
		},
		"an envelope whose signed part reads as none": {to: anna, since: as("multipart/signed", "multipart/mixed"), want: "errore"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, raw := foreignEnvelope(t, from, c.to, "q1")
			shown := raw
			if c.was != nil {
				shown = c.was(raw)
			}
			id := w.enqueue("incoming", from, []string{c.to}, raw)
			if answer := w.engine.judgeTransaction(id, transaction{Port: portMX, From: from, Recipients: []string{c.to}}, shown); answer != "" {
				t.Fatal(answer)
			}
			c.since(w)
			w.run(enoughRounds)
			if diff := cmp.Diff([]string{c.want}, w.titles(c.to)); diff != "" {
				t.Errorf("the mailbox (-want +got):\n%s", diff)
			}
			var out []string
			for _, m := range w.outside {
				out = append(out, m.to+" "+title(t, m.bytes))
			}
			if diff := cmp.Diff(c.out, out); diff != "" {
				t.Errorf("sent out (-want +got):\n%s", diff)
			}
		})
	}
}

// What another provider says of our message counts also after its certificate left the index.
func TestANoticeTakenAtTheDoorCounts(t *testing.T) {
	w := newWorld(t)
	anna := "anna@" + theirs
	identifier := pec.Identifier("a", w.submit(sender, []string{anna}, letter(sender, anna, "")), ours)
	w.run(enoughRounds)
	w.arrive("posta-certificata@"+theirs, []string{"ricevute@" + ours}, foreignTakeCharge(t, identifier, sender, "Prova"))
	entry := providers.Entry{IndexEntry: pec.IndexEntry{Name: "Gestore " + ours, MailReceipt: "ricevute@" + ours, Domains: []string{ours}}}
	entry.Certificates = append(entry.Certificates, keys().leaves[ours])
	if err := writeIfChanged(w.settings.Files.ProvidersIndex, providers.Format([]providers.Entry{entry})); err != nil {
		t.Fatal(err)
	}
	w.crash()
	w.run(enoughRounds)
	if found, err := w.engine.lookup(kindAcknowledged, identifier+" "+anna, nil); err != nil || !found {
		t.Errorf("the taking in charge was not recorded: %v", err)
	}
}

// Postfix cuts a long header field without a word. What we would certify must be whole, and gets a notice; what another provider
// signed is whole without its outer header; a stranger's is refused where the stranger is told.
func TestAHeaderFieldThatPostfixCut(t *testing.T) {
	anna, aperta := "anna@"+ours, "aperta@"+ours
	field := func(lines, length int) string {
		return "X-Lungo: " + strings.Repeat(strings.Repeat("z", length)+"\r\n ", lines) + "fine\r\n"
	}
	cut, tooLongLines, whole := field(65, 920), field(18, 3000), field(60, 970)
	cases := map[string]struct {
		port, from, to string
		raw            func(t *testing.T) []byte
		answer         string
		want           map[string][]string // by mailbox
		says           string              // the last message of the sender's mailbox
	}{
		"of a submission": {
			port: portSubmission, from: sender, to: anna, raw: func(*testing.T) []byte { return []byte(letter(sender, anna, cut)) },
			want: map[string][]string{sender: {"non-accettazione"}, anna: {}}, says: "supera i 53.000 byte",
		},
		"of a submission, with lines that no message may have": {
			port: portSubmission, from: sender, to: anna, raw: func(*testing.T) []byte { return []byte(letter(sender, anna, tooLongLines)) },
			want: map[string][]string{sender: {"non-accettazione"}, anna: {}}, says: "supera i 53.000 byte",
		},
		"that is long, and was not cut": {
			port: portSubmission, from: sender, to: anna, raw: func(*testing.T) []byte { return []byte(letter(sender, anna, whole)) },
			want: map[string][]string{sender: {"accettazione", "avvenuta-consegna"}, anna: {"posta-certificata"}},
		},
		"of another provider's envelope": {
			port: portMX, from: "bruno@" + theirs, to: anna,
			raw: func(t *testing.T) []byte {
				_, raw := foreignEnvelope(t, "bruno@"+theirs, anna, "q1")
				return append([]byte(cut), raw...)
			},
			want: map[string][]string{anna: {"posta-certificata"}},
		},
		"of a stranger's mail": {
			port: portMX, from: stranger, to: aperta, raw: func(*testing.T) []byte { return []byte(letter(stranger, aperta, cut)) },
			answer: answerFieldTooBig, want: map[string][]string{aperta: {}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			raw := c.raw(t)
			id := w.enqueue(map[string]string{portMX: "incoming", portSubmission: "access"}[c.port], c.from, []string{c.to}, raw)
			if answer := milterAnswer(t, w.engine, c.port, id, c.from, c.to, raw); answer != c.answer {
				t.Fatalf("answered %q", answer)
			}
			if c.answer != "" {
				w.queue = nil
			}
			w.run(enoughRounds)
			for mailbox, want := range c.want {
				got := w.titles(mailbox)
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", mailbox, diff)
				}
			}
			if n := len(c.want[sender]); c.says != "" && !strings.Contains(w.judged(sender, n-1).Certification.ExtendedError, c.says) {
				t.Errorf("the sender is told %q", w.judged(sender, n-1).Certification.ExtendedError)
			}
		})
	}
}
