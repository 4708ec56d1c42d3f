package manager_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/manager"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/reconcile/check"
)

var updateGolden = flag.Bool("update", false, "write the golden statuses instead of comparing with them")

// kind is how an object of a kind comes into the states that every kind has. A kind joins these tests by a row in kinds.
type kind struct {
	// done is one that will be as its spec says: Ready, or Succeeded for a kind that ends.
	done func(*site) reconcile.Object
	// waiting and stalled are ones that will be so.
	waiting, stalled func(*site) reconcile.Object
	// suspend sets spec.suspend.
	suspend func(client.Object, v1alpha1.Suspend)
	// resource is the name that kubectl knows it by.
	resource string
	// prepare makes what the three name, and carry is what people do until the first is done; either may be nil.
	prepare func(*testing.T, *site)
	carry   func(*testing.T, *site, reconcile.Object)
}

var kinds = map[string]kind{
	"PECDomain": {
		resource: "pecdomains",
		done:     func(s *site) reconcile.Object { return s.hostedDomain("generi-comune", "pec.generi-comune.test") },
		waiting: func(s *site) reconcile.Object {
			d := s.hostedDomain("generi-comune", "pec.attesa.test")
			d.Spec.Provider.Hosted.Host.Name = "pec.nessuno.test"
			return d
		},
		stalled: func(s *site) reconcile.Object { return s.hostedDomain("generi-comune", s.domain) },
		suspend: func(o client.Object, v v1alpha1.Suspend) { o.(*v1alpha1.PECDomain).Spec.Suspend = v },
	},
	"Mailbox": {
		resource: "mailboxes",
		done:     func(s *site) reconcile.Object { return makeMailbox(s.ns, "protocollo", s.domain) },
		waiting:  func(s *site) reconcile.Object { return makeMailbox(s.ns, "protocollo", "pec.nessuno.test") },
		stalled:  func(s *site) reconcile.Object { return makeMailbox(s.ns, "ricevute", s.domain) },
		suspend:  func(o client.Object, v v1alpha1.Suspend) { o.(*v1alpha1.Mailbox).Spec.Suspend = v },
	},
	"MailboxMigration": {
		resource: "mailboxmigrations",
		prepare:  func(t *testing.T, s *site) { runKubelet(t, s) },
		done: func(s *site) reconcile.Object {
			m := letter(s, 2)
			m.Spec.Calendar.IfMissed = v1alpha1.IfMissedRunLate
			m.Spec.Calendar.Phases = slices.DeleteFunc(m.Spec.Calendar.Phases, func(p v1alpha1.MigrationPhase) bool {
				return p.Name == v1alpha1.PhaseArchive || p.Name == v1alpha1.PhaseDestroy
			})
			return m
		},
		carry: func(t *testing.T, s *site, o reconcile.Object) {
			s.waitFor(t, o, v1alpha1.ConditionPhasesSettled, metav1.ConditionFalse, v1alpha1.ReasonAwaitingCutOver)
			for _, slot := range []string{"requests-close", "block-sending"} { // both in one pass
				eventually(t, func() error { return s.told(o, v1alpha1.ReasonPhaseOver, slot) })
			}
			update(t, s, o.(*v1alpha1.MailboxMigration), func(m *v1alpha1.MailboxMigration) { m.Spec.Run.Token = "mx-spostati" })
		},
		waiting: func(s *site) reconcile.Object {
			m := letter(s, 2)
			m.Name, m.Spec.Target.DomainRef.Name = "rupar-attesa", "pec.nessuno.test"
			return m
		},
		stalled: func(s *site) reconcile.Object {
			m := letter(s, 2)
			m.Name, m.Spec.Calendar.Phases[0].Until = "rupar-sbagliata", "2022-04-28T17:00:00" // before OpenNew
			return m
		},
		suspend: func(o client.Object, v v1alpha1.Suspend) { o.(*v1alpha1.MailboxMigration).Spec.Suspend = v },
	},
	"RetentionPolicy": {
		resource: "retentionpolicies",
		prepare: func(t *testing.T, s *site) {
			outside := s.hostedDomain("generi-comune", "pec.esterno.test")
			outside.Spec.Provider = v1alpha1.DomainProvider{Type: v1alpha1.ProviderExternal, External: &v1alpha1.ExternalProvider{
				Name: "Altro gestore", MailExchangers: []v1alpha1.Hostname{"mx.esterno.test"}, IMAP: v1alpha1.Endpoint{Host: "imaps.esterno.test"}}}
			s.create(t, s.hostedDomain("generi-comune", "pec.archivio.test"), s.hostedDomain("generi-comune", "pec.senza-posto.test"), outside, archive("generi-comune"))
			for _, domain := range []string{"pec.archivio.test", "pec.senza-posto.test", outside.Name} {
				s.create(t, makeMailbox("generi-comune", "protocollo", domain))
			}
		},
		done: func(*site) reconcile.Object {
			return ordinary("generi-comune", "pec.archivio.test", "ordinary", "archive")
		},
		waiting: func(*site) reconcile.Object {
			return ordinary("generi-comune", "pec.senza-posto.test", "ordinary-attesa", "nessuno")
		},
		stalled: func(*site) reconcile.Object {
			return ordinary("generi-comune", "pec.esterno.test", "ordinary-esterna", "archive")
		},
		suspend: func(o client.Object, v v1alpha1.Suspend) { o.(*v1alpha1.RetentionPolicy).Spec.Suspend = v },
	},
}

// told says what is missing of an event of an object about a slot.
func (s *site) told(o client.Object, reason, slot string) error {
	var list eventsv1.EventList
	if err := s.List(context.Background(), &list, client.InNamespace(o.GetNamespace())); err != nil {
		return err
	}
	for _, e := range list.Items {
		if e.Regarding.UID == o.GetUID() && e.Reason == reason && strings.HasPrefix(e.Note, slot+", due ") {
			return nil
		}
	}
	return fmt.Errorf("no event %s tells of %s", reason, slot)
}

// watched are the kinds that an operator acts on: it caches them, and the chart lets it write their status.
func watched(t *testing.T) []string {
	t.Helper()
	names := map[string]string{"pecdomains": "PECDomain", "mailboxes": "Mailbox", "mailboxmigrations": "MailboxMigration", "retentionpolicies": "RetentionPolicy"}
	var out []string
	for _, r := range rightsOf(t, "cluster-rules.yaml") {
		name := names[strings.TrimSuffix(r.resource, "/status")]
		if r.verb == "patch" && strings.HasSuffix(r.resource, "/status") && manager.Cached(name) {
			out = append(out, name)
		}
	}
	return out
}

func TestEveryKind(t *testing.T) {
	apitest.Need(t, server)
	server.RunControllers(t, "job-controller")
	s := newSite(t, "generi", siteOptions{namespaces: []string{"generi-comune"}})
	host := s.makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.AllowedNamespaces = []string{"generi-comune"} })
	s.provide(t)
	s.create(t, host, password(s.ns, canary))
	s.ready(t, host)
	for _, name := range watched(t) {
		k, ok := kinds[name]
		if !ok {
			t.Errorf("an operator writes the status of %s, which has no row in kinds", name)
			continue
		}
		t.Run(name, func(t *testing.T) { testKind(t, s, name, k) })
	}
}

func testKind(t *testing.T, s *site, name string, k kind) {
	ctx := context.Background()
	if k.prepare != nil {
		k.prepare(t, s)
	}
	o, waiting, stalled := k.done(s), k.waiting(s), k.stalled(s)
	time.Sleep(1100 * time.Millisecond) // creation times have whole seconds, and of two claims of a domain the older wins
	s.create(t, waiting, stalled, o)
	s.reaches(t, waiting, v1alpha1.ConditionReconciling, metav1.ConditionTrue)
	golden(t, name, "waiting", waiting)
	s.reaches(t, stalled, v1alpha1.ConditionStalled, metav1.ConditionTrue)
	golden(t, name, "stalled", stalled)
	if k.carry != nil {
		k.carry(t, s, o)
	}
	s.reaches(t, o, top(o), metav1.ConditionTrue)
	golden(t, name, "ready", o)

	t.Run("a request is answered at once, in one write", func(t *testing.T) {
		s.settle(t)
		began := time.Now()
		s.request(t, o, "2026-03-01T12:00:00Z")
		eventually(t, func() error {
			if got := s.read(t, o)["lastHandledReconcileAt"]; got != "2026-03-01T12:00:00Z" {
				return fmt.Errorf("handled is %v", got)
			}
			return nil
		})
		if took := time.Since(began); took > promptly {
			t.Errorf("it took %s", took)
		}
		s.wrote(t, o, 1)
	})

	t.Run("a pass over an unchanged object writes nothing", func(t *testing.T) {
		for range 3 {
			for _, request := range []string{"", "2026-03-01T12:00:00Z"} {
				passed(t, o, func() { s.request(t, o, request) })
			}
		}
		s.wrote(t, o, 0)
	})

	t.Run("suspension is visible, one write, and taken back", func(t *testing.T) {
		s.settle(t)
		s.edit(t, o, func(o client.Object) { k.suspend(o, v1alpha1.SuspendReconciliation) })
		s.reaches(t, o, v1alpha1.ConditionSuspended, metav1.ConditionTrue)
		golden(t, name, "suspended", o)
		s.wrote(t, o, 1)
		out, err := server.Kubectl(t, "get", k.resource, "-n", o.GetNamespace(), o.GetName(), "-o", "wide")
		if err != nil || !strings.Contains(out, v1alpha1.ReasonSuspended) {
			t.Errorf("kubectl get -o wide does not show it (%v): %s", err, out)
		}
		s.edit(t, o, func(o client.Object) { k.suspend(o, v1alpha1.SuspendNone) })
		s.reaches(t, o, top(o), metav1.ConditionTrue)
		eventually(t, func() error {
			if s.read(t, o); meta.FindStatusCondition(o.GetConditions(), v1alpha1.ConditionSuspended) != nil {
				return errors.New("Suspended stays")
			}
			return nil
		})
	})

	t.Run("nothing is written to an object that is being deleted", func(t *testing.T) {
		s.edit(t, o, func(o client.Object) { o.SetFinalizers([]string{"pec-operator.test/held"}) })
		s.settle(t)
		if err := s.Delete(ctx, o); err != nil {
			t.Fatal(err)
		}
		s.read(t, o)
		s.request(t, o, "after")
		time.Sleep(time.Second)
		s.read(t, o)
		golden(t, name, "deleting", o)
		s.wrote(t, o, 0)
		s.edit(t, o, func(o client.Object) { o.SetFinalizers(nil) })
	})
}

// top is the top condition of an object's kind.
func top(o reconcile.Object) string {
	return topOf(reflect.TypeOf(o).Elem().Name())
}

func topOf(kind string) string {
	if kind == "MailboxMigration" {
		return check.Succeeded
	}
	return v1alpha1.ConditionReady
}

// reaches waits until a condition has a status and speaks of the spec that is there.
func (s *site) reaches(t *testing.T, o reconcile.Object, conditionType string, status metav1.ConditionStatus) {
	t.Helper()
	eventually(t, func() error {
		s.read(t, o)
		c := meta.FindStatusCondition(o.GetConditions(), conditionType)
		if c == nil || c.Status != status || c.ObservedGeneration != o.GetGeneration() {
			return fmt.Errorf("%s is not %s=%s: %v", o.GetName(), conditionType, status, o.GetConditions())
		}
		return nil
	})
	check.Status(t, o)
}

// read reads an object again, and answers its status as it is stored.
func (s *site) read(t *testing.T, o client.Object) map[string]any {
	t.Helper()
	s.get(t, o.GetNamespace(), o.GetName(), o)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	status, _ := content["status"].(map[string]any)
	return status
}

// edit reads an object, changes it and writes it, without minding who wrote meanwhile.
func (s *site) edit(t *testing.T, o client.Object, change func(client.Object)) {
	t.Helper()
	update(t, s, o, change)
}

// request asks for a pass by annotation; "" withdraws a request, which is a pass too.
func (s *site) request(t *testing.T, o client.Object, value string) {
	t.Helper()
	s.edit(t, o, func(o client.Object) {
		annotations := o.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[v1alpha1.ReconcileRequestedAnnotation] = value
		if value == "" {
			delete(annotations, v1alpha1.ReconcileRequestedAnnotation)
		}
		o.SetAnnotations(annotations)
	})
}

// settle waits until the operator has written nothing for two seconds, and forgets what it wrote.
func (s *site) settle(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		s.writes.Take()
		time.Sleep(2 * time.Second)
		if calls := s.writes.Take(); len(calls) > 0 {
			return fmt.Errorf("the operator still writes: %q", calls)
		}
		return nil
	})
}

// wrote fails the test unless the operator wrote to an object so many times since the last settle.
func (s *site) wrote(t *testing.T, o client.Object, want int) {
	t.Helper()
	calls := s.writes.Take()
	n := 0
	for _, call := range calls {
		if strings.Contains(call, "/namespaces/"+o.GetNamespace()+"/") && strings.Contains(call, "/"+o.GetName()+"/") {
			n++
		}
	}
	if n != want {
		t.Errorf("%d writes to %s, want %d: %q", n, o.GetName(), want, calls)
	}
}

// passesOver counts the passes over a kind that the operators of this process have ended.
func passesOver(t *testing.T, kind string) int {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, family := range families {
		if family.GetName() != "pec_operator_passes_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			if slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == "kind" && l.GetValue() == kind }) {
				n += int(m.GetCounter().GetValue())
			}
		}
	}
	return n
}

// states are those that every kind has, what kstatus must say of each, and on what kubectl wait must end and on what it must not.
var states = map[string]struct {
	want         kstatus.Status
	comes, never string
}{
	"waiting":   {kstatus.InProgressStatus, v1alpha1.ConditionReconciling, "top"},
	"stalled":   {kstatus.FailedStatus, v1alpha1.ConditionStalled, "top"},
	"ready":     {kstatus.CurrentStatus, "top", v1alpha1.ConditionReconciling},
	"suspended": {kstatus.CurrentStatus, v1alpha1.ConditionSuspended, "top"}, // Ready still speaks of the spec before the suspension
	"deleting":  {kstatus.TerminatingStatus, "", "top"},
}

// TestGoldenStatuses writes each golden status to a real API server, and asks kstatus and kubectl what they make of it.
func TestGoldenStatuses(t *testing.T) {
	apitest.Need(t, server)
	c, err := client.New(server.Config, client.Options{Scheme: manager.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if out, err := server.Kubectl(t, "version"); err != nil {
		t.Fatal(out)
	}
	for _, name := range watched(t) {
		for state, want := range states {
			t.Run(name+" "+state, func(t *testing.T) {
				t.Parallel() // kubectl mostly waits
				o := placeGolden(t, c, name, state)
				got, err := kstatus.Compute(o)
				if err != nil || got.Status != want.want {
					t.Errorf("kstatus says %v (%v), want %s", got, err, want.want)
				}
				wait := func(condition, timeout string) (string, error) {
					if condition == "top" {
						condition = topOf(name)
					}
					return server.Kubectl(t, "wait", "-n", o.GetNamespace(), kinds[name].resource+"/"+o.GetName(), "--for=condition="+condition, "--timeout="+timeout)
				}
				if want.comes != "" {
					if out, err := wait(want.comes, "10s"); err != nil {
						t.Errorf("kubectl wait --for=condition=%s hangs: %s", want.comes, out)
					}
				}
				if out, err := wait(want.never, "1s"); err == nil || !strings.Contains(out, "timed out waiting for the condition") {
					t.Errorf("kubectl wait --for=condition=%s ends (%v): %s", want.never, err, out) // another error is no waiting
				}
				o.SetFinalizers(nil)
				if err := c.Update(ctx, o); err != nil {
					t.Error(err)
				}
				if err := c.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
					t.Error(err)
				}
			})
		}
	}
}

// placeGolden creates the object of a golden file with its status, as far from its own generation as in the file.
func placeGolden(t *testing.T, c client.Client, name, state string) *unstructured.Unstructured {
	t.Helper()
	ctx := context.Background()
	raw, err := os.ReadFile(goldenFile(name, state))
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	if raw, err = yaml.YAMLToJSON(raw); err != nil {
		t.Fatal(err)
	}
	if err := o.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	ns := "stati-" + state // an object of one name is there in several states
	if err := c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	o.SetNamespace(ns)
	status, generation, deleted := o.Object["status"], o.GetGeneration(), o.GetDeletionTimestamp() != nil
	o.SetDeletionTimestamp(nil)
	if err := c.Create(ctx, o); err != nil {
		t.Fatal(err)
	}
	shift := o.GetGeneration() - generation
	if deleted {
		shift++ // the deletion counts as a generation
	}
	o.Object["status"] = shifted(status, shift)
	if err := c.Status().Update(ctx, o); err != nil {
		t.Fatal(err)
	}
	if deleted {
		if err := c.Delete(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// shifted adds n to every observedGeneration below v.
func shifted(v any, n int64) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if g, ok := value.(int64); ok && key == "observedGeneration" {
				v[key] = g + n
				continue
			}
			v[key] = shifted(value, n)
		}
	case []any:
		for i := range v {
			v[i] = shifted(v[i], n)
		}
	}
	return v
}

func goldenFile(kind, state string) string {
	return filepath.Join("testdata", "statuses", strings.ToLower(kind)+"-"+state+".yaml")
}

// golden compares an object, without what differs from run to run, with the file of its kind and state.
func golden(t *testing.T, kind, state string, o client.Object) {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	metadata := map[string]any{"name": o.GetName(), "namespace": o.GetNamespace(), "generation": o.GetGeneration()}
	if o.GetDeletionTimestamp() != nil {
		metadata["deletionTimestamp"], metadata["finalizers"] = someTime, o.GetFinalizers()
	}
	stable(content["status"])
	raw, err := yaml.Marshal(map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": reflect.TypeOf(o).Elem().Name(),
		"metadata": metadata, "spec": content["spec"], "status": content["status"]})
	if err != nil {
		t.Fatal(err)
	}
	file := goldenFile(kind, state)
	if *updateGolden {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(raw)); diff != "" {
		t.Errorf("%s differs (-want +got); if that is meant, run: go test ./internal/manager -run TestEveryKind -update\n%s", file, diff)
	}
}

const someTime = "2026-01-01T00:00:00Z"

var timeForm = regexp.MustCompile(`^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-9:]{8}Z$`)

// stable replaces below v what differs from run to run.
func stable(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			text, isText := value.(string)
			switch {
			case isText && timeForm.MatchString(text):
				v[key] = someTime
			case key == "uid":
				v[key] = "00000000-0000-0000-0000-000000000000"
			case key == "caBundle":
				v[key] = "CERTIFICATE"
			case key == "specHash":
				v[key] = "HASH"
			default:
				stable(value)
			}
		}
	case []any:
		for _, item := range v {
			stable(item)
		}
	}
}
