package manager_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/stack"
)

func TestACertificateIsAskedOfCertManager(t *testing.T) {
	apitest.Need(t, server)
	s := newSite(t, "emesso", siteOptions{})
	domain := s.makeDomain(func(d *v1alpha1.PECDomain) {
		d.Spec.Provider.Managed.TLS = v1alpha1.ServerCertificate{IssuerRef: &v1alpha1.IssuerReference{Name: "interna"}}
	})
	s.provide(t)
	s.create(t, domain)
	if c := s.waitFor(t, domain, v1alpha1.ConditionCertificateValid, metav1.ConditionFalse, v1alpha1.ReasonCertManagerAbsent); !strings.Contains(c.Message, "install it") {
		t.Errorf("without cert-manager it says %q", c.Message)
	}
	server.InstallCertManager(t)
	eventually(t, func() error { // a server that has just been given a kind may not serve it yet
		s.request(t, domain, time.Now().Format(time.RFC3339Nano))
		time.Sleep(500 * time.Millisecond)
		return s.Get(context.Background(), s.certificateKey(), s.certificate())
	})
	s.waitFor(t, domain, v1alpha1.ConditionCertificateValid, metav1.ConditionFalse, v1alpha1.ReasonCertificatePending)

	s.issued(t, "Issuing", "False", "Failed", "the issuer is not there")
	s.request(t, domain, "failed")
	if c := s.waitFor(t, domain, v1alpha1.ConditionCertificateValid, metav1.ConditionFalse, v1alpha1.ReasonCertificateFailed); !strings.Contains(c.Message, "the issuer is not there") {
		t.Errorf("it does not say why: %q", c.Message)
	}

	name := stack.NamesFor(s.domain).Certificate
	s.create(t, certificateSecret(t, s.ns, name, time.Now().Add(time.Hour)))
	s.issued(t, "Ready", "True", "Ready", "Certificate is up to date and has not expired")
	s.request(t, domain, "ready")
	s.ready(t, domain)
	s.waitFor(t, domain, v1alpha1.ConditionCertificateValid, metav1.ConditionTrue, v1alpha1.ReasonCertificateUsable)

	t.Run("a quiet pass writes nothing", func(t *testing.T) {
		s.settle(t)
		s.request(t, domain, "quiet")
		eventually(t, func() error {
			if got := s.read(t, domain)["lastHandledReconcileAt"]; got != "quiet" {
				return fmt.Errorf("handled is %v", got)
			}
			return nil
		})
		s.wrote(t, domain, 1) // the answer to the request, and no Certificate
	})

	t.Run("the deletion of the domain leaves the certificate and its key", func(t *testing.T) {
		if err := s.Delete(t.Context(), domain); err != nil {
			t.Fatal(err)
		}
		certificate := s.certificate()
		for _, o := range []client.Object{certificate, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name}}} {
			if err := s.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil || len(o.GetOwnerReferences()) > 0 {
				t.Errorf("%T: %v, owned by %v", o, err, o.GetOwnerReferences())
			}
		}
		if secret, _, _ := unstructured.NestedString(certificate.Object, "spec", "secretName"); secret != name {
			t.Errorf("cert-manager is to fill %q, and the stack uses %q", secret, name)
		}
	})
}

func (s *site) certificateKey() client.ObjectKey {
	return client.ObjectKey{Namespace: s.ns, Name: stack.NamesFor(s.domain).Certificate}
}

// certificate is an empty one to read into.
func (s *site) certificate() *unstructured.Unstructured {
	c := &unstructured.Unstructured{}
	c.SetAPIVersion("cert-manager.io/v1")
	c.SetKind("Certificate")
	c.SetNamespace(s.ns)
	c.SetName(s.certificateKey().Name)
	return c
}

// issued says of the certificate what cert-manager would.
func (s *site) issued(t *testing.T, condition, status, reason, message string) {
	t.Helper()
	c := s.certificate()
	s.get(t, s.ns, c.GetName(), c)
	now := time.Now().UTC().Format(time.RFC3339)
	if err := unstructured.SetNestedSlice(c.Object, []any{map[string]any{"type": condition, "status": status, "reason": reason, "message": message, "lastTransitionTime": now}}, "status", "conditions"); err != nil {
		t.Fatal(err)
	}
	if err := s.Status().Update(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}
