// Package patrol runs work in the background of a controller.
package patrol

import (
	"context"
	"sync"
)

// Patrol works in the background, on one thing per key at a time, so that a silent server holds up nobody who waits for another. What a piece of work ends in is kept until it is taken.
type Patrol[T any] struct {
	// Width is how many pieces of work run at once.
	Width int
	// Done is told of each key whose work has ended.
	Done func(key string)

	lock    sync.Mutex
	ctx     context.Context //nolint:containedctx // the life of the process that works, given once by Open
	slots   chan struct{}
	running map[string]bool // by key; false where nobody wants to know any more
	results map[string]T
}

// Open lets work begin, until ctx ends.
func (p *Patrol[T]) Open(ctx context.Context) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.ctx, p.slots = ctx, make(chan struct{}, p.Width)
	p.running, p.results = map[string]bool{}, map[string]T{}
}

// Start is Open, and returns when ctx ends.
func (p *Patrol[T]) Start(ctx context.Context) error {
	p.Open(ctx)
	<-ctx.Done()
	return nil
}

// Begin starts a piece of work for a key. It answers false while there is one already, or before Open.
func (p *Patrol[T]) Begin(key string, work func(context.Context) T) bool {
	p.lock.Lock()
	defer p.lock.Unlock()
	if _, runs := p.running[key]; runs || p.ctx == nil {
		return false
	}
	p.running[key] = true
	go p.work(p.ctx, key, work)
	return true
}

func (p *Patrol[T]) work(ctx context.Context, key string, work func(context.Context) T) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	result := work(ctx)
	<-p.slots
	p.lock.Lock()
	if p.running[key] {
		p.results[key] = result
	}
	delete(p.running, key)
	p.lock.Unlock()
	if ctx.Err() == nil {
		p.Done(key)
	}
}

// Take answers what the last piece of work for a key ended in, once.
func (p *Patrol[T]) Take(key string) (result T, ok bool) {
	p.lock.Lock()
	defer p.lock.Unlock()
	result, ok = p.results[key]
	delete(p.results, key)
	return result, ok
}

// Forget lets go of what a key's work ended in, or will end in.
func (p *Patrol[T]) Forget(key string) {
	p.lock.Lock()
	defer p.lock.Unlock()
	delete(p.results, key)
	if p.running[key] {
		p.running[key] = false
	}
}
