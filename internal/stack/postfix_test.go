package stack

import (
	"errors"
	"fmt"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	corev1 "k8s.io/api/core/v1"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// patience bounds the wait for one answer, so that a test with a dead server fails with that server's log.
const patience = 20 * time.Second

func dialClear(port int) (*smtp.Client, error) {
	c, err := smtp.Dial(loopback(port))
	if err == nil {
		c.CommandTimeout, c.SubmissionTimeout = patience, patience
	}
	return c, err
}

func dialTLS(port int) (*smtp.Client, error) {
	c, err := smtp.DialTLS(loopback(port), unverified())
	if err == nil {
		c.CommandTimeout, c.SubmissionTimeout = patience, patience
	}
	return c, err
}

// send sends one message in clear text.
func (p *pod) send(port int, from, to, text string) error {
	c, err := dialClear(port)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.SendMail(from, []string{to}, strings.NewReader(text))
}

// submit sends one message as a mailbox holder does.
func submit(user, pass, from string, to []string, text string) error {
	c, err := dialTLS(portSubmissions)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Auth(sasl.NewPlainClient("", user, pass)); err != nil {
		return err
	}
	return c.SendMail(from, to, strings.NewReader(text))
}

const note = "Subject: x\r\n\r\nx\r\n"

func TestPostfix(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPod(t, n)
		dovecot, postfix := p.started("dovecot"), p.started("postfix")
		defer dovecot.stop()
		defer func() { postfix.stop() }()
		p.log = postfix.output
		t.Cleanup(func() { t.Logf("Postfix:\n%s", p.log) })
		for name, check := range map[string]func(*testing.T, *pod){
			"only a Full mailbox submits, as itself":                  checkSubmission,
			"who may not send by a rule is told the rule":             checkRefusals,
			"nobody submits but a mailbox that logged in, as itself":  checkNobodysSubmission,
			"a stranger's other commands are refused":                 checkStrangersCommands,
			"a submission is one transaction however many recipients": checkOneTransaction,
			"a message passes byte for byte":                          checkUntouched,
			"the MX port takes every recipient of its domains, alone": checkMX,
			"an address of UTF-8 is refused":                          checkAddressForm,
			"each port offers what it should":                         checkExtensions,
			"the milters learn queue id, login and client":            checkMacros,
			"a failure comes back to the engine, naming the envelope": checkBounce,
			"an undeliverable bounce is dropped":                      checkDoubleBounce,
			"a bounce for a stranger comes to the engine":             checkStrangersBounce,
			"nothing is smuggled past the end of a message":           checkSmuggling,
			"a client waits for its turn":                             checkPipelining,
			"without its milter a port takes nothing":                 checkMilterDown,
		} {
			t.Run(name, func(t *testing.T) { check(t, p) })
		}
		t.Run("certified domains get it encrypted or not at all", func(t *testing.T) { checkEncryption(t, p, postfix) })
		t.Run("the administrator's commands find the queue, empty", func(t *testing.T) { checkQueueTools(t, p, postfix) })
		postfix.stop()
		postfix = p.started("postfix")
		p.log = postfix.output
		t.Run("it starts again on its own queue", func(t *testing.T) { checkMX(t, p) })
		for _, word := range []string{"fatal:", "panic:", "error:"} {
			if strings.Contains(postfix.output.String(), word) {
				t.Errorf("the log of the second start has %q", word)
			}
		}
	})
}

func checkSubmission(t *testing.T, p *pod) {
	full, other := "full@"+domain, "other@"+domain
	tests := map[string]struct{ user, pass, from, want string }{
		"as itself":                 {full, password, full, ""},
		"as itself, in capitals":    {strings.ToUpper(full), password, "Full@" + domain, ""},
		"with a wrong password":     {full, "another password", full, "535"},
		"as somebody else":          {full, password, other, "553"},
		"as nobody here":            {full, password, "x@remote.test", "553"},
		"with the empty sender":     {full, password, "", "550"},
		"from a read-only mailbox":  {"readonly@" + domain, password, "readonly@" + domain, "535"},
		"from a suspended mailbox":  {"suspended@" + domain, password, "suspended@" + domain, "535"},
		"from a closed mailbox":     {"closed@" + domain, password, "closed@" + domain, "535"},
		"from an unknown mailbox":   {"unknown@" + domain, password, "unknown@" + domain, "535"},
		"with a quote in the login": {"full'--@" + domain, password, full, "535"},
		"with a sender of SQL":      {full, password, "'or''='@" + domain, "553"},
	}
	for name, test := range tests {
		err := submit(test.user, test.pass, test.from, []string{"x@altro.test"}, note)
		got, refusal := "", (*smtp.SMTPError)(nil)
		if errors.As(err, &refusal) {
			got = fmt.Sprint(refusal.Code)
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got != test.want {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
		if test.want == "" {
			if d := p.engine.next(t, p.log); d.port != portAccess || d.from != test.from {
				t.Errorf("%s: the engine got %+v", name, d)
			}
		}
	}
	wantError(t, "to a name without domain", submit(full, password, full, []string{"other"}, note), "need fully-qualified address")
	p.engine.none(t)
}

func checkRefusals(t *testing.T, p *pod) {
	address := "moving@" + domain
	for refusal, want := range map[admin.Refusal]string{admin.RefusalFirstLogin: admin.AnswerFirstLogin, admin.RefusalMigration: admin.AnswerMigration} {
		p.mailbox("moving", admin.AccessFull, func(m *admin.Mailbox) { m.SendingRefused = refusal })
		err := submit(strings.ToUpper(address), password, address, []string{"x@altro.test"}, note)
		refused := (*smtp.SMTPError)(nil)
		if !errors.As(err, &refused) || refused.Code != 550 || refused.EnhancedCode != (smtp.EnhancedCode{5, 7, 1}) || !strings.Contains(refused.Message, want[len("550 5.7.1 "):]) {
			t.Errorf("%s: got %v, want %s", refusal, err, want)
		}
		p.engine.none(t)
		wantError(t, "mail to it", p.send(portMX, "x@remote.test", address, note), "")
		if d := p.engine.next(t, p.log); d.port != portIncoming {
			t.Errorf("mail to it went to %+v", d)
		}
	}
	p.mailbox("moving", admin.AccessFull, func(m *admin.Mailbox) { m.SendingRefused = admin.RefusalFirstLogin })
	hash, err := p.directory.Password(t.Context(), address)
	p.must(err)
	p.must(p.directory.SetPassword(t.Context(), address, hash))
	wantError(t, "when the holder changed the first password", submit(address, password, address, []string{"x@altro.test"}, note), "")
	p.engine.next(t, p.log)
	p.mailbox("moving", admin.AccessFull)
	wantError(t, "when the rule is over", submit(address, password, address, []string{"x@altro.test"}, note), "")
	p.engine.next(t, p.log)
}

func checkOneTransaction(t *testing.T, p *pod) {
	var to []string
	for i := range 1000 {
		to = append(to, fmt.Sprintf("r%04d@altro%d.test", i, i%7))
	}
	if err := submit("full@"+domain, password, "full@"+domain, to, note); err != nil {
		t.Fatal(err)
	}
	got := p.engine.next(t, p.log).to
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(to))) {
		t.Errorf("the first transaction has %d recipients of %d", len(got), len(to))
	}
	p.engine.none(t)
}

// odd has what mail servers like to repair.
const odd = "Bcc: hidden@altro.test\r\nReturn-Path: <a@b.test>\r\nContent-Length: 3\r\nX-Folded: a\r\n\tb\r\n  c\r\nX-Trailing: x  \r\n" +
	"X-Eight: \xe0\xe8\xec\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\nno header at all\r\n\r\n" +
	"x\r\n--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe0\xe8 \r\n.\r\n..\r\nFrom here\r\n\t \r\n--b--\r\n"

func checkUntouched(t *testing.T, p *pod) {
	text := "X-Long: " + strings.Repeat("y", headerLimit-100) + "\r\n" + odd + strings.Repeat("z", 20_000) + "\r\n"
	ports := map[string]func() error{
		"submission":   func() error { return submit("full@"+domain, password, "full@"+domain, []string{"x@altro.test"}, text) },
		"MX":           func() error { return p.send(portMX, "x@remote.test", "full@"+domain, text) },
		"re-injection": func() error { return p.send(portReinject, "x@remote.test", "full@"+domain, text) },
	}
	for name, send := range ports {
		if err := send(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := p.engine.next(t, p.log).text
		received, rest, _ := strings.Cut(got, "\r\nX-Long: ")
		if rest != strings.TrimPrefix(text, "X-Long: ") {
			t.Errorf("%s: the message was changed: %d bytes became %d: %.2000q", name, len(text), len(rest)+8, rest[min(len(rest), headerLimit-100):])
		}
		if !strings.HasPrefix(received, "Received: ") || strings.Count(received, "\r\n") > 3 {
			t.Errorf("%s: above the message stands more than one Received: %q", name, received)
		}
	}
}

func checkMX(t *testing.T, p *pod) {
	for name, test := range map[string]struct{ to, want string }{
		"a mailbox":              {"full@" + domain, ""},
		"a mailbox, in capitals": {"FULL@" + strings.ToUpper(domain), ""},
		"an unknown mailbox":     {"nobody@" + domain, ""},
		"a closed mailbox":       {"closed@" + domain, ""},
		"another domain":         {"x@altro.test", "Relay access denied"},
		"a relay by percent":     {"x%altro.test@" + domain, "Relay access denied"},
		"a relay by bang path":   {"altro.test!x", "Relay access denied"},
		"no domain":              {"full", "Relay access denied"},
	} {
		wantError(t, name, p.send(portMX, "x@remote.test", test.to, note), test.want)
		if test.want == "" {
			if d := p.engine.next(t, p.log); d.port != portIncoming || !slices.Equal(d.to, []string{test.to}) {
				t.Errorf("%s: the engine got %+v", name, d)
			}
		}
	}
	p.engine.none(t)
}

func checkAddressForm(t *testing.T, _ *pod) {
	c, err := textproto.Dial("tcp", loopback(portMX))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, step := range []struct {
		command string
		want    int
	}{
		{"", 220}, {"EHLO remote.test", 250}, {"MAIL FROM:<x@remote.test>", 250}, {"RCPT TO:<\xc3\xa0@" + domain + ">", 553}, {"RCPT TO:<full@" + domain + ">", 250},
	} {
		if step.command != "" {
			_ = c.PrintfLine("%s", step.command)
		}
		if _, _, err := c.ReadResponse(step.want); err != nil {
			t.Errorf("%q: %v", step.command, err)
		}
	}
}

func checkExtensions(t *testing.T, _ *pod) {
	dial := map[int]func(int) (*smtp.Client, error){portMX: dialClear, portReinject: dialClear, portSubmissions: dialTLS}
	want := map[int]string{
		portMX:          "8BITMIME PIPELINING SIZE STARTTLS",
		portSubmissions: "AUTH PIPELINING SIZE",
		portReinject:    "8BITMIME CHUNKING DSN PIPELINING SIZE",
	}
	for port, connect := range dial {
		c, err := connect(port)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, name := range []string{"8BITMIME", "AUTH", "CHUNKING", "DSN", "ETRN", "PIPELINING", "SIZE", "SMTPUTF8", "STARTTLS", "VRFY", "XCLIENT", "XFORWARD"} {
			if ok, _ := c.Extension(name); ok {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want[port] {
			t.Errorf("port %d offers %v, want %s", port, got, want[port])
		}
		_ = c.Close()
	}
}

func checkMacros(t *testing.T, p *pod) {
	if err := submit("full@"+domain, password, "full@"+domain, []string{"x@altro.test"}, note); err != nil {
		t.Fatal(err)
	}
	queueID := func(d delivery) string {
		_, after, _ := strings.Cut(d.text, " id ")
		id, _, _ := strings.Cut(after, "\r\n")
		return strings.Trim(id, ";")
	}
	submitted := queueID(p.engine.next(t, p.log))
	if err := p.send(portMX, "x@remote.test", "full@"+domain, note); err != nil {
		t.Fatal(err)
	}
	received := queueID(p.engine.next(t, p.log))
	for _, test := range []struct {
		port        int
		macro, want string
	}{
		{portMilterSubmit, "i", submitted},
		{portMilterSubmit, "{auth_authen}", "full@" + domain},
		{portMilterSubmit, "{client_addr}", "127.0.0.1"},
		{portMilterMX, "i", received},
		{portMilterMX, "{auth_authen}", ""},
		{portMilterMX, "{client_addr}", "127.0.0.1"},
	} {
		if got := p.engine.macro(test.port, test.macro); got != test.want {
			t.Errorf("the milter on port %d got %s=%q, want %q", test.port, test.macro, got, test.want)
		}
	}
	if len(submitted) < 10 {
		t.Errorf("the queue id %q is a short one", submitted)
	}
}

// reinject sends as the engine does, one recipient with an envelope identifier.
func reinject(from, to, envelope string) error {
	c, err := dialClear(portReinject)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Mail(from, &smtp.MailOptions{EnvelopeID: envelope}); err != nil {
		return err
	}
	if err := c.Rcpt(to, &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyFailure}}); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte("Message-ID: <e1@" + domain + ">\r\n\r\nx\r\n")); err != nil {
		return err
	}
	return w.Close()
}

func checkBounce(t *testing.T, p *pod) {
	if err := reinject("full@"+domain, "refused@"+domain, "e1@"+domain); err != nil {
		t.Fatal(err)
	}
	d := p.engine.next(t, p.log)
	if d.port != portIncoming || d.from != "" || !slices.Equal(d.to, []string{"full@" + domain}) {
		t.Errorf("the engine got %+v", d)
	}
	for _, want := range []string{
		"Original-Envelope-Id: e1@" + domain, "Final-Recipient: rfc822; refused@" + domain, "Action: failed", "Status: 5.1.1",
		"550 5.1.1 refused by the test", "Message-ID: <e1@" + domain + ">",
	} {
		if !strings.Contains(d.text, want) {
			t.Errorf("the bounce has no %q:\n%s", want, d.text)
		}
	}
	p.engine.none(t)
}

func checkDoubleBounce(t *testing.T, p *pod) {
	if err := reinject("", "refused@"+domain, "e2@"+domain); err != nil {
		t.Fatal(err)
	}
	if err := reinject("refused@"+domain, "refused@"+domain, "e3@"+domain); err != nil {
		t.Fatal(err)
	}
	p.engine.none(t)
}

func checkMilterDown(t *testing.T, p *pod) {
	p.engine.milters(t, false)
	defer p.engine.milters(t, true)
	wantError(t, "the MX port", p.send(portMX, "x@remote.test", "full@"+domain, note), "Service unavailable - try again later")
	wantError(t, "the submission port", submit("full@"+domain, password, "full@"+domain, []string{"x@altro.test"}, note), "ry again later")
	p.engine.none(t)
}

func checkQueueTools(t *testing.T, p *pod, r *running) { p.awaitEmptyQueue(t, r) }

// Postfix needs each of its capabilities: without one it does not start on an empty queue, or a submission fails.
func TestPostfixCapabilities(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPod(t, n)
		dovecot := p.started("dovecot")
		defer dovecot.stop()
		c := p.container("postfix")
		all := c.SecurityContext.Capabilities.Add
		if err := p.submits(all); err != nil {
			t.Fatalf("with all of %v: %v", all, err)
		}
		for _, left := range all {
			without := slices.DeleteFunc(slices.Clone(all), func(c corev1.Capability) bool { return c == left })
			if err := p.submits(without); err == nil {
				t.Errorf("without %s Postfix works as well", left)
			} else {
				t.Logf("without %s: %v", left, err)
			}
		}
	})
}

// submits starts Postfix on an empty queue and sends one message through its submission port.
func (p *pod) submits(capabilities []corev1.Capability) error {
	p.must(os.RemoveAll(p.volumePath(p.spec, volumeQueue)))
	p.must(os.RemoveAll(p.volumePath(p.spec, volumePostfixRun)))
	c := p.container("postfix")
	sc := c.SecurityContext.DeepCopy()
	sc.Capabilities.Add = capabilities
	c.SecurityContext = sc
	r := p.start(p.spec, c)
	defer r.stop()
	if err := r.listens(c); err != nil {
		return fmt.Errorf("%w: %s", err, lastLine(r.output.String()))
	}
	if err := submit("full@"+domain, password, "full@"+domain, []string{"x@altro.test"}, note); err != nil {
		return fmt.Errorf("submitting: %w: %s", err, lastLine(r.output.String()))
	}
	select {
	case <-p.engine.deliveries:
		return nil
	case <-time.After(10 * time.Second):
		return fmt.Errorf("the message did not reach the engine: %s", lastLine(r.output.String()))
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
