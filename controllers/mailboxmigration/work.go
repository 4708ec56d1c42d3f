package mailboxmigration

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/jobs"
	"github.com/pec-operator/pec-operator/internal/migration"
)

// grantLife is how long a Job may use the mailboxes it was granted: longer than any pass, and not for ever if nobody revokes that.
const grantLife = 14 * 24 * time.Hour

// jobPlan is the Job of a slot, and of one attempt at it: "" is the first, and another one is named by the token that asked for it.
func (s *scope) jobPlan(slot calendar.Slot, list []v1alpha1.MigratedMailbox, attempt string) jobs.Plan {
	name := slot.Name
	if attempt != "" {
		name += "/" + attempt
	}
	p := jobs.Plan{
		Owner:     metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "MailboxMigration", Name: s.migration.Name, UID: s.migration.UID},
		Namespace: s.migration.Namespace, Slot: name, Image: s.Image, Arguments: []string{"migrate"},
		Mailboxes: int32(len(list)), Parallel: s.migration.ParallelOrDefault(), //nolint:gosec // at most 128
	}
	for i, m := range list {
		p.Sources = append(p.Sources, jobs.Source{File: strconv.Itoa(i), Secret: m.SourceCredentials.Name, Key: m.SourceCredentials.KeyOrDefault()})
	}
	if s.source.ca != nil {
		p.Sources = append(p.Sources, jobs.Source{File: "ca", Secret: s.source.ca.SecretName, Key: "ca.crt"})
	}
	return p
}

// workPlan is what the pods of a slot's Job read.
func (s *scope) workPlan(slot calendar.Slot, list []v1alpha1.MigratedMailbox, attempt string) migration.Plan {
	plan := migration.Plan{
		Migration: s.migration.Namespace + "/" + s.migration.Name, Kind: migration.KindCopy, DryRun: s.migration.DryRun(), AlignFlags: true,
		Store: engines.URL(engines.First(s.target.host)), Source: s.source.address, SourceName: s.source.name, SourceRoots: s.source.roots, ApproveSkipped: s.migration.Spec.ApproveSkipped,
		Networks: s.Networks,
	}
	if s.source.own {
		plan.Own = s.source.address
	}
	switch {
	case slot.Phase == calendar.Verify && attempt != "":
		plan.Kind = migration.KindCopyVerify // what was found missing is copied first
	case slot.Phase == calendar.Verify:
		plan.Kind = migration.KindVerify
	}
	if c := s.migration.Spec.Copy; c != nil && c.MaxMessagesPerSecond != nil {
		plan.PerSecond = float64(*c.MaxMessagesPerSecond) / float64(min(s.migration.ParallelOrDefault(), int32(len(list)))) //nolint:gosec // at most 128
	}
	if s.source.ca != nil {
		plan.SourceCA = "ca"
	}
	if slot.Phase == calendar.Verify {
		plan.Old, plan.OldName = s.old()
	}
	for i, m := range list {
		plan.Mailboxes = append(plan.Mailboxes, migration.Mailbox{Address: string(m.Address), Target: targetAddress(string(m.Address), s.migration), Password: strconv.Itoa(i)})
	}
	return plan
}

// start lets a slot's Job run, and records that it does; false when something must be there first.
func (s *scope) start(ctx context.Context, slot calendar.Slot) (bool, error) {
	list, _ := s.mailboxes()
	switch {
	case s.engine == nil:
		return false, nil // TargetReady says why
	case s.listUnknown():
		s.holdUp(v1alpha1.ReasonListUnknown, "the other site closed the list of mailboxes, and this spec lists others; list here those that were listed then, as kubectl describe shows them there")
		return false, nil
	case len(list) == 0:
		return true, s.settle(ctx, slot, recordedDone, entry{Evidence: "no mailbox is listed that was listed when the list closed"})
	case s.migration.DryRun() && slot.Phase != calendar.Copy:
		s.holdUp(v1alpha1.ReasonDryRun, "copy.dryRun is Enabled: the copy passes count and write nothing, and nothing goes beyond them; set it to Disabled to go on")
		return false, nil
	}
	job, err := s.launch(ctx, slot, list, "")
	if err != nil {
		return false, err
	}
	if err := s.record(ctx, slot.Name+recordedRunning, entry{Evidence: "Job " + job.Name}); err != nil {
		return false, err
	}
	s.tellBegun(slot, fmt.Sprintf("Job %s for %d mailboxes", job.Name, len(list)))
	return true, nil
}

// launch makes an attempt's Job unless it is there, grants it its mailboxes, and lets it run.
func (s *scope) launch(ctx context.Context, slot calendar.Slot, list []v1alpha1.MigratedMailbox, attempt string) (*batchv1.Job, error) {
	p := s.jobPlan(slot, list, attempt)
	work := s.workPlan(slot, list, attempt)
	var err error
	if p.Plan, err = json.Marshal(work); err != nil {
		return nil, fmt.Errorf("encoding the plan of %s: %w", p.Slot, err)
	}
	job, err := s.Jobs.Ensure(ctx, p)
	if err != nil {
		return nil, err
	}
	grant := admin.Grant{Write: !work.DryRun, Until: s.Jobs.Now().Add(grantLife)}
	for _, m := range work.Mailboxes {
		grant.Addresses = append(grant.Addresses, m.Target)
	}
	if err := s.engine.PutGrant(ctx, p.Namespace, p.Name(), grant); err != nil {
		return nil, err
	}
	return job, s.Jobs.Suspend(ctx, job, false)
}

// follow looks at a slot's running Job; true when the slot is settled by it.
func (s *scope) follow(ctx context.Context, slot calendar.Slot) (bool, error) {
	list, _ := s.mailboxes()
	attempt, current := "", ""
	if begun := s.ledger.entries[slot.Name+recordedRunning]; begun.Token != s.migration.Token() && slot.Phase != calendar.Copy {
		attempt = s.migration.Token()
	}
	first, err := s.look(ctx, slot, list, "")
	if err != nil || first == nil || !s.over(first, list) {
		return false, err
	}
	state := first
	if attempt != "" && !whole(first) {
		if state, err = s.look(ctx, slot, list, attempt); err != nil || state == nil || !s.over(state, list) {
			return false, err
		}
		current = attempt
	}
	moved, err := s.moved(ctx, slot, current)
	if err != nil {
		return false, err
	}
	o := outcomeOf(*state, moved)
	if slot.Phase != calendar.Copy && !whole(state) {
		s.failed = o.Failed
		s.holdUp(v1alpha1.ReasonMailboxesFailed, explain(o, state.Problem))
		return false, nil
	}
	for _, a := range slices.Compact([]string{"", attempt}) {
		if err := s.revoke(ctx, slot, a); err != nil {
			return false, err
		}
	}
	return true, s.settle(ctx, slot, recordedDone, entry{Outcome: &o, Evidence: fmt.Sprintf(
		"%d of %d mailboxes whole, %d messages, %d added", o.Copied, len(moved), o.Messages, o.Saved)})
}

// over says whether a Job is, and remembers how far it is if not.
func (s *scope) over(state *jobs.State, list []v1alpha1.MigratedMailbox) bool {
	if !state.Over {
		s.far = fmt.Sprintf(" (%d of %d mailboxes are through)", len(state.Succeeded)+len(state.Failed), len(list))
	}
	return state.Over
}

// look reads an attempt's Job, and makes it if it is not there.
func (s *scope) look(ctx context.Context, slot calendar.Slot, list []v1alpha1.MigratedMailbox, attempt string) (*jobs.State, error) {
	job, err := s.Jobs.Find(ctx, s.jobPlan(slot, list, attempt))
	if err != nil {
		return nil, err
	}
	if job == nil || job.Spec.Suspend != nil && *job.Spec.Suspend {
		if s.engine == nil {
			return nil, nil
		}
		if job, err = s.launch(ctx, slot, list, attempt); err != nil {
			return nil, err
		}
	}
	state, err := s.Jobs.Look(ctx, job)
	return &state, err
}

// stop ends a copy pass that the final delta takes over.
func (s *scope) stop(ctx context.Context, slot calendar.Slot) error {
	job, err := s.Jobs.Find(ctx, s.jobPlan(slot, nil, ""))
	if err != nil {
		return err
	}
	if job != nil {
		if err := s.Jobs.Suspend(ctx, job, true); err != nil {
			return err
		}
	}
	if err := s.revoke(ctx, slot, ""); err != nil {
		return err
	}
	return s.settle(ctx, slot, recordedDone, entry{Evidence: "stopped: the final delta copies the rest"})
}

// revoke ends an attempt's grant.
func (s *scope) revoke(ctx context.Context, slot calendar.Slot, attempt string) error {
	if s.engine == nil {
		return nil // it ends by itself
	}
	p := s.jobPlan(slot, nil, attempt)
	return s.engine.PutGrant(ctx, p.Namespace, p.Name(), admin.Grant{})
}

// whole says that a Job did all of its work.
func whole(state *jobs.State) bool { return len(state.Failed) == 0 && state.Problem == "" }

// moved are the addresses of an attempt's indexes, as its pods read them: the spec may have changed since.
func (s *scope) moved(ctx context.Context, slot calendar.Slot, attempt string) ([]string, error) {
	raw, err := s.Jobs.PlanOf(ctx, s.jobPlan(slot, nil, attempt))
	if err != nil {
		return nil, err
	}
	var plan migration.Plan
	if err := json.Unmarshal(raw, &plan); err != nil {
		return nil, fmt.Errorf("reading the plan of %s: %w", slot.Name, err)
	}
	all := make([]string, len(plan.Mailboxes))
	for i, m := range plan.Mailboxes {
		all[i] = m.Address
	}
	return all, nil
}

// withReasons are mailboxes, each with what it failed by.
func withReasons(failed []v1alpha1.FailedMailbox) []string {
	list := make([]string, len(failed))
	for i, f := range failed {
		list[i] = fmt.Sprintf("%s (%s)", f.Address, f.Reason)
	}
	return list
}

// explain says which mailboxes failed and what to do.
func explain(o outcome, problem string) string {
	if problem != "" {
		return "the Job failed: " + problem + "; correct it and set spec.run.token to another value to run again"
	}
	return few(withReasons(o.Failed)) + ": correct what their pods say, then set spec.run.token to another value to run again"
}
