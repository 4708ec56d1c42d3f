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

// forwards are what each mailbox sent on of late, at either site, and what came back to this one and its mailbox does not have yet: a view of
// the logs.
type forwards struct {
	mu   sync.Mutex
	by   map[string]map[string]sized // by mailbox, then by the record's key: logs that tell of it twice count once
	owed map[string]owed             // by the key of its forwarding
}

type owed struct {
	why    failure // that it came back
	former bool    // told by a log of before this site was built anew, of which not all may be here
}

type sized struct {
	at   time.Time
	size int64
}

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
	if s.by[mailbox] == nil {
		s.by[mailbox] = map[string]sized{}
	}
	s.by[mailbox][key] = sized{at: at, size: size}
}

// bytes are those that a mailbox sent on within bounceWithin.
func (s *forwards) bytes(mailbox string, now time.Time) (sum int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.by[mailbox]
	maps.DeleteFunc(of, func(_ string, m sized) bool { return now.Sub(m.at) >= bounceWithin })
	if len(of) == 0 {
		delete(s.by, mailbox)
	}
	for _, m := range of {
		sum += m.size
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

// rememberBounced takes in what came back to this site. Whether its mailbox has it by now is seen when it is given back.
func (e *Engine) rememberBounced(logName string, r evidence.Record) error {
	if evidence.SiteOf(logName) != e.settings.Site {
		return nil
	}
	isForwarded, err := e.lookup(kindForwarding, r.Identifier, nil)
	if err != nil || !isForwarded {
		return err
	}
	var why failure
	if err := r.Decode(&why); err != nil {
		return err
	}
	e.forwards.owe(r.Identifier, owed{why: why, former: logName != e.logName})
	return nil
}

// passOwed gives back what is owed. A site that was built anew first hears all that it had given.
func (e *Engine) passOwed(ctx context.Context) {
	for id, o := range e.forwards.allOwed() {
		if ctx.Err() != nil {
			return
		}
		if !o.former || e.recalled.Load() {
			e.giveBack(id, o.why)
		}
	}
}

// giveBack gives a mailbox what it sent on under an identifier and came back. What fails stays owed.
func (e *Engine) giveBack(id string, why failure) {
	if err := e.cameBackAs(id, why); err != nil {
		e.log.Warn("what was sent on came back, and its mailbox cannot have it yet; it is in custody, and tried again", "message", id, "error", err)
		return
	}
	e.forwards.given(id)
}

func (e *Engine) cameBackAs(id string, why failure) error {
	var f forwarding
	found, at, err := e.lookupAt(kindForwarding, id, &f)
	if err != nil || !found {
		return cmp.Or(err, errUnrecorded)
	}
	defer e.locks.lock("ordinary " + deliveryKey(e.settings.Site, f.QueueID, f.Mailbox))()
	return e.cameBack(f, at, why)
}
