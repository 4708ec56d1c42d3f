package pecdomain

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

func TestJudgeLeftOpen(t *testing.T) {
	refused := leftOpen{"a@uno.test", fmt.Errorf("%w: no", admin.ErrRefused)}
	failed := leftOpen{"b@uno.test", fmt.Errorf("%w: Dovecot is silent", engines.ErrUnfinished)}
	dead := leftOpen{"c@uno.test", fmt.Errorf("calling engine: %w", &url.Error{Op: "Put", URL: "https://10.0.0.1:8443", Err: errors.New("connection refused")})}
	var many []leftOpen
	for i := range maxNames + 2 {
		many = append(many, leftOpen{fmt.Sprintf("casella.%d@uno.test", i), failed.err})
	}
	for name, c := range map[string]struct {
		stillOpen []leftOpen
		reason    string
		silent    bool
		says      []string
	}{
		"what is refused waits for a person":              {[]leftOpen{refused}, v1alpha1.ReasonClosingRefused, false, []string{"a mailbox that was deleted, or whose domain has moved, is not closed", "a@uno.test: the engine refuses: no"}},
		"what failed is tried again":                      {[]leftOpen{failed}, v1alpha1.ReasonClosingFails, false, []string{"b@uno.test: the engine could not place it: Dovecot is silent"}},
		"a refusal counts before that":                    {[]leftOpen{refused, failed}, v1alpha1.ReasonClosingRefused, false, []string{"2 mailboxes that were deleted, or whose domain has moved, are not closed", "a@uno.test", "b@uno.test"}},
		"an engine that gives no answer is asked no more": {[]leftOpen{failed, dead}, v1alpha1.ReasonClosingFails, true, []string{"c@uno.test: it does not take the connection"}},
		"many are counted and some named":                 {many, v1alpha1.ReasonClosingFails, false, []string{"12 mailboxes", "casella.9@uno.test", "; and 2 more"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := judgeLeftOpen(c.stillOpen)
			if got.Reason != c.reason || silent(c.stillOpen) != c.silent || len(got.Message) > reconcile.MaxMessage || strings.Contains(got.Message, "10.0.0.1") {
				t.Errorf("silent %t, %+v", silent(c.stillOpen), got)
			}
			for _, said := range c.says {
				if !strings.Contains(got.Message, said) {
					t.Errorf("%q is not in %q", said, got.Message)
				}
			}
		})
	}
}

func TestDirectoryWaits(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"an engine that answers no is no silent one": {fmt.Errorf("%w: domain \"-\": not a domain name", admin.ErrRefused), v1alpha1.ReasonEngineRefuses},
		"one that takes no connection is":            {&url.Error{Op: "Put", URL: "https://10.0.0.1:8443", Err: errors.New("connection refused")}, v1alpha1.ReasonEngineUnreachable},
		"and so is one whose disk is full":           {errors.New("engine answered 500: the disk is full"), v1alpha1.ReasonEngineUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := reconcile.Verdict((&scope{}).directoryWaits(c.err))
			if got.Type != v1alpha1.ConditionDirectoryInSync || got.Reason != c.want {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestWhichMailboxesAreToHaveARowAndHaveNone(t *testing.T) {
	said := func(conditionType string, status metav1.ConditionStatus, reason string) []metav1.Condition {
		return []metav1.Condition{{Type: conditionType, Status: status, Reason: reason}}
	}
	for name, c := range map[string]struct {
		conditions []metav1.Condition
		admittedAs v1alpha1.MailboxType
		rows       []admin.Mailbox
		deleted    *metav1.Time
		want       int
	}{
		"somebody's finalizer keeps what is deleted": {deleted: &metav1.Time{Time: now}},
		"nothing was said of it yet":                 {want: 1},
		"it was placed before":                       {conditions: said(v1alpha1.ConditionProvisioned, metav1.ConditionTrue, v1alpha1.ReasonRowPlaced), want: 1},
		"it has a row":                               {rows: []admin.Mailbox{{Address: "uno@pec.uno.test"}}},
		"its contract does not admit it":             {conditions: said(v1alpha1.ConditionAdmitted, metav1.ConditionFalse, v1alpha1.ReasonHeldByContract)},
		"it has no grant":                            {conditions: said(v1alpha1.ConditionAdmitted, metav1.ConditionFalse, v1alpha1.ReasonMassiveNotGranted)},
		"its contract is over":                       {conditions: said(v1alpha1.ConditionAdmitted, metav1.ConditionFalse, v1alpha1.ReasonContractEnded)},
		"it had a row, and wanted more":              {conditions: said(v1alpha1.ConditionAdmitted, metav1.ConditionFalse, v1alpha1.ReasonHeldByContract), admittedAs: v1alpha1.MailboxStandard, want: 1},
		"it waits for what the other site tells":     {conditions: said(v1alpha1.ConditionAdmitted, metav1.ConditionFalse, v1alpha1.ReasonStackRecalling), want: 1},
		"nobody says how much it may hold":           {conditions: said(v1alpha1.ConditionAdmitted, metav1.ConditionFalse, v1alpha1.ReasonQuotaNotGiven), want: 1},
		"there is no contract to decide by":          {conditions: said(v1alpha1.ConditionAdmitted, metav1.ConditionFalse, v1alpha1.ReasonPoolUnusable), want: 1},
		"the sites hold different contracts":         {conditions: said(v1alpha1.ConditionAdmitted, metav1.ConditionFalse, v1alpha1.ReasonSpecsDiffer), want: 1},
		"a person must change something before":      {conditions: said(v1alpha1.ConditionStalled, metav1.ConditionTrue, "X"), want: 1},
		"the row that there is is of another's name": {rows: []admin.Mailbox{{Address: "due@pec.uno.test"}}, want: 1},
	} {
		m := v1alpha1.Mailbox{Spec: v1alpha1.MailboxSpec{LocalPart: "uno", DomainRef: v1alpha1.LocalReference{Name: "pec.uno.test"}}}
		m.Status.Conditions, m.Status.AdmittedAs, m.DeletionTimestamp = c.conditions, c.admittedAs, c.deleted
		if got := missing([]v1alpha1.Mailbox{m}, c.rows); got != c.want {
			t.Errorf("%s: %d are missing, want %d", name, got, c.want)
		}
	}
}
