package pecdomain

import (
	"context"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// awaitExternal shows that nobody here watches the provider: a domain that merely has no fault must not look Ready.
func awaitExternal(_ context.Context, s *scope) (reconcile.Result, error) {
	s.True(v1alpha1.ConditionAwaitingExternal, v1alpha1.ReasonExternalNotWatched,
		s.domain.Spec.Provider.External.Name+" runs this domain; this release stores that and watches neither its DNS nor its mailboxes: ask the provider how they are")
	return reconcile.Result{}, nil
}
