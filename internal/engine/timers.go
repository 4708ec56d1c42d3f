package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// When the sender is told of a certified recipient's silence (RFC 6109 3.1.6). The last notice must be out within 24 hours, and
// not before 22: the margin is for an engine that is busy, or restarts.
const (
	firstNoticeAfter = 12 * time.Hour
	lastNoticeAfter  = 24*time.Hour - 5*time.Minute
	timersEvery      = time.Minute
)

// timers hold what we sent to certified recipients and have no outcome for. They are a view: the log has when each began
// (accepted), what was heard (acknowledged, settled) and what was sent (notice), and after a restart they are read from it.
type timers struct {
	mu   sync.Mutex
	open map[timerKey]time.Time // when it was sent
}

type timerKey struct{ identifier, rcpt string }

// start begins the timers of a submission.
func (t *timers) start(s accepted) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range s.Transit.Recipients {
		if r.Certified {
			t.open[timerKey{s.Transit.Identifier, fold(r.Address)}] = s.At
		}
	}
}

func (t *timers) end(k timerKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, k)
}

// due are the timers that began at least this long before now.
func (t *timers) due(now time.Time, after time.Duration) map[timerKey]time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := map[timerKey]time.Time{}
	for k, at := range t.open {
		if now.Sub(at) >= after {
			list[k] = at
		}
	}
	return list
}

func (t *timers) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// loadTimers reads from the log what is still to be heard of.
func (e *Engine) loadTimers() error {
	err := e.evidence.Each(func(r evidence.Record) error {
		if r.Kind != kindAccepted {
			return nil
		}
		var submission accepted
		if err := r.Decode(&submission); err != nil {
			return err
		}
		e.timers.start(submission)
		for _, rcpt := range submission.Transit.Recipients {
			if err := e.endTimer(timerKey{submission.Transit.Identifier, fold(rcpt.Address)}, submission); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the timers from the log: %w", err)
	}
	return nil
}

// endTimer takes a timer away whose recipient was heard of, or whose last notice is on its way; one that was only made is not.
func (e *Engine) endTimer(k timerKey, s accepted) error {
	settled, _, err := e.lookup(kindSettled, k.identifier+" "+k.rcpt, nil)
	if err != nil {
		return err
	}
	warned, _, err := e.lookup(kindInjected, injectionKey(e.warningID(k, pec.LastDeadline), s.Transit.Sender), nil)
	if err != nil {
		return err
	}
	if settled || warned {
		e.timers.end(k)
	}
	return nil
}

func (e *Engine) warningID(k timerKey, d pec.Deadline) string {
	return e.provider().NoticeID(k.identifier, pec.TypeTimeoutWarning, k.rcpt, string(d))
}

func (e *Engine) runTimers(ctx context.Context) error {
	tick := time.NewTicker(timersEvery)
	defer tick.Stop()
	for {
		e.passTimers()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// passTimers sends the notices that are due. One that cannot be sent now is due in the next pass too.
func (e *Engine) passTimers() {
	for k := range e.timers.due(e.now(), firstNoticeAfter) {
		if err := e.warn(k); err != nil {
			e.log.Error("sending a notice of silence", "identifier", k.identifier, "error", err)
		}
	}
}

// warn sends what is due about one recipient: the first notice if nothing at all was heard, the last if no outcome was.
func (e *Engine) warn(k timerKey) error {
	settled, _, err := e.lookup(kindSettled, k.identifier+" "+k.rcpt, nil)
	if err != nil {
		return err
	}
	if settled {
		e.timers.end(k)
		return nil
	}
	var submission accepted
	if found, _, err := e.lookup(kindAccepted, k.identifier, &submission); err != nil || !found {
		return err
	}
	acknowledged, _, err := e.lookup(kindAcknowledged, k.identifier+" "+k.rcpt, nil)
	if err != nil {
		return err
	}
	if !acknowledged {
		if err := e.issueWarning(k, submission, pec.FirstDeadline); err != nil {
			return err
		}
	}
	if e.now().Sub(submission.At) < lastNoticeAfter {
		return nil
	}
	if err := e.issueWarning(k, submission, pec.LastDeadline); err != nil {
		return err
	}
	e.timers.end(k)
	return nil
}

func (e *Engine) issueWarning(k timerKey, s accepted, d pec.Deadline) error {
	id, at := e.warningID(k, d), noticeTime(e.now())
	return e.issue(notice{id: id, kind: pec.TypeTimeoutWarning, identifier: k.identifier, to: s.Transit.Sender, about: k.rcpt, write: written(func(signer *pec.Signer) ([]byte, error) {
		return signer.TimeoutWarning(e.provider(), s.Transit.transit(), id, k.rcpt, d, at)
	})})
}
