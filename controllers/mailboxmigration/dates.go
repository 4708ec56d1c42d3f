package mailboxmigration

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// maxActs bounds the acts of one pass; a letter has some twenty slots.
const maxActs = 64

// keepDates acts, records and looks again, until nothing is left to do now.
func keepDates(ctx context.Context, s *scope) (reconcile.Result, error) {
	if s.part == follows {
		return reconcile.Result{}, nil
	}
	if err := s.adopt(ctx); err != nil {
		return reconcile.Result{}, err
	}
	for range maxActs {
		s.outlook = s.timetable.Next(s.Now, s.ledger.states())
		acted, err := s.act(ctx)
		if err != nil {
			return reconcile.Result{}, err
		}
		if !acted {
			break
		}
	}
	if s.part == acts {
		s.sayProgress()
	}
	wait := longest
	if !s.outlook.LookAgain.IsZero() {
		wait = min(wait, max(s.outlook.LookAgain.Sub(s.Now), soon))
	}
	if slices.ContainsFunc(s.outlook.Slots, func(at calendar.Status) bool { return at.State == calendar.Running && at.Slot.Work }) {
		wait = soon
	}
	return reconcile.Result{RequeueAfter: wait}, nil
}

// adopt writes down the work that is found begun and was not recorded: between the two there was a crash.
func (s *scope) adopt(ctx context.Context) error {
	states := s.ledger.states()
	for _, slot := range s.timetable.Slots {
		if !copies(slot) || states[slot.Name] != "" || slot.At.After(s.Now) {
			continue
		}
		job, err := s.Jobs.Find(ctx, s.jobPlan(slot, nil, ""))
		if err == nil && job != nil {
			err = s.record(ctx, slot.Name+recordedRunning, entry{Evidence: "Job " + job.Name})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copies says whether a slot's work is a Job's.
func copies(slot calendar.Slot) bool {
	return slices.Contains([]calendar.Name{calendar.Copy, calendar.FinalDelta, calendar.Verify}, slot.Phase)
}

// act does the first thing that can be done now; false when there is none.
func (s *scope) act(ctx context.Context) (bool, error) {
	for _, a := range s.outlook.Actions {
		acted, err := s.do(ctx, a)
		if acted || err != nil {
			return acted, err
		}
	}
	for _, at := range s.outlook.Slots {
		if at.State != calendar.Running || !copies(at.Slot) {
			continue
		}
		acted, err := s.follow(ctx, at.Slot)
		if acted || err != nil {
			return acted, err
		}
	}
	return false, nil
}

// do does one action, and records it; false when it must wait for something that is no date.
func (s *scope) do(ctx context.Context, a calendar.Action) (bool, error) {
	switch a.Do {
	case calendar.Miss:
		return true, s.miss(ctx, a)
	case calendar.Stop:
		return true, s.stop(ctx, a.Slot)
	case calendar.Start:
	default:
		return false, nil // nothing here pauses: what runs at a window's end runs on
	}
	if s.part != acts && (copies(a.Slot) || a.Slot.Phase == calendar.CutOver || a.Slot.Irreversible) {
		return false, nil
	}
	evidence := entry{Evidence: strings.TrimSpace("begun " + lateness(a) + a.Why)}
	switch a.Slot.Phase {
	case calendar.Copy, calendar.FinalDelta, calendar.Verify:
		return s.start(ctx, a.Slot)
	case calendar.CutOver:
		return s.cutOver(ctx, a.Slot)
	case calendar.Destroy:
		s.holdUp(v1alpha1.ReasonAwaitingAgreement, "Destroy is due, and nothing is destroyed before both sites agree on the same list, which this release cannot do yet; all of it stays")
		return false, nil
	case calendar.RequestsClose, calendar.BlockSending:
		if _, closed := s.closed(); !closed {
			evidence.Mailboxes = s.listed()
			slices.Sort(evidence.Mailboxes)
			evidence.List = listDigest(evidence.Mailboxes)
			evidence.Evidence = fmt.Sprintf("%d mailboxes are listed, digest %s", len(evidence.Mailboxes), evidence.List[:16])
		}
	case calendar.Freeze, calendar.OldReadOnly, calendar.OpenNew, calendar.Archive:
	}
	return true, s.settle(ctx, a.Slot, recordedDone, evidence)
}

// miss settles a slot whose time passed. A daily copy of the time in which the other site acted is none that was missed.
func (s *scope) miss(ctx context.Context, a calendar.Action) error {
	if s.part == dates && copies(a.Slot) || a.Slot.Phase == calendar.Copy && a.Slot.At.Before(s.ledger.last.At) {
		return s.record(ctx, a.Slot.Name+recordedMissed, entry{Evidence: "left to the other site"})
	}
	return s.settle(ctx, a.Slot, recordedMissed, entry{Evidence: a.Why})
}

func lateness(a calendar.Action) string {
	if a.Late {
		return "late "
	}
	return ""
}

// settle records a slot that is done or missed, and tells.
func (s *scope) settle(ctx context.Context, slot calendar.Slot, how string, e entry) error {
	if err := s.record(ctx, slot.Name+how, e); err != nil {
		return err
	}
	if how == recordedMissed {
		s.tellMissed(slot, e.Evidence)
	} else {
		s.tellOver(slot, e.Evidence)
	}
	return nil
}

// holdUp remembers why the work that is due does not go on.
func (s *scope) holdUp(reason, note string) { s.reason, s.note = reason, note }

// cutOver waits until mail goes to the new mailboxes. Where the operator writes the MX records, the servers say so; else it is a
// person's word, another token than the one of the verification.
func (s *scope) cutOver(ctx context.Context, slot calendar.Slot) (bool, error) {
	if dns := s.target.domain.Spec.DNS; dns != nil && dns.Mode == v1alpha1.DNSRFC2136 {
		if !meta.IsStatusConditionTrue(s.target.domain.Status.Conditions, v1alpha1.ConditionDNSVerified) {
			s.holdUp(v1alpha1.ReasonAwaitingCutOver, fmt.Sprintf("all is verified, and the MX records of %s are not those of its mailHosts everywhere; kubectl describe pecd -n %s %s says more", s.target.domain.Name, s.target.domain.Namespace, s.target.domain.Name))
			return false, nil
		}
		return true, s.settle(ctx, slot, recordedDone, entry{Evidence: "every server of the zone answers with the mailHosts"})
	}
	verified, _ := s.ledger.done(calendar.Verify)
	if token := s.migration.Token(); token == "" || token == verified.Token {
		s.holdUp(v1alpha1.ReasonAwaitingCutOver, fmt.Sprintf(
			"all is verified: move the MX records of %s to its mailHosts, then set spec.run.token to another value than %q", s.migration.Spec.Target.DomainRef.Name, verified.Token))
		return false, nil
	}
	return true, s.settle(ctx, slot, recordedDone, entry{Evidence: fmt.Sprintf("a person set spec.run.token to %q", s.migration.Token())})
}
