package retentionpolicy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// A mailbox is under one policy, and under the same one at both sites whichever was applied first there: nothing here looks at ages.

// selects says whether spec.mailboxes of a policy selects a mailbox, by its domain or its labels. Pure.
func selects(p *v1alpha1.RetentionPolicy, m *v1alpha1.Mailbox) bool {
	switch p.Spec.Mailboxes.Type {
	case v1alpha1.RetainedOfDomain:
		return p.Spec.Mailboxes.DomainRef != nil && m.Spec.DomainRef.Name == p.Spec.Mailboxes.DomainRef.Name
	case v1alpha1.RetainedLabelled:
		selector, err := selectorOf(p.Spec.Mailboxes.Labels)
		return err == nil && selector.Matches(labels.Set(m.Labels))
	}
	return false
}

// selectorOf is the selector that wants every one of some labels; without any it wants nothing.
func selectorOf(wanted []v1alpha1.LabelRequirement) (labels.Selector, error) {
	selector := &metav1.LabelSelector{}
	for _, l := range wanted {
		selector.MatchExpressions = append(selector.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: l.Key, Operator: metav1.LabelSelectorOperator(l.Operator), Values: l.Values})
	}
	if len(wanted) == 0 {
		return labels.Nothing(), nil
	}
	return metav1.LabelSelectorAsSelector(selector)
}

// rank orders the types of policies that select one mailbox: labels say more than a domain.
var rank = map[v1alpha1.RetainedMailboxesType]int{v1alpha1.RetainedLabelled: 1, v1alpha1.RetainedOfDomain: 2}

// policyOf is the name of the policy that a mailbox is under, "" for none, and of those that select it in the same way but come after.
// Pure.
func policyOf(policies []v1alpha1.RetentionPolicy, m *v1alpha1.Mailbox) (name string, after []string) {
	if ref := m.Spec.RetentionPolicyRef; ref != nil {
		return ref.Name, nil
	}
	var claim []*v1alpha1.RetentionPolicy
	for i := range policies {
		if p := &policies[i]; p.DeletionTimestamp.IsZero() && selects(p, m) {
			claim = append(claim, p)
		}
	}
	slices.SortFunc(claim, func(a, b *v1alpha1.RetentionPolicy) int {
		return cmp.Or(rank[a.Spec.Mailboxes.Type]-rank[b.Spec.Mailboxes.Type], strings.Compare(a.Name, b.Name))
	})
	for i, p := range claim {
		switch {
		case i == 0:
			name = p.Name
		case p.Spec.Mailboxes.Type == claim[0].Spec.Mailboxes.Type:
			after = append(after, p.Name)
		}
	}
	return name, after
}

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
		has, after := policyOf(policies, m)
		if has == p.Name {
			found.mailboxes = append(found.mailboxes, m)
		} else if selects(p, m) {
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
func named(list []string) string {
	const shown = 10
	text := strings.Join(list[:min(shown, len(list))], ", ")
	if len(list) > shown {
		text += fmt.Sprintf(", and %d more", len(list)-shown)
	}
	return text
}
