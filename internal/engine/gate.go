package engine

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How often holders may try to log in. A check of a password costs a quarter of a second of a core, so that tries are bounded
// before they are checked: for a mailbox, whoever asks, and for a client, whatever mailbox it asks for.
const (
	triesPerAddress, addressRefill = 10, time.Minute
	triesPerClient, clientRefill   = 20, 15 * time.Second
	// checksAtOnce is how many passwords are checked at a time; mail goes first.
	checksAtOnce = 2
	// gateEntries bounds the memory of a gate: beyond it, whoever is full again is forgotten.
	gateEntries = 10_000
)

// gate bounds the tries of addresses and of clients.
type gate struct {
	mu      sync.Mutex
	buckets map[string]*rate.Limiter
	checks  chan struct{}
}

func newGate() *gate {
	return &gate{buckets: map[string]*rate.Limiter{}, checks: make(chan struct{}, checksAtOnce)}
}

// admit takes a try for both, or says how long to wait for one.
func (g *gate) admit(address, client string, now time.Time) (wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range []*rate.Limiter{
		g.bucket("address "+address, now, triesPerAddress, addressRefill), g.bucket("client "+network(client), now, triesPerClient, clientRefill),
	} {
		reservation := b.ReserveN(now, 1)
		if delay := reservation.DelayFrom(now); delay > 0 {
			reservation.CancelAt(now)
			wait = max(wait, delay)
		}
	}
	return wait
}

func (g *gate) bucket(key string, now time.Time, tries int, refill time.Duration) *rate.Limiter {
	if b := g.buckets[key]; b != nil {
		return b
	}
	if len(g.buckets) >= gateEntries {
		for k, b := range g.buckets {
			if b.TokensAt(now) >= float64(b.Burst()) {
				delete(g.buckets, k)
			}
		}
	}
	b := rate.NewLimiter(rate.Every(refill), tries)
	g.buckets[key] = b
	return b
}

// network is who a client address belongs to: with IPv6, a household has as many addresses as it likes in one /64.
func network(client string) string {
	address, err := netip.ParseAddr(client)
	if err != nil || address.Unmap().Is4() {
		return client
	}
	prefix, err := address.Prefix(64)
	if err != nil {
		return client
	}
	return prefix.String()
}
