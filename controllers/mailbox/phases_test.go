package mailbox

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
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

func TestAQuotaThatALegalHoldKeepsIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		holds []v1alpha1.LegalHold
		has   int64
		want  string
	}{
		"a larger one, under a hold":               {[]v1alpha1.LegalHold{{}}, 5 << 30, ", but for its quota: the legal hold keeps 5 GiB"},
		"the one of the spec, under a hold":        {[]v1alpha1.LegalHold{{}}, 1 << 30, ""},
		"a larger one that is to become smaller":   {nil, 5 << 30, ""},
		"a smaller one that is held, under a hold": {[]v1alpha1.LegalHold{{}}, 1 << 29, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scope{mailbox: &v1alpha1.Mailbox{}, domain: &v1alpha1.PECDomain{}}
			s.mailbox.Spec.LegalHolds, s.mailbox.Spec.Quota = c.holds, ptr.To(resource.MustParse("1Gi"))
			if got := s.heldQuota(admin.Mailbox{QuotaBytes: c.has}); got != c.want {
				t.Errorf("%q", got)
			}
		})
	}
}
