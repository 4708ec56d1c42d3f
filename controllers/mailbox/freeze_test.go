package mailbox

import (
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/engines"
)

func TestFreezeOf(t *testing.T) {
	for name, c := range map[string]struct {
		state v1alpha1.MigrationPhaseState
		want  bool
	}{
		"a freeze that is to come":   {v1alpha1.PhasePending, false},
		"a freeze that is held back": {v1alpha1.PhaseHeld, false},
		"a freeze in force":          {v1alpha1.PhaseRunning, true},
		"a freeze that is over":      {v1alpha1.PhaseDone, false},
		"a freeze that was left out": {v1alpha1.PhaseSkipped, false},
	} {
		t.Run(name, func(t *testing.T) {
			all := []v1alpha1.MailboxMigration{migration("a", in(v1alpha1.PhaseBlockSending, v1alpha1.PhaseRunning)), migration("b", in(v1alpha1.PhaseFreeze, c.state))}
			got := freezeOf(all)
			if (got != nil) != c.want || (got != nil && got.Name != "b") {
				t.Errorf("got %v, want %t", got, c.want)
			}
		})
	}
}

func TestIsNew(t *testing.T) {
	open, closed := engines.Known{There: true}, engines.Known{There: true}
	open.Mailbox.Access, closed.Mailbox.Access = admin.AccessFull, admin.AccessClosed
	for name, c := range map[string]struct {
		admittedAs v1alpha1.MailboxType
		has        engines.Known
		want       bool
	}{
		"one that never was there":         {has: engines.Known{}, want: true},
		"one that is closed":               {has: closed, want: true},
		"one that is made anew and closed": {admittedAs: v1alpha1.MailboxStandard, has: closed, want: true},
		"one that is there":                {has: open},
		"one whose row was lost":           {admittedAs: v1alpha1.MailboxStandard, has: engines.Known{}},
	} {
		m := &v1alpha1.Mailbox{Status: v1alpha1.MailboxStatus{AdmittedAs: c.admittedAs}}
		if got := isNew(m, c.has); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestUnchanged(t *testing.T) {
	row := admin.Mailbox{Address: "a@d", QuotaBytes: 1, CredentialsVersion: "1", OrdinaryMail: admin.OrdinaryDiscard, AdmittedAs: "Standard", Access: admin.AccessFull}
	for name, c := range map[string]struct {
		change func(*admin.Mailbox)
		placed bool
	}{
		"a quota is held":                   {func(m *admin.Mailbox) { m.QuotaBytes = 2 }, false},
		"a type is held":                    {func(m *admin.Mailbox) { m.AdmittedAs = "Massive" }, false},
		"a new password is held":            {func(m *admin.Mailbox) { m.CredentialsVersion = "2" }, false},
		"a policy of ordinary mail is held": {func(m *admin.Mailbox) { m.OrdinaryMail, m.ForwardTo = admin.OrdinaryForward, "x@y" }, false},
		"a lock is placed":                  {func(m *admin.Mailbox) { m.Access = admin.AccessSuspended }, true},
		"a phase of the letter is placed":   {func(m *admin.Mailbox) { m.SendingRefused = admin.RefusalMigration }, true},
		"the end of the freeze is placed":   {func(m *admin.Mailbox) { m.FrozenUntil = time.Unix(1000, 0) }, true},
		"a resource made again is placed":   {func(m *admin.Mailbox) { m.Owner.UID = "other" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			want := row
			c.change(&want)
			if got := unchanged(row, want); got.Same(want) != c.placed || got.Same(row) == c.placed {
				t.Errorf("of %+v is placed %+v", want, got)
			}
		})
	}
}
