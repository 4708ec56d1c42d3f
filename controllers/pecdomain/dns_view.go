package pecdomain

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/dns"
	"github.com/pec-operator/pec-operator/internal/patrol"
	"github.com/pec-operator/pec-operator/internal/reach"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// DNSView is this site's view of the DNS: what it looks at domains with, and what it remembers of them between passes. Looking takes
// seconds and, at a silent server, half a minute: it is done in the background, and a pass only reads what was found.
type DNSView struct {
	// Observer asks; without roots it asks the system's resolvers for them first.
	Observer *dns.Observer
	// Interval is how often a domain whose records are right is looked at.
	Interval time.Duration
	// Operator is the identity of this operator in owner texts, the same at both sites; "" keeps it from writing.
	Operator string
	// Providers is a folder of files, named after providers, with the MX sets that they publish; "" is none.
	Providers string
	// StandIn is how long the preferred site must be silent before the other one writes in its place.
	StandIn time.Duration
	// Ledger counts what was written.
	Ledger *WriteLedger
	// Networks are those of ours in which other providers' servers may stand.
	Networks []netip.Prefix

	patrol *patrol.Patrol[finding]
	events chan event.GenericEvent
	ended  chan struct{}

	rootsMu sync.Mutex // guards Observer.Roots while they are being asked for

	mu      sync.Mutex // guards the maps; a memory is its domain's pass' alone, of which there is one at a time
	domains map[types.NamespacedName]*memory
	probes  map[string]*probe
}

// probe is what was found out about one mail host.
type probe struct {
	mu    sync.Mutex // held while the host is knocked at: whoever asks for the same one waits for the answer
	host  dns.MailHost
	until time.Time
}

// remembered is how long a mail host that serves is not knocked at again: hundreds of domains name the same two.
const remembered = 5 * time.Minute

// probe knocks at a mail host, unless it was found to serve a moment ago.
func (v *DNSView) probe(ctx context.Context, prober *dns.Prober, name string, now func() time.Time) dns.MailHost {
	v.mu.Lock()
	p := v.probes[name]
	if p == nil {
		maps.DeleteFunc(v.probes, func(_ string, other *probe) bool { return other.over(now()) })
		p = &probe{}
		v.probes[name] = p
	}
	v.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if now().Before(p.until) {
		return p.host
	}
	if p.host = prober.Probe(ctx, name); len(p.host.Faults()) == 0 {
		p.until = now().Add(min(remembered, v.Interval/24))
	}
	return p.host
}

// over says whether what was found out counts no more, and nobody is about to find out again.
func (p *probe) over(now time.Time) bool {
	if !p.mu.TryLock() {
		return false
	}
	defer p.mu.Unlock()
	return !now.Before(p.until)
}

// patrolWidth is how many domains are looked at at once. Most of it is waiting, so that a few dozen silent servers hold up nobody.
const patrolWidth = 64

// Ready completes a view of the DNS of which the fields that can be set are.
func (v *DNSView) Ready() *DNSView {
	v.events, v.ended = make(chan event.GenericEvent), make(chan struct{})
	v.domains, v.probes = map[types.NamespacedName]*memory{}, map[string]*probe{}
	v.patrol = &patrol.Patrol[finding]{Width: patrolWidth, Done: v.wake}
	return v
}

// Start lets the patrol work, until ctx ends.
func (v *DNSView) Start(ctx context.Context) error {
	defer close(v.ended)
	return v.patrol.Start(ctx)
}

// wake has a domain's next pass come now.
func (v *DNSView) wake(key string) {
	namespace, name, _ := strings.Cut(key, "/")
	d := &v1alpha1.PECDomain{}
	d.Namespace, d.Name = namespace, name
	select {
	case v.events <- event.GenericEvent{Object: d}:
	case <-v.ended:
	}
}

// wakeAt is wake at a time. Not left to the queue: a pass that ends in Stalled comes again when its own pause is over, and a domain
// that waits for a person is looked at when that person is likely to have acted.
func (v *DNSView) wakeAt(key types.NamespacedName, m *memory, pause time.Duration) {
	if m.timer != nil {
		m.timer.Stop()
	}
	m.timer = time.AfterFunc(pause, func() { v.wake(key.String()) })
}

// finding is what a piece of background work ended in: a round, after a write where one was to be made.
type finding struct {
	seen   dns.Observation
	checks []dns.Check
	// unfit says why the mail hosts are not such that a first record may name them; "" when they are.
	unfit string
	wrote *dns.Change
	err   error // of the write
	// of is the fingerprint of what was wanted when the work began.
	of string
}

// notLookedAt is why no first record may name the mail hosts of a spec that came while those of the one before were looked at.
const notLookedAt = "they were not looked at yet since what is wanted changed"

// outdated is a finding of which only what the records are counts, and what was written: what is wanted is something else since. Pure.
func (f finding) outdated() finding {
	f.checks, f.unfit = nil, notLookedAt
	return f
}

// memory is what is remembered of a domain between passes. Losing it costs a look, and no more: what must survive is in the ledger
// and in the owner text.
type memory struct {
	wanted  string // fingerprint of what was wanted
	settled dns.Settled
	last    finding
	looked  time.Time // when the last round was taken; zero before the first
	due     time.Time // when the next one is
	// failure of the last write, how many there were in a row, and when it may be tried again.
	failure   error
	failures  int
	retry     time.Time
	timer     *time.Timer
	since     time.Time // when the settled state became what it is
	departure departure // since this process looks
	asked     reconcile.Asked
	// mailWaits says that the stack holds the domain and does not deliver its mail: what comes in for it once its MX names the stack is
	// turned away until that is seen.
	mailWaits bool
}

func (v *DNSView) memory(key types.NamespacedName) *memory {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := v.domains[key]
	if m == nil {
		m = &memory{}
		v.domains[key] = m
	}
	return m
}

func (v *DNSView) forget(key types.NamespacedName) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if m := v.domains[key]; m != nil && m.timer != nil {
		m.timer.Stop()
	}
	delete(v.domains, key)
	v.patrol.Forget(key.String())
}

// pace is how far rounds are apart.
func (v *DNSView) pace() dns.Pace {
	return dns.Pace{Interval: v.Interval, Confirm: max(v.Interval/288, 100*time.Millisecond)}
}

// limits are how much may be written; a shorter interval, in a demo, shortens the pause between two writes.
func (v *DNSView) limits() dns.Limits {
	l := dns.DefaultLimits
	l.Pause = v.Interval / 24
	return l
}

const (
	// quickest is how soon a domain that is not right is looked at again.
	quickest = 5 * time.Second
	// resolvConf names the system's resolvers.
	resolvConf = "/etc/resolv.conf"
)

// again is the pause before the next round. A right one is looked at once per interval. Another is looked at after half the time that it
// has been so, so that whoever mends it sees that soon, and at most an hour (of a daily interval) later; five minutes where mail waits for it.
func (v *DNSView) again(settled, right, waits bool, age time.Duration) time.Duration {
	longest := v.Interval / 24
	if waits {
		longest = v.pace().Confirm
	}
	switch {
	case settled && right:
		return v.Interval
	case !settled && right:
		return min(longest, v.pace().Confirm)
	default:
		return min(longest, max(quickest, age/2))
	}
}

// roots makes sure that the observer knows where to begin.
func (v *DNSView) roots(ctx context.Context) error {
	v.rootsMu.Lock()
	defer v.rootsMu.Unlock()
	if len(v.Observer.Roots) > 0 {
		return nil
	}
	roots, err := v.Observer.SystemRoots(ctx, resolvConf)
	if err != nil {
		return err
	}
	v.Observer.Roots = roots
	return nil
}

// readProviders reads the table of known providers. A table that cannot be read only leaves names out of sentences.
func (v *DNSView) readProviders() dns.Providers {
	table := map[string]string{}
	if v.Providers == "" {
		return nil
	}
	entries, err := os.ReadDir(v.Providers)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue // the kubelet's own
		}
		text, readErr := os.ReadFile(filepath.Join(v.Providers, entry.Name()))
		table[entry.Name()], err = string(text), errors.Join(err, readErr)
	}
	known, parseErr := dns.ParseProviders(table)
	if err = errors.Join(err, parseErr); err != nil {
		logf.Log.WithName("dns").Info("the table of known providers cannot be read", "error", err.Error())
	}
	return known
}

// may says where hosts are knocked at: those of another provider only on the internet, and in the networks that are listed. nil is everywhere.
func (v *DNSView) may(external bool) func(netip.Addr) bool {
	if !external {
		return nil
	}
	return func(a netip.Addr) bool { return reach.May(a, v.Networks) }
}

// work is what is to be looked at, and what to write first.
type work struct {
	target
	wanted  string // fingerprint
	change  *dns.Change
	key     dns.Key
	domains int // how many this operator writes
}

// begin starts work for a domain, unless there is some already.
func (v *DNSView) begin(key types.NamespacedName, w work, now func() time.Time) bool {
	return v.patrol.Begin(key.String(), func(ctx context.Context) finding {
		f := finding{of: w.wanted}
		if err := v.roots(ctx); err != nil {
			f.seen = dns.Observation{Domain: dns.Name(w.want.Domain), At: now(), Fault: dns.Unreachable, Detail: err.Error()}
			return f
		}
		if w.change != nil {
			f.wrote, f.err = w.change, v.write(ctx, w, now())
		}
		v.look(ctx, w, &f, now)
		return f
	})
}

// write makes a change after it was counted: an operator that dies in between has counted a write too many, never one too few.
func (v *DNSView) write(ctx context.Context, w work, now time.Time) error {
	if err := v.Ledger.spend(ctx, *w.change, v.limits(), w.domains, now); err != nil {
		return err
	}
	err := dns.Carry(ctx, &dns.RFC2136{Observer: v.Observer, Key: w.key}, *w.change)
	if refused(err) {
		return errors.Join(err, v.Ledger.refund(ctx, *w.change, now))
	}
	return err
}

// refused says that the server answered and did not write.
func refused(err error) bool {
	for _, answer := range []error{dns.ErrChanged, dns.ErrClock, dns.ErrKey, dns.ErrRights, dns.ErrZone} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

// look makes a round over the domain, its mail hosts and what else is verified.
func (v *DNSView) look(ctx context.Context, w work, f *finding, now func() time.Time) {
	prober := &dns.Prober{Observer: v.Observer, TLS: dns.NamedAndTimely(now), May: v.may(w.external), MayRead: v.may(true)}
	f.seen = v.Observer.Observe(ctx, w.want.Domain)
	var hosts []dns.MailHost
	for _, mx := range w.want.MX {
		hosts = append(hosts, v.probe(ctx, prober, mx.Host, now))
	}
	var mail dns.Check
	mail, f.unfit = judgeMailHosts(hosts)
	f.checks = append(f.checks, mail)
	if len(w.endpoints) > 0 {
		var found []dns.Host
		for _, name := range w.endpoints {
			found = append(found, prober.Endpoint(ctx, name))
		}
		f.checks = append(f.checks, judgeEndpoints(found, dns.AddressesOf(hosts, w.sites)))
	}
	f.checks = append(f.checks, judgeDelegation(f.seen))
	f.checks = append(f.checks, prober.Check(ctx, w.extra, f.seen, hosts)...)
}

// judgeMailHosts is the check of the mail hosts, and why a first record must not name them yet: a name that is none, or no host that
// takes mail. One building that is down does not keep a domain out. Pure.
func judgeMailHosts(hosts []dns.MailHost) (c dns.Check, unfit string) {
	var faults []string
	serving := 0
	for _, host := range hosts {
		wrong := host.Faults()
		faults = append(faults, wrong...)
		if len(wrong) == 0 {
			serving++
		}
		if !host.Named() && unfit == "" {
			unfit = strings.Join(wrong, "; ")
		}
	}
	if unfit == "" && serving == 0 {
		unfit = strings.Join(faults, "; ")
	}
	if len(faults) > 0 {
		return dns.Check{Name: "MailHosts", Result: dns.Faulty, Message: strings.Join(faults, "; ")}, unfit
	}
	return dns.Check{Name: "MailHosts", Result: dns.Sound, Message: "every mail host has a name of its own, greets, and shows a certificate that names it"}, unfit
}

// judgeEndpoints is the check of the names that mail clients are given. Pure.
func judgeEndpoints(endpoints []dns.Host, sites map[string][]netip.Addr) dns.Check {
	var faults []string
	for _, endpoint := range endpoints {
		faults = append(faults, dns.EndpointFaults(endpoint, sites)...)
	}
	if len(faults) > 0 {
		return dns.Check{Name: "Endpoints", Result: dns.Faulty, Message: strings.Join(faults, "; ") + "; the loss of a building would take the name along"}
	}
	return dns.Check{Name: "Endpoints", Result: dns.Sound, Message: "every name that mail clients are given carries an address of each site"}
}

// judgeDelegation is the check of the zone's servers. Pure.
func judgeDelegation(seen dns.Observation) dns.Check {
	switch faults := dns.DelegationFaults(seen); {
	case seen.Zone == "":
		return dns.Check{Name: "Delegation", Result: dns.Doubtful, Message: "the zone was not found"}
	case len(faults) > 0:
		return dns.Check{Name: "Delegation", Result: dns.Faulty, Message: strings.Join(faults, "; ")}
	default:
		return dns.Check{Name: "Delegation", Result: dns.Sound, Message: "the parent delegates to the servers that the zone lists"}
	}
}
