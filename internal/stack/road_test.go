package stack

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-milter"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"golang.org/x/crypto/bcrypt"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
)

const password = "a long enough password"

// pod is the rendered pod of the test's domain, with what stands around it.
type pod struct {
	*node
	spec      corev1.PodSpec
	directory *directory.Directory
	engine    *engineStandIn
}

// newPod renders the pod, gives it its Secrets, and does what prepare and the engine do before the others start.
func newPod(t *testing.T, n *node) *pod {
	t.Helper()
	d, s := makeDomain(), makeSettings()
	objects, err := Objects(d, s)
	n.must(err)
	p := &pod{node: n}
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.ConfigMap:
			n.data[o.Name] = o.Data
		case *appsv1.StatefulSet:
			p.spec = o.Spec.Template.Spec
		}
	}
	cert, key := selfSigned(t)
	n.data[d.Spec.Provider.Managed.TLS.SecretName] = map[string]string{"tls.crt": cert, "tls.key": key}
	n.data[NamesFor(d.Name).EngineSecret] = map[string]string{"doveadm.conf": "doveadm_password = secret-one\ndoveadm_api_key = secret-two\n"}
	p.openDirectory()
	p.engine = startEngineStandIn(t)
	return p
}

func (p *pod) openDirectory() {
	p.t.Helper()
	ctx := context.Background()
	dir := filepath.Join(p.volumePath(p.spec, volumeEngine), directoryName)
	d, err := directory.Open(ctx, dir)
	p.must(err)
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	p.must(err)
	p.must(d.PutDomain(ctx, domain))
	for name, access := range map[string]admin.Access{
		"full": admin.AccessFull, "other": admin.AccessFull, "readonly": admin.AccessReadOnly, "suspended": admin.AccessSuspended, "closed": admin.AccessClosed,
	} {
		_, err := d.PutMailbox(ctx, admin.Mailbox{
			Address: name + "@" + domain, Domain: domain, Password: "{BLF-CRYPT}" + string(hash), CredentialsVersion: "1", QuotaBytes: 1 << 20, Access: access,
		})
		p.must(err)
	}
	p.must(filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Chown(path, mailID, mailID))
	}))
	p.directory = d
}

func (p *pod) container(name string) corev1.Container {
	for _, c := range p.spec.Containers {
		if c.Name == name {
			return c
		}
	}
	p.t.Fatalf("no container %s", name)
	return corev1.Container{}
}

// started starts a container and waits for its ports.
func (p *pod) started(name string) *running {
	p.t.Helper()
	c := p.container(name)
	r := p.start(p.spec, c)
	for _, port := range c.Ports {
		if err := waitPort(int(port.ContainerPort), r.done); err != nil {
			p.t.Fatalf("%s: port %s: %v\n%s", name, port.Name, err, r.output)
		}
	}
	return r
}

// waitPort waits until a port is open, the program is gone, or 20 seconds are over.
func waitPort(port int, gone <-chan struct{}) error {
	for end := time.Now().Add(20 * time.Second); ; {
		conn, err := net.Dial("tcp", loopback(port))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-gone:
			return errors.New("the program ended")
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(end) {
			return err
		}
	}
}

// delivery is one LMTP transaction that Postfix made with the engine.
type delivery struct {
	port int
	from string
	to   []string
	text string
}

// engineStandIn listens where the engine does: LMTP on the access and incoming ports, milters on theirs. It takes everything,
// except for recipients with the local part "refused".
type engineStandIn struct {
	deliveries chan delivery
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
	for _, port := range []int{portMilterMX, portMilterSubmit} {
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			t.Fatal(err)
		}
		s := &milter.Server{NewMilter: func() milter.Milter { return &standInMilter{engine: e, port: port} }}
		go func() { _ = s.Serve(l) }()
	}
	return e
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

func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stack test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", pkcs8)
}

// unverified is what the clients of these tests use: what is under test is the pod, and its certificate is made a moment before.
func unverified() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

func loginIMAP(user, pass string) (*imapclient.Client, error) {
	c, err := imapclient.DialTLS(loopback(portIMAPS), &imapclient.Options{TLSConfig: unverified()})
	if err != nil {
		return nil, err
	}
	return c, c.Login(user, pass).Wait()
}

func TestDovecot(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPod(t, n)
		dovecot := p.started("dovecot")
		defer dovecot.stop()

		c, err := loginIMAP("full@"+domain, password)
		if err != nil {
			t.Fatalf("login: %v\n%s", err, dovecot.output)
		}
		if _, err := c.Select("INBOX", nil).Wait(); err != nil {
			t.Fatalf("select: %v\n%s", err, dovecot.output)
		}
		_ = imap.ConnStateAuthenticated
		t.Logf("%s", dovecot.output)
	})
}

func TestPostfix(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPod(t, n)
		dovecot := p.started("dovecot")
		defer dovecot.stop()
		postfix := p.started("postfix")
		defer postfix.stop()

		c, err := smtp.DialTLS(loopback(portSubmissions), unverified())
		n.must(err)
		if err := c.Auth(sasl.NewPlainClient("", "full@"+domain, password)); err != nil {
			t.Fatalf("auth: %v\n%s\n%s", err, postfix.output, dovecot.output)
		}
		if err := c.SendMail("full@"+domain, []string{"a@altro.test", "b@altro.test"}, strings.NewReader("Subject: x\r\n\r\nbody\r\n")); err != nil {
			t.Fatalf("submission: %v\n%s", err, postfix.output)
		}
		t.Logf("%+v", p.engine.next(t, postfix.output))
		m, err := smtp.Dial(loopback(portMX))
		n.must(err)
		if err := m.SendMail("x@remote.test", []string{"nobody@" + domain}, strings.NewReader("Subject: x\r\n\r\nbody\r\n")); err != nil {
			t.Fatalf("mx: %v\n%s", err, postfix.output)
		}
		t.Logf("%+v", p.engine.next(t, postfix.output))
		t.Logf("%v", p.engine.macros)
		t.Logf("%s", postfix.output)
		t.Logf("%s", dovecot.output)
		_ = bytes.Equal
	})
}
