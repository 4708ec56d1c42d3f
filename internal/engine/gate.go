package engine

import (
	"container/list"
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
	// gateEntries bounds the memory of a gate: beyond it, whoever tried longest ago is forgotten.
	gateEntries = 10_000
)

// gate bounds the tries of addresses and of clients.
type gate struct {
	mu      sync.Mutex
	buckets map[string]*list.Element // of recent
	recent  *list.List               // of *bucket, the last that was asked first
	checks  chan struct{}
}

type bucket struct {
	*rate.Limiter
	key string
}

func newGate() *gate {
	return &gate{buckets: map[string]*list.Element{}, recent: list.New(), checks: make(chan struct{}, checksAtOnce)}
}

// admit takes a try for both, or says how long to wait for one. A client that is beyond its own bound takes none of a mailbox, or it could
// keep every holder out.
func (g *gate) admit(address, client string, now time.Time) (wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	mine, wait := take(g.bucket("client "+network(client), triesPerClient, clientRefill), now)
	if wait > 0 {
		return wait
	}
	if _, wait = take(g.bucket("address "+address, triesPerAddress, addressRefill), now); wait > 0 {
		mine.CancelAt(now)
	}
	return wait
}

// take takes a try, unless there is none before some time.
func take(b *rate.Limiter, now time.Time) (try *rate.Reservation, wait time.Duration) {
	try = b.ReserveN(now, 1)
	if wait = try.DelayFrom(now); wait > 0 {
		try.CancelAt(now)
	}
	return try, wait
}

func (g *gate) bucket(key string, tries int, refill time.Duration) *rate.Limiter {
	if e := g.buckets[key]; e != nil {
		g.recent.MoveToFront(e)
		return e.Value.(*bucket).Limiter //nolint:forcetypeassert // nothing else is put in
	}
	if len(g.buckets) >= gateEntries {
		delete(g.buckets, g.recent.Remove(g.recent.Back()).(*bucket).key) //nolint:forcetypeassert // likewise
	}
	b := &bucket{rate.NewLimiter(rate.Every(refill), tries), key}
	g.buckets[key] = g.recent.PushFront(b)
	return b.Limiter
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
