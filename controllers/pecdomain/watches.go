package pecdomain

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	crreconcile "sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

const (
	// gather is how long changes of mailboxes are gathered before their domain is counted again: a thousand mailboxes applied
	// at once are a few passes, not a thousand. gatherEach is added for each mailbox of the domain, because a pass counts all of them.
	gather     = time.Second
	gatherEach = time.Millisecond
	// concurrent passes; most of a pass is waiting for an engine.
	concurrent = 4
	// passTimeout bounds a pass, so that a hanging neighbour holds up one domain and not all.
	passTimeout = 2 * time.Minute
)

// SetupWithManager starts the controller with a manager whose cache has the indexes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("pecdomain").
		For(&v1alpha1.PECDomain{}, builder.WithPredicates(reconcile.SpecOrRequest())).
		Watches(&v1alpha1.PECDomain{}, handler.EnqueueRequestsFromMapFunc(r.related), builder.WithPredicates(reconcile.OnUpdate(concernsRelated))).
		Watches(&v1alpha1.PECDomain{}, handler.EnqueueRequestsFromMapFunc(r.contracted), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.Mailbox{}, handler.Funcs{
			CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
				r.mailboxChanged(ctx, e.Object, gatherEach, q)
			},
			UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
				r.mailboxChanged(ctx, e.ObjectNew, gatherEach, q)
			},
			DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { r.mailboxChanged(ctx, e.Object, 0, q) }, // its holder is to be out at once
		}).
		WatchesRawSource(source.Channel(r.DNS.events, &handler.EnqueueRequestForObject{})).
		WithOptions(reconcile.Options(concurrent, passTimeout)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("starting the PECDomain controller: %w", err)
	}
	return nil
}

type queue = workqueue.TypedRateLimitingInterface[crreconcile.Request]

// concernsRelated says whether a change of a domain concerns the domains on its stack: its spec does, and whether the stack serves. What it
// counts and sees of its own does not: with 400 guests each of its mailboxes would be 400 passes. Pure.
func concernsRelated(before, after client.Object) bool {
	old, is := before.(*v1alpha1.PECDomain), after.(*v1alpha1.PECDomain)
	return old.Generation != is.Generation || stackFault(old) != stackFault(is)
}

// related are the domains that a change of one concerns: those on its stack, and those of its name in other namespaces.
func (r *Reconciler) related(ctx context.Context, o client.Object) []crreconcile.Request {
	var requests []crreconcile.Request
	for _, field := range []client.MatchingFields{
		{refs.DomainHost: refs.Key(client.ObjectKeyFromObject(o))},
		{refs.DomainName: o.GetName()},
	} {
		var list v1alpha1.PECDomainList
		if r.Client.List(ctx, &list, field, client.UnsafeDisableDeepCopy) != nil {
			continue // a cache that cannot list is being stopped
		}
		for i := range list.Items {
			if key := client.ObjectKeyFromObject(&list.Items[i]); key != client.ObjectKeyFromObject(o) {
				requests = append(requests, crreconcile.Request{NamespacedName: key})
			}
		}
	}
	return requests
}

// contracted are the domains that a change of one's contract concerns: the one that the contract is of, and those that draw on it.
func (r *Reconciler) contracted(ctx context.Context, o client.Object) []crreconcile.Request {
	var requests []crreconcile.Request
	own := client.ObjectKeyFromObject(o)
	if pool, ok := refs.Pool(o.(*v1alpha1.PECDomain)); ok && pool != own {
		requests = append(requests, crreconcile.Request{NamespacedName: pool})
	}
	var members v1alpha1.PECDomainList
	if r.Client.List(ctx, &members, client.MatchingFields{refs.DomainPool: refs.Key(own)}, client.UnsafeDisableDeepCopy) != nil {
		return requests // a cache that cannot list is being stopped
	}
	for i := range members.Items {
		if key := client.ObjectKeyFromObject(&members.Items[i]); key != own {
			requests = append(requests, crreconcile.Request{NamespacedName: key})
		}
	}
	return requests
}

// mailboxChanged has the mailbox's domain count again, its contract with it, and the stack that holds its row compare: after gather, and
// each for every mailbox that the domain had when it was last counted.
func (r *Reconciler) mailboxChanged(ctx context.Context, o client.Object, each time.Duration, q queue) {
	own := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.(*v1alpha1.Mailbox).Spec.DomainRef.Name}
	domain := &v1alpha1.PECDomain{}
	if r.Client.Get(ctx, own, domain) != nil {
		return // without its domain nobody counts, and nobody knows the stack; the stack's next pass compares anyway
	}
	after := gather
	if counts := domain.Status.Mailboxes; counts != nil {
		after += each * time.Duration(ptr.Deref(counts.Total, 0))
	}
	q.AddAfter(crreconcile.Request{NamespacedName: own}, after)
	if host := refs.Host(domain); host != own {
		q.AddAfter(crreconcile.Request{NamespacedName: host}, after)
	}
	if pool, ok := refs.Pool(domain); ok && pool != own {
		q.AddAfter(crreconcile.Request{NamespacedName: pool}, after)
	}
}
