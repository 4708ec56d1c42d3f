package engine

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// sink is Postfix or Dovecot as far as it takes: it counts, so that what the test measures is the engine's.
type sink struct{ taken int64 }

func (s *sink) NewSession(*smtp.Conn) (smtp.Session, error) { return s, nil }
func (s *sink) Reset()                                      {}
func (s *sink) Logout() error                               { return nil }
func (s *sink) Mail(string, *smtp.MailOptions) error        { return nil }
func (s *sink) Rcpt(string, *smtp.RcptOptions) error        { return nil }
func (s *sink) Data(r io.Reader) (err error)                { s.taken, err = io.Copy(io.Discard, r); return err }

func (s *sink) serve(t *testing.T, lmtp bool) string {
	t.Helper()
	server := smtp.NewServer(s)
	server.LMTP, server.EnableDSN, server.MaxMessageBytes = lmtp, !lmtp, 0
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

// A message of 30 MB on its way through all points takes hardly more of the heap than a small one.
func TestHeapDoesNotGrowWithTheMessage(t *testing.T) {
	w := newWorld(t)
	w.settings.Antivirus.Clamd = "" // its double keeps the message
	w.settings.Limits.MaxMessageSize, w.settings.Limits.MaxSizeTimesRecipients = 100<<20, 100<<20
	postfix, dovecot := &sink{}, &sink{}
	w.settings.Next.Reinject, w.settings.Next.LMTP = postfix.serve(t, false), dovecot.serve(t, true)
	w.crash()
	access := lmtpOf(t, w, w.engine.access)
	incoming := lmtpOf(t, w, w.engine.incoming)
	const size = 30 << 20
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72)
	text := []byte(letter(sender, "anna@"+ours, "") + body)

	id := w.submit(sender, []string{"anna@" + ours}, "")
	trace := w.queue[0].raw
	measure(t, "access", func() {
		hand(t, access, sender, "anna@"+ours, io.MultiReader(bytes.NewReader(trace), bytes.NewReader(text)))
	})
	if postfix.taken < size {
		t.Fatalf("Postfix got %d bytes", postfix.taken)
	}
	identifier := pec.Identifier("a", id, ours)
	var s accepted
	if found, _, err := w.engine.lookup(kindAccepted, identifier, &s); !found || err != nil {
		t.Fatalf("not accepted: %v", err)
	}
	envelope, err := w.engine.custody.Get(s.Envelope)
	if err != nil {
		t.Fatal(err)
	}
	w.enqueue("incoming", sender, []string{"anna@" + ours}, nil)
	trace = w.queue[len(w.queue)-1].raw
	measure(t, "incoming and delivery", func() {
		hand(t, incoming, sender, "anna@"+ours, io.MultiReader(bytes.NewReader(trace), bytes.NewReader(envelope)))
	})
	if dovecot.taken < size || postfix.taken < size {
		t.Fatalf("Dovecot got %d bytes, Postfix a receipt of %d", dovecot.taken, postfix.taken)
	}
}

// measure bounds what do allocates altogether, garbage included: a message of 30 MB must not pass through the heap even once.
func measure(t *testing.T, what string, do func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	t.Logf("%s of a message of 30 MB allocated %d kB", what, allocated>>10)
	if allocated > 8<<20 {
		t.Errorf("%s of a message of 30 MB allocated %d bytes", what, allocated)
	}
}

func lmtpOf(t *testing.T, w *world, handle handler) *smtp.Client {
	t.Helper()
	server := newLMTP("mx.uno.test", "test", slog.New(slog.NewTextHandler(io.Discard, nil)), handle)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return smtp.NewClientLMTP(conn)
}

func hand(t *testing.T, c *smtp.Client, from, to string, text io.Reader) {
	t.Helper()
	if err := c.SendMail(from, []string{to}, text); err != nil {
		t.Fatal(err)
	}
}
