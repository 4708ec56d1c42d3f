package mailboxmigration

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

func mailboxWith(limits *v1alpha1.SendingLimits) *v1alpha1.Mailbox {
	return &v1alpha1.Mailbox{Spec: v1alpha1.MailboxSpec{Sending: limits}}
}

func TestJudgeLimits(t *testing.T) {
	here, outside := &v1alpha1.PECDomain{}, &v1alpha1.PECDomain{}
	outside.Spec.Provider.External = &v1alpha1.ExternalProvider{}
	daily := func(n int32) *v1alpha1.SendingLimits { return &v1alpha1.SendingLimits{MessagesPerDay: ptr.To(n)} }
	each := func(n int32) *v1alpha1.SendingLimits {
		return &v1alpha1.SendingLimits{RecipientsPerMessage: ptr.To(n)}
	}
	for name, c := range map[string]struct {
		from    *v1alpha1.PECDomain
		was, is *v1alpha1.SendingLimits
		want    string
	}{
		"the same limit":                        {here, daily(100), daily(100), v1alpha1.ReasonAllKept},
		"a higher one":                          {here, daily(100), daily(200), v1alpha1.ReasonAllKept},
		"none any more":                         {here, daily(100), nil, v1alpha1.ReasonAllKept},
		"a lower one":                           {here, daily(100), daily(99), v1alpha1.ReasonPromiseBroken},
		"one where there was none":              {here, nil, daily(1000), v1alpha1.ReasonPromiseBroken},
		"fewer recipients":                      {here, each(50), each(10), v1alpha1.ReasonPromiseBroken},
		"another provider's limits are unknown": {outside, nil, daily(100), v1alpha1.ReasonPromiseUnproved},
		"any server's limits are unknown":       {nil, nil, daily(100), v1alpha1.ReasonPromiseUnproved},
	} {
		t.Run(name, func(t *testing.T) {
			f := findings{}
			judgeLimits(&f, []ends{{target: mailboxWith(c.is), source: mailboxWith(c.was)}}, c.from, here)
			if got := f.condition().Reason; got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestJudgeNames(t *testing.T) {
	m := &v1alpha1.MailboxMigration{}
	m.Spec.Target.DomainRef.Name = "pec.nuovo.test"
	for name, c := range map[string]struct{ address, says string }{
		"the domain moves with its mailboxes": {"anna@pec.nuovo.test", ""},
		"the domain is another":               {"anna@pec.vecchio.test", "anna@pec.vecchio.test becomes anna@pec.nuovo.test"},
	} {
		t.Run(name, func(t *testing.T) {
			f := findings{}
			judgeNames(&f, []ends{{migrated: v1alpha1.MigratedMailbox{Address: v1alpha1.EmailAddress(c.address)}}}, m)
			if got := strings.Join(f.broken, ""); (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
				t.Errorf("it says %q", got)
			}
		})
	}
}

func TestJudgeOld(t *testing.T) {
	for name, c := range map[string]struct {
		entry *entry
		want  metav1.ConditionStatus
	}{
		"nothing is verified":                      {nil, metav1.ConditionUnknown},
		"OldReadOnly began after the verification": {&entry{Outcome: &outcome{Copied: 1}}, metav1.ConditionUnknown},
		"all can be read only":                     {&entry{Outcome: &outcome{Opened: true}}, metav1.ConditionTrue},
		"one can be written to":                    {&entry{Outcome: &outcome{Opened: true, Old: []v1alpha1.FailedMailbox{{Address: "a@b", Reason: "Writable"}}}}, metav1.ConditionFalse},
		"the verification was at the other site":   {&entry{}, metav1.ConditionUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scope{ledger: &ledger{entries: map[string]entry{}}}
			if c.entry != nil {
				s.ledger.entries["verify.Done"] = *c.entry
			}
			f := findings{}
			s.judgeOld(&f, "tempmail.test")
			if got := f.condition(); got.Status != c.want || !strings.Contains(got.Message, "tempmail.test") && c.want != metav1.ConditionTrue {
				t.Errorf("got %+v", got)
			}
		})
	}
}
