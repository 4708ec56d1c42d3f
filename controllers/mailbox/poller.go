package mailbox

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/imapx"
	"github.com/pec-operator/pec-operator/internal/patrol"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

const (
	// perProvider is how many mailboxes of one provider are looked at at once: a slow one holds up its own customers only.
	perProvider = 2
	// lookTimeout bounds a look.
	lookTimeout = 2 * time.Minute
	// retryFrom is the pause after a look that failed; it doubles up to the interval.
	retryFrom = time.Minute
)

// ProviderPoller looks, in the background, at the mailboxes that other providers run, and remembers what it saw. A pass only reads that.
type ProviderPoller struct {
	// Interval is how often a mailbox is looked at.
	Interval time.Duration
	// Roots are the authorities of the providers' certificates; nil is the system's.
	Roots *x509.CertPool
	// Networks are those of ours in which a provider may stand; any other one is on the internet.
	Networks []netip.Prefix
	// Connect makes connections, in tests; nil is the network's.
	Connect func(ctx context.Context, network, address string) (net.Conn, error)
	// Now is the clock.
	Now func() time.Time

	events    chan event.GenericEvent
	ended     chan struct{}
	mu        sync.Mutex
	ctx       context.Context //nolint:containedctx // the life of the process that works, given once by Start
	providers map[string]*patrol.Patrol[sight]
	mailboxes map[types.NamespacedName]*watched
}

// sight is what a look ended in.
type sight struct {
	inventory imapx.Inventory
	err       error
	look      look
}

// look is what is looked at: a change of any of it is another look.
type look struct {
	provider string // host:port
	version  string // of the Secret
}

// triedAs is how the status names a look that was tried, with this resourceVersion of the Secret: what one provider refuses, or of one key of
// the Secret, says nothing of another.
func (l look) triedAs(resourceVersion string) string {
	sum := sha256.Sum256([]byte(l.provider + " " + l.version))
	return fmt.Sprintf("%s@%x", resourceVersion, sum[:4])
}

// watched is what is remembered of a mailbox. Losing it is a look that comes too early; what must not be lost, a password that was
// refused, is in the status too.
type watched struct {
	look  look
	since time.Time // when the first such look was wanted
	last  *sight    // nil before its first has ended
	due   time.Time
	// failures are those in a row; stopped says that nothing is tried with this Secret any more.
	failures int
	stopped  bool
	// recalled says that the status tells what was seen last, by an operator before this one.
	recalled bool
	asked    reconcile.Asked
}

// Ready completes a poller of which the fields that can be set are.
func (p *ProviderPoller) Ready() *ProviderPoller {
	p.events, p.ended = make(chan event.GenericEvent), make(chan struct{})
	p.providers, p.mailboxes = map[string]*patrol.Patrol[sight]{}, map[types.NamespacedName]*watched{}
	return p
}

// Start lets looks begin, until ctx ends.
func (p *ProviderPoller) Start(ctx context.Context) error {
	defer close(p.ended)
	p.mu.Lock()
	p.ctx = ctx
	p.mu.Unlock()
	<-ctx.Done()
	return nil
}

// wake has a mailbox's next pass come now.
func (p *ProviderPoller) wake(key string) {
	namespace, name, _ := strings.Cut(key, "/")
	m := &v1alpha1.Mailbox{}
	m.Namespace, m.Name = namespace, name
	select {
	case p.events <- event.GenericEvent{Object: m}:
	case <-p.ended:
	}
}

func (p *ProviderPoller) forget(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	mem := p.mailboxes[key]
	if mem == nil {
		return
	}
	delete(p.mailboxes, key)
	if provider := p.providers[mem.look.provider]; provider != nil {
		provider.Forget(key.String())
	}
	p.leave(mem.look.provider)
}

// leave lets go of a provider when no mailbox is looked at there any more.
func (p *ProviderPoller) leave(provider string) {
	for _, mem := range p.mailboxes {
		if mem.look.provider == provider {
			return
		}
	}
	delete(p.providers, provider)
}

// see answers what is remembered of a mailbox, and begins a look when one is due, or a person asks for it.
func (p *ProviderPoller) see(m *v1alpha1.Mailbox, l look, c credentials, request string, now time.Time) watched {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := client.ObjectKeyFromObject(m)
	if p.ctx == nil {
		return watched{look: l, since: now} // looks begin in a moment
	}
	mem := p.mailboxes[key]
	if mem == nil {
		mem = recalled(m, l, c.resourceVersion, now, p.Interval)
		p.mailboxes[key] = mem
	}
	if former := mem.look.provider; mem.look != l {
		*mem = watched{look: l, since: now}
		p.leave(former)
	}
	provider := p.providers[l.provider]
	if provider == nil {
		provider = &patrol.Patrol[sight]{Width: perProvider, Done: p.wake}
		provider.Open(p.ctx)
		p.providers[l.provider] = provider
	}
	if s, ok := provider.Take(key.String()); ok && s.look == l {
		mem.settle(s, now, p.Interval)
	}
	if mem.asked.For(request); !mem.stopped && (mem.asked.Waits() || !now.Before(mem.due)) {
		o := imapx.Options{Address: l.provider, Roots: p.Roots, Networks: p.Networks, Connect: p.Connect, User: m.Address(), Password: string(c.password)}
		if provider.Begin(key.String(), func(ctx context.Context) sight { return p.take(ctx, o, l) }) {
			mem.asked.Begun()
		}
	}
	return *mem
}

// take is one look.
func (p *ProviderPoller) take(ctx context.Context, o imapx.Options, l look) sight {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	s := sight{look: l}
	s.inventory, s.err = imapx.Take(ctx, o, p.Now())
	return s
}

// settle takes a look's end into account.
func (mem *watched) settle(s sight, now time.Time, interval time.Duration) {
	mem.last = &s
	switch {
	case s.err == nil:
		mem.failures, mem.due = 0, now.Add(reconcile.Jitter(interval))
	case errors.Is(s.err, imapx.ErrCredentials):
		mem.stopped = true
	default:
		mem.due = now.Add(reconcile.Jitter(min(interval, retryFrom<<min(mem.failures, 16))))
		mem.failures++
	}
}

// recalled is what the status tells an operator that has just started: that a Secret was refused, or that the mailbox was looked at, and
// then it comes at its turn within the interval: an operator that starts again and again logs in no oftener. A provider that did not open it,
// whatever the Secret, is asked now, and what was said of it is said until it has answered. Pure but for the turn.
func recalled(m *v1alpha1.Mailbox, l look, version string, now time.Time, interval time.Duration) *watched {
	mem := &watched{look: l, since: now}
	tried := m.Status.TriedSecretVersion
	isTried := tried == l.triedAs(version) || tried == version // which an earlier release wrote
	for _, c := range m.Status.Conditions {
		switch {
		case c.Reason == v1alpha1.ReasonProviderUnreachable, c.Reason == v1alpha1.ReasonProviderRefuses:
			mem.recalled = strings.Contains(c.Message, "("+l.provider+")") // and not another, at which it was then
		case !isTried:
		case c.Reason == v1alpha1.ReasonRefusedByProvider && c.Type == v1alpha1.ConditionCredentialsValid:
			mem.stopped, mem.last = true, &sight{look: l, err: imapx.ErrCredentials}
		case c.Reason == v1alpha1.ReasonProviderAnswers:
			mem.due, mem.recalled = now.Add(rand.N(interval)), true
		}
	}
	return mem
}
