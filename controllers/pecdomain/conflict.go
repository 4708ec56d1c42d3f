package pecdomain

import (
	"context"
	"fmt"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// claimDomain lets one PECDomain per domain name act. It comes before anything that has an effect: a loser that had acted
// would undo the winner's work when it is deleted.
func claimDomain(ctx context.Context, s *scope) (reconcile.Result, error) {
	first, err := refs.Claimant(ctx, s.Client, s.domain.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	if first != nil && first.Namespace != s.domain.Namespace {
		return reconcile.Result{}, reconcile.StalledBy(v1alpha1.ConditionDomainConflict, v1alpha1.ReasonDomainClaimed, fmt.Sprintf(
			"namespace %s claimed %s first; nothing is done for this resource: delete it, or have the other one deleted",
			first.Namespace, s.domain.Name))
	}
	return reconcile.Result{}, nil
}
