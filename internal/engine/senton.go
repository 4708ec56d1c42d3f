package engine

import (
	"maps"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/evidence"
)

// sentOnWithin is for how long Postfix may still give back what was sent on: maximal_queue_lifetime of it, and then of its bounce. What a
// mailbox sends on within it is bounded by its quota: each message takes the room of one that is delivered, and nothing that its holder
// deletes makes room.
const sentOnWithin = 48 * time.Hour

// sentOn is what each mailbox sent on of late, at either site: a view of the logs.
type sentOn struct {
	mu sync.Mutex
	by map[string]map[string]sized // by mailbox, then by the record's key: logs that tell of it twice count once
}

type sized struct {
	at   time.Time
	size int64
}

func newSentOn() *sentOn { return &sentOn{by: map[string]map[string]sized{}} }

// add takes what was sent on at a time under a key; what is too old by now is nobody's concern.
func (s *sentOn) add(mailbox, key string, size int64, at, now time.Time) {
	if now.Sub(at) >= sentOnWithin { // a start reads years of them
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by[mailbox] == nil {
		s.by[mailbox] = map[string]sized{}
	}
	s.by[mailbox][key] = sized{at: at, size: size}
}

// bytes are those that a mailbox sent on within sentOnWithin.
func (s *sentOn) bytes(mailbox string, now time.Time) (sum int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.by[mailbox]
	maps.DeleteFunc(of, func(_ string, m sized) bool { return now.Sub(m.at) >= sentOnWithin })
	if len(of) == 0 {
		delete(s.by, mailbox)
	}
	for _, m := range of {
		sum += m.size
	}
	return sum
}

func (e *Engine) rememberForwarding(r evidence.Record) error {
	if e.now().Sub(r.Time) >= sentOnWithin {
		return nil
	}
	var f forwarding
	if err := r.Decode(&f); err != nil {
		return err
	}
	e.sentOn.add(f.Mailbox, r.Key, f.Size, r.Time, e.now())
	return nil
}
