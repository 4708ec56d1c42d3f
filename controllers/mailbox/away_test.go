package mailbox

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

func TestRowsThatCountAndWhoIsConcerned(t *testing.T) {
	now := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	domain := func(conditions ...metav1.Condition) *v1alpha1.PECDomain {
		return &v1alpha1.PECDomain{Status: v1alpha1.PECDomainStatus{Conditions: conditions}}
	}
	is := func(name string, status metav1.ConditionStatus, reason string, ago time.Duration) metav1.Condition {
		return metav1.Condition{Type: name, Status: status, Reason: reason, LastTransitionTime: metav1.NewTime(now.Add(-ago))}
	}
	taken := is(v1alpha1.ConditionDirectoryInSync, metav1.ConditionTrue, v1alpha1.ReasonDomainPlaced, time.Hour)
	gone := func(ago time.Duration) metav1.Condition {
		return is(v1alpha1.ConditionDirectoryInSync, metav1.ConditionUnknown, v1alpha1.ReasonNotEvaluated, ago)
	}
	host := func(reason string) metav1.Condition {
		return is(v1alpha1.ConditionHostReady, metav1.ConditionFalse, reason, time.Minute)
	}
	well := domain(taken)
	for name, c := range map[string]struct {
		domain     *v1alpha1.PECDomain
		rows, long bool
		all        bool // its mailboxes are concerned when it becomes so, having been well
	}{
		"a domain that takes mailboxes":               {domain(taken), true, false, false},
		"one that was not looked at yet":              {domain(), false, false, true},
		"one whose engine is away since a moment":     {domain(gone(4 * time.Minute)), true, false, false},
		"one whose engine is away for long":           {domain(gone(5 * time.Minute)), true, true, false},
		"a guest whose host's stack is away":          {domain(gone(time.Minute), host(v1alpha1.ReasonHostNotReady)), true, false, false},
		"a guest that its host serves no more":        {domain(gone(time.Minute), host(v1alpha1.ReasonHostRefused)), false, false, true},
		"a guest whose host is gone":                  {domain(gone(time.Minute), host(v1alpha1.ReasonHostNotFound)), false, false, true},
		"one that an older resource elsewhere claims": {domain(gone(time.Minute), is(v1alpha1.ConditionDomainConflict, metav1.ConditionTrue, v1alpha1.ReasonDomainClaimed, time.Minute)), false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			if rowsCount(c.domain) != c.rows || awayForLong(c.domain, now) != c.long || concernsAll(well, c.domain) != c.all {
				t.Errorf("rows count %t, away for long %t, all concerned %t", rowsCount(c.domain), awayForLong(c.domain, now), concernsAll(well, c.domain))
			}
			if waits := takesMailboxes(c.domain); concernsWaiting(well, c.domain) || concernsWaiting(c.domain, well) == waits {
				t.Errorf("whoever waits is not woken when it is well again, or at another time")
			}
		})
	}
}
