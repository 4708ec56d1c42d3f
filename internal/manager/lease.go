package manager

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// leaseName is that of the Lease by which one of several replicas works.
const leaseName = "pec-operator"

// leaseEvery is how often a replica that stands by looks at the Lease; less than what counts as an absence.
const leaseEvery = 30 * time.Second

// lease remembers when an operator of this site last renewed its Lease before this one was elected: until then the services were measured.
// Reading it costs no write.
type lease struct {
	reader  client.Reader
	key     client.ObjectKey
	elected <-chan struct{}

	mu   sync.Mutex
	last time.Time
}

// watchLease answers when an operator last lived before this one was elected; zero when nobody knows.
func watchLease(ctx context.Context, mgr ctrl.Manager, o Options) (func() time.Time, error) {
	if !o.LeaderElect {
		return func() time.Time { return time.Time{} }, nil
	}
	l := &lease{reader: mgr.GetAPIReader(), key: client.ObjectKey{Namespace: o.Namespace, Name: leaseName}, elected: mgr.Elected()}
	if err := l.look(ctx); err != nil {
		return nil, err
	}
	if err := mgr.Add(l); err != nil {
		return nil, fmt.Errorf("adding the watch over the Lease: %w", err)
	}
	return func() time.Time {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.last
	}, nil
}

// Start looks until this replica is elected.
func (l *lease) Start(ctx context.Context) error {
	tick := time.NewTicker(leaseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.elected:
			return nil
		case <-tick.C:
			_ = l.look(ctx) // what was known stays: an absence is then counted too long, never too short
		}
	}
}

// NeedLeaderElection is false: it is for who is not elected yet.
func (l *lease) NeedLeaderElection() bool { return false }

func (l *lease) look(ctx context.Context) error {
	held := &coordinationv1.Lease{}
	err := l.reader.Get(ctx, l.key, held)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading Lease %s: %w", l.key, err)
	}
	if held.Spec.RenewTime != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.last = held.Spec.RenewTime.Time
	}
	return nil
}
