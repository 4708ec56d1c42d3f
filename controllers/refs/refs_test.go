package refs

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

func TestPreferredSite(t *testing.T) {
	managed := func(site string, hosts ...v1alpha1.MailHost) *v1alpha1.PECDomain {
		return &v1alpha1.PECDomain{Spec: v1alpha1.PECDomainSpec{PreferredSite: site, Provider: v1alpha1.DomainProvider{Managed: &v1alpha1.ManagedProvider{MailHosts: hosts}}}}
	}
	a, b := v1alpha1.MailHost{Site: "a", Preference: ptr.To(int32(20))}, v1alpha1.MailHost{Site: "b", Preference: ptr.To(int32(10))}
	for name, tt := range map[string]struct {
		domain, host *v1alpha1.PECDomain
		want         string
	}{
		"the domain's own word":                  {managed("a"), managed("b", a, b), "a"},
		"the host's, where the domain says none": {managed(""), managed("a", a, b), "a"},
		"the MX that is tried first":             {managed(""), managed("", a, b), "b"},
		"nobody's":                               {managed(""), managed(""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := PreferredSite(tt.domain, tt.host); got != tt.want {
				t.Errorf("PreferredSite: %q", got)
			}
		})
	}
}

func TestWinner(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	claim := func(namespace string, age time.Duration) v1alpha1.PECDomain {
		return v1alpha1.PECDomain{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, CreationTimestamp: metav1.NewTime(now.Add(-age))}}
	}
	for name, c := range map[string]struct {
		claims []v1alpha1.PECDomain
		want   string
	}{
		"the older claim wins, whatever the order": {[]v1alpha1.PECDomain{claim("a", time.Minute), claim("b", time.Hour)}, "b"},
		"of two of one second the first namespace": {[]v1alpha1.PECDomain{claim("b", time.Hour), claim("a", time.Hour)}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := winner(c.claims); got.Namespace != c.want {
				t.Errorf("winner is %s, want %s", got.Namespace, c.want)
			}
		})
	}
}
