package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/mailtest"
	pw "github.com/pec-operator/pec-operator/internal/password"
)

func encode(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	must(t, err)
	return raw
}

// TestManyMailboxesOfOneDomain prints the figures of docs/scale.md, and fails where one is beyond its goal.
func TestManyMailboxesOfOneDomain(t *testing.T) {
	mailtest.Inside(t, func(t *testing.T) {
		w := newWorld(t)
		w.create(makeDomain())
		w.startOperator()
		w.startEngine()
		hash, err := pw.Hash([]byte(password), pw.Cost)
		must(t, err)
		w.create(makeSecret("modello", hash), makeMailbox("modello", "modello"))
		status := w.ready("modello")
		w.operator.stop()

		floor := w.floor(status)
		w.startOperator()
		w.eventually(func() error { return listening("127.0.0.1:8443") })
		w.inParallel(func(i int) error { return w.Create(context.Background(), makeSecret(name(i), hash)) })
		time.Sleep(2 * time.Second)
		before, io, cpu, engineCPU := w.requests(), w.engine.written(), w.operator.cpu(), w.engine.cpu()
		took := w.untilReady(func(i int) error { return w.Create(context.Background(), makeMailbox(name(i), name(i))) })
		cpu, engineCPU = w.operator.cpu()-cpu, w.engine.cpu()-engineCPU
		time.Sleep(2 * time.Second)
		done := w.since(before)
		t.Logf("FLOOR %.1f s, READY %.1f s, ratio %.2f", floor.Seconds(), took.Seconds(), took.Seconds()/floor.Seconds())
		t.Logf("operator CPU %.1f s, engine CPU %.1f s", cpu.Seconds(), engineCPU.Seconds())
		t.Logf("bytes per new mailbox: %d", (w.engine.written()-io)/many)
		t.Logf("requests: %v", nonzero(done))
		t.Logf("memory: operator %s, engine %s MiB", w.operator.memory(), w.engine.memory())

		time.Sleep(5 * time.Second)
		before, cpu, engineCPU = w.requests(), w.operator.cpu(), w.engine.cpu()
		time.Sleep(quietFor)
		t.Logf("quiet %s: operator CPU %.2f s, engine CPU %.2f s, requests %v", quietFor, (w.operator.cpu() - cpu).Seconds(), (w.engine.cpu() - engineCPU).Seconds(), nonzero(w.since(before)))

		io = w.engine.written()
		var took1 []time.Duration
		for i := range changes {
			took1 = append(took1, w.changeQuota(name(i*many/changes)))
		}
		t.Logf("change of quota: %s; bytes per change: %d", quantiles(took1), (w.engine.written()-io)/changes)

		var first, later []time.Duration
		for i := range logins {
			first = append(first, w.firstLogin(fmt.Sprintf("nuova.%d", i)))
			later = append(later, w.login(name(rand.IntN(many))))
		}
		t.Logf("create to first login: %s", quantiles(first))
		t.Logf("login: %s", quantiles(later))
		t.Logf("memory: operator %s, engine %s MiB", w.operator.memory(), w.engine.memory())
	})
}

func nonzero(m map[string]int) map[string]int {
	out := map[string]int{}
	for k, v := range m {
		if v > 5 {
			out[k] = v
		}
	}
	return out
}

func name(i int) string { return fmt.Sprintf("casella.%d", i) }

// ready waits until a mailbox is Ready and answers its status.
func (w *world) ready(localPart string) v1alpha1.MailboxStatus {
	w.t.Helper()
	m := &v1alpha1.Mailbox{}
	w.eventually(func() error {
		if err := w.get(localPart+".at."+domain, m); err != nil {
			return err
		}
		if !isReady(m) {
			return fmt.Errorf("%s is not Ready: %+v", localPart, m.Status.Conditions)
		}
		return nil
	})
	return m.Status
}

func isReady(m *v1alpha1.Mailbox) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionReady) && m.Status.ObservedGeneration == m.Generation
}

// inParallel calls f for each mailbox, eight at a time.
func (w *world) inParallel(f func(int) error) {
	w.t.Helper()
	var group errgroup.Group
	group.SetLimit(8)
	for i := range many {
		group.Go(func() error { return f(i) })
	}
	must(w.t, group.Wait())
}

// untilReady calls f for each mailbox, and is how long it takes until all are Ready, as who watches them sees it.
func (w *world) untilReady(f func(int) error) time.Duration {
	w.t.Helper()
	informer, err := w.seen.GetInformer(w.t.Context(), &v1alpha1.Mailbox{})
	must(w.t, err)
	all, ready := make(chan struct{}), map[string]bool{}
	look := func(o any) {
		if m, is := o.(*v1alpha1.Mailbox); is && strings.HasPrefix(m.Name, "casella.") && isReady(m) && !ready[m.Name] {
			if ready[m.Name] = true; len(ready) == many {
				close(all)
			}
		}
	}
	handler, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: look, UpdateFunc: func(_, o any) { look(o) }})
	must(w.t, err)
	defer informer.RemoveEventHandler(handler) //nolint:errcheck // it is there
	began := time.Now()
	w.inParallel(f)
	created := time.Since(began)
	select {
	case <-all:
	case <-time.After(10 * time.Minute):
		w.t.Fatal("not all mailboxes became Ready")
	}
	w.t.Logf("created after %.1f s", created.Seconds())
	return time.Since(began)
}

// floor is how long the same creates and the same status writes take without an operator. It leaves nothing behind.
func (w *world) floor(status v1alpha1.MailboxStatus) time.Duration {
	w.t.Helper()
	created := make(chan *v1alpha1.Mailbox, many)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for m := range created {
				before := m.DeepCopy()
				m.Status = *status.DeepCopy()
				m.Status.Address = m.Address()
				m.Status.ObservedGeneration = m.Generation
				if err := w.Status().Patch(context.Background(), m, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
					w.t.Error(err)
				}
			}
		})
	}
	took := w.untilReady(func(i int) error {
		m := makeMailbox(name(i), name(i))
		err := w.Create(context.Background(), m)
		created <- m
		return err
	})
	close(created)
	wait.Wait()
	w.inParallel(func(i int) error { return w.Delete(context.Background(), makeMailbox(name(i), "")) })
	return took
}
