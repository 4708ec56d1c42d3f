package check

import (
	"context"
	"reflect"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// Watch judges every status that is written on an API server, as it is written, until the test ends.
func Watch(t testing.TB, config *rest.Config) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	for _, list := range []client.ObjectList{
		&v1alpha1.PECDomainList{}, &v1alpha1.MailboxList{}, &v1alpha1.MailboxMigrationList{}, &v1alpha1.RetentionPolicyList{},
	} {
		w, err := c.Watch(ctx, list)
		if err != nil {
			t.Fatal(err)
		}
		watching.Go(func() {
			last := map[types.UID]any{}
			for judge(t, w, last); ctx.Err() == nil; judge(t, w, last) {
				// The API server ends the watch of a reader that is too slow for it; a new one brings everything again.
				if w, err = c.Watch(ctx, list); err != nil {
					if ctx.Err() == nil {
						t.Errorf("the oracle cannot watch: %v", err)
					}
					return
				}
			}
		})
	}
	t.Cleanup(func() { cancel(); watching.Wait() })
}

// judge judges what a watch brings, and keeps the last status of each object.
func judge(t testing.TB, w watch.Interface, last map[types.UID]any) {
	for e := range w.ResultChan() {
		o, ok := e.Object.(client.Object)
		if !ok || e.Type == watch.Deleted {
			continue
		}
		now := status(o).Interface()
		fresh := observedGeneration(o) == -1 && len(conditionsOf(o)) == 0
		if fresh || reflect.DeepEqual(last[o.GetUID()], now) {
			continue // what changed is the spec or the metadata: the operator has not spoken of it yet
		}
		last[o.GetUID()] = now
		for _, problem := range Broken(o) {
			t.Errorf("%T %s at resource version %s: %s", o, client.ObjectKeyFromObject(o), o.GetResourceVersion(), problem)
		}
	}
}
