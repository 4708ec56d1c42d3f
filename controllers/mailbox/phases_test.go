package mailbox

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

func TestRefusedPause(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		reason string
		ago    time.Duration
		want   time.Duration
	}{
		"refused for the first time":                {"", 0, soon},
		"unreachable for an hour, and refused then": {v1alpha1.ReasonEngineUnreachable, time.Hour, soon},
		"refused just now":                          {v1alpha1.ReasonEngineRefuses, time.Second, soon},
		"refused for a minute":                      {v1alpha1.ReasonEngineRefuses, time.Minute, time.Minute},
		"refused for a day":                         {v1alpha1.ReasonEngineRefuses, 24 * time.Hour, refusedLongest},
		"refused in an hour, by another clock":      {v1alpha1.ReasonEngineRefuses, -time.Hour, soon},
	} {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.Mailbox{}
			if c.reason != "" {
				m.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionProvisioned, Status: metav1.ConditionFalse, Reason: c.reason, LastTransitionTime: metav1.NewTime(now.Add(-c.ago))}}
			}
			if got := refusedPause(m, now); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
