package stack

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-smtp"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/pec-operator/pec-operator/internal/admin"
	hashes "github.com/pec-operator/pec-operator/internal/password"
	"github.com/pec-operator/pec-operator/internal/store"
)

func loginIMAP(t *testing.T, user, pass string) (*imapclient.Client, error) {
	t.Helper()
	c, err := imapclient.DialTLS(loopback(portIMAPS), &imapclient.Options{TLSConfig: unverified()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, c.Login(user, pass).Wait()
}

// loginPOP3 is Dovecot's answer to PASS.
func loginPOP3(t *testing.T, user, pass string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", loopback(portPOP3S), unverified())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := textproto.NewConn(conn)
	answer := ""
	for _, command := range []string{"", "USER " + user, "PASS " + pass} {
		if command != "" {
			_ = c.PrintfLine("%s", command)
		}
		if answer, err = c.ReadLine(); err != nil {
			t.Fatal(err)
		}
	}
	return answer
}

// deliver hands a message to Dovecot's LMTP.
func deliver(t *testing.T, to, text string) error {
	t.Helper()
	conn, err := net.Dial("tcp", loopback(portLMTP))
	if err != nil {
		t.Fatal(err)
	}
	c := smtp.NewClientLMTP(conn)
	defer c.Close()
	if err := c.Mail("sender@altro.test", nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt(to, nil); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	return w.Close()
}

func TestDovecot(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPod(t, n)
		dovecot := p.started("dovecot")
		defer dovecot.stop()
		t.Cleanup(func() { t.Logf("Dovecot:\n%s", dovecot.output) })
		for name, check := range map[string]func(*testing.T, *pod){
			"each access admits what it should":                   checkAccess,
			"a delivered message is read back byte for byte":      checkDelivery,
			"the quota is exact":                                  checkQuota,
			"a read-only mailbox stays as it is":                  checkReadOnly,
			"doveadm answers on loopback, with its key only":      checkDoveadm,
			"a row that is committed later is seen at once":       checkNewRow,
			"what a holder deletes is kept, and out of his sight": checkExpunged,
			"a hash that was brought along lets its holder in":    checkHashes,
		} {
			t.Run(name, func(t *testing.T) { check(t, p) })
		}
	})
}

// checkHashes has Dovecot and the engine judge the same: each hash that is taken, in whatever way its scheme is written.
func checkHashes(t *testing.T, p *pod) {
	const brought = "una password lunga"
	for name, raw := range map[string]string{
		"sha512": "{sha512-crypt}$6$abcdefgh$ow/etwL60.6iNnGyAe5qyh/5G5YZn3OCmEEkgv59Wn.0s3pn5PvVDlcEMWZfSh3KfTWsxYeDOWGQXXJkG6/X//",
		"rounds": "{SHA512-CRYPT}$6$rounds=6000$saltsalt$trO5L1zxsFORALL9AidUGcKTzm6/OwB2IOkTdxH3nAi3FdO5kdML/dmbaqYSUVb91mhNNiDXheql3wnPj8KUl0",
		"bcrypt": bcrypted(t, "{blf-crypt}", brought),
		"argon":  argoned("{Argon2id}", brought),
	} {
		hash, problem, ok := hashes.Ready([]byte(raw))
		if !ok || problem != "" {
			t.Errorf("%s: %s", name, problem)
			continue
		}
		p.mailbox(name, admin.AccessFull, func(m *admin.Mailbox) { m.Password = hash })
		for secret, want := range map[string]bool{brought: true, brought + "x": false} {
			_, refused := loginIMAP(t, name+"@"+domain, secret)
			if matches, err := hashes.Matches(hash, []byte(secret)); (refused == nil) != want || matches != want || err != nil {
				t.Errorf("%s: Dovecot answers %v, the engine %v %v, want %v", name, refused, matches, err, want)
			}
		}
	}
}

func bcrypted(t *testing.T, scheme, raw string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(raw), 10)
	if err != nil {
		t.Fatal(err)
	}
	return scheme + string(hash)
}

func argoned(scheme, raw string) string {
	salt := []byte("salt-of-16-bytes")
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("%s$argon2id$v=19$m=19456,t=2,p=1$%s$%s", scheme, encode(salt), encode(argon2.IDKey([]byte(raw), salt, 2, 19456, 1, 32)))
}

func checkAccess(t *testing.T, _ *pod) {
	tests := map[string]struct{ imap, pop3, lmtp string }{
		"full":      {"", "+OK", ""},
		"readonly":  {"", "+OK", "550"},
		"suspended": {"mailbox suspended", "mailbox suspended", "550"},
		"closed":    {"mailbox closed", "mailbox closed", "550"},
		"unknown":   {"Authentication failed", "Authentication failed", "550"},
	}
	for name, want := range tests {
		address := name + "@" + domain
		_, err := loginIMAP(t, address, password)
		wantError(t, name+" over IMAP", err, want.imap)
		if got := loginPOP3(t, strings.ToUpper(address), password); !strings.Contains(got, want.pop3) {
			t.Errorf("%s over POP3: %s", name, got)
		}
		wantError(t, name+" over LMTP", deliver(t, address, "Subject: x\r\n\r\nx\r\n"), want.lmtp)
	}
	_, err := loginIMAP(t, "full@"+domain, "another password")
	wantError(t, "a wrong password", err, "Authentication failed")
}

// wantError fails unless err contains want, or is nil when want is empty.
func wantError(t *testing.T, what string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got error %v, want %q", what, err, want)
	}
}

func checkDelivery(t *testing.T, _ *pod) {
	text := "Subject: one\r\n folded\r\nX-Empty:\r\n\r\n" + strings.Repeat("x", 2000) + "\r\n\xe0\xe8\r\n.\r\n..\r\nFrom here\r\n"
	wantError(t, "delivery", deliver(t, "other@"+domain, text), "")
	if got := lastMessage(t, "other@"+domain); !bytes.HasSuffix(got, []byte(text)) {
		t.Errorf("the message came out changed:\n%q", got)
	}
}

// lastMessage is the newest message in a mailbox's INBOX.
func lastMessage(t *testing.T, address string) []byte {
	t.Helper()
	c, err := loginIMAP(t, address, password)
	if err != nil {
		t.Fatal(err)
	}
	box, err := c.Select("INBOX", nil).Wait()
	if err != nil || box.NumMessages == 0 {
		t.Fatalf("%s: %d messages, %v", address, box.NumMessages, err)
	}
	messages, err := c.Fetch(imap.SeqSetNum(box.NumMessages), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect()
	if err != nil || len(messages) != 1 {
		t.Fatalf("fetching: %d messages, %v", len(messages), err)
	}
	return messages[0].BodySection[0].Bytes
}

func checkQuota(t *testing.T, p *pod) {
	address := "small@" + domain
	p.mailbox("small", admin.AccessFull)
	big := "Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 10_000) // 720 kB of the megabyte
	wantError(t, "the first message", deliver(t, address, big), "")
	wantError(t, "the second message", deliver(t, address, big), "552")
}

func checkReadOnly(t *testing.T, p *pod) {
	address := "frozen@" + domain
	p.mailbox("frozen", admin.AccessFull)
	wantError(t, "delivery", deliver(t, address, "Subject: kept\r\n\r\nx\r\n"), "")
	p.mailbox("frozen", admin.AccessReadOnly)
	c, err := loginIMAP(t, address, password)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, "a new folder", c.Create("New", nil).Wait(), "Maximum number of mailboxes")
	upload := c.Append("INBOX", 1, nil)
	_, _ = upload.Write([]byte("x"))
	_ = upload.Close()
	_, err = upload.Wait()
	wantError(t, "an append", err, "Permission denied")
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	_ = c.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close()
	_ = c.Expunge().Close()
	if !bytes.Contains(lastMessage(t, address), []byte("Subject: kept")) {
		t.Error("the message is gone")
	}
}

func checkExpunged(t *testing.T, p *pod) {
	address := "deleter@" + domain
	p.mailbox("deleter", admin.AccessFull)
	wantError(t, "delivery", deliver(t, address, "Subject: deleted\r\n\r\nx\r\n"), "")
	c, err := loginIMAP(t, address, password)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	_ = c.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close()
	if err := c.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select(store.Expunged, nil).Wait(); err == nil {
		t.Error("the holder sees " + store.Expunged)
	}
	_, body := doveadm(t, "secret-two", fmt.Sprintf(`[["mailboxStatus",{"user":%q,"mailboxMask":[%q],"field":["messages"]},"t"]]`, address, store.Expunged))
	if !strings.Contains(body, `"messages":"1"`) {
		t.Errorf("the deleted message is not kept: %s", body)
	}
}

// doveadm asks Dovecot's HTTP API.
func doveadm(t *testing.T, key, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+loopback(portDoveadmHTTP)+"/doveadm/v1", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "X-Dovecot-API "+base64.StdEncoding.EncodeToString([]byte(key)))
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func checkDoveadm(t *testing.T, _ *pod) {
	if status, _ := doveadm(t, "wrong", `[]`); status != http.StatusUnauthorized {
		t.Errorf("a wrong key is answered %d", status)
	}
	if _, body := doveadm(t, "secret-two", `[["quotaGet",{"user":"full@`+domain+`"},"t"]]`); !strings.Contains(body, `"limit":"1024"`) {
		t.Errorf("quotaGet is answered %s", body)
	}
	conn, err := textproto.Dial("tcp", loopback(portDoveadm))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.PrintfLine("VERSION\tdoveadm-server\t1\t2")
	if line, err := conn.ReadLine(); err != nil || !strings.HasPrefix(line, "VERSION\tdoveadm-client") && line != "-" {
		t.Errorf("the doveadm port greets with %q, %v", line, err)
	}
}

func checkNewRow(t *testing.T, p *pod) {
	_, err := loginIMAP(t, "late@"+domain, password)
	wantError(t, "before", err, "Authentication failed")
	p.mailbox("late", admin.AccessFull)
	_, err = loginIMAP(t, "late@"+domain, password)
	wantError(t, "after", err, "")
}

// A directory whose engine has ended is still read: it leaves its write-ahead log behind, and the readers, on a read-only mount
// and of other uids, could not make one.
func TestDirectoryWithoutItsWriter(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPod(t, n)
		if err := p.directory.Close(); err != nil {
			t.Fatal(err)
		}
		dovecot, postfix := p.started("dovecot"), p.started("postfix")
		defer dovecot.stop()
		defer postfix.stop()
		if _, err := loginIMAP(t, "full@"+domain, password); err != nil {
			t.Errorf("login: %v\n%s", err, dovecot.output)
		}
		if err := p.send(portMX, "x@remote.test", "full@"+domain, "Subject: x\r\n\r\nx\r\n"); err != nil {
			t.Errorf("mail: %v\n%s", err, postfix.output)
		}
		p.openDirectory()
		p.mailbox("late", admin.AccessFull)
		if _, err := loginIMAP(t, "late@"+domain, password); err != nil {
			t.Errorf("login after the engine came back: %v\n%s", err, dovecot.output)
		}
		if err := submit("late@"+domain, password, "late@"+domain, []string{"x@altro.test"}, note); err != nil {
			t.Errorf("submission after the engine came back: %v\n%s", err, postfix.output)
		}
	})
}
