package pecdomain

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/stack"
)

// certificateKind is cert-manager's. It is used without its library: six fields of it are written and two are read.
var certificateKind = schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"}

// issue is how far cert-manager is with the certificate of the mail ports; reason is "" where nothing is amiss.
type issue struct{ reason, message string }

// keepCertificate asks cert-manager for the certificate of the mail ports. What is wrong does not end the pass: a certificate that is there
// serves until it ends.
func keepCertificate(ctx context.Context, s *scope) (reconcile.Result, error) {
	ref := s.domain.Spec.Provider.Managed.TLS.IssuerRef
	if ref == nil {
		return reconcile.Result{}, nil
	}
	live, err := reconcile.Apply(ctx, s.Live, s.Client, certificateOf(s.domain, s.Stack.Site, *ref))
	switch {
	case meta.IsNoMatchError(err):
		s.issue = issue{v1alpha1.ReasonCertManagerAbsent, "this cluster has no cert-manager: install it (its chart is cert-manager, of jetstack.io), or give provider.managed.tls.secretName instead of issuerRef"}
	case apierrors.IsForbidden(err):
		s.issue = issue{v1alpha1.ReasonCertManagerAbsent, "the operator may not make Certificates in this namespace: helm upgrade with --set certManager=true"}
	case err != nil:
		return reconcile.Result{}, err
	default:
		s.issue = judgeIssue(live)
	}
	return reconcile.Result{RequeueAfter: later}, nil
}

// certificateOf is the Certificate of a domain at a site: for the names that clients are given, and for the mail hosts of that site. It has
// no owner: where cert-manager makes the Secret go with its Certificate, the deletion of a resource of ours would take the key of a
// running stack along. Pure.
func certificateOf(d *v1alpha1.PECDomain, site string, ref v1alpha1.IssuerReference) *unstructured.Unstructured {
	m := d.Spec.Provider.Managed
	names := []string{m.Endpoints.Submission, m.Endpoints.IMAP, m.Endpoints.POP3}
	for _, h := range m.MailHosts {
		if h.Site == site {
			names = append(names, h.Host)
		}
	}
	slices.Sort(names)
	var dnsNames []any
	for _, name := range slices.Compact(names) {
		if name != "" {
			dnsNames = append(dnsNames, name)
		}
	}
	c := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"secretName": stack.TLSSecret(d),
		"dnsNames":   dnsNames,
		"usages":     []any{"digital signature", "key encipherment", "server auth"},
		"issuerRef":  map[string]any{"name": ref.Name, "kind": cmp.Or(ref.Kind, "Issuer"), "group": cmp.Or(ref.Group, certificateKind.Group)},
	}}}
	c.SetGroupVersionKind(certificateKind)
	c.SetNamespace(d.Namespace)
	c.SetName(stack.NamesFor(d.Name).Certificate)
	c.SetAnnotations(map[string]string{stack.DomainAnnotation: d.Name})
	return c
}

// judgeIssue reads what cert-manager says of a Certificate. Pure.
func judgeIssue(live *unstructured.Unstructured) issue {
	conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
	said := map[string]map[string]any{}
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok {
			said[fmt.Sprint(c["type"])] = c
		}
	}
	describe := "; kubectl describe certificate -n " + live.GetNamespace() + " " + live.GetName() + " says more"
	switch ready, issuing := said["Ready"], said["Issuing"]; {
	case issuing != nil && issuing["status"] == "False" && issuing["reason"] == "Failed":
		return issue{v1alpha1.ReasonCertificateFailed, "cert-manager could not issue the certificate: " + reconcile.Cut(fmt.Sprint(issuing["message"]), maxIssue) + describe}
	case ready != nil && ready["status"] == "True":
		return issue{}
	case ready == nil:
		return issue{v1alpha1.ReasonCertificatePending, "cert-manager has not taken the Certificate up yet: see whether it runs" + describe}
	default:
		return issue{v1alpha1.ReasonCertificatePending, "cert-manager has not issued the certificate yet" + describe}
	}
}

// verdict is what the judgement of the Secret comes to, with what cert-manager says: a certificate that is there serves, and that it will
// not be renewed is said; where there is none, cert-manager's word is why. Pure.
func (i issue) verdict(reason, wrong, use string) (usable bool, why, message string) {
	switch {
	case reason == v1alpha1.ReasonCertificateUsable && (i.reason == v1alpha1.ReasonCertificateFailed || i.reason == v1alpha1.ReasonCertManagerAbsent):
		return true, reason, "certificate and key are usable, and will not be renewed: " + i.message
	case reason == v1alpha1.ReasonCertificateUsable:
		return true, reason, "certificate and key are usable: " + use
	case i.reason != "":
		return false, i.reason, i.message
	}
	return false, reason, wrong
}

// maxIssue is how much of cert-manager's words a condition repeats.
const maxIssue = 512
