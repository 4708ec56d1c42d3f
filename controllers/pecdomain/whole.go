package pecdomain

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// vouch tells an engine whose log is new that its directory has all mailboxes that it should have; until then it asks whoever writes to an
// unknown address to come again. What the other site may still tell it is awaited, and then each Mailbox that is to have a row. Neither
// for ever: one that cannot be placed must not keep all wrong addresses without an answer.
func vouch(ctx context.Context, s *scope) (reconcile.Result, error) {
	if !s.engineStatus.Incomplete {
		return reconcile.Result{}, nil
	}
	if err := s.directory().Compare(ctx); err != nil { // what was last read may be the former volume's
		return reconcile.Result{}, s.directoryWaits(err)
	}
	recall, err := s.Book.Recall(ctx, s.host)
	if err != nil {
		return reconcile.Result{}, err
	}
	if recall.Awaited {
		return reconcile.Result{RequeueAfter: later}, nil // the engine says itself when it was told
	}
	if !recall.Overdue {
		if n, err := s.unplaced(ctx); n > 0 || err != nil {
			return reconcile.Result{RequeueAfter: soon}, err
		}
	}
	err = s.engine.PutWhole(ctx)
	if err != nil && !errors.Is(err, admin.ErrNotFound) { // an engine of an earlier release asks nobody to come again
		return reconcile.Result{}, s.directoryWaits(err)
	}
	logf.FromContext(ctx).Info("the directory of a new engine has its mailboxes", "overdue", recall.Overdue)
	return reconcile.Result{}, nil
}

// unplaced is how many domains and Mailboxes are to be in the directory and are not, of all that the stack serves: a guest's domain comes there
// by a pass of its own, its rows after that. What only names one of these domains gets no row here: a Mailbox of another namespace, or one
// whose domain is at another provider now.
func (s *scope) unplaced(ctx context.Context) (n int, err error) {
	var served v1alpha1.PECDomainList
	if err := s.Client.List(ctx, &served, client.MatchingFields{refs.DomainHost: refs.Key(s.host)}, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("listing the domains on the stack of %s: %w", s.host, err)
	}
	for i := range served.Items {
		d := &served.Items[i]
		claimant, err := refs.Claimant(ctx, s.Client, d.Name)
		if err != nil {
			return 0, err
		}
		if !s.domain.Serves(d.Namespace) || claimant == nil || claimant.Namespace != d.Namespace {
			continue
		}
		lacks, err := s.unplacedOf(ctx, d)
		if err != nil {
			return 0, err
		}
		n += lacks
	}
	return n, nil
}

// unplacedOf is unplaced of one domain. What is being deleted comes there no more, however long somebody's finalizer keeps it.
func (s *scope) unplacedOf(ctx context.Context, d *v1alpha1.PECDomain) (n int, err error) {
	switch _, there := s.held(d.Name); {
	case !there && !d.DeletionTimestamp.IsZero():
		return 0, nil
	case !there:
		return 1, nil
	}
	rows, err := s.directory().Rows(ctx, d.Name)
	if err != nil {
		return 0, s.directoryWaits(err)
	}
	var mailboxes v1alpha1.MailboxList
	err = s.Client.List(ctx, &mailboxes, client.InNamespace(d.Namespace), client.MatchingFields{refs.MailboxDomain: d.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return 0, fmt.Errorf("listing the mailboxes of %s: %w", d.Name, err)
	}
	return missing(mailboxes.Items, rows), nil
}

// missing is how many Mailboxes have no row, but for those that are being deleted, or that their contract does not admit. One that waits for
// a person is missing too: it may have been there for years. Pure.
func missing(mailboxes []v1alpha1.Mailbox, rows []admin.Mailbox) (n int) {
	has := make(map[string]bool, len(rows))
	for _, row := range rows {
		has[row.Address] = true
	}
	for i := range mailboxes {
		m := &mailboxes[i]
		if m.DeletionTimestamp.IsZero() && !has[m.Address()] && !isHeld(m) {
			n++
		}
	}
	return n
}

// isHeld says whether a contract keeps a Mailbox from ever having had a row. Of one that has a row, and wants more, its status says so too, and
// goes on saying it after the row was lost. Pure.
func isHeld(m *v1alpha1.Mailbox) bool {
	admitted := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionAdmitted)
	if admitted == nil || admitted.Status != metav1.ConditionFalse || m.Status.AdmittedAs != "" {
		return false
	}
	switch admitted.Reason {
	case v1alpha1.ReasonHeldByContract, v1alpha1.ReasonMassiveNotGranted, v1alpha1.ReasonContractEnded:
		return true
	}
	return false
}
