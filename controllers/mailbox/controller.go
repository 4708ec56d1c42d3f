// Package mailbox makes a Mailbox real at this site: one row in the directory of the stack that serves its domain. It needs no
// finalizer: when the resource goes, the PECDomain controller closes the row and the mail stays.
package mailbox

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	crreconcile "sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/index"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

const (
	// soon is the pause while the stack is awaited.
	soon = 2 * time.Second
	// recheck is how often a Secret and a row are read again: neither is watched, because a cache of Secrets is a copy of every
	// password in our memory.
	recheck = 30 * time.Second
	// concurrent passes: hashing a password takes a core for a quarter of a second.
	concurrent = 4
	// passTimeout bounds a pass, so that a hanging engine holds up its own mailboxes only.
	passTimeout = time.Minute
	// backoffFrom and backoffTo bound the pauses after failed calls.
	backoffFrom, backoffTo = time.Second, 5 * time.Minute
)

// table declares the conditions of a Mailbox.
var table = reconcile.Table{
	Positive:    []string{v1alpha1.ConditionCredentialsValid, v1alpha1.ConditionProvisioned},
	Informative: []string{v1alpha1.ConditionUnderLegalHold},
	Served:      "the mailbox works at this site as its spec says",
}

// Reconciler makes Mailboxes real at one site.
type Reconciler struct {
	*reconcile.Mechanism
	// Live reads Secrets past the cache.
	Live client.Reader
	// Access lists the namespaces that the operator may work in.
	Access reconcile.Access
	// Engines dials the engines of this site.
	Engines *engines.Pool
}

// scope is what the phases of one pass share.
type scope struct {
	*reconcile.Pass
	*Reconciler
	mailbox *v1alpha1.Mailbox
	engine  *admin.Client
	// credentials are what the Secret holds; nil when it holds nothing usable.
	credentials *credentials
}

// Reconcile is one pass over one mailbox.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	mailbox := &v1alpha1.Mailbox{}
	if err := r.Client.Get(ctx, req.NamespacedName, mailbox); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !mailbox.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // the PECDomain controller closes its row
	}
	pass, active, err := r.Begin(ctx, mailbox)
	if err != nil || !active {
		return ctrl.Result{}, err
	}
	mailbox.Status.Address = mailbox.Address()
	s := &scope{Pass: pass, Reconciler: r, mailbox: mailbox}
	result, err := reconcile.Walk(ctx, s, showHolds, findDomain, readCredentials, placeRow)
	return r.Finish(ctx, pass, result, err, nil)
}

// SetupWithManager starts the controller with a manager whose cache has the indexes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.Table = table
	err := ctrl.NewControllerManagedBy(mgr).
		Named("mailbox").
		For(&v1alpha1.Mailbox{}, builder.WithPredicates(reconcile.SpecOrRequest())).
		Watches(&v1alpha1.PECDomain{}, handler.EnqueueRequestsFromMapFunc(r.ofDomain), builder.WithPredicates(predicate.Funcs{
			UpdateFunc: func(e event.UpdateEvent) bool { return placed(e.ObjectOld) != placed(e.ObjectNew) },
		})).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: concurrent,
			ReconciliationTimeout:   passTimeout,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[crreconcile.Request](backoffFrom, backoffTo),
		}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("starting the Mailbox controller: %w", err)
	}
	return nil
}

// placed says whether a domain's stack takes mailboxes.
func placed(o client.Object) bool {
	return meta.IsStatusConditionTrue(o.(*v1alpha1.PECDomain).Status.Conditions, v1alpha1.ConditionDirectoryInSync)
}

// ofDomain are the mailboxes of a domain.
func (r *Reconciler) ofDomain(ctx context.Context, o client.Object) []crreconcile.Request {
	var list v1alpha1.MailboxList
	err := r.Client.List(ctx, &list, client.InNamespace(o.GetNamespace()), client.MatchingFields{index.MailboxDomain: o.GetName()})
	if err != nil {
		return nil // a cache that cannot list is being stopped
	}
	requests := make([]crreconcile.Request, len(list.Items))
	for i := range list.Items {
		requests[i].NamespacedName = types.NamespacedName{Namespace: list.Items[i].Namespace, Name: list.Items[i].Name}
	}
	return requests
}
