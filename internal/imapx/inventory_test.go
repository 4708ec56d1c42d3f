package imapx_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/pec-operator/pec-operator/internal/imapx"
	"github.com/pec-operator/pec-operator/internal/mailage"
	"github.com/pec-operator/pec-operator/internal/mailtest"
)

const mario, secret = "mario@pec.altrove.test", "la password di Mario"

// provided is a mailbox of another provider, and how to look at it.
func provided(t *testing.T, settings ...string) (*mailtest.Dovecot, mailtest.Holder, imapx.Options) {
	t.Helper()
	d, ca := mailtest.StartProvider(t, map[string]string{mario: secret}, settings...)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca))
	address := fmt.Sprintf("localhost:%d", mailtest.ProviderPort)
	return d, mailtest.Holder{Server: address, Address: mario, Password: secret}, imapx.Options{Address: address, Roots: roots, User: mario, Password: secret, Own: true}
}

// fill puts messages of a hundred kilobytes into two folders, by their ages in days; how many bytes each is.
func fill(t *testing.T, c *imapclient.Client, now time.Time, days ...int) (size int64) {
	t.Helper()
	_ = c.Create("Prot.2021", nil).Wait() // there since the first time
	raw := "Subject: Prova\r\n\r\n" + strings.Repeat(strings.Repeat("x", 98)+"\r\n", 1000)
	for i, age := range days {
		mailtest.Append(t, c, []string{"INBOX", "Prot.2021"}[i%2], raw, nil, now.AddDate(0, 0, -age))
	}
	return int64(len(raw))
}

// TestInventory runs three providers one after the other: one that tells everything, one that has no QUOTA, and one that does not add up
// its folders either.
func TestInventory(t *testing.T) {
	for name, c := range map[string]struct {
		settings []string
		limit    int64
	}{
		"Quota":    {[]string{mailtest.Quota}, 10 << 20},
		"NoQuota":  {nil, 0},
		"Taciturn": {[]string{mailtest.Taciturn}, 0},
	} {
		t.Run(name, func(t *testing.T) { mailtest.Inside(t, func(t *testing.T) { checkInventory(t, c.settings, c.limit) }) })
	}
}

func checkInventory(t *testing.T, settings []string, limit int64) {
	now := time.Now()
	_, holder, options := provided(t, settings...)
	if i, err := imapx.Take(t.Context(), options, now); err != nil || i.Bytes != 0 || i.Messages != 0 || i.Limit != limit || *i.Ages != (mailage.Ages{}) {
		t.Errorf("an empty mailbox: %+v, %v", i, err)
	}
	c := holder.Login(t)
	defer c.Close()
	size := fill(t, c, now, 1, 20, 100, 200, 500, 800)
	before := holder.Snapshot(t, func(s string) string { return s })
	i, err := imapx.Take(t.Context(), options, now)
	if err != nil || i.Messages != 6 || i.Bytes < 6*size-1024 || i.Bytes > 6*size+1024 || i.Limit != limit {
		t.Fatalf("six messages of %d bytes: %+v, %v", size, i, err)
	}
	if since := now.AddDate(0, 0, -20); i.Ages.Month != 2*size || i.Ages.Year != 4*size || i.Ages.Since.Unix() != since.Unix() {
		t.Errorf("two of the month and two more of the year: %+v", i.Ages)
	}
	after := holder.Snapshot(t, func(s string) string { return s })
	if len(before) != len(after) {
		t.Errorf("the mailbox had %d kinds of messages and has %d", len(before), len(after))
	}
	for line, n := range before {
		if after[line] != n {
			t.Errorf("%s: %d and then %d: looking changed it", line, n, after[line])
		}
	}
	checkBounds(t, options, now, size, i.Bytes, settings)
	options.Password = "un'altra"
	if _, err := imapx.Take(t.Context(), options, now); !errors.Is(err, imapx.ErrCredentials) || strings.Contains(err.Error(), options.Password) {
		t.Errorf("a wrong password: %v", err)
	}
}

// checkBounds has three messages in each of two folders: of this month, of this year, and older.
func checkBounds(t *testing.T, options imapx.Options, now time.Time, size, bytes int64, settings []string) {
	if len(settings) == 1 && settings[0] == mailtest.Taciturn {
		bytes = mailage.Unknown // three messages are added up, and three are too many
	}
	i, err := imapx.TakeAsking(t.Context(), options, now, 3)
	if err != nil || i.Bytes != bytes || i.Messages != 6 {
		t.Errorf("asking for three sizes: %+v, %v", i, err)
	}
	if bytes != mailage.Unknown && (i.Ages == nil || i.Ages.Month != 2*size || i.Ages.Year != mailage.Unknown) {
		t.Errorf("the year is too much to ask for, the month is not: %+v", i.Ages)
	}
	if i, err := imapx.TakeAsking(t.Context(), options, now, 2); err != nil || i.Ages != nil {
		t.Errorf("the month is too much to ask for: %+v, %v", i.Ages, err)
	}
}

func TestASuspendedMailboxIsNoWrongPassword(t *testing.T) {
	mailtest.Inside(t, func(t *testing.T) {
		d, _, options := provided(t)
		d.Suspend(t)
		if _, err := imapx.Take(t.Context(), options, time.Now()); !errors.Is(err, imapx.ErrRefused) || errors.Is(err, imapx.ErrCredentials) {
			t.Errorf("a right password, while the mailbox is suspended: %v", err)
		}
		d.Resume(t)
		if _, err := imapx.Take(t.Context(), options, time.Now()); err != nil {
			t.Errorf("after it was suspended: %v", err)
		}
	})
}

// A server that fails is a program of the test's own: a real one does not fail so on demand.
func TestAServerThatFails(t *testing.T) {
	cert, key := mailtest.SelfSigned(t, "imaps.altrove.test")
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(cert))
	const welcome = "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello\r\n"
	for name, c := range map[string]struct {
		says  func(net.Conn) // after the handshake; nil for a server that does not shake hands
		roots *x509.CertPool
		kind  error
		why   string
	}{
		"it is closed for now":           {func(c net.Conn) { fmt.Fprint(c, "* BYE too many connections\r\n") }, roots, imapx.ErrRefused, ""},
		"it is closed after the login":   {func(c net.Conn) { answer(c, welcome, "T1 NO [UNAVAILABLE] backend down\r\n") }, roots, imapx.ErrRefused, ""},
		"it has suspended the mailbox":   {func(c net.Conn) { answer(c, welcome, "T1 NO [CONTACTADMIN] suspended\r\n") }, roots, imapx.ErrRefused, ""},
		"it is at fault":                 {func(c net.Conn) { answer(c, welcome, "T1 NO [SERVERBUG] sorry\r\n") }, roots, imapx.ErrRefused, ""},
		"it refuses the password":        {func(c net.Conn) { answer(c, welcome, "T1 NO [AUTHENTICATIONFAILED] no\r\n") }, roots, imapx.ErrCredentials, ""},
		"it refuses the user":            {func(c net.Conn) { answer(c, welcome, "T1 NO [AUTHORIZATIONFAILED] no\r\n") }, roots, imapx.ErrCredentials, ""},
		"the password is too old":        {func(c net.Conn) { answer(c, welcome, "T1 NO [EXPIRED] no\r\n") }, roots, imapx.ErrCredentials, ""},
		"it does not say why":            {func(c net.Conn) { answer(c, welcome, "T1 NO no\r\n") }, roots, imapx.ErrCredentials, ""},
		"it says nothing":                {func(net.Conn) { time.Sleep(3 * time.Second) }, roots, nil, "it did not answer in time"},
		"it does not even shake hands":   {nil, roots, nil, "it did not answer in time"},
		"it answers something else":      {func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); _ = c.Close() }, roots, nil, "it broke the connection, or answers what is not IMAP"},
		"its certificate is nobody's":    {func(net.Conn) {}, x509.NewCertPool(), nil, "its certificate is of no authority that is known here"},
		"it answers without ever ending": {func(c net.Conn) { answer(c, welcome, "T1 OK [CAPABILITY IMAP4rev1] in\r\n"); flood(c) }, roots, nil, "it answers more than any mailbox holds"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				if c.says == nil {
					time.Sleep(3 * time.Second)
					_ = conn.Close()
					return
				}
				defer conn.Close()
				secured := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
				if secured.Handshake() == nil {
					c.says(secured)
				}
			}()
			limit := time.Second
			if strings.Contains(name, "ending") {
				limit = time.Minute
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			o := imapx.Options{Address: "imaps.altrove.test:993", Roots: c.roots, User: mario, Password: secret, Connect: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
			}}
			_, err = imapx.Take(ctx, o, time.Now())
			if err == nil || (c.kind != nil && !errors.Is(err, c.kind)) || (c.kind == nil && (errors.Is(err, imapx.ErrRefused) || errors.Is(err, imapx.ErrCredentials))) {
				t.Errorf("it is %v", err)
			}
			if c.why != "" && imapx.Why(err) != c.why {
				t.Errorf("%q, of %v", imapx.Why(err), err)
			}
		})
	}
	_, err = imapx.Take(t.Context(), imapx.Options{Address: "127.0.0.1:1", User: mario, Own: true}, time.Now())
	if why := imapx.Why(err); why != "it does not take the connection" {
		t.Errorf("nobody listens: %q, of %v", why, err)
	}
}

// answer greets, and answers the first command.
func answer(c net.Conn, greeting, reply string) {
	fmt.Fprint(c, greeting)
	line := make([]byte, 4096)
	if _, err := c.Read(line); err == nil {
		fmt.Fprint(c, reply)
	}
}

// flood lists folders until nobody listens.
func flood(c net.Conn) {
	line := make([]byte, 4096)
	if _, err := c.Read(line); err != nil {
		return
	}
	for i := 0; ; i++ {
		if _, err := fmt.Fprintf(c, "* LIST () \"/\" \"%s%d\"\r\n", strings.Repeat("cartella", 100), i); err != nil {
			return
		}
	}
}
