package engine

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
)

const (
	syncCoalesce = time.Second      // deliveries to one mailbox within it are one sync
	syncEvery    = 10 * time.Minute // all mailboxes, because what a holder deletes or moves tells us nothing
	syncBackoff  = 30 * time.Second // the longest wait after failures: a healed link is used within it
	syncWorkers  = 4
)

// syncer keeps, and works through, the list of mailboxes that may differ from the other site's. It is derived state: after a
// start every mailbox is on the list.
type syncer struct {
	now       func() time.Time
	log       *slog.Logger
	sync      func(ctx context.Context, mailbox string) error
	mailboxes func(ctx context.Context) ([]string, error)
	peer      func(ctx context.Context) bool // whether there is one
	count     func(outcome string)
	wake      chan struct{}

	mu          sync.Mutex
	pending     map[string]pendingSync
	running     map[string]bool
	lastSuccess time.Time
	lastError   string
}

type pendingSync struct {
	due      time.Time
	failures int
}

// changed puts a mailbox on the list.
func (s *syncer) changed(mailbox string) { s.put(mailbox, s.now().Add(syncCoalesce)) }

func (s *syncer) put(mailbox string, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.pending[mailbox]; !ok || due.Before(p.due) {
		s.pending[mailbox] = pendingSync{due: due, failures: p.failures}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// all puts every mailbox on the list, spread over a time so that a full pass is not a burst.
func (s *syncer) all(ctx context.Context, spread time.Duration) {
	mailboxes, err := s.mailboxes(ctx)
	if err != nil {
		s.log.Error("listing mailboxes to sync", "error", err)
		return
	}
	for _, mailbox := range mailboxes {
		s.put(mailbox, s.now().Add(rand.N(spread)))
	}
}

// state is what the operator sees.
func (s *syncer) state(configured bool) admin.PeerState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return admin.PeerState{Configured: configured, LastSuccess: s.lastSuccess, Pending: len(s.pending) + len(s.running), LastError: s.lastError}
}

// run works until the context ends.
func (s *syncer) run(ctx context.Context) error {
	s.all(ctx, syncCoalesce)
	fullPass := time.NewTimer(jittered(syncEvery))
	defer fullPass.Stop()
	free := make(chan struct{}, syncWorkers)
	var workers sync.WaitGroup
	defer workers.Wait()
	for {
		mailbox, wait := s.next(ctx)
		if mailbox != "" {
			free <- struct{}{}
			workers.Go(func() {
				s.one(ctx, mailbox)
				<-free
			})
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-fullPass.C:
			s.all(ctx, syncEvery/10)
			fullPass.Reset(jittered(syncEvery))
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// next takes a mailbox that is due off the list, or says how long there is nothing to do.
func (s *syncer) next(ctx context.Context) (mailbox string, wait time.Duration) {
	const idle = 5 * time.Second
	if ctx.Err() != nil || !s.peer(ctx) {
		return "", idle
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	wait = idle
	for name, p := range maps.All(s.pending) {
		if s.running[name] {
			continue
		}
		if left := p.due.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		s.running[name] = true
		return name, 0
	}
	return "", wait
}

// one syncs a mailbox. What changes meanwhile is put on the list again and not lost with this run's entry.
func (s *syncer) one(ctx context.Context, mailbox string) {
	s.mu.Lock()
	failures := s.pending[mailbox].failures
	delete(s.pending, mailbox)
	s.mu.Unlock()
	err := s.sync(ctx, mailbox)
	s.mu.Lock()
	delete(s.running, mailbox)
	if err == nil {
		s.lastSuccess, s.lastError = s.now(), ""
	} else {
		s.lastError = err.Error()
	}
	s.mu.Unlock()
	if err == nil {
		s.count("done")
		return
	}
	s.count("failed")
	s.log.Warn("syncing a mailbox with the other site", "mailbox", mailbox, "failures", failures+1, "error", err)
	s.mu.Lock()
	s.pending[mailbox] = pendingSync{due: s.now().Add(jittered(backoff(failures))), failures: failures + 1}
	s.mu.Unlock()
}

func backoff(failures int) time.Duration {
	return min(syncBackoff, time.Second<<min(failures, 10))
}

// jittered is a duration up to a tenth away from d, so that two sites do not fall into step.
func jittered(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5+1) }
