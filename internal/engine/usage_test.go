package engine

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/mailtest"
)

func (w *world) usage(_ context.Context, user string) (u admin.Usage, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.HasPrefix(user, "piena@") {
		return admin.Usage{Bytes: 1 << 20}, nil
	}
	for _, raw := range w.store[user] {
		u.Bytes, u.Messages = u.Bytes+int64(len(raw)), u.Messages+1
	}
	return u, nil
}

func TestUsage(t *testing.T) {
	mailtest.Inside(t, func(t *testing.T) {
		s, _, job := withDovecot(t)
		s.engine.doveadm = newDoveadm("http://127.0.0.1:24280", func() (string, error) { return mailtest.DoveadmKey, nil })
		operator := s.client(admin.OperatorURI("a"), s.authority)
		if u, err := operator.Usage(t.Context(), sender); err != nil || u != (admin.Usage{}) {
			t.Fatalf("an empty mailbox holds %+v, %v", u, err)
		}
		if err := job.MakeFolder(t.Context(), sender, "Prot"); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if _, err := job.Save(t.Context(), sender, newMessage("Prot", i+1, hostile), bytes.NewReader(hostile)); err != nil {
				t.Fatal(err)
			}
		}
		u, err := operator.Usage(t.Context(), sender)
		if size := 3 * int64(len(hostile)); err != nil || u.Messages != 3 || u.Bytes < size || u.Bytes > size+4096 {
			t.Errorf("three messages of %d bytes are %+v, %v", len(hostile), u, err)
		}
		if _, err := operator.Usage(t.Context(), "nessuno@"+ours); !errors.Is(err, admin.ErrNotFound) {
			t.Errorf("a mailbox that is not there: %v", err)
		}
	})
}
