package reconcile

import (
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Access lists the namespaces for which the chart rendered a Role. The operator creates no RBAC, so that whoever installs it
// sees in the chart's values everything that it may touch.
type Access []string

// Missing is a message for a namespace that the operator may not work in: because it is not listed, or because err is the
// API server's refusal. "" when neither is so.
func (a Access) Missing(namespace string, err error) string {
	listed := slices.Contains(a, namespace)
	if listed && !apierrors.IsForbidden(err) {
		return ""
	}
	all := slices.Clone(a)
	if !listed {
		all = append(all, namespace)
	}
	return fmt.Sprintf("the operator has no Role in namespace %s; grant it with: helm upgrade pec-operator charts/pec-operator --reuse-values --set 'namespaces={%s}'",
		namespace, strings.Join(all, ","))
}
