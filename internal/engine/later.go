package engine

import (
	"context"
	"sync"
)

// retries are the mailboxes of which something failed, or depends on whether the other site is heard: in a minute it is done again. It is kept
// in memory: a start does all of it for every mailbox.
type retries struct {
	mu        sync.Mutex
	addresses map[string]bool
}

func (l *retries) add(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.addresses == nil {
		l.addresses = map[string]bool{}
	}
	l.addresses[address] = true
}

func (l *retries) take() (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for address := range l.addresses {
		list = append(list, address)
	}
	clear(l.addresses)
	return list
}

// retryLater is done every minute. It records how the mailboxes of the list stand, where that failed, derives them (derivePassword), and ends
// the sessions that another password leaves.
func (e *Engine) retryLater(ctx context.Context) {
	for _, address := range e.later.take() {
		e.noteLate(ctx, address)
		e.deriveSoon(ctx, address)
		e.endSessionsOf(ctx, address)
	}
}
