package stack

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-crypt/crypt/algorithm/shacrypt"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/store"
)

// talk is a conversation in a line protocol, written down as it goes.
type talk struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	said strings.Builder
}

func newTalk(t *testing.T, port int) *talk {
	t.Helper()
	conn, err := tls.Dial("tcp", loopback(port), unverified())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &talk{t: t, conn: conn, r: bufio.NewReader(conn)}
}

// newClearTalk is one that begins without TLS.
func newClearTalk(t *testing.T, port int) *talk {
	t.Helper()
	conn, err := net.Dial("tcp", loopback(port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &talk{t: t, conn: conn, r: bufio.NewReader(conn)}
}

// send writes bytes to the server that are no command of their own.
func (k *talk) send(text string) {
	k.t.Helper()
	_ = k.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(k.conn, text); err != nil {
		k.t.Fatal(err)
	}
}

// until reads lines to the one that begins so, writes them down, and returns that one.
func (k *talk) until(prefixes ...string) string {
	k.t.Helper()
	for {
		line, err := k.r.ReadString('\n')
		if err != nil {
			k.t.Fatalf("waiting for %q: %v\n%s", prefixes, err, &k.said)
		}
		line = strings.TrimRight(line, "\r\n")
		fmt.Fprintf(&k.said, "S: %s\n", line)
		for _, p := range prefixes {
			if strings.HasPrefix(line, p) {
				return line
			}
		}
	}
}

// imap says one command and reads to its end. A literal is sent when the server asks for it.
func (k *talk) imap(command, literal string) string {
	k.t.Helper()
	fmt.Fprintf(&k.said, "C: %s\n", command)
	k.send("a " + command + "\r\n")
	answer := k.until("a ", "+ ", "* BYE")
	if strings.HasPrefix(answer, "+ ") {
		fmt.Fprintf(&k.said, "C: %s\n", literal)
		k.send(literal + "\r\n")
		answer = k.until("a ", "* BYE")
	}
	return answer
}

func (k *talk) pop3(command string, lines bool) string {
	k.t.Helper()
	fmt.Fprintf(&k.said, "C: %s\n", command)
	k.send(command + "\r\n")
	answer := k.until("+OK", "-ERR")
	if lines && strings.HasPrefix(answer, "+OK") {
		k.until(".")
	}
	return answer
}

// ended waits until the server has hung up.
func (k *talk) ended() {
	k.t.Helper()
	_ = k.conn.SetDeadline(time.Now().Add(patience))
	if rest, err := io.ReadAll(k.r); errors.Is(err, os.ErrDeadlineExceeded) {
		k.t.Fatalf("the session is still there: %q", rest)
	}
}

// changing is what differs from one run to the next.
var changing = regexp.MustCompile(`UIDVALIDITY \d+|(COPY|APPEND)UID \d+|CAPABILITY [^\]]*|\(\d\.\d+ \+ [^)]*\)|<[^>]*>|Session ID: [^ ]*|HIGHESTMODSEQ \d+|[0-9a-f]{32}`)

// written is the conversation without what changes.
func (k *talk) written() string { return changing.ReplaceAllString(k.said.String(), "-") }

// The conversations of a client with a mailbox of each access, as Dovecot leads them. They are golden files, because a new
// release of Dovecot that says something else here has to be read by somebody.
func TestAccessTranscripts(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPod(t, n)
		dovecot := p.started("dovecot")
		defer dovecot.stop()
		t.Cleanup(func() { t.Logf("Dovecot:\n%s", dovecot.output) })
		for _, access := range []admin.Access{admin.AccessFull, admin.AccessReadOnly} {
			name := "kept-" + strings.ToLower(string(access))
			fill(t, p, name)
			p.mailbox(name, access)
			before := content(t, name)
			imap := newTalk(t, portIMAPS)
			imap.until("* OK")
			imap.imap(fmt.Sprintf("LOGIN %s@%s %q", name, domain, password), "")
			everythingOverIMAP(imap)
			pop3 := newTalk(t, portPOP3S)
			pop3.until("+OK")
			pop3.pop3("USER "+name+"@"+domain, false)
			pop3.pop3("PASS "+password, false)
			everythingOverPOP3(pop3)
			golden(t, "pop3-"+strings.ToLower(string(access)), pop3.written())
			imap.imap("RENAME INBOX Former", "")
			imap.imap("LOGOUT", "")
			golden(t, "imap-"+strings.ToLower(string(access)), imap.written())
			if after := content(t, name); (after == before) != (access == admin.AccessReadOnly) {
				t.Errorf("with access %s the mailbox was\n%s\nand is\n%s", access, before, after)
			}
		}
		suspendedTranscripts(t, p)
		untouchedTranscript(t, p)
	})
}

// suspendedTranscripts: the holder is told why, and there is nothing else to be had.
func suspendedTranscripts(t *testing.T, p *pod) {
	const name = "kept-suspended"
	fill(t, p, name)
	p.mailbox(name, admin.AccessSuspended)
	imap := newTalk(t, portIMAPS)
	imap.until("* OK")
	imap.imap(fmt.Sprintf("LOGIN %s@%s %q", name, domain, password), "")
	imap.imap("SELECT INBOX", "")
	imap.imap("AUTHENTICATE PLAIN "+base64Of("\x00"+name+"@"+domain+"\x00"+password), "")
	imap.imap("LOGOUT", "")
	golden(t, "imap-suspended", imap.written())
	pop3 := newTalk(t, portPOP3S)
	pop3.until("+OK")
	pop3.pop3("USER "+name+"@"+domain, false)
	pop3.pop3("PASS "+password, false)
	pop3.pop3("STAT", false)
	pop3.pop3("QUIT", false)
	golden(t, "pop3-suspended", pop3.written())
}

// untouchedTranscript is a read-only mailbox that never held a message: its INBOX is not made yet, and must not leave room for another
// folder.
func untouchedTranscript(t *testing.T, p *pod) {
	const name = "untouched"
	p.mailbox(name, admin.AccessReadOnly)
	before := content(t, name)
	k := newTalk(t, portIMAPS)
	k.until("* OK")
	k.imap(fmt.Sprintf("LOGIN %s@%s %q", name, domain, password), "")
	for _, command := range []string{"CREATE New", "CREATE New/Below", "CREATE Old", "CREATE INBOX/Below", "RENAME INBOX Older", "SUBSCRIBE New"} {
		k.imap(command, "")
	}
	k.imap("APPEND INBOX {15}", "Subject: new\r\n\r\n"[:15])
	k.imap(`LIST "" "*"`, "")
	k.imap("LOGOUT", "")
	golden(t, "imap-readonly-untouched", k.written())
	if after := content(t, name); after != before {
		t.Errorf("the mailbox was\n%s\nand is\n%s", before, after)
	}
}

// fill gives a mailbox two messages and a folder with a third.
func fill(t *testing.T, p *pod, name string) {
	t.Helper()
	p.mailbox(name, admin.AccessFull)
	for _, subject := range []string{"one", "two"} {
		wantError(t, "delivery", deliver(t, name+"@"+domain, "Subject: "+subject+"\r\n\r\nx\r\n"), "")
	}
	k := newTalk(t, portIMAPS)
	k.until("* OK")
	k.imap(fmt.Sprintf("LOGIN %s@%s %q", name, domain, password), "")
	k.imap("CREATE Old", "")
	k.imap("SELECT INBOX", "")
	k.imap("COPY 1 Old", "")
	k.imap("LOGOUT", "")
}

// content is all that a mailbox holds, as its administrator sees it.
func content(t *testing.T, name string) string {
	t.Helper()
	user := name + "@" + domain
	_, folders := doveadm(t, "secret-two", fmt.Sprintf(`[["mailboxList",{"user":%q},"t"]]`, user))
	_, messages := doveadm(t, "secret-two", fmt.Sprintf(`[["fetch",{"user":%q,"field":["mailbox","uid","guid","flags","hdr.subject"],"query":["mailbox","*"]},"t"]]`, user))
	return folders + "\n" + messages
}

func everythingOverIMAP(k *talk) {
	for _, c := range []struct{ command, literal string }{
		{`LIST "" "*"`, ""},
		{"SELECT INBOX", ""},
		{"FETCH 1 (FLAGS BODY[TEXT])", ""},
		{`STORE 1 +FLAGS (\Seen)`, ""},
		{`STORE 2 +FLAGS (\Deleted)`, ""},
		{"EXPUNGE", ""},
		{"COPY 1 Old", ""},
		{"MOVE 1 Old", ""},
		{"APPEND INBOX {15}", "Subject: new\r\n\r\n"[:15]},
		{"CREATE New", ""},
		{"CREATE Old/Below", ""},
		{"CREATE INBOX/Below", ""},
		{"SUBSCRIBE Old", ""},
		{`LSUB "" "*"`, ""},
		{"UNSUBSCRIBE Old", ""},
		{`LSUB "" "*"`, ""},
		{"APPEND Old {15}", "Subject: new\r\n\r\n"[:15]},
		{"RENAME Old Older", ""},
		{"DELETE Old", ""},
		{"SELECT " + store.Expunged, ""},
		{`SETACL INBOX anyone lrswipkxtea`, ""},
	} {
		k.imap(c.command, c.literal)
	}
}

func everythingOverPOP3(k *talk) {
	k.pop3("STAT", false)
	k.pop3("UIDL", true)
	k.pop3("DELE 1", false)
	k.pop3("QUIT", false)
}

// A session that was open when the access changed is ended, and so learns of it; a new one meets the new access. Both within two
// seconds of the row's change, which with the kick is what the engine does at the operator's word.
func TestOpenSessionsLearnOfAChange(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPod(t, n)
		dovecot, postfix := p.started("dovecot"), p.started("postfix")
		defer dovecot.stop()
		defer postfix.stop()
		name, address := "changing", "changing@"+domain
		p.mailbox(name, admin.AccessFull)
		open := newTalk(t, portIMAPS)
		open.until("* OK")
		open.imap(fmt.Sprintf("LOGIN %s %q", address, password), "")
		open.imap("SELECT INBOX", "")
		pop3 := newTalk(t, portPOP3S)
		pop3.until("+OK")
		pop3.pop3("USER "+address, false)
		pop3.pop3("PASS "+password, false)
		if answer := pop3.pop3("STAT", false); !strings.HasPrefix(answer, "+OK") {
			t.Fatalf("STAT is answered %s", answer)
		}
		smtp := newSubmission(t, address, password)
		scripts := newScripts(t, name)

		begun := time.Now()
		p.mailbox(name, admin.AccessSuspended)
		if _, body := doveadm(t, "secret-two", fmt.Sprintf(`[["kick",{"mask":[%q]},"t"]]`, address)); !strings.Contains(body, "doveadmResponse") {
			t.Errorf("kick is answered %s", body)
		}
		open.until("* BYE")
		scripts.until("BYE")
		pop3.ended()
		took := time.Since(begun)
		if _, err := loginIMAP(t, address, password); err == nil {
			t.Error("a new session is let in")
		}
		smtp.send("MAIL FROM:<" + address + ">\r\nRCPT TO:<x@altro.test>\r\n")
		if answer := smtp.until("250", "5", "4"); !strings.HasPrefix(answer, "250") {
			t.Fatalf("MAIL is answered %s", answer)
		}
		if answer := smtp.until("250", "5", "4"); !strings.HasPrefix(answer, "553 5.7.1") {
			t.Errorf("a submission session that was open may send on: %s", answer)
		}
		wantError(t, "a delivery", deliver(t, address, "Subject: x\r\n\r\nx\r\n"), "550")
		t.Logf("the open sessions ended after %v", took)
		if took > effective {
			t.Errorf("the open sessions ended after %v", took)
		}
	})
}

// effective is how soon a change of a password, an access or a quota has to act, open sessions included.
const effective = 2 * time.Second

// newSubmission is a session of the submission port that is logged in.
func newSubmission(t *testing.T, address, pass string) *talk {
	t.Helper()
	k := newTalk(t, portSubmissions)
	k.until("220")
	k.send("EHLO client.test\r\n")
	k.until("250 ")
	k.send("AUTH PLAIN " + base64Of("\x00"+address+"\x00"+pass) + "\r\n")
	k.until("235")
	return k
}

// A mailbox that loses its rights between RCPT and the end of the message: the message is refused with the rule in words, and is not
// certified. The session goes on, and is refused at the next MAIL or RCPT.
func TestAMessageThatWasBegunIsJudgedAtItsEnd(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPodAlone(t, n)
		dovecot := p.started("dovecot")
		defer dovecot.stop()
		p.runEngine(t)
		postfix := p.started("postfix")
		defer postfix.stop()
		sending := func(why admin.Refusal) func(*admin.Mailbox) {
			return func(m *admin.Mailbox) { m.SendingRefused = why }
		}
		for name, c := range map[string]struct {
			access          admin.Access
			sending         admin.Refusal
			atEnd, nextTime string
		}{
			"stays":      {admin.AccessFull, "", "250 2.0.0", "250"},
			"sospesa":    {admin.AccessSuspended, "", "550 5.7.1 this mailbox may not send", "553 5.7.1"},
			"sola-letta": {admin.AccessReadOnly, "", "550 5.7.1 this mailbox may not send", "553 5.7.1"},
			"chiusa":     {admin.AccessClosed, "", "550 5.7.1 this mailbox may not send", "553 5.7.1"},
			"migra":      {admin.AccessFull, admin.RefusalMigration, admin.AnswerMigration, "550 5.7.1"},
			"primo":      {admin.AccessFull, admin.RefusalFirstLogin, admin.AnswerFirstLogin, "550 5.7.1"},
		} {
			address := name + "@" + domain
			p.mailbox(name, admin.AccessFull)
			k := newSubmission(t, address, password)
			k.send("MAIL FROM:<" + address + ">\r\nRCPT TO:<x@altro.test>\r\nDATA\r\n")
			k.until("354")
			p.mailbox(name, c.access, sending(c.sending))
			k.send(note + ".\r\n")
			if answer := k.until("2", "4", "5"); !strings.HasPrefix(answer, c.atEnd) {
				t.Errorf("%s: the end of the message is answered %q, want %q", name, answer, c.atEnd)
			}
			k.send("MAIL FROM:<" + address + ">\r\n")
			k.until("250")
			k.send("RCPT TO:<x@altro.test>\r\n")
			if answer := k.until("2", "4", "5"); !strings.HasPrefix(answer, c.nextTime) {
				t.Errorf("%s: the next message is answered %q, want %q", name, answer, c.nextTime)
			}
			if recorded := strings.Contains(p.evidence(t), `"from":"`+address+`"`); recorded != (name == "stays") {
				t.Errorf("%s: the log says of a submission: %t", name, recorded)
			}
		}
	})
}

// A holder changes his password, at the engine itself: whoever is in with the former one is out of every port.
func TestOpenSessionsEndWithThePassword(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPodAlone(t, n)
		dovecot := p.started("dovecot")
		defer dovecot.stop()
		p.runEngine(t)
		postfix := p.started("postfix")
		defer postfix.stop()
		const changed = "un'altra password"
		address := "full@" + domain
		imap := newTalk(t, portIMAPS)
		imap.until("* OK")
		imap.imap(fmt.Sprintf("LOGIN %s %q", address, password), "")
		imap.imap("SELECT INBOX", "")
		scripts, idle, halfway := newScripts(t, "full"), newSubmission(t, address, password), newSubmission(t, address, password)
		halfway.send("MAIL FROM:<" + address + ">\r\nRCPT TO:<x@altro.test>\r\nDATA\r\n")
		halfway.until("354")

		given := admin.Given{MayChange: []admin.Choice{admin.ChoicePassword}}
		_, err := p.directory.Place(t.Context(), []admin.Place{{Address: address, Given: &given}})
		p.must(err)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://"+loopback(portHolder)+"/v1/settings/password", strings.NewReader(fmt.Sprintf(`{"password":%q}`, changed)))
		p.must(err)
		request.SetBasicAuth(address, password)
		response, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: unverified()}}).Do(request)
		p.must(err)
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("the change is answered %s", response.Status)
		}
		answered := time.Now() // what is answered acts
		imap.until("* BYE")
		scripts.until("BYE")
		idle.send("MAIL FROM:<" + address + ">\r\n")
		idle.until("421 4.7.0")
		halfway.send(note + ".\r\n")
		halfway.until("421 4.7.0")
		if took := time.Since(answered); took > effective {
			t.Errorf("the sessions ended after %v", took)
		}
		for name, k := range map[string]*talk{"one that was idle": idle, "one that was halfway": halfway} {
			k.send("MAIL FROM:<" + address + ">\r\nRCPT TO:<x@altro.test>\r\n")
			if rest, err := io.ReadAll(k.r); err != nil || strings.Contains(string(rest), "250") {
				t.Errorf("%s goes on: %v %q", name, err, rest)
			}
		}
		wantError(t, "with the former password", submit(address, password, address, []string{"x@altro.test"}, note), "535")
		wantError(t, "with the new one", submit(address, changed, address, []string{"x@altro.test"}, note), "")
	})
}

// A login whose password is being checked while it is replaced, or while the mailbox is suspended, ends in no session that stays.
func TestALoginThatWasUnderWayEndsToo(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPodAlone(t, n)
		dovecot := p.started("dovecot")
		defer dovecot.stop()
		t.Cleanup(func() { t.Logf("Dovecot:\n%s", dovecot.output) })
		p.runEngine(t)
		// It takes seconds, so that the sessions are ended for the first time before there is this one.
		hasher, err := shacrypt.New(shacrypt.WithVariant(shacrypt.VariantSHA512), shacrypt.WithIterations(2_000_000))
		p.must(err)
		digest, err := hasher.Hash(password)
		p.must(err)
		slow := func(m *admin.Mailbox) { m.Password = "{SHA512-CRYPT}" + digest.Encode() }
		for name, c := range map[string]struct {
			change func(address string)
			want   string // in what the client is told after it
		}{
			"replaced": {func(address string) {
				p.must(p.directory.SetPassword(t.Context(), address, bcrypted(t, "{BLF-CRYPT}", "un'altra password")))
			}, "* BYE"},
			"suspended": {func(string) { p.mailbox("suspended", admin.AccessSuspended, slow) }, ""},
		} {
			// The later it is changed, the surer it is that Dovecot has read the row.
			said := "NO [AUTHENTICATIONFAILED]"
			for pause := 200 * time.Millisecond; strings.Contains(said, "NO ["); pause *= 2 {
				p.mailbox(name, admin.AccessFull, slow)
				k := newTalk(t, portIMAPS)
				k.until("* OK")
				k.send(fmt.Sprintf("a LOGIN %s@%s %q\r\n", name, domain, password))
				time.Sleep(pause)
				c.change(name + "@" + domain)
				_ = k.conn.SetDeadline(time.Now().Add(90 * time.Second))
				said = ""
				for line := ""; err == nil && !strings.Contains(line, "NO ["); said += line {
					line, err = k.r.ReadString('\n')
				}
			}
			if !errors.Is(err, io.EOF) || !strings.Contains(said, c.want) || strings.Contains(said, "a OK") != (c.want != "") {
				t.Errorf("%s: the client is told %q, %v", name, said, err)
			}
			err = nil
		}
	})
}
