package mailboxmigration

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/store"
)

// maxFailed is how many failed mailboxes a status names, maxEvidence how many bytes it says of a phase: the API server refuses more.
const maxFailed, maxEvidence = 16, 384

// sayProgress says how far the phases and the mailboxes are.
func (s *scope) sayProgress() {
	if verified, ok := s.ledger.done(calendar.Verify); ok {
		s.True(v1alpha1.ConditionMailboxesCopied, v1alpha1.ReasonMailboxesVerified, verified.Evidence)
	} else if s.reason == v1alpha1.ReasonMailboxesFailed {
		s.False(v1alpha1.ConditionMailboxesCopied, s.reason, s.note)
	} else {
		s.Say(v1alpha1.ConditionMailboxesCopied, metav1.ConditionUnknown, v1alpha1.ReasonNotVerified, "the verification is not done")
	}
	if _, late := s.mailboxes(); len(late) > 0 {
		s.True(v1alpha1.ConditionLateRequests, v1alpha1.ReasonRequestsClosed, strings.Join(late, ", ")+
			": listed after the list closed, and not moved; move them with a MailboxMigration of their own")
	}
	c := progress(s.outlook, s.far)
	if s.reason != "" && s.reason != v1alpha1.ReasonMailboxesFailed {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, s.reason, s.note
	}
	s.Say(v1alpha1.ConditionPhasesSettled, c.Status, c.Reason, c.Message)
}

// progress says what runs and how far it is, what is held, and what comes next. Pure.
func progress(o calendar.Outlook, far string) metav1.Condition {
	var running, held []string
	next := ""
	for _, at := range o.Slots {
		switch at.State {
		case calendar.Running, calendar.Paused:
			running = append(running, at.Slot.Name)
		case calendar.Held:
			held = append(held, at.Slot.Name+": "+at.Why)
		case calendar.Waiting:
			if next == "" {
				next = "next: " + at.Slot.Name + " at " + calendar.Both(at.Slot.At)
			}
		case calendar.Done, calendar.Missed:
		}
	}
	switch {
	case len(held) > 0:
		return metav1.Condition{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonPhaseHeld,
			Message: strings.Join(held, "; ") + "; overrides are written in spec.calendar.overrides"}
	case len(running) > 0:
		return metav1.Condition{Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonPhasesAhead, Message: strings.TrimSuffix(strings.Join(running, ", ")+" runs"+far+"; "+next, "; ")}
	case next != "":
		return metav1.Condition{Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonPhasesAhead, Message: next}
	}
	return metav1.Condition{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonPhasesDone, Message: "every phase is done or was left out"}
}

// show fills the status from the timetable and the ledger; what was known stays when they could not be read.
func (s *scope) show() {
	if s.timetable == nil || s.ledger == nil || s.target.domain == nil {
		return
	}
	status := &s.migration.Status
	status.Acting = s.acting()
	if s.outlook.Slots == nil {
		return
	}
	phases := phasesOf(s.migration.Spec.Calendar.Phases, s.outlook.Slots, s.ledger.entries)
	if s.part == dates {
		keepBegun(phases, status.Phases)
	}
	status.Phases = phases
	if verified, ok := s.ledger.done(calendar.Verify); s.part == dates || ok && verified.Outcome == nil {
		return // the other site counted
	}
	status.Run = s.migration.Token()
	list, _ := s.mailboxes()
	last, verified := s.ledger.lastOutcome(s.timetable.Slots)
	counts := v1alpha1.MigrationCounts{Total: ptr.To(int32(len(list))), Copied: ptr.To(last.Copied), Verified: ptr.To(verified)} //nolint:gosec // at most 128
	counts.Failed = append(last.Failed, s.failed...)
	if len(s.failed) > 0 {
		counts.Failed = s.failed
	}
	counts.Failed = counts.Failed[:min(len(counts.Failed), maxFailed)]
	status.Mailboxes, status.Messages, status.Bytes = &counts, ptr.To(last.Messages), ptr.To(last.Bytes)
	if len(last.Manifests) > 0 {
		status.Manifest = &v1alpha1.ManifestStatus{Digest: last.manifestDigest(), Location: fmt.Sprintf(
			"ConfigMap %s, key verify.Done: the digest of each mailbox's manifest, and the record of the engine of %s that holds it", s.ledger.object.Name, s.target.host.Name)}
	}
}

// lastOutcome is that of the last Job that is done, and how many mailboxes were verified.
func (l *ledger) lastOutcome(slots []calendar.Slot) (last outcome, verified int32) {
	for _, slot := range slots {
		e, ok := l.entries[slot.Name+recordedDone]
		if !ok || e.Outcome == nil {
			continue
		}
		last = *e.Outcome
		if slot.Phase == calendar.Verify {
			verified = last.Copied
		}
	}
	return last, verified
}

// manifestDigest is one digest over all mailboxes' manifests.
func (o outcome) manifestDigest() string {
	var all []string
	for _, m := range o.Manifests {
		all = append(all, m.Address+" "+m.Digest)
	}
	slices.Sort(all)
	return store.Digest([]byte(strings.Join(all, "\n")))
}

// phasesOf shows the phases of the spec with the times that the timetable came to. Pure.
func phasesOf(phases []v1alpha1.MigrationPhase, slots []calendar.Status, entries map[string]entry) []v1alpha1.MigrationPhaseStatus {
	var out []v1alpha1.MigrationPhaseStatus
	for _, p := range phases {
		var begin, end *calendar.Status
		for i := range slots {
			if slots[i].Slot.Phase != calendar.Name(p.Name) {
				continue
			}
			if slots[i].Slot.Ends {
				end = &slots[i]
			} else {
				begin = &slots[i]
			}
		}
		if begin == nil {
			continue
		}
		at := string(p.At)
		if local, err := calendar.LocalAt(begin.Slot.At); err == nil {
			at = local.String() // of two promises for one thing, the one that wins
		}
		shown := v1alpha1.MigrationPhaseStatus{Name: p.Name, At: at, StartsAt: metav1.NewTime(begin.Slot.At), State: phaseState(begin, end)}
		shown.Evidence = reconcile.Cut(cmp.Or(entries[begin.Slot.Name+recordedDone].Evidence, entries[begin.Slot.Name+recordedMissed].Evidence), maxEvidence)
		if end != nil {
			shown.EndsAt = ptr.To(metav1.NewTime(end.Slot.At))
		}
		out = append(out, shown)
	}
	return out
}

// keepBegun keeps what was reported to have begun from going back while nothing is reported: what was taken away would come back. Pure.
func keepBegun(phases, before []v1alpha1.MigrationPhaseStatus) {
	begun := func(p v1alpha1.MigrationPhaseStatus) bool {
		return p.State == v1alpha1.PhaseRunning || p.State == v1alpha1.PhaseDone
	}
	for i, p := range phases {
		for _, was := range before {
			if was.Name == p.Name && begun(was) && !begun(p) {
				phases[i].State, phases[i].Evidence = was.State, was.Evidence
			}
		}
	}
}

// phaseState is how far a phase is, from its beginning and, if it is a span, its end.
func phaseState(begin, end *calendar.Status) v1alpha1.MigrationPhaseState {
	switch {
	case begin.State == calendar.Held:
		return v1alpha1.PhaseHeld
	case begin.State == calendar.Missed:
		return v1alpha1.PhaseSkipped
	case begin.State == calendar.Running || begin.State == calendar.Paused:
		return v1alpha1.PhaseRunning
	case begin.State != calendar.Done:
		return v1alpha1.PhasePending
	case end != nil && end.State != calendar.Done && end.State != calendar.Missed:
		return v1alpha1.PhaseRunning
	}
	return v1alpha1.PhaseDone
}
