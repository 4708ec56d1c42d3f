package reconcile

import (
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Access says in which namespaces the operator may work. The operator creates no RBAC, so that whoever installs it sees in the
// chart's values everything that it may touch.
type Access struct {
	Own        string   // the operator's own namespace, which is its Helm release's
	Namespaces []string // those for which the chart rendered a Role
}

// Missing is a message for a namespace that the operator may not work in: because it is not listed, or because err is the
// API server's refusal. "" when neither is so.
func (a Access) Missing(namespace string, err error) string {
	listed := slices.Contains(a.Namespaces, namespace)
	if listed && !apierrors.IsForbidden(err) {
		return ""
	}
	all := slices.Clone(a.Namespaces)
	if !listed {
		all = append(all, namespace)
	}
	return fmt.Sprintf("the operator has no Role in namespace %s; grant it with: helm upgrade pec-operator charts/pec-operator --namespace %s --reuse-values --set 'namespaces={%s}'",
		namespace, a.Own, strings.Join(all, ","))
}
