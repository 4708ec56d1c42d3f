package mailbox

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// awayLong is how long an engine may be away before its mailboxes are not Ready: a pod that starts on another node is back by then, and ten
// thousand writes and as many when it returns would keep waiting whoever has something to change. Their domain says so at once.
const awayLong = 5 * time.Minute

// rowsCount says whether the rows that a stack holds of a domain count while the domain takes no mailboxes: its engine may be away, or
// something else of its own be wrong. They do not count before the domain was judged, where another PECDomain claims its name, and where
// its host does not serve it (there the stack is only asked to take away: refused.go). Pure.
func rowsCount(d *v1alpha1.PECDomain) bool {
	conditions := d.Status.Conditions
	host := meta.FindStatusCondition(conditions, v1alpha1.ConditionHostReady)
	hostFails := host != nil && host.Status == metav1.ConditionFalse && host.Reason != v1alpha1.ReasonHostNotReady
	return meta.FindStatusCondition(conditions, v1alpha1.ConditionDirectoryInSync) != nil && !hostFails &&
		!meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionDomainConflict)
}

// awayForLong says whether a domain has not taken mailboxes for so long that they say so. Pure.
func awayForLong(d *v1alpha1.PECDomain, now time.Time) bool {
	c := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionDirectoryInSync)
	return c != nil && c.Status != metav1.ConditionTrue && now.Sub(c.LastTransitionTime.Time) >= awayLong
}

// wasPlaced says whether the stack held what this generation of the spec says when that was last looked at. Pure.
func wasPlaced(m *v1alpha1.Mailbox) bool {
	c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionProvisioned)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == m.Generation
}

// isAway says whether the engine did not answer in this pass.
func (s *scope) isAway() bool { return s.away != nil }

// afterReading says how a pass goes on after the row was read, or was not, because the engine did not answer (err): nil is to go on with what is
// known. What the engine last said of the mailbox counts while there is nothing to change.
func (s *scope) afterReading(err error) error {
	switch {
	case err == nil && !s.has.There && !takesMailboxes(s.domain):
		return s.domainWaits()
	case err == nil:
		return nil
	case s.has.There:
		s.away = err
		s.Repeat(v1alpha1.ConditionQuotaHealthy, v1alpha1.ConditionArchiveRecommended, v1alpha1.ConditionUsageMatchesType, v1alpha1.ConditionSecretsDiffer)
		return nil
	case wasPlaced(s.mailbox) && !awayForLong(s.domain, s.Now): // an operator that has just started has not heard the engine yet
		s.comeBack = reconcile.Jitter(recheck)
		return errNotYet
	case takesMailboxes(s.domain):
		return s.directoryWaits(err)
	}
	return s.domainWaits()
}

// domainWaits ends a pass over a mailbox whose domain takes none.
func (s *scope) domainWaits() error {
	reason := v1alpha1.ReasonNotEvaluated
	if c := meta.FindStatusCondition(s.domain.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		reason = c.Reason
	}
	return reconcile.Waiting(recheck, v1alpha1.ConditionProvisioned, v1alpha1.ReasonDomainNotReady, fmt.Sprintf(
		"the stack of %s cannot take mailboxes yet (%s); kubectl describe pecd -n %s %s says more", s.domain.Name, reason, s.domain.Namespace, s.domain.Name))
}
