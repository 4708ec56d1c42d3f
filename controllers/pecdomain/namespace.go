package pecdomain

import (
	"context"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// checkNamespace ends the pass in a namespace that the operator was not given, before the API server has to refuse anything.
func checkNamespace(_ context.Context, s *scope) (reconcile.Result, error) {
	if message := s.Namespaces.Missing(s.domain.Namespace, nil); message != "" {
		return reconcile.Result{}, reconcile.Waiting(later, v1alpha1.ConditionStackReady, v1alpha1.ReasonNamespaceNotGranted, message)
	}
	return reconcile.Result{}, nil
}
