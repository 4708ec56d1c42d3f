// Package check is the oracle of every controller test: whatever a test is about, each status that the operator writes meanwhile
// must be one that people, kubectl and GitOps tools can trust. apitest runs it beside every operator; no test can forget it.
package check

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// Succeeded is the top condition of a kind that ends; the others have Ready.
const Succeeded = "Succeeded"

var (
	reasonForm = regexp.MustCompile(`^[A-Z][A-Za-z0-9]+$`)
	// changing is what must not stand in a message: it would be a write, and a line of a diff, on every pass.
	changing = regexp.MustCompile(`[0-9]{2}:[0-9]{2}:[0-9]{2}|0x[0-9a-f]{6,}`)
)

// Status fails the test for each rule that the object's status breaks, and logs each that it bends.
func Status(t testing.TB, obj client.Object) {
	t.Helper()
	for _, problem := range Problems(obj) {
		t.Errorf("%s: %s", obj.GetName(), problem)
	}
	for _, warning := range Warnings(obj) {
		t.Logf("%s: %s", obj.GetName(), warning)
	}
}

// Problems are the rules that a status breaks once it speaks of the spec that is there.
func Problems(obj client.Object) []string {
	var out []string
	if observedGeneration(obj) != obj.GetGeneration() {
		out = append(out, fmt.Sprintf("observedGeneration is %d, generation is %d", observedGeneration(obj), obj.GetGeneration()))
	}
	return append(out, Broken(obj)...)
}

// Broken are the rules that a status breaks whatever spec it speaks of.
func Broken(obj client.Object) []string {
	conditions := conditionsOf(obj)
	out := brokenEach(conditions, obj.GetGeneration())
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	top, ended := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady), meta.FindStatusCondition(conditions, Succeeded)
	switch {
	case top == nil && ended == nil:
		bad("it has no top condition")
		return out
	case top != nil && ended != nil:
		bad("Ready and Succeeded at once: a kind either lives or ends")
	case top == nil:
		top = ended
	}
	for _, c := range conditions {
		if top.Status == metav1.ConditionTrue && c.ObservedGeneration < top.ObservedGeneration {
			bad("%s is True of generation %d and %s was judged of %d", top.Type, top.ObservedGeneration, c.Type, c.ObservedGeneration)
		}
	}
	stalled := meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled) != nil
	reconciling := meta.FindStatusCondition(conditions, v1alpha1.ConditionReconciling) != nil
	if stalled && reconciling {
		bad("Stalled and Reconciling at once")
	}
	if stalled && top.Status == metav1.ConditionTrue {
		bad("Stalled and %s at once", top.Type)
	}
	return append(out, kstatusProblems(obj, top.Status, stalled, reconciling)...)
}

// brokenEach are the rules that a condition breaks by itself.
func brokenEach(conditions []metav1.Condition, generation int64) (out []string) {
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	seen := map[string]bool{}
	for _, c := range conditions {
		switch {
		case seen[c.Type]:
			bad("%s is there twice", c.Type)
		case !reasonForm.MatchString(c.Reason):
			bad("%s has the reason %q", c.Type, c.Reason)
		case c.Message == "":
			bad("%s says nothing", c.Type)
		case len(c.Message) > reconcile.MaxMessage:
			bad("%s says %d bytes", c.Type, len(c.Message))
		case c.LastTransitionTime.IsZero():
			bad("%s never changed", c.Type)
		case c.ObservedGeneration > generation:
			bad("%s speaks of generation %d, which is not there yet", c.Type, c.ObservedGeneration)
		case Negative()[c.Type] && c.Status != metav1.ConditionTrue:
			bad("%s is there and %s: it may exist only while True", c.Type, c.Status)
		}
		seen[c.Type] = true
	}
	return out
}

// Warnings are rules that a status may have a reason to bend.
func Warnings(obj client.Object) []string {
	var out []string
	for _, c := range conditionsOf(obj) {
		switch {
		case strings.ContainsAny(c.Message, "\n\t"):
			out = append(out, fmt.Sprintf("%s says more than a line: %q", c.Type, c.Message))
		case changing.MatchString(c.Message):
			out = append(out, fmt.Sprintf("%s says what will differ on the next pass: %q", c.Type, c.Message))
		case c.Status == metav1.ConditionFalse && !strings.ContainsAny(c.Message, ";:,"):
			out = append(out, fmt.Sprintf("%s says what is wrong and not what to do: %q", c.Type, c.Message))
		}
	}
	return out
}

// kstatusProblems compares what kstatus computes with what our conditions mean.
func kstatusProblems(obj client.Object, top metav1.ConditionStatus, stalled, reconciling bool) []string {
	want := kstatus.InProgressStatus
	switch {
	case obj.GetDeletionTimestamp() != nil:
		want = kstatus.TerminatingStatus
	case observedGeneration(obj) != obj.GetGeneration():
	case stalled:
		want = kstatus.FailedStatus
	case top == metav1.ConditionTrue && !reconciling:
		want = kstatus.CurrentStatus
	}
	got, message, err := Kstatus(obj)
	switch {
	case err != nil:
		return []string{"kstatus cannot read it: " + err.Error()}
	case got != want:
		return []string{fmt.Sprintf("kstatus says %s (%s), our conditions mean %s", got, message, want)}
	}
	return nil
}

// Kstatus is what kstatus says of an object, as Flux asks it.
func Kstatus(obj client.Object) (kstatus.Status, string, error) {
	content, err := apiruntime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return "", "", err
	}
	got, err := kstatus.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		return "", "", err
	}
	return got.Status, got.Message, nil
}

// conditionsOf and observedGeneration read a status without asking its kind for accessors: a kind that no controller acts on has none.
func conditionsOf(obj client.Object) []metav1.Condition {
	return status(obj).FieldByName("Conditions").Interface().([]metav1.Condition)
}

func observedGeneration(obj client.Object) int64 {
	return status(obj).FieldByName("ObservedGeneration").Int()
}

func status(obj any) reflect.Value { return reflect.ValueOf(obj).Elem().FieldByName("Status") }

// Negative are the conditions that exist only while True: those whose definition begins so. A condition that is defined so and
// written otherwise fails every test.
var Negative = sync.OnceValue(func() map[string]bool {
	_, file, _, _ := runtime.Caller(0)
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(filepath.Dir(file), "../../../api/v1alpha1/conditions.go"), nil, parser.ParseComments)
	if err != nil {
		panic(err)
	}
	negative := map[string]bool{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && strings.Contains(spec.Doc.Text(), "is there, True, only while") {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				panic(err)
			}
			negative[value] = true
		}
		return true
	})
	return negative
})
