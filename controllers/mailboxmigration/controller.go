// Package mailboxmigration keeps the dates of a provider's letter: package calendar says what is due, this one does it, writes down
// that it was done, and looks again. Copies are made by Jobs. Nothing here deletes: a migration that is deleted takes its Jobs with
// it and leaves the copies, and the ledger of what was done, where they are.
package mailboxmigration

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/jobs"
	"github.com/pec-operator/pec-operator/internal/peer"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

const (
	// soon is the pause while a Job runs, longest the one while nothing is due: another clock may be set meanwhile.
	soon, longest = 2 * time.Second, 10 * time.Minute
	// followed is the pause of the site that does not act, and so the longest delay before its mailboxes are bound by a phase that began at
	// the other.
	followed = 15 * time.Second
	// noticed is the longest pause of the preferred site, and so the longest delay before it notices that it was stood in for.
	noticed = time.Minute
	// passTimeout bounds a pass.
	passTimeout = time.Minute
	concurrent  = 4
)

// table declares the conditions of a MailboxMigration.
var table = reconcile.Table{
	Top:         v1alpha1.ConditionSucceeded,
	Positive:    []string{v1alpha1.ConditionCalendarSettled, v1alpha1.ConditionTargetReady, v1alpha1.ConditionMailboxesCopied, v1alpha1.ConditionPhasesSettled},
	Informative: []string{v1alpha1.ConditionClocksAgree, v1alpha1.ConditionUnderLegalHold, v1alpha1.ConditionLateRequests, v1alpha1.ConditionStandingIn, v1alpha1.ConditionPromisesKept},
	Served:      "every phase is done or was left out, and every listed mailbox's copy was proved complete",
	Meanwhile:   "a Job that runs goes on, no other is started; ",
}

// Reconciler keeps calendars at one site.
type Reconciler struct {
	*reconcile.Mechanism
	// Live reads past the cache: what was written a moment ago must be seen.
	Live       client.Reader
	Namespaces reconcile.Namespaces
	Engines    *engines.Pool
	// Jobs is where copies run, Image what their pods run.
	Jobs *jobs.Cluster
	// Peer reads the other site, StandIn is how long it must be silent before this one acts in its place.
	Peer    *peer.Peer
	StandIn time.Duration
	Image   string
	Site    string
	// Networks are those of ours in which a source may stand; any other one is on the internet.
	Networks []netip.Prefix

	// promiseLooks is when promises are looked at next: it takes two Secrets a mailbox, and a pass comes every two seconds while a Job runs.
	promiseLooks reconcile.Looks
}

// scope is what the phases of one pass share.
type scope struct {
	*reconcile.Pass
	*Reconciler
	migration *v1alpha1.MailboxMigration
	timetable *calendar.Timetable
	outlook   calendar.Outlook
	ledger    *ledger
	part      part
	target    target
	source    source
	engine    *admin.Client            // of the target's stack; nil while it takes no mailboxes
	failed    []v1alpha1.FailedMailbox // of a Job that is not settled
	far       string                   // how far the Job is that runs
	note      string                   // why the current work does not go on
	reason    string                   // of note
}

// Reconcile is one pass over one migration.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	migration := &v1alpha1.MailboxMigration{}
	if err := r.Client.Get(ctx, req.NamespacedName, migration); err != nil {
		r.promiseLooks.Forget(req.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !migration.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // its Jobs go with it; copies and ledger stay
	}
	pass, active, err := r.Begin(ctx, migration)
	if err != nil || !active {
		return ctrl.Result{}, err
	}
	s := &scope{Pass: pass, Reconciler: r, migration: migration}
	result, err := reconcile.Walk(ctx, s, settleCalendar, showHolds, openLedger, findTargetDomain, chooseSite, findEnds, keepDates, judgePromises)
	return r.Finish(ctx, pass, result, err, s.show)
}

// SetupWithManager starts the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.Table, r.promiseLooks.Every = table, longest
	err := ctrl.NewControllerManagedBy(mgr).
		Named("mailboxmigration").
		For(&v1alpha1.MailboxMigration{}, builder.WithPredicates(reconcile.SpecOrRequest())).
		WithOptions(reconcile.Options(concurrent, passTimeout)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("starting the MailboxMigration controller: %w", err)
	}
	return nil
}
