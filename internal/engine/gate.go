package engine

import (
	"container/list"
	"iter"
	"net/netip"
	"slices"
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
	// Of all clients together that are known to a mailbox: more come back than they take. What is bounded is how many are under check: Dovecot
	// gives up what waits for a minute, and one holder's logins would put all others off for as long as he goes on.
	triesPerKnown, knownRefill = 50, 500 * time.Millisecond
	// checksAtOnce is how many passwords the API checks at a time; mail goes first.
	checksAtOnce = 2
	// checkTimeout is how long a check counts that nobody hears of.
	checkTimeout = time.Minute
	// knownFor is how long after a right login from its network a client is known to a mailbox.
	knownFor = 30 * 24 * time.Hour
	// gateEntries bounds each memory of a gate, at some 300 bytes an entry: beyond it, whoever tried longest ago is forgotten.
	gateEntries = 50_000
	// knownClients is how many clients are known to a mailbox, at some 600 bytes each: who logs in from networks without end has his own
	// forgotten, and nobody else's.
	knownClients = 16
)

// gate bounds tries. A client counts by its network, and networks by their place. One that logged in rightly to a mailbox within knownFor is
// known there, and bounded by itself and with the others that are: whoever guesses from elsewhere, from however many networks, does not lock
// the holder out where he usually is, and a telephone with an old password locks him out only where it is.
type gate struct {
	isMailbox func(address string) bool
	checks    chan struct{} // the passwords that the API checks now
	mu        sync.Mutex
	// mailboxes holds the tries of mailboxes, and others all the rest: whoever tries addresses that he makes up, from networks without end,
	// has no mailbox's tries forgotten.
	mailboxes, others memory[bucket]
	known             memory[knownTo] // by mailbox
}

// knownTo is who is known to a mailbox.
type knownTo struct {
	clients memory[knownClient] // by network
	wrong   bucket              // of all of them
}

// knownClient is a client that is known to a mailbox. Its tries lie with it, where those of others do not have them forgotten.
type knownClient struct {
	last       time.Time // right login
	wrong, api bucket
	all        *bucket // knownTo's
}

func newKnownTo() knownTo {
	return knownTo{newMemory[knownClient](knownClients), newStrictBucket(triesPerKnown, knownRefill)()}
}

func (k *knownTo) newClient() knownClient {
	own := newBucket(triesPerClient, clientRefill)
	return knownClient{wrong: own(), api: own(), all: &k.wrong}
}

func (c *knownClient) bounds(kind string) iter.Seq[*bucket] {
	if kind == tryAPI {
		return slices.Values([]*bucket{&c.api})
	}
	return slices.Values([]*bucket{&c.wrong, c.all})
}

// bucket holds the tries of one key.
type bucket struct {
	*rate.Limiter
	refill   time.Duration
	said     time.Time   // when somebody was last told that it is empty
	checking []time.Time // when each password was let in that is under check
	// isStrict has those under check count as if they were wrong: else all that are given at once would be looked at before the first is found
	// so. In the other buckets the wrong ones of them are paid for before the next.
	isStrict bool
}

// underCheck is how many passwords are under check.
func (b *bucket) underCheck(now time.Time) int {
	for len(b.checking) > 0 && now.Sub(b.checking[0]) > checkTimeout {
		b.checking = b.checking[1:]
	}
	return len(b.checking)
}

// wait is how long until one more password may be checked.
func (b *bucket) wait(now time.Time) time.Duration {
	left := b.TokensAt(now)
	if b.isStrict {
		left -= float64(b.underCheck(now))
	}
	return max(0, time.Duration((1-left)*float64(b.refill)))
}

// The two kinds of tries. They are counted apart: right logins to the API are bounded, and keep nobody from his mail.
const (
	tryWrong = "wrong"
	tryAPI   = "api"
)

func newGate(isMailbox func(address string) bool) *gate {
	return &gate{
		isMailbox: isMailbox, mailboxes: newMemory[bucket](gateEntries), others: newMemory[bucket](gateEntries),
		known: newMemory[knownTo](gateEntries), checks: make(chan struct{}, checksAtOnce),
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

// mayCheck says whether a password may be checked, and counts it as under check if so. It takes no try: a right login costs none.
func (g *gate) mayCheck(address, client string, now time.Time) tryVerdict {
	mailboxes := g.memoryOf(address)
	g.mu.Lock()
	defer g.mu.Unlock()
	bounds := g.bounds(mailboxes, tryWrong, address, client, now)
	verdict := judgeTry(bounds, now)
	if verdict.wait == 0 {
		for b := range bounds {
			b.checking = append(b.checking, now)
		}
	}
	return verdict
}

// checked notes what became of a password. A wrong one takes its try, even where there is none left, if one was under check: Dovecot tells
// also of logins that it refuses without asking and without a look at the password, and whoever makes such is to take nobody's tries.
func (g *gate) checked(address, client, outcome string, now time.Time) {
	mailboxes := g.memoryOf(address)
	g.mu.Lock()
	defer g.mu.Unlock()
	for b := range g.counted(mailboxes, address, client, now) {
		if b.underCheck(now) > 0 {
			b.checking = b.checking[1:]
		}
		if outcome == loginWrong {
			b.ReserveN(now, 1)
		}
	}
	if outcome == loginGood || outcome == loginClosed {
		known := g.known.get(address, newKnownTo)
		known.clients.get(network(client), known.newClient).last = now
	}
}

// counted are the buckets in which a password of a client's counts that is under check, none if there is no such.
func (g *gate) counted(mailboxes *memory[bucket], address, client string, now time.Time) iter.Seq[*bucket] {
	if pair := g.others.find(ofPair(tryWrong, address, client)); pair != nil && pair.underCheck(now) > 0 { // also if the client is known since
		return g.ofNew(mailboxes, tryWrong, address, client)
	}
	if known := g.knownAt(address, client); known != nil && known.wrong.underCheck(now) > 0 {
		return known.bounds(tryWrong)
	}
	return func(func(*bucket) bool) {}
}

// takeAPITry takes a try of the API for both, or says how long to wait for one. A client that is beyond its own bound takes none of a mailbox,
// or it could keep every holder out.
func (g *gate) takeAPITry(address, client string, now time.Time) tryVerdict {
	mailboxes := g.memoryOf(address)
	g.mu.Lock()
	defer g.mu.Unlock()
	bounds := g.bounds(mailboxes, tryAPI, address, client, now)
	verdict := judgeTry(bounds, now)
	if verdict.wait == 0 {
		for b := range bounds {
			b.ReserveN(now, 1)
		}
	}
	return verdict
}

// judgeTry asks each bound of a try.
func judgeTry(bounds iter.Seq[*bucket], now time.Time) tryVerdict {
	for b := range bounds {
		if wait := b.wait(now); wait > 0 {
			return b.refuse(wait, now)
		}
	}
	return tryVerdict{}
}

// bounds are the buckets that a try is taken from.
func (g *gate) bounds(mailboxes *memory[bucket], kind, address, client string, now time.Time) iter.Seq[*bucket] {
	if known := g.knownAt(address, client); known != nil && now.Sub(known.last) < knownFor {
		return known.bounds(kind)
	}
	return g.ofNew(mailboxes, kind, address, client)
}

func (g *gate) knownAt(address, client string) *knownClient {
	known := g.known.find(address)
	if known == nil {
		return nil
	}
	return known.clients.find(network(client))
}

// ofNew are those of a client that is not known; with IPv4 its place is itself, and bounds only how many are under check. What is of the client
// comes first: a try that it refuses makes no bucket of a mailbox's name, and whoever makes names up has nobody's tries forgotten.
func (g *gate) ofNew(mailboxes *memory[bucket], kind, address, client string) iter.Seq[*bucket] {
	place := prefixOf(client, placeBits)
	return func(yield func(*bucket) bool) {
		_ = yield(g.others.get(kind+" place "+place, newStrictBucket(triesPerPlace, placeRefill))) &&
			yield(g.others.get(kind+" client "+network(client), newBucket(triesPerClient, clientRefill))) &&
			yield(mailboxes.get(kind+" address "+address, newStrictBucket(triesPerAddress, addressRefill))) &&
			yield(g.others.get(kind+" place pair "+address+" "+place, newBucket(triesPerPlacePair, placePairRefill))) &&
			yield(g.others.get(ofPair(kind, address, client), newBucket(triesPerPair, pairRefill)))
	}
}

func ofPair(kind, address, client string) string {
	return kind + " pair " + address + " " + network(client)
}

func newBucket(tries int, refill time.Duration) func() bucket {
	return func() bucket { return bucket{Limiter: rate.NewLimiter(rate.Every(refill), tries), refill: refill} }
}

func newStrictBucket(tries int, refill time.Duration) func() bucket {
	return func() bucket {
		b := newBucket(tries, refill)()
		b.isStrict = true
		return b
	}
}

func (b *bucket) refuse(wait time.Duration, now time.Time) tryVerdict {
	news := now.Sub(b.said) >= b.refill
	if news {
		b.said = now
	}
	return tryVerdict{wait, news}
}

// memory holds what was asked for last.
type memory[T any] struct {
	most    int
	entries map[string]*list.Element // of recent
	recent  *list.List               // of *entry, the last that was asked for first
}

type entry[T any] struct {
	key   string
	value T
}

func newMemory[T any](most int) memory[T] {
	return memory[T]{most: most, entries: map[string]*list.Element{}, recent: list.New()}
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
	if len(m.entries) >= m.most {
		delete(m.entries, m.recent.Remove(m.recent.Back()).(*entry[T]).key) //nolint:forcetypeassert // likewise
	}
	e := &entry[T]{key, first()}
	m.entries[key] = m.recent.PushFront(e)
	return &e.value
}

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
