package mailboxmigration

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/index"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// target is where mail goes, and source whence.
type target struct {
	domain *v1alpha1.PECDomain
	host   types.NamespacedName
	// preferred is the site that acts while it lives; "" is none.
	preferred string
	source    string                    // host:port
	ca        *v1alpha1.SecretReference // of the source; nil for the system's roots
}

func inNamespace(m *v1alpha1.MailboxMigration) client.ListOption {
	return client.InNamespace(m.Namespace)
}

// targetAddress is what a mailbox of the source is called in the target's domain.
func targetAddress(address string, m *v1alpha1.MailboxMigration) string {
	local, _, _ := strings.Cut(address, "@")
	return local + "@" + m.Spec.Target.DomainRef.Name
}

// findDomain finds the target's domain, and the one whose stack serves it.
func findDomain(ctx context.Context, s *scope) (reconcile.Result, error) {
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
	s.target = target{domain: domain, host: index.Host(domain)}
	host := &v1alpha1.PECDomain{}
	if err := s.Client.Get(ctx, s.target.host, host); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("reading host %s of %s: %w", s.target.host, name, err)
	}
	s.target.preferred = index.PreferredSite(domain, host)
	return reconcile.Result{}, nil
}

// findTarget finds the engine that takes the copies, and the server that they come from. Dates are kept whether or not it is there:
// only copying waits.
func findTarget(ctx context.Context, s *scope) (reconcile.Result, error) {
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
			"the stack of %s cannot take mailboxes yet; kubectl describe pecd %s says more", s.target.domain.Name, s.target.domain.Name))
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	s.engine = s.Engines.For(s.target.host)
	s.True(v1alpha1.ConditionTargetReady, v1alpha1.ReasonTargetServed, "the stack of "+s.target.domain.Name+" takes the copies")
	return reconcile.Result{}, nil
}

const imapsPort = 993

// findSource names the source's IMAPS server, or says why there is none.
func (s *scope) findSource(ctx context.Context) (problem string, err error) {
	spec := s.migration.Spec.Source
	if spec.IMAP != nil {
		s.target.source, s.target.ca = hostPort(string(spec.IMAP.Host), spec.IMAP.Port), spec.IMAP.CASecretRef
		return "", nil
	}
	domain := &v1alpha1.PECDomain{}
	err = s.Client.Get(ctx, types.NamespacedName{Namespace: s.migration.Namespace, Name: spec.DomainRef.Name}, domain)
	switch p := domain.Spec.Provider; {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("there is no PECDomain %s in namespace %s; create it, or name the server in source.imap", spec.DomainRef.Name, s.migration.Namespace), nil
	case err != nil:
		return "", fmt.Errorf("reading the source's domain %s: %w", spec.DomainRef.Name, err)
	case p.Managed != nil:
		s.target.source = hostPort(p.Managed.Endpoints.IMAP, nil)
	case p.External != nil:
		s.target.source = hostPort(string(p.External.IMAP.Host), p.External.IMAP.Port)
	default:
		return fmt.Sprintf("PECDomain %s names no IMAP server; add provider.external.imap, or name the server in source.imap", domain.Name), nil
	}
	return "", nil
}

func hostPort(host string, port *int32) string {
	number := int32(imapsPort)
	if port != nil {
		number = *port
	}
	return net.JoinHostPort(host, strconv.Itoa(int(number)))
}
