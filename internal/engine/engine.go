package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-milter"
	"github.com/emersion/go-smtp"
	"golang.org/x/sync/errgroup"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/providers"
	"github.com/pec-operator/pec-operator/internal/settings"
)

// In this package a mutex guards the fields below it, to the end of its struct, unless it says otherwise.

// Engine is the certified-mail engine of one Managed domain at one site.
type Engine struct {
	settings settings.Engine
	now      func() time.Time
	log      *slog.Logger

	evidence  *evidence.Log
	journal   journal // the evidence log; apart, so that a test can crash the engine at any of its records
	logName   string  // this engine's own log, as the other site knows it
	mirrors   *mirrors
	replica   *replica
	later     retries
	custody   *evidence.Custody
	directory *directory.Directory

	signer          *reloading[*pec.Signer]
	identity        *reloading[*identity]
	doveadmPassword *reloading[string]
	doveadmKey      *reloading[string]
	holderTLS       *reloading[*tls.Certificate]
	index           providersIndex
	refresher       *providers.Refresher // nil when the index is not downloaded
	revocations     *providers.Revocations

	postfix     *relay
	lmtp        *relay
	doveadmHTTP dovecotAdmin
	doveadmTCP  *doveadmTCP
	sync        *syncer
	tenure      tenure
	comparisons *comparisons
	timers      timers
	sealer      *evidence.Sealer
	locks       locks
	metrics     *metrics
	// holders, standings, arrivals and senders are views of the log: what holders chose, how mailboxes stand, which arrivals
	// holders are to be told of, and what was accepted from whom. held is one too, of what waits for its mailbox, and
	// forwards of what mailboxes sent on. ages is a view of the mailboxes.
	holders     *holders
	standings   *standings
	arrivals    *arrivals
	senders     *senders
	ages        *ages
	held        held
	forwards    *forwards
	sentToday   *sentToday
	gate        *gate
	logins      *logins
	sessionEnds sessionEnds
	rowDigests  rowDigests
	doubles     doubles
	// recalled says that all is taken in that the logs of both sites held of mailboxes and holders when this engine's log began; before
	// that, records of the kinds keptBack wait (recall).
	recalled atomic.Bool
	// whole is Directory.Whole: by the operator's word, or by both sites' logs, the directory has every mailbox that it should have. While
	// neither whole nor recalled holds, no address is called unknown (isIncomplete).
	whole atomic.Bool
	// published is the index whose domains the directory holds.
	published struct {
		sync.Mutex
		index *providers.Index
	}
	// linkFaults holds, by mailbox, why the peer link did not carry its last sync.
	linkFaults sync.Map
	// mergeable are the mailboxes that have all that a merge needs.
	mergeable sync.Map
}

// providersIndex answers the last good index with its roots, nil if there never was one, and the error of the last reading.
type providersIndex interface {
	Get() (*providers.Index, *x509.CertPool, error)
}

// dovecotAdmin is what the engine asks of Dovecot's HTTP API. Messages are read and saved through doveadmTCP.
type dovecotAdmin interface {
	has(user, key string) (bool, error)
	kick(ctx context.Context, user string) error
	deactivate(ctx context.Context, user string) error
	usage(ctx context.Context, user string) (admin.Usage, error)
	sync(ctx context.Context, user, destination string) error
}

// The directories below settings.Files.State.
const (
	evidenceDir  = evidence.OwnDir
	custodyDir   = "custody"
	mirrorsDir   = evidence.MirrorsDir
	directoryDir = "directory"
	indexDir     = "index"
	// revocationsDir holds copies of what authorities publish; an engine without it fetches them again.
	revocationsDir = "revocations"
)

// New opens the engine's state and makes an engine that serves nothing yet. Secrets and the index are read at first use, and
// again when they change: an engine whose certificate is missing must live to say so.
func New(ctx context.Context, s settings.Engine, now func() time.Time, log *slog.Logger) (*Engine, error) {
	e := &Engine{settings: s, now: now, log: log, metrics: newMetrics(), timers: timers{open: map[timerKey]timer{}}, replica: newReplica(now()), held: held{all: map[string]heldMessage{}}}
	var err error
	if e.evidence, err = evidence.Open(filepath.Join(s.Files.State, evidenceDir), evidence.DefaultSegmentSize, now); err != nil {
		return nil, err
	}
	e.journal = e.evidence
	if e.custody, err = evidence.OpenCustody(filepath.Join(s.Files.State, custodyDir)); err != nil {
		return nil, errors.Join(err, e.evidence.Close())
	}
	if err := e.custody.Sweep(); err != nil { // the log is open, and so no other engine
		return nil, errors.Join(err, e.evidence.Close())
	}
	if e.directory, err = directory.Open(ctx, filepath.Join(s.Files.State, directoryDir)); err != nil {
		return nil, errors.Join(err, e.evidence.Close())
	}
	if err := e.prepareMirrors(filepath.Join(s.Files.State, mirrorsDir)); err != nil {
		return nil, errors.Join(err, e.directory.Close(), e.evidence.Close())
	}
	f := s.Files
	e.signer = newSigner(s)
	e.identity = newReloading(parseIdentity, f.AdminCert, f.AdminKey, f.AdminCA)
	e.doveadmPassword = newReloading(parseLine, f.DoveadmPassword)
	e.doveadmKey = newReloading(parseLine, f.DoveadmAPIKey)
	downloaded := filepath.Join(f.State, indexDir, "index.ldif")
	e.index = providers.NewFile(f.ProvidersRoots, now, downloaded, f.ProvidersIndex)
	if s.Index.URL == "" {
		e.index = providers.NewFile(f.ProvidersRoots, now, f.ProvidersIndex)
	} else {
		e.refresher = &providers.Refresher{Path: downloaded, Now: now, Source: e.indexSource}
	}
	if e.revocations, err = providers.OpenRevocations(filepath.Join(f.State, revocationsDir), now); err != nil {
		return nil, errors.Join(err, e.directory.Close(), e.evidence.Close())
	}
	e.postfix = newRelay(s.Next.Reinject, s.Hostname, false)
	e.lmtp = newRelay(s.Next.LMTP, s.Hostname, true)
	e.doveadmHTTP = newDoveadmHTTP(s.Next.DoveadmHTTP, e.doveadmKey.Get)
	e.doveadmTCP = &doveadmTCP{address: s.Next.Doveadm, password: e.doveadmPassword.Get}
	e.sync = e.newSyncer()
	e.comparisons = &comparisons{now: now, own: e.digest, theirs: e.peerDigest, again: e.sync.put, boxes: map[string]comparison{}}
	e.standings, e.gate, e.logins = newStandings(), newGate(e.isMailbox), newLogins()
	e.holders = newHolders(func(address string) time.Time { return e.standings.formerUntil(s.Site, address) })
	e.arrivals = &arrivals{of: e.notificationsOf, wake: make(chan struct{}, 1), by: map[string]*untold{}}
	e.senders, e.ages = newSenders(), &ages{found: map[string]aged{}}
	e.forwards, e.sentToday = newForwards(), newSentToday()
	e.holderTLS = newReloading(parsePair, f.HolderCert, f.HolderKey)
	e.sealer = e.newSealer()
	e.registerGauges()
	if err := e.load(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Engine) newSyncer() *syncer {
	return &syncer{
		now: e.now, log: e.log, pending: map[string]pendingSync{}, running: map[string]bool{}, wake: make(chan struct{}, 1),
		peer:  e.hasPeer,
		count: func(outcome string) { e.metrics.syncs.WithLabelValues(outcome).Inc() },
		sync:  e.syncAndCompare,
		mailboxes: func(ctx context.Context) ([]string, error) {
			rows, err := e.directory.Mailboxes(ctx, "")
			addresses := make([]string, len(rows))
			for i, row := range rows {
				addresses[i] = row.Address
			}
			return addresses, err
		},
	}
}

// providers answers the index with its roots. Before anybody sees a new index, the directory holds its domains: by them Postfix
// knows to whom it must not send in clear.
func (e *Engine) providers() (*providers.Index, *x509.CertPool, error) {
	index, roots, err := e.index.Get()
	if index == nil {
		return nil, nil, fmt.Errorf("no providers' index: %w", err)
	}
	e.published.Lock()
	defer e.published.Unlock()
	if e.published.index == index {
		return index, roots, nil
	}
	if err := e.directory.PutCertified(context.Background(), index.Domains()); err != nil {
		return nil, nil, err
	}
	e.published.index = index
	return index, roots, nil
}

// Close closes the engine's state.
func (e *Engine) Close() error {
	e.doveadmTCP.close()
	return errors.Join(e.directory.Close(), e.mirrors.close(), e.evidence.Close())
}

// stopTimeout is how long transactions under way may take to end when the engine stops. Postfix keeps what is cut.
const stopTimeout = 10 * time.Second

// server serves one listener until the context ends, and returns when nothing of it runs any more.
type server struct {
	name, address string
	serve         func(context.Context, net.Listener) error
}

func (e *Engine) servers() []server {
	listen := e.settings.Listen
	return []server{
		{"access", listen.Access, serveLMTP(newLMTP(e.settings.Hostname, "access", e.log, e.access))},
		{"incoming", listen.Incoming, serveLMTP(newLMTP(e.settings.Hostname, "incoming", e.log, e.incoming))},
		{"milter of the MX", listen.MilterMX, e.serveMilter(portMX)},
		{"milter of submission", listen.MilterSubmit, e.serveMilter(portSubmission)},
		{"admin", listen.Admin, serveHTTP(e.adminServer())},
		{"login policy", listen.LoginPolicy, serveHTTP(e.loginPolicy())},
		{"holders", listen.Holder, serveHTTP(e.holderServer())},
		{"health", listen.Health, serveHTTP(e.healthServer())},
		{"peer link", listen.PeerLink, e.servePeer},
		{"sync destination", listen.SyncDestination, e.serveSyncDestination},
	}
}

// Serve answers on all listeners until the context ends.
func (e *Engine) Serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range e.servers() {
		group.Go(func() error {
			l, err := net.Listen("tcp", s.address)
			if err != nil {
				return fmt.Errorf("listening for %s: %w", s.name, err)
			}
			if err := s.serve(ctx, l); err != nil {
				return fmt.Errorf("serving %s: %w", s.name, err)
			}
			return nil
		})
	}
	group.Go(func() error { return e.sync.run(ctx) })
	group.Go(func() error { return e.runReplica(ctx, verbRecords, e.pull) })
	group.Go(func() error { return e.runReplica(ctx, verbCopies, e.copyAll) })
	group.Go(func() error { return e.runRepair(ctx) })
	group.Go(func() error { return e.runNotifications(ctx) })
	group.Go(func() error { return e.runTimers(ctx) })
	group.Go(func() error { return e.runEnding(ctx) })
	group.Go(func() error { return e.runHeld(ctx) })
	group.Go(func() error { return e.runAges(ctx) })
	group.Go(func() error { return e.sealer.Run(ctx) })
	group.Go(func() error { return e.revocations.Run(ctx) })
	if e.refresher != nil {
		group.Go(func() error { return e.refresher.Run(ctx) })
	}
	e.log.Info("serving", "site", e.settings.Site, "domain", e.settings.Domain)
	return group.Wait()
}

// until runs serve, and when the context ends stop, which has a bounded time for it; it returns when both have.
func until(ctx context.Context, serve func() error, stop func(context.Context) error) error {
	stopped := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(stopped)
		stopping, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		_ = stop(stopping)
	})
	err := serve()
	if !cancel() {
		<-stopped
	}
	return err
}

func serveLMTP(server *smtp.Server) func(context.Context, net.Listener) error {
	return func(ctx context.Context, l net.Listener) error {
		return until(ctx, func() error { return server.Serve(l) }, server.Shutdown)
	}
}

func (e *Engine) serveMilter(port string) func(context.Context, net.Listener) error {
	return func(ctx context.Context, l net.Listener) error {
		server := e.newMilter(port)
		err := until(ctx, func() error { return server.Serve(l) }, func(context.Context) error { return server.Close() })
		if errors.Is(err, milter.ErrServerClosed) {
			return nil
		}
		return err
	}
}

func serveHTTP(server *http.Server) func(context.Context, net.Listener) error {
	return func(ctx context.Context, l net.Listener) error {
		serve := func() error { return server.Serve(l) }
		if server.TLSConfig != nil {
			serve = func() error { return server.ServeTLS(l, "", "") }
		}
		if err := until(ctx, serve, server.Shutdown); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}
