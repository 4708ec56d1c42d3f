package pecdomain

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

func TestTheCertificateIsForTheNamesOfItsSite(t *testing.T) {
	d := &v1alpha1.PECDomain{ObjectMeta: metav1.ObjectMeta{Namespace: "gestore", Name: "pec.g.test"}, Spec: v1alpha1.PECDomainSpec{Provider: v1alpha1.DomainProvider{Managed: &v1alpha1.ManagedProvider{
		Endpoints: v1alpha1.Endpoints{Submission: "mail.g.test", IMAP: "mail.g.test"},
		MailHosts: []v1alpha1.MailHost{{Host: "mx-a.g.test", Site: "a"}, {Host: "mx-b.g.test", Site: "b"}},
	}}}}
	got := certificateOf(d, "b", v1alpha1.IssuerReference{Name: "interna", Kind: "ClusterIssuer"})
	names, _, _ := unstructured.NestedStringSlice(got.Object, "spec", "dnsNames")
	if diff := cmp.Diff([]string{"mail.g.test", "mx-b.g.test"}, names); diff != "" {
		t.Errorf("its names (-want +got):\n%s", diff)
	}
	ref, _, _ := unstructured.NestedStringMap(got.Object, "spec", "issuerRef")
	if diff := cmp.Diff(map[string]string{"name": "interna", "kind": "ClusterIssuer", "group": "cert-manager.io"}, ref); diff != "" {
		t.Errorf("its issuer (-want +got):\n%s", diff)
	}
	if len(got.GetOwnerReferences()) > 0 {
		t.Error("the deletion of the domain would take it along")
	}
}

func TestJudgeIssue(t *testing.T) {
	condition := func(kind, status, reason string) any {
		return map[string]any{"type": kind, "status": status, "reason": reason, "message": "l'autorità rifiuta"}
	}
	for name, c := range map[string]struct {
		conditions []any
		want       string
		words      string
	}{
		"nobody has taken it up":                  {nil, v1alpha1.ReasonCertificatePending, "see whether it runs"},
		"it is being issued":                      {[]any{condition("Ready", "False", "DoesNotExist"), condition("Issuing", "True", "DoesNotExist")}, v1alpha1.ReasonCertificatePending, "not issued"},
		"the issuer refused":                      {[]any{condition("Ready", "False", "DoesNotExist"), condition("Issuing", "False", "Failed")}, v1alpha1.ReasonCertificateFailed, "l'autorità rifiuta"},
		"it is ready":                             {[]any{condition("Ready", "True", "Ready")}, "", ""},
		"one that is ready and cannot be renewed": {[]any{condition("Ready", "True", "Ready"), condition("Issuing", "False", "Failed")}, v1alpha1.ReasonCertificateFailed, "l'autorità rifiuta"},
	} {
		t.Run(name, func(t *testing.T) {
			got := judgeIssue(&unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": c.conditions}}})
			if got.reason != c.want || !strings.Contains(got.message, c.words) {
				t.Errorf("%q: %s", got.reason, got.message)
			}
		})
	}
}

func TestACertificateThatIsThereServes(t *testing.T) {
	for name, c := range map[string]struct {
		issue      issue
		reason     string
		wantUsable bool
		wantReason string
		wantWords  string
	}{
		"one's own Secret is usable":           {issue{}, v1alpha1.ReasonCertificateUsable, true, v1alpha1.ReasonCertificateUsable, "use"},
		"one's own Secret is not":              {issue{}, v1alpha1.ReasonKeyMismatch, false, v1alpha1.ReasonKeyMismatch, "wrong"},
		"what is not issued yet is awaited":    {issue{v1alpha1.ReasonCertificatePending, "wait"}, v1alpha1.ReasonSecretMissing, false, v1alpha1.ReasonCertificatePending, "wait"},
		"a renewal under way is no news":       {issue{v1alpha1.ReasonCertificatePending, "wait"}, v1alpha1.ReasonCertificateUsable, true, v1alpha1.ReasonCertificateUsable, "use"},
		"a renewal that fails is said":         {issue{v1alpha1.ReasonCertificateFailed, "refused"}, v1alpha1.ReasonCertificateUsable, true, v1alpha1.ReasonCertificateUsable, "will not be renewed: refused"},
		"so is a cert-manager that is gone":    {issue{v1alpha1.ReasonCertManagerAbsent, "install it"}, v1alpha1.ReasonCertificateUsable, true, v1alpha1.ReasonCertificateUsable, "install it"},
		"without a certificate it is to blame": {issue{v1alpha1.ReasonCertManagerAbsent, "install it"}, v1alpha1.ReasonSecretMissing, false, v1alpha1.ReasonCertManagerAbsent, "install it"},
	} {
		t.Run(name, func(t *testing.T) {
			usable, reason, message := c.issue.verdict(c.reason, "wrong", "use")
			if usable != c.wantUsable || reason != c.wantReason || !strings.Contains(message, c.wantWords) {
				t.Errorf("%v %s %q", usable, reason, message)
			}
		})
	}
}
