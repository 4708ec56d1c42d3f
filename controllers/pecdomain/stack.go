package pecdomain

import (
	"context"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/stack"
)

// applyStack makes the cluster hold the stack's objects, and says whether its pod is ready.
func applyStack(ctx context.Context, s *scope) (reconcile.Result, error) {
	objects, err := stack.Objects(s.domain, s.Stack)
	if err != nil {
		return reconcile.Result{}, reconcile.Stalled(v1alpha1.ConditionStackReady, v1alpha1.ReasonStackInvalid,
			fmt.Sprintf("no stack can be made of this spec: %v; change the spec", err))
	}
	for _, object := range objects {
		s.own(object)
		live, err := reconcile.Apply(ctx, s.Live, s.Client, object)
		if err != nil {
			return reconcile.Result{}, err
		}
		if live.GetKind() == "StatefulSet" && !rolledOut(live) {
			s.False(v1alpha1.ConditionStackReady, v1alpha1.ReasonStackStarting,
				fmt.Sprintf("pod %s-0 is not ready; kubectl describe pod -n %s %s-0 says why", live.GetName(), live.GetNamespace(), live.GetName()))
		}
	}
	if starting, ok := s.Said(v1alpha1.ConditionStackReady); ok {
		// The engine of a pod that starts may take its whole timeout to not answer.
		return reconcile.Result{}, s.Working(ctx, s.Pass, starting.Reason, starting.Message)
	}
	return reconcile.Result{}, nil
}

// rolledOut says whether the one replica runs what was applied last, and is ready.
func rolledOut(set *unstructured.Unstructured) bool {
	observed, _, _ := unstructured.NestedInt64(set.Object, "status", "observedGeneration")
	ready, _, _ := unstructured.NestedInt64(set.Object, "status", "readyReplicas")
	updated, _, _ := unstructured.NestedInt64(set.Object, "status", "updatedReplicas")
	return observed >= set.GetGeneration() && ready >= 1 && updated >= 1
}

// own makes an object go with its domain: the operator may not delete anything itself. It does not block the domain's own
// deletion, which would take a right on the domain's finalizers.
func (s *scope) own(object client.Object) {
	ref := metav1.NewControllerRef(s.domain, v1alpha1.GroupVersion.WithKind("PECDomain"))
	ref.BlockOwnerDeletion = nil
	object.SetOwnerReferences([]metav1.OwnerReference{*ref})
}

// askEngine reads the engine's own word on the stack. Without it nothing can be placed, so that its silence ends the pass.
func askEngine(ctx context.Context, s *scope) (reconcile.Result, error) {
	isManaged := s.domain.Spec.Provider.Type == v1alpha1.ProviderManaged
	s.engine = s.Engines.For(engines.First(s.host))
	status, err := s.engine.Status(ctx)
	if err != nil {
		condition, reason, message := v1alpha1.ConditionStackReady, v1alpha1.ReasonEngineUnreachable, "the engine of "+s.host.Name+" cannot be reached: "+engines.Why(err)
		if !isManaged {
			condition = v1alpha1.ConditionDirectoryInSync
		} else if starting, ok := s.Said(condition); ok {
			reason, message = starting.Reason, starting.Message // the pod is why
		}
		return reconcile.Result{}, reconcile.Waiting(soon, condition, reason, message)
	}
	s.heldDomains, s.engineStatus = status.Domains, status
	if !isManaged {
		return reconcile.Result{RequeueAfter: later}, nil
	}
	s.showAntivirus(status.Antivirus)
	words := "the engine says: " + strings.Join(status.Problems, "; ")
	starting, isStarting := s.Said(v1alpha1.ConditionStackReady)
	switch {
	case isStarting && len(status.Problems) > 0:
		s.False(starting.Type, starting.Reason, starting.Message+"; "+words)
		return reconcile.Result{RequeueAfter: soon}, nil
	case isStarting:
		return reconcile.Result{RequeueAfter: soon}, nil
	case len(status.Problems) > 0:
		s.False(v1alpha1.ConditionStackReady, v1alpha1.ReasonEngineProblem, words)
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	s.True(v1alpha1.ConditionStackReady, v1alpha1.ReasonStackAvailable, "the stack's pod is ready and its engine answers")
	return reconcile.Result{RequeueAfter: later}, nil
}

// directoryWaits ends a pass in which the engine did not take what the directory should hold.
func (s *scope) directoryWaits(err error) error {
	if errors.Is(err, admin.ErrRefused) {
		return reconcile.Waiting(later, v1alpha1.ConditionDirectoryInSync, v1alpha1.ReasonEngineRefuses,
			"the directory of "+s.host.Name+" stays as it is, "+err.Error()+"; correct that in this PECDomain, or see whether the engine's release is that of the operator")
	}
	return reconcile.Waiting(soon, v1alpha1.ConditionDirectoryInSync, v1alpha1.ReasonEngineUnreachable,
		"the directory of "+s.host.Name+" cannot be brought up to date: "+engines.Why(err))
}
