package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
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

// endSessions ends the open sessions of mailboxes whose rights changed (directory.Ending), of these or of all, and answers whose could
// not be. They stay noted, and runEnding tries them again.
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
		if addresses == nil || slices.Contains(addresses, address) {
			due = append(due, address)
		}
	}
	errs := make([]error, len(due))
	eachOf(due, func(i int) {
		ctx, cancel := context.WithTimeout(ctx, endTimeout)
		defer cancel()
		errs[i] = e.doveadm.kick(ctx, due[i])
	})
	ended := map[string]int64{}
	for i, address := range due {
		if errs[i] != nil {
			fail(errs[i], address)
		} else {
			ended[address] = ending[address]
		}
	}
	if err := e.directory.Ended(context.WithoutCancel(ctx), ended); err != nil { // what ended did so, also when one of them took all the time
		e.log.Warn("the sessions of mailboxes ended, and will be ended again", "error", err)
	}
	return failed
}

// endSessionsOf is endSessions where nobody waits for the answer.
func (e *Engine) endSessionsOf(ctx context.Context, address string) {
	if err := e.endSessions(ctx, address)[address]; err != nil {
		e.log.Warn("ending the sessions of a mailbox whose rights changed; it is tried again", "mailbox", address, "error", err)
	}
}

// runEnding tries again what endSessions could not do.
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
	last    uint64            // change of a password, of whichever mailbox
	changed map[string]uint64 // the last one of a mailbox
}

func newLogins() *logins { return &logins{changed: map[string]uint64{}} }

// change notes that a mailbox has another password. It is called when the new one is in force.
func (l *logins) change(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	l.changed[fold(address)] = l.last
}

// now is what a connection that begins now comes after.
func (l *logins) now() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// former says whether a login of a connection that began then may have been made with a former password.
func (l *logins) former(address string, began uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed[fold(address)] > began
}
