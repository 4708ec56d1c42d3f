package reconcile

import (
	"math/rand/v2"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Looks remembers when something that costs more than a pass is looked at next, for each object. Losing it is looking once more. It is
// safe for concurrent use.
type Looks struct {
	// Every is how often; up to a fifth is added, so that what was made at once is not looked at at once.
	Every time.Duration

	mu   sync.Mutex
	next map[types.NamespacedName]time.Time
}

// Due says whether to look now, and how long it is until the next look. known says that an earlier look's answer is there: then the
// first look after a start comes some time within the period, because that of all other objects does too.
func (l *Looks) Due(key types.NamespacedName, known bool, now time.Time) (bool, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next, seen := l.next[key]
	if seen && now.Before(next) {
		return false, next.Sub(now)
	}
	if l.next == nil {
		l.next = map[types.NamespacedName]time.Time{}
	}
	due, after := true, l.Every+rand.N(l.Every/5)
	if !seen && known {
		due, after = false, rand.N(l.Every)
	}
	l.next[key] = now.Add(after)
	return due, after
}

// Forget drops what is remembered of an object that is gone.
func (l *Looks) Forget(key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.next, key)
}
