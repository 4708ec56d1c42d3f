package contracts

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/contract"
)

// What is closed is told to people: they look for tombstones where it says that there are some.
func TestWhatCountsAsClosed(t *testing.T) {
	d := &v1alpha1.PECDomain{ObjectMeta: metav1.ObjectMeta{Namespace: "comune", Name: "pec.uno.test"}}
	for name, c := range map[string]struct {
		gone, deleting bool // the Mailbox
		quota          string
		status         v1alpha1.MailboxStatus
		access         admin.Access // the row's, if there is one
		standard       int64
		closed         int64
	}{
		"a mailbox as it is wanted":                                 {quota: "1Gi", access: admin.AccessFull, standard: 1},
		"one whose resource is gone":                                {gone: true, access: admin.AccessClosed, standard: 1, closed: 1},
		"one that is not closed yet":                                {deleting: true, access: admin.AccessFull, standard: 1, closed: 1},
		"one that nobody gives a quota any more":                    {access: admin.AccessSuspended, standard: 1},
		"one whose row was lost, or whose stack was not heard yet":  {quota: "1Gi", status: v1alpha1.MailboxStatus{AdmittedAs: v1alpha1.MailboxStandard, Quota: "1Gi"}, standard: 1},
		"the same, and nobody gives it a quota any more":            {status: v1alpha1.MailboxStatus{AdmittedAs: v1alpha1.MailboxStandard, Quota: "1Gi"}, standard: 1},
		"one that was closed and is made again without a quota":     {access: admin.AccessClosed, standard: 1, closed: 1},
		"one that is asked for without a quota, and never was made": {},
		"one that was another provider's":                           {status: v1alpha1.MailboxStatus{Quota: "1Gi"}},
		"one whose row says something else than its status":         {quota: "1Gi", status: v1alpha1.MailboxStatus{AdmittedAs: v1alpha1.MailboxMassive, Quota: "9Gi"}, access: admin.AccessFull, standard: 1},
	} {
		var mailboxes []v1alpha1.Mailbox
		if !c.gone {
			m := v1alpha1.Mailbox{Spec: v1alpha1.MailboxSpec{LocalPart: "uno", DomainRef: v1alpha1.LocalReference{Name: d.Name}}, Status: c.status}
			if m.Namespace = d.Namespace; c.quota != "" {
				m.Spec.Quota = ptr.To(resource.MustParse(c.quota))
			}
			if c.deleting {
				m.DeletionTimestamp = ptr.To(metav1.Now())
			}
			mailboxes = append(mailboxes, m)
		}
		var rows []admin.Mailbox
		if c.access != "" {
			rows = append(rows, admin.Mailbox{Address: "uno@pec.uno.test", Domain: d.Name, QuotaBytes: 1 << 30, Access: c.access, AdmittedAs: "Standard"})
		}
		got := contract.Decide(contract.Contract{}, claimsOf(d, mailboxes, rows)).Total
		if got.Standard != c.standard || got.Closed != c.closed {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestWhatAMailboxWants(t *testing.T) {
	held := []v1alpha1.LegalHold{{Reference: "RG 1/2026"}}
	for name, c := range map[string]struct {
		quota, byDefault string
		holds            []v1alpha1.LegalHold
		has              int64
		want             int64
	}{
		"its own quota before its domain's":                   {"1Gi", "5Gi", nil, 0, 1 << 30},
		"else its domain's":                                   {"", "5Gi", nil, 0, 5 << 30},
		"a default that shrank":                               {"", "1Gi", nil, 5 << 30, 1 << 30},
		"the same under a legal hold":                         {"", "1Gi", held, 5 << 30, 5 << 30},
		"a first quota of its own, less than the default was": {"1M", "5Gi", nil, 5 << 30, 1e6},
		"the same under a legal hold takes nothing away":      {"1M", "5Gi", held, 5 << 30, 5 << 30},
		"a quota that grows under a legal hold":               {"9Gi", "5Gi", held, 5 << 30, 9 << 30},
		"a legal hold on one that is not there yet":           {"1Gi", "5Gi", held, 0, 1 << 30},
	} {
		d := &v1alpha1.PECDomain{Spec: v1alpha1.PECDomainSpec{MailboxDefaults: &v1alpha1.MailboxDefaults{Quota: ptr.To(resource.MustParse(c.byDefault))}}}
		m := &v1alpha1.Mailbox{Spec: v1alpha1.MailboxSpec{LegalHolds: c.holds}}
		if c.quota != "" {
			m.Spec.Quota = ptr.To(resource.MustParse(c.quota))
		}
		var has *contract.Holding
		if c.has > 0 {
			has = &contract.Holding{Type: contract.Standard, Bytes: c.has}
		}
		if got := Wanted(m, d, has); got == nil || got.Bytes != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
