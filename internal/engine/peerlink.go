package engine

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
	"github.com/pec-operator/pec-operator/internal/store"
)

// The peer link carries what two engines of one domain say to each other, over TLS in which each shows the certificate of its
// own site's CA. A connection is for one thing, which the dialer names; the other end answers "ok" or a reason. After
// "sync <mailbox>" both are a pipe between the two Dovecots: doveadm is full power over all mail, so no password of it leaves a
// pod, and nothing but the dsync of one mailbox that both directories hold gets through. "digest <mailbox>" is in compare.go,
// "records" in replicate.go, "copies" in copies.go.
const (
	verbSync        = "sync "
	peerOK          = "ok"
	peerDialTimeout = 5 * time.Second
)

// errUnknownRequest is answered to an engine of a later release.
var errUnknownRequest = errors.New("unknown request")

// trustedPeer is the peer of the directory and the pool to verify it with.
func (e *Engine) trustedPeer(ctx context.Context) (admin.Peer, *x509.CertPool, error) {
	peer, _, err := e.directory.Peer(ctx)
	if err != nil {
		return peer, nil, err
	}
	if peer.Site == "" {
		return peer, nil, errors.New("no peer is configured")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(peer.CABundle)) {
		return peer, nil, fmt.Errorf("peer %s: its CA bundle holds no certificate", peer.Site)
	}
	return peer, pool, nil
}

// peerTLS verifies the other engine by its URI. Host names play no part: they are the customer's, and may change.
func (e *Engine) peerTLS(ctx context.Context, usage x509.ExtKeyUsage) (*tls.Config, admin.Peer, error) {
	peer, pool, err := e.trustedPeer(ctx)
	if err != nil {
		return nil, peer, err
	}
	id, err := e.identity.Get()
	if id == nil {
		return nil, peer, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{id.certificate},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true, //nolint:gosec // replaced by the stricter check of VerifyConnection
		VerifyConnection: func(state tls.ConnectionState) error {
			return verifyURI(state, pool, usage, admin.EngineURI(peer.Site, e.settings.Domain), e.now())
		},
	}, peer, nil
}

// tenure lasts while one peer is configured. When it ends, what is open with that peer is closed: once let in, it would go on asking
// for ever.
type tenure struct {
	mu    sync.Mutex
	lasts context.Context
	over  context.CancelFunc
}

// within is ctx, until the tenure ends. done lets go of it.
func (t *tenure) within(ctx context.Context) (within context.Context, done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lasts == nil {
		t.lasts, t.over = context.WithCancel(context.Background())
	}
	within, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(t.lasts, cancel)
	return within, func() { stop(); cancel() }
}

func (t *tenure) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lasts != nil {
		t.over()
		t.lasts = nil
	}
}

// servePeer answers the other site's engine.
func (e *Engine) servePeer(ctx context.Context, l net.Listener) error {
	config := &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		config, _, err := e.peerTLS(ctx, x509.ExtKeyUsageClientAuth)
		return config, err
	}}
	return e.serveConns(ctx, l, "answering the peer", func(conn net.Conn) error {
		within, done := e.tenure.within(ctx)
		defer done()
		defer context.AfterFunc(within, func() { _ = conn.Close() })()
		return e.answerPeer(within, tls.Server(conn, config))
	})
}

func (e *Engine) answerPeer(ctx context.Context, conn net.Conn) error {
	remote := newWire(conn)
	_ = conn.SetDeadline(time.Now().Add(wireHandshake))
	line, err := remote.readLine()
	if err != nil {
		return err
	}
	if line == verbRecords || line == verbCopies {
		return e.answerReplica(ctx, remote, line)
	}
	if mailbox, ok := strings.CutPrefix(line, verbDigest); ok {
		return e.answerDigest(ctx, remote, mailbox)
	}
	dovecot, err := e.openDsync(ctx, line)
	if err != nil {
		_ = remote.writeLine(err.Error())
		return err
	}
	defer func() { _ = dovecot.Close() }()
	if err := remote.writeLine(peerOK); err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Time{})
	splice(remote, dovecot)
	return nil
}

func (e *Engine) answerReplica(ctx context.Context, w *wire, verb string) error {
	if err := w.writeLine(peerOK); err != nil {
		return err
	}
	if verb == verbRecords {
		return e.answerRecords(ctx, w)
	}
	return e.answerCopies(w)
}

// openDsync checks a request and begins the dsync of that one mailbox with our own Dovecot.
func (e *Engine) openDsync(ctx context.Context, request string) (*wire, error) {
	mailbox, ok := strings.CutPrefix(request, verbSync)
	if !ok {
		return nil, errUnknownRequest
	}
	row, err := e.directory.Mailbox(ctx, mailbox)
	if err != nil {
		return nil, err
	}
	if err := e.readyToMerge(ctx, row.Address); err != nil {
		return nil, err
	}
	password, err := e.doveadmPassword.Get()
	if password == "" {
		return nil, err
	}
	conn, err := net.DialTimeout("tcp", e.settings.Next.Doveadm, peerDialTimeout)
	if err != nil {
		return nil, fmt.Errorf("reaching dovecot: %w", err)
	}
	_ = conn.SetDeadline(time.Now().Add(wireHandshake))
	w := newWire(conn)
	if err := startDsync(w, password, row.Address); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("starting dsync: %w", err)
	}
	_ = conn.SetDeadline(time.Time{})
	return w, nil
}

// serveSyncDestination is where our own Dovecot syncs to, as if the other site's Dovecot were here.
func (e *Engine) serveSyncDestination(ctx context.Context, l net.Listener) error {
	return e.serveConns(ctx, l, "carrying a sync", func(conn net.Conn) error { return e.carrySync(ctx, newWire(conn)) })
}

func (e *Engine) carrySync(ctx context.Context, local *wire) error {
	password, err := e.doveadmPassword.Get()
	if password == "" {
		return err
	}
	_ = local.SetDeadline(time.Now().Add(wireHandshake))
	user, err := acceptDsync(local, password)
	if err != nil {
		return err
	}
	within, done := e.tenure.within(ctx)
	defer done()
	remote, _, err := e.dialPeer(within, verbSync+user)
	if err != nil {
		e.linkFaults.Store(user, err)
		_ = local.writeLine("\n-TEMPFAIL")
		return err
	}
	defer func() { _ = remote.Close() }()
	defer context.AfterFunc(within, func() { _ = remote.Close() })()
	if err := local.writeLine("\n+"); err != nil {
		return err
	}
	_ = local.SetDeadline(time.Time{})
	splice(local, remote)
	return nil
}

// readyToMerge makes the folder of the deleted. A merge renumbers by copy and expunge, and one that has to make that folder first fails
// between the two: a message would then stand there twice. Nor does a merge begin before a former holder's script is deactivated here: the
// other site takes one that ended for the word of that (syncMailbox).
func (e *Engine) readyToMerge(ctx context.Context, mailbox string) error {
	if former, err := e.directory.FormerScript(ctx, mailbox); err != nil || former == directory.ScriptActive {
		return cmp.Or(err, fmt.Errorf("merging %s: the former holder's script is to be deactivated first", mailbox))
	}
	if _, done := e.mergeable.Load(mailbox); done {
		return nil
	}
	if err := e.makeFolder(ctx, mailbox, store.Expunged); err != nil {
		return fmt.Errorf("making folder %s of %s: %w", store.Expunged, mailbox, err)
	}
	e.mergeable.Store(mailbox, true)
	return nil
}

// syncMailbox has our Dovecot sync a mailbox through the link. Dovecot's answer holds no reason, so what went wrong on the
// link, if it was that, is added.
func (e *Engine) syncMailbox(ctx context.Context, mailbox string) error {
	former, err := e.directory.FormerScript(ctx, mailbox)
	if err == nil {
		err = e.readyToMerge(ctx, mailbox)
	}
	if err != nil {
		return err
	}
	err = e.doveadmHTTP.sync(ctx, mailbox, e.settings.Listen.SyncDestination)
	if fault, ok := e.linkFaults.LoadAndDelete(mailbox); ok && err != nil {
		err = fmt.Errorf("%w (%w)", err, fault.(error))
	}
	if err == nil && former == directory.ScriptEndedThere {
		err = e.directory.ScriptsDeactivated(ctx, []string{mailbox})
	}
	return err
}

// dialPeer opens a connection for one thing.
func (e *Engine) dialPeer(ctx context.Context, request string) (*wire, admin.Peer, error) {
	config, peer, err := e.peerTLS(ctx, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, peer, err
	}
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: peerDialTimeout}, Config: config}
	conn, err := dialer.DialContext(ctx, "tcp", peer.Address)
	if err != nil {
		return nil, peer, fmt.Errorf("reaching the peer %s: %w", peer.Address, err)
	}
	_ = conn.SetDeadline(time.Now().Add(wireHandshake))
	w := newWire(conn)
	answer := ""
	if err = w.writeLine(request); err == nil {
		answer, err = w.readLine()
	}
	if err == nil && answer != peerOK {
		err = errors.New(answer)
	}
	if err != nil {
		_ = conn.Close()
		return nil, peer, fmt.Errorf("asking the peer %s for %s: %w", peer.Address, request, err)
	}
	_ = conn.SetDeadline(time.Time{})
	return w, peer, nil
}

// serveConns answers each connection on its own until the context ends; open ones are cut then.
func (e *Engine) serveConns(ctx context.Context, l net.Listener, doing string, answer func(net.Conn) error) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		go func() {
			defer func() { _ = conn.Close() }()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			if err := answer(conn); err != nil {
				e.log.Warn(doing, "remote", conn.RemoteAddr().String(), "error", err)
			}
		}()
	}
}
