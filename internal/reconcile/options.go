package reconcile

import (
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	crreconcile "sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// backoffFrom and backoffTo bound the pauses after failed calls.
const backoffFrom, backoffTo = time.Second, 5 * time.Minute

// Options are those of every controller: how many passes run at once, and how long one may take, so that a neighbour that hangs
// holds up one object and not all.
func Options(concurrent int, passTimeout time.Duration) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: concurrent,
		ReconciliationTimeout:   passTimeout,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[crreconcile.Request](backoffFrom, backoffTo),
	}
}
