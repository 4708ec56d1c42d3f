package retentionpolicy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/jobs"
	"github.com/pec-operator/pec-operator/internal/jobs/worker"
	"github.com/pec-operator/pec-operator/internal/retention"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func makePolicy(change ...func(*v1alpha1.RetentionPolicy)) *v1alpha1.RetentionPolicy {
	p := &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "ordinary", Namespace: "comune"}, Spec: v1alpha1.RetentionPolicySpec{
		Mailboxes: v1alpha1.RetainedMailboxes{Type: v1alpha1.RetainedOfDomain, DomainRef: &v1alpha1.LocalReference{Name: "pec.comune.test"}},
		Archive: &v1alpha1.Archive{OlderThanDays: ptr.To(int32(90)), Destination: v1alpha1.ArchiveDestination{Type: v1alpha1.ArchiveToS3, S3: &v1alpha1.S3Destination{
			Endpoint: "https://s3.test", Bucket: "archivio", CredentialsSecretRef: v1alpha1.SecretReference{SecretName: "keys"}}}},
	}}
	for _, c := range change {
		c(p)
	}
	return p
}

func TestTheLaterPromiseCounts(t *testing.T) {
	until := func(date v1alpha1.Date) func(*v1alpha1.RetentionPolicy) {
		return func(p *v1alpha1.RetentionPolicy) { p.Spec.AfterClosure = &v1alpha1.AfterClosure{ArchiveUntil: date} }
	}
	for name, tt := range map[string]struct {
		policy *v1alpha1.RetentionPolicy
		reason string
		until  time.Time
		said   string
	}{
		"only the months":      {makePolicy(), v1alpha1.ReasonOnePromise, noon.AddDate(0, 30, 0), ""},
		"the same month":       {makePolicy(until("2028-09-01")), v1alpha1.ReasonOnePromise, noon.AddDate(0, 30, 0), ""},
		"the date is later":    {makePolicy(until("2029-10-28")), v1alpha1.ReasonLatestPromiseWins, time.Date(2029, 10, 27, 22, 0, 0, 0, time.UTC), "afterClosure.archiveUntil"},
		"the months are later": {makePolicy(until("2027-12-28")), v1alpha1.ReasonLatestPromiseWins, noon.AddDate(0, 30, 0), "archive.keepMonths"},
	} {
		t.Run(name, func(t *testing.T) {
			c := judgeClocks(tt.policy, noon)
			if c.Reason != tt.reason || !strings.HasSuffix(c.Message, tt.said) {
				t.Errorf("judged %s: %s", c.Reason, c.Message)
			}
			if got := runPlan(tt.policy, noon, nil).S3.RetainUntil; !got.Equal(tt.until) {
				t.Errorf("locked until %s, want %s", got, tt.until)
			}
		})
	}
}

func TestNothingIsDueThatWasNotAcknowledged(t *testing.T) {
	for when, held := range map[v1alpha1.RemovalCondition]bool{v1alpha1.RemoveArchived: false, v1alpha1.RemoveAcknowledged: true} {
		p := makePolicy(func(p *v1alpha1.RetentionPolicy) {
			p.Spec.Remove = &v1alpha1.Removal{AfterArchiveDays: ptr.To(int32(30)), When: when}
		})
		plan := runPlan(p, noon, []mailbox{{address: "a@pec.comune.test"}})
		if plan.Mailboxes[0].Held != held || !plan.ArchivedBefore.Equal(noon.AddDate(0, 0, -30)) {
			t.Errorf("%s: %+v", when, plan)
		}
	}
}

func TestRecordKeepsTheNewestAndWhatRuns(t *testing.T) {
	var runs []v1alpha1.RetentionRun
	for day := range 10 {
		state := v1alpha1.RunDone
		if day == 1 {
			state = v1alpha1.RunRunning
		}
		runs = record(runs, v1alpha1.RetentionRun{Name: "run-" + string(rune('0'+day)), At: metav1.NewTime(noon.AddDate(0, 0, day)), State: state})
	}
	var names []string
	for _, r := range runs {
		names = append(names, r.Name)
	}
	if got := strings.Join(names, " "); got != "run-9 run-8 run-7 run-6 run-5 run-4 run-1" {
		t.Errorf("kept %s", got)
	}
}

func TestScheduleOf(t *testing.T) {
	for name, tt := range map[string]struct {
		spec v1alpha1.RetentionSchedule
		bad  bool
	}{
		"every night":               {spec: (&v1alpha1.RetentionPolicy{}).ScheduleOrDefault()},
		"some days and a window":    {spec: v1alpha1.RetentionSchedule{At: "22:00", Days: []v1alpha1.Weekday{"Monday", "Sunday"}, Windows: []v1alpha1.Window{{Days: []v1alpha1.Weekday{"Saturday"}, Opens: "22:00", Closes: "05:00"}}}},
		"a time that is none":       {spec: v1alpha1.RetentionSchedule{At: "25:00"}, bad: true},
		"a window that never opens": {spec: v1alpha1.RetentionSchedule{At: "03:00", Windows: []v1alpha1.Window{{Opens: "03:00", Closes: "03:00"}}}, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := scheduleOf(tt.spec); (err != nil) != tt.bad {
				t.Errorf("worked out: %v", err)
			}
		})
	}
}

func TestOutcomeNamesMailboxesNotIndexes(t *testing.T) {
	data := func(r retention.Result) json.RawMessage { raw, _ := json.Marshal(r); return raw }
	made := retention.Plan{Mailboxes: []retention.MailboxPlan{{Address: "a@b.test"}, {Address: "c@b.test"}, {Address: "d@b.test"}}}
	got := outcomeOf(made, jobs.State{Over: true, Succeeded: []int{0, 2}, Results: map[int]worker.Result{
		0: {Data: data(retention.Result{Address: "a@b.test", Messages: 7, Archived: 3})},
		1: {Index: 1, Reason: "ArchiveDamaged", Message: "look", Data: data(retention.Result{Address: "c@b.test"})},
	}})
	want := []string{"c@b.test (ArchiveDamaged: look)", "d@b.test (its result was lost with its pod)"}
	if diff := cmp.Diff(want, got.failed); diff != "" || got.messages != 7 || got.archived != 3 {
		t.Errorf("%d messages, %d archived; %s", got.messages, got.archived, diff)
	}
	got = outcomeOf(made, jobs.State{Over: true, Problem: "PodFailurePolicy: no lock"})
	if len(got.failed) != 3 || got.failed[0] != "a@b.test (PodFailurePolicy: no lock)" {
		t.Errorf("the whole Job failed: %q", got.failed)
	}
}

func TestListsAreComparedAndNeverObeyed(t *testing.T) {
	result := func(name string, due int64) retention.Result {
		return retention.Result{Address: name + "@pec.test", Due: retention.DueResult{Count: due, Digest: retention.DueDigest([]string{name})}}
	}
	list := func(run string, sites []string, results ...retention.Result) *v1alpha1.DueForRemoval {
		count, digest := retention.Combine(results)
		return &v1alpha1.DueForRemoval{Run: run, Count: &count, Digest: digest, Mailboxes: retention.Marks(results), Sites: sites}
	}
	var many []retention.Result
	selected := []string{"anna@pec.test", "bruno@pec.test"}
	for i := range 15 {
		many = append(many, result(fmt.Sprintf("m%02d", i), 1))
		selected = append(selected, many[i].Address)
	}
	ours := list("run-2", nil, result("anna", 2), result("bruno", 3))
	shown := func(due *v1alpha1.DueForRemoval) peerList {
		return peerList{looked: true, answers: true, there: true, due: due}
	}
	for name, tt := range map[string]struct {
		ours     *v1alpha1.DueForRemoval
		other    peerList
		reason   string
		said     string
		sites    string
		disputes *int64
	}{
		"the same list":                {ours, shown(list("run-2", []string{"b"}, result("bruno", 3), result("anna", 2))), "", "", "a b", ptr.To(int64(0))},
		"the same list, agreed before": {ours, shown(list("run-2", []string{"a", "b"}, result("bruno", 3), result("anna", 2))), "", "", "a b", ptr.To(int64(0))},
		"no list of our own":           {nil, shown(ours), v1alpha1.ReasonOwnListUnknown, "the next run", "a", nil},
		"the other site does not answer": {ours, peerList{looked: true}, v1alpha1.ReasonPeerListUnknown,
			"does not answer", "a", nil},
		"the other site has no list":                  {ours, shown(nil), v1alpha1.ReasonPeerListUnknown, "no list of run-2", "a", nil},
		"the other site's list is of another run":     {ours, shown(list("run-1", []string{"b"}, result("anna", 2))), v1alpha1.ReasonPeerListUnknown, "no list of run-2", "a", nil},
		"the other site calls itself by our name":     {ours, shown(list("run-2", []string{"a"}, result("anna", 2), result("bruno", 3))), v1alpha1.ReasonPeerListUnknown, "is a too", "a", nil},
		"the other site has no such policy":           {ours, peerList{looked: true, answers: true}, v1alpha1.ReasonPeerLacksPolicy, "no such policy", "a", ptr.To(int64(2))},
		"nothing is due, and no such policy there":    {list("run-2", nil), peerList{looked: true, answers: true}, v1alpha1.ReasonPeerListUnknown, "no list of run-2", "a", nil},
		"one mailbox differs":                         {ours, shown(list("run-2", []string{"b"}, result("anna", 2), result("bruno", 4))), v1alpha1.ReasonListsDiffer, "same; nothing is removed of any mailbox: bruno@pec.test", "a", ptr.To(int64(1))},
		"a mailbox has nothing due there":             {ours, shown(list("run-2", []string{"b"}, result("anna", 2))), v1alpha1.ReasonListsDiffer, "5 messages are due here and 2 at site b", "a", ptr.To(int64(1))},
		"a mailbox there is not selected here":        {ours, shown(list("run-2", []string{"b"}, result("anna", 2), result("bruno", 3), result("dora", 1))), v1alpha1.ReasonListsDiffer, "none of this site's (1 that this site does not select)", "a", ptr.To(int64(1))},
		"more than ten differ":                        {list("run-2", nil, many...), shown(list("run-2", []string{"b"})), v1alpha1.ReasonListsDiffer, "m09@pec.test, and 5 more", "a", ptr.To(int64(15))},
		"they differ, and more than can be marked do": {&v1alpha1.DueForRemoval{Run: "run-2", Count: ptr.To(int64(9)), Digest: "x"}, shown(&v1alpha1.DueForRemoval{Run: "run-2", Count: ptr.To(int64(9)), Digest: "y", Sites: []string{"b"}}), v1alpha1.ReasonListsDiffer, "too many mailboxes", "a", ptr.To(int64(0))},
	} {
		t.Run(name, func(t *testing.T) {
			v := judgeLists("a", tt.ours, tt.other, selected)
			if v.reason != tt.reason || !strings.Contains(v.message, tt.said) || strings.Join(v.sites, " ") != tt.sites || !cmp.Equal(v.disputes, tt.disputes) {
				t.Errorf("judged %s, %s: %s (sites %q, disputes %v)", v.condition, v.reason, v.message, v.sites, ptr.Deref(v.disputes, -1))
			}
		})
	}
}

func TestWhatARestoreAsksFor(t *testing.T) {
	p := makePolicy(func(p *v1alpha1.RetentionPolicy) {
		p.Spec.Restore = &v1alpha1.Restore{Token: "r1", Mailbox: "anna@pec.comune.test", Messages: &v1alpha1.RestoredMessages{
			Folder: "INBOX", ArrivedFrom: "2026-03-28", ArrivedUntil: "2026-03-29"}} // the night on which the clocks go forward
	})
	plan := giveBackOf(p, p.Spec.Restore, mailbox{address: "anna@pec.comune.test", engine: "https://e"})
	if plan.Into != "Ripristino r1" || plan.S3 == nil || !plan.S3.RetainUntil.IsZero() || plan.Mailbox.Address != "anna@pec.comune.test" {
		t.Errorf("the plan is %+v", plan)
	}
	want := retention.Wanted{Folder: "INBOX", From: time.Date(2026, 3, 27, 23, 0, 0, 0, time.UTC), Before: time.Date(2026, 3, 29, 22, 0, 0, 0, time.UTC)}
	if diff := cmp.Diff(want, plan.Wanted); diff != "" {
		t.Error(diff)
	}
	again := p.Spec.Restore.DeepCopy()
	if slotOf(again) != slotOf(p.Spec.Restore) {
		t.Error("one request has two Jobs")
	}
	again.Into = "Altrove"
	if slotOf(again) == slotOf(p.Spec.Restore) {
		t.Error("two requests have one Job")
	}
}

func TestWhatBecameOfARestore(t *testing.T) {
	data := json.RawMessage(`{"added":3,"existed":1,"digest":"` + strings.Repeat("a", 64) + `","manifest":"manifest-restore-a"}`)
	for name, tt := range map[string]struct {
		state    jobs.State
		want     v1alpha1.RestoreState
		message  string
		manifest bool
	}{
		"all is well":        {jobs.State{Results: map[int]worker.Result{0: {Data: data}}}, v1alpha1.RestoreDone, "", true},
		"its pod failed":     {jobs.State{Results: map[int]worker.Result{0: {Reason: "ArchiveDamaged", Message: "x", Data: json.RawMessage(`{"added":2}`)}}}, v1alpha1.RestoreFailed, "ArchiveDamaged: x", false},
		"its Job failed":     {jobs.State{Problem: "DeadlineExceeded: long"}, v1alpha1.RestoreFailed, "DeadlineExceeded: long", false},
		"its result is lost": {jobs.State{Succeeded: []int{0}}, v1alpha1.RestoreFailed, "its result was lost with its pod", false},
	} {
		t.Run(name, func(t *testing.T) {
			var got v1alpha1.RestoreStatus
			recordRestore(&got, tt.state)
			if got.State != tt.want || got.Message != tt.message || (got.Manifest != nil) != tt.manifest {
				t.Errorf("recorded %+v", got)
			}
		})
	}
}
