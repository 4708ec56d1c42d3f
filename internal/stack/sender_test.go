package stack

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/textproto"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// greets is the name that Postfix greets with.
func greets(t *testing.T, port int) string {
	t.Helper()
	c, err := textproto.Dial("tcp", loopback(port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, greeting, err := c.ReadResponse(220)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(greeting)[0]
}

// Postfix asks some recipients of nobody's permission: what it asks of the client and the sender, it asks with the recipient.
func checkNobodysSubmission(t *testing.T, p *pod) {
	full, other, host := "full@"+domain, "other@"+domain, greets(t, portMX)
	login := func(c *smtp.Client) error { return c.Auth(sasl.NewPlainClient("", full, password)) }
	nobody := func(*smtp.Client) error { return nil }
	p.mailbox("moving", admin.AccessFull, func(m *admin.Mailbox) { m.SendingRefused = admin.RefusalMigration })
	loginMoving := func(c *smtp.Client) error { return c.Auth(sasl.NewPlainClient("", "moving@"+domain, password)) }
	for _, to := range []string{"double-bounce@" + host, "Postmaster", "postmaster@" + host, "x@altro.test"} {
		for name, test := range map[string]struct {
			login func(*smtp.Client) error
			from  string
		}{
			"without a login":                     {nobody, full},
			"without a login, the empty sender":   {nobody, ""},
			"as somebody else":                    {login, other},
			"as nobody here":                      {login, "x@remote.test"},
			"with the empty sender":               {login, ""},
			"from a mailbox that may not send":    {loginMoving, "moving@" + domain},
			"by somebody else's authorization id": {func(c *smtp.Client) error { return c.Auth(sasl.NewPlainClient(other, full, password)) }, other},
		} {
			c, err := dialTLS(portSubmissions)
			if err != nil {
				t.Fatal(err)
			}
			if err = test.login(c); err == nil {
				err = c.SendMail(test.from, []string{to}, strings.NewReader(note))
			}
			if refusal := (*smtp.SMTPError)(nil); !errors.As(err, &refusal) || refusal.Code < 500 {
				t.Errorf("%s, to %s: got %v, want a refusal", name, to, err)
			}
			_ = c.Close()
		}
	}
	for _, to := range []string{"double-bounce@" + host, "double-bounce", "postmaster@" + host, "x@" + host, "x@localhost"} {
		wantError(t, "from outside to "+to, p.send(portMX, "x@remote.test", to, note), "Relay access denied")
	}
	p.mailbox("moving", admin.AccessFull)
	p.engine.none(t)
}

// What else a stranger may say to Postfix gets him no further.
func checkStrangersCommands(t *testing.T, _ *pod) {
	full := "full@" + domain
	for _, port := range []int{portMX, portSubmissions} {
		for _, command := range []string{
			"VRFY " + full, "EXPN " + full, "ETRN " + domain, "BDAT 3 LAST\r\nx\r\n", "XCLIENT LOGIN=" + full, "XCLIENT ADDR=127.0.0.1", "XFORWARD ADDR=127.0.0.1", "AUTH ANONYMOUS", "AUTH EXTERNAL " + full,
		} {
			var c *textproto.Conn
			if conn, err := tls.Dial("tcp", loopback(portSubmissions), unverified()); port == portSubmissions && err == nil {
				c = textproto.NewConn(conn)
			} else if c, err = textproto.Dial("tcp", loopback(port)); err != nil {
				t.Fatal(err)
			}
			_, _, err := c.ReadResponse(220)
			if err == nil {
				_ = c.PrintfLine("EHLO remote.test")
				_, _, err = c.ReadResponse(250)
			}
			if err != nil {
				t.Fatalf("port %d: %v", port, err)
			}
			_ = c.PrintfLine("%s", command)
			if code, answer, _ := c.ReadResponse(0); code < 500 {
				t.Errorf("port %d answers %q with %d %s", port, command, code, answer)
			}
			_ = c.Close()
		}
	}
}

// A client may write a recipient with a route, which a server has to ignore, and with quotes that nothing needs.
func checkWritten(t *testing.T, p *pod) {
	const address = "scritta@" + domain
	p.mailbox("scritta", admin.AccessFull, func(m *admin.Mailbox) { m.OrdinaryMail = admin.OrdinaryDeliver })
	forms := []string{`"scritta"@` + domain, "@relay.test,@altro.test:" + address}
	for _, form := range forms {
		wantError(t, "from outside to "+form, p.send(portMX, "x@remote.test", form, note), "")
	}
	text := "From: " + address + "\r\nTo: " + address + "\r\nSubject: a se\r\nMessage-ID: <w@client.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n\r\nx\r\n"
	for _, form := range forms {
		wantError(t, "submitted to "+form, submit(address, password, address, []string{form}, text), "")
	}
	counts := map[string]int{}
	for _, raw := range awaitMessages(t, address, len(forms)*4, func([]byte) bool { return true }) {
		for _, kind := range []string{"X-Trasporto: errore", "X-Ricevuta: accettazione", "X-Trasporto: posta-certificata", "X-Ricevuta: avvenuta-consegna"} {
			counts[kind] += strings.Count(string(raw), "\n"+kind+"\r\n")
		}
	}
	for kind, n := range counts {
		if n != len(forms) {
			t.Errorf("the mailbox has %d of %s, want %d", n, kind, len(forms))
		}
	}
}

// A holder writes into the one field of a message that Postfix makes, where it names a lone recipient, and so cannot choose by which
// transaction he is certified: not by a stranger's in the name of another holder, and not by another holder's own.
func checkForgery(t *testing.T, p *pod, postfix *running) {
	const full, forger, office = "full@" + domain, "falsario@" + domain, "x@falsario.test"
	host, received := greets(t, portMX), startRemote(t, "127.0.0.35", false)
	isLast := func(kind pec.Type) func([]byte) bool {
		return func(raw []byte) bool { return strings.Contains(string(raw), "X-Ricevuta: "+string(kind)+"\r\n") }
	}
	p.mailbox("falsario", admin.AccessFull, func(m *admin.Mailbox) { m.OrdinaryMail = admin.OrdinaryDeliver })
	queued := func(c *smtp.Client, err error, from, to, text string) (queueID string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Mail(from, nil); err != nil {
			t.Fatal(err)
		}
		if err := c.Rcpt(to, nil); err != nil {
			t.Fatal(err)
		}
		w, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(text))
		answer, err := w.CloseWithResponse()
		if err != nil {
			t.Fatal(err)
		}
		_, queueID, _ = strings.Cut(answer.StatusText, "queued as ")
		return strings.TrimSpace(queueID)
	}
	text := func(to string) string {
		return "From: " + full + "\r\nTo: " + to + "\r\nSubject: falso\r\nMessage-ID: <f@client.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n\r\nx\r\n"
	}
	loggedIn := func(user string) (*smtp.Client, error) {
		c, err := dialTLS(portSubmissions)
		if err == nil {
			err = c.Auth(sasl.NewPlainClient("", user, password))
		}
		return c, err
	}
	before := len(inboxOf(t, full))
	c, err := dialClear(portMX)
	ofStranger := queued(c, err, full, forger, note)
	awaitMessages(t, forger, 1, func(raw []byte) bool { return strings.Contains(string(raw), "X-Trasporto: errore") })
	c, err = loggedIn(full)
	ofHolder := queued(c, err, full, office, text(office))
	awaitMessages(t, full, before+1, isLast(pec.TypeAcceptance))
	<-received.got
	for i, id := range []string{ofStranger, ofHolder} {
		local := fmt.Sprintf(`x by %s (Postfix) id %s`, host, id)
		for j, quoted := range []string{`"` + local + `"`, `"\"` + local + `\""`} {
			c, err := loggedIn(forger)
			queued(c, err, forger, quoted+"@falsario.test", text(forger))
			awaitMessages(t, forger, 2+2*i+j, isLast(pec.TypeNonAcceptance))
		}
	}
	p.awaitEmptyQueue(t, postfix)
	if sent, all := received.messages(), inboxOf(t, full); len(sent) != 1 || len(all) != before+1 {
		t.Errorf("%d messages left and %d came to the holder, want 1 and 1", len(sent), len(all)-before)
	}
}
