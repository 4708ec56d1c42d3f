package stack

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// checkForward has a stranger write to a mailbox that forwards to a server that takes it, and to one whose address there is gone. What
// was sent on and comes back is refused; what cannot be sent on is told to no stranger, and is in the mailbox, also where Postfix takes it
// at its door and, with one hop more, not from the engine.
func checkForward(t *testing.T, p *pod, postfix *running, index pec.Index, roots *x509.CertPool, restart func(ahead time.Duration)) {
	const forwards, lost, stranger = "inoltra@" + domain, "perde@" + domain, "x@remote.test"
	r := startRemote(t, "127.0.0.30", false)
	peer(t, "127.0.0.31", func(stage, _ string) string {
		return map[bool]string{true: "550 5.1.1 no such user here"}[stage == "RCPT"]
	})
	to := func(address string) func(*admin.Mailbox) {
		return func(m *admin.Mailbox) { m.OrdinaryMail, m.ForwardTo = admin.OrdinaryForward, address }
	}
	p.mailbox("inoltra", admin.AccessFull, to("capo@inoltri.test"))
	p.mailbox("perde", admin.AccessFull, to("assente@senza-inoltri.test"))
	const letter = "From: x@remote.test\r\nTo: inoltra@" + domain + "\r\nSubject: semplice\r\n\r\n caff\xe8 \r\n"
	wantError(t, "to the mailbox that forwards", p.send(portMX, stranger, forwards, letter), "")
	select {
	case <-r.got:
	case <-time.After(time.Minute):
		t.Fatal("nothing is sent on")
	}
	sender, forwarded, _ := strings.Cut(r.messages()[0], "\r\n")
	if want := "MAIL FROM:<" + EngineSettings(makeDomain(), makeSettings()).Provider.ServiceAddress + ">"; sender != want {
		t.Errorf("it is sent on with %s, want %s", sender, want)
	}
	if !strings.HasSuffix(forwarded, letter) || !strings.Contains(forwarded, "\r\nDelivered-To: "+forwards+"\r\n") {
		t.Errorf("what arrives is not what was sent, with the mailbox that it went through on top:\n%q", forwarded)
	}
	wantError(t, "what was sent on and comes back", p.send(portMX, stranger, forwards, forwarded), "was forwarded by this mailbox before")

	notices := strings.Count(p.evidence(t), `"kind":"notice"`)
	wantError(t, "to the mailbox that forwards to nobody", p.send(portMX, stranger, lost, letter), "")
	p.awaitEvidence(t, `"kind":"bounced"`, `"recipient":"assente@senza-inoltri.test"`, `"status":"5.1.1"`)
	log := p.awaitEvidence(t, `"kind":"delivered"`, `"mailbox":"`+lost+`"`)
	p.awaitEmptyQueue(t, postfix)
	if n := strings.Count(log, `"kind":"notice"`); n != notices {
		t.Errorf("%d notices were made of it", n-notices)
	}
	if n := len(r.messages()); n != 1 {
		t.Errorf("%d messages were sent on, want one", n)
	}
	if n := len(inboxOf(t, forwards)); n != 0 {
		t.Errorf("%s holds %d messages", forwards, n)
	}
	kept := inboxOf(t, lost)
	if len(kept) != 1 {
		t.Fatalf("%s holds %d messages, want what could not be sent on", lost, len(kept))
	}
	if j := pec.Classify(kept[0], index, roots, time.Now()); j.Type != pec.TypeAnomaly || string(j.Postacert) != letter {
		t.Errorf("%s holds %s, with %q", lost, j.Type, j.Postacert)
	}

	const far = "lontana@" + domain
	p.mailbox("lontana", admin.AccessFull, to("capo@inoltri.test"))
	wantError(t, "with the hops that the door takes", p.send(portMX, stranger, far, strings.Repeat("Received: by hop.test; Sat, 21 Nov 2026 22:00:00 +0100\r\n", 48)+letter), "")
	p.awaitEvidence(t, `"kind":"bounced"`, `"recipient":"capo@inoltri.test"`, "too many hops")
	p.awaitEmptyQueue(t, postfix)
	restart(0) // instead of the minute after which it is given back
	p.awaitEvidence(t, `"kind":"delivered"`, `"mailbox":"`+far+`"`)
	if n := len(r.messages()); n != 1 {
		t.Errorf("%d messages were sent on, want one", n)
	}
}

// checkOwnLimits sends more than a mailbox may: more recipients than it ever may name, and more messages than it may on this day.
func checkOwnLimits(t *testing.T, p *pod) {
	const limited = "limitata@" + domain
	p.mailbox("limitata", admin.AccessFull)
	_, err := p.directory.Place(t.Context(), []admin.Place{{Address: limited, Given: &admin.Given{RecipientsPerMessage: 3, MessagesPerDay: 2}}})
	p.must(err)
	for i, step := range []struct {
		recipients int
		want       string
	}{{4, "550 5.5.3"}, {3, ""}, {1, ""}, {1, "450 4.7.1"}, {4, "550 5.5.3"}} {
		var to []string
		for n := range step.recipients {
			to = append(to, fmt.Sprintf("r%d@ordinaria.test", n))
		}
		got, answer := "", new(smtp.SMTPError)
		if err := submit(limited, password, limited, to, note); errors.As(err, &answer) {
			got = fmt.Sprintf("%d %d.%d.%d", answer.Code, answer.EnhancedCode[0], answer.EnhancedCode[1], answer.EnhancedCode[2])
		} else if err != nil {
			t.Fatal(err)
		}
		if got != step.want {
			t.Errorf("message %d, to %d recipients, is answered %q, want %q", i+1, step.recipients, got, step.want)
		}
	}
}

// awaitEvidence waits until one record of the log has all that, and answers the log.
func (p *pod) awaitEvidence(t *testing.T, parts ...string) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		log := p.evidence(t)
		for line := range strings.Lines(log) {
			if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
				return log
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no record has %q:\n%s", parts, log)
		}
	}
}
