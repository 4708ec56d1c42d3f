// Package check is the oracle that ends every controller test: whatever a test is about, the status it leaves must be one
// that people, kubectl and GitOps tools can trust.
package check

import (
	"fmt"
	"regexp"
	"testing"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

var reasonForm = regexp.MustCompile(`^[A-Z][A-Za-z0-9]+$`)

// Status fails the test for each rule that the object's status breaks. negative names the conditions of the kind that exist
// only while True.
func Status(t testing.TB, obj reconcile.Object, negative ...string) {
	t.Helper()
	for _, problem := range Problems(obj, negative...) {
		t.Errorf("%s: %s", obj.GetName(), problem)
	}
}

// Problems is Status for a caller that decides itself.
func Problems(obj reconcile.Object, negative ...string) []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	conditions := obj.GetConditions()
	if obj.GetObservedGeneration() != obj.GetGeneration() {
		bad("observedGeneration is %d, generation is %d", obj.GetObservedGeneration(), obj.GetGeneration())
	}
	seen := map[string]bool{}
	for _, c := range conditions {
		switch {
		case seen[c.Type]:
			bad("%s is there twice", c.Type)
		case !reasonForm.MatchString(c.Reason):
			bad("%s has the reason %q", c.Type, c.Reason)
		case c.Message == "":
			bad("%s says nothing", c.Type)
		case c.LastTransitionTime.IsZero():
			bad("%s never changed", c.Type)
		case c.ObservedGeneration > obj.GetGeneration():
			bad("%s speaks of generation %d, which is not there yet", c.Type, c.ObservedGeneration)
		}
		seen[c.Type] = true
	}
	for _, name := range append(negative, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionSuspended) {
		if c := meta.FindStatusCondition(conditions, name); c != nil && c.Status != metav1.ConditionTrue {
			bad("%s is there and %s: it may exist only while True", name, c.Status)
		}
	}
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if ready == nil {
		if !seen[v1alpha1.ConditionSuspended] {
			bad("Ready is missing")
		}
		return out
	}
	stalled, reconciling := seen[v1alpha1.ConditionStalled], seen[v1alpha1.ConditionReconciling]
	if stalled && reconciling {
		bad("Stalled and Reconciling at once")
	}
	if stalled && ready.Status == metav1.ConditionTrue {
		bad("Stalled and Ready at once")
	}
	return append(out, kstatusProblems(obj, ready.Status, stalled, reconciling)...)
}

// kstatusProblems compares what kstatus computes with what our conditions mean.
func kstatusProblems(obj reconcile.Object, ready metav1.ConditionStatus, stalled, reconciling bool) []string {
	want := kstatus.InProgressStatus
	switch {
	case obj.GetDeletionTimestamp() != nil:
		want = kstatus.TerminatingStatus
	case stalled:
		want = kstatus.FailedStatus
	case ready == metav1.ConditionTrue && !reconciling:
		want = kstatus.CurrentStatus
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return []string{err.Error()}
	}
	got, err := kstatus.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		return []string{"kstatus cannot read it: " + err.Error()}
	}
	if got.Status != want {
		return []string{fmt.Sprintf("kstatus says %s (%s), our conditions mean %s", got.Status, got.Message, want)}
	}
	return nil
}
