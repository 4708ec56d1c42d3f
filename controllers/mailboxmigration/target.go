package mailboxmigration

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/stack"
)

// target is where mail goes.
type target struct {
	domain *v1alpha1.PECDomain
	host   types.NamespacedName
	// preferred is the site that acts while it lives; "" is none.
	preferred string
}

// source is the IMAPS server that mail is copied from.
type source struct {
	address string // host:port
	// own says that it is a stack of this site.
	own bool
	// name is what its certificate bears; "" is the host of address.
	name string
	// roots, in PEM, are what its certificate is verified with, ca names a Secret with them; without either, the system's.
	roots string
	ca    *v1alpha1.SecretReference
}

func inNamespace(m *v1alpha1.MailboxMigration) client.ListOption {
	return client.InNamespace(m.Namespace)
}

// targetAddress is what a mailbox of the source is called in the target's domain.
func targetAddress(address string, m *v1alpha1.MailboxMigration) string {
	local, _, _ := strings.Cut(address, "@")
	return local + "@" + m.Spec.Target.DomainRef.Name
}

// findTargetDomain finds the target's domain, and the one whose stack serves it.
func findTargetDomain(ctx context.Context, s *scope) (reconcile.Result, error) {
	name := s.migration.Spec.Target.DomainRef.Name
	domain := &v1alpha1.PECDomain{}
	err := s.Client.Get(ctx, types.NamespacedName{Namespace: s.migration.Namespace, Name: name}, domain)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, reconcile.Waiting(longest, v1alpha1.ConditionTargetReady, v1alpha1.ReasonDomainNotFound, fmt.Sprintf(
			"there is no PECDomain %s in namespace %s; create it, or delete this migration", name, s.migration.Namespace))
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading the target's domain %s: %w", name, err)
	}
	s.target = target{domain: domain, host: refs.Host(domain)}
	host := &v1alpha1.PECDomain{}
	if err := s.Client.Get(ctx, s.target.host, host); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("reading host %s of %s: %w", s.target.host, name, err)
	}
	s.target.preferred = refs.PreferredSite(domain, host)
	return reconcile.Result{}, nil
}

// findEnds finds the engine that takes the copies, and the server that they come from. Dates are kept whether or not it is there:
// only copying waits.
func findEnds(ctx context.Context, s *scope) (reconcile.Result, error) {
	if s.part != acts {
		return reconcile.Result{}, nil
	}
	if problem, err := s.findSource(ctx); err != nil || problem != "" {
		if problem != "" {
			s.False(v1alpha1.ConditionTargetReady, v1alpha1.ReasonSourceUnusable, problem)
		}
		return reconcile.Result{RequeueAfter: longest}, err
	}
	if !meta.IsStatusConditionTrue(s.target.domain.Status.Conditions, v1alpha1.ConditionDirectoryInSync) {
		s.False(v1alpha1.ConditionTargetReady, v1alpha1.ReasonDomainNotReady, fmt.Sprintf(
			"the stack of %s cannot take mailboxes yet; kubectl describe pecd -n %s %s says more", s.target.domain.Name, s.target.domain.Namespace, s.target.domain.Name))
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	s.engine = s.Engines.For(engines.First(s.target.host))
	s.True(v1alpha1.ConditionTargetReady, v1alpha1.ReasonTargetServed, "the stack of "+s.target.domain.Name+" takes the copies")
	return reconcile.Result{}, nil
}

const imapsPort = 993

// findSource names the source's IMAPS server, or says why there is none.
func (s *scope) findSource(ctx context.Context) (problem string, err error) {
	spec := s.migration.Spec.Source
	if spec.IMAP != nil {
		s.source = source{address: spec.IMAP.HostPort(imapsPort), ca: spec.IMAP.CASecretRef}
		return "", nil
	}
	domain := &v1alpha1.PECDomain{}
	err = s.Client.Get(ctx, types.NamespacedName{Namespace: s.migration.Namespace, Name: spec.DomainRef.Name}, domain)
	switch external := domain.Spec.Provider.External; {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("there is no PECDomain %s in namespace %s; create it, or name the server in source.imap", spec.DomainRef.Name, s.migration.Namespace), nil
	case err != nil:
		return "", fmt.Errorf("reading the source's domain %s: %w", spec.DomainRef.Name, err)
	case external != nil:
		s.source = source{address: external.IMAP.HostPort(imapsPort)}
		return "", nil
	}
	return s.findStack(ctx, refs.Host(domain))
}

// findStack names the IMAPS server of a stack of this site, by its Service: it must be found also while the domain's public names are
// another provider's. It is known by the certificate that it was given, whoever issued that.
func (s *scope) findStack(ctx context.Context, host types.NamespacedName) (problem string, err error) {
	domain := &v1alpha1.PECDomain{}
	err = s.Client.Get(ctx, host, domain)
	managed := domain.Spec.Provider.Managed
	switch {
	case apierrors.IsNotFound(err) || err == nil && managed == nil:
		return fmt.Sprintf("no stack serves PECDomain %s: %s is not a Managed one; correct its provider.hosted", s.migration.Spec.Source.DomainRef.Name, host), nil
	case err != nil:
		return "", fmt.Errorf("reading host %s of the source's domain: %w", host, err)
	}
	secret := &corev1.Secret{}
	err = s.Live.Get(ctx, client.ObjectKey{Namespace: host.Namespace, Name: stack.TLSSecret(domain)}, secret)
	if message := s.Namespaces.Missing(host.Namespace, err); message != "" {
		return message, nil
	}
	if client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("reading Secret %s/%s: %w", host.Namespace, stack.TLSSecret(domain), err)
	}
	roots := string(secret.Data[corev1.TLSCertKey])
	if roots == "" {
		return fmt.Sprintf("Secret %s of namespace %s has no certificate of the source's mail ports; the source's PECDomain says more", stack.TLSSecret(domain), host.Namespace), nil
	}
	address := stack.NamesFor(host.Name).Mail + "." + host.Namespace + ".svc"
	s.source = source{address: hostPort(address), own: true, name: managed.Endpoints.IMAP, roots: roots}
	return "", nil
}

func hostPort(host string) string { return net.JoinHostPort(host, strconv.Itoa(imapsPort)) }
