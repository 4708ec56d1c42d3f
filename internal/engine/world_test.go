package engine

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/mailtest"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/providers"
	"github.com/pec-operator/pec-operator/internal/settings"
)

const (
	ours   = "pec.uno.test"
	theirs = "pec.due.test"
	sender = "mario@" + ours
)

// keys are the signing certificates of two providers under one root, made once: RSA keys are slow to make.
var keys = sync.OnceValue(func() (k struct {
	root          *x509.Certificate
	rootKey       *rsa.PrivateKey
	certs, signer map[string][]byte // PEM, by domain
	leaves        map[string]*x509.Certificate
}) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	rootKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test root"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, rootKey.Public(), rootKey)
	must(err)
	k.rootKey = rootKey
	k.root, err = x509.ParseCertificate(der)
	must(err)
	k.certs, k.signer, k.leaves = map[string][]byte{}, map[string][]byte{}, map[string]*x509.Certificate{}
	for i, domain := range []string{ours, theirs} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		must(err)
		leaf := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: domain}, NotBefore: template.NotBefore, NotAfter: template.NotAfter,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}, EmailAddresses: []string{"posta-certificata@" + domain}}
		der, err := x509.CreateCertificate(rand.Reader, leaf, k.root, key.Public(), rootKey)
		must(err)
		k.leaves[domain], err = x509.ParseCertificate(der)
		must(err)
		k.certs[domain] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		k.signer[domain] = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	}
	return k
})

// world is a pod around an engine: the disk that outlives a crash, and doubles of Postfix and Dovecot on loopback that keep
// what they answered 250 for, as the real ones do.
type world struct {
	// kicks are whose sessions were ended; fail is a Dovecot that does not answer, and hangs whom it answers nothing for.
	kicks struct {
		sync.Mutex
		of          []string
		deactivated []string // whose scripts were
		fail        bool
		hangs       string
	}
	t        testing.TB
	domain   string
	settings settings.Engine
	engine   *Engine
	now      time.Time
	ticks    sync.Mutex // guards now where an engine runs beside the test

	mu       sync.Mutex
	queues   int
	queue    []queued            // Postfix' queue
	outside  []message           // what left for other servers
	inside   []message           // what was put back for mailboxes of the house
	store    map[string][][]byte // Dovecot's mailboxes
	lmtpFail error               // the next delivery gets this answer after DATA
	lmtpRcpt func() error        // answers the next recipient
	clamdOff bool                // the scanner closes its connections
	shown    int                 // messages that the spam filter was asked about
	dovecot  string              // the address of a real one, "" for the double
	room     bool                // the full mailbox was given some
	alone    bool                // no operator places anything at the next start
	merges   func(ctx context.Context, user string) error
}

type queued struct {
	id    string
	point string // access or incoming
	mail
}

func newWorld(t testing.TB) *world { return newWorldOf(t, ours) }

// newWorldOf is the world of one of the two providers.
func newWorldOf(t testing.TB, domain string) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, domain: domain, store: map[string][][]byte{}, now: time.Now().Truncate(time.Second)}
	definitions := filepath.Join(dir, "definitions")
	if err := os.Mkdir(definitions, 0o755); err != nil {
		t.Fatal(err)
	}
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	entry := func(domain string) providers.Entry {
		return providers.Entry{IndexEntry: pec.IndexEntry{Name: "Gestore " + domain, MailReceipt: "ricevute@" + domain, Domains: []string{domain}}, Certificates: []*x509.Certificate{keys().leaves[domain]}}
	}
	w.settings = settings.Engine{
		Site: "a", Domain: domain, Hostname: "mx.uno.test",
		Provider:  settings.Provider{Name: "Gestore " + domain, MailDomain: domain, MailReceipt: "ricevute@" + domain, ServiceAddress: "posta-certificata@" + domain},
		Limits:    settings.Limits{MaxRecipients: 10, MaxMessageSize: 1 << 20, MaxSizeTimesRecipients: 10 << 20},
		Next:      settings.Next{Reinject: w.serve(false), LMTP: w.serve(true)},
		Rspamd:    w.serveRspamd(),
		Antivirus: settings.Antivirus{Clamd: w.serveClamd(), Definitions: definitions, MaxAgeMinutes: 60},
		Files: settings.Files{
			State:       filepath.Join(dir, "state"),
			SigningCert: file("tls.crt", keys().certs[domain]), SigningKey: file("tls.key", keys().signer[domain]),
			ProvidersIndex: file("index.ldif", providers.Format([]providers.Entry{entry(ours), entry(theirs)})),
			ProvidersRoots: file("roots.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: keys().root.Raw})),
		},
	}
	file(filepath.Join("definitions", "test.ndb"), []byte(virus))
	w.start()
	return w
}

// virus is what the scanner's double finds.
const virus = "QUESTO-E-UN-VIRUS-DI-PROVA"

// serveClamd is a scanner that speaks clamd's protocol; the real one is asked in internal/antivirus.
func (w *world) serveClamd() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			w.answerScan(conn)
		}
	}()
	return l.Addr().String()
}

func (w *world) answerScan(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	w.mu.Lock()
	off := w.clamdOff
	w.mu.Unlock()
	if command, _ := r.ReadString(0); off {
		return
	} else if command != "zINSTREAM\x00" {
		_, _ = io.WriteString(conn, "ClamAV 0 (double)\x00")
		return
	}
	var content bytes.Buffer
	for {
		var size uint32
		if err := binary.Read(r, binary.BigEndian, &size); err != nil {
			return
		}
		if size == 0 {
			break
		}
		if _, err := io.CopyN(&content, r, int64(size)); err != nil {
			return
		}
	}
	answer := "stream: OK\x00"
	if bytes.Contains(content.Bytes(), []byte(virus)) {
		answer = "stream: Test.Virus FOUND\x00"
	}
	_, _ = io.WriteString(conn, answer)
}

// The marks that the spam filter's double goes by.
const (
	suspectMark = "FORSE-INDESIDERATA"
	certainMark = "CERTO-INDESIDERATA"
)

// serveRspamd is a filter that answers as rspamd; the real one is asked in internal/stack.
func (w *world) serveRspamd() string {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ping" {
			_, _ = io.WriteString(rw, "pong\r\n")
			return
		}
		raw, _ := io.ReadAll(r.Body)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.shown++
		action := "no action"
		switch {
		case bytes.Contains(raw, []byte(certainMark)):
			action = "reject"
		case bytes.Contains(raw, []byte(suspectMark)):
			action = "add header"
		}
		_, _ = fmt.Fprintf(rw, `{"action":%q,"score":7.25,"symbols":{"PROVA":{"score":7.25}}}`, action)
	}))
	w.t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// start opens a new engine on the disk that is there.
func (w *world) start() {
	w.t.Helper()
	if err := prepare(context.Background(), w.settings); err != nil {
		w.t.Fatal(err)
	}
	e, err := New(context.Background(), w.settings, w.time, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		w.t.Fatal(err)
	}
	e.doveadmHTTP = w
	if w.dovecot != "" {
		e.doveadmHTTP = newDoveadmHTTP("http://"+w.dovecot+":24280", func() (string, error) { return mailtest.DoveadmKey, nil })
	}
	w.engine = e
	w.t.Cleanup(func() { _ = e.Close() })
	if !w.alone {
		w.placeAll()
	}
}

// placeAll is what the operator does at a start.
func (w *world) placeAll() {
	w.t.Helper()
	e := w.engine
	for name, row := range map[string]admin.Mailbox{
		"mario": {Access: admin.AccessFull}, "anna": {Access: admin.AccessFull}, "sospesa": {Access: admin.AccessSuspended},
		"piena":  {Access: admin.AccessFull, OrdinaryMail: admin.OrdinaryDeliver},
		"aperta": {Access: admin.AccessFull, OrdinaryMail: admin.OrdinaryDeliver},
		"altra":  {Access: admin.AccessFull, OrdinaryMail: admin.OrdinaryDeliver},
		"avanti": {Access: admin.AccessFull, OrdinaryMail: admin.OrdinaryForward, ForwardTo: "casa@ordinaria.test"},
	} {
		row.Address, row.Domain, row.Password, row.CredentialsVersion, row.QuotaBytes = name+"@"+w.domain, w.domain, "{BLF-CRYPT}$2y$05$x", "1", 1<<20
		if there, err := e.directory.Mailbox(context.Background(), row.Address); err == nil && !there.Restored {
			continue // on the disk that outlived the crash
		}
		if _, err := e.directory.PutMailbox(context.Background(), row); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := e.putWhole(httptest.NewRequest(http.MethodPut, "/", nil)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) time() time.Time {
	w.ticks.Lock()
	defer w.ticks.Unlock()
	return w.now
}

// crash ends the engine as SIGKILL would, and starts another one.
func (w *world) crash() {
	_ = w.engine.Close()
	w.start()
}

// serve is Postfix' re-injection port or Dovecot's LMTP port.
func (w *world) serve(lmtp bool) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &neighbour{world: w, lmtp: lmtp}, nil }))
	server.LMTP, server.EnableDSN, server.Domain = lmtp, !lmtp, "neighbour"
	server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo) // of an engine that is killed in the middle of a message
	go func() { _ = server.Serve(l) }()
	w.t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

type neighbour struct {
	world *world
	lmtp  bool
	m     message
}

func (n *neighbour) Reset()        { n.m = message{} }
func (n *neighbour) Logout() error { return nil }

func (n *neighbour) Mail(from string, o *smtp.MailOptions) error {
	n.m = message{from: from, envid: o.EnvelopeID}
	return nil
}

func (n *neighbour) Rcpt(to string, _ *smtp.RcptOptions) error {
	if n.lmtp && n.world.isFull(to) {
		return &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 2, 2}, Message: "Quota exceeded"}
	}
	if !n.lmtp && strings.HasPrefix(to, "storto@") {
		return &smtp.SMTPError{Code: 501, EnhancedCode: smtp.EnhancedCode{5, 1, 3}, Message: "Bad recipient address syntax"}
	}
	n.m.to = to
	if n.lmtp {
		return n.world.answerRcpt()
	}
	return nil
}

func (w *world) answerRcpt() error {
	w.mu.Lock()
	answer := w.lmtpRcpt
	w.lmtpRcpt = nil
	w.mu.Unlock()
	if answer == nil {
		return nil
	}
	return answer()
}

// isFull says whether Dovecot has no room for a mailbox.
func (w *world) isFull(mailbox string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.room && strings.HasPrefix(mailbox, "piena@")
}

func (n *neighbour) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	n.m.bytes = raw
	if err == nil && n.lmtp {
		err = n.world.stored(n.m)
	} else if err == nil && strings.HasPrefix(n.m.to, "giri@") {
		err = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 4, 0}, Message: "Error: too many hops"}
	} else if err == nil {
		n.world.relayed(n.m)
	}
	return err
}

func (w *world) stored(m message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lmtpFail != nil {
		err := w.lmtpFail
		w.lmtpFail = nil
		return err
	}
	w.store[m.to] = append(w.store[m.to], m.bytes)
	return nil
}

// relayed is what Postfix does with a message: for a local domain into the queue, else out of the building.
func (w *world) relayed(m message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m.bytes = append(m.top, m.bytes...)
	if domainOf(m.to) != w.domain {
		w.outside = append(w.outside, m)
		return
	}
	w.inside = append(w.inside, m)
	w.enqueue("incoming", m.from, []string{m.to}, m.bytes)
}

// enqueue puts a message into Postfix' queue.
func (w *world) enqueue(point, from string, rcpts []string, raw []byte) string {
	id := w.newQueueID()
	w.enqueueAs(id, point, from, rcpts, raw)
	return id
}

func (w *world) newQueueID() string {
	w.queues++
	return fmt.Sprintf("4jX5CV%04dzmF", w.queues)
}

// enqueueAs puts a message there that a client sent, or, without a sender, that Postfix wrote.
func (w *world) enqueueAs(id, point, from string, rcpts []string, raw []byte) {
	m := handed(id, from, rcpts, string(raw))
	if from == "" {
		m.raw = append(fmt.Appendf(nil, "Received: by mx.uno.test (Postfix)\r\n\tid %s; Sat, 21 Nov 2026 22:00:00 +0100 (CET)\r\n", id), raw...)
	}
	w.queue = append(w.queue, queued{id: id, point: point, mail: m})
}

// handed is what Postfix hands over of what a client sent, with the Received field on top that Postfix puts there.
func handed(queueID, from string, rcpts []string, text string) mail {
	trace := fmt.Sprintf("Received: from client.test (unknown [192.0.2.1])\r\n\tby mx.uno.test (Postfix) with ESMTPSA id %s;\r\n\tSat, 21 Nov 2026 22:00:00 +0100 (CET)\r\n", queueID)
	return mail{from: from, rcpts: rcpts, raw: []byte(trace + text)}
}

// submit is a message that the submission port took: the milter recorded it.
func (w *world) submit(from string, rcpts []string, raw string) string {
	w.t.Helper()
	id := w.enqueue("access", from, rcpts, []byte(raw))
	if answer := w.engine.judgeTransaction(id, transaction{Port: portSubmission, User: from, From: from, Recipients: rcpts}, nil); answer != "" {
		w.t.Fatalf("the milter answered %q", answer)
	}
	return id
}

// run hands the queue over until it is empty or rounds are used up; what is not answered 250 stays, for these recipients.
func (w *world) run(rounds int) {
	var why error
	for range rounds {
		w.mu.Lock()
		if len(w.queue) == 0 {
			w.mu.Unlock()
			return
		}
		q := w.queue[0]
		w.mu.Unlock()
		handle := w.engine.incoming
		if q.point == "access" {
			handle = w.engine.access
		}
		var left []string
		for i, err := range handle(q.mail) {
			if err != nil {
				left = append(left, q.rcpts[i])
				why = err
			}
		}
		w.mu.Lock()
		w.queue = w.queue[1:]
		if q.rcpts = left; len(left) > 0 {
			w.queue = append(w.queue, q)
		}
		w.mu.Unlock()
	}
	w.t.Errorf("the queue is not empty after %d rounds: %v", rounds, why)
}

// has, kick and sync are Dovecot's HTTP API.
func (w *world) has(user, key string) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, raw := range w.store[user] {
		if bytes.Contains(raw, []byte(key)) {
			return true, nil
		}
	}
	return false, nil
}

func (w *world) kick(ctx context.Context, user string) error {
	w.kicks.Lock()
	defer w.kicks.Unlock()
	if w.kicks.hangs == user {
		w.kicks.Unlock()
		<-ctx.Done()
		w.kicks.Lock()
		return ctx.Err()
	}
	if w.kicks.fail {
		return errors.New("Dovecot does not answer")
	}
	w.kicks.of = append(w.kicks.of, user)
	return nil
}

func (w *world) deactivate(_ context.Context, user string) error {
	w.kicks.Lock()
	defer w.kicks.Unlock()
	if w.kicks.fail {
		return errors.New("Dovecot does not answer")
	}
	w.kicks.deactivated = append(w.kicks.deactivated, user)
	return nil
}

// deactivated are whose scripts were.
func (w *world) deactivated() []string {
	w.kicks.Lock()
	defer w.kicks.Unlock()
	return slices.Clone(w.kicks.deactivated)
}

// kicked are whose sessions were ended, in order.
func (w *world) kicked() []string {
	w.kicks.Lock()
	defer w.kicks.Unlock()
	return slices.Clone(w.kicks.of)
}

// deafDovecot is one that ends no sessions, or does again.
func (w *world) deafDovecot(deaf bool) {
	w.kicks.Lock()
	defer w.kicks.Unlock()
	w.kicks.fail = deaf
}

func (w *world) sync(ctx context.Context, user, _ string) error {
	if w.merges == nil {
		return nil
	}
	return w.merges(ctx, user)
}

// titles lists what a mailbox holds as "type subject", sorted by arrival.
func (w *world) titles(mailbox string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := []string{}
	for _, raw := range w.store[mailbox] {
		list = append(list, title(w.t, raw))
	}
	return list
}

func title(t testing.TB, raw []byte) string {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return m.Header.Get("X-Ricevuta") + m.Header.Get("X-Trasporto")
}

func messageIDOf(t testing.TB, raw []byte) string {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return m.Header.Get("Message-ID")
}

// letter is what a client submits.
func letter(from, to, extra string) string {
	return "From: " + from + "\r\nTo: " + to + "\r\n" + extra + "Subject: Prova\r\nMessage-ID: <1@client.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n\r\nCiao\r\n"
}

// foreignEnvelope is an envelope of the other provider, for one of our mailboxes.
func foreignEnvelope(t testing.TB, from, to, queueID string) (identifier string, raw []byte) {
	t.Helper()
	return foreignEnvelopeOf(t, from, to, queueID, letter(from, to, ""))
}

func foreignEnvelopeOf(t testing.TB, from, to, queueID, text string) (identifier string, raw []byte) {
	t.Helper()
	signer, provider := other(t)
	original, err := pec.ParseOriginal([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	identifier = pec.Identifier("x", queueID, theirs)
	raw, err = signer.Envelope(provider, original.Transit(identifier, from, []string{to}, func(string) bool { return true }), original, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return identifier, raw
}

// other is the other provider.
func other(t testing.TB) (*pec.Signer, pec.Provider) {
	t.Helper()
	signer, err := pec.NewSigner(keys().certs[theirs], keys().signer[theirs])
	if err != nil {
		t.Fatal(err)
	}
	return signer, pec.Provider{Name: "Gestore " + theirs, MailDomain: theirs, ServiceAddress: "posta-certificata@" + theirs}
}

// sentTo is a message of ours to one mailbox of the other provider.
func sentTo(identifier, from, subject string) (pec.Transit, string) {
	rcpt := "anna@" + theirs
	return pec.Transit{Identifier: identifier, Sender: from, Subject: subject, Receipt: pec.ReceiptFull, Recipients: []pec.Recipient{{Address: rcpt, Certified: true}}}, rcpt
}

// foreignReceipt is the other provider's delivery receipt, with the message in it if one is given.
func foreignReceipt(t testing.TB, identifier, from, message string) []byte {
	t.Helper()
	signer, provider := other(t)
	transit, rcpt := sentTo(identifier, from, "Prova")
	var postacert []byte
	if message != "" {
		postacert = []byte(message)
	}
	raw, err := signer.Delivery(provider, transit, "consegna."+identifier, rcpt, postacert, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// foreignTakeCharge is the other provider's word that it has a message.
func foreignTakeCharge(t testing.TB, identifier, from, subject string) []byte {
	t.Helper()
	signer, provider := other(t)
	transit, rcpt := sentTo(identifier, from, subject)
	raw, err := signer.TakeCharge(provider, transit, "presa."+identifier, "ricevute@"+ours, []string{rcpt}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
