package retentionpolicy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/jobs"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/retention"
)

const (
	// parallel is how many mailboxes are archived at once: a volume that one node mounts and a store that serves people bear no more.
	parallel = 2
	// granted is how long a run may take; what is left then the next one does.
	granted = 7 * 24 * time.Hour
)

// keepSchedule does what the calendar says, and shows where the runs stand.
func keepSchedule(ctx context.Context, s *scope) (reconcile.Result, error) {
	if s.idle() {
		s.policy.Status.NextRun = nil
		if !s.running() {
			return reconcile.Result{}, nil
		}
		return reconcile.Result{RequeueAfter: recheck}, s.follow(ctx) // begun in the place of the site that is back
	}
	var err error
	if s.schedule, err = scheduleOf(s.policy.ScheduleOrDefault()); err != nil {
		return reconcile.Result{}, reconcile.Stalled(v1alpha1.ConditionArchiving, v1alpha1.ReasonScheduleInvalid, err.Error())
	}
	if err := s.follow(ctx); err != nil {
		return reconcile.Result{}, err
	}
	outlook := s.outlook()
	for _, action := range outlook.Actions {
		if err := s.act(ctx, action); err != nil {
			return reconcile.Result{}, err
		}
	}
	s.showRuns()
	return reconcile.Result{RequeueAfter: s.pause(outlook)}, nil
}

func (s *scope) outlook() calendar.Outlook {
	since, done := ledger(s.policy.Status.Runs, s.policy.CreationTimestamp.Time, s.Now)
	return s.schedule.Next(since, s.Now, done)
}

func (s *scope) running() bool {
	return slices.ContainsFunc(s.policy.Status.Runs, func(r v1alpha1.RetentionRun) bool { return r.State == v1alpha1.RunRunning })
}

// pause is how long nothing can be due.
func (s *scope) pause(o calendar.Outlook) time.Duration {
	switch until := o.LookAgain.Sub(s.Now); {
	case s.running() || len(o.Actions) > 0:
		return recheck
	case !o.LookAgain.IsZero() && until < longest:
		return max(until, time.Second)
	}
	return longest
}

// act starts a run, or records that one was missed. A run whose Job is there was begun, whatever was recorded.
func (s *scope) act(ctx context.Context, action calendar.Action) error {
	run := v1alpha1.RetentionRun{Name: action.Slot.Name, At: metav1.NewTime(action.Slot.At), State: v1alpha1.RunMissed}
	plan, err := s.runJob(run, runPlan(s.policy, run.At.Time, s.work))
	if err != nil {
		return err
	}
	job, err := s.Jobs.Find(ctx, plan)
	if err == nil && job == nil && action.Do == calendar.Start {
		job, err = s.Jobs.Ensure(ctx, plan)
	}
	if err != nil {
		return s.unlessForeign(err)
	}
	if job != nil {
		if err := s.release(ctx, plan, job); err != nil {
			return err
		}
		run.State, run.Mailboxes = v1alpha1.RunRunning, job.Spec.Completions
	}
	s.policy.Status.Runs = record(s.policy.Status.Runs, run)
	return nil
}

func (s *scope) unlessForeign(err error) error {
	if errors.Is(err, jobs.ErrForeign) {
		return reconcile.Waiting(recheck, v1alpha1.ConditionArchiving, v1alpha1.ReasonRunFailed, err.Error())
	}
	return err
}

// release lets a Job run: first its grants, so that no pod starts that is not let in.
func (s *scope) release(ctx context.Context, plan jobs.Plan, job *batchv1.Job) error {
	if !ptr.Deref(job.Spec.Suspend, false) {
		return nil
	}
	made, err := s.readRunPlan(ctx, plan)
	if err != nil {
		return err
	}
	byHost := map[string][]string{}
	for _, m := range made.Mailboxes {
		byHost[m.Host] = append(byHost[m.Host], m.Address)
	}
	for host, addresses := range byHost {
		if err := s.grant(ctx, host, plan, admin.Grant{Addresses: addresses, Until: s.Now.Add(granted)}); err != nil {
			return reconcile.Waiting(recheck, v1alpha1.ConditionArchiving, v1alpha1.ReasonEngineUnreachable,
				"the run waits, because its Job cannot be let in to the store: "+engines.Why(err))
		}
	}
	return s.Jobs.Suspend(ctx, job, false)
}

func (s *scope) grant(ctx context.Context, host string, plan jobs.Plan, g admin.Grant) error {
	namespace, name, _ := strings.Cut(host, "/")
	return s.Engines.For(engines.First(types.NamespacedName{Namespace: namespace, Name: name})).PutGrant(ctx, plan.Namespace, plan.Name(), g)
}

// follow sees how far the runs that are under way have come, and records those that are over.
func (s *scope) follow(ctx context.Context) error {
	for _, run := range slices.Clone(s.policy.Status.Runs) {
		if run.State != v1alpha1.RunRunning {
			continue
		}
		plan, err := s.runJob(run, retention.Plan{})
		if err != nil {
			return err
		}
		job, err := s.Jobs.Find(ctx, plan)
		if err != nil {
			return s.unlessForeign(err)
		}
		if job == nil { // somebody removed it: the next run does what is left
			run.State, run.Failed = v1alpha1.RunFailed, run.Mailboxes
			s.policy.Status.Runs = record(s.policy.Status.Runs, run)
			continue
		}
		if s.schedule.Windows.Open(s.Now) { // a crash may have come between making a Job and letting it run
			if err := s.release(ctx, plan, job); err != nil {
				return err
			}
		}
		if err := s.settle(ctx, run, plan, job); err != nil {
			return err
		}
	}
	return nil
}

// settle records what came of a run that is over. It is retired only then: a crash in between must find it.
func (s *scope) settle(ctx context.Context, run v1alpha1.RetentionRun, plan jobs.Plan, job *batchv1.Job) error {
	state, err := s.Jobs.Look(ctx, job)
	if err != nil || !state.Over {
		return err
	}
	made, err := s.readRunPlan(ctx, plan)
	if err != nil {
		return err
	}
	outcome := outcomeOf(made, state)
	run.State, run.Mailboxes, run.Archived = v1alpha1.RunDone, ptr.To(int32(len(made.Mailboxes))), ptr.To(outcome.archived)
	if len(outcome.failed) > 0 {
		run.State, run.Failed = v1alpha1.RunFailed, ptr.To(int32(len(outcome.failed)))
		s.False(v1alpha1.ConditionArchiving, v1alpha1.ReasonRunFailed, outcome.sentence(run.Name))
	}
	status := &s.policy.Status
	status.Runs = record(status.Runs, run)
	if s.archives {
		status.LastRun = ptr.To(run.At)
	}
	if len(outcome.failed) == 0 {
		if s.archives {
			s.showArchived(ptr.To(outcome.messages))
		}
		if s.policy.Spec.Remove != nil {
			count, digest := retention.Combine(outcome.results)
			status.DueForRemoval = &v1alpha1.DueForRemoval{Run: run.Name, Count: &count, Digest: digest, Mailboxes: retention.Marks(outcome.results)}
		}
	}
	for _, m := range made.Mailboxes {
		_ = s.grant(ctx, m.Host, plan, admin.Grant{}) // it ends by itself where the engine does not answer
	}
	return s.Jobs.Retire(ctx, plan, job)
}

// outcome is what came of a run.
type outcome struct {
	results            []retention.Result
	archived, messages int64
	failed             []string // addresses, each with the reason
}

// outcomeOf turns what a Job's indexes said into mailboxes. Pure.
func outcomeOf(made retention.Plan, state jobs.State) (o outcome) {
	for i, m := range made.Mailboxes {
		said := state.Results[i]
		var result retention.Result
		err := json.Unmarshal(said.Data, &result)
		if err == nil {
			o.results = append(o.results, result)
			o.archived += result.Archived
			o.messages += result.Messages
		}
		switch {
		case said.Reason != "":
			o.failed = append(o.failed, m.Address+" ("+said.Reason+": "+said.Message+")")
		case state.Problem != "" && !slices.Contains(state.Succeeded, i):
			o.failed = append(o.failed, m.Address+" ("+state.Problem+")")
		case err != nil:
			o.failed = append(o.failed, m.Address+" (its result was lost with its pod)")
		}
	}
	return o
}

func (o outcome) sentence(run string) string {
	return fmt.Sprintf("%s ended without %d mailboxes, which the next run takes up: %s", run, len(o.failed), reconcile.FirstOf(o.failed, 5, "; "))
}

// showRuns is Archiving by the newest run, unless this pass said more of it, and the time of the next.
func (s *scope) showRuns() {
	status := &s.policy.Status
	status.NextRun = nil
	for _, slot := range s.outlook().Slots {
		if slot.Slot.At.After(s.Now) {
			status.NextRun = ptr.To(metav1.NewTime(slot.Slot.At))
			break
		}
	}
	if _, said := s.Said(v1alpha1.ConditionArchiving); said {
		return
	}
	if len(status.Runs) == 0 {
		s.True(v1alpha1.ConditionArchiving, v1alpha1.ReasonAwaitingFirstRun, "no run was due yet; status.nextRun has the time of the first")
		return
	}
	run := status.Runs[0]
	if !s.archives && (run.State == v1alpha1.RunRunning || run.State == v1alpha1.RunDone) {
		s.True(v1alpha1.ConditionArchiving, v1alpha1.ReasonPreferredSiteArchives, s.whoArchives())
		return
	}
	switch run.State {
	case v1alpha1.RunRunning:
		s.True(v1alpha1.ConditionArchiving, v1alpha1.ReasonRunUnderWay, run.Name+" is under way")
	case v1alpha1.RunDone:
		s.True(v1alpha1.ConditionArchiving, v1alpha1.ReasonArchived, run.Name+" did the work on every mailbox")
	case v1alpha1.RunMissed:
		s.False(v1alpha1.ConditionArchiving, v1alpha1.ReasonRunMissed, run.Name+" did not begin before the next was due, which does its work; see whether the operator ran, and whether the windows are long enough")
	case v1alpha1.RunFailed:
		s.False(v1alpha1.ConditionArchiving, v1alpha1.ReasonRunFailed, s.before(run.Name))
	}
}

// before is what was said of a failed run when it ended: its pods may be gone.
func (s *scope) before(run string) string {
	for _, c := range s.policy.Status.Conditions {
		if c.Type == v1alpha1.ConditionArchiving && c.Reason == v1alpha1.ReasonRunFailed {
			return c.Message
		}
	}
	return run + " ended without some mailboxes, which the next run takes up; see its Job"
}

// runJob is the Job of a run.
func (s *scope) runJob(run v1alpha1.RetentionRun, work retention.Plan) (jobs.Plan, error) {
	raw, err := json.Marshal(work)
	if err != nil {
		return jobs.Plan{}, fmt.Errorf("encoding the plan of %s: %w", run.Name, err)
	}
	plan := s.policyJob(run.Name, "archive")
	plan.Plan, plan.Mailboxes, plan.Parallel = raw, int32(len(work.Mailboxes)), parallel //nolint:gosec // no cluster has as many
	return plan, nil
}

// policyJob is a Job that reaches the policy's archive, and has no work yet.
func (s *scope) policyJob(slot, command string) jobs.Plan {
	plan := jobs.Plan{
		Owner:     metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "RetentionPolicy", Name: s.policy.Name, UID: s.policy.UID},
		Namespace: s.policy.Namespace, Slot: slot, Image: s.Image, Arguments: []string{"retain", command},
	}
	if s.policy.Spec.Archive != nil {
		plan.Sources = sourcesOf(s.policy)
		if claim := s.policy.Spec.Archive.Destination.VolumeClaim; claim != nil {
			plan.Claim = claim.Name
		}
	}
	return plan
}

// readRunPlan reads the plan that a run's Job was made with: its indexes mean the mailboxes of that one.
func (s *scope) readRunPlan(ctx context.Context, plan jobs.Plan) (made retention.Plan, err error) {
	raw, err := s.Jobs.PlanOf(ctx, plan)
	if err != nil {
		return made, err
	}
	if err := json.Unmarshal(raw, &made); err != nil {
		return made, fmt.Errorf("reading the plan of Job %s/%s: %w", plan.Namespace, plan.Name(), err)
	}
	return made, nil
}

// sourcesOf are the keys that a run's pods read.
func sourcesOf(p *v1alpha1.RetentionPolicy) []jobs.Source {
	s3 := p.Spec.Archive.Destination.S3
	if s3 == nil {
		return nil
	}
	keys := s3.CredentialsSecretRef.SecretName
	sources := []jobs.Source{
		{File: retention.KeyIDFile, Secret: keys, Key: "accessKeyID"},
		{File: retention.SecretFile, Secret: keys, Key: "secretAccessKey"},
	}
	if s3.CASecretRef != nil {
		sources = append(sources, jobs.Source{File: retention.RootsFile, Secret: s3.CASecretRef.SecretName, Key: "ca.crt"})
	}
	return sources
}
