package mailbox

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	crreconcile "sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/engines"
)

const (
	// compareEvery is how often each stack is asked whether its directory is still as it was.
	compareEvery = time.Second
	// stacksAtOnce are asked at the same time; a round takes as long as its slowest stack, ten seconds for one that does not answer.
	stacksAtOnce = 32
)

// compareStacks wakes the mailboxes whose rows became others without our asking: a holder changed his settings, a person changed
// the directory, or a volume came back from a backup. Nothing else of a quiet mailbox is looked at.
func (r *Reconciler) compareStacks(ctx context.Context, queue workqueue.TypedRateLimitingInterface[crreconcile.Request]) error {
	go wait.UntilWithContext(ctx, func(ctx context.Context) { r.compareAll(ctx, queue) }, compareEvery)
	return nil
}

func (r *Reconciler) compareAll(ctx context.Context, queue workqueue.TypedRateLimitingInterface[crreconcile.Request]) {
	var domains v1alpha1.PECDomainList
	if r.Client.List(ctx, &domains, client.UnsafeDisableDeepCopy) != nil {
		return // a cache that cannot list is being stopped
	}
	var group errgroup.Group
	group.SetLimit(stacksAtOnce)
	for i := range domains.Items {
		d := &domains.Items[i]
		if d.Spec.Provider.Type != v1alpha1.ProviderManaged {
			continue
		}
		key := client.ObjectKeyFromObject(d)
		directory := r.Engines.Directory(engines.First(key))
		if answers := takesMailboxes(d) || rowsCount(d) && directory.Answers(); !answers {
			continue
		}
		group.Go(func() error {
			if err := directory.Compare(ctx); err != nil {
				logf.FromContext(ctx).V(4).Info("the directory cannot be compared", "PECDomain", key, "error", err.Error())
			}
			for _, row := range directory.Changes() {
				queue.Add(crreconcile.Request{NamespacedName: types.NamespacedName{Namespace: row.Owner.Namespace, Name: v1alpha1.MailboxName(row.Address)}})
			}
			return nil
		})
	}
	_ = group.Wait() // nothing answers an error
}
