// Package peer reads the project's kinds in the other site's cluster, and nothing else. It never writes there, is never on
// the start-up path, and may be dead for as long as it likes: the building that survives must not lose its operator with it.
package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

const (
	// probeEvery is how often the other API server is asked whether it lives.
	probeEvery = 5 * time.Second
	// callTimeout bounds every call: a reconcile that waits for a dead building would hold up the living one.
	callTimeout = 10 * time.Second
	// failuresToDisconnect in a row make the peer unreachable; one lost packet does not.
	failuresToDisconnect = 5
)

// ErrNotConnected is answered while the peer does not answer; the caller goes on without it.
var ErrNotConnected = errors.New("the peer is not connected")

// State is what is known of the peer.
type State struct {
	// Configured says whether there is a peer at all.
	Configured bool
	// Reachable says whether the last probes were answered.
	Reachable bool
	// Since is, while Reachable, when it became so; otherwise when the last probe was answered, or when probing began.
	Since time.Time
	// Why is the reason of the last failed probe, in words that do not change from probe to probe; "" while Reachable.
	Why string
	// Silent says that the last probe met with silence, also before that makes the peer unreachable: a refused credential or an unusable
	// kubeconfig says nothing about the building.
	Silent bool
	// SilentSince is since when nothing answers there, while Silent: a refusal is an answer, and begins it anew.
	SilentSince time.Time
}

// Peer is the other site. The zero value is a site without a peer.
type Peer struct {
	path   string
	scheme *runtime.Scheme
	now    func() time.Time

	mu       sync.Mutex
	state    State
	reader   client.Reader
	probe    func(context.Context) error
	raw      []byte
	answered time.Time // when the last probe was
	failures int
}

// New makes a peer that is read with the kubeconfig at path, which is read again whenever it changes; "" is no peer.
func New(path string, scheme *runtime.Scheme, now func() time.Time) *Peer {
	return &Peer{path: path, scheme: scheme, now: now, state: State{Configured: path != "", Since: now()}}
}

// Start probes the peer until ctx ends. It returns no error: whatever the peer does, this operator lives.
func (p *Peer) Start(ctx context.Context) error {
	if p.path == "" {
		return nil
	}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		p.Probe(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// NeedLeaderElection is false: a standby that takes over must not first find out whether the peer lives.
func (p *Peer) NeedLeaderElection() bool { return false }

// State is what is known of the peer now.
func (p *Peer) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// Domain reads the peer's PECDomain of a name. ErrNotConnected while the peer does not answer; a NotFound of the API when the
// peer answers and does not have it.
func (p *Peer) Domain(ctx context.Context, key client.ObjectKey) (*v1alpha1.PECDomain, error) {
	d := &v1alpha1.PECDomain{}
	if err := p.get(ctx, key, d, "PECDomain"); err != nil {
		return nil, err
	}
	return d, nil
}

// Mailboxes lists the peer's Mailbox resources of a domain: ErrNotConnected while it does not answer. They may be many: it is for who
// knows from the domain's digests that they differ.
func (p *Peer) Mailboxes(ctx context.Context, domain client.ObjectKey) ([]v1alpha1.Mailbox, error) {
	p.mu.Lock()
	reader, reachable := p.reader, p.state.Reachable
	p.mu.Unlock()
	if !reachable {
		return nil, ErrNotConnected
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var list v1alpha1.MailboxList
	if err := reader.List(ctx, &list, client.InNamespace(domain.Namespace), client.MatchingFields{"spec.domainRef.name": domain.Name}); err != nil {
		return nil, fmt.Errorf("listing the peer's mailboxes of %s: %w (%w)", domain, ErrNotConnected, err)
	}
	return list.Items, nil
}

// Policy reads the peer's RetentionPolicy of a name, as Domain does its domain.
func (p *Peer) Policy(ctx context.Context, key client.ObjectKey) (*v1alpha1.RetentionPolicy, error) {
	policy := &v1alpha1.RetentionPolicy{}
	if err := p.get(ctx, key, policy, "RetentionPolicy"); err != nil {
		return nil, err
	}
	return policy, nil
}

// Migration reads the peer's MailboxMigration of a name, as Domain does its domain.
func (p *Peer) Migration(ctx context.Context, key client.ObjectKey) (*v1alpha1.MailboxMigration, error) {
	migration := &v1alpha1.MailboxMigration{}
	if err := p.get(ctx, key, migration, "MailboxMigration"); err != nil {
		return nil, err
	}
	return migration, nil
}

func (p *Peer) get(ctx context.Context, key client.ObjectKey, into client.Object, kind string) error {
	p.mu.Lock()
	reader, reachable := p.reader, p.state.Reachable
	p.mu.Unlock()
	if !reachable {
		return ErrNotConnected
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := reader.Get(ctx, key, into)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("reading the peer's %s %s: %w", kind, key, err)
	case err != nil:
		return fmt.Errorf("reading the peer's %s %s: %w (%w)", kind, key, ErrNotConnected, err)
	}
	return nil
}

// Probe asks once whether the peer lives.
func (p *Peer) Probe(ctx context.Context) {
	err := p.connect()
	if err == nil {
		err = p.ask(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.failures, p.answered = 0, p.now()
		p.hear(false)
		p.turn(ctx, true, "", p.answered)
		return
	}
	p.failures++
	p.hear(!errors.Is(err, errRefused) && !errors.Is(err, errNoKubeconfig) && !errors.Is(err, errBadKubeconfig))
	// A credential that is refused will be refused again: no need to count.
	if p.failures >= failuresToDisconnect || errors.Is(err, errRefused) || !p.state.Reachable {
		p.turn(ctx, false, why(err), p.answered)
	}
}

// hear notes whether the last probe met with silence; the lock is held.
func (p *Peer) hear(silent bool) {
	switch {
	case !silent:
		p.state.SilentSince = time.Time{}
	case !p.state.Silent:
		p.state.SilentSince = p.now()
	}
	p.state.Silent = silent
}

func (p *Peer) turn(ctx context.Context, reachable bool, why string, since time.Time) {
	if p.state.Reachable != reachable {
		p.state.Reachable, p.state.Since = reachable, since
		logf.FromContext(ctx).WithName("peer").Info("peer changed", "reachable", reachable, "reason", why)
	}
	p.state.Why = why
	up := 0.0
	if reachable {
		up = 1
	}
	peerUp.Set(up)
}

func (p *Peer) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return p.probe(ctx)
}

// connect makes the clients anew when the kubeconfig changed. The former ones stay until the new ones exist.
func (p *Peer) connect() error {
	raw, err := os.ReadFile(p.path)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoKubeconfig, err)
	}
	if p.probe != nil && bytes.Equal(raw, p.raw) {
		return nil
	}
	config, err := Config(raw)
	if err != nil {
		return err
	}
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadKubeconfig, err)
	}
	// The client's mapper asks the peer only when it is first used, so that making a client of a dead peer does not fail.
	reader, err := client.New(config, client.Options{HTTPClient: httpClient, Scheme: p.scheme})
	if err != nil {
		return fmt.Errorf("%w: %w", errBadKubeconfig, err)
	}
	probe, err := prober(config, httpClient)
	if err != nil {
		return fmt.Errorf("%w: %w", errBadKubeconfig, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reader, p.probe, p.raw, p.failures = reader, probe, raw, failuresToDisconnect
	return nil
}

// prober asks an API server for its version, which every account may read.
func prober(config *rest.Config, httpClient *http.Client) (func(context.Context) error, error) {
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	address := server.JoinPath("version").String()
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		resp, err := httpClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusOK:
			return nil
		case http.StatusUnauthorized, http.StatusForbidden:
			return errRefused
		}
		return fmt.Errorf("the peer answered %s", resp.Status)
	}, nil
}

var (
	errNoKubeconfig  = errors.New("its kubeconfig is not there; create the Secret that peer.kubeconfigSecret names")
	errRefused       = errors.New("it refuses our credential; renew the kubeconfig in the Secret that peer.kubeconfigSecret names")
	errBadKubeconfig = errors.New("its kubeconfig cannot be used; give server, certificate authority, and a token or client certificate, all inline")
)

// Config reads a kubeconfig that holds everything inline. A plugin would run a program of the peer's choosing in this
// operator, and a file name would read one of ours: both are refused.
func Config(raw []byte) (*rest.Config, error) {
	loaded, err := clientcmd.Load(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadKubeconfig, err)
	}
	for _, user := range loaded.AuthInfos {
		if user.Exec != nil || user.AuthProvider != nil || user.TokenFile != "" || user.ClientCertificate != "" || user.ClientKey != "" {
			return nil, fmt.Errorf("%w: it names a plugin or a file", errBadKubeconfig)
		}
	}
	for _, cluster := range loaded.Clusters {
		if cluster.InsecureSkipTLSVerify || cluster.CertificateAuthority != "" {
			return nil, fmt.Errorf("%w: it skips verification or names a file", errBadKubeconfig)
		}
	}
	config, err := clientcmd.NewDefaultClientConfig(*loaded, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadKubeconfig, err)
	}
	config.Timeout = callTimeout
	config.UserAgent = "pec-operator/peer-reader"
	return config, nil
}

// why puts an error into words that stay the same while the fault does.
func why(err error) string {
	switch {
	case errors.Is(err, errNoKubeconfig):
		return errNoKubeconfig.Error()
	case errors.Is(err, errBadKubeconfig):
		return errBadKubeconfig.Error()
	case errors.Is(err, errRefused):
		return errRefused.Error()
	}
	return "its API server does not answer; see whether the building and the line to it are up"
}
