package engine

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The bounds of tries: how many at once, and in what time one comes back. For a mailbox from one client (pair), for a client whatever the
// mailbox, for a mailbox whoever tries (it gets back more than one client alone can use), and for all clients of one place. Wrong passwords count
// at every port together; at the API every password counts, in buckets of its own (tryAPI), because a check there costs a quarter of a second of
// a core and a record of the log.
const (
	triesPerPair, pairRefill       = 10, time.Minute
	triesPerClient, clientRefill   = 20, 15 * time.Second
	triesPerAddress, addressRefill = 50, 30 * time.Second
	// Of all clients of one place together: fewer than come back to a mailbox, and more than one of them alone takes.
	triesPerPlacePair, placePairRefill = 20, 40 * time.Second
	triesPerPlace, placeRefill         = 80, 4 * time.Second
	// checksAtOnce is how many passwords the API checks at a time; mail goes first.
	checksAtOnce = 2
	// checkTimeout is how long a check counts that nobody hears of.
	checkTimeout = time.Minute
	// knownFor is how long after a right login from its network a client is known to a mailbox.
	knownFor = 30 * 24 * time.Hour
	// gateEntries bounds each memory of a gate, at some 300 bytes an entry: beyond it, whoever tried longest ago is forgotten.
	gateEntries = 50_000
)

// gate bounds tries. A client counts by its network, and networks by their place. One that logged in rightly to a mailbox within knownFor has a
// bucket of its own there and is asked about no other: whoever guesses from elsewhere, from however many networks, does not lock the holder out
// where he usually is, and a telephone with an old password locks him out only where it is.
type gate struct {
	isMailbox func(address string) bool
	checks    chan struct{} // the passwords that the API checks now
	mu        sync.Mutex
	// mailboxes holds the tries of mailboxes, and others all the rest: whoever tries addresses that he makes up, from networks without end,
	// has no mailbox's tries forgotten.
	mailboxes, others memory[bucket]
	known             memory[time.Time] // the last right login, by mailbox and network
}

// bucket holds the tries of one key.
type bucket struct {
	*rate.Limiter
	refill   time.Duration
	said     time.Time // when somebody was last told that it is empty
	checking int       // passwords under check, of which the last was let in at asked
	asked    time.Time
}

// underCheck is how many passwords are under check.
func (b *bucket) underCheck(now time.Time) int {
	if now.Sub(b.asked) > checkTimeout {
		b.checking = 0
	}
	return b.checking
}

// The two kinds of tries. They are counted apart: right logins to the API are bounded, and keep nobody from his mail.
const (
	tryWrong = "wrong"
	tryAPI   = "api"
)

func newGate(isMailbox func(address string) bool) *gate {
	return &gate{
		isMailbox: isMailbox, mailboxes: newMemory[bucket](), others: newMemory[bucket](), known: newMemory[time.Time](), checks: make(chan struct{}, checksAtOnce),
	}
}

// memoryOf is where the tries of an address are. It may ask the disk, and is asked before the gate is locked.
func (g *gate) memoryOf(address string) *memory[bucket] {
	if g.isMailbox(address) {
		return &g.mailboxes
	}
	return &g.others
}

// tryVerdict says whether there is a try. That there is none is news once in the time in which one comes back.
type tryVerdict struct {
	wait   time.Duration // until there is a try; 0: go on
	isNews bool
}

// mayCheck says whether a password may be checked. It takes no try: a right login costs none, and whoever opens many sessions is let in to
// all. But no more are checked at a time for a mailbox than it has tries left, or all would be looked at before the first is found wrong.
func (g *gate) mayCheck(address, client string, now time.Time) tryVerdict {
	mailboxes := g.memoryOf(address)
	g.mu.Lock()
	defer g.mu.Unlock()
	buckets, known := g.bounds(mailboxes, tryWrong, address, client, now)
	for _, b := range buckets {
		try, wait := takeToken(b, now)
		if wait > 0 {
			return b.refuse(wait, now)
		}
		try.CancelAt(now)
	}
	if known {
		return tryVerdict{}
	}
	mailbox, pair := ofAddress(mailboxes, tryWrong, address), g.others.find(ofPair(tryWrong, address, client))
	if mailbox.TokensAt(now) < float64(mailbox.underCheck(now)+1) {
		return mailbox.refuse(mailbox.refill, now)
	}
	for _, b := range []*bucket{mailbox, pair} {
		b.checking, b.asked = b.underCheck(now)+1, now
	}
	return tryVerdict{}
}

// checked notes what became of a password that mayCheck let be checked. A wrong one takes its try even where there is none left: those that a
// client gave at once were let in together.
func (g *gate) checked(address, client, outcome string, now time.Time) {
	mailboxes := g.memoryOf(address)
	g.mu.Lock()
	defer g.mu.Unlock()
	// Who is known was not counted, but for what he asked before he was; else each of his logins would let one more guess in.
	if pair := g.others.find(ofPair(tryWrong, address, client)); pair != nil && pair.underCheck(now) > 0 {
		mailbox := ofAddress(mailboxes, tryWrong, address)
		pair.checking, mailbox.checking = pair.checking-1, max(0, mailbox.checking-1)
	}
	switch outcome {
	case loginGood, loginClosed:
		*g.known.get(holderAt(address, client), func() time.Time { return now }) = now
	case loginWrong:
		buckets, _ := g.bounds(mailboxes, tryWrong, address, client, now)
		for _, b := range buckets {
			b.ReserveN(now, 1)
		}
	}
}

// takeAPITry takes a try of the API for both, or says how long to wait for one. A client that is beyond its own bound takes none of a mailbox,
// or it could keep every holder out.
func (g *gate) takeAPITry(address, client string, now time.Time) tryVerdict {
	mailboxes := g.memoryOf(address)
	g.mu.Lock()
	defer g.mu.Unlock()
	var taken []*rate.Reservation
	buckets, _ := g.bounds(mailboxes, tryAPI, address, client, now)
	for _, b := range buckets {
		try, wait := takeToken(b, now)
		if wait > 0 {
			for _, other := range taken {
				other.CancelAt(now)
			}
			return b.refuse(wait, now)
		}
		taken = append(taken, try)
	}
	return tryVerdict{}
}

// bounds are the buckets that a try is taken from.
func (g *gate) bounds(mailboxes *memory[bucket], kind, address, client string, now time.Time) (buckets []*bucket, known bool) {
	if last := g.known.find(holderAt(address, client)); last != nil && now.Sub(*last) < knownFor {
		return []*bucket{g.others.get(kind+" holder "+holderAt(address, client), newBucket(triesPerClient, clientRefill))}, true
	}
	buckets = []*bucket{
		g.others.get(ofPair(kind, address, client), newBucket(triesPerPair, pairRefill)),
		g.others.get(kind+" client "+network(client), newBucket(triesPerClient, clientRefill)),
		ofAddress(mailboxes, kind, address),
	}
	if place := prefixOf(client, placeBits); place != network(client) {
		buckets = append(buckets,
			g.others.get(kind+" place pair "+address+" "+place, newBucket(triesPerPlacePair, placePairRefill)),
			g.others.get(kind+" place "+place, newBucket(triesPerPlace, placeRefill)))
	}
	return buckets, false
}

func ofPair(kind, address, client string) string { return kind + " pair " + holderAt(address, client) }

func ofAddress(mailboxes *memory[bucket], kind, address string) *bucket {
	return mailboxes.get(kind+" address "+address, newBucket(triesPerAddress, addressRefill))
}

func newBucket(tries int, refill time.Duration) func() bucket {
	return func() bucket { return bucket{Limiter: rate.NewLimiter(rate.Every(refill), tries), refill: refill} }
}

func (b *bucket) refuse(wait time.Duration, now time.Time) tryVerdict {
	news := now.Sub(b.said) >= b.refill
	if news {
		b.said = now
	}
	return tryVerdict{wait, news}
}

// takeToken takes a try, unless there is none before some time.
func takeToken(b *bucket, now time.Time) (try *rate.Reservation, wait time.Duration) {
	try = b.ReserveN(now, 1)
	if wait = try.DelayFrom(now); wait > 0 {
		try.CancelAt(now)
	}
	return try, wait
}

// memory holds what was asked for last, gateEntries at most.
type memory[T any] struct {
	entries map[string]*list.Element // of recent
	recent  *list.List               // of *entry, the last that was asked for first
}

type entry[T any] struct {
	key   string
	value T
}

func newMemory[T any]() memory[T] {
	return memory[T]{entries: map[string]*list.Element{}, recent: list.New()}
}

func (m *memory[T]) find(key string) *T {
	e := m.entries[key]
	if e == nil {
		return nil
	}
	m.recent.MoveToFront(e)
	return &e.Value.(*entry[T]).value //nolint:forcetypeassert // nothing else is put in
}

func (m *memory[T]) get(key string, first func() T) *T {
	if found := m.find(key); found != nil {
		return found
	}
	if len(m.entries) >= gateEntries {
		delete(m.entries, m.recent.Remove(m.recent.Back()).(*entry[T]).key) //nolint:forcetypeassert // likewise
	}
	e := &entry[T]{key, first()}
	m.entries[key] = m.recent.PushFront(e)
	return &e.value
}

// holderAt is a mailbox seen from a network.
func holderAt(address, client string) string { return address + " " + network(client) }

// With IPv6 a program has as many addresses as it likes in its /64, and whoever is at one place has many of these: a household up to 256,
// a firm 65,536.
const networkBits, placeBits = 64, 48

// network is who a client address belongs to.
func network(client string) string { return prefixOf(client, networkBits) }

// prefixOf is the prefix of so many bits that a client's address is in; with IPv4 the address itself.
func prefixOf(client string, bits int) string {
	address, err := netip.ParseAddr(client)
	if err != nil {
		return client
	}
	if address = address.Unmap(); address.Is4() {
		return address.String()
	}
	prefix, err := address.Prefix(bits)
	if err != nil {
		return client
	}
	return prefix.String()
}
