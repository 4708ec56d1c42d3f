package pecdomain

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

func TestSpecs(t *testing.T) {
	box := func(local string, quota v1alpha1.MailboxType) v1alpha1.Mailbox {
		return v1alpha1.Mailbox{Spec: v1alpha1.MailboxSpec{LocalPart: local, Type: quota}}
	}
	hosted := &v1alpha1.PECDomain{}
	own := specsOf(hosted, []v1alpha1.Mailbox{box("a", "Standard"), box("b", "Standard"), box("c", "Standard")})
	for name, c := range map[string]struct {
		other []v1alpha1.Mailbox
		want  []string
	}{
		"the same in another order":          {[]v1alpha1.Mailbox{box("c", "Standard"), box("a", "Standard"), box("b", "Standard")}, nil},
		"one that only this site has":        {[]v1alpha1.Mailbox{box("a", "Standard"), box("b", "Standard")}, []string{"c"}},
		"one that only the other site has":   {[]v1alpha1.Mailbox{box("a", "Standard"), box("b", "Standard"), box("c", "Standard"), box("z", "Standard")}, []string{"z"}},
		"one that each has with its own":     {[]v1alpha1.Mailbox{box("a", "Massive"), box("b", "Standard"), box("c", "Standard")}, []string{"a"}},
		"another site that was given no one": {nil, []string{"a", "b", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			other := specsOf(hosted, c.other)
			if diff := cmp.Diff(c.want, own.differing(other)); diff != "" {
				t.Errorf("the names that differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.want, other.differing(own)); diff != "" {
				t.Errorf("seen from the other site they are not the same:\n%s", diff)
			}
			if (own.digest() == other.digest()) != (len(c.want) == 0) {
				t.Errorf("digests %s and %s, and %d names differ", own.digest(), other.digest(), len(c.want))
			}
		})
	}
}

func TestWhatIsInForceIsCompared(t *testing.T) {
	with := func(quota string, access v1alpha1.AccessLevel) *v1alpha1.Mailbox {
		return &v1alpha1.Mailbox{Spec: v1alpha1.MailboxSpec{LocalPart: "a"}, Status: v1alpha1.MailboxStatus{
			Quota: quota, AdmittedAs: v1alpha1.MailboxStandard, EffectiveAccess: &v1alpha1.EffectiveAccess{Access: access}}}
	}
	own := with("2Gi", "Full")
	managed, external := &v1alpha1.PECDomain{}, &v1alpha1.PECDomain{}
	external.Spec.Provider.External = &v1alpha1.ExternalProvider{}
	for name, c := range map[string]struct {
		domain *v1alpha1.PECDomain
		other  *v1alpha1.Mailbox
		want   bool
	}{
		"the same, written otherwise":            {managed, with("2048Mi", "Full"), true},
		"a quota that is held at one":            {managed, with("1Gi", "Full"), false},
		"another access":                         {managed, with("2Gi", "ReadOnly"), false},
		"nothing provisioned there":              {managed, &v1alpha1.Mailbox{Spec: own.Spec}, false},
		"another provider's, seen from one site": {external, &v1alpha1.Mailbox{Spec: own.Spec}, true},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := specsOf(c.domain, []v1alpha1.Mailbox{*own}), specsOf(c.domain, []v1alpha1.Mailbox{*c.other})
			if equal := len(a.differing(b)) == 0 && a.digest() == b.digest(); equal != c.want {
				t.Errorf("equal is %v, want %v", equal, c.want)
			}
			if !a.givenSame(b) {
				t.Error("what is in force is taken for what was given")
			}
		})
	}
}

func TestADifferenceFitsTheStatus(t *testing.T) {
	var names []string
	for i := range 12 {
		names = append(names, fmt.Sprintf("m%02d", i))
	}
	for name, c := range map[string]struct {
		digest string
		apart  *apart
		want   *v1alpha1.SiteSpecs
	}{
		"a site that says nothing":             {"", &apart{names: names}, nil},
		"sites that agree":                     {"f00", nil, &v1alpha1.SiteSpecs{Digest: "f00"}},
		"a difference of a moment":             {"f00", &apart{since: now, names: names}, &v1alpha1.SiteSpecs{Digest: "f00"}},
		"of many that differ, ten and a count": {"f00", &apart{since: now.Add(-time.Hour), names: names}, &v1alpha1.SiteSpecs{Digest: "f00", Differing: ptr.To(int32(12)), Names: names[:10]}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, siteSpecs(c.digest, c.apart, now)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
