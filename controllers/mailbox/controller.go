// Package mailbox makes a Mailbox real at this site: one row in the directory of the stack that serves its domain. It needs no
// finalizer: when the resource goes, the PECDomain controller closes the row and the mail stays. A mailbox that another provider runs
// is watched, and nothing else.
package mailbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/contracts"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/contract"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/peer"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

const (
	// soon is the pause while the stack is awaited.
	soon = 2 * time.Second
	// recheck is how often it is looked again for what is missing and may not be watched.
	recheck = 30 * time.Second
	// concurrent passes: most of the time they wait, for an API server and for the request that they share.
	concurrent = 32
	// passTimeout bounds a pass, so that a hanging engine holds up its own mailboxes only.
	passTimeout = time.Minute
)

// table declares the conditions of a mailbox that a stack of ours serves.
var table = reconcile.Table{
	Positive:    []string{v1alpha1.ConditionAdmitted, v1alpha1.ConditionCredentialsValid, v1alpha1.ConditionProvisioned},
	Informative: []string{v1alpha1.ConditionUnderLegalHold, v1alpha1.ConditionQuotaHealthy, v1alpha1.ConditionArchiveRecommended, v1alpha1.ConditionUsageMatchesType, v1alpha1.ConditionSpamFilterMissing, v1alpha1.ConditionSecretsDiffer},
	Adverse:     []string{v1alpha1.ConditionArchiveRecommended, v1alpha1.ConditionSecretsDiffer},
	Served:      "the mailbox works at this site as its spec says",
}

// provisioned is the way of a mailbox on a stack of ours.
var provisioned = reconcile.Road[*scope]{Table: table, Phases: []reconcile.Phase[*scope]{
	leaveProvider, findStack, refuseOwnAddress, showSpamFilter, readRow, findMigrations, holdNew, admit, readCredentials, judgeAccess, placeRow, compareSecrets, watchUsage, conclude,
}}

// Reconciler makes Mailboxes real at one site.
type Reconciler struct {
	*reconcile.Mechanism
	// Live reads Secrets past the cache: a cache of them is a copy of every password in our memory.
	Live client.Reader
	// Secrets says when one changed.
	Secrets *Secrets
	// Namespaces are those that the operator may work in.
	Namespaces reconcile.Namespaces
	// Engines dials the engines of this site.
	Engines *engines.Pool
	// Book says who is admitted under each contract.
	Book *contracts.Book
	// Poller looks at the mailboxes that other providers run.
	Poller *ProviderPoller
	// Peer is the other site.
	Peer *peer.Peer
	// Site is this one.
	Site string
	// StandIn is how long the preferred site must be silent before this one looks in its place.
	StandIn time.Duration
	// UsageEvery is how often a mailbox's use is looked at.
	UsageEvery time.Duration

	// looks is when each mailbox's use is looked at next.
	looks reconcile.Looks
}

// scope is what the phases of one pass share.
type scope struct {
	*reconcile.Pass
	*Reconciler
	mailbox *v1alpha1.Mailbox
	domain  *v1alpha1.PECDomain    // the mailbox's, when it was found
	host    *v1alpha1.PECDomain    // whose stack serves the domain, when it was found
	road    reconcile.Road[*scope] // by who runs its domain
	engine  *admin.Client
	// directory is that of the stack that serves the mailbox.
	directory *engines.Directory
	// has is what the stack holds of the address; what it says of its being there, and settled, is from before this pass asked for anything.
	has engines.Known
	// away is why the engine does not answer: then has is what it last said, and nothing can be changed.
	away error
	// access is what the holder is to be allowed.
	access v1alpha1.EffectiveAccess
	// migrations are those that move the mailbox away, by name.
	migrations []v1alpha1.MailboxMigration
	// ends is what is held or refused of a mailbox that is there: how the pass ends; nil when nothing is.
	ends error
	// granted is what may be provisioned.
	granted contract.Holding
	// countedIn is the domain, namespace/name, whose contract counts the mailbox; "" when none does.
	countedIn string
	// comeBack is when a pass that ended in errNotYet comes again.
	comeBack time.Duration
	// credentials are what the Secret holds; nil when it holds nothing usable.
	credentials *credentials
}

// Reconcile is one pass over one mailbox.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	mailbox := &v1alpha1.Mailbox{}
	if err := r.Client.Get(ctx, req.NamespacedName, mailbox); err != nil {
		r.looks.Forget(req.NamespacedName)
		r.Poller.forget(req.NamespacedName)
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
	s := &scope{Pass: pass, Reconciler: r, mailbox: mailbox, road: provisioned}
	result, err := reconcile.Walk(ctx, s, showHolds, findDomain, takeRoad)
	if errors.Is(err, errNotYet) {
		return ctrl.Result{RequeueAfter: s.comeBack}, nil
	}
	return r.With(s.road.Table).Finish(ctx, pass, result, err, nil)
}

// SetupWithManager starts the controller with a manager whose cache has the indexes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.Table, r.looks.Every = table, r.UsageEvery
	err := ctrl.NewControllerManagedBy(mgr).
		Named("mailbox").
		For(&v1alpha1.Mailbox{}, builder.WithPredicates(reconcile.SpecOrRequest())).
		Watches(&v1alpha1.PECDomain{}, handler.EnqueueRequestsFromMapFunc(r.ofDomain), builder.WithPredicates(reconcile.OnUpdate(concernsAll))).
		Watches(&v1alpha1.PECDomain{}, handler.EnqueueRequestsFromMapFunc(r.onStack), builder.WithPredicates(reconcile.OnUpdate(concernsStack))).
		Watches(&v1alpha1.PECDomain{}, handler.EnqueueRequestsFromMapFunc(r.waitingIn), builder.WithPredicates(reconcile.OnUpdate(concernsWaiting))).
		Watches(&v1alpha1.PECDomain{}, handler.EnqueueRequestsFromMapFunc(r.heldUnder), builder.WithPredicates(reconcile.OnUpdate(concernsHeld))).
		Watches(&v1alpha1.MailboxMigration{}, handler.EnqueueRequestsFromMapFunc(migrated), builder.WithPredicates(reconcile.OnUpdate(concernsAccess))).
		WatchesRawSource(source.Func(r.compareStacks)).
		WatchesRawSource(source.Func(r.watchSecrets)).
		WatchesRawSource(source.Channel(r.Poller.events, &handler.EnqueueRequestForObject{})).
		WithOptions(reconcile.Options(concurrent, passTimeout)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("starting the Mailbox controller: %w", err)
	}
	return nil
}
