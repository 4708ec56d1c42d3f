// Package reconcile is the mechanism that every controller here stands on: a pass over one object is a walk over phases, a
// phase says facts as conditions or stops the walk with a typed error, and one place turns all that into Ready, one status
// patch, one event and the answer to the queue.
package reconcile

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Object is a kind of ours.
type Object interface {
	client.Object
	GetConditions() []metav1.Condition
	SetConditions([]metav1.Condition)
	GetObservedGeneration() int64
	SetObservedGeneration(int64)
	GetLastHandledReconcileAt() string
	SetLastHandledReconcileAt(string)
	// StatusFields is the status, to be encoded.
	StatusFields() any
	Suspended() bool
	// NotInForce are the fields of the spec that this release stores and does not act on, as far as they are used.
	NotInForce() []string
}

// Result is when a phase wants the next pass; zero means that only a change needs one.
type Result struct {
	RequeueAfter time.Duration
}

// Sooner is the result that looks again first.
func (r Result) Sooner(other Result) Result {
	if r.RequeueAfter == 0 || (other.RequeueAfter != 0 && other.RequeueAfter < r.RequeueAfter) {
		return other
	}
	return r
}

// Phase is one step of a pass over scope S. It is idempotent: every pass walks all phases from the first.
type Phase[S any] func(ctx context.Context, scope S) (Result, error)

// Walk runs phases in order until one returns an error, and answers the soonest result that they asked for.
func Walk[S any](ctx context.Context, scope S, phases ...Phase[S]) (Result, error) {
	var result Result
	for _, phase := range phases {
		r, err := phase(ctx, scope)
		result = result.Sooner(r)
		if err != nil {
			return result, err
		}
	}
	return result, nil
}

// Road is how the objects of a kind that are of one sort are made real: what is done, and what is said of it.
type Road[S any] struct {
	Table  Table
	Phases []Phase[S]
}

// Pass is one pass over one object: the object as it was read, and what the phases said of it.
type Pass struct {
	Object Object
	// Now is the time of the whole pass, so that two facts of one pass never disagree about it.
	Now time.Time
	// Served is the message of the top condition while it is True; "" is that of the table.
	Served string
	before Object
	said   map[string]metav1.Condition
}

// NewPass starts a pass over an object that the caller owns; the object's status is changed in place.
func NewPass(obj Object, now time.Time) *Pass {
	return &Pass{Object: obj, Now: now, before: obj.DeepCopyObject().(Object), said: map[string]metav1.Condition{}}
}

// Say records a condition; the last word of a pass counts.
func (p *Pass) Say(conditionType string, status metav1.ConditionStatus, reason, message string) {
	p.said[conditionType] = metav1.Condition{Type: conditionType, Status: status, Reason: reason, Message: message}
}

// True says that a condition holds.
func (p *Pass) True(conditionType, reason, message string) {
	p.Say(conditionType, metav1.ConditionTrue, reason, message)
}

// False says that a condition does not hold, why, and what to do.
func (p *Pass) False(conditionType, reason, message string) {
	p.Say(conditionType, metav1.ConditionFalse, reason, message)
}

// Repeat says again what an earlier pass said of conditions, while nothing new is known of them; what was not said before stays unsaid.
func (p *Pass) Repeat(conditionTypes ...string) {
	for _, name := range conditionTypes {
		if c := meta.FindStatusCondition(p.Object.GetConditions(), name); c != nil {
			p.Say(c.Type, c.Status, c.Reason, c.Message)
		}
	}
}

// Said is what this pass has said of a condition so far.
func (p *Pass) Said(conditionType string) (metav1.Condition, bool) {
	c, ok := p.said[conditionType]
	return c, ok
}
