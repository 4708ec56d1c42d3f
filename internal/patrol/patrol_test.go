package patrol

import (
	"context"
	"testing"
	"time"
)

func TestAPatrolWaitsForNobody(t *testing.T) {
	done := make(chan string)
	p := &Patrol[int]{Width: 4, Done: func(key string) { done <- key }}
	if p.Begin("early", func(context.Context) int { return 0 }) {
		t.Error("work began before Open")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = p.Start(ctx) }()
	begin := func(key string, work func(context.Context) int) bool {
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if p.Begin(key, work) {
				return true
			}
		}
		return false
	}
	stuck := make(chan struct{})
	if !begin("slow", func(context.Context) int { <-stuck; return 1 }) || p.Begin("slow", func(context.Context) int { return 2 }) {
		t.Fatal("a key has one piece of work at a time")
	}
	if !begin("quick", func(context.Context) int { return 3 }) || <-done != "quick" {
		t.Fatal("quick work waits for slow work")
	}
	if got, ok := p.Take("quick"); got != 3 || !ok {
		t.Errorf("took %d, %v", got, ok)
	}
	if _, ok := p.Take("quick"); ok {
		t.Error("a result is taken once")
	}
	close(stuck)
	if key := <-done; key != "slow" {
		t.Errorf("%s is done", key)
	}
	if got, _ := p.Take("slow"); got != 1 {
		t.Errorf("took %d", got)
	}

	again := make(chan struct{})
	begin("ended", func(context.Context) int { return 4 })
	<-done
	begin("under way", func(context.Context) int { <-again; return 5 })
	p.Forget("ended")
	p.Forget("under way")
	if p.Begin("under way", func(context.Context) int { return 6 }) {
		t.Error("a key that was forgotten has two pieces of work")
	}
	close(again)
	<-done
	if len(p.results)+len(p.running) > 0 {
		t.Errorf("of what was forgotten is left: %v, %v", p.results, p.running)
	}
}
