package retentionpolicy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
)

func policyNamed(name string, change ...func(*v1alpha1.RetentionPolicy)) v1alpha1.RetentionPolicy {
	p := makePolicy(change...)
	p.Name = name
	return *p
}

func referring(p *v1alpha1.RetentionPolicy) {
	p.Spec.Mailboxes = v1alpha1.RetainedMailboxes{Type: v1alpha1.RetainedReferring}
}

func labelled(wanted ...v1alpha1.LabelRequirement) func(*v1alpha1.RetentionPolicy) {
	return func(p *v1alpha1.RetentionPolicy) {
		p.Spec.Mailboxes = v1alpha1.RetainedMailboxes{Type: v1alpha1.RetainedLabelled, Labels: wanted}
	}
}

func deleting(p *v1alpha1.RetentionPolicy) { p.DeletionTimestamp = &metav1.Time{Time: noon} }

func boxOf(domain, policy string, labels ...string) v1alpha1.Mailbox {
	m := v1alpha1.Mailbox{Spec: v1alpha1.MailboxSpec{LocalPart: "anna", DomainRef: v1alpha1.LocalReference{Name: domain}}}
	if policy != "" {
		m.Spec.RetentionPolicyRef = &v1alpha1.LocalReference{Name: policy}
	}
	for _, l := range labels {
		key, value, _ := strings.Cut(l, "=")
		metav1.SetMetaDataLabel(&m.ObjectMeta, key, value)
	}
	return m
}

func TestAMailboxIsUnderOnePolicy(t *testing.T) {
	const ours, others = "pec.comune.test", "pec.altro.test"
	protocol := labelled(v1alpha1.LabelRequirement{Key: "office", Operator: v1alpha1.LabelIn, Values: []string{"protocollo", "tributi"}})
	noOffice := labelled(v1alpha1.LabelRequirement{Key: "office", Operator: v1alpha1.LabelDoesNotExist})
	notTaxes := labelled(v1alpha1.LabelRequirement{Key: "office", Operator: v1alpha1.LabelExists}, v1alpha1.LabelRequirement{Key: "office", Operator: v1alpha1.LabelNotIn, Values: []string{"tributi"}})
	for name, tt := range map[string]struct {
		policies []v1alpha1.RetentionPolicy
		mailbox  v1alpha1.Mailbox
		want     string
		after    []string
	}{
		"its domain's":                          {[]v1alpha1.RetentionPolicy{policyNamed("ordinary")}, boxOf(ours, ""), "ordinary", nil},
		"not another domain's":                  {[]v1alpha1.RetentionPolicy{policyNamed("ordinary")}, boxOf(others, ""), "", nil},
		"the one that it names":                 {[]v1alpha1.RetentionPolicy{policyNamed("ordinary"), policyNamed("long", referring)}, boxOf(ours, "long"), "long", nil},
		"the one that it names, of any type":    {[]v1alpha1.RetentionPolicy{policyNamed("ordinary"), policyNamed("a", protocol)}, boxOf(ours, "ordinary", "office=tributi"), "ordinary", nil},
		"the one that it names, though absent":  {[]v1alpha1.RetentionPolicy{policyNamed("ordinary")}, boxOf(ours, "gone"), "gone", nil},
		"none for being referred to by another": {[]v1alpha1.RetentionPolicy{policyNamed("long", referring)}, boxOf(ours, ""), "", nil},
		"that of its labels before its domain's": {[]v1alpha1.RetentionPolicy{policyNamed("a"), policyNamed("z", protocol)},
			boxOf(ours, "", "office=protocollo"), "z", nil},
		"its domain's when the label's value is another": {[]v1alpha1.RetentionPolicy{policyNamed("a"), policyNamed("z", protocol)},
			boxOf(ours, "", "office=anagrafe"), "a", nil},
		"that of its labels, in any domain": {[]v1alpha1.RetentionPolicy{policyNamed("z", protocol)}, boxOf(others, "", "office=tributi"), "z", nil},
		"that which wants no such label":    {[]v1alpha1.RetentionPolicy{policyNamed("z", noOffice)}, boxOf(ours, ""), "z", nil},
		"all requirements must hold":        {[]v1alpha1.RetentionPolicy{policyNamed("z", notTaxes)}, boxOf(ours, "", "office=tributi"), "", nil},
		"of two alike the first by name, whatever their order": {[]v1alpha1.RetentionPolicy{policyNamed("c"), policyNamed("b"), policyNamed("a", deleting)},
			boxOf(ours, ""), "b", []string{"c"}},
		"of two with its labels the first by name": {[]v1alpha1.RetentionPolicy{policyNamed("y", protocol), policyNamed("x", protocol), policyNamed("a")},
			boxOf(ours, "", "office=tributi"), "x", []string{"y"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, after := refs.PolicyOf(tt.policies, &tt.mailbox)
			if got != tt.want || !cmp.Equal(after, tt.after) {
				t.Errorf("it is under %q before %q, want %q before %q", got, after, tt.want, tt.after)
			}
		})
	}
}

func TestWhatAPolicyHasAndWhatItDoesNot(t *testing.T) {
	policies := []v1alpha1.RetentionPolicy{policyNamed("first"), policyNamed("second"), policyNamed("long", referring)}
	leaving := boxOf("pec.comune.test", "")
	leaving.DeletionTimestamp = &metav1.Time{Time: noon}
	all := []v1alpha1.Mailbox{boxOf("pec.comune.test", ""), boxOf("pec.comune.test", "long"), boxOf("pec.altro.test", ""), leaving}
	for name, want := range map[string]struct{ mailboxes, elsewhere, overlaps int }{
		"first": {1, 1, 1}, "second": {0, 2, 1}, "long": {1, 0, 0},
	} {
		p := policyNamed(name)
		if name == "long" {
			referring(&p)
		}
		got := selectFrom(&p, policies, all)
		if len(got.mailboxes) != want.mailboxes || got.elsewhere != want.elsewhere || len(got.overlaps) != want.overlaps {
			t.Errorf("%s has %d mailboxes, %d are elsewhere, overlapping: %q; want %+v", name, len(got.mailboxes), got.elsewhere, got.overlaps, want)
		}
		for _, o := range got.overlaps {
			if !strings.Contains(o, "under first, not second") {
				t.Errorf("%s says %q", name, o)
			}
		}
	}
}
