package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/directory"
)

const (
	// endEvery is how soon it is tried again to end sessions that could not be ended, and endLongest the longest pause between two tries.
	endEvery   = time.Second
	endLongest = 30 * time.Second
	// endTimeout bounds the wait for Dovecot to end the sessions of one mailbox.
	endTimeout = 10 * time.Second
	// endPromptly bounds it for all mailboxes of a request, well below what the operator waits for its answer: a Dovecot that hangs for one
	// of them would leave the operator without an answer for any.
	endPromptly = 5 * time.Second
)

// endAgain is how much later than the first time the sessions of a mailbox are ended again. Dovecot reads a hash, checks a password with
// it, and knows of a session only after: one whose login was under way when its hash was replaced is not there yet. The slowest hash
// that is taken (package password) costs a second of a core, and a check that is not done after a minute is given up.
var endAgain = [...]time.Duration{5 * time.Second, 65 * time.Second}

// endSessions ends the open sessions of mailboxes whose rights changed (directory.Ending), of these or of all, and answers whose could
// not be. They stay noted, and runEnding tries them again; so do those that were ended, as often as endAgain says.
func (e *Engine) endSessions(ctx context.Context, addresses ...string) map[string]error {
	failed := map[string]error{}
	fail := func(err error, of ...string) {
		for _, address := range of {
			failed[address] = errors.Join(failed[address], err)
		}
	}
	ending, err := e.directory.Ending(ctx)
	if err != nil {
		fail(err, addresses...)
		return failed
	}
	var due []string
	for address := range ending {
		if (addresses == nil || slices.Contains(addresses, address)) && e.sessionEnds.due(address, ending[address].Change, e.now()) {
			due = append(due, address)
		}
	}
	errs, deactivates := make([]error, len(due)), make([]bool, len(due))
	eachOf(due, func(i int) {
		ctx, cancel := context.WithTimeout(ctx, endTimeout)
		defer cancel()
		end := ending[due[i]]
		deactivates[i] = end.FormerScript == directory.ScriptActive || end.FormerScript == directory.ScriptEndedThere && e.sessionEnds.isLast(due[i], end.Change)
		errs[i] = e.endSessionsIn(ctx, due[i], deactivates[i])
	})
	ended, deactivated := map[string]directory.End{}, []string{}
	for i, address := range due {
		if errs[i] == nil && deactivates[i] {
			deactivated = append(deactivated, address)
		}
		if errs[i] != nil {
			fail(errs[i], address)
		} else if e.sessionEnds.note(address, ending[address].Change, e.now()) {
			ended[address] = ending[address]
		}
	}
	ctx = context.WithoutCancel(ctx) // what ended did so, also when one of them took all the time
	if err := errors.Join(e.directory.ScriptsDeactivated(ctx, deactivated), e.directory.Ended(ctx, ended)); err != nil {
		e.log.Warn("the sessions of mailboxes ended, and will be ended again", "error", err)
	}
	for _, address := range deactivated {
		e.sync.changed(address) // the other site may leave it to this one
	}
	return failed
}

// endSessionsIn ends a mailbox's sessions in Dovecot and then, where it was opened again, deactivates its script, which is a former holder's.
// That is not done when it is closed: no message comes then, and the sync takes the word to the other site like any later choice of a
// script, where the mailbox may be open and its holder still there. Where the other site does it, this one does it only when no sync has
// brought the word until the sessions are ended for the last time: mail does not wait for longer.
func (e *Engine) endSessionsIn(ctx context.Context, address string, deactivates bool) error {
	if err := e.doveadmHTTP.kick(ctx, address); err != nil || !deactivates {
		return err
	}
	return e.doveadmHTTP.deactivate(ctx, address)
}

// deactivatedThere says whether another site opened a mailbox again since it was last closed at this one (openThere), and so deactivated the former
// holder's script. That word is newer than all of his, and the sync brings it; to say it here as well would end what the next holder has
// activated there since, at both sites. A site where the mailbox is new deactivated nothing.
func (l *standings) deactivatedThere(own string, others func(site string) bool, address string, closedAt time.Time) bool {
	other := l.openThere(own, others, address, closedAt)
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.last[address][other].ClosedAt.IsZero()
}

// sessionEnds are the mailboxes whose sessions were ended since their last change, and not for the last time. It is kept in memory: an engine
// that was killed begins anew.
type sessionEnds struct {
	mu sync.Mutex
	by map[string]sessionEnd
}

type sessionEnd struct {
	change int64
	first  time.Time
	times  int
}

// due says whether the sessions that a change left are to be ended now.
func (d *sessionEnds) due(address string, change int64, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	of, ok := d.by[address]
	return !ok || of.change != change || now.Sub(of.first) >= endAgain[of.times-1]
}

// isLast says whether the next time is the last one.
func (d *sessionEnds) isLast(address string, change int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	of := d.by[address]
	return of.change == change && of.times == len(endAgain)
}

// note notes that the sessions were ended, and says whether that was the last time. Two that do it at once count as one.
func (d *sessionEnds) note(address string, change int64, now time.Time) (last bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.by == nil {
		d.by = map[string]sessionEnd{}
	}
	of, ok := d.by[address]
	switch {
	case !ok || of.change != change:
		of = sessionEnd{change: change, first: now, times: 1}
	case now.Sub(of.first) < endAgain[of.times-1]:
		return false
	default:
		of.times++
	}
	if of.times > len(endAgain) {
		delete(d.by, address)
		return true
	}
	d.by[address] = of
	return false
}

// endSessionsOf is endSessions where nobody waits for the answer.
func (e *Engine) endSessionsOf(ctx context.Context, address string) {
	if err := e.endSessions(ctx, address)[address]; err != nil {
		e.log.Warn("ending the sessions of a mailbox whose rights changed; it is tried again", "mailbox", address, "error", err)
	}
}

// runEnding tries again what endSessions could not do, and does again what it did.
func (e *Engine) runEnding(ctx context.Context) error {
	for pause := endEvery; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		failed := e.endSessions(ctx)
		pause = endEvery
		for address, err := range failed {
			e.log.Warn("the sessions of a mailbox whose rights changed could still not be ended", "mailbox", address, "error", err)
			pause = endLongest
		}
	}
}

// logins tell who logged in to the submission port with a password that was changed since. Dovecot ends its own sessions; Postfix asks
// for a password once in a connection and never again. It is kept in memory: with the engine every connection to its milter ends, and
// Postfix takes nothing more over one that lost it.
type logins struct {
	mu      sync.Mutex
	last    uint64            // number of the last change of a password, of whichever mailbox
	changed map[string]uint64 // that of a mailbox's last one
}

func newLogins() *logins { return &logins{changed: map[string]uint64{}} }

// change notes that a mailbox has another password. It is called when the new one is in force.
func (l *logins) change(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	l.changed[fold(address)] = l.last
}

// changes is how many passwords were changed so far: a connection that begins now may have used none of the former ones.
func (l *logins) changes() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// former says whether a login of a connection that began after so many changes may have been made with a former password.
func (l *logins) former(address string, changesBefore uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed[fold(address)] > changesBefore
}
