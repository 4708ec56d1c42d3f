package reconcile_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/reconcile/check"
)

var table = reconcile.Table{
	Positive:    []string{"First", "Second"},
	Negative:    []string{"Broken"},
	Informative: []string{"Known"},
	Served:      "it works",
}

type harness struct {
	*reconcile.Mechanism
	client client.Client
	writes int
	events *events.FakeRecorder
	now    time.Time
}

func newHarness(t *testing.T, obj client.Object) *harness {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	h := &harness{events: events.NewFakeRecorder(100), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	base := fake.NewClientBuilder().WithScheme(scheme).WithObjects(obj).WithStatusSubresource(obj).Build()
	h.client = interceptor.NewClient(base, interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			h.writes++
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	})
	h.Mechanism = &reconcile.Mechanism{Kind: "test", Client: h.client, Recorder: h.events, Table: table,
		Now: func() time.Time { return h.now }}
	return h
}

// pass reads the object, runs one phase over it, and answers the object as it is stored afterwards.
func (h *harness) pass(t *testing.T, phase reconcile.Phase[*reconcile.Pass]) *v1alpha1.Mailbox {
	t.Helper()
	ctx := context.Background()
	obj := &v1alpha1.Mailbox{}
	key := client.ObjectKey{Namespace: "ns", Name: "m"}
	if err := h.client.Get(ctx, key, obj); err != nil {
		t.Fatal(err)
	}
	p, ok, err := h.Begin(ctx, obj)
	if err != nil {
		t.Fatal(err)
	}
	if ok {
		result, walkErr := reconcile.Walk(ctx, p, phase)
		_, _ = h.Finish(ctx, p, result, walkErr, nil)
	}
	stored := &v1alpha1.Mailbox{}
	if err := h.client.Get(ctx, key, stored); err != nil {
		t.Fatal(err)
	}
	check.Status(t, stored)
	return stored
}

func makeMailbox() *v1alpha1.Mailbox {
	return &v1alpha1.Mailbox{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Mailbox"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "m", Generation: 3},
		Status:     v1alpha1.MailboxStatus{ObservedGeneration: -1},
	}
}

func TestWhatAPassLeaves(t *testing.T) {
	allTrue := func(p *reconcile.Pass) {
		p.True("First", "Good", "first is good")
		p.True("Second", "Good", "second is good")
	}
	for name, c := range map[string]struct {
		phase      reconcile.Phase[*reconcile.Pass]
		wantReady  metav1.ConditionStatus
		wantReason string
		wantAlso   string // a condition that must be there
	}{
		"every part True is Ready": {
			func(_ context.Context, p *reconcile.Pass) (reconcile.Result, error) {
				allTrue(p)
				return reconcile.Result{}, nil
			}, metav1.ConditionTrue, v1alpha1.ReasonServed, "First"},
		"a part that nobody said is Unknown, and so is Ready": {
			func(_ context.Context, p *reconcile.Pass) (reconcile.Result, error) {
				p.True("First", "Good", "first is good")
				return reconcile.Result{}, nil
			}, metav1.ConditionUnknown, v1alpha1.ReasonNotEvaluated, "Second"},
		"a False part wins over an Unknown one": {
			func(_ context.Context, p *reconcile.Pass) (reconcile.Result, error) {
				p.False("Second", "Bad", "second is bad")
				return reconcile.Result{}, nil
			}, metav1.ConditionFalse, "Bad", "First"},
		"waiting is Reconciling, never Stalled": {
			func(_ context.Context, p *reconcile.Pass) (reconcile.Result, error) {
				return reconcile.Result{}, reconcile.Waiting(time.Second, "First", "NotYet", "it starts")
			}, metav1.ConditionFalse, "NotYet", v1alpha1.ConditionReconciling},
		"stalled by a negative condition": {
			func(_ context.Context, p *reconcile.Pass) (reconcile.Result, error) {
				allTrue(p)
				return reconcile.Result{}, reconcile.StalledBy("Broken", "Gone", "it is gone; restore it")
			}, metav1.ConditionFalse, "Gone", v1alpha1.ConditionStalled},
		"an informative condition says nothing of Ready": {
			func(_ context.Context, p *reconcile.Pass) (reconcile.Result, error) {
				allTrue(p)
				p.False("Known", "Unknown", "nobody knows")
				return reconcile.Result{}, nil
			}, metav1.ConditionTrue, v1alpha1.ReasonServed, "Known"},
		"a failed call on a fresh object leaves Ready Unknown and retries": {
			func(_ context.Context, p *reconcile.Pass) (reconcile.Result, error) {
				return reconcile.Result{}, errors.New("calling\nsomething: no route")
			}, metav1.ConditionUnknown, v1alpha1.ReasonNotEvaluated, v1alpha1.ConditionReconciling},
	} {
		t.Run(name, func(t *testing.T) {
			got := newHarness(t, makeMailbox()).pass(t, c.phase)
			ready := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionReady)
			if ready.Status != c.wantReady || ready.Reason != c.wantReason {
				t.Errorf("Ready = %s %s, want %s %s", ready.Status, ready.Reason, c.wantReady, c.wantReason)
			}
			if meta.FindStatusCondition(got.Status.Conditions, c.wantAlso) == nil {
				t.Errorf("%s is missing in %v", c.wantAlso, got.Status.Conditions)
			}
		})
	}
}

func TestWhoIsHeldIsNeitherUnderWayNorAtFault(t *testing.T) {
	h := newHarness(t, makeMailbox())
	stored := h.pass(t, func(context.Context, *reconcile.Pass) (reconcile.Result, error) {
		return reconcile.Result{}, reconcile.Held(time.Hour, "First", "Full", "there is no room; wait")
	})
	ready := meta.FindStatusCondition(stored.Status.Conditions, v1alpha1.ConditionReady)
	if ready.Status != metav1.ConditionFalse || ready.Reason != "Full" {
		t.Errorf("Ready is %s %s", ready.Status, ready.Reason)
	}
	for _, name := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if c := meta.FindStatusCondition(stored.Status.Conditions, name); c != nil {
			t.Errorf("%s is there: %s", name, c.Message)
		}
	}
}

func TestAQuietPassWritesNothing(t *testing.T) {
	for name, phase := range map[string]reconcile.Phase[*reconcile.Pass]{
		"while waiting": func(context.Context, *reconcile.Pass) (reconcile.Result, error) {
			return reconcile.Result{}, reconcile.Waiting(time.Second, "First", "NotYet", "it starts")
		},
		"while ready": func(_ context.Context, p *reconcile.Pass) (reconcile.Result, error) {
			p.True("First", "Good", "first is good")
			p.True("Second", "Good", "second is good")
			return reconcile.Result{}, nil
		},
		"while a call fails": func(context.Context, *reconcile.Pass) (reconcile.Result, error) {
			return reconcile.Result{}, errors.New("no route")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, makeMailbox())
			h.pass(t, phase)
			h.now = h.now.Add(time.Hour)
			h.pass(t, phase)
			h.pass(t, phase)
			if h.writes != 1 {
				t.Errorf("three equal passes wrote %d times, want once", h.writes)
			}
		})
	}
}

func TestAFailedCallKeepsWhatWasKnown(t *testing.T) {
	h := newHarness(t, makeMailbox())
	h.pass(t, func(_ context.Context, p *reconcile.Pass) (reconcile.Result, error) {
		p.True("First", "Good", "first is good")
		p.True("Second", "Good", "second is good")
		return reconcile.Result{}, nil
	})
	got := h.pass(t, func(context.Context, *reconcile.Pass) (reconcile.Result, error) {
		return reconcile.Result{}, errors.New("no route")
	})
	if !meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionReady) {
		t.Error("a failed call turned a mailbox red that it says nothing of")
	}
	if !meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionReconciling) {
		t.Error("a failed call is not visible")
	}
}

func TestAFailedCallJudgesNoNewSpec(t *testing.T) {
	h := newHarness(t, makeMailbox())
	obj := h.pass(t, func(_ context.Context, p *reconcile.Pass) (reconcile.Result, error) {
		p.True("First", "Good", "first is good")
		p.True("Second", "Good", "second is good")
		return reconcile.Result{}, nil
	})
	obj.Generation++
	if err := h.client.Update(context.Background(), obj); err != nil {
		t.Fatal(err)
	}
	got := h.pass(t, func(_ context.Context, p *reconcile.Pass) (reconcile.Result, error) {
		p.True("First", "Good", "first is good")
		return reconcile.Result{}, errors.New("no route")
	})
	if ready := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionReady); ready.ObservedGeneration != 3 {
		t.Errorf("Ready speaks of generation %d, and a part of it was last judged at 3", ready.ObservedGeneration)
	}
}

func TestSuspendIsVisibleAndTakenBack(t *testing.T) {
	obj := makeMailbox()
	obj.Spec.Suspend = v1alpha1.SuspendReconciliation
	h := newHarness(t, obj)
	phase := func(_ context.Context, p *reconcile.Pass) (reconcile.Result, error) {
		p.True("First", "Good", "first is good")
		p.True("Second", "Good", "second is good")
		return reconcile.Result{}, nil
	}
	got := h.pass(t, phase)
	if !meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionSuspended) {
		t.Error("suspension is not visible")
	}
	got.Spec.Suspend = v1alpha1.SuspendNone
	if err := h.client.Update(context.Background(), got); err != nil {
		t.Fatal(err)
	}
	if got = h.pass(t, phase); meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionSuspended) != nil {
		t.Error("suspension stays after it was taken back")
	}
}

func TestSuspendKeepsWhatIsKnownAndTakesTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		known      []metav1.Condition
		wantStatus metav1.ConditionStatus
	}{
		"a fresh object is Unknown": {nil, metav1.ConditionUnknown},
		"a Ready one stays so, of the generation that was judged": {[]metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue,
			Reason: v1alpha1.ReasonServed, Message: "it works", ObservedGeneration: 2, LastTransitionTime: metav1.Unix(1, 0)}}, metav1.ConditionTrue},
	} {
		t.Run(name, func(t *testing.T) {
			obj := makeMailbox()
			obj.Spec.Suspend, obj.Status.Conditions = v1alpha1.SuspendReconciliation, c.known
			h := newHarness(t, obj)
			h.pass(t, nil)
			h.pass(t, nil)
			ready := meta.FindStatusCondition(h.pass(t, nil).Status.Conditions, v1alpha1.ConditionReady)
			if ready.Status != c.wantStatus || ready.Reason != v1alpha1.ReasonSuspended {
				t.Errorf("Ready = %s %s, want %s %s", ready.Status, ready.Reason, c.wantStatus, v1alpha1.ReasonSuspended)
			}
			if c.known != nil && ready.ObservedGeneration != 2 {
				t.Error("Ready speaks of a generation that nobody judged: kubectl wait would believe it")
			}
			if h.writes != 1 {
				t.Errorf("%d writes, want one", h.writes)
			}
		})
	}
}

func TestARequestIsAnsweredOnce(t *testing.T) {
	h := newHarness(t, makeMailbox())
	var requested bool
	phase := func(_ context.Context, p *reconcile.Pass) (reconcile.Result, error) {
		requested = p.Request() != ""
		return reconcile.Result{}, reconcile.Waiting(time.Second, "First", "NotYet", "it starts; wait")
	}
	h.pass(t, phase)
	for _, c := range []struct {
		request, want string
		requested     bool
		writes        int
	}{
		{"now", "now", true, 2}, {"now", "now", false, 2}, {"", "now", false, 2}, {strings.Repeat("x", 100), strings.Repeat("x", 64), true, 3},
	} {
		obj := h.pass(t, phase)
		obj.Annotations = map[string]string{v1alpha1.ReconcileRequestedAnnotation: c.request}
		if err := h.client.Update(context.Background(), obj); err != nil {
			t.Fatal(err)
		}
		if got := h.pass(t, phase); got.Status.LastHandledReconcileAt != c.want || h.writes != c.writes || requested != c.requested {
			t.Errorf("request %q (seen %t): answered %q in %d writes, want %q in %d", c.request, requested, got.Status.LastHandledReconcileAt, h.writes, c.want, c.writes)
		}
	}
}

func TestWhatIsOnlyLookedAtAgainGoesBehindWhatChanged(t *testing.T) {
	for sentence, c := range map[string]struct {
		err  error
		want int
	}{
		"a look at what is well":      {nil, handler.LowPriority},
		"a look at what a person did": {reconcile.Stalled("First", "Wrong", "it is wrong; mend it"), handler.LowPriority},
		"what is under way":           {reconcile.Waiting(time.Second, "First", "NotYet", "it starts; wait"), 0},
	} {
		t.Run(sentence, func(t *testing.T) {
			h := newHarness(t, makeMailbox())
			obj := &v1alpha1.Mailbox{}
			if err := h.client.Get(t.Context(), client.ObjectKey{Namespace: "ns", Name: "m"}, obj); err != nil {
				t.Fatal(err)
			}
			p := reconcile.NewPass(obj, h.now)
			answer, err := h.Finish(t.Context(), p, reconcile.Result{RequeueAfter: time.Minute}, c.err, nil)
			if err != nil || answer.RequeueAfter == 0 || answer.Priority == nil || *answer.Priority != c.want {
				t.Errorf("answered %+v, %v, want priority %d", answer, err, c.want)
			}
		})
	}
}

func TestWorkIsSaidBeforeItIsDone(t *testing.T) {
	h := newHarness(t, makeMailbox())
	var before *v1alpha1.Mailbox
	phase := func(ctx context.Context, p *reconcile.Pass) (reconcile.Result, error) {
		if err := h.Working(ctx, p, "Starting", "it starts; wait"); err != nil {
			return reconcile.Result{}, err
		}
		before = &v1alpha1.Mailbox{}
		if err := h.client.Get(ctx, client.ObjectKey{Namespace: "ns", Name: "m"}, before); err != nil {
			return reconcile.Result{}, err
		}
		p.True("First", "Good", "first is good")
		p.True("Second", "Good", "second is good")
		return reconcile.Result{}, nil
	}
	after := h.pass(t, phase)
	if problems := check.Broken(before); len(problems) > 0 || !meta.IsStatusConditionTrue(before.Status.Conditions, v1alpha1.ConditionReconciling) {
		t.Errorf("while it worked the status was %v: %q", before.Status.Conditions, problems)
	}
	if before.Status.ObservedGeneration != -1 {
		t.Error("a spec that nobody has judged looks observed")
	}
	if !meta.IsStatusConditionTrue(after.Status.Conditions, v1alpha1.ConditionReady) || h.writes != 2 {
		t.Errorf("after %d writes the status is %v", h.writes, after.Status.Conditions)
	}
	h.pass(t, phase)
	if h.writes != 2 {
		t.Error("a quiet pass wrote")
	}
}

func TestAKindThatEnds(t *testing.T) {
	h := newHarness(t, makeMailbox())
	h.Table.Top = check.Succeeded
	for name, c := range map[string]struct {
		second metav1.ConditionStatus
		want   bool
	}{
		"works until its top condition is True": {metav1.ConditionFalse, true},
		"and then is done":                      {metav1.ConditionTrue, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.pass(t, func(_ context.Context, p *reconcile.Pass) (reconcile.Result, error) {
				p.True("First", "Good", "first is good")
				p.Say("Second", c.second, "Copied", "half is copied; wait")
				return reconcile.Result{}, nil
			})
			if meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionReconciling) != c.want {
				t.Errorf("conditions are %v: kstatus does not know Succeeded", got.Status.Conditions)
			}
		})
	}
}

func TestTheOracleSees(t *testing.T) {
	sound := func() *v1alpha1.Mailbox {
		m := makeMailbox()
		m.Status.ObservedGeneration = 3
		m.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Good", Message: "it is good",
			LastTransitionTime: metav1.Unix(1, 0)}}
		return m
	}
	if problems := check.Problems(sound()); len(problems) > 0 {
		t.Fatalf("a sound status: %q", problems)
	}
	add := func(name, reason string, status metav1.ConditionStatus) func(*v1alpha1.Mailbox) {
		return func(m *v1alpha1.Mailbox) {
			m.Status.Conditions = append(m.Status.Conditions, metav1.Condition{Type: name, Status: status, Reason: reason, Message: "x", LastTransitionTime: metav1.Unix(1, 0)})
		}
	}
	for want, spoil := range map[string]func(*v1alpha1.Mailbox){
		"no top condition":        func(m *v1alpha1.Mailbox) { m.Status.Conditions = nil },
		"observedGeneration is 2": func(m *v1alpha1.Mailbox) { m.Status.ObservedGeneration = 2 },
		"is there twice":          add(v1alpha1.ConditionReady, "Good", metav1.ConditionTrue),
		"has the reason":          add("Part", "not a word", metav1.ConditionTrue),
		"says nothing":            func(m *v1alpha1.Mailbox) { m.Status.Conditions[0].Message = "" },
		"says 2049 bytes":         func(m *v1alpha1.Mailbox) { m.Status.Conditions[0].Message = strings.Repeat("x", 2049) },
		"never changed":           func(m *v1alpha1.Mailbox) { m.Status.Conditions[0].LastTransitionTime = metav1.Time{} },
		"not there yet":           func(m *v1alpha1.Mailbox) { m.Status.Conditions[0].ObservedGeneration = 4 },
		"only while True":         add(v1alpha1.ConditionClaimLost, "Gone", metav1.ConditionFalse),
		"Stalled and Ready":       add(v1alpha1.ConditionStalled, "Gone", metav1.ConditionTrue),
		"was judged of": func(m *v1alpha1.Mailbox) {
			add("Part", "Good", metav1.ConditionTrue)(m)
			m.Status.Conditions[0].ObservedGeneration, m.Status.Conditions[1].ObservedGeneration = 3, 2
		},
		"either lives or ends": add(check.Succeeded, "Done", metav1.ConditionTrue),
		"Reconciling at once": func(m *v1alpha1.Mailbox) {
			add(v1alpha1.ConditionStalled, "Gone", metav1.ConditionTrue)(m)
			add(v1alpha1.ConditionReconciling, "Gone", metav1.ConditionTrue)(m)
		},
	} {
		t.Run(want, func(t *testing.T) {
			m := sound()
			spoil(m)
			if problems := strings.Join(check.Problems(m), "\n"); !strings.Contains(problems, want) {
				t.Errorf("the oracle says %q", problems)
			}
		})
	}
}

func TestCovers(t *testing.T) {
	live := map[string]any{"a": int64(1), "extra": "x", "list": []any{map[string]any{"n": "p", "nodePort": int64(3)}}, "none": nil}
	for name, c := range map[string]struct {
		desired any
		want    bool
	}{
		"a subset is covered":                    {map[string]any{"a": int64(1)}, true},
		"another value is not":                   {map[string]any{"a": int64(2)}, false},
		"a missing field is not":                 {map[string]any{"b": int64(1)}, false},
		"a list item with defaults is covered":   {map[string]any{"list": []any{map[string]any{"n": "p"}}}, true},
		"a longer list is not":                   {map[string]any{"list": []any{map[string]any{"n": "p"}, map[string]any{"n": "q"}}}, false},
		"an empty map covers what is not there":  {map[string]any{"gone": map[string]any{}}, true},
		"an empty list covers what is not there": {map[string]any{"gone": []any{}}, true},
		"a map is not covered by a string":       {map[string]any{"extra": map[string]any{"x": "y"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := reconcile.Covers(live, c.desired); got != c.want {
				t.Errorf("Covers() = %v, want %v", got, c.want)
			}
		})
	}
}
