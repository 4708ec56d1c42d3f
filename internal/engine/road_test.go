package engine

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pec"
)

const enoughRounds = 60

func TestSubmissionEnds(t *testing.T) {
	cases := map[string]struct {
		to, extra   string
		rcpts       []string
		wantSender  []string // in the sender's mailbox, sorted
		wantAnna    []string
		wantOutside []string // recipients
	}{
		"to a mailbox of ours, delivered": {
			to: "anna@" + ours, wantSender: []string{"accettazione", "avvenuta-consegna"}, wantAnna: []string{"posta-certificata"},
		},
		"to another provider, sent out": {
			to: "bruno@" + theirs, wantSender: []string{"accettazione"}, wantOutside: []string{"bruno@" + theirs},
		},
		"to an unknown mailbox, with a certified failure": {
			to: "nessuno@" + ours, wantSender: []string{"accettazione", "errore-consegna"},
		},
		"to a full mailbox, with a certified failure": {
			to: "piena@" + ours, wantSender: []string{"accettazione", "errore-consegna"},
		},
		"to a suspended mailbox, with a certified failure": {
			to: "sospesa@" + ours, wantSender: []string{"accettazione", "errore-consegna"},
		},
		"to an address that Postfix never takes, with a certified failure": {
			to: "storto@ordinaria.test", wantSender: []string{"accettazione", "errore-consegna"},
		},
		"with a hidden recipient, refused by a notice": {
			to: "anna@" + ours, rcpts: []string{"anna@" + ours, "bruno@" + theirs}, wantSender: []string{"non-accettazione"},
		},
		"with a Bcc field, refused by a notice": {
			to: "anna@" + ours, extra: "Bcc: bruno@" + theirs + "\r\n", wantSender: []string{"non-accettazione"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.rcpts == nil {
				c.rcpts = []string{c.to}
			}
			w.submit(sender, c.rcpts, letter(sender, c.to, c.extra))
			w.run(enoughRounds)
			got := w.titles(sender)
			slices.Sort(got)
			if diff := cmp.Diff(c.wantSender, got); diff != "" {
				t.Errorf("sender's mailbox (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(append([]string{}, c.wantAnna...), w.titles("anna@"+ours)); diff != "" {
				t.Errorf("anna's mailbox (-want +got):\n%s", diff)
			}
			var out []string
			for _, m := range w.outside {
				out = append(out, m.to)
			}
			if diff := cmp.Diff(c.wantOutside, out); diff != "" {
				t.Errorf("sent out (-want +got):\n%s", diff)
			}
		})
	}
}

// crashing is a journal that kills the engine at its n-th record: before it is written, or after.
type crashing struct {
	journal
	left  int
	after bool
}

type killed struct{}

func (c *crashing) Append(kind, key, identifier string, data any) (evidence.Record, error) {
	c.left--
	if c.left == 0 && !c.after {
		panic(killed{})
	}
	r, err := c.journal.Append(kind, key, identifier, data)
	if c.left == 0 {
		panic(killed{})
	}
	return r, err
}

// survived runs do and says whether the engine lived through it.
func survived(do func()) (lived bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok {
				panic(r)
			}
		}
	}()
	do()
	return true
}

// crashRoad is a road on which the engine is killed at every record.
type crashRoad struct {
	records int // at least, or the kills did not happen
	begin   func(w *world)
	want    map[string][]string // by mailbox
	out     []string            // "recipient type", each once by Message-ID
}

// Killed at any record, before or after it is on disk, and started again, the engine loses nothing and doubles nothing in a
// mailbox; what left the building twice is the same bytes under the same Message-ID.
func TestKilledAtEveryRecordNothingIsLostOrDoubled(t *testing.T) {
	roads := map[string]crashRoad{
		"a submission to four recipients": {
			records: 8,
			begin: func(w *world) {
				rcpts := []string{"anna@" + ours, "nessuno@" + ours, "bruno@" + theirs, "piena@" + ours}
				w.submit(sender, rcpts, letter(sender, strings.Join(rcpts, ", "), ""))
			},
			want: map[string][]string{
				sender:         {"accettazione", "avvenuta-consegna", "errore-consegna", "errore-consegna"},
				"anna@" + ours: {"posta-certificata"},
			},
			out: []string{"bruno@" + theirs + " posta-certificata"},
		},
		"an envelope of another provider, twice": {
			records: 8,
			begin: func(w *world) {
				from := "bruno@" + theirs
				_, raw := foreignEnvelope(w.t, from, "anna@"+ours, "q1")
				for range 2 {
					id := w.enqueue("incoming", from, []string{"anna@" + ours}, raw)
					if answer := w.engine.judgeTransaction(id, transaction{Port: portMX, From: from, Recipients: []string{"anna@" + ours}}, raw); answer != "" {
						w.t.Fatal(answer)
					}
				}
			},
			want: map[string][]string{"anna@" + ours: {"posta-certificata"}},
			out:  []string{"bruno@" + theirs + " avvenuta-consegna", "ricevute@" + theirs + " presa-in-carico", "ricevute@" + theirs + " presa-in-carico"},
		},
	}
	for name, road := range laterRoads() {
		roads[name] = road
	}
	for name, road := range roads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				reached := false
				for _, after := range []bool{false, true} {
					w := newWorld(t)
					road.begin(w)
					w.engine.journal = &crashing{journal: w.engine.journal, left: n, after: after}
					if !survived(func() { w.run(enoughRounds) }) {
						reached = true
						w.crash()
						w.run(enoughRounds)
					}
					checkRoad(t, fmt.Sprintf("killed at record %d, written %v", n, after), w, road.want, road.out)
				}
				if !reached {
					if n < road.records {
						t.Fatalf("the road took %d records: the crashes did not happen", n)
					}
					return
				}
			}
		})
	}
}

func checkRoad(t *testing.T, when string, w *world, want map[string][]string, wantOut []string) {
	t.Helper()
	for mailbox, titles := range want {
		got := w.titles(mailbox)
		slices.Sort(got)
		if diff := cmp.Diff(titles, got); diff != "" {
			t.Fatalf("%s: %s (-want +got):\n%s", when, mailbox, diff)
		}
	}
	seen, out := map[string][]byte{}, []string{}
	for _, m := range w.outside {
		id := messageIDOf(t, m.bytes) + " " + m.to
		if before, ok := seen[id]; ok && !bytes.Equal(before, m.bytes) {
			t.Fatalf("%s: %s was sent as two different documents", when, id)
		} else if !ok {
			out = append(out, m.to+" "+title(t, m.bytes))
		}
		seen[id] = m.bytes
	}
	slices.Sort(out)
	if diff := cmp.Diff(wantOut, out); diff != "" {
		t.Fatalf("%s: sent out (-want +got):\n%s", when, diff)
	}
}

func TestSplitSubmissionIsAcceptedOnce(t *testing.T) {
	w := newWorld(t)
	rcpts := []string{"anna@" + ours, "bruno@" + theirs}
	w.submit(sender, rcpts, letter(sender, strings.Join(rcpts, ", "), ""))
	whole := w.queue[0]
	w.queue = nil
	for _, rcpt := range rcpts { // as Postfix does above its recipient limit: the same queue identifier twice
		part := whole
		part.rcpts = []string{rcpt}
		w.queue = append(w.queue, part)
	}
	w.run(enoughRounds)
	got := w.titles(sender)
	slices.Sort(got)
	if diff := cmp.Diff([]string{"accettazione", "avvenuta-consegna"}, got); diff != "" {
		t.Errorf("sender's mailbox (-want +got):\n%s", diff)
	}
	if len(w.outside) != 1 {
		t.Errorf("%d messages went out, want 1", len(w.outside))
	}
}

// A sender is told of a failure that is the mailbox's, and of none that is ours.
func TestWhatDovecotRefuses(t *testing.T) {
	anna := "anna@" + ours
	answer := func(code, class, subject, detail int, text string) error {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{class, subject, detail}, Message: text}
	}
	cases := map[string]struct {
		data error
		rcpt func(w *world) error
		want string // what the sender is told in the end; "" is that it was delivered at the second try
	}{
		"a locked mailbox":                  {data: answer(451, 4, 2, 0, "mailbox locked")},
		"an error of the protocol":          {data: answer(500, 5, 5, 2, "Unknown command")},
		"bad arguments":                     {data: answer(501, 5, 5, 4, "Invalid arguments")},
		"a command out of order":            {data: answer(503, 5, 5, 1, "Bad sequence")},
		"a parameter that it does not know": {data: answer(504, 5, 5, 4, "Not implemented")},
		"an internal error":                 {data: answer(554, 5, 0, 0, "Internal error occurred")},
		"no room on its disk":               {data: answer(554, 5, 3, 0, "No space left on device")},
		"a mailbox that it does not know, and the directory does": {rcpt: func(*world) error { return answer(550, 5, 1, 1, "User doesn't exist") }},
		"a full mailbox": {data: answer(552, 5, 2, 2, "Quota exceeded"), want: "5.2.2 - Gestore " + ours + " - casella piena"},
		"a message that is more than the whole quota": {data: answer(552, 5, 2, 3, "Requested allocation size is too large"), want: "5.2.2 - Gestore " + ours + " - casella piena"},
		"a mailbox that was closed meanwhile": {
			rcpt: func(w *world) error {
				w.change(anna, func(row *admin.Mailbox) { row.Access = admin.AccessClosed })
				return answer(550, 5, 1, 1, "User doesn't exist")
			},
			want: "5.1.1 - Gestore " + ours + " - indirizzo non valido",
		},
		"a mailbox that was suspended meanwhile": {
			rcpt: func(w *world) error {
				w.change(anna, func(row *admin.Mailbox) { row.Access = admin.AccessSuspended })
				return answer(550, 5, 1, 1, "User doesn't exist")
			},
			want: "5.2.1 - Gestore " + ours + " - casella non abilitata alla ricezione",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.rcpt != nil {
				w.lmtpRcpt = func() error { return c.rcpt(w) }
			}
			from := "bruno@" + theirs
			_, raw := foreignEnvelope(t, from, anna, "q1")
			w.arrive(from, []string{anna}, raw)
			w.lmtpFail = c.data
			w.run(enoughRounds)
			told := w.outside[len(w.outside)-1]
			index, roots, err := w.engine.providers()
			if err != nil {
				t.Fatal(err)
			}
			j := pec.Classify(told.bytes, index, roots, w.now)
			if want := map[bool]pec.Type{true: pec.TypeDelivery, false: pec.TypeDeliveryError}[c.want == ""]; j.Type != want || j.Certification.ExtendedError != c.want {
				t.Errorf("%s was told %s: %s", told.to, j.Type, j.Certification.ExtendedError)
			}
			if n := len(w.titles(anna)); (n == 1) != (c.want == "") {
				t.Errorf("the mailbox holds %d messages", n)
			}
		})
	}
}

func TestEnvelopeOfAnotherProvidersUserIsAnAnomaly(t *testing.T) {
	w := newWorld(t)
	from := "mario@" + ours // one of our users, in an envelope that the other provider signed
	_, raw := foreignEnvelope(t, from, "anna@"+ours, "q1")
	answer := w.engine.judgeTransaction("4jX5CV9999zmF", transaction{Port: portMX, From: from, Recipients: []string{"anna@" + ours}}, raw)
	if answer != "" {
		t.Fatalf("the milter answered %q", answer)
	}
	w.queues = 9998
	w.enqueue("incoming", from, []string{"anna@" + ours}, raw)
	w.run(enoughRounds)
	if diff := cmp.Diff([]string{"errore"}, w.titles("anna@"+ours)); diff != "" {
		t.Fatalf("anna's mailbox (-want +got):\n%s", diff)
	}
	if len(w.outside) != 0 {
		t.Fatalf("an anomaly was answered: %d messages went out", len(w.outside))
	}
}

func TestSubmissionWithoutARecordedTransactionWaits(t *testing.T) {
	w := newWorld(t)
	w.enqueue("access", sender, []string{"anna@" + ours}, []byte(letter(sender, "anna@"+ours, "")))
	if answers := w.engine.access(w.queue[0].mail); answers[0] == nil {
		t.Fatal("a submission that no milter recorded was certified")
	}
}

// bounce is a failure notice as Postfix writes it: about lists its fields on the message, failed the recipients with their status.
func (w *world) bounce(to, about string, failed ...string) {
	status := "Reporting-MTA: dns; mx.uno.test\r\n" + about + "\r\n"
	for _, f := range failed {
		rcpt, code, _ := strings.Cut(f, " ")
		status += "\r\nFinal-Recipient: rfc822; " + rcpt + "\r\nAction: failed\r\nStatus: " + code + "\r\nDiagnostic-Code: X-Postfix; Host or domain name not\r\n    found\r\n"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enqueue("incoming", "", []string{to}, []byte("From: MAILER-DAEMON@mx.uno.test\r\nTo: "+to+"\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"+
		"--b\r\nContent-Type: text/plain\r\n\r\nsorry\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"+status+"\r\n--b--\r\n"))
}

func TestBounce(t *testing.T) {
	const x = "x@nessuno.test"
	identifier := func(id string) string { return pec.Identifier("a", id, ours) }
	cases := map[string]struct {
		begin   func(w *world, id string)
		want    []string // in the sender's mailbox
		status  string   // in the last message there
		outside int
	}{
		"of the envelope is a certified failure": {
			begin: func(w *world, id string) { w.bounce(sender, "Original-Envelope-Id: "+identifier(id), x+" 5.4.4") },
			want:  []string{"accettazione", "errore-consegna"}, status: "5.4.4 - ", outside: 1,
		},
		"of the envelope, written twice, is told once": {
			begin: func(w *world, id string) {
				w.bounce(sender, "Original-Envelope-Id: "+identifier(id), x+" 5.4.4")
				w.bounce(sender, "Original-Envelope-Id: "+identifier(id), x+" 5.4.4") // after a crash of Postfix
			},
			want: []string{"accettazione", "errore-consegna"}, status: "5.4.4 - ", outside: 1,
		},
		"of what expired in the queue is a failure for its time": {
			begin: func(w *world, id string) { w.bounce(sender, "Original-Envelope-Id: "+identifier(id), x+" 4.4.1") },
			want:  []string{"accettazione", "errore-consegna"}, status: "5.4.1 - Gestore " + ours + " - il messaggio non è stato consegnato nelle prime ventiquattro ore dal suo invio", outside: 1,
		},
		"of a notice is answered by nothing": {
			begin: func(w *world, id string) {
				notice := pec.Provider{MailDomain: ours}.NoticeID(identifier(id), pec.TypeAcceptance, "")
				w.bounce("posta-certificata@"+ours, "Original-Envelope-Id: "+notice, sender+" 5.1.1")
			},
			want: []string{"accettazione"}, outside: 1,
		},
		"of a submission that was never certified is delivered as it is": {
			begin: func(w *world, _ string) {
				w.bounce(sender, "X-Postfix-Queue-ID: 4jX5CV9999zmF", "z@nessuno.test 4.3.0")
			},
			want: []string{"accettazione", ""}, outside: 1,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.submit(sender, []string{x}, letter(sender, x, ""))
			w.run(enoughRounds)
			c.begin(w, id)
			w.run(enoughRounds)
			if diff := cmp.Diff(c.want, w.titles(sender)); diff != "" {
				t.Fatalf("the sender's mailbox (-want +got):\n%s", diff)
			}
			if last := w.judged(sender, len(c.want)-1); c.status != "" && !strings.HasPrefix(last.Certification.ExtendedError, c.status) {
				t.Errorf("the failure says %q", last.Certification.ExtendedError)
			}
			if len(w.outside) != c.outside {
				t.Errorf("%d messages went out, want %d", len(w.outside), c.outside)
			}
		})
	}
}

// judged is the nth message of a mailbox as a reader judges it.
func (w *world) judged(mailbox string, n int) pec.Judgement {
	w.t.Helper()
	index, roots, err := w.engine.providers()
	if err != nil {
		w.t.Fatal(err)
	}
	return pec.Classify(w.store[mailbox][n], index, roots, w.now)
}
