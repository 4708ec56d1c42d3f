package mailbox

import (
	"context"
	"fmt"
	"time"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// holdNew keeps a listed mailbox from being made or opened again while a migration away freezes its domain: the source's list is
// being copied. The end of the freeze wakes the mailbox.
func holdNew(_ context.Context, s *scope) (reconcile.Result, error) {
	if freeze := freezeOf(s.migrations); freeze != nil && isNew(s.mailbox, s.has) {
		return reconcile.Result{}, s.heldByFreeze(freeze, "the mailbox is not made")
	}
	return reconcile.Result{}, nil
}

// isNew says whether a place would make a mailbox, or open it again. One that was admitted and has no row was there before its stack lost
// that: until it has one again, whoever writes to it is told that it does not exist. Pure.
func isNew(m *v1alpha1.Mailbox, has engines.Known) bool {
	if !has.There {
		return m.Status.AdmittedAs == ""
	}
	return has.Mailbox.Access == admin.AccessClosed
}

// freezeOf is the first migration whose Freeze is in force; nil when none is. Pure.
func freezeOf(migrations []v1alpha1.MailboxMigration) *v1alpha1.MailboxMigration {
	for i := range migrations {
		if _, freezing := migrations[i].Freezing(); freezing {
			return &migrations[i]
		}
	}
	return nil
}

// frozenUntil is when the last Freeze ends that is in force; zero when none is. The engine keeps holders to it. Pure.
func frozenUntil(migrations []v1alpha1.MailboxMigration) (last time.Time) {
	for i := range migrations {
		if until, freezing := migrations[i].Freezing(); freezing && until != nil && until.After(last) {
			last = until.Time
		}
	}
	return last
}

// unchanged is what of a wanted row is placed during a freeze: what the holder may do is, because the letter's own dates and a
// person who locks a mailbox take that away, and neither loses mail; all else stays as the row has it. Pure.
func unchanged(row, want admin.Mailbox) admin.Mailbox {
	row.Access, row.SendingRefused, row.Owner, row.FrozenUntil = want.Access, want.SendingRefused, want.Owner, want.FrozenUntil
	return row
}

// heldByFreeze ends a pass in which something is not done until a freeze ends.
func (s *scope) heldByFreeze(by *v1alpha1.MailboxMigration, held string) error {
	end := "its end"
	if until, _ := by.Freezing(); until != nil {
		end = calendar.Minute(until.Time)
	}
	return reconcile.Held(heldRecheck, v1alpha1.ConditionProvisioned, v1alpha1.ReasonFrozen, fmt.Sprintf(
		"%s before %s, when the Freeze of MailboxMigration %s ends; then it is done by itself", held, end, by.Name))
}
