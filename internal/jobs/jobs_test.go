package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/exit"
	"github.com/pec-operator/pec-operator/internal/jobs/worker"
	"github.com/pec-operator/pec-operator/internal/pki"
)

var server *apitest.Server

func TestMain(m *testing.M) { apitest.Main(m, &server) }

func makePlan() Plan {
	return Plan{
		Owner:     metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "trasloco", UID: "1"},
		Namespace: "default", Slot: "copy-20220421", Image: "mail:test", Arguments: []string{"migrate"}, Plan: []byte(`{}`), Mailboxes: 3, Parallel: 2,
		Sources: []Source{{File: "0", Secret: "password-mario", Key: "password"}}, Claim: "archivio",
	}
}

func TestPodsAreRestrictedAndHoldNoToken(t *testing.T) {
	job := makePlan().Job()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, result := range evaluator.EvaluatePod(level, &job.Spec.Template.ObjectMeta, &job.Spec.Template.Spec) {
		if !result.Allowed {
			t.Errorf("%s: %s", result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
	if token := job.Spec.Template.Spec.AutomountServiceAccountToken; token == nil || *token {
		t.Error("the pods hold a Kubernetes token")
	}
}

func TestName(t *testing.T) {
	long := strings.Repeat("abc.", 60)
	seen := map[string]bool{}
	for _, of := range [][3]string{{"MailboxMigration", "a.b", "copy"}, {"MailboxMigration", "a-b", "copy"}, {"RetentionPolicy", "a.b", "copy"}, {"MailboxMigration", "a.b", "verify"}, {"MailboxMigration", long, "copy"}} {
		name := Name(of[0], of[1], of[2])
		if seen[name] || len(name) > 43 || name != Name(of[0], of[1], of[2]) {
			t.Errorf("%v is named %q", of, name)
		}
		seen[name] = true
	}
}

func TestStateOf(t *testing.T) {
	failed, now := "1,3", time.Now()
	job := &batchv1.Job{Status: batchv1.JobStatus{
		CompletedIndexes: "0,4-6", FailedIndexes: &failed,
		Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonFailedIndexes}},
	}}
	pod := func(index int, age time.Duration, phase corev1.PodPhase, exit int32, message string) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(now.Add(-age)), Annotations: map[string]string{batchv1.JobCompletionIndexAnnotation: fmt.Sprint(index)}},
			Status: corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{ExitCode: exit, Message: message, Reason: "OOMKilled"}}}}},
		}
	}
	got := StateOf(job, []corev1.Pod{
		pod(0, time.Minute, corev1.PodSucceeded, 0, `{"index":0,"data":{"messages":5}}`),
		pod(1, 2*time.Minute, corev1.PodFailed, 1, `{"index":1,"reason":"SourceAway"}`),
		pod(1, time.Minute, corev1.PodFailed, 42, `{"index":1,"reason":"LoginRefused","message":"no"}`),
		pod(5, time.Minute, corev1.PodFailed, 137, ``),
		pod(6, time.Minute, corev1.PodFailed, 1, `{"index":0}`),
		pod(2, time.Minute, corev1.PodRunning, 0, ``),
	})
	want := State{Over: true, Succeeded: []int{0, 4, 5, 6}, Failed: []int{1, 3}, Results: map[int]worker.Result{
		0: {Index: 0, Data: json.RawMessage(`{"messages":5}`)},
		1: {Index: 1, Reason: "LoginRefused", Message: "no"},
		3: {Index: 3, Reason: "PodLost", Message: "the pod that failed is gone"},
		5: {Index: 5, Reason: "PodFailed", Message: "it ended with status 137 (OOMKilled)"},
		6: {Index: 6, Reason: "PodFailed", Message: "it ended with status 1 (OOMKilled)"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// cluster is a Cluster on the test's API server, whose Jobs are run by the real Job controller and pods by nobody.
func cluster(t *testing.T) *Cluster {
	t.Helper()
	s := apitest.Need(t, server)
	c, err := client.New(s.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := pki.NewAuthority("a", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	authority, err := pki.LoadAuthority(pair)
	if err != nil {
		t.Fatal(err)
	}
	return &Cluster{Reader: c, Writer: c, Authority: authority, Site: "a", Now: time.Now}
}

// owned is a plan whose owner exists.
func owned(t *testing.T, c *Cluster, name string) Plan {
	t.Helper()
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	if err := c.Writer.Create(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	p := makePlan()
	p.Owner.Name, p.Owner.UID = name, owner.UID
	return p
}

func TestAJobIsMadeOnceWhateverCrashes(t *testing.T) {
	c := cluster(t)
	p := owned(t, c, "una-volta")
	if job, err := c.Find(t.Context(), p); job != nil || err != nil {
		t.Fatalf("found %v, %v before anything was made", job, err)
	}
	// Crashes after the ConfigMap, after the Secret, after the Job.
	if err := c.make(t.Context(), p, p.ConfigMap(), &corev1.ConfigMap{}); err != nil {
		t.Fatal(err)
	}
	secret, err := c.certificate(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.make(t.Context(), p, secret, &corev1.Secret{}); err != nil {
		t.Fatal(err)
	}
	first, err := c.Ensure(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.Ensure(t.Context(), p)
	if err != nil || first.UID != second.UID || !*second.Spec.Suspend {
		t.Fatalf("made %s, then %s: %v", first.UID, second.UID, err)
	}
	other := p
	other.Owner.UID = "another"
	if _, err := c.Ensure(t.Context(), other); !errors.Is(err, ErrForeign) {
		t.Errorf("another owner's Job was taken: %v", err)
	}
}

func TestAJobRunsInItsWindow(t *testing.T) {
	c := cluster(t)
	server.RunControllers(t, "job-controller")
	p := owned(t, c, "finestra")
	job, err := c.Ensure(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	pods := func() []corev1.Pod {
		var list corev1.PodList
		if err := c.Reader.List(t.Context(), &list, client.InNamespace("default"), client.MatchingLabels{batchv1.JobNameLabel: job.Name}); err != nil {
			t.Fatal(err)
		}
		return list.Items
	}
	if len(pods()) > 0 {
		t.Fatal("a suspended Job has pods")
	}
	if err := c.Suspend(t.Context(), job, false); err != nil {
		t.Fatal(err)
	}
	end := func(index int, exit int32, message string) {
		t.Helper()
		eventually(t, func() error {
			for _, pod := range pods() {
				if pod.Annotations[batchv1.JobCompletionIndexAnnotation] != fmt.Sprint(index) || pod.Status.Phase == corev1.PodFailed {
					continue
				}
				pod.Status.Phase = corev1.PodSucceeded
				if exit != 0 {
					pod.Status.Phase = corev1.PodFailed
				}
				pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "job", Image: "x", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: exit, Message: message}}}}
				return c.Writer.Status().Update(context.Background(), &pod)
			}
			return fmt.Errorf("no pod of index %d", index)
		})
	}
	end(0, 0, `{"index":0}`)
	end(1, worker.ExitCredentials, `{"index":1,"reason":"LoginRefused"}`)
	end(2, 0, `{"index":2}`)
	var got State
	eventually(t, func() error {
		if job, err = c.Find(t.Context(), p); err != nil {
			return err
		}
		if got, err = c.Look(t.Context(), job); err == nil && !got.Over {
			err = errors.New("the Job is not over")
		}
		return err
	})
	want := State{Over: true, Succeeded: []int{0, 2}, Failed: []int{1}, Results: map[int]worker.Result{0: {}, 1: {Index: 1, Reason: "LoginRefused"}, 2: {Index: 2}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestAWorkerLeavesItsLastWords(t *testing.T) {
	dir := t.TempDir()
	j := worker.Job{PlanDir: dir, Log: filepath.Join(dir, "log"), Index: 7}
	work := &exit.Error{Status: worker.ExitPerson, Reason: "MessagesSkipped", Err: errors.New(strings.Repeat("più lungo ", 1001))}
	if err := j.Finish(map[string]int{"messages": 5}, work); !errors.Is(err, work) {
		t.Errorf("the error became %v", err)
	}
	raw, err := os.ReadFile(j.Log)
	if err != nil || len(raw) > 4096 {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	var r worker.Result
	if err := json.Unmarshal(raw, &r); err != nil || r.Index != 7 || r.Reason != "MessagesSkipped" || string(r.Data) != `{"messages":5}` || !strings.HasPrefix(work.Err.Error(), r.Message) {
		t.Errorf("it left %+v, %v", r, err)
	}
	var plan struct {
		Known string `json:"known"`
	}
	if err := os.WriteFile(filepath.Join(dir, worker.PlanFile), []byte(`{"unknown":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := j.Plan(&plan); err == nil {
		t.Error("a plan with a field that this worker does not know was taken")
	}
}
