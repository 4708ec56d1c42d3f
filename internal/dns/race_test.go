package dns

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

// rounds of the race.
const rounds = 1000

// contend is one site's pass: observe, plan, write. It answers whether it wrote.
func contend(ctx context.Context, b Backend, want Desired) (bool, error) {
	decision := Plan(Classify(want, b.Observe(ctx, want.Domain)), want, Policy{Mode: UpdateMode})
	if decision.Do == nil {
		return false, nil
	}
	err := Carry(ctx, b, *decision.Do)
	return err == nil, err
}

// Two operators race for one name while, in half of the rounds, its administrator points the MX elsewhere at some moment of the
// race. Whatever the order: one owner at most, one write at most, and a foreign set stays what it was.
func TestTwoSitesRaceAndAForeignSetWins(t *testing.T) {
	w := realWorld(t, false)
	other := want()
	other.Owner.Operator = "set-2"
	sites := []struct {
		backend Backend
		want    Desired
	}{{w.backend("site-a"), want()}, {w.backend("site-b"), other}}
	random := rand.New(rand.NewPCG(1, 2))
	claims, foreigns, lost := 0, 0, 0
	var refused atomic.Int64
	for round := range rounds {
		w.third(zone, func(m *miekg.Msg) {
			m.RemoveName([]miekg.RR{&miekg.ANY{Hdr: header(domain, miekg.TypeANY, 0)}, &miekg.ANY{Hdr: header(OwnerName(domain), miekg.TypeANY, 0)}})
		})
		intruder, delay := random.IntN(2) == 0, time.Duration(random.IntN(2500))*time.Microsecond
		wrote := make([]bool, len(sites))
		var wait sync.WaitGroup
		for i, site := range sites {
			wait.Go(func() {
				for range 2 { // a pass, and the next one, which must not touch what it finds
					ok, err := contend(t.Context(), site.backend, site.want)
					if errors.Is(err, ErrChanged) {
						refused.Add(1)
					} else if err != nil {
						t.Errorf("round %d: %v", round, err)
					}
					wrote[i] = wrote[i] || ok
				}
			})
		}
		if intruder {
			time.Sleep(delay)
			w.set(zone, domain, foreignSet)
		}
		wait.Wait()
		set, owners := w.sets(domain)
		switch {
		case wrote[0] && wrote[1], len(owners) > 1:
			t.Fatalf("round %d: two owners: %v", round, owners)
		case intruder && !set.Equal(foreignSet):
			t.Fatalf("round %d: the foreign set became %s", round, set)
		case !intruder && (!set.Equal(oursSet) || len(owners) != 1):
			t.Fatalf("round %d: nobody holds the name: %s %v", round, set, owners)
		}
		if intruder {
			foreigns++
		}
		if wrote[0] || wrote[1] {
			claims++
		} else {
			lost++
		}
	}
	t.Logf("%d rounds: %d claims, %d foreign sets, %d rounds in which the foreign set came first, %d writes refused by their prerequisites", rounds, claims, foreigns, lost, refused.Load())
}
