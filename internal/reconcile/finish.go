package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

const (
	// conflictPause lets the cache catch up with the write that we lost against.
	conflictPause = time.Second
	// stalledPause is how often a stalled object is looked at again: what a person repairs is not always watched.
	stalledPause = 2 * time.Minute
)

// Mechanism ends every pass of one kind in the same way.
type Mechanism struct {
	// Kind names the metric's label.
	Kind string
	// Client writes the status.
	Client client.Client
	// Recorder writes the events.
	Recorder events.EventRecorder
	// Table declares the kind's conditions.
	Table Table
	// Now is the clock.
	Now func() time.Time
}

// With is the mechanism with another table.
func (m *Mechanism) With(t Table) *Mechanism {
	with := *m
	with.Table = t
	return &with
}

// Begin starts a pass over an object, or answers false when its spec suspends it: then only that is made visible.
func (m *Mechanism) Begin(ctx context.Context, obj Object) (*Pass, bool, error) {
	p := NewPass(obj, m.Now())
	if !obj.Suspended() {
		return p, true, nil
	}
	m.Table.suspend(p)
	changed, err := m.patch(ctx, p)
	if changed && err == nil {
		m.announce(ctx, p)
	}
	return p, false, client.IgnoreNotFound(err)
}

// Working says, before work that may outlast a second, that the operator has begun it: whoever waits sees that the new spec was
// read. What was known of the former spec stays, and so does observedGeneration, because nothing was judged yet. It writes once for
// a generation: a later pass over the same work is quiet.
func (m *Mechanism) Working(ctx context.Context, p *Pass, reason, message string) error {
	if p.before.GetObservedGeneration() == p.Object.GetGeneration() {
		return nil
	}
	early := &Pass{Object: p.before.DeepCopyObject().(Object), Now: p.Now, before: p.before}
	m.Table.working(early, reason, message)
	if _, err := m.patch(ctx, early); err != nil {
		return err
	}
	p.before = early.Object
	p.Object.SetResourceVersion(early.Object.GetResourceVersion())
	return nil
}

// Finish ends a pass: conditions are summarised, complete (which may be nil) fills the rest of the status from them, the
// status is written once if it changed, a change of Ready becomes an event and a log line, and the queue gets its answer.
func (m *Mechanism) Finish(ctx context.Context, p *Pass, result Result, err error, complete func()) (ctrl.Result, error) {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctrl.Result{}, nil // the operator is being stopped: what was half seen is not worth writing
	case ctx.Err() != nil:
		passes.WithLabelValues(m.Kind, "error").Inc()
		return ctrl.Result{}, fmt.Errorf("the pass over %s took too long: %w", client.ObjectKeyFromObject(p.Object), ctx.Err())
	}
	if isConflict(err) {
		passes.WithLabelValues(m.Kind, "conflict").Inc()
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	}
	passes.WithLabelValues(m.Kind, outcome(err)).Inc()
	m.Table.summarise(p, err)
	p.answerRequest()
	if complete != nil {
		complete()
	}
	changed, patchErr := m.patch(ctx, p)
	switch {
	case apierrors.IsNotFound(patchErr):
		return ctrl.Result{}, nil
	case isConflict(patchErr):
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	case patchErr != nil:
		return ctrl.Result{}, patchErr
	}
	if changed {
		m.announce(ctx, p)
	}
	return answer(result, err)
}

// urgent is the priority of what somebody changed, and of what is under way.
const urgent = 0

// answer is what the queue is told. Whoever is only looked at again goes behind what somebody changed: thousands of looks may be due
// at once. What a phase waits for is not held up by what a person must see to.
func answer(result Result, err error) (ctrl.Result, error) {
	if w := (*waitingError)(nil); errors.As(err, &w) {
		return ctrl.Result{RequeueAfter: Jitter(result.Sooner(Result{w.after}).RequeueAfter), Priority: ptr.To(urgent)}, nil
	}
	if isStalled(err) {
		return ctrl.Result{RequeueAfter: Jitter(result.Sooner(Result{stalledPause}).RequeueAfter), Priority: ptr.To(handler.LowPriority)}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: Jitter(result.RequeueAfter), Priority: ptr.To(handler.LowPriority)}, nil
}

// patch writes the status if it differs from what was read. The optimistic lock makes a pass over a stale cache a conflict
// instead of a lost update. Of the answer only the metadata is asked for: the pass knows the rest.
func (m *Mechanism) patch(ctx context.Context, p *Pass) (changed bool, err error) {
	if equality.Semantic.DeepEqual(p.before, p.Object) {
		return false, nil
	}
	key := client.ObjectKeyFromObject(p.Object)
	written := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	kind, err := m.Client.GroupVersionKindFor(p.Object)
	if err != nil {
		return false, fmt.Errorf("writing the status of %s: %w", key, err)
	}
	written.SetGroupVersionKind(kind)
	change, err := statusChange(p.before, p.Object)
	if err != nil {
		return false, fmt.Errorf("writing the status of %s: %w", key, err)
	}
	if err := m.Client.Status().Patch(ctx, written, client.RawPatch(types.MergePatchType, change), FieldOwner); err != nil {
		return false, fmt.Errorf("writing the status of %s: %w", key, err)
	}
	p.Object.SetResourceVersion(written.GetResourceVersion())
	return true, nil
}

// statusChange is the merge patch from one status to another, for the version of the object that was read. Pure.
func statusChange(before, after Object) ([]byte, error) {
	was, err := json.Marshal(before.StatusFields())
	if err != nil {
		return nil, err
	}
	is, err := json.Marshal(after.StatusFields())
	if err != nil {
		return nil, err
	}
	status, err := jsonpatch.CreateMergePatch(was, is)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": before.GetResourceVersion()}, "status": json.RawMessage(status)})
}

// announce makes an event and a log line of each change that a person would want to hear of.
func (m *Mechanism) announce(ctx context.Context, p *Pass) {
	conditions := p.Object.GetConditions()
	stalled := meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled)
	said := map[string]bool{}
	for _, name := range slices.Concat([]string{m.Table.top(), v1alpha1.ConditionNotInForce}, m.Table.Informative, m.Table.Announced) {
		was, is := meta.FindStatusCondition(p.before.GetConditions(), name), meta.FindStatusCondition(conditions, name)
		if is == nil || said[is.Reason] || (was != nil && was.Status == is.Status && was.Reason == is.Reason) {
			continue
		}
		said[is.Reason] = true // Ready repeats its part's reason: one event says it
		if len(p.before.GetConditions()) == 0 && is.Status == metav1.ConditionTrue && name != v1alpha1.ConditionNotInForce {
			continue // what is well at the first look is no news, and one more write for each of ten thousand mailboxes
		}
		eventType := corev1.EventTypeNormal
		worse := was != nil && was.Status == metav1.ConditionTrue
		if slices.Contains(m.Table.Adverse, name) {
			worse = is.Status == metav1.ConditionTrue
		}
		if worse || (stalled && name == m.Table.top()) {
			eventType = corev1.EventTypeWarning
		}
		m.Recorder.Eventf(p.Object, nil, eventType, is.Reason, "Reconcile", "%s", cutBytes(is.Message, maxNote))
		logf.FromContext(ctx).Info("condition changed", "condition", name, "status", is.Status, "reason", is.Reason, "message", is.Message)
	}
}

// maxNote is what the events API accepts, in bytes.
const maxNote = 1024

// Jitter spreads a pause over ±10 %, so that a thousand objects made at once do not come back at the same moment for ever.
func Jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d))
}
