package stack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// A bounce for somebody outside comes to the engine, with the whole message, and never leaves.
func checkStrangersBounce(t *testing.T, p *pod) {
	body := strings.Repeat("una riga\r\n", 20_000)
	if err := p.send(portMX, "x@remote.test", "refused@"+domain, "Subject: x\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	d := p.engine.next(t, p.log)
	if d.port != portIncoming || d.from != "" || !slices.Equal(d.to, []string{"x@remote.test"}) {
		t.Errorf("the engine got a message from %q to %v on port %d", d.from, d.to, d.port)
	}
	if !strings.Contains(d.text, body) {
		t.Error("the bounce does not hold the whole message")
	}
	p.engine.none(t)
}

// remote is another provider's server at an address of the loopback network, with STARTTLS or without.
type remote struct {
	got chan bool // a message came: over TLS?

	mu    sync.Mutex
	taken []string // each message: the line MAIL FROM, and the text
}

// messages are those that came.
func (r *remote) messages() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.taken)
}

func (r *remote) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &remoteSession{remote: r, conn: c}, nil
}

type remoteSession struct {
	remote *remote
	conn   *smtp.Conn
	from   string
}

func (s *remoteSession) Reset()                               {}
func (s *remoteSession) Logout() error                        { return nil }
func (s *remoteSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s *remoteSession) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

func (s *remoteSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	s.remote.mu.Lock()
	s.remote.taken = append(s.remote.taken, "MAIL FROM:<"+s.from+">\r\n"+string(text))
	s.remote.mu.Unlock()
	_, secure := s.conn.TLSConnectionState()
	s.remote.got <- secure
	return err
}

func startRemote(t *testing.T, address string, withTLS bool) *remote {
	t.Helper()
	r := &remote{got: make(chan bool, 8)}
	s := smtp.NewServer(r)
	s.Domain = "remote.test"
	if withTLS {
		cert, key := selfSigned(t)
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	l, err := net.Listen("tcp", net.JoinHostPort(address, "25"))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return r
}

// To a certified domain mail goes encrypted or waits; to others as their servers can.
func checkEncryption(t *testing.T, p *pod, postfix *running) {
	if err := p.directory.PutCertified(context.Background(), []string{"[127.0.0.11]", "[127.0.0.12]"}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		address string
		withTLS bool
		want    string
	}{
		"a certified domain with TLS":    {"127.0.0.11", true, "encrypted"},
		"a certified domain without TLS": {"127.0.0.12", false, "waits"},
		"an ordinary domain with TLS":    {"127.0.0.13", true, "encrypted"},
		"an ordinary domain without TLS": {"127.0.0.14", false, "clear"},
	} {
		r := startRemote(t, test.address, test.withTLS)
		if err := reinject("full@"+domain, "x@["+test.address+"]", "e9@"+domain); err != nil {
			t.Fatal(err)
		}
		got := "waits"
		select {
		case secure := <-r.got:
			got = map[bool]string{true: "encrypted", false: "clear"}[secure]
		case <-time.After(3 * time.Second):
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	if out, err := p.exec(postfix, p.container("postfix"), "/usr/sbin/postsuper", "-d", "ALL"); err != nil { // what waits for TLS
		t.Errorf("postsuper: %v\n%s", err, out)
	}
	p.engine.none(t)
}

// ends are what a client may call the end of a message, and some servers take for one.
var ends = map[string]string{
	"LF . LF": "\n.\n", "LF . CRLF": "\n.\r\n", "CRLF . LF": "\r\n.\n", "CR . CR": "\r.\r", "CR . CRLF": "\r.\r\n", "CRLF . CR": "\r\n.\r",
	"CRLF . CR CRLF": "\r\n.\r\r\n", "LF . CR": "\n.\r", "NUL before the dot": "\r\n\x00.\r\n", "CRLF CRLF . . CRLF": "\r\n..\r\n",
}

// smuggle sends a message with another one inside it, behind what might be taken for an end, and returns the answer.
func smuggle(t *testing.T, port int, sender, head, end string) string {
	t.Helper()
	conn, err := net.Dial("tcp", loopback(port))
	if err != nil {
		t.Fatal(err)
	}
	if port == portSubmissions {
		conn = tls.Client(conn, unverified())
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	say := func(text string) string {
		if text != "" {
			_, _ = io.WriteString(conn, text)
		}
		for {
			line, err := r.ReadString('\n')
			if err != nil || len(line) > 3 && line[3] == ' ' {
				return line
			}
		}
	}
	say("")
	say("EHLO remote.test\r\n")
	if port == portSubmissions {
		login := base64.StdEncoding.EncodeToString([]byte("\x00" + sender + "\x00" + password))
		if answer := say("AUTH PLAIN " + login + "\r\n"); !strings.HasPrefix(answer, "235") {
			t.Fatalf("the login was answered %q", answer)
		}
	}
	say("MAIL FROM:<" + sender + ">\r\n")
	say("RCPT TO:<full@" + domain + ">\r\n")
	say("DATA\r\n")
	return say(head + "\r\n\r\nbody" + end + "MAIL FROM:<" + sender + ">\r\nRCPT TO:<other@" + domain + ">\r\nDATA\r\nSubject: two\r\n\r\nsmuggled\r\n.\r\n")
}

// Whatever a client calls the end of a message, the message that follows inside it is not taken for one of its own.
func checkSmuggling(t *testing.T, p *pod) {
	for port, sender := range map[int]string{portMX: "x@remote.test", portSubmissions: "full@" + domain} {
		for name, end := range ends {
			answer := smuggle(t, port, sender, "Subject: one", end)
			// Postfix may take a lone LF for a line end, and then must have closed the message and the connection's forged rest with it.
			if strings.HasPrefix(answer, "250") {
				if d := p.engine.next(t, p.log); d.from != sender || !slices.Equal(d.to, []string{"full@" + domain}) {
					t.Errorf("%s at port %d: the engine got a message from %s to %v", name, port, d.from, d.to)
				} else if !strings.Contains(d.text, "smuggled") {
					t.Errorf("%s at port %d: the message was cut where the client wanted it to be: %q", name, port, d.text)
				} else if bare := strings.ReplaceAll(d.text, "\r\n", ""); strings.ContainsAny(bare, "\n") {
					t.Errorf("%s at port %d: a lone line feed reached the engine: %q", name, port, d.text)
				}
			}
		}
		p.engine.none(t) // one more would have been taken for the next one's, too
	}
}

// Commands that are sent before they may be are no conversation with us.
func checkPipelining(t *testing.T, p *pod) {
	conn, err := net.Dial("tcp", loopback(portMX))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, "EHLO remote.test\r\nMAIL FROM:<x@remote.test>\r\nRCPT TO:<full@"+domain+">\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n")
	var answer bytes.Buffer
	_, _ = io.Copy(&answer, conn)
	if strings.Contains(answer.String(), "queued as") {
		t.Errorf("a client that did not wait for the greeting was served:\n%s", answer.String())
	}
	p.engine.none(t)
}
