package pecdomain

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// findHost judges the domain that a Hosted one lives on. A host that is not Ready does not end the pass: its engine may well
// take the domain already.
func findHost(ctx context.Context, s *scope) (reconcile.Result, error) {
	host := &v1alpha1.PECDomain{}
	err := s.Client.Get(ctx, s.host, host)
	if err != nil && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, fmt.Errorf("reading host %s: %w", s.host, err)
	}
	if err != nil {
		host = nil
	} else {
		s.receipts, s.ignored = receiptsOf(host), ignores(s.domain) && ignores(host)
	}
	c := judgeHost(s.domain, host)
	if c.Status == metav1.ConditionTrue || c.Reason == v1alpha1.ReasonHostNotReady {
		s.Say(c.Type, c.Status, c.Reason, c.Message)
		return reconcile.Result{RequeueAfter: later}, nil
	}
	return reconcile.Result{}, reconcile.Waiting(later, c.Type, c.Reason, c.Message)
}

// judgeHost is the HostReady of a domain, given its host or nil. Pure.
func judgeHost(d, host *v1alpha1.PECDomain) metav1.Condition {
	on := d.Host()
	no := func(reason, format string, args ...any) metav1.Condition {
		return metav1.Condition{Type: v1alpha1.ConditionHostReady, Status: metav1.ConditionFalse, Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	switch {
	case host == nil:
		return no(v1alpha1.ReasonHostNotFound, "there is no PECDomain %s in namespace %s; create it, or correct provider.hosted.host", on.Name, on.Namespace)
	case host.Spec.Provider.Type != v1alpha1.ProviderManaged:
		return no(v1alpha1.ReasonHostNotManaged, "PECDomain %s has no stack of its own; name a Managed one in provider.hosted.host", on.Name)
	case !host.Serves(d.Namespace):
		return no(v1alpha1.ReasonHostRefused, "PECDomain %s/%s does not serve this namespace; its owner adds %q to its provider.managed.allowedNamespaces", on.Namespace, on.Name, d.Namespace)
	}
	if wrong := stackFault(host); wrong != "" {
		return no(v1alpha1.ReasonHostNotReady, "PECDomain %s does not serve: %s", on.Name, wrong)
	}
	return metav1.Condition{Type: v1alpha1.ConditionHostReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonHostServes,
		Message: "the stack of " + on.Name + " serves this namespace"}
}

// stackFault is why a domain's stack does not serve. The domain's own MX plays no part: it says nothing of the guests'. Pure.
func stackFault(host *v1alpha1.PECDomain) string {
	for _, name := range managedTable.Positive {
		c := meta.FindStatusCondition(host.Status.Conditions, name)
		switch {
		case name == v1alpha1.ConditionDNSVerified:
		case c == nil:
			return "it was not looked at yet"
		case c.Status != metav1.ConditionTrue:
			return c.Message
		}
	}
	return ""
}
