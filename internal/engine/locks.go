package engine

import "sync"

// locks is a mutex per key. Two transactions that carry the same message must not both find its step undone.
type locks struct {
	mu   sync.Mutex
	held map[string]*lockOf
}

type lockOf struct {
	sync.Mutex
	users int
}

// lock waits for the key and returns what lets it go.
func (l *locks) lock(key string) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*lockOf{}
	}
	k := l.held[key]
	if k == nil {
		k = &lockOf{}
		l.held[key] = k
	}
	k.users++
	l.mu.Unlock()
	k.Lock()
	return func() {
		k.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, key)
		}
	}
}
