package reconcile

import (
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Namespaces are those in which the operator may work. The operator creates no RBAC, so that whoever installs it sees in the
// chart's values everything that it may touch.
type Namespaces struct {
	Own     string   // the operator's own namespace, which is its Helm release's
	Granted []string // those for which the chart rendered a Role
}

// Missing is a message for a namespace that the operator may not work in: because it is not listed, or because err is the
// API server's refusal. "" when neither is so.
func (n Namespaces) Missing(namespace string, err error) string {
	listed := slices.Contains(n.Granted, namespace)
	if listed && !apierrors.IsForbidden(err) {
		return ""
	}
	all := slices.Clone(n.Granted)
	if !listed {
		all = append(all, namespace)
	}
	return fmt.Sprintf("the operator has no Role in namespace %s; grant it with: helm upgrade pec-operator charts/pec-operator --namespace %s --reuse-values --set 'namespaces={%s}'",
		namespace, n.Own, strings.Join(all, ","))
}
