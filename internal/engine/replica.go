package engine

import (
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// replica is how far the two sites are apart, as far as this engine can tell: what the other one said it holds of this log, and
// until when this one has heard all of the other's.
type replica struct {
	// news, patience and reserve are newsEvery, copyPatience and keepFree; a test has less time, and room.
	news, patience time.Duration
	reserve        uint64
	wake           chan struct{} // records came whose messages are to be copied

	mu         sync.Mutex
	began      time.Time         // this engine's start
	contact    time.Time         // when the other site was first reached since
	caughtUpAt time.Time         // all that the other site had recorded by then is here
	came       time.Time         // when records of the other site last came
	takesIn    bool              // what came is being taken in, or restored
	faults     map[string]string // by what failed
	breaks     int

	// Of this engine's own log the other site holds the records up to held, and by its word the messages up to copied. A word about
	// records that are not known to be this log's counts for nothing.
	held, copied uint64
	links        int  // connections over which it copies
	slow         bool // a wait for it was in vain, and it has not moved since
	moved        chan struct{}
	unserved     map[string]bool   // digests that could not be given to it
	pending      map[string]uint64 // deliveries whose copy is not there yet: their records, by key
	lacking      int               // copies that could not be had from it
	divergent    int
}

func newReplica(now time.Time) *replica {
	return &replica{
		news: newsEvery, patience: copyPatience, reserve: keepFree, began: now,
		wake: make(chan struct{}, 1), moved: make(chan struct{}), faults: map[string]string{},
		unserved: map[string]bool{}, pending: map[string]uint64{},
	}
}

func (r *replica) failed(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[what] = oneLine(err.Error())
}

// broke counts a log that does not go on from what is mirrored of it.
func (r *replica) broke(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.breaks++
	return err
}

func (r *replica) reached(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.contact.IsZero() {
		r.contact = now
	}
}

// recordsCame notes that records of the other site came to the disk.
func (r *replica) recordsCame(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.came = now
}

// takingIn notes that this engine is at work on what came, until done. That ends by itself, and for so long nobody else is silent.
func (r *replica) takingIn() (done func()) {
	set := func(is bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.takesIn = is
	}
	set(true)
	return func() { set(false) }
}

// isPulling says whether the other site's records are coming, or are being taken in: that it takes the connection is no sign of that, nor
// that it is cut a sign of the end.
func (r *replica) isPulling(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.takesIn || now.Sub(r.came) < silentAfter
}

// caughtUp notes that all is here that the other site had recorded at an instant.
func (r *replica) caughtUp(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.caughtUpAt = at
	delete(r.faults, verbRecords)
}

// speaks says whether the other site was heard of lately.
func (r *replica) speaks(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.speaksNow(now)
}

func (r *replica) speaksNow(now time.Time) bool { return now.Sub(r.caughtUpAt) < silentAfter }

func (r *replica) hearing() hearing {
	r.mu.Lock()
	defer r.mu.Unlock()
	return hearing{caughtUpAt: r.caughtUpAt, began: latest(r.began, r.contact)}
}

func (r *replica) copySoon() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// peerHolds notes what the other site has on disk of this engine's log. It may be less than before: a site was rebuilt.
func (r *replica) peerHolds(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = seq
	r.move()
}

// both is up to which record the other site has records and messages; it is called with the lock held.
func (r *replica) both() uint64 { return min(r.held, r.copied) }

// state is what the operator sees.
func (r *replica) state() admin.Replication {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := admin.Replication{
		HeardAll: r.caughtUpAt, PeerHolds: r.held, PeerCopied: r.both(), CopiesPending: len(r.pending),
		CopiesLacking: r.lacking, Divergent: r.divergent, Breaks: r.breaks,
	}
	for _, what := range []string{verbRecords, verbCopies} {
		if fault := r.faults[what]; fault != "" && s.LastError == "" {
			s.LastError = what + ": " + fault
		}
	}
	return s
}
