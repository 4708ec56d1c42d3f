package engines

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// A dead engine that lets its callers wait keeps one of them waiting, and not a worker for each of its mailboxes.
func TestADeadEngineIsAwaitedByOne(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	first := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !first {
			asked <- struct{}{}
			<-answer
		}
		first = false
		http.Error(w, "the disk is gone", http.StatusInternalServerError)
	}))
	defer server.Close()
	now := time.Now()
	m := newMirror(admin.NewClient(server.URL, nil), func() time.Time { return now })
	look := func() error {
		_, err := m.Mailbox(context.Background(), "a@uno.test")
		return err
	}
	if look() == nil || m.Answers() {
		t.Fatal("a dead engine answers")
	}
	for range 2 { // the second time nobody is left over from the first
		now = now.Add(maxAge)
		again := make(chan error, 1)
		go func() { again <- look() }()
		<-asked
		for range 3 {
			if look() == nil {
				t.Error("a dead engine answers")
			}
		}
		answer <- struct{}{}
		if <-again == nil {
			t.Error("a dead engine answers")
		}
	}
}
