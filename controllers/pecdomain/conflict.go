package pecdomain

import (
	"context"
	"fmt"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/index"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// claimDomain lets one PECDomain per domain name act. It comes before anything that has an effect: a loser that had acted
// would undo the winner's work when it is deleted.
func claimDomain(ctx context.Context, s *scope) (reconcile.Result, error) {
	var all v1alpha1.PECDomainList
	if err := s.Client.List(ctx, &all, client.MatchingFields{index.DomainName: s.domain.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, fmt.Errorf("listing who claims domain %s: %w", s.domain.Name, err)
	}
	if first := winner(all.Items); first != nil && first.Namespace != s.domain.Namespace {
		return reconcile.Result{}, reconcile.StalledBy(v1alpha1.ConditionDomainConflict, v1alpha1.ReasonDomainClaimed, fmt.Sprintf(
			"namespace %s claimed %s first; nothing is done for this resource: delete it, or have the other one deleted",
			first.Namespace, s.domain.Name))
	}
	return reconcile.Result{}, nil
}

// winner is the oldest claim of a domain; of two of the same second, the one whose namespace sorts first.
func winner(claims []v1alpha1.PECDomain) *v1alpha1.PECDomain {
	var first *v1alpha1.PECDomain
	for i := range claims {
		c := &claims[i]
		if first == nil || c.CreationTimestamp.Before(&first.CreationTimestamp) ||
			(c.CreationTimestamp.Equal(&first.CreationTimestamp) && c.Namespace < first.Namespace) {
			first = c
		}
	}
	return first
}

// checkAccess ends the pass in a namespace that the operator was not given, before the API server has to refuse anything.
func checkAccess(_ context.Context, s *scope) (reconcile.Result, error) {
	if message := s.Access.Missing(s.domain.Namespace, nil); message != "" {
		return reconcile.Result{}, reconcile.Waiting(later, v1alpha1.ConditionStackReady, v1alpha1.ReasonNamespaceNotGranted, message)
	}
	return reconcile.Result{}, nil
}
