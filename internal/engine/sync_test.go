package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// syncing is a syncer whose syncs are recorded.
type syncing struct {
	*syncer
	mu   sync.Mutex
	done map[string]int
	fail error
}

func newSyncing(mailboxes ...string) *syncing {
	s := &syncing{done: map[string]int{}}
	s.syncer = &syncer{
		now: time.Now, log: slog.New(slog.NewTextHandler(io.Discard, nil)), pending: map[string]pendingSync{}, running: map[string]bool{}, wake: make(chan struct{}, 1),
		peer: func(context.Context) bool { return true }, count: func(string) {},
		mailboxes: func(context.Context) ([]string, error) { return mailboxes, nil },
		sync: func(_ context.Context, mailbox string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.done[mailbox]++
			return s.fail
		},
	}
	return s
}

func (s *syncing) count(mailbox string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done[mailbox]
}

func TestSyncer(t *testing.T) {
	cases := map[string]func(t *testing.T, s *syncing){
		"syncs every mailbox after a start": func(t *testing.T, s *syncing) {
			time.Sleep(3 * time.Second)
			if s.count("a") != 1 || s.count("b") != 1 {
				t.Errorf("syncs: %v", s.done)
			}
		},
		"makes one sync of many deliveries within a second": func(t *testing.T, s *syncing) {
			time.Sleep(3 * time.Second)
			for range 10 {
				s.changed("a")
				time.Sleep(50 * time.Millisecond)
			}
			time.Sleep(3 * time.Second)
			if s.count("a") != 2 {
				t.Errorf("syncs: %v", s.done)
			}
		},
		"tries again while the peer is away, within the longest wait of its return": func(t *testing.T, s *syncing) {
			s.mu.Lock()
			s.fail = errors.New("away")
			s.mu.Unlock()
			time.Sleep(10 * time.Minute)
			if p := s.state(true); p.Pending != 2 || p.LastError != "away" {
				t.Errorf("while away: %+v", p)
			}
			s.mu.Lock()
			s.fail = nil
			a, b := s.done["a"], s.done["b"]
			s.mu.Unlock()
			time.Sleep(syncBackoff + syncBackoff/10 + time.Second)
			// Pending may be 2 again: the full pass of all mailboxes falls into these minutes.
			if p := s.state(true); s.count("a") == a || s.count("b") == b || p.LastError != "" {
				t.Errorf("after its return: %v, %+v", s.done, p)
			}
		},
		"syncs all mailboxes again and again": func(t *testing.T, s *syncing) {
			time.Sleep(3 * syncEvery)
			if n := s.count("a"); n < 3 || n > 5 {
				t.Errorf("syncs: %v", s.done)
			}
		},
	}
	for name, check := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSyncing("a", "b")
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- s.run(ctx) }()
				check(t, s)
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
