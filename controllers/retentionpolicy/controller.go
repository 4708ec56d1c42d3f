// Package retentionpolicy carries a RetentionPolicy out at one site: at each time of its schedule a Job archives the mailboxes
// whose domain prefers this site, and what came of it, and what would be due for removal, is shown; both sites list what is due, each
// from its own store, and compare. Nothing here removes. It needs no finalizer: a deleted policy takes its Jobs with it by their owner, and what they archived stays.
package retentionpolicy

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	crreconcile "sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/jobs"
	"github.com/pec-operator/pec-operator/internal/peer"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

const (
	// recheck is the pause while a run is under way, or something that cannot be watched is missing.
	recheck = 10 * time.Second
	// longest is the pause while nothing is due: the other site's list and the clock are looked at again.
	longest = time.Minute
	// concurrent passes; most of a pass is waiting for an API server.
	concurrent = 2
	// passTimeout bounds a pass.
	passTimeout = 2 * time.Minute
)

// table declares the conditions of a RetentionPolicy.
var table = reconcile.Table{
	Positive: []string{v1alpha1.ConditionArchiving, v1alpha1.ConditionHoldsRespected},
	Informative: []string{v1alpha1.ConditionDisputed, v1alpha1.ConditionWaitingForPeer, v1alpha1.ConditionOverlapping,
		v1alpha1.ConditionStandingIn, v1alpha1.ConditionClocksAgree, v1alpha1.ConditionRestored},
	Served:    "the policy is carried out at this site as its spec says",
	Meanwhile: "a Job that runs goes on, no other is started; ",
}

// Reconciler carries RetentionPolicies out at one site.
type Reconciler struct {
	*reconcile.Mechanism
	// Live reads past the cache: claims, Secrets, Jobs and pods are not cached.
	Live client.Reader
	// Namespaces are those that the operator may work in.
	Namespaces reconcile.Namespaces
	// Engines dials the engines of this site.
	Engines *engines.Pool
	// Jobs runs the Jobs.
	Jobs *jobs.Cluster
	// Peer reads the other site, StandIn is how long it must be silent before this one acts in its place.
	Peer    *peer.Peer
	StandIn time.Duration
	// Site is this building, Image what its Jobs run.
	Site, Image string
}

// scope is what the phases of one pass share.
type scope struct {
	*reconcile.Pass
	*Reconciler
	policy *v1alpha1.RetentionPolicy
	// selected are the policy's mailboxes; work are those that a run here is about.
	selected, work []mailbox
	// archives says whether this site archives any of them; else it only reviews what the other one archives.
	archives bool
	// missing is what Jobs would lack.
	missing *missing
	// peer is what the other site says is due.
	peer peerList
	// schedule is spec.schedule, worked out.
	schedule calendar.Schedule
}

// Reconcile is one pass over one policy.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	policy := &v1alpha1.RetentionPolicy{}
	if err := r.Client.Get(ctx, req.NamespacedName, policy); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !policy.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // its Jobs go with it, its archive stays
	}
	pass, active, err := r.Begin(ctx, policy)
	if err != nil || !active {
		return ctrl.Result{}, err
	}
	s := &scope{Pass: pass, Reconciler: r, policy: policy}
	result, err := reconcile.Walk(ctx, s,
		compareClocks,
		selectMailboxes,
		showHolds,
		findWork,
		lookAtPeer,
		restoreMessages,
		findDestination,
		keepSchedule,
	)
	s.compareLists()
	if apierrors.IsForbidden(err) {
		err = reconcile.Waiting(recheck, v1alpha1.ConditionArchiving, v1alpha1.ReasonNamespaceNotGranted, r.Namespaces.Missing(policy.Namespace, err))
	}
	return r.Finish(ctx, pass, result, err, nil)
}

// SetupWithManager starts the controller with a manager whose cache has the indexes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.Table = table
	err := ctrl.NewControllerManagedBy(mgr).
		Named("retentionpolicy").
		For(&v1alpha1.RetentionPolicy{}, builder.WithPredicates(reconcile.SpecOrRequest())).
		Watches(&v1alpha1.Mailbox{}, handler.EnqueueRequestsFromMapFunc(r.ofNamespace),
			builder.WithPredicates(predicate.Or(reconcile.SpecOrRequest(), predicate.LabelChangedPredicate{}))).
		Watches(&v1alpha1.RetentionPolicy{}, handler.EnqueueRequestsFromMapFunc(r.ofNamespace), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(reconcile.Options(concurrent, passTimeout)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("starting the RetentionPolicy controller: %w", err)
	}
	return nil
}

// ofNamespace are the policies of a mailbox's namespace, or the others of a policy's: a mailbox may have come to one, or left one. A policy's
// own change comes by itself; asked for twice, its second pass would still read what was before the first.
func (r *Reconciler) ofNamespace(ctx context.Context, o client.Object) []crreconcile.Request {
	var list v1alpha1.RetentionPolicyList
	if err := r.Client.List(ctx, &list, client.InNamespace(o.GetNamespace())); err != nil {
		return nil // a cache that cannot list is being stopped
	}
	var requests []crreconcile.Request
	for i := range list.Items {
		if p := &list.Items[i]; p.UID != o.GetUID() {
			requests = append(requests, crreconcile.Request{NamespacedName: client.ObjectKeyFromObject(p)})
		}
	}
	return requests
}
