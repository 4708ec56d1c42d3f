package mailboxmigration

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// settleCalendar makes the timetable of the letter.
func settleCalendar(_ context.Context, s *scope) (reconcile.Result, error) {
	plan, err := planOf(&s.migration.Spec)
	if err == nil {
		s.timetable, err = plan.Settle()
	}
	if err != nil {
		return reconcile.Result{}, reconcile.Stalled(v1alpha1.ConditionCalendarSettled, v1alpha1.ReasonCalendarInvalid,
			"correct spec.calendar: "+strings.Join(strings.Split(err.Error(), "\n"), "; "))
	}
	var conflicts []string
	for _, c := range s.timetable.Conflicts {
		conflicts = append(conflicts, c.String())
	}
	if len(conflicts) > 0 {
		s.False(v1alpha1.ConditionClocksAgree, v1alpha1.ReasonLatestPromiseWins, strings.Join(conflicts, "; "))
	} else {
		s.True(v1alpha1.ConditionClocksAgree, v1alpha1.ReasonOnePromise, "the letter promises one date for each thing")
	}
	return reconcile.Result{}, nil
}

// planOf reads the calendar of a spec. Pure.
func planOf(spec *v1alpha1.MailboxMigrationSpec) (calendar.Plan, error) {
	plan := calendar.Plan{IfMissed: calendar.IfMissed(spec.Calendar.IfMissed)}
	var errs []error
	local := func(text v1alpha1.LocalTime) calendar.Local {
		if text == "" {
			return calendar.Local{}
		}
		l, err := calendar.ParseLocal(string(text))
		errs = append(errs, err)
		return l
	}
	for _, p := range spec.Calendar.Phases {
		plan.Phases = append(plan.Phases, calendar.Phase{Name: calendar.Name(p.Name), At: local(p.At), Until: local(p.Until)})
	}
	for _, o := range spec.Calendar.Overrides {
		plan.Overrides = append(plan.Overrides, calendar.Override{Slot: o.Slot, At: local(o.At), Verdict: calendar.Verdict(o.Verdict), By: o.By, Reason: o.Reason})
	}
	if spec.Copy != nil {
		for _, w := range spec.Copy.Windows {
			window, err := calendar.ParseWindow(w.Days, w.Opens, w.Closes)
			errs = append(errs, err)
			plan.Windows.Allow = append(plan.Windows.Allow, window)
		}
	}
	return plan, errors.Join(errs...)
}

// showHolds makes the legal holds on mailboxes of the list visible.
func showHolds(ctx context.Context, s *scope) (reconcile.Result, error) {
	var list v1alpha1.MailboxList
	if err := s.Client.List(ctx, &list, inNamespace(s.migration)); err != nil {
		return reconcile.Result{}, fmt.Errorf("listing the mailboxes of %s: %w", s.migration.Namespace, err)
	}
	listed := map[string]bool{}
	for _, m := range s.migration.Spec.Mailboxes {
		listed[string(m.Address)] = true
		listed[targetAddress(string(m.Address), s.migration)] = true
	}
	var held []string
	for i := range list.Items {
		m := &list.Items[i]
		for _, hold := range m.Spec.LegalHolds {
			if listed[m.Address()] {
				held = append(held, fmt.Sprintf("%s: %s", m.Address(), hold.Reference))
			}
		}
	}
	if len(held) > 0 {
		s.True(v1alpha1.ConditionUnderLegalHold, v1alpha1.ReasonHoldListed, strings.Join(held, ", ")+": nothing of these mailboxes is destroyed")
	}
	return reconcile.Result{}, nil
}
