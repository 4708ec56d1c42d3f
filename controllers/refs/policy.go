package refs

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// A mailbox is under one policy, and under the same one at both sites whichever was applied first there: nothing here looks at ages.

// Selects says whether spec.mailboxes of a policy selects a mailbox, by its domain or its labels. Pure.
func Selects(p *v1alpha1.RetentionPolicy, m *v1alpha1.Mailbox) bool {
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

// PolicyOf is the name of the policy that a mailbox is under, "" for none, and of those that select it in the same way but come after.
// Pure.
func PolicyOf(policies []v1alpha1.RetentionPolicy, m *v1alpha1.Mailbox) (name string, after []string) {
	if ref := m.Spec.RetentionPolicyRef; ref != nil {
		return ref.Name, nil
	}
	var claim []*v1alpha1.RetentionPolicy
	for i := range policies {
		if p := &policies[i]; p.DeletionTimestamp.IsZero() && Selects(p, m) {
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
