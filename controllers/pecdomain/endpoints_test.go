package pecdomain

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

func TestEndpoints(t *testing.T) {
	host := &v1alpha1.PECDomain{ObjectMeta: metav1.ObjectMeta{Namespace: "gestore"}, Spec: v1alpha1.PECDomainSpec{Provider: v1alpha1.DomainProvider{Managed: &v1alpha1.ManagedProvider{
		AllowedNamespaces: []string{"comune"}, Endpoints: v1alpha1.Endpoints{Submission: "smtps.g.test", IMAP: "imaps.g.test", POP3: "pop3s.g.test"},
		MailHosts: []v1alpha1.MailHost{{Host: "mx-b.g.test", Preference: ptr.To(int32(20))}, {Host: "mx-a.g.test", Preference: ptr.To(int32(10))}},
	}}}}
	in := func(namespace string) *v1alpha1.PECDomain {
		return &v1alpha1.PECDomain{ObjectMeta: metav1.ObjectMeta{Namespace: namespace}}
	}
	outside := in("regione")
	outside.Spec.Provider.External = &v1alpha1.ExternalProvider{MailExchangers: []v1alpha1.Hostname{"mx.altro.test"}, IMAP: v1alpha1.Endpoint{Host: "imaps.altro.test"},
		Submission: &v1alpha1.Endpoint{Host: "smtps.altro.test", Port: ptr.To(int32(587))}}
	managed := &v1alpha1.EndpointsStatus{Submission: named("smtps.g.test", 465), IMAP: named("imaps.g.test", 993), POP3: named("pop3s.g.test", 995), MailExchangers: []v1alpha1.Hostname{"mx-a.g.test", "mx-b.g.test"}}
	for name, c := range map[string]struct {
		domain, host *v1alpha1.PECDomain
		want         *v1alpha1.EndpointsStatus
	}{
		"a Managed domain has its own":               {host, host, managed},
		"a Hosted one its host's":                    {in("comune"), host, managed},
		"one that its host refuses has none":         {in("altrove"), host, nil},
		"one whose host is not there has none":       {in("comune"), &v1alpha1.PECDomain{}, nil},
		"one whose host is External has none":        {in("regione"), outside, nil},
		"an External one has what its letter prints": {outside, outside, &v1alpha1.EndpointsStatus{Submission: named("smtps.altro.test", 587), IMAP: named("imaps.altro.test", 993), MailExchangers: []v1alpha1.Hostname{"mx.altro.test"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, endpointsOf(c.domain, c.host)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
