package reconcile

import (
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// waitingError: the operator tries again by itself. To the user it is a state, not an error.
type waitingError struct {
	after     time.Duration
	condition metav1.Condition
	// held says that somebody else must act: nothing is under way.
	held bool
}

func (e *waitingError) Error() string { return e.condition.Message }

// stalledError: trying again cannot help; a person must change something.
type stalledError struct{ condition metav1.Condition }

func (e *stalledError) Error() string { return e.condition.Message }

// Waiting ends a walk until something else is there: the condition is False with the reason, and the next pass comes after
// the given time, or with a change.
func Waiting(after time.Duration, conditionType, reason, message string) error {
	return &waitingError{after: after, condition: metav1.Condition{
		Type: conditionType, Status: metav1.ConditionFalse, Reason: reason, Message: message}}
}

// Held ends a walk until somebody else acts, as a waiting list does: the condition is False with the reason, and neither
// Reconciling nor Stalled is said, because it is neither progress nor a fault. A watch should bring the next pass; it comes
// after the given time at the latest.
func Held(after time.Duration, conditionType, reason, message string) error {
	return &waitingError{after: after, held: true, condition: metav1.Condition{
		Type: conditionType, Status: metav1.ConditionFalse, Reason: reason, Message: message}}
}

// Stalled ends a walk until a person changes something: the condition is False with the reason, Stalled is True.
func Stalled(conditionType, reason, message string) error {
	return &stalledError{condition: metav1.Condition{
		Type: conditionType, Status: metav1.ConditionFalse, Reason: reason, Message: message}}
}

// StalledBy is Stalled for a negative condition, which exists only while True.
func StalledBy(conditionType, reason, message string) error {
	return &stalledError{condition: metav1.Condition{
		Type: conditionType, Status: metav1.ConditionTrue, Reason: reason, Message: message}}
}

// Verdict is what an error says of a condition; ok is false for a generic error, which says nothing of the object.
func Verdict(err error) (c metav1.Condition, ok bool) {
	if w := (*waitingError)(nil); errors.As(err, &w) {
		return w.condition, true
	}
	if s := (*stalledError)(nil); errors.As(err, &s) {
		return s.condition, true
	}
	return metav1.Condition{}, false
}

// isConflict: somebody else wrote first; the next pass sees it. Nobody needs to hear of that.
func isConflict(err error) bool { return apierrors.IsConflict(err) }

func isStalled(err error) bool { s := (*stalledError)(nil); return errors.As(err, &s) }

func isWaiting(err error) bool { w := (*waitingError)(nil); return errors.As(err, &w) }

func isHeld(err error) bool { w := (*waitingError)(nil); return errors.As(err, &w) && w.held }
