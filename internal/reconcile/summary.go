package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// Table declares the conditions of a kind; the top one, Ready, is summarised from it and from nothing else.
type Table struct {
	// Top is the top condition of a kind that ends, like Succeeded; "" is Ready. kstatus knows Ready alone, so that a Top that is not
	// True is Reconciling too.
	Top string
	// Positive conditions must all be True for Ready; the first False one, or else the first Unknown one, gives Ready its
	// reason and message. The order is the order in which a person would look for the cause.
	Positive []string
	// Negative conditions exist only while True, and then Ready is False for their reason.
	Negative []string
	// Informative conditions exist only while said, and say nothing of Ready.
	Informative []string
	// Adverse are those of them of which True is what a person should mind.
	Adverse []string
	// Announced are the others whose change, like that of Ready and of an informative one, is an event.
	Announced []string
	// Served is the message of Ready while it is True.
	Served string
	// Meanwhile is what goes on while spec.suspend keeps the operator from an object; "" is nothing of note.
	Meanwhile string
}

// summarise turns what a pass said, and the error that ended it, into the object's conditions, in the order that a person
// reads them: Ready, what the operator is doing about it, then the parts.
func (t Table) summarise(p *Pass, err error) {
	stopped, typed := Verdict(err)
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
	if ready.Status == metav1.ConditionTrue && p.Served != "" {
		ready.Message = p.Served
	}
	if fields := p.Object.NotInForce(); len(fields) > 0 {
		ready.Message += "; NotInForce names what is only stored"
		parts = append(parts, p.stamp(metav1.Condition{Type: v1alpha1.ConditionNotInForce, Status: metav1.ConditionTrue,
			Reason: v1alpha1.ReasonFieldsStored, Message: "this release stores these fields and does not act on them, do not rely on them: " + strings.Join(fields, ", ")}))
	}
	top := p.stamp(ready)
	for _, c := range parts {
		// A part that was kept speaks of the spec before: so does what is summarised from it, or kubectl wait would believe it too early.
		top.ObservedGeneration = min(top.ObservedGeneration, c.ObservedGeneration)
	}
	conditions := append([]metav1.Condition{top}, t.kstatus(p, ready, err)...)
	p.Object.SetConditions(append(conditions, parts...))
	p.Object.SetObservedGeneration(p.Object.GetGeneration())
}

// ready is Ready by the table over the other conditions.
func (t Table) ready(parts []metav1.Condition) metav1.Condition {
	ready := metav1.Condition{Type: t.top(), Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonServed, Message: t.Served}
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

func (t Table) top() string {
	if t.Top == "" {
		return v1alpha1.ConditionReady
	}
	return t.Top
}

// suspend shows that the operator leaves an object alone. The top condition keeps its status and its generation, because nothing
// was looked at, and takes the reason, because that is what the columns show.
func (t Table) suspend(p *Pass) {
	now := metav1.Condition{Type: v1alpha1.ConditionSuspended, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonSuspended,
		Message: "spec.suspend is Reconciliation: nothing is changed; " + t.Meanwhile + "set it to None to go on"}
	top := t.topOf(p)
	top.Reason, top.Message = now.Reason, now.Message
	conditions := []metav1.Condition{top, p.stamp(now)}
	if t.Top != "" && top.Status != metav1.ConditionTrue {
		now.Type = v1alpha1.ConditionReconciling // kstatus would take what was begun and is not done for done
		conditions = append(conditions, p.stamp(now))
	}
	for _, c := range p.before.GetConditions() {
		if c.Type != t.top() && c.Type != v1alpha1.ConditionSuspended && c.Type != v1alpha1.ConditionReconciling {
			conditions = append(conditions, c)
		}
	}
	p.Object.SetConditions(conditions)
	p.Object.SetObservedGeneration(p.Object.GetGeneration())
}

// begin shows that work towards a spec has begun.
func (t Table) begin(p *Pass, reason, message string) {
	top := t.topOf(p)
	if top.Status == metav1.ConditionUnknown {
		top.Reason, top.Message = reason, message
	}
	conditions := []metav1.Condition{top, p.stamp(metav1.Condition{
		Type: v1alpha1.ConditionReconciling, Status: metav1.ConditionTrue, Reason: reason, Message: message})}
	for _, c := range p.before.GetConditions() {
		if c.Type != t.top() && c.Type != v1alpha1.ConditionReconciling && c.Type != v1alpha1.ConditionStalled && c.Type != v1alpha1.ConditionSuspended {
			conditions = append(conditions, c)
		}
	}
	p.Object.SetConditions(conditions)
}

// topOf is the top condition as the pass found it, or Unknown.
func (t Table) topOf(p *Pass) metav1.Condition {
	if old := meta.FindStatusCondition(p.before.GetConditions(), t.top()); old != nil {
		return *old
	}
	return p.stamp(metav1.Condition{Type: t.top(), Status: metav1.ConditionUnknown})
}

// kstatus is the condition, if any, by which kstatus tells progress from failure: each exists only while True, never both.
func (t Table) kstatus(p *Pass, top metav1.Condition, err error) []metav1.Condition {
	c, _ := Verdict(err)
	c.Status = metav1.ConditionTrue
	isAtRest := err == nil || isHeld(err)
	switch {
	case isAtRest && (t.Top == "" || top.Status == metav1.ConditionTrue):
		return nil
	case isAtRest:
		c.Type, c.Reason, c.Message = v1alpha1.ConditionReconciling, top.Reason, top.Message
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
const MaxMessage = 1536

// stamp completes a condition: its generation, and a transition time that moves only when the status moves.
func (p *Pass) stamp(c metav1.Condition) metav1.Condition {
	c.ObservedGeneration = p.Object.GetGeneration()
	c.LastTransitionTime = metav1.NewTime(p.Now.Truncate(1e9)) // the API server keeps whole seconds
	if old := meta.FindStatusCondition(p.before.GetConditions(), c.Type); old != nil && old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	c.Message = cutBytes(c.Message, MaxMessage)
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

// FirstOf is a list for a person: the first n, and how many more there are.
func FirstOf(list []string, n int, separator string) string {
	if more := len(list) - n; more > 0 {
		return strings.Join(list[:n], separator) + fmt.Sprintf("%sand %d more", separator, more)
	}
	return strings.Join(list, separator)
}

// Cut shortens a text to a number of characters, which is how a schema counts.
func Cut(text string, characters int) string {
	for i := range text {
		if characters--; characters < 0 {
			return text[:i]
		}
	}
	return text
}

// cutBytes shortens a text to a number of bytes, which is how the events API and etcd count, without leaving half a character.
func cutBytes(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "")
}
