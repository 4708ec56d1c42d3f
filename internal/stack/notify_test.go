package stack

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// checkNotifications has a holder be told at an address that answers, one that forwards what it gets to the mailbox itself, one whose
// server refuses, and a certified one. Each certified message is told of once; what comes of the notification is told to nobody.
func checkNotifications(t *testing.T, p *pod, postfix *running) {
	const told, teller = "told@" + domain, "other@" + domain
	addresses := []string{"ufficio@avvisi.test", "assente@senza-avvisi.test", teller}
	r := startRemote(t, "127.0.0.28", false)
	refused := make(chan string, 8)
	peer(t, "127.0.0.29", func(stage, line string) string {
		if stage == "RCPT" {
			refused <- line
		}
		return map[bool]string{true: "550 5.1.1 no such user here"}[stage == "RCPT"]
	})
	p.mailbox("told", admin.AccessFull, func(m *admin.Mailbox) { m.OrdinaryMail = admin.OrdinaryDeliver })
	_, err := p.directory.Place(t.Context(), []admin.Place{{Address: told, Given: &admin.Given{Notifications: admin.Notifications{Addresses: addresses, Frequency: admin.EachMessage}}}})
	p.must(err)
	tellersMail := len(inboxOf(t, teller))
	certified := func(n int) {
		t.Helper()
		message := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: riservato\r\nMessage-ID: <avviso-%d@client.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n\r\nx\r\n", teller, told, n)
		p.must(submit(teller, password, teller, []string{told}, message))
		select {
		case <-r.got:
		case <-time.After(time.Minute):
			t.Fatalf("nobody is told of message %d", n)
		}
		select {
		case <-refused:
		case <-time.After(time.Minute):
			t.Fatalf("the second address is not told of message %d", n)
		}
		awaitMessages(t, teller, tellersMail+2*n, func([]byte) bool { return true }) // its acceptance and delivery receipt
	}

	certified(1)
	first := r.messages()[0]
	service := EngineSettings(makeDomain(), makeSettings()).Provider.ServiceAddress
	for _, want := range []string{"MAIL FROM:<>\r\n", "From: <" + service + ">\r\n", "To: <ufficio@avvisi.test>\r\n", "Auto-Submitted: auto-generated\r\n"} {
		if !strings.Contains(first, want) {
			t.Errorf("the notification has no %q:\n%s", want, first)
		}
	}
	if strings.Contains(first, "riservato") {
		t.Errorf("the notification shows what it tells of:\n%s", first)
	}
	_, notification, _ := strings.Cut(first, "\r\n")
	report := "From: MAILER-DAEMON@avvisi.test\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n" +
		"Reporting-MTA: dns; avvisi.test\r\n\r\nFinal-Recipient: rfc822; ufficio@avvisi.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n"
	wantError(t, "an answer to the notification", p.send(portMX, "ufficio@avvisi.test", service, "Subject: Assente\r\n\r\n"+notification), "certified mail (PEC) only")
	wantError(t, "a failure of it, by a server that knows no better", p.send(portMX, "", service, report), "certified mail (PEC) only")
	wantError(t, "the notification itself, forwarded", p.send(portMX, "", told, notification), "")
	inbox := awaitMessages(t, told, 2, func(raw []byte) bool { return strings.Contains(string(raw), "X-Trasporto: errore") })

	certified(2) // whatever the three had led to would have come before it
	if n := len(r.messages()); n != 2 {
		t.Errorf("%d notifications reached the first address, want one for each of two messages:\n%s", n, strings.Join(r.messages(), "\n----\n"))
	}
	if n := len(refused); n != 0 {
		t.Errorf("%d more notifications were tried at the second address", n)
	}
	if n := len(inboxOf(t, teller)); n != tellersMail+4 {
		t.Errorf("the certified address has %d new messages, want its own four receipts", n-tellersMail)
	}
	if n := len(inboxOf(t, told)); n != len(inbox)+1 {
		t.Errorf("the mailbox has %d messages, want the forwarded notification and two certified ones", n)
	}
	log := p.evidence(t)
	if n := strings.Count(log, `"to":"`+teller+`","count":1,"reply":"it is a certified mailbox`); n != 2 {
		t.Errorf("the log says %d times that a certified address is not told, want 2", n)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		queue, err := p.exec(postfix, p.container("postfix"), "/usr/sbin/postqueue", "-p")
		if err == nil && !strings.Contains(queue, "avvisi") {
			break
		}
		if time.Now().After(end) {
			t.Errorf("the queue keeps what cannot be delivered (%v):\n%s", err, queue)
			break
		}
	}
}

// toldDaily has two certified messages come to a mailbox whose holder is told once a day, on the server that is returned.
func toldDaily(t *testing.T, p *pod) *remote {
	t.Helper()
	const daily, teller = "quotidiana@" + domain, "other@" + domain
	r := startRemote(t, "127.0.0.32", false)
	p.mailbox("quotidiana", admin.AccessFull)
	_, err := p.directory.Place(t.Context(), []admin.Place{{Address: daily, Given: &admin.Given{Notifications: admin.Notifications{Addresses: []string{"ufficio@ogni-giorno.test"}, Frequency: admin.Daily}}}})
	p.must(err)
	for n := range 2 {
		message := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: riservato\r\nMessage-ID: <giorno-%d@client.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n\r\nx\r\n", teller, daily, n)
		p.must(submit(teller, password, teller, []string{daily}, message))
		awaitMessages(t, daily, n+1, func([]byte) bool { return true })
	}
	return r
}

// checkDigest wants one notification of the two, by the next day.
func checkDigest(t *testing.T, p *pod, r *remote) {
	select {
	case <-r.got:
	case <-time.After(time.Minute):
		t.Fatal("nobody is told")
	}
	for _, want := range []string{"MAIL FROM:<>\r\n", "To: <ufficio@ogni-giorno.test>\r\n", "quotidiana@" + domain, "2 messaggi", "2 certified messages"} {
		if !strings.Contains(r.messages()[0], want) {
			t.Errorf("the notification has no %q:\n%s", want, r.messages()[0])
		}
	}
	p.awaitEvidence(t, `"to":"ufficio@ogni-giorno.test","count":2,"reply":"2.0.0 Ok: queued`)
	if all := r.messages(); len(all) != 1 {
		t.Errorf("%d notifications, want one:\n%s", len(all), strings.Join(all, "\n----\n"))
	}
}
