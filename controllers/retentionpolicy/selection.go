package retentionpolicy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// selection is what a policy has of the mailboxes of its namespace.
type selection struct {
	mailboxes []*v1alpha1.Mailbox
	elsewhere int      // selected, and under another policy
	overlaps  []string // addresses that a policy of the same type selects too, each with the policy that has it
}

// selectFrom finds what a policy has. Pure.
func selectFrom(p *v1alpha1.RetentionPolicy, policies []v1alpha1.RetentionPolicy, all []v1alpha1.Mailbox) (found selection) {
	for i := range all {
		m := &all[i]
		if !m.DeletionTimestamp.IsZero() {
			continue
		}
		has, after := refs.PolicyOf(policies, m)
		if has == p.Name {
			found.mailboxes = append(found.mailboxes, m)
		} else if refs.Selects(p, m) {
			found.elsewhere++
		}
		if len(after) > 0 && (has == p.Name || slices.Contains(after, p.Name)) {
			found.overlaps = append(found.overlaps, fmt.Sprintf("%s (under %s, not %s)", m.Address(), has, strings.Join(after, ", ")))
		}
	}
	slices.SortFunc(found.mailboxes, func(a, b *v1alpha1.Mailbox) int { return strings.Compare(a.Address(), b.Address()) })
	slices.Sort(found.overlaps)
	return found
}

// named is a list for a person, of at most ten.
func named(list []string) string { return reconcile.FirstOf(list, 10, ", ") }
