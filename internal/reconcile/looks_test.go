package reconcile

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestLooks(t *testing.T) {
	const every = 5 * time.Minute
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	l := &Looks{Every: every}
	key := types.NamespacedName{Name: "nuova"}
	if due, after := l.Due(key, false, now); !due || after < every || after > every*6/5 {
		t.Errorf("of what nothing is known: due %v, the next after %s", due, after)
	}
	if due, after := l.Due(key, true, now.Add(time.Minute)); due || after < every-time.Minute {
		t.Errorf("a minute later: due %v, the next after %s", due, after)
	}
	if due, _ := l.Due(key, true, now.Add(every*6/5)); !due {
		t.Error("after the period it is not due")
	}
	l.Forget(key)
	if due, _ := l.Due(key, false, now); !due {
		t.Error("what was forgotten is not due")
	}

	// An operator that starts looks at what is known all over the period.
	perMinute := map[time.Duration]int{}
	for i := range 1000 {
		key := types.NamespacedName{Name: fmt.Sprint(i)}
		due, after := l.Due(key, true, now)
		if due || after > every {
			t.Fatalf("the first look: due %v, after %s", due, after)
		}
		if due, _ := l.Due(key, true, now.Add(after)); !due {
			t.Fatal("when its time has come it is not due")
		}
		perMinute[after/time.Minute]++
	}
	for minute := range every / time.Minute {
		if n := perMinute[minute]; n < 100 || n > 300 {
			t.Errorf("%d of 1000 looks in minute %d", n, minute)
		}
	}
}
