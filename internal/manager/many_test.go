package manager_test

import (
	"context"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/apitest"
)

// hashed is a password that need not be hashed: a thousand times a quarter of a second of a core would be the test.
const hashed = "{BLF-CRYPT}$2y$12$abcdefghijklmnopqrstuu5s7vVbDTDFeJRX5.GkCGyY/y6vyDSMm"

// TestManyMailboxes makes many mailboxes at once, and then has every one of them looked at again and again: a new mailbox is one write
// of the operator's, and a quiet one none.
func TestManyMailboxes(t *testing.T) {
	s := newSite(t, "molti", siteOptions{})
	const first = "first"
	domain := s.makeDomain(func(d *v1alpha1.PECDomain) {
		d.Annotations = map[string]string{v1alpha1.ReconcileRequestedAnnotation: first}
	})
	s.provide(t)
	s.create(t, domain, password(s.ns, hashed))
	s.ready(t, domain)
	s.settle(t)

	boxes := make([]*v1alpha1.Mailbox, many)
	began := time.Now()
	each(t, many, func(i int) error {
		boxes[i] = makeMailbox(s.ns, fmt.Sprintf("casella.%d", i), s.domain, func(m *v1alpha1.Mailbox) {
			m.Annotations = map[string]string{v1alpha1.ReconcileRequestedAnnotation: first}
		})
		return s.Create(context.Background(), boxes[i])
	})
	eventuallyWithin(t, many*500*time.Millisecond, func() error { return s.allReady(many) })
	t.Logf("%d mailboxes were Ready after %.1f s", many, time.Since(began).Seconds())
	time.Sleep(2 * time.Second) // what was gathered is counted
	writes := map[string]int{}
	for _, call := range s.writes.Take() {
		if strings.Contains(call, "/mailboxes/") {
			writes[path.Base(path.Dir(call))]++
		}
		if strings.HasSuffix(call, "/events") {
			t.Errorf("an event is a write too: %s", call)
		}
	}
	for _, box := range boxes {
		if n := writes[box.Name]; n != 1 {
			t.Errorf("%d writes for the new mailbox %s, want one", n, box.Name)
		}
	}

	s.settle(t)
	var puts int
	s.pods.With(t, s.domain, func(e *apitest.Engine) { puts = e.Puts })
	before, beforeDomain, rounds := passesOver(t, "Mailbox"), passesOver(t, "PECDomain"), 0
	for began := time.Now(); time.Since(began) < quietFor; rounds += 2 {
		// Withdrawing a request and making the one that was answered are passes, and nothing to write down.
		for _, request := range []string{"", first} {
			each(t, many, func(i int) error {
				patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.ReconcileRequestedAnnotation, request)
				return s.Patch(context.Background(), boxes[i].DeepCopy(), client.RawPatch("application/merge-patch+json", patch))
			})
			s.request(t, domain, request)
			time.Sleep(time.Second)
		}
	}
	passes, domainPasses := passesOver(t, "Mailbox")-before, passesOver(t, "PECDomain")-beforeDomain
	t.Logf("%d passes over %d mailboxes, %d over their domain, in %s", passes, many, domainPasses, quietFor)
	if passes < 2*many || domainPasses < rounds {
		t.Errorf("%d passes only: the quiet is that of an operator that does not look", passes)
	}
	if calls := s.writes.Take(); len(calls) > 0 {
		t.Errorf("%d rounds of passes over quiet mailboxes wrote %d times, first %q", rounds, len(calls), calls[0])
	}
	s.pods.With(t, s.domain, func(e *apitest.Engine) {
		if e.Puts != puts {
			t.Errorf("the same rounds wrote %d times to the engine", e.Puts-puts)
		}
	})
}

// each calls f with the numbers below n, a few at a time.
func each(t *testing.T, n int, f func(int) error) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(8)
	for i := range n {
		group.Go(func() error { return f(i) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func (s *site) allReady(want int) error {
	var list v1alpha1.MailboxList
	if err := s.List(context.Background(), &list, client.InNamespace(s.ns)); err != nil {
		return err
	}
	n := 0
	for i := range list.Items {
		if meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, v1alpha1.ConditionReady) {
			n++
		}
	}
	if n != want {
		return fmt.Errorf("%d of %d mailboxes are Ready", n, want)
	}
	return nil
}
