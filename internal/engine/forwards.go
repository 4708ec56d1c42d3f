package engine

import (
	"cmp"
	"context"
	"maps"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/evidence"
)

// bounceWithin is for how long Postfix may still give back what was sent on: maximal_queue_lifetime of it, and then of its bounce. What a
// mailbox sends on within it is bounded by its quota: each message takes the room of one that is delivered, and nothing that its holder
// deletes makes room.
const bounceWithin = 48 * time.Hour

// forgetEvery is how often what is older is forgotten, of all mailboxes: a site where no mail comes in hears of what the other sends on.
const forgetEvery = time.Hour

// forwards are what each mailbox sent on of late, and what came back and its mailbox does not have yet, at either site: a view of the logs.
type forwards struct {
	mu    sync.Mutex
	by    map[string]map[string]sized // by mailbox, then by the record's key: logs that tell of it twice count once
	swept time.Time
	owed  map[string]owed // by the key of its forwarding
}

type owed struct {
	why       failure // that it came back
	otherSite string  // that sent it on, "" if this one did
	former    bool    // told by another log than this engine's own, of which not all may be here
}

type sized struct {
	at   time.Time
	size int64
}

func (m sized) isOld(now time.Time) bool { return now.Sub(m.at) >= bounceWithin }

func newForwards() *forwards {
	return &forwards{by: map[string]map[string]sized{}, owed: map[string]owed{}}
}

// add takes what was sent on at a time under a key; what is too old by now is nobody's concern.
func (s *forwards) add(mailbox, key string, size int64, at, now time.Time) {
	if now.Sub(at) >= bounceWithin { // a start reads years of them
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.swept) >= forgetEvery {
		s.sweep(now)
	}
	if s.by[mailbox] == nil {
		s.by[mailbox] = map[string]sized{}
	}
	s.by[mailbox][key] = sized{at: at, size: size}
}

// sweep forgets what is old; it is called with the lock held.
func (s *forwards) sweep(now time.Time) {
	for mailbox, of := range s.by {
		maps.DeleteFunc(of, func(_ string, m sized) bool { return m.isOld(now) })
		if len(of) == 0 {
			delete(s.by, mailbox)
		}
	}
	s.swept = now
}

// bytes are those that a mailbox sent on within bounceWithin.
func (s *forwards) bytes(mailbox string, now time.Time) (sum int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.by[mailbox] {
		if !m.isOld(now) {
			sum += m.size
		}
	}
	return sum
}

// rememberForwards takes in what either site sent on, and what came back to this one.
func (e *Engine) rememberForwards(logName string, r evidence.Record) error {
	if r.Kind == kindForwarding {
		return e.rememberForwarding(r)
	}
	return e.rememberBounced(logName, r)
}

func (e *Engine) rememberForwarding(r evidence.Record) error {
	if e.now().Sub(r.Time) >= bounceWithin {
		return nil
	}
	var f forwarding
	if err := r.Decode(&f); err != nil {
		return err
	}
	e.forwards.add(f.Mailbox, r.Key, f.Size, r.Time, e.now())
	return nil
}

// owe takes what came back. Why it did first is what its mailbox is told.
func (s *forwards) owe(id string, o owed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.owed[id]; !there {
		s.owed[id] = o
	}
}

func (s *forwards) given(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.owed, id)
}

func (s *forwards) allOwed() map[string]owed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.owed)
}

// rememberBounced takes in what came back to either site. Whether its mailbox has it by now is seen when it is given back.
func (e *Engine) rememberBounced(logName string, r evidence.Record) error {
	isForwarded, err := e.known(kindForwarding, r.Identifier, nil)
	if err != nil || !isForwarded {
		return err
	}
	o := owed{former: logName != e.logName}
	if err := r.Decode(&o.why); err != nil {
		return err
	}
	o.why.At = r.Time
	if site := evidence.SiteOf(logName); site != e.settings.Site {
		o.otherSite = site
	}
	e.forwards.owe(r.Identifier, o)
	return nil
}

// passOwed gives back what is owed. A site that was built anew first hears all that it had given.
func (e *Engine) passOwed(ctx context.Context) {
	for id, o := range e.forwards.allOwed() {
		if ctx.Err() != nil {
			return
		}
		if !o.former || e.recalled.Load() {
			e.giveBack(id, o)
		}
	}
}

// giveBack gives a mailbox what it sent on under an identifier and came back. What fails stays owed, and what is the other site's to give.
func (e *Engine) giveBack(id string, o owed) {
	given, err := e.cameBackAs(id, o)
	if err != nil {
		e.log.Warn("what was sent on came back, and its mailbox cannot have it yet; it is in custody, and tried again", "message", id, "error", err)
	}
	if given {
		e.forwards.given(id)
	}
}

func (e *Engine) cameBackAs(id string, o owed) (given bool, err error) {
	var f forwarding
	found, at, err := e.knownAt(kindForwarding, id, &f)
	if err != nil || !found {
		return false, cmp.Or(err, errUnrecorded)
	}
	site := cmp.Or(o.otherSite, e.settings.Site)
	key := deliveryKey(site, f.QueueID, f.Mailbox)
	defer e.locks.lock("ordinary " + key)()
	if over, err := e.hasEnd(key); err != nil || over {
		return over, err
	}
	if o.otherSite != "" && !e.hearing().mayAct(e.now(), o.why.At, 0, true) {
		return false, nil
	}
	err = e.cameBack(f, site, at, o.why)
	return err == nil, err
}
