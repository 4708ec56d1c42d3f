package reconcile

import (
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// maxRequest is the most characters of a request that a status repeats.
const maxRequest = 64

// SpecOrRequest lets through what asks for a pass: another spec, a deletion, and another value of the annotation by which a person asks
// for one. Our own writes of the status are neither.
func SpecOrRequest() predicate.Predicate {
	return predicate.Or(predicate.GenerationChangedPredicate{}, OnUpdate(func(before, after client.Object) bool { return request(before) != request(after) }))
}

// OnUpdate lets through what is new or gone, and of what changes that which concerns somebody.
func OnUpdate(concerns func(before, after client.Object) bool) predicate.Funcs {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return concerns(e.ObjectOld, e.ObjectNew) }}
}

// request is the request that an object's annotation holds, as a status repeats it; "" is none.
func request(o interface{ GetAnnotations() map[string]string }) string {
	return Cut(o.GetAnnotations()[v1alpha1.ReconcileRequestedAnnotation], maxRequest)
}

// Request is what a person asks for this pass by, and so for the looks that otherwise wait for their turn; "" where nobody does.
func (p *Pass) Request() string {
	if r := request(p.before); r != p.before.GetLastHandledReconcileAt() {
		return r
	}
	return ""
}

// Asked remembers for which request a look that is taken in the background was begun. One that comes while another look is under way is not
// answered by that: what it is to see may have changed since.
type Asked struct{ pending, begun string }

// For notes a request, if no look was begun for it.
func (a *Asked) For(request string) {
	if request != "" && request != a.begun {
		a.pending = request
	}
}

// Waits says that a request has no look yet.
func (a *Asked) Waits() bool { return a.pending != "" }

// Begun notes that a look began.
func (a *Asked) Begun() {
	if a.pending != "" {
		a.begun, a.pending = a.pending, ""
	}
}

// answerRequest shows that the pass answers the request that it found. A request that is withdrawn leaves the former answer, so
// that withdrawing one is no write.
func (p *Pass) answerRequest() {
	if r := request(p.before); r != "" {
		p.Object.SetLastHandledReconcileAt(r)
	}
}
