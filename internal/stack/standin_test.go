package stack

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-milter"
	"github.com/emersion/go-smtp"
)

// delivery is one LMTP transaction that Postfix made with the engine.
type delivery struct {
	port int
	from string
	to   []string
	text string
}

// engineStandIn listens where the engine does: LMTP on the access and incoming ports, milters on theirs, and where
// Dovecot asks of logins. It takes everything, except for recipients with the local part "refused".
type engineStandIn struct {
	deliveries chan delivery
	servers    []*milter.Server
	mu         sync.Mutex
	macros     map[int]map[string]string // of the last end of message, by port
}

func startEngineStandIn(t *testing.T) *engineStandIn {
	t.Helper()
	e := &engineStandIn{deliveries: make(chan delivery, 16), macros: map[int]map[string]string{}}
	for _, port := range []int{portAccess, portIncoming} {
		s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &standInSession{engine: e, port: port}, nil }))
		s.LMTP, s.Domain, s.MaxLineLength, s.Addr, s.Network = true, "engine.test", 1<<20, loopback(port), "tcp"
		l, err := net.Listen("tcp", s.Addr)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.Serve(l) }()
	}
	e.milters(t, true)
	standInForPolicy(t, true)
	return e
}

// milters starts or ends both milters.
func (e *engineStandIn) milters(t *testing.T, on bool) {
	t.Helper()
	for _, s := range e.servers {
		_ = s.Close()
	}
	e.servers = nil
	if !on {
		return
	}
	for _, port := range []int{portMilterMX, portMilterSubmit} {
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			t.Fatal(err)
		}
		s := &milter.Server{NewMilter: func() milter.Milter { return &standInMilter{engine: e, port: port} }}
		e.servers = append(e.servers, s)
		go func() { _ = s.Serve(l) }()
	}
}

// macro is what the milter of a port was told last.
func (e *engineStandIn) macro(port int, name string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.macros[port][name]
}

type standInMilter struct {
	milter.NoOpMilter
	engine *engineStandIn
	port   int
	seen   map[string]string
}

// Connect keeps the macros of the connection, which a milter gets only then.
func (m *standInMilter) Connect(_, _ string, _ uint16, _ net.IP, mod *milter.Modifier) (milter.Response, error) {
	m.seen = map[string]string{}
	return milter.RespContinue, m.keep(mod)
}

func (m *standInMilter) MailFrom(_ string, mod *milter.Modifier) (milter.Response, error) {
	return milter.RespContinue, m.keep(mod)
}

func (m *standInMilter) Body(mod *milter.Modifier) (milter.Response, error) {
	_ = m.keep(mod)
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	m.engine.macros[m.port] = m.seen
	return milter.RespAccept, nil
}

func (m *standInMilter) keep(mod *milter.Modifier) error {
	for k, v := range mod.Macros {
		m.seen[k] = v
	}
	return nil
}

type standInSession struct {
	engine *engineStandIn
	port   int
	from   string
	to     []string
}

func (s *standInSession) Reset()        { s.from, s.to = "", nil }
func (s *standInSession) Logout() error { return nil }

func (s *standInSession) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

func (s *standInSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "refused") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "refused by the test"}
	}
	s.to = append(s.to, to)
	return nil
}

func (s *standInSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	s.engine.deliveries <- delivery{s.port, s.from, s.to, string(text)}
	return err
}

// next is the next transaction, or a failure after 15 seconds.
func (e *engineStandIn) next(t *testing.T, log *lockedBuffer) delivery {
	t.Helper()
	select {
	case d := <-e.deliveries:
		return d
	case <-time.After(15 * time.Second):
		t.Fatalf("nothing came to the engine\n%s", log)
		return delivery{}
	}
}

func (e *engineStandIn) none(t *testing.T) {
	t.Helper()
	select {
	case d := <-e.deliveries:
		t.Fatalf("the engine got what it should not: %+v", d)
	case <-time.After(time.Second):
	}
}
