package retentionpolicy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/jobs"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/retention"
)

// mayWrite is how long a restore may add to its mailbox: a job that hangs must not hold that right for days.
const mayWrite = 6 * time.Hour

// restoreMessages puts back what spec.restore asks for, once for each token, at the site that serves the mailbox. It never ends a pass:
// the nightly runs do not wait for it.
func restoreMessages(ctx context.Context, s *scope) (reconcile.Result, error) {
	ask, last := s.policy.Spec.Restore, s.policy.Status.Restore
	var err error
	switch {
	case last != nil && last.State == v1alpha1.RestoreRunning && last.Site == s.Site:
		err = s.followRestore(ctx, last)
	case ask != nil && (last == nil || last.Token != ask.Token || last.Site != s.Site):
		err = s.beginRestore(ctx, ask)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	s.showRestore(ask)
	if last = s.policy.Status.Restore; last != nil && last.State == v1alpha1.RestoreRunning {
		return reconcile.Result{RequeueAfter: recheck}, nil
	}
	return reconcile.Result{}, nil
}

// showRestore is Restored by what is known, unless this pass said more of it.
func (s *scope) showRestore(ask *v1alpha1.Restore) {
	if _, said := s.Said(v1alpha1.ConditionRestored); said || ask == nil {
		return
	}
	switch last := s.policy.Status.Restore; {
	case last == nil: // nothing was begun, and why was said
	case last.State == v1alpha1.RestoreRunning:
		s.False(v1alpha1.ConditionRestored, v1alpha1.ReasonRestoreUnderWay, "restore "+last.Token+" is under way; wait for it, or see its Job")
	case last.State == v1alpha1.RestoreFailed:
		s.False(v1alpha1.ConditionRestored, v1alpha1.ReasonRestoreFailed, fmt.Sprintf(
			"restore %s ended before everything was put back: %s; what is there stays, and another token does what is left", last.Token, last.Message))
	default:
		s.True(v1alpha1.ConditionRestored, v1alpha1.ReasonMessagesRestored, fmt.Sprintf("restore %s put %d messages below %q of %s, and found %d there",
			last.Token, ptr.Deref(last.Restored, 0), last.Into, last.Mailbox, ptr.Deref(last.Present, 0)))
	}
}

// refuse says why no restore is begun. It is looked at again.
func (s *scope) refuse(format string, args ...any) error {
	s.False(v1alpha1.ConditionRestored, v1alpha1.ReasonRestoreRefused, fmt.Sprintf(format, args...))
	return nil
}

// beginRestore lets a Job put messages back, or says what is in the way.
func (s *scope) beginRestore(ctx context.Context, ask *v1alpha1.Restore) error {
	m, err := s.findMailbox(ctx, string(ask.Mailbox))
	if err != nil {
		return err
	}
	if m == nil {
		return s.refuse("there is no Mailbox of the address %s in namespace %s; what was archived of a mailbox that is no more is read from its packages", ask.Mailbox, s.policy.Namespace)
	}
	box, err := s.findDomain(ctx, m.Spec.DomainRef.Name)
	if said, typed := reconcile.Verdict(err); typed {
		return s.refuse("%s", said.Message)
	}
	if err != nil {
		return err
	}
	box.address = m.Address()
	if !s.isOurs(box) {
		if s.peer.there {
			s.policy.Status.Restore = s.peer.restore
		}
		s.False(v1alpha1.ConditionRestored, v1alpha1.ReasonPreferredSiteRestores, "site "+box.site+" is preferred for this mailbox and restores; status.restore is what it reports")
		return nil
	}
	if last := s.policy.Status.Restore; last != nil && last.Token == ask.Token && last.State != v1alpha1.RestoreRunning {
		return nil // the other site did it, while it was preferred
	}
	if lacks, err := s.lookAtDestination(ctx); err != nil || lacks != nil {
		if err == nil {
			err = s.refuse("the archive cannot be read: %s", lacks.message)
		}
		return err
	}
	work := giveBackOf(s.policy, ask, box)
	plan, err := s.restoreJob(slotOf(ask), &work)
	if err != nil {
		return err
	}
	job, err := s.Jobs.Ensure(ctx, plan)
	if err != nil {
		return s.unlessForeign(err)
	}
	if ptr.Deref(job.Spec.Suspend, false) { // the grant comes first, so that no pod starts that is not let in
		if err := s.grant(ctx, work.Mailbox.Host, plan, admin.Grant{Addresses: []string{box.address}, Write: true, Until: s.Now.Add(mayWrite)}); err != nil {
			return s.refuse("its Job cannot be let in to the store: %s", engines.Why(err))
		}
	}
	if err := s.Jobs.Suspend(ctx, job, false); err != nil {
		return err
	}
	s.policy.Status.Restore = &v1alpha1.RestoreStatus{Token: ask.Token, Site: s.Site, Slot: plan.Slot, Mailbox: ask.Mailbox, Into: work.Into,
		State: v1alpha1.RestoreRunning, BegunAt: metav1.NewTime(s.Now.Truncate(time.Second))}
	return nil
}

// findMailbox is the Mailbox of an address in the policy's namespace, nil when there is none.
func (s *scope) findMailbox(ctx context.Context, address string) (*v1alpha1.Mailbox, error) {
	var all v1alpha1.MailboxList
	if err := s.Client.List(ctx, &all, client.InNamespace(s.policy.Namespace)); err != nil {
		return nil, fmt.Errorf("looking for the mailbox %s: %w", address, err)
	}
	for i := range all.Items {
		if m := &all.Items[i]; m.DeletionTimestamp.IsZero() && strings.EqualFold(m.Address(), address) {
			return m, nil
		}
	}
	return nil, nil
}

// followRestore records what came of the restore that is under way. Its Job is retired only then: a crash in between must find it.
func (s *scope) followRestore(ctx context.Context, last *v1alpha1.RestoreStatus) error {
	plan, err := s.restoreJob(last.Slot, nil)
	if err != nil {
		return err
	}
	job, err := s.Jobs.Find(ctx, plan)
	if err != nil {
		return s.unlessForeign(err)
	}
	if job == nil {
		last.State, last.Message = v1alpha1.RestoreFailed, "its Job was removed"
		return nil
	}
	state, err := s.Jobs.Look(ctx, job)
	if err != nil || !state.Over {
		return err
	}
	raw, err := s.Jobs.PlanOf(ctx, plan)
	if err != nil {
		return err
	}
	var made retention.GiveBackPlan
	if err := json.Unmarshal(raw, &made); err != nil {
		return fmt.Errorf("reading the plan of Job %s/%s: %w", plan.Namespace, plan.Name(), err)
	}
	recordRestore(last, state)
	_ = s.grant(ctx, made.Mailbox.Host, plan, admin.Grant{}) // it ends by itself where the engine does not answer
	return s.Jobs.Retire(ctx, plan, job)
}

// recordRestore turns what a Job's one index said into the status. Pure.
func recordRestore(last *v1alpha1.RestoreStatus, state jobs.State) {
	said := state.Results[0]
	var done retention.GivenBack
	err := json.Unmarshal(said.Data, &done)
	last.State, last.Restored, last.Present = v1alpha1.RestoreDone, ptr.To(int64(done.Added)), ptr.To(int64(done.Existed))
	if done.Manifest != "" {
		last.Manifest = &v1alpha1.ManifestStatus{Digest: done.Digest, Location: done.Manifest}
	}
	switch {
	case said.Reason != "":
		last.State, last.Message = v1alpha1.RestoreFailed, reconcile.Cut(said.Reason+": "+said.Message, maxRestoreMessage)
	case state.Problem != "":
		last.State, last.Message = v1alpha1.RestoreFailed, reconcile.Cut(state.Problem, maxRestoreMessage)
	case err != nil:
		last.State, last.Message = v1alpha1.RestoreFailed, "its result was lost with its pod"
	}
}

// maxRestoreMessage is what the schema takes.
const maxRestoreMessage = 512

// slotOf names a request's Job: another request has another one, whatever its token.
func slotOf(ask *v1alpha1.Restore) string {
	raw, _ := json.Marshal(ask) // strings always encode
	sum := sha256.Sum256(raw)
	return "restore-" + hex.EncodeToString(sum[:8])
}

// restoreJob is the Job of a restore; without work it serves to find one.
func (s *scope) restoreJob(slot string, work *retention.GiveBackPlan) (jobs.Plan, error) {
	plan := s.policyJob(slot, "give-back")
	plan.Mailboxes, plan.Parallel = 1, 1
	if work != nil {
		raw, err := json.Marshal(work)
		if err != nil {
			return plan, fmt.Errorf("encoding the plan of %s: %w", slot, err)
		}
		plan.Plan = raw
	}
	return plan, nil
}

// giveBackOf is the plan of a restore. Pure.
func giveBackOf(p *v1alpha1.RetentionPolicy, ask *v1alpha1.Restore, box mailbox) retention.GiveBackPlan {
	plan := retention.GiveBackPlan{Mailbox: retention.MailboxPlan{Address: box.address, Engine: box.engine, Host: box.host.String()}, Into: ask.IntoOrDefault()}
	if w := ask.Messages; w != nil {
		plan.Wanted = retention.Wanted{SHA256: w.SHA256, Identifier: w.Identifier, MessageID: w.MessageID, Folder: w.Folder,
			From: startOf(w.ArrivedFrom, 0), Before: startOf(w.ArrivedUntil, 1)}
	}
	if s3 := p.Spec.Archive.Destination.S3; s3 != nil {
		plan.S3 = &retention.S3{Endpoint: string(s3.Endpoint), Bucket: s3.Bucket, Prefix: s3.Prefix, Region: s3.Region}
	}
	return plan
}

// startOf is when a day, or one that many days later, begins in Rome, UTC; zero for no date.
func startOf(date v1alpha1.Date, later int) time.Time {
	at, err := time.ParseInLocation(time.DateOnly, string(date), pec.Rome())
	if err != nil {
		return time.Time{} // not given, or not a day, which the API server refuses
	}
	return at.AddDate(0, 0, later).UTC()
}
