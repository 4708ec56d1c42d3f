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

// unplaced is how many Mailboxes of the stack's domains are to have a row there and have none.
func (s *scope) unplaced(ctx context.Context) (n int, err error) {
	for _, held := range s.heldDomains {
		rows, err := s.directory().Rows(ctx, held.Name)
		if err != nil {
			return 0, s.directoryWaits(err)
		}
		var mailboxes v1alpha1.MailboxList
		if err := s.Client.List(ctx, &mailboxes, client.MatchingFields{refs.MailboxDomain: held.Name}, client.UnsafeDisableDeepCopy); err != nil {
			return 0, fmt.Errorf("listing the mailboxes of %s: %w", held.Name, err)
		}
		n += missing(mailboxes.Items, rows)
	}
	return n, nil
}

// missing is how many Mailboxes have no row, but for those that their contract does not admit. One that waits for a person is missing too: it
// may have been there for years. Pure.
func missing(mailboxes []v1alpha1.Mailbox, rows []admin.Mailbox) (n int) {
	has := make(map[string]bool, len(rows))
	for _, row := range rows {
		has[row.Address] = true
	}
	for i := range mailboxes {
		admitted := meta.FindStatusCondition(mailboxes[i].Status.Conditions, v1alpha1.ConditionAdmitted)
		isHeld := admitted != nil && admitted.Status == metav1.ConditionFalse && admitted.Reason != v1alpha1.ReasonStackRecalling
		if !has[mailboxes[i].Address()] && !isHeld {
			n++
		}
	}
	return n
}
