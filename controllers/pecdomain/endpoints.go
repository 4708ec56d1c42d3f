package pecdomain

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// The ports of the services, where a spec does not say another (RFC 8314 3.2 to 3.4).
const (
	portSubmission = 465
	portIMAP       = 993
	portPOP3       = 995
)

// showEndpoints puts into the status what holders' programs and other mail servers connect to.
func showEndpoints(ctx context.Context, s *scope) (reconcile.Result, error) {
	host := s.domain
	if s.domain.Spec.Provider.Type == v1alpha1.ProviderHosted {
		host = &v1alpha1.PECDomain{}
		if err := s.Client.Get(ctx, s.host, host); err != nil && !apierrors.IsNotFound(err) {
			return reconcile.Result{}, fmt.Errorf("reading host %s: %w", s.host, err)
		}
	}
	s.domain.Status.Endpoints = endpointsOf(s.domain, host)
	return reconcile.Result{}, nil
}

// endpointsOf are those of a domain on the stack of host: itself when Managed or External. None where the host does not serve it:
// nobody must be sent there. Pure.
func endpointsOf(d, host *v1alpha1.PECDomain) *v1alpha1.EndpointsStatus {
	if e := host.Spec.Provider.External; e != nil && host == d {
		return &v1alpha1.EndpointsStatus{Submission: at(e.Submission, portSubmission), IMAP: at(&e.IMAP, portIMAP), POP3: at(e.POP3, portPOP3),
			MailExchangers: e.MailExchangers}
	}
	m := host.Spec.Provider.Managed
	if m == nil || !host.Serves(d.Namespace) {
		return nil
	}
	out := &v1alpha1.EndpointsStatus{Submission: named(m.Endpoints.Submission, portSubmission), IMAP: named(m.Endpoints.IMAP, portIMAP), POP3: named(m.Endpoints.POP3, portPOP3)}
	hosts := slices.Clone(m.MailHosts)
	slices.SortStableFunc(hosts, func(a, b v1alpha1.MailHost) int {
		return cmp.Compare(ptr.Deref(a.Preference, 0), ptr.Deref(b.Preference, 0))
	})
	for _, h := range hosts {
		out.MailExchangers = append(out.MailExchangers, v1alpha1.Hostname(h.Host))
	}
	return out
}

func named(host string, port int32) *v1alpha1.Endpoint {
	if host == "" {
		return nil
	}
	return &v1alpha1.Endpoint{Host: v1alpha1.Hostname(host), Port: &port}
}

// at is an endpoint with its port, the service's own where it gives none.
func at(e *v1alpha1.Endpoint, port int32) *v1alpha1.Endpoint {
	if e == nil {
		return nil
	}
	return named(string(e.Host), ptr.Deref(e.Port, port))
}
