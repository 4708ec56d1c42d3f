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
	return serveBackend(t, s, lmtp)
}

func serveBackend(t *testing.T, backend smtp.Backend, lmtp bool) string {
	t.Helper()
	server := smtp.NewServer(backend)
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
	access := lmtpOf(t, w.engine.access)
	incoming := lmtpOf(t, w.engine.incoming)
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
	if found, err := w.engine.lookup(kindAccepted, identifier, &s); !found || err != nil {
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
	if allocated > 1<<20 {
		t.Errorf("%s of a message of 30 MB allocated %d bytes", what, allocated)
	}
}

func lmtpOf(t *testing.T, handle handler) *smtp.Client {
	t.Helper()
	conn, err := net.Dial("tcp", lmtpServer(t, handle))
	if err != nil {
		t.Fatal(err)
	}
	return smtp.NewClientLMTP(conn)
}

// lmtpServer is a point of the engine's on loopback.
func lmtpServer(t *testing.T, handle handler) string {
	t.Helper()
	server := newLMTP("mx.uno.test", "test", slog.New(slog.NewTextHandler(io.Discard, nil)), handle)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

func hand(t *testing.T, c *smtp.Client, from, to string, text io.Reader) {
	t.Helper()
	if err := c.SendMail(from, []string{to}, text); err != nil {
		t.Fatal(err)
	}
}

// parking is a neighbour that takes envelopes whole and does not answer until it is told to. What else it gets, it takes.
type parking struct {
	arrived, leave chan struct{}
}

func newParking() *parking { return &parking{arrived: make(chan struct{}), leave: make(chan struct{})} }

type parked struct {
	sink
	*parking
	isEnvelope bool
}

func (p *parking) NewSession(*smtp.Conn) (smtp.Session, error) { return &parked{parking: p}, nil }

func (p *parked) Mail(from string, _ *smtp.MailOptions) error {
	p.isEnvelope = from == sender
	return nil
}

func (p *parked) Data(r io.Reader) error {
	err := p.sink.Data(r)
	if p.isEnvelope {
		p.arrived <- struct{}{}
		<-p.leave
	}
	return err
}

// The messages that a slow neighbour keeps under way take no more of the heap when they are large: the container's memory does not bound
// what is sent.
func TestHeapOfMessagesUnderWayIsTheSameForLargeOnes(t *testing.T) {
	const most = 256 << 10
	smallAccess, smallIncoming := heapUnderWay(t, 1<<10)
	access, incoming := heapUnderWay(t, 30<<20)
	t.Logf("of the heap, each message under way takes at the access point %d kB with 1 KB and %d kB with 30 MB; at the incoming and delivery points %d kB and %d kB",
		smallAccess>>10, access>>10, smallIncoming>>10, incoming>>10)
	if access > most || incoming > most {
		t.Errorf("a message of 30 MB takes %d bytes of the heap at the access point and %d at the incoming and delivery points, want at most %d", access, incoming, most)
	}
}

// heapUnderWay is what each of some messages takes while Postfix, and then Dovecot, has it and does not answer. The doubles' share and the
// client's are in it.
func heapUnderWay(t *testing.T, size int) (access, incoming int64) {
	const messages = messagesUnderWay
	w := newWorld(t)
	w.settings.Antivirus.Clamd = "" // its double keeps the message
	w.settings.Limits.MaxMessageSize, w.settings.Limits.MaxSizeTimesRecipients = 100<<20, 100<<20
	postfix, dovecot := newParking(), newParking()
	w.settings.Next.Reinject, w.settings.Next.LMTP = serveBackend(t, postfix, false), serveBackend(t, dovecot, true)
	w.crash()
	text := []byte(letter(sender, "anna@"+ours, "") + strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72))
	var ids []string
	for range messages {
		ids = append(ids, w.submit(sender, []string{"anna@" + ours}, ""))
	}
	access = whileParked(t, lmtpServer(t, w.engine.access), postfix, messages, func(i int) io.Reader {
		return io.MultiReader(bytes.NewReader(w.queue[i].raw), bytes.NewReader(text))
	})
	var envelopes []io.Reader
	for _, id := range ids {
		var s accepted
		if found, err := w.engine.lookup(kindAccepted, pec.Identifier("a", id, ours), &s); !found || err != nil {
			t.Fatalf("not accepted: %v", err)
		}
		f, err := w.engine.custody.Open(s.Envelope)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w.enqueue("incoming", sender, []string{"anna@" + ours}, nil)
		envelopes = append(envelopes, io.MultiReader(bytes.NewReader(w.queue[len(w.queue)-1].raw), f))
	}
	incoming = whileParked(t, lmtpServer(t, w.engine.incoming), dovecot, messages, func(i int) io.Reader { return envelopes[i] })
	runtime.KeepAlive(text) // it is in all that was measured
	return access, incoming
}

// whileParked hands messages over, all at once, and is how much more of the heap is in use for each when the neighbour has all.
func whileParked(t *testing.T, address string, neighbour *parking, messages int, text func(int) io.Reader) int64 {
	t.Helper()
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what the first one took from the pools
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := inUse()
	answers := make(chan error)
	for i := range messages {
		go func() {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				err = smtp.NewClientLMTP(conn).SendMail(sender, []string{"anna@" + ours}, text(i))
			}
			answers <- err
		}()
	}
	for range messages {
		select {
		case <-neighbour.arrived:
		case err := <-answers:
			t.Fatalf("a message was answered before it was taken: %v", err)
		}
	}
	each := (inUse() - before) / int64(messages)
	close(neighbour.leave)
	for range messages {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	return each
}
