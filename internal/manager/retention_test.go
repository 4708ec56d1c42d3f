package manager_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/jobs/worker"
	"github.com/pec-operator/pec-operator/internal/manager"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/retention"
)

// archived is an operator with a policy over two mailboxes, on a clock of its own, and a stand-in for the kubelet.
type archived struct {
	*site
	clock  *clock
	policy *v1alpha1.RetentionPolicy
	first  time.Time // the day before the first run's, on the wall in Rome
	pokes  int
}

func newArchived(t *testing.T, ns string, o siteOptions, change ...func(*v1alpha1.RetentionPolicy)) *archived {
	t.Helper()
	c := &clock{now: time.Now()}
	server := apitest.Need(t, server)
	server.RunControllers(t, "job-controller", "garbage-collector-controller")
	further := o.change
	o.change = func(m *manager.Options) {
		if m.Calendar = c.Now; further != nil {
			further(m)
		}
	}
	a := &archived{site: newSite(t, ns, o), clock: c}
	domain := a.makeDomain()
	a.provide(t)
	a.create(t, domain, password(ns, canary), makeMailbox(ns, "anna", a.domain), makeMailbox(ns, "bruno", a.domain))
	a.waitFor(t, domain, v1alpha1.ConditionDirectoryInSync, metav1.ConditionTrue, v1alpha1.ReasonDomainPlaced)
	a.policy = ordinary(ns, a.domain, "ordinary", "archive")
	for _, f := range change {
		f(a.policy)
	}
	a.first = c.now.In(pec.Rome())
	if a.first.Format("15:04") < "03:30" {
		a.first = a.first.AddDate(0, 0, -1) // this day's run is the first that a policy of now owes
	}
	a.create(t, a.policy)
	return a
}

func removing(p *v1alpha1.RetentionPolicy) {
	p.Spec.Remove = &v1alpha1.Removal{AfterArchiveDays: ptr.To(int32(30)), When: v1alpha1.RemoveArchived}
}

// ordinary is a policy over the mailboxes of a domain, that archives into a claim by night.
func ordinary(ns, domain, name, claim string) *v1alpha1.RetentionPolicy {
	return &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: v1alpha1.RetentionPolicySpec{
			Mailboxes: v1alpha1.RetainedMailboxes{Type: v1alpha1.RetainedOfDomain, DomainRef: &v1alpha1.LocalReference{Name: domain}},
			Archive: &v1alpha1.Archive{OlderThanDays: ptr.To(int32(90)), Destination: v1alpha1.ArchiveDestination{
				Type: v1alpha1.ArchiveToVolumeClaim, VolumeClaim: &v1alpha1.LocalReference{Name: claim}}},
			Schedule: &v1alpha1.RetentionSchedule{At: "03:30", TimeZone: "Europe/Rome", Windows: []v1alpha1.Window{{Opens: "03:00", Closes: "05:00"}}},
		},
	}
}

// archive is the claim that it names.
func archive(ns string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "archive"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

func (a *archived) claim(t *testing.T) {
	t.Helper()
	a.create(t, archive(a.ns))
}

// slot is the name of the run of a day.
func (a *archived) slot(day int) string {
	return "run-" + a.first.AddDate(0, 0, day).Format("20060102")
}

// at sets the operator's clock.
func (a *archived) at(day int, wall string) {
	parsed, err := time.Parse("15:04", wall)
	if err != nil {
		panic(err) // written in a test
	}
	date := a.first.AddDate(0, 0, day)
	a.clock.set(time.Date(date.Year(), date.Month(), date.Day(), parsed.Hour(), parsed.Minute(), 0, 0, pec.Rome()))
}

// look asks for a pass at a time, and waits until it was made.
func (a *archived) look(t *testing.T, day int, wall string) *v1alpha1.RetentionPolicyStatus {
	t.Helper()
	a.at(day, wall)
	a.pokes++
	ask := fmt.Sprint("look-", a.pokes)
	update(t, a.site, a.policy, func(p *v1alpha1.RetentionPolicy) {
		p.Annotations = map[string]string{v1alpha1.ReconcileRequestedAnnotation: ask}
	})
	eventually(t, func() error {
		if err := a.Get(context.Background(), client.ObjectKeyFromObject(a.policy), a.policy); err != nil {
			return err
		}
		if a.policy.Status.LastHandledReconcileAt != ask {
			return fmt.Errorf("the request was not answered: %+v", a.policy.Status)
		}
		return nil
	})
	return &a.policy.Status
}

// runs is the list of runs, newest first.
func (a *archived) runs(status *v1alpha1.RetentionPolicyStatus) string {
	var list []string
	for _, r := range status.Runs {
		list = append(list, r.Name+" "+string(r.State))
	}
	return strings.Join(list, ", ")
}

// wantRuns compares the newest runs with days and states.
func (a *archived) wantRuns(t *testing.T, status *v1alpha1.RetentionPolicyStatus, want ...any) {
	t.Helper()
	var list []string
	for i := 0; i < len(want); i += 2 {
		list = append(list, fmt.Sprint(a.slot(want[i].(int)), " ", want[i+1]))
	}
	if got := a.runs(status); got != strings.Join(list, ", ") {
		t.Fatalf("at %s the runs are %q, want %q", a.clock.Now(), got, list)
	}
}

func (a *archived) jobs(t *testing.T) []batchv1.Job {
	t.Helper()
	var list batchv1.JobList
	if err := a.List(context.Background(), &list, client.InNamespace(a.ns)); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func (a *archived) job(t *testing.T, slot string) *batchv1.Job {
	t.Helper()
	for _, job := range a.jobs(t) {
		if job.Annotations["pec-operator.dev/job-slot"] == slot {
			return &job
		}
	}
	t.Fatalf("%s has no Job", slot)
	return nil
}

// end lets the pods of a run's Job end, as a kubelet reports it, and waits until the Job controller has seen all.
func (a *archived) end(t *testing.T, slot string, due int64, failing ...int) {
	t.Helper()
	job := a.job(t, slot)
	addresses := []string{"anna@" + a.domain, "bruno@" + a.domain}
	eventually(t, func() error {
		var pods corev1.PodList
		if err := a.List(context.Background(), &pods, client.InNamespace(a.ns), client.MatchingLabels{batchv1.JobNameLabel: job.Name}); err != nil {
			return err
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			index, _ := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
			if pod.Status.Phase != corev1.PodPending {
				continue
			}
			result := worker.Result{Index: index}
			pod.Status.Phase = corev1.PodSucceeded
			exit := int32(0)
			if len(failing) > 0 && failing[0] == index {
				pod.Status.Phase, exit = corev1.PodFailed, worker.ExitPerson
				result.Reason, result.Message = "ArchiveDamaged", "a package is not as it was written"
			} else {
				r := retention.Result{Address: addresses[index], Messages: 10, Archived: 2}
				if due > 0 {
					r.Due = retention.DueResult{Count: due, Digest: retention.DueDigest([]string{"x"})}
				}
				result.Data, _ = json.Marshal(r)
			}
			raw, _ := json.Marshal(result)
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "job", Image: "x", State: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{ExitCode: exit, Message: string(raw)}}}}
			if err := a.Status().Update(context.Background(), pod); err != nil {
				return err
			}
		}
		a.get(t, a.ns, job.Name, job)
		for _, c := range job.Status.Conditions {
			if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return errors.New("the Job is not over")
	})
}

func TestARunOfEachDayIsDoneOnceOrShownAsMissed(t *testing.T) {
	a := newArchived(t, "giorni", siteOptions{}, removing, func(p *v1alpha1.RetentionPolicy) {
		p.Spec.Offload = &v1alpha1.Offload{Type: v1alpha1.OffloadToVolumeClaim, VolumeClaim: &v1alpha1.LocalReference{Name: "protocol"}, Acknowledgement: v1alpha1.AcknowledgementRequired}
	})
	a.waitFor(t, a.policy, v1alpha1.ConditionArchiving, metav1.ConditionFalse, v1alpha1.ReasonDestinationMissing)
	a.claim(t)
	if status := a.look(t, 1, "02:00"); len(status.Runs) > 0 || status.NextRun == nil || *status.Selected != 2 {
		t.Fatalf("before the first run: %+v", status)
	}
	a.waitFor(t, a.policy, v1alpha1.ConditionArchiving, metav1.ConditionTrue, v1alpha1.ReasonAwaitingFirstRun)

	a.wantRuns(t, a.look(t, 1, "03:31"), 1, "Running")
	job := a.job(t, a.slot(1))
	if *job.Spec.Suspend || *job.Spec.Completions != 2 {
		t.Errorf("in its window the Job is suspended (%t), with %d indexes", *job.Spec.Suspend, *job.Spec.Completions)
	}
	a.pods.With(t, a.domain, func(e *apitest.Engine) {
		if g := e.Grants[a.ns+"/"+job.Name]; len(g.Addresses) != 2 || g.Write {
			t.Errorf("granted %+v", g)
		}
	})
	a.waitFor(t, a.policy, v1alpha1.ConditionArchiving, metav1.ConditionTrue, v1alpha1.ReasonRunUnderWay)
	a.wantRuns(t, a.look(t, 1, "06:00"), 1, "Running") // the window is closed, what runs runs on
	a.end(t, a.slot(1), 3)
	status := a.look(t, 1, "06:01")
	a.wantRuns(t, status, 1, "Done")
	if *status.Archived != 20 || *status.AwaitingAcknowledgement != 20 || *status.DueForRemoval.Count != 6 || len(status.DueForRemoval.Sites) != 1 || status.DueForRemoval.Sites[0] != "a" {
		t.Errorf("after the run: %+v, due %+v", status, status.DueForRemoval)
	}
	a.pods.With(t, a.domain, func(e *apitest.Engine) {
		if g := e.Grants[a.ns+"/"+job.Name]; len(g.Addresses) != 0 {
			t.Errorf("after the run it is still granted %+v", g)
		}
	})
	config := &corev1.ConfigMap{}
	a.get(t, a.ns, job.Name, config)
	if job = a.job(t, a.slot(1)); job.Spec.TTLSecondsAfterFinished == nil || len(config.OwnerReferences) != 1 || config.OwnerReferences[0].UID != job.UID {
		t.Errorf("nothing removes the Job, or its plan is not removed with it: %v, %v", job.Spec.TTLSecondsAfterFinished, config.OwnerReferences)
	}
	a.waitFor(t, a.policy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonServed)
	a.waitFor(t, a.policy, v1alpha1.ConditionNotInForce, metav1.ConditionTrue, v1alpha1.ReasonFieldsStored)

	// One mailbox fails; the next run takes it up. Nobody looks for three nights. One night is looked at when its window is over.
	a.wantRuns(t, a.look(t, 2, "03:35"), 2, "Running", 1, "Done")
	a.end(t, a.slot(2), 0, 1)
	a.wantRuns(t, a.look(t, 2, "04:00"), 2, "Failed", 1, "Done")
	if c := a.waitFor(t, a.policy, v1alpha1.ConditionArchiving, metav1.ConditionFalse, v1alpha1.ReasonRunFailed); !strings.Contains(c.Message, "bruno@"+a.domain) {
		t.Errorf("Archiving says %q", c.Message)
	}
	a.wantRuns(t, a.look(t, 6, "03:40"), 6, "Running", 5, "Missed", 4, "Missed", 3, "Missed", 2, "Failed", 1, "Done")
	a.end(t, a.slot(6), 0)
	a.wantRuns(t, a.look(t, 6, "04:00"), 6, "Done", 5, "Missed", 4, "Missed", 3, "Missed", 2, "Failed", 1, "Done")
	a.wantRuns(t, a.look(t, 7, "05:10"), 6, "Done", 5, "Missed", 4, "Missed", 3, "Missed", 2, "Failed", 1, "Done")
	a.wantRuns(t, a.look(t, 8, "03:05"), 7, "Running", 6, "Done", 5, "Missed", 4, "Missed", 3, "Missed", 2, "Failed", 1, "Done")
	if n := len(a.jobs(t)); n != 4 {
		t.Errorf("%d Jobs were made, for four runs that began", n)
	}
}

func TestALostStatusStartsNothingTwice(t *testing.T) {
	a := newArchived(t, "perso", siteOptions{})
	a.claim(t)
	a.look(t, 1, "03:31")
	a.end(t, a.slot(1), 0)
	a.wantRuns(t, a.look(t, 1, "03:40"), 1, "Done")
	a.look(t, 2, "03:31")
	before := a.job(t, a.slot(2)).UID
	eventually(t, func() error {
		a.get(t, a.ns, a.policy.Name, a.policy)
		a.policy.Status = v1alpha1.RetentionPolicyStatus{ObservedGeneration: -1}
		return a.Status().Update(context.Background(), a.policy)
	})
	a.look(t, 2, "03:32")
	a.wantRuns(t, a.look(t, 2, "03:33"), 2, "Running", 1, "Done")
	if len(a.jobs(t)) != 2 || a.job(t, a.slot(2)).UID != before {
		t.Error("the run of the day was begun twice")
	}
	a.settle(t)
	a.at(2, "03:34")
	passed(t, a.policy, func() { a.request(t, a.policy, "") }) // a pass that answers nothing
	for _, call := range a.writes.Take() {
		if strings.Contains(call, "retentionpolicies") || strings.Contains(call, "jobs") {
			t.Errorf("a quiet pass wrote: %s", call)
		}
	}
}

func TestALegalHoldLeavesNothingDue(t *testing.T) {
	a := newArchived(t, "fermo", siteOptions{}, removing)
	a.claim(t)
	a.look(t, 1, "03:31")
	a.end(t, a.slot(1), 3)
	if status := a.look(t, 1, "03:40"); status.DueForRemoval == nil {
		t.Fatal("nothing is due before the hold")
	}
	anna := makeMailbox(a.ns, "anna", a.domain)
	update(t, a.site, anna, func(m *v1alpha1.Mailbox) {
		m.Spec.LegalHolds = []v1alpha1.LegalHold{{Reference: "RG 123/2026", Since: "2026-03-01"}}
	})
	c := a.waitFor(t, a.policy, v1alpha1.ConditionHoldsRespected, metav1.ConditionTrue, v1alpha1.ReasonHoldsInForce)
	if !strings.Contains(c.Message, "RG 123/2026 on anna@") {
		t.Errorf("HoldsRespected says %q", c.Message)
	}
	if status := a.look(t, 1, "03:41"); status.DueForRemoval != nil || *status.Holds != 1 {
		t.Errorf("under a hold: %+v, %d holds", status.DueForRemoval, *status.Holds)
	}
	a.look(t, 2, "03:31")
	config := &corev1.ConfigMap{}
	a.get(t, a.ns, a.job(t, a.slot(2)).Name, config)
	var plan retention.Plan
	if err := json.Unmarshal([]byte(config.Data[worker.PlanFile]), &plan); err != nil {
		t.Fatal(err)
	}
	if !plan.Mailboxes[0].Held || plan.Mailboxes[1].Held {
		t.Errorf("the plan holds %+v", plan.Mailboxes)
	}
}

// gone waits until a Job, and what was made with it, are no more.
func (s *site) gone(t *testing.T, job *batchv1.Job) {
	t.Helper()
	for _, o := range []client.Object{&batchv1.Job{}, &corev1.ConfigMap{}, &corev1.Secret{}} {
		eventuallyWithin(t, time.Minute, func() error { // a collector that has just started learns the kinds first
			if err := s.Get(context.Background(), client.ObjectKeyFromObject(job), o); !apierrors.IsNotFound(err) {
				return fmt.Errorf("%T is there still: %w", o, err)
			}
			return nil
		})
	}
}

func TestADeletedPolicyTakesItsJobsWithIt(t *testing.T) {
	a := newArchived(t, "cancella", siteOptions{}, func(p *v1alpha1.RetentionPolicy) {
		p.Spec.Restore = &v1alpha1.Restore{Token: "r1", Mailbox: "anna@pec.cancella.test"}
	})
	a.claim(t)
	status := a.look(t, 1, "03:31")
	run, restore := a.job(t, a.slot(1)), a.job(t, status.Restore.Slot)
	if err := a.Delete(context.Background(), a.policy); err != nil {
		t.Fatal(err)
	}
	a.gone(t, run)
	a.gone(t, restore)
	claim := &corev1.PersistentVolumeClaim{}
	if a.get(t, a.ns, "archive", claim); !claim.DeletionTimestamp.IsZero() {
		t.Error("the archive's claim is being deleted")
	}
}

// dueList is what a site shows when as much is due of each mailbox, as [archived.end] lets its pods report it.
func (a *archived) dueList(slot, site string, due ...int64) *v1alpha1.DueForRemoval {
	var results []retention.Result
	for i, n := range due {
		results = append(results, retention.Result{Address: []string{"anna@", "bruno@"}[i] + a.domain, Due: retention.DueResult{Count: n, Digest: retention.DueDigest([]string{"x"})}})
	}
	count, digest := retention.Combine(results)
	return &v1alpha1.DueForRemoval{Run: slot, Count: &count, Digest: digest, Mailboxes: retention.Marks(results), Sites: []string{site}}
}

// The domain prefers site a, by the preference of its MX; here works site b, and a is an API server that shows what a reported.
func TestBothSitesListWhatIsDueAndOneArchives(t *testing.T) {
	apitest.Need(t, server)
	first, err := apitest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = first.Stop() })
	b := newArchived(t, "guarda", siteOptions{name: "b", peer: first.AddPeer(t, "peer-guarda")}, removing)
	c, err := client.New(first.Config, client.Options{Scheme: manager.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	there := &site{Client: c}
	policy := &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: b.ns, Name: b.policy.Name}, Spec: b.policy.Spec}
	there.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: b.ns}}, policy)
	reports := func(due *v1alpha1.DueForRemoval) {
		t.Helper()
		policy.Status.Archived, policy.Status.DueForRemoval = ptr.To(int64(70)), due
		if err := c.Status().Update(context.Background(), policy); err != nil {
			t.Fatal(err)
		}
	}
	// sees looks until it sees what it should: the other site is asked through a connection that is made first.
	sees := func(day int, wall, condition, reason string, sites ...string) *v1alpha1.RetentionPolicyStatus {
		t.Helper()
		var status *v1alpha1.RetentionPolicyStatus
		eventually(t, func() error {
			status = b.look(t, day, wall)
			var held []string
			if status.DueForRemoval != nil {
				held = status.DueForRemoval.Sites
			}
			for _, name := range []string{v1alpha1.ConditionWaitingForPeer, v1alpha1.ConditionDisputed} {
				said := ""
				if c := meta.FindStatusCondition(status.Conditions, name); c != nil {
					said = c.Reason
				}
				if want := map[bool]string{true: reason}[name == condition]; said != want {
					return fmt.Errorf("%s is %q, want %q: %+v", name, said, want, status)
				}
			}
			if !slices.Equal(held, sites) {
				return fmt.Errorf("the list is held by %q, want %q", held, sites)
			}
			return nil
		})
		return status
	}
	reports(b.dueList(b.slot(1), "a", 3, 3))
	sees(1, "03:00", v1alpha1.ConditionWaitingForPeer, v1alpha1.ReasonArchiveNotHere)
	b.waitFor(t, b.policy, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonServed) // it archives nothing, and lacks nothing
	b.claim(t)
	sees(1, "03:01", v1alpha1.ConditionWaitingForPeer, v1alpha1.ReasonOwnListUnknown)

	b.wantRuns(t, b.look(t, 1, "03:31"), 1, "Running")
	var plan retention.Plan
	config := &corev1.ConfigMap{}
	b.get(t, b.ns, b.job(t, b.slot(1)).Name, config)
	if err := json.Unmarshal([]byte(config.Data[worker.PlanFile]), &plan); err != nil || !plan.Mailboxes[0].Review || !plan.Mailboxes[1].Review {
		t.Errorf("the plan of the site that is not preferred is %+v (%v)", plan, err)
	}
	b.end(t, b.slot(1), 3)
	status := sees(1, "03:40", "", "", "a", "b")
	if *status.DueForRemoval.Count != 6 || *status.Disputes != 0 || *status.Archived != 70 || status.LastRun != nil {
		t.Errorf("site b shows %+v, due %+v", status, status.DueForRemoval)
	}
	b.waitFor(t, b.policy, v1alpha1.ConditionArchiving, metav1.ConditionTrue, v1alpha1.ReasonPreferredSiteArchives)

	b.look(t, 2, "03:31")
	b.end(t, b.slot(2), 3)
	sees(2, "03:40", v1alpha1.ConditionWaitingForPeer, v1alpha1.ReasonPeerListUnknown, "b") // a's list is of the day before
	reports(b.dueList(b.slot(2), "a", 3, 4))
	status = sees(2, "03:41", v1alpha1.ConditionDisputed, v1alpha1.ReasonListsDiffer, "b")
	if said := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionDisputed).Message; *status.Disputes != 1 ||
		!strings.Contains(said, "6 messages are due here and 7 at site a") || !strings.HasSuffix(said, "bruno@"+b.domain) {
		t.Errorf("%d disputes: %s", *status.Disputes, said)
	}
	if err := c.Delete(context.Background(), policy); err != nil {
		t.Fatal(err)
	}
	sees(2, "03:42", v1alpha1.ConditionDisputed, v1alpha1.ReasonPeerLacksPolicy, "b")
	if due := sees(2, "03:43", v1alpha1.ConditionDisputed, v1alpha1.ReasonPeerLacksPolicy, "b").DueForRemoval; *due.Count != 6 {
		t.Errorf("absence at the other site changed this one's list: %+v", due)
	}
}

// A mailbox moves between policies with its label and its reference, and of two alike the first by name has it.
func TestALabelMovesAMailboxIntoAPolicyAndOut(t *testing.T) {
	a := newArchived(t, "etichette", siteOptions{})
	a.claim(t)
	selected := func(name string, want, elsewhere int32) {
		t.Helper()
		eventually(t, func() error {
			p := &v1alpha1.RetentionPolicy{}
			a.get(t, a.ns, name, p)
			if p.Status.Selected == nil || *p.Status.Selected != want || *p.Status.Elsewhere != elsewhere {
				return fmt.Errorf("%s has %d mailboxes, %d are elsewhere", name, ptr.Deref(p.Status.Selected, -1), ptr.Deref(p.Status.Elsewhere, -1))
			}
			return nil
		})
	}
	byLabel := func(name string) *v1alpha1.RetentionPolicy {
		p := ordinary(a.ns, a.domain, name, "archive")
		p.Spec.Mailboxes = v1alpha1.RetainedMailboxes{Type: v1alpha1.RetainedLabelled, Labels: []v1alpha1.LabelRequirement{
			{Key: "comune.test/office", Operator: v1alpha1.LabelIn, Values: []string{"protocollo"}}}}
		return p
	}
	label := func(value string) {
		t.Helper()
		update(t, a.site, makeMailbox(a.ns, "anna", a.domain), func(m *v1alpha1.Mailbox) { metav1.SetMetaDataLabel(&m.ObjectMeta, "comune.test/office", value) })
	}
	office := byLabel("protocollo")
	a.create(t, office)
	selected("protocollo", 0, 0)
	selected("ordinary", 2, 0)
	label("protocollo")
	selected("protocollo", 1, 0)
	selected("ordinary", 1, 1)
	a.create(t, byLabel("primo"))
	for _, p := range []*v1alpha1.RetentionPolicy{office, byLabel("primo")} {
		c := a.waitFor(t, p, v1alpha1.ConditionOverlapping, metav1.ConditionTrue, v1alpha1.ReasonFirstNameWins)
		if !strings.Contains(c.Message, "anna@"+a.domain+" (under primo, not protocollo)") {
			t.Errorf("%s says %q", p.Name, c.Message)
		}
	}
	selected("protocollo", 0, 1)
	selected("primo", 1, 0)
	update(t, a.site, makeMailbox(a.ns, "anna", a.domain), func(m *v1alpha1.Mailbox) {
		m.Spec.RetentionPolicyRef = &v1alpha1.LocalReference{Name: "protocollo"}
	})
	selected("protocollo", 1, 0)
	selected("primo", 0, 1)
	label("anagrafe")
	selected("primo", 0, 0)
	selected("protocollo", 1, 0)
}

// endRestore lets the pod of a restore's Job end with last words.
func (a *archived) endRestore(t *testing.T, job *batchv1.Job, words string) {
	t.Helper()
	eventually(t, func() error {
		var pods corev1.PodList
		if err := a.List(context.Background(), &pods, client.InNamespace(a.ns), client.MatchingLabels{batchv1.JobNameLabel: job.Name}); err != nil {
			return err
		}
		for i := range pods.Items {
			if pod := &pods.Items[i]; pod.Status.Phase == corev1.PodPending {
				pod.Status.Phase = corev1.PodSucceeded
				pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "job", Image: "x", State: corev1.ContainerState{
					Terminated: &corev1.ContainerStateTerminated{Message: words}}}}
				if err := a.Status().Update(context.Background(), pod); err != nil {
					return err
				}
			}
		}
		a.get(t, a.ns, job.Name, job)
		if !slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
			return c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue
		}) {
			return errors.New("the Job is not over")
		}
		return nil
	})
}

func TestARestoreIsDoneOnceForEachToken(t *testing.T) {
	a := newArchived(t, "ritorno", siteOptions{}, func(p *v1alpha1.RetentionPolicy) {
		p.Spec.Restore = &v1alpha1.Restore{Token: "r1", Mailbox: "carla@pec.ritorno.test"}
	})
	a.waitFor(t, a.policy, v1alpha1.ConditionRestored, metav1.ConditionFalse, v1alpha1.ReasonRestoreRefused)
	ask := func(token string, change func(*v1alpha1.Restore)) {
		t.Helper()
		update(t, a.site, a.policy, func(p *v1alpha1.RetentionPolicy) {
			p.Spec.Restore = &v1alpha1.Restore{Token: token, Mailbox: v1alpha1.EmailAddress("anna@" + a.domain)}
			change(p.Spec.Restore)
		})
	}
	ask("r2", func(*v1alpha1.Restore) {})
	if c := a.waitFor(t, a.policy, v1alpha1.ConditionRestored, metav1.ConditionFalse, v1alpha1.ReasonRestoreRefused); len(a.jobs(t)) > 0 {
		t.Errorf("a refused restore has a Job: %s", c.Message)
	}
	eventually(t, func() error { // the archive's claim is not there
		c := a.waitFor(t, a.policy, v1alpha1.ConditionRestored, metav1.ConditionFalse, v1alpha1.ReasonRestoreRefused)
		if !strings.Contains(c.Message, "PersistentVolumeClaim archive") {
			return fmt.Errorf("Restored says %q", c.Message)
		}
		return nil
	})
	a.claim(t)
	a.look(t, 1, "12:00") // outside the windows: a person asked
	a.waitFor(t, a.policy, v1alpha1.ConditionRestored, metav1.ConditionFalse, v1alpha1.ReasonRestoreUnderWay)
	job := a.job(t, a.policy.Status.Restore.Slot)
	if *job.Spec.Suspend || *job.Spec.Completions != 1 {
		t.Errorf("the restore's Job: %+v", job.Spec)
	}
	a.pods.With(t, a.domain, func(e *apitest.Engine) {
		if g := e.Grants[a.ns+"/"+job.Name]; len(g.Addresses) != 1 || g.Addresses[0] != "anna@"+a.domain || !g.Write || g.Until.Sub(a.clock.Now()) > 7*time.Hour {
			t.Errorf("granted %+v", g)
		}
	})
	a.endRestore(t, job, `{"index":0,"data":{"added":3,"existed":1,"digest":"`+strings.Repeat("ab", 32)+`","manifest":"manifest-restore-abab"}}`)
	a.look(t, 1, "12:10")
	a.waitFor(t, a.policy, v1alpha1.ConditionRestored, metav1.ConditionTrue, v1alpha1.ReasonMessagesRestored)
	status := a.look(t, 1, "12:11")
	if r := status.Restore; r.Token != "r2" || r.State != v1alpha1.RestoreDone || *r.Restored != 3 || *r.Present != 1 || r.Manifest.Location != "manifest-restore-abab" || r.Into != "Ripristino r2" {
		t.Errorf("the restore: %+v", status.Restore)
	}
	a.pods.With(t, a.domain, func(e *apitest.Engine) {
		if g := e.Grants[a.ns+"/"+job.Name]; len(g.Addresses) != 0 {
			t.Errorf("after the restore it is still granted %+v", g)
		}
	})
	if a.job(t, status.Restore.Slot).Spec.TTLSecondsAfterFinished == nil || len(a.jobs(t)) != 1 {
		t.Errorf("%d Jobs", len(a.jobs(t)))
	}
	ask("r3", func(r *v1alpha1.Restore) { r.Messages = &v1alpha1.RestoredMessages{Folder: "Società"} })
	a.waitFor(t, a.policy, v1alpha1.ConditionRestored, metav1.ConditionFalse, v1alpha1.ReasonRestoreUnderWay)
	third := a.job(t, a.policy.Status.Restore.Slot)
	a.endRestore(t, third, `{"index":0}`)
	a.look(t, 1, "12:20")
	if c := a.waitFor(t, a.policy, v1alpha1.ConditionRestored, metav1.ConditionFalse, v1alpha1.ReasonRestoreFailed); !strings.Contains(c.Message, "lost with its pod") {
		t.Errorf("Restored says %q", c.Message)
	}
}

// deadPeer is a kubeconfig of a site that does not answer.
func deadPeer(t *testing.T) []byte {
	t.Helper()
	living, err := apitest.Need(t, server).Kubeconfig("peer-of-b")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`server: .*`).ReplaceAll(living, []byte("server: https://127.0.0.1:1"))
}

func TestTheOtherSiteArchivesIntoABucketInPlaceOfASilentOne(t *testing.T) {
	var ahead atomic.Int64
	b := newArchived(t, "supplenza", siteOptions{name: "b", peer: deadPeer(t), change: func(o *manager.Options) {
		o.StandIn, o.Now = 15*time.Minute, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}})
	b.claim(t)
	b.waitFor(t, b.policy, v1alpha1.ConditionArchiving, metav1.ConditionTrue, v1alpha1.ReasonPreferredSiteArchives)
	b.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: b.ns, Name: "s3"}, StringData: map[string]string{"accessKeyID": "AKIAPROVA0001", "secretAccessKey": "canary-s3-secret"}})
	bucket := ordinary(b.ns, b.domain, "a-bucket", "")
	bucket.Spec.Archive.Destination = v1alpha1.ArchiveDestination{Type: v1alpha1.ArchiveToS3, S3: &v1alpha1.S3Destination{
		Endpoint: "https://s3.supplenza.test", Bucket: "archivio", CredentialsSecretRef: v1alpha1.SecretReference{SecretName: "s3"}}}
	b.create(t, bucket)
	b.waitFor(t, bucket, v1alpha1.ConditionArchiving, metav1.ConditionTrue, v1alpha1.ReasonPreferredSiteArchives)
	ahead.Store(int64(16 * time.Minute))
	b.request(t, bucket, "silent for long")
	b.waitFor(t, bucket, v1alpha1.ConditionStandingIn, metav1.ConditionTrue, v1alpha1.ReasonPreferredSiteSilent)
	b.policy = bucket
	b.wantRuns(t, b.look(t, 1, "03:31"), 1, "Running")
	claim := ordinary(b.ns, b.domain, "z-claim", "archive")
	claim.Spec.Mailboxes = v1alpha1.RetainedMailboxes{Type: v1alpha1.RetainedReferring}
	b.create(t, claim)
	update(t, b.site, makeMailbox(b.ns, "anna", b.domain), func(m *v1alpha1.Mailbox) { m.Spec.RetentionPolicyRef = &v1alpha1.LocalReference{Name: claim.Name} })
	eventually(t, func() error {
		b.get(t, b.ns, claim.Name, claim)
		if claim.Status.Selected == nil || *claim.Status.Selected != 1 {
			return errors.New("the mailbox did not come")
		}
		return nil
	})
	b.waitFor(t, claim, v1alpha1.ConditionArchiving, metav1.ConditionTrue, v1alpha1.ReasonPreferredSiteArchives)
	if n := len(b.jobs(t)); n != 1 {
		t.Errorf("%d Jobs: a claim is one site's, and only that one archives into it", n)
	}
}
