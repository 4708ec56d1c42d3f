package manager_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/manager"
)

// TestAnEngineThatIsAway has a stack's engine restart under many mailboxes: its domain says so, and of the mailboxes only those that have
// something to change. Away for long it is every mailbox's matter.
func TestAnEngineThatIsAway(t *testing.T) {
	var ahead atomic.Int64
	s := newSite(t, "assenza", siteOptions{change: func(o *manager.Options) {
		o.UsageEvery = time.Second // so that passes come to all mailboxes while it is away
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}})
	domain := s.makeDomain()
	s.provide(t)
	s.create(t, domain, password(s.ns, hashed))
	s.ready(t, domain)
	boxes := make([]*v1alpha1.Mailbox, awayBoxes)
	each(t, len(boxes), func(i int) error {
		boxes[i] = makeMailbox(s.ns, fmt.Sprintf("casella.%d", i), s.domain)
		return s.Create(context.Background(), boxes[i])
	})
	eventuallyWithin(t, awayBoxes*500*time.Millisecond, func() error { return s.allReady(awayBoxes) })
	goes := func(token string) {
		t.Helper()
		s.settle(t)
		s.behind(t, func(e *apitest.Engine) { e.Down = true })
		s.request(t, domain, token)
		s.waitFor(t, domain, v1alpha1.ConditionStackReady, metav1.ConditionFalse, v1alpha1.ReasonEngineUnreachable)
	}
	returns := func(token string) {
		t.Helper()
		s.behind(t, func(e *apitest.Engine) { e.Down = false })
		s.request(t, domain, token)
		s.ready(t, domain)
	}
	// wrote are the writes since the last settle, in all and to mailboxes but for those.
	wrote := func(but ...*v1alpha1.Mailbox) (all, ofMailboxes int) {
		for _, call := range s.writes.Take() {
			all++
			isBut := false
			for _, b := range but {
				isBut = isBut || strings.Contains(call, "/"+b.Name+"/")
			}
			if strings.Contains(call, "/mailboxes/") && !isBut {
				ofMailboxes++
			}
		}
		return all, ofMailboxes
	}

	t.Run("for a short while", func(t *testing.T) {
		began, passes := time.Now(), passesOver(t, "Mailbox")
		goes("away")
		time.Sleep(time.Until(began.Add(awayFor)))
		returns("back")
		time.Sleep(2 * time.Second)
		all, n := wrote()
		t.Logf("away for %s: %d writes, %d of them to the %d mailboxes, in %d passes over them", awayFor, all, n, awayBoxes, passesOver(t, "Mailbox")-passes)
		if n > 0 {
			t.Errorf("%d writes to mailboxes that had nothing to change", n)
		}
		if passesOver(t, "Mailbox")-passes < awayBoxes {
			t.Error("the quiet is that of an operator that does not look")
		}
	})
	t.Run("under a change, a new mailbox and a restart of the operator", func(t *testing.T) {
		goes("away again")
		changed, fresh := boxes[0], makeMailbox(s.ns, "nuova", s.domain)
		update(t, s, changed, func(m *v1alpha1.Mailbox) { m.Spec.Access = v1alpha1.AccessSuspended })
		s.create(t, fresh)
		c := s.waitFor(t, changed, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonEngineUnreachable)
		if !strings.Contains(c.Message, "in force when the engine answers again") || changed.Status.EffectiveAccess.Access != v1alpha1.LevelFull {
			t.Errorf("its holder may do %s, and it says: %s", changed.Status.EffectiveAccess.Access, c.Message)
		}
		s.waitFor(t, fresh, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDomainNotReady)
		passes := passesOver(t, "Mailbox")
		s.restart()
		// Of a change that this operator has not seen before it says so too.
		other := boxes[1]
		update(t, s, other, func(m *v1alpha1.Mailbox) { m.Spec.Access = v1alpha1.AccessReadOnly })
		s.waitFor(t, other, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDomainNotReady)
		eventually(t, func() error {
			if passesOver(t, "Mailbox") == passes {
				return errors.New("the operator has not looked")
			}
			return nil
		})
		time.Sleep(2 * time.Second)
		returns("back again")
		s.ready(t, changed, other, fresh)
		s.behind(t, func(e *apitest.Engine) {
			if is := e.Rows[changed.Address()].Access; is != admin.AccessSuspended {
				t.Errorf("the row is %s", is)
			}
		})
		if _, n := wrote(changed, other, fresh); n > 0 {
			t.Errorf("%d writes to mailboxes that had nothing to change", n)
		}
	})
	t.Run("for long", func(t *testing.T) {
		goes("away for long")
		ahead.Store(int64(6 * time.Minute))
		eventually(t, func() error { return s.allReady(0) })
		box := boxes[2]
		s.read(t, box)
		if c := meta.FindStatusCondition(box.Status.Conditions, v1alpha1.ConditionReady); c.Reason != v1alpha1.ReasonDomainNotReady ||
			meta.FindStatusCondition(box.Status.Conditions, v1alpha1.ConditionQuotaHealthy) == nil {
			t.Errorf("it says %+v", box.Status.Conditions)
		}
		returns("back at last")
		eventually(t, func() error { return s.allReady(awayBoxes + 1) })
		all, n := wrote()
		t.Logf("away for long: %d writes, %d of them to the %d mailboxes", all, n, awayBoxes+1)
		if n > 3*(awayBoxes+1) {
			t.Errorf("%d writes to %d mailboxes, want two each and no more than one that lost against the other", n, awayBoxes+1)
		}
	})
}
