package pecdomain

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

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
		left   []leftOpen
		reason string
		silent bool
		says   []string
	}{
		"what is refused waits for a person":              {[]leftOpen{refused}, v1alpha1.ReasonClosingRefused, false, []string{"a mailbox that was deleted, or whose domain has moved, is not closed", "a@uno.test: the engine refuses: no"}},
		"what failed is tried again":                      {[]leftOpen{failed}, v1alpha1.ReasonClosingFails, false, []string{"b@uno.test: the engine could not place it: Dovecot is silent"}},
		"a refusal counts before that":                    {[]leftOpen{refused, failed}, v1alpha1.ReasonClosingRefused, false, []string{"2 mailboxes that were deleted, or whose domain has moved, are not closed", "a@uno.test", "b@uno.test"}},
		"an engine that gives no answer is asked no more": {[]leftOpen{failed, dead}, v1alpha1.ReasonClosingFails, true, []string{"c@uno.test: it does not take the connection"}},
		"many are counted and some named":                 {many, v1alpha1.ReasonClosingFails, false, []string{"12 mailboxes", "casella.9@uno.test", "; and 2 more"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := judgeLeftOpen(c.left)
			if got.Reason != c.reason || silent(c.left) != c.silent || len(got.Message) > reconcile.MaxMessage || strings.Contains(got.Message, "10.0.0.1") {
				t.Errorf("silent %t, %+v", silent(c.left), got)
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
