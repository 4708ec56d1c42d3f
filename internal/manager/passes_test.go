package manager_test

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// passLog is the operators' log, and counts the passes over each object that have ended well: controller-runtime tells of each, at a
// level that the log itself does not hold. The metric counts by kind, and of an object nobody asked about a pass comes every few seconds.
type passLog struct {
	slog.Handler
	ended                 *passCount
	kind, namespace, name string
}

type passCount struct {
	mu sync.Mutex
	of map[[3]string]int // kind, namespace, name
}

var passesEnded = &passCount{of: map[[3]string]int{}}

// passLevel is V(5) of controller-runtime.
const passLevel = slog.Level(-5)

func (passLog) Enabled(_ context.Context, level slog.Level) bool { return level >= passLevel }

func (l passLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Level == passLevel && strings.HasPrefix(r.Message, "Reconcile ") { // done, or successful; it begins with Reconciling
		l.ended.mu.Lock()
		defer l.ended.mu.Unlock()
		l.ended.of[[3]string{l.kind, l.namespace, l.name}]++
	}
	if !l.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}

func (l passLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	l.Handler = l.Handler.WithAttrs(attrs)
	for _, a := range attrs {
		switch a.Key {
		case "controllerKind":
			l.kind = a.Value.String()
		case "namespace":
			l.namespace = a.Value.String()
		case "name":
			l.name = a.Value.String()
		}
	}
	return l
}

func (l passLog) WithGroup(name string) slog.Handler {
	l.Handler = l.Handler.WithGroup(name)
	return l
}

// passed asks for a pass over an object, and waits until one has ended. A third of the 15 s after which one comes unasked: two such
// waits in a row that pass are two answers.
func passed(t *testing.T, o client.Object, ask func()) {
	t.Helper()
	of := [3]string{reflect.TypeOf(o).Elem().Name(), o.GetNamespace(), o.GetName()}
	ended := func() int {
		passesEnded.mu.Lock()
		defer passesEnded.mu.Unlock()
		return passesEnded.of[of]
	}
	before := ended()
	ask()
	eventuallyWithin(t, 5*time.Second, func() error {
		if ended() == before {
			return errors.New("no pass came over " + o.GetName())
		}
		return nil
	})
}
