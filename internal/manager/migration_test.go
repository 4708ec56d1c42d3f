package manager_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/jobs"
	"github.com/pec-operator/pec-operator/internal/manager"
	"github.com/pec-operator/pec-operator/internal/reconcile/check"
)

// clock is the one of dated plans, which the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// power is the operator's: once it is cut, none of its calls gets through.
type power struct {
	mu   sync.Mutex
	left int // writes before the cut; below zero nothing gets through
	cut  bool
}

// cutAfter cuts the power after so many writes.
func (p *power) cutAfter(writes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.left = true, writes
}

func (p *power) back() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

var errNoPower = errors.New("the power is cut")

func (p *power) through(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			p.mu.Lock()
			if p.cut && r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/leases") {
				p.left--
			}
			dead := p.cut && p.left < 0 && !strings.Contains(r.URL.Path, "/leases")
			p.mu.Unlock()
			if dead {
				return nil, errNoPower
			}
			return next.RoundTrip(r)
		})
	})
	return config
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// runKubelet ends each pod of a namespace's Jobs as a copier that did its work would.
func runKubelet(t *testing.T, s *site) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
			var pods corev1.PodList
			if s.List(ctx, &pods, client.InNamespace(s.ns), client.HasLabels{batchv1.JobNameLabel}) != nil {
				continue
			}
			for _, pod := range pods.Items {
				if pod.Status.Phase == corev1.PodSucceeded || !pod.DeletionTimestamp.IsZero() {
					continue
				}
				index := pod.Annotations[batchv1.JobCompletionIndexAnnotation]
				words := fmt.Sprintf(`{"index":%s,"data":{"messages":10,"bytes":1000,"manifest":"%s","location":"manifest-x"}}`, index, strings.Repeat("ab", 32))
				pod.Status.Phase = corev1.PodSucceeded
				pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "job", Image: "x", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: words}}}}
				_ = s.Status().Update(ctx, &pod) // tried again in the next round
			}
		}
	}()
}

// letter is the migration of a provider's letter, of so many mailboxes.
func letter(s *site, mailboxes int) *v1alpha1.MailboxMigration {
	m := &v1alpha1.MailboxMigration{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "rupar-2022"},
		Spec: v1alpha1.MailboxMigrationSpec{
			Source: v1alpha1.MigrationSource{Type: v1alpha1.MigrationFromIMAP, IMAP: &v1alpha1.IMAPSource{Endpoint: v1alpha1.Endpoint{Host: "imaps.rupar.test"}}},
			Target: v1alpha1.MigrationTarget{DomainRef: v1alpha1.LocalReference{Name: s.domain}},
			Copy:   &v1alpha1.MigrationCopy{MaxParallel: ptr.To(int32(20))},
			Run:    &v1alpha1.MigrationRun{Token: "r1"},
			Calendar: v1alpha1.MigrationCalendar{TimeZone: "Europe/Rome", Phases: []v1alpha1.MigrationPhase{
				{Name: v1alpha1.PhaseFreeze, At: "2022-04-20T08:00:00", Until: "2022-05-09T09:00:00"},
				{Name: v1alpha1.PhaseRequestsClose, At: "2022-04-20T12:00:00"},
				{Name: v1alpha1.PhaseBlockSending, At: "2022-04-28T08:00:00"},
				{Name: v1alpha1.PhaseOldReadOnly, At: "2022-04-28T09:00:00", Until: "2022-06-28T09:00:00"},
				{Name: v1alpha1.PhaseOpenNew, At: "2022-04-28T18:00:00"},
				{Name: v1alpha1.PhaseArchive, At: "2022-06-28T09:00:00", Until: "2023-12-28T00:00:00"},
				{Name: v1alpha1.PhaseDestroy, At: "2024-10-28T00:00:00"},
			}},
		},
	}
	for i := range mailboxes {
		m.Spec.Mailboxes = append(m.Spec.Mailboxes, listed(fmt.Sprintf("ufficio%02d@pec.rupar.test", i)))
	}
	return m
}

func listed(address string) v1alpha1.MigratedMailbox {
	return v1alpha1.MigratedMailbox{Address: v1alpha1.EmailAddress(address), SourceCredentials: v1alpha1.SecretKeyReference{Name: "vecchia"},
		Request: v1alpha1.MigrationRequest{Protocol: "2022/1", Date: "2022-04-11"}}
}

// journey is a migration in simulated time, with an operator whose power can be cut.
type journey struct {
	*site
	t         *testing.T
	clock     *clock
	power     *power
	migration *v1alpha1.MailboxMigration
	looks     int
}

// look asks the operator to look now.
func (j *journey) look() {
	j.t.Helper()
	j.looks++
	update(j.t, j.site, j.migration, func(m *v1alpha1.MailboxMigration) {
		m.Annotations = map[string]string{v1alpha1.ReconcileRequestedAnnotation: j.asked()}
	})
}

// asked is the last look's name.
func (j *journey) asked() string { return fmt.Sprint("look-", j.looks) }

// looked waits until the operator has looked.
func (j *journey) looked() {
	j.t.Helper()
	eventually(j.t, func() error {
		if text := j.progress(); j.migration.Status.LastHandledReconcileAt != j.asked() {
			return fmt.Errorf("%s is not answered; %s", j.asked(), text)
		}
		return nil
	})
}

// ledger is what was recorded, by key.
func (j *journey) ledger() map[string]time.Time {
	j.t.Helper()
	config := &corev1.ConfigMap{}
	err := j.Get(context.Background(), client.ObjectKey{Namespace: j.ns, Name: jobs.Name("MailboxMigration", j.migration.Name, "ledger")}, config)
	if client.IgnoreNotFound(err) != nil {
		j.t.Fatal(err)
	}
	entries := map[string]time.Time{}
	for key, text := range config.Data {
		var e struct{ At time.Time }
		if json.Unmarshal([]byte(text), &e) == nil {
			entries[key] = e.At
		}
	}
	return entries
}

// survives is a death that does not come.
const survives = -1

// until moves the clock to a second before a local time, and sees that nothing is recorded of a slot; then to the time, cuts the
// operator's power after some writes unless it survives, starts another operator, and waits until the slot is done, at the letter's
// time.
func (j *journey) until(slot, local string, writes int) {
	j.t.Helper()
	at, err := calendar.ParseLocal(local)
	if err != nil {
		j.t.Fatal(err)
	}
	j.clock.set(at.UTC().Add(-time.Second))
	j.look()
	j.looked()
	for key := range j.ledger() {
		if strings.HasPrefix(key, slot+".") {
			j.t.Errorf("%s is recorded before %s", key, local)
		}
	}
	if writes == survives {
		j.clock.set(at.UTC())
		j.look()
	} else {
		j.power.cutAfter(writes)
		j.clock.set(at.UTC())
		j.look()
		time.Sleep(400 * time.Millisecond)
		j.power.back()
		j.restart()
	}
	j.done(slot, at.UTC())
}

func (j *journey) done(slot string, at time.Time) {
	j.t.Helper()
	eventually(j.t, func() error {
		if got, ok := j.ledger()[slot+".Done"]; !ok || !got.Equal(at) {
			return fmt.Errorf("%s is recorded at %s (%t), want %s; %s", slot, got, ok, at, j.progress())
		}
		return nil
	})
}

func (j *journey) progress() string {
	if err := j.Get(context.Background(), client.ObjectKeyFromObject(j.migration), j.migration); err != nil {
		return err.Error()
	}
	raw, _ := json.Marshal(j.migration.Status.Conditions)
	return string(raw)
}

// states waits until the phases stand so.
func (j *journey) states(want map[v1alpha1.MigrationPhaseName]v1alpha1.MigrationPhaseState) {
	j.t.Helper()
	eventually(j.t, func() error {
		text := j.progress()
		for _, p := range j.migration.Status.Phases {
			if w, ok := want[p.Name]; ok && p.State != w {
				return fmt.Errorf("%s is %s, want %s; %s", p.Name, p.State, w, text)
			}
		}
		if len(j.migration.Status.Phases) != 7 {
			return fmt.Errorf("%d phases; %s", len(j.migration.Status.Phases), text)
		}
		return nil
	})
}

func TestTheLetterIsKeptThoughTheOperatorDiesInEveryPhase(t *testing.T) {
	apitest.Need(t, server)
	server.RunControllers(t, "job-controller")
	j := &journey{t: t, clock: &clock{}, power: &power{}}
	start, err := calendar.ParseLocal("2022-04-11T09:00:00")
	if err != nil {
		t.Fatal(err)
	}
	j.clock.set(start.UTC())
	j.site = newSite(t, "trasloco", siteOptions{change: func(o *manager.Options) { o.Calendar = j.clock.Now }})
	j.operator = j.power.through(j.operator)
	j.restart()
	runKubelet(t, j.site)
	domain := j.makeDomain()
	j.provide(t)
	j.create(t, domain)
	j.ready(t, domain)
	j.migration = letter(j.site, 20)
	j.create(t, j.migration)
	j.waitFor(t, j.migration, v1alpha1.ConditionClocksAgree, metav1.ConditionFalse, v1alpha1.ReasonLatestPromiseWins)
	j.states(map[v1alpha1.MigrationPhaseName]v1alpha1.MigrationPhaseState{v1alpha1.PhaseFreeze: v1alpha1.PhasePending, v1alpha1.PhaseDestroy: v1alpha1.PhasePending})

	j.until("freeze", "2022-04-20T08:00:00", 0)
	j.states(map[v1alpha1.MigrationPhaseName]v1alpha1.MigrationPhaseState{v1alpha1.PhaseFreeze: v1alpha1.PhaseRunning})
	j.until("requests-close", "2022-04-20T12:00:00", afterOthers(1))
	j.done("copy-20220420", j.clock.Now())
	update(t, j.site, j.migration, func(m *v1alpha1.MailboxMigration) {
		m.Spec.Mailboxes = append(m.Spec.Mailboxes, listed("tardi@pec.rupar.test"))
	})
	c := j.waitFor(t, j.migration, v1alpha1.ConditionLateRequests, metav1.ConditionTrue, v1alpha1.ReasonRequestsClosed)
	if !strings.Contains(c.Message, "tardi@pec.rupar.test") {
		t.Errorf("it says %q", c.Message)
	}
	for day := 21; day <= 27; day++ {
		j.until(fmt.Sprintf("copy-202204%d", day), fmt.Sprintf("2022-04-%dT12:00:00", day), deathOnDay(day)) // after ConfigMap, Secret, Job, ...
	}
	j.until("block-sending", "2022-04-28T08:00:00", 0)
	j.until("old-read-only", "2022-04-28T09:00:00", 1)
	j.done("final-delta", j.clock.Now())
	j.done("verify", j.clock.Now())
	j.states(map[v1alpha1.MigrationPhaseName]v1alpha1.MigrationPhaseState{v1alpha1.PhaseBlockSending: v1alpha1.PhaseDone, v1alpha1.PhaseOldReadOnly: v1alpha1.PhaseRunning})
	j.waitFor(t, j.migration, v1alpha1.ConditionPhasesSettled, metav1.ConditionFalse, v1alpha1.ReasonAwaitingCutOver)
	if status := j.migration.Status; *status.Mailboxes.Total != 20 || *status.Mailboxes.Verified != 20 || *status.Messages != 200 || status.Manifest == nil {
		t.Errorf("status is %+v, %+v", status.Mailboxes, status.Manifest)
	}
	update(t, j.site, j.migration, func(m *v1alpha1.MailboxMigration) { m.Spec.Run.Token = "mx-spostati" })
	j.done("cut-over", j.clock.Now())
	j.until("open-new", "2022-04-28T18:00:00", afterOthers(0))
	j.until("freeze-end", "2022-05-09T09:00:00", afterOthers(0))
	j.until("old-read-only-end", "2022-06-28T09:00:00", afterOthers(0))
	j.done("archive", j.clock.Now())
	j.states(map[v1alpha1.MigrationPhaseName]v1alpha1.MigrationPhaseState{
		v1alpha1.PhaseFreeze: v1alpha1.PhaseDone, v1alpha1.PhaseOldReadOnly: v1alpha1.PhaseDone, v1alpha1.PhaseArchive: v1alpha1.PhaseRunning, v1alpha1.PhaseDestroy: v1alpha1.PhasePending})
	j.until("archive-end", "2024-10-28T00:00:00", afterOthers(0))
	j.waitFor(t, j.migration, v1alpha1.ConditionPhasesSettled, metav1.ConditionFalse, v1alpha1.ReasonAwaitingAgreement)
	if meta.IsStatusConditionTrue(j.migration.Status.Conditions, v1alpha1.ConditionSucceeded) {
		t.Error("it succeeded before what it promises is destroyed")
	}
	if _, destroyed := j.ledger()["destroy.Done"]; destroyed {
		t.Error("the ledger says that the old mail is destroyed")
	}
	var made batchv1.JobList
	if err := j.List(context.Background(), &made, client.InNamespace(j.ns)); err != nil || len(made.Items) != 10 {
		t.Errorf("%d Jobs were made for 8 copy passes, the final one and the verification (%v)", len(made.Items), err)
	}
	j.pods.With(t, j.domain, func(e *apitest.Engine) {
		for job, g := range e.Grants {
			if len(g.Addresses) > 0 {
				t.Errorf("Job %s still has its grant", job)
			}
		}
	})
	j.look()
	j.looked()
	j.settle(t)
	passed(t, j.migration, func() { j.request(t, j.migration, "") }) // a pass that answers nothing
	for _, w := range j.writes.Take() {
		if strings.Contains(w, "mailboxmigrations") || strings.Contains(w, "configmaps") || strings.Contains(w, "jobs") {
			t.Errorf("a quiet pass wrote: %s", w)
		}
	}
}

func TestADeletedMigrationEndsItsJobAndKeepsCopiesAndLedger(t *testing.T) {
	apitest.Need(t, server)
	server.RunControllers(t, "job-controller", "garbage-collector-controller")
	at, err := calendar.ParseLocal("2022-04-20T12:00:00")
	if err != nil {
		t.Fatal(err)
	}
	j := &journey{t: t, clock: &clock{now: at.UTC()}}
	j.site = newSite(t, "interrotto", siteOptions{change: func(o *manager.Options) { o.Calendar = j.clock.Now }})
	domain, box := j.makeDomain(), makeMailbox(j.ns, "ufficio00", j.domain)
	j.provide(t)
	j.create(t, domain, box, password(j.ns, hashed))
	j.ready(t, domain, box)
	j.migration = letter(j.site, 1)
	j.migration.Spec.Calendar.IfMissed = v1alpha1.IfMissedRunLate
	j.create(t, j.migration)
	eventually(t, func() error {
		if _, running := j.ledger()["copy-20220420.Running"]; !running {
			return errors.New(j.progress())
		}
		return nil
	})
	var running batchv1.JobList
	if err := j.List(context.Background(), &running, client.InNamespace(j.ns)); err != nil || len(running.Items) != 1 || *running.Items[0].Spec.Suspend {
		t.Fatalf("the running Jobs are %v (%v)", running.Items, err)
	}
	if err := j.Delete(context.Background(), j.migration); err != nil {
		t.Fatal(err)
	}
	j.gone(t, &running.Items[0])
	eventually(t, func() error {
		var pods corev1.PodList
		if err := j.List(context.Background(), &pods, client.InNamespace(j.ns), client.HasLabels{batchv1.JobNameLabel}); err != nil || len(pods.Items) > 0 {
			return fmt.Errorf("%d pods copy still (%w)", len(pods.Items), err)
		}
		return nil
	})
	j.ready(t, box)
	if row := j.row(t, box.Address()); row.Access != admin.AccessFull {
		t.Errorf("the copy's mailbox is %s", row.Access)
	}
	before := j.ledger()
	again := letter(j.site, 1)
	again.Spec.Calendar.IfMissed = v1alpha1.IfMissedRunLate
	j.create(t, again)
	j.migration = again
	j.states(map[v1alpha1.MigrationPhaseName]v1alpha1.MigrationPhaseState{v1alpha1.PhaseFreeze: v1alpha1.PhaseRunning, v1alpha1.PhaseRequestsClose: v1alpha1.PhaseDone})
	for key, at := range before {
		if !j.ledger()[key].Equal(at) {
			t.Errorf("%s of the ledger was lost with the resource", key)
		}
	}
}

// duet are two sites, each with an API server, controllers and an operator of its own, under one clock.
type duet struct {
	a, b  *journey
	clock *clock
	ahead atomic.Int64 // of the machine's, where silence is counted
}

func newDuet(t *testing.T, second *apitest.Server, ns, local string, standIn time.Duration) *duet {
	t.Helper()
	at, err := calendar.ParseLocal(local)
	if err != nil {
		t.Fatal(err)
	}
	d := &duet{clock: &clock{now: at.UTC()}}
	set := func(o *manager.Options) {
		o.Calendar, o.StandIn = d.clock.Now, standIn
		o.Now = func() time.Time { return time.Now().Add(time.Duration(d.ahead.Load())) }
	}
	d.a = &journey{t: t, clock: d.clock, site: newSite(t, ns, siteOptions{name: "a", peer: second.AddPeer(t, "peer-a-"+ns), change: set})}
	d.b = &journey{t: t, clock: d.clock, site: newSite(t, ns, siteOptions{name: "b", server: second, peer: server.AddPeer(t, "peer-b-"+ns), change: set})}
	for _, j := range []*journey{d.a, d.b} {
		runKubelet(t, j.site)
		domain := j.makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.PreferredSite = "a" })
		j.provide(t)
		j.create(t, domain, password(j.ns, canary))
		j.ready(t, domain)
	}
	return d
}

// cut keeps the sites from seeing each other, until the answer is called.
func (d *duet) cut(t *testing.T) (heal func()) {
	t.Helper()
	living := map[string][]byte{}
	write := func(path string, kubeconfig []byte) {
		if err := os.WriteFile(path, kubeconfig, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, j := range []*journey{d.a, d.b} {
		path := j.options.PeerKubeconfig
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		living[path] = raw
		write(path, regexp.MustCompile(`server: .*`).ReplaceAll(raw, []byte("server: https://127.0.0.1:1")))
	}
	return func() {
		for path, raw := range living {
			write(path, raw)
		}
	}
}

// create makes the same migration at both sites.
func (d *duet) create(t *testing.T, m *v1alpha1.MailboxMigration) {
	t.Helper()
	for _, j := range []*journey{d.a, d.b} {
		j.migration = m.DeepCopy()
		j.create(t, j.migration)
	}
}

// token changes the run's token at both sites.
func (d *duet) token(t *testing.T, token string) {
	t.Helper()
	for _, j := range []*journey{d.a, d.b} {
		update(t, j.site, j.migration, func(m *v1alpha1.MailboxMigration) { m.Spec.Run = &v1alpha1.MigrationRun{Token: token} })
	}
}

// reaches looks until a condition stands so at a site.
func (j *journey) reaches(name string, status metav1.ConditionStatus, reason string) *metav1.Condition {
	j.t.Helper()
	var c *metav1.Condition
	eventuallyWithin(j.t, 90*time.Second, func() error {
		j.look()
		time.Sleep(200 * time.Millisecond)
		text := j.progress()
		if c = meta.FindStatusCondition(j.migration.Status.Conditions, name); c == nil || c.Status != status || c.Reason != reason {
			return fmt.Errorf("at site %s %s is not %s %s: %s", j.options.Site, name, status, reason, text)
		}
		return nil
	})
	return c
}

// moving is a migration out of the duet's domain, of a mailbox of it, in a few hours of one day.
func (d *duet) moving(t *testing.T) (m *v1alpha1.MailboxMigration, box *v1alpha1.Mailbox) {
	t.Helper()
	box = makeMailbox(d.a.ns, "protocollo", d.a.domain)
	for _, j := range []*journey{d.a, d.b} {
		target := j.hostedDomain(j.ns, "pec.nuovo-"+j.ns+".test")
		target.Spec.PreferredSite = "a"
		limited := makeMailbox(j.ns, "protocollo", target.Name, func(m *v1alpha1.Mailbox) { m.Spec.Sending = &v1alpha1.SendingLimits{MessagesPerDay: ptr.To(int32(5))} })
		j.create(t, target, box.DeepCopy(), limited)
		j.ready(t, target)
	}
	return &v1alpha1.MailboxMigration{ObjectMeta: metav1.ObjectMeta{Namespace: d.a.ns, Name: "trasloco"}, Spec: v1alpha1.MailboxMigrationSpec{
		Source: v1alpha1.MigrationSource{Type: v1alpha1.MigrationFromDomain, DomainRef: &v1alpha1.LocalReference{Name: d.a.domain}},
		Target: v1alpha1.MigrationTarget{DomainRef: v1alpha1.LocalReference{Name: "pec.nuovo-" + d.a.ns + ".test"}},
		Mailboxes: []v1alpha1.MigratedMailbox{{Address: v1alpha1.EmailAddress(box.Address()), SourceCredentials: v1alpha1.SecretKeyReference{Name: "password"},
			Request: v1alpha1.MigrationRequest{Protocol: "1/2026", Date: "2026-01-01"}}},
		Run: &v1alpha1.MigrationRun{Token: "r1"}, Keep: []v1alpha1.MigrationKeep{v1alpha1.KeepPassword, v1alpha1.KeepEndpoints, v1alpha1.KeepSendingLimits},
		Calendar: v1alpha1.MigrationCalendar{TimeZone: "Europe/Rome", Phases: []v1alpha1.MigrationPhase{
			{Name: v1alpha1.PhaseFreeze, At: "2026-04-28T07:00:00", Until: "2026-04-28T19:00:00"},
			{Name: v1alpha1.PhaseRequestsClose, At: "2026-04-28T07:30:00"},
			{Name: v1alpha1.PhaseBlockSending, At: "2026-04-28T08:00:00"},
			{Name: v1alpha1.PhaseOpenNew, At: "2026-04-28T18:00:00"}}},
	}}, box
}

// access waits until the row of a mailbox refuses sending, or not.
func (j *journey) access(box *v1alpha1.Mailbox, refused admin.Refusal) {
	j.t.Helper()
	eventually(j.t, func() error {
		if row := j.row(j.t, box.Address()); row.SendingRefused != refused {
			return fmt.Errorf("at site %s the row's refusal is %q, want %q", j.options.Site, row.SendingRefused, refused)
		}
		return nil
	})
}

func (d *duet) at(t *testing.T, local string) {
	t.Helper()
	at, err := calendar.ParseLocal(local)
	if err != nil {
		t.Fatal(err)
	}
	d.clock.set(at.UTC())
}

func TestAMigrationAtTwoSites(t *testing.T) {
	apitest.Need(t, server)
	second, err := apitest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = second.Stop() })
	server.RunControllers(t, "job-controller")
	second.RunControllers(t, "job-controller")
	t.Run("the other site shows it, and is bound by the same letter", func(t *testing.T) { followed(t, second) })
	t.Run("the other site stands in, and stands back", func(t *testing.T) { stoodInFor(t, second) })
}

func followed(t *testing.T, second *apitest.Server) {
	d := newDuet(t, second, "vincolo", "2026-04-28T06:50:00", time.Hour)
	m, box := d.moving(t)
	d.create(t, m)
	c := d.b.reaches(v1alpha1.ConditionPhasesSettled, metav1.ConditionUnknown, v1alpha1.ReasonPhasesAhead)
	if !strings.HasPrefix(c.Message, "site a: next: freeze at") {
		t.Errorf("site b says %q", c.Message)
	}
	d.at(t, "2026-04-28T07:00:00")
	d.a.look()
	d.a.done("freeze", d.clock.Now())
	for _, j := range []*journey{d.a, d.b} {
		eventually(t, func() error {
			j.look()
			if until := j.row(t, box.Address()).FrozenUntil; until.IsZero() {
				return fmt.Errorf("at site %s the row is not frozen", j.options.Site)
			}
			return nil
		})
	}
	for _, j := range []*journey{d.a, d.b} {
		c := j.reaches(v1alpha1.ConditionPromisesKept, metav1.ConditionFalse, v1alpha1.ReasonPromiseBroken)
		want := "SendingLimits: the target mailbox may send less than " + box.Address() + " does; raise its spec.sending"
		if got := strings.TrimPrefix(c.Message, "site a: "); got != want {
			t.Errorf("at site %s it says %q", j.options.Site, c.Message)
		}
	}
	d.at(t, "2026-04-28T07:30:00")
	d.a.look()
	d.a.done("copy-20260428", d.clock.Now())
	d.at(t, "2026-04-28T08:00:00")
	d.a.reaches(v1alpha1.ConditionPhasesSettled, metav1.ConditionFalse, v1alpha1.ReasonAwaitingCutOver)
	d.b.reaches(v1alpha1.ConditionPhasesSettled, metav1.ConditionFalse, v1alpha1.ReasonAwaitingCutOver)
	d.a.access(box, admin.RefusalMigration)
	d.b.access(box, admin.RefusalMigration)

	update(t, d.a.site, d.a.migration, func(m *v1alpha1.MailboxMigration) { m.Spec.Suspend = v1alpha1.SuspendReconciliation })
	c = d.b.reaches(v1alpha1.ConditionPhasesSettled, metav1.ConditionUnknown, v1alpha1.ReasonSuspended)
	if !strings.HasPrefix(c.Message, "site a: ") {
		t.Errorf("of a migration that is suspended at site a, site b says %q", c.Message)
	}
	update(t, d.a.site, d.a.migration, func(m *v1alpha1.MailboxMigration) { m.Spec.Suspend = "" })
	until := m.Spec.Calendar.Phases[0].Until
	for i, end := range []v1alpha1.LocalTime{"2026-04-28T17:00:00", until} { // before OpenNew, and right again
		for _, j := range []*journey{d.a, d.b} {
			update(t, j.site, j.migration, func(m *v1alpha1.MailboxMigration) { m.Spec.Calendar.Phases[0].Until = end })
		}
		if i == 0 {
			d.b.reaches(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCalendarInvalid)
		}
	}

	d.token(t, "mx-spostati")
	d.a.reaches(v1alpha1.ConditionPhasesSettled, metav1.ConditionUnknown, v1alpha1.ReasonPhasesAhead)
	d.at(t, "2026-04-28T18:00:00")
	d.a.look()
	d.a.done("open-new", d.clock.Now())
	d.at(t, "2026-04-28T19:00:00")
	for _, j := range []*journey{d.a, d.b} {
		c := j.reaches(v1alpha1.ConditionSucceeded, metav1.ConditionTrue, v1alpha1.ReasonServed)
		check.Status(t, j.migration)
		if at := j.migration.Status.Acting; at == nil || at.Site != "a" || *at.Epoch != 1 {
			t.Errorf("at site %s acts %+v", j.options.Site, at)
		}
		if status := j.migration.Status; *status.Mailboxes.Verified != 1 || status.Manifest == nil || len(status.Phases) != 4 {
			t.Errorf("at site %s the status is %+v", j.options.Site, status)
		}
		if j == d.b && !strings.HasPrefix(c.Message, "site a reports that") {
			t.Errorf("site b says %q", c.Message)
		}
	}
	d.b.migration.Status.LastHandledReconcileAt = "" // however often it was looked
	golden(t, "MailboxMigration", "other-site", d.b.migration)
	out, err := d.b.on.Kubectl(t, "wait", "--for=condition=Succeeded", "-n", d.b.ns, "mbxmig/"+m.Name, "--timeout=10s")
	if err != nil {
		t.Errorf("kubectl wait at site b: %v %s", err, out)
	}
	d.b.settle(t)
	d.b.look()
	d.b.looked()
	for _, w := range d.b.writes.Take() {
		if strings.Contains(w, "configmaps") || strings.Contains(w, "jobs") {
			t.Errorf("a quiet pass at site b wrote: %s", w)
		}
	}
	var made batchv1.JobList
	if err := d.b.List(context.Background(), &made, client.InNamespace(d.b.ns)); err != nil || len(made.Items) > 0 {
		t.Errorf("site b made %d Jobs (%v)", len(made.Items), err)
	}
}

// actor waits until a site says who acts, in which epoch.
func (j *journey) actor(site string, epoch int64) {
	j.t.Helper()
	eventuallyWithin(j.t, 90*time.Second, func() error {
		j.look()
		time.Sleep(200 * time.Millisecond)
		text := j.progress()
		if at := j.migration.Status.Acting; at == nil || at.Site != site || *at.Epoch != epoch {
			return fmt.Errorf("at site %s acts %+v, want site %s in epoch %d: %s", j.options.Site, at, site, epoch, text)
		}
		return nil
	})
}

// jobs are the slots that a site made Jobs for.
func (j *journey) jobs() []string {
	j.t.Helper()
	var made batchv1.JobList
	if err := j.List(context.Background(), &made, client.InNamespace(j.ns)); err != nil {
		j.t.Fatal(err)
	}
	var slots []string
	for _, job := range made.Items {
		slots = append(slots, job.Annotations[jobs.SlotAnnotation])
	}
	slices.Sort(slots)
	return slots
}

func stoodInFor(t *testing.T, second *apitest.Server) {
	const standIn = 15 * time.Minute
	d := newDuet(t, second, "vicario", "2026-04-28T07:00:00", standIn)
	m, box := d.moving(t)
	d.create(t, m)
	d.at(t, "2026-04-28T07:30:00")
	d.a.look()
	d.a.done("copy-20260428", d.clock.Now())
	d.b.actor("a", 1)
	eventually(t, func() error {
		if _, known := d.b.ledger()["requests-close.Done"]; !known {
			return errors.New("site b has not noted that the list is closed")
		}
		return nil
	})

	heal := d.cut(t)
	c := d.b.reaches(v1alpha1.ConditionPhasesSettled, metav1.ConditionUnknown, v1alpha1.ReasonOtherSiteSilent)
	if !strings.Contains(c.Message, "site a acts and reports nothing") {
		t.Errorf("site b says %q", c.Message)
	}
	d.at(t, "2026-04-28T08:00:00")
	d.b.look()
	d.b.access(box, admin.RefusalMigration)
	if made := d.b.jobs(); len(made) > 0 {
		t.Errorf("site b copies before site a was silent for %s: %v", standIn, made)
	}
	d.ahead.Add(int64(standIn + time.Minute))
	d.b.reaches(v1alpha1.ConditionStandingIn, metav1.ConditionTrue, v1alpha1.ReasonPreferredSiteSilent)
	d.b.restart() // it knows that it stands in
	d.b.reaches(v1alpha1.ConditionPhasesSettled, metav1.ConditionFalse, v1alpha1.ReasonAwaitingCutOver)
	d.b.actor("b", 2)
	if diff := cmp.Diff([]string{"final-delta", "verify"}, d.b.jobs()); diff != "" {
		t.Errorf("site b copied from nothing: -want +got %s", diff)
	}
	d.a.reaches(v1alpha1.ConditionPhasesSettled, metav1.ConditionFalse, v1alpha1.ReasonAwaitingCutOver) // it lives, and was cut off

	heal()
	d.a.actor("a", 3)
	d.b.actor("a", 3)
	d.b.reaches(v1alpha1.ConditionPhasesSettled, metav1.ConditionFalse, v1alpha1.ReasonAwaitingCutOver)
	if c := meta.FindStatusCondition(d.b.migration.Status.Conditions, v1alpha1.ConditionStandingIn); c != nil || !strings.HasPrefix(d.b.message(v1alpha1.ConditionPhasesSettled), "site a: ") {
		t.Errorf("site b does not stand back: %+v", d.b.migration.Status.Conditions)
	}
	d.token(t, "mx-spostati")
	d.a.done("cut-over", d.clock.Now())
	d.b.reaches(v1alpha1.ConditionMailboxesCopied, metav1.ConditionTrue, v1alpha1.ReasonMailboxesVerified)

	heal = d.cut(t)
	d.b.reaches(v1alpha1.ConditionPhasesSettled, metav1.ConditionUnknown, v1alpha1.ReasonOtherSiteSilent)
	d.ahead.Add(int64(standIn + time.Minute))
	d.b.actor("b", 4)
	d.at(t, "2026-04-28T18:00:00")
	d.b.look()
	d.b.done("open-new", d.clock.Now())
	d.b.access(box, admin.RefusalMigration)
	heal()
	d.at(t, "2026-04-28T19:00:00")
	for _, j := range []*journey{d.a, d.b} {
		j.actor("a", 5)
		j.reaches(v1alpha1.ConditionSucceeded, metav1.ConditionTrue, v1alpha1.ReasonServed)
		check.Status(t, j.migration)
		if *j.migration.Status.Mailboxes.Verified != 1 {
			t.Errorf("at site %s %+v", j.options.Site, j.migration.Status.Mailboxes)
		}
	}
	if diff := cmp.Diff([]string{"final-delta", "verify"}, d.b.jobs()); diff != "" {
		t.Errorf("site b copied after the cut-over: -want +got %s", diff)
	}
}

// message is that of a condition, as it was read last.
func (j *journey) message(name string) string {
	if c := meta.FindStatusCondition(j.migration.Status.Conditions, name); c != nil {
		return c.Message
	}
	return ""
}
