package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
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

// The goals. How long things take is judged by make soak alone: beside a whole test suite it says nothing of the operator.
const (
	goalRatio      = 1.3 // over the floor
	goalBytes      = 64 << 10
	goalFirstLogin = 2 * time.Second
	goalPassword   = 2 * time.Second
	goalQuota      = 2 * time.Second
)

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
		w.inParallel(func(i int) error { return w.Create(context.Background(), makeSecret(name(i), hash)) })
		w.say("mailboxes", "%d", many)
		if timed {
			w.floor(status) // an API server that has just started is quicker than one that remembers ten thousand: none of the three that count is the first
		}
		before := w.floor(status)
		w.startOperator()
		took := w.makeAll()
		w.stayQuiet()
		w.changeSome()
		w.letIn()
		w.say("memory, MiB", "operator %s, engine %s", w.operator.memory(), w.engine.memory())
		w.operator.stop()
		w.inParallel(w.remove)
		w.judge(took, before, w.floor(status))
		for _, line := range w.table {
			t.Logf("| %s | %s |", line[0], line[1])
		}
	})
}

func (w *world) say(what, format string, args ...any) {
	w.table = append(w.table, [2]string{what, fmt.Sprintf(format, args...)})
}

// slower says of a time that it is beyond its goal.
func (w *world) slower(what string, took, goal time.Duration) {
	w.t.Helper()
	if timed && took > goal {
		w.t.Errorf("%s took %s, want at most %s", what, took, goal)
	}
}

// cost is how long something took until all mailboxes were Ready, and what the API server and its etcd computed for it.
type cost struct{ took, servers time.Duration }

// judge holds what all of it took with the operator against the mean of what the same creates and status writes took before and
// after, without one.
func (w *world) judge(with, before, after cost) {
	w.t.Helper()
	floor := cost{(before.took + after.took) / 2, (before.servers + after.servers) / 2}
	ratio := with.took.Seconds() / floor.took.Seconds()
	w.say("until all are Ready, s", "%.1f; the same creates and status writes without an operator %.1f before and %.1f after; ratio %.2f",
		with.took.Seconds(), before.took.Seconds(), after.took.Seconds(), ratio)
	w.say("CPU of the API server and etcd for that, s", "%.1f; without an operator %.1f", with.servers.Seconds(), floor.servers.Seconds())
	if timed && ratio > goalRatio {
		w.t.Errorf("%.2f times the floor, want at most %.1f", ratio, goalRatio)
	}
}

// makeAll makes the mailboxes, all at once.
func (w *world) makeAll() cost {
	w.t.Helper()
	before, written, busy, engineBusy := w.requests(), w.engine.written(), w.operator.cpu(), w.engine.cpu()
	with := w.untilReady(func(i int) error { return w.Create(context.Background(), makeMailbox(name(i), name(i))) })
	busy, engineBusy = w.operator.cpu()-busy, w.engine.cpu()-engineBusy
	time.Sleep(2 * time.Second) // what is written late is counted too
	asked := w.since(before)
	w.say("status writes; events; reads of Secrets", "%d; %d; %d", asked["PATCH mailboxes/status"], asked["POST events"], asked["GET secrets"])
	w.say("CPU for that, s", "operator %.1f, engine %.1f", busy.Seconds(), engineBusy.Seconds())
	w.say("bytes that the engine wrote for each", "%d", (w.engine.written()-written)/many)
	if n := asked["PATCH mailboxes/status"]; n != many {
		w.t.Errorf("%d status writes for %d new mailboxes, want one for each", n, many)
	}
	if n := asked["POST events"]; n != 0 {
		w.t.Errorf("%d events about new mailboxes, which are writes too; want none", n)
	}
	return with
}

// stayQuiet looks at what nothing costs.
func (w *world) stayQuiet() {
	w.t.Helper()
	time.Sleep(3 * time.Second)
	before, busy, engineBusy := w.requests(), w.operator.cpu(), w.engine.cpu()
	time.Sleep(quietFor)
	asked, seconds := w.since(before), quietFor.Seconds()
	w.say("quiet, each second", "operator %.0f ms of CPU, engine %.0f ms, reads of Secrets %.1f", float64((w.operator.cpu()-busy).Milliseconds())/seconds,
		float64((w.engine.cpu()-engineBusy).Milliseconds())/seconds, float64(asked["GET secrets"])/seconds)
	for what, n := range asked {
		if n > 0 && (strings.HasPrefix(what, "PATCH mailboxes") || strings.HasPrefix(what, "PUT mailboxes")) {
			w.t.Errorf("%d times %s in the quiet", n, what)
		}
	}
}

// changeSome gives some mailboxes another quota, one after the other, and some another password.
func (w *world) changeSome() {
	w.t.Helper()
	quotas := w.changeEach(changes, "a new quota", func(i int) time.Duration { return w.changeQuota(name(i * many / changes)) })
	passwords := w.changeEach(logins, "an edited Secret", func(i int) time.Duration { return w.changePassword(name(i)) })
	w.say("a new quota, until the status says it", "%s", quantiles(quotas))
	w.say("an edited Secret, until the open session ends", "%s", quantiles(passwords))
	w.slower("a new quota", slices.Max(quotas), goalQuota)
	w.slower("an edited Secret", slices.Max(passwords), goalPassword)
}

// changeEach makes a change to some mailboxes, one after the other, and answers how long each took. It fails when the engine writes too much
// for one.
func (w *world) changeEach(n int, what string, change func(i int) time.Duration) (took []time.Duration) {
	w.t.Helper()
	written := w.engine.written()
	for i := range n {
		took = append(took, change(i))
	}
	each := (w.engine.written() - written) / int64(n)
	w.say("bytes that the engine wrote for "+what, "%d", each)
	if each > goalBytes {
		w.t.Errorf("%d bytes were written for %s, want at most %d", each, what, goalBytes)
	}
	return took
}

// letIn makes mailboxes whose holders come at once, and has others log in.
func (w *world) letIn() {
	w.t.Helper()
	var first, later []time.Duration
	for i := range logins {
		first = append(first, w.firstLogin(fmt.Sprintf("nuova.%d", i)))
		later = append(later, w.login(name(logins+rand.IntN(many-logins)), password))
	}
	w.say("from creation to the first IMAP login", "%s", quantiles(first))
	w.say("an IMAP login", "%s", quantiles(later))
	w.slower("a first login", first[(len(first)-1)*99/100], goalFirstLogin) // quantiles sorted them
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

// untilReady calls f for each mailbox, and is what it costs until all are Ready, as who watches them sees it.
func (w *world) untilReady(f func(int) error) cost {
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
	began, busy := time.Now(), w.servers()
	w.inParallel(f)
	select {
	case <-all:
	case <-time.After(10 * time.Minute):
		w.t.Fatal("not all mailboxes became Ready")
	}
	return cost{time.Since(began), w.servers() - busy}
}

// floor is what the same creates and the same status writes cost without an operator. It leaves nothing behind.
func (w *world) floor(status v1alpha1.MailboxStatus) cost {
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
	floor := w.untilReady(func(i int) error {
		m := makeMailbox(name(i), name(i))
		err := w.Create(context.Background(), m)
		created <- m
		return err
	})
	close(created)
	wait.Wait()
	w.inParallel(w.remove)
	return floor
}

func (w *world) remove(i int) error {
	return w.Delete(context.Background(), makeMailbox(name(i), ""))
}
