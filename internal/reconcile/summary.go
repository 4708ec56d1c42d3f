package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// Table declares the conditions of a kind; Ready is summarised from it and from nothing else.
type Table struct {
	// Positive conditions must all be True for Ready; the first False one, or else the first Unknown one, gives Ready its
	// reason and message. The order is the order in which a person would look for the cause.
	Positive []string
	// Negative conditions exist only while True, and then Ready is False for their reason.
	Negative []string
	// Informative conditions exist only while said, and say nothing of Ready.
	Informative []string
	// Served is the message of Ready while it is True.
	Served string
}

// summarise turns what a pass said, and the error that ended it, into the object's conditions, in the order that a person
// reads them: Ready, what the operator is doing about it, then the parts.
func (t Table) summarise(p *Pass, err error) {
	stopped, typed := verdict(err)
	if typed {
		p.said[stopped.Type] = stopped
	}
	generic := err != nil && !typed
	var parts []metav1.Condition
	for _, name := range slices.Concat(t.Negative, t.Positive, t.Informative) {
		said, ok := p.said[name]
		old := meta.FindStatusCondition(p.before.GetConditions(), name)
		switch {
		case ok:
			parts = append(parts, p.stamp(said))
		case generic && old != nil:
			parts = append(parts, *old) // a failed call says nothing of what was not looked at: what was known stays
		case slices.Contains(t.Positive, name):
			parts = append(parts, p.stamp(metav1.Condition{Type: name, Status: metav1.ConditionUnknown,
				Reason: v1alpha1.ReasonNotEvaluated, Message: notEvaluated(stopped, typed)}))
		}
	}
	ready := t.ready(parts)
	if fields := p.Object.NotInForce(); len(fields) > 0 {
		ready.Message += "; NotInForce names what is only stored"
		parts = append(parts, p.stamp(metav1.Condition{Type: v1alpha1.ConditionNotInForce, Status: metav1.ConditionTrue,
			Reason: v1alpha1.ReasonFieldsStored, Message: "this release stores these fields and does not act on them, do not rely on them: " + strings.Join(fields, ", ")}))
	}
	conditions := append([]metav1.Condition{p.stamp(ready)}, p.kstatus(err)...)
	p.Object.SetConditions(append(conditions, parts...))
	p.Object.SetObservedGeneration(p.Object.GetGeneration())
}

// ready is Ready by the table over the other conditions.
func (t Table) ready(parts []metav1.Condition) metav1.Condition {
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonServed, Message: t.Served}
	for _, c := range parts {
		negative := slices.Contains(t.Negative, c.Type)
		switch {
		case negative || (slices.Contains(t.Positive, c.Type) && c.Status == metav1.ConditionFalse):
			ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, c.Reason, c.Message
			return ready
		case slices.Contains(t.Positive, c.Type) && c.Status == metav1.ConditionUnknown && ready.Status == metav1.ConditionTrue:
			ready.Status, ready.Reason, ready.Message = c.Status, c.Reason, c.Message
		}
	}
	return ready
}

// kstatus is the condition, if any, by which kstatus tells progress from failure: each exists only while True, never both.
func (p *Pass) kstatus(err error) []metav1.Condition {
	c, _ := verdict(err)
	c.Status = metav1.ConditionTrue
	switch {
	case err == nil || isHeld(err):
		return nil
	case isStalled(err):
		c.Type = v1alpha1.ConditionStalled
	case isWaiting(err):
		c.Type = v1alpha1.ConditionReconciling
	default:
		c.Type, c.Reason, c.Message = v1alpha1.ConditionReconciling, v1alpha1.ReasonRetrying, oneLine(err)
	}
	return []metav1.Condition{p.stamp(c)}
}

// MaxMessage is the most bytes of a condition's message: an object with every condition must still fit into etcd with ease.
const MaxMessage = 2048

// stamp completes a condition: its generation, and a transition time that moves only when the status moves.
func (p *Pass) stamp(c metav1.Condition) metav1.Condition {
	c.ObservedGeneration = p.Object.GetGeneration()
	c.LastTransitionTime = metav1.NewTime(p.Now.Truncate(1e9)) // the API server keeps whole seconds
	if old := meta.FindStatusCondition(p.before.GetConditions(), c.Type); old != nil && old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	c.Message = cut(c.Message, MaxMessage)
	return c
}

func notEvaluated(stopped metav1.Condition, typed bool) string {
	if !typed {
		return "not looked at yet"
	}
	return fmt.Sprintf("not looked at, because %s comes first: %s", stopped.Type, stopped.Message)
}

// oneLine keeps a condition readable in a table; an error of several lines is one that a library made for a terminal.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

// cut shortens a text to what the API server accepts, without leaving half a character.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "")
}
