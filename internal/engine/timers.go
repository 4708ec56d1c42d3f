package engine

import (
	"context"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// When the sender is told of a certified recipient's silence (RFC 6109 3.1.6). The last notice must be out within 24 hours, and
// not before 22: the margin is for an engine that is busy, or restarts.
//
// A notice must be true, and the receipt that makes it untrue may have come to the other site. So it is sent when all is here that
// the other site had recorded by the time that it was due. While the other site is silent it waits, but not past the time at which
// the law wants it: an hour for the first notice, for which there is no end in the rules, and four minutes for the last.
//
// The site that took the submission sends. The other one sends in its place only after a silence of twelve hours: then the building
// is gone rather than cut off. Until then it could not know what was heard there, and afterwards both have the same Message-ID.
const (
	firstNoticeAfter = 12 * time.Hour
	lastNoticeAfter  = 24*time.Hour - 5*time.Minute
	firstNoticeWaits = time.Hour
	lastNoticeWaits  = 4 * time.Minute
	takenOverAfter   = 12 * time.Hour
	timersEvery      = time.Minute
)

// timers hold what was sent to certified recipients, at either site, and has no outcome. They are a view: the logs have when each
// began (accepted), what was heard (acknowledged, settled) and what was sent (notice), and after a restart they are read from them.
type timers struct {
	mu   sync.Mutex
	open map[timerKey]timer
}

type timerKey struct{ identifier, rcpt string }

// key is that of the records about the recipient.
func (k timerKey) key() string { return k.identifier + " " + k.rcpt }

type timer struct {
	at   time.Time // when it was sent
	site string    // that took the submission
}

// start begins the timers of a submission.
func (t *timers) start(s accepted, site string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range s.Transit.Recipients {
		if r.Certified {
			t.open[timerKey{s.Transit.Identifier, fold(r.Address)}] = timer{s.At, site}
		}
	}
}

func (t *timers) isOpen(k timerKey) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.open[k]
	return ok
}

func (t *timers) end(k timerKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, k)
}

// due are the timers that began at least this long before now.
func (t *timers) due(now time.Time, after time.Duration) map[timerKey]timer {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := map[timerKey]timer{}
	for k, one := range t.open {
		if now.Sub(one.at) >= after {
			list[k] = one
		}
	}
	return list
}

// count is how many submissions' recipients of one site are waited for.
func (t *timers) count(site string) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range t.open {
		if one.site == site {
			n++
		}
	}
	return n
}

// endTimer takes a timer away whose recipient was heard of, or whose last notice is on its way; one that was only made is not.
func (e *Engine) endTimer(k timerKey, s accepted) error {
	settled, err := e.known(kindSettled, k.key(), nil)
	if err != nil {
		return err
	}
	warned, err := e.known(kindInjected, injectionKey(e.warningID(k, pec.LastDeadline), s.Transit.Sender), nil)
	if err != nil {
		return err
	}
	if settled || warned {
		e.timers.end(k)
	}
	return nil
}

// hearing is what an engine knows of the other site when it decides whether something is its own to do.
type hearing struct {
	alone      bool      // there is no other site
	caughtUpAt time.Time // all that the other site had recorded by then is here
	began      time.Time // when this engine started, or first reached the other site since: before, it had no chance to hear
}

// mayAct decides whether what was due at an instant, a notice or the delivery of what waits, is done now. What is of the other site, because that
// took the submission or holds the message, is that site's to do while it may be alive. patience is how long the other site may be waited for.
func (h hearing) mayAct(now, due time.Time, patience time.Duration, ofOtherSite bool) bool {
	switch {
	case now.Before(due):
		return false
	case ofOtherSite:
		return now.Sub(latest(h.caughtUpAt, h.began)) >= takenOverAfter && !now.Before(due.Add(patience))
	case h.alone || !h.caughtUpAt.Before(due):
		return true
	}
	return !now.Before(latest(due, h.began).Add(patience))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// hearing is what this engine knows now. Without a peer, and without a mirror of what one wrote, it is alone.
func (e *Engine) hearing() hearing {
	h := e.replica.hearing()
	h.alone = !e.hasPeer(context.Background()) && len(e.mirrors.all()) == 0
	return h
}

func (e *Engine) warningID(k timerKey, d pec.Deadline) string {
	return e.provider().NoticeID(k.identifier, pec.TypeTimeoutWarning, k.rcpt, string(d))
}

func (e *Engine) runTimers(ctx context.Context) error {
	tick := time.NewTicker(timersEvery)
	defer tick.Stop()
	for {
		e.retryLater(ctx)
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
	for k, t := range e.timers.due(e.now(), firstNoticeAfter) {
		if err := e.warn(k, t); err != nil {
			e.log.Error("sending a notice of silence", "identifier", k.identifier, "error", err)
		}
	}
}

// warn sends what is due about one recipient: the first notice if nothing at all was heard, the last if no outcome was.
func (e *Engine) warn(k timerKey, t timer) error {
	var submission accepted
	if found, err := e.known(kindAccepted, k.identifier, &submission); err != nil || !found {
		return err
	}
	defer e.locks.lock("outcome " + k.key())() // a failure that is found meanwhile is told, or this is
	if err := e.endTimer(k, submission); err != nil || !e.timers.isOpen(k) {
		return err
	}
	now, h, others := e.now(), e.hearing(), t.site != e.settings.Site
	acknowledged, err := e.known(kindAcknowledged, k.key(), nil)
	if err != nil {
		return err
	}
	if !acknowledged && h.mayAct(now, t.at.Add(firstNoticeAfter), firstNoticeWaits, others) {
		if err := e.issueWarning(k, submission, pec.FirstDeadline); err != nil {
			return err
		}
	}
	if !h.mayAct(now, t.at.Add(lastNoticeAfter), lastNoticeWaits, others) {
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
