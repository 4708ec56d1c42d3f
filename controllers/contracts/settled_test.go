package contracts

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/contract"
)

// simulated is one site: what it has, and what comes when.
type simulated struct {
	contract contract.Contract
	entry    entry
	has      map[string]contract.Holding
	comes    map[string]time.Duration
	decided  map[string]time.Duration // how long after it came a request was admitted
}

// live reads a page every 100 ms, as passes do while somebody waits, and provisions whom it admits, until nobody comes any more.
func (s *simulated) live(wants []contract.Claim) {
	began := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	end := time.Duration(0)
	for _, at := range s.comes {
		end = max(end, at+quiet+time.Second)
	}
	for at := time.Duration(0); at < end; at += 100 * time.Millisecond {
		var claims []contract.Claim
		waiting := false
		for _, c := range wants {
			if s.comes[c.Address] > at {
				continue
			}
			if has, there := s.has[c.Address]; there {
				c.Has = &has
			}
			claims, waiting = append(claims, c), waiting || c.Has == nil
		}
		if !waiting {
			continue
		}
		p := &Page{Contract: s.contract, read: began.Add(at), pending: map[string]time.Time{}}
		p.await(claims, &s.entry)
		p.Outcome = contract.Decide(p.Contract, claims)
		for _, c := range claims {
			if c.Has == nil && p.Decisions[c.Address].Admitted && !p.read.Before(p.Settled(c.Address)) {
				s.has[c.Address] = *c.Wants
				s.decided[c.Address] = at - s.comes[c.Address]
			}
		}
	}
}

func request(i, minute int) contract.Claim {
	return contract.Claim{
		Address: fmt.Sprintf("box%03d@d", i), Domain: "d", Wants: &contract.Holding{Type: contract.Standard, Bytes: 1 << 30},
		RequestedAt: time.Date(2026, 3, 1, 12, minute, 0, 0, time.UTC),
	}
}

// Requests that are applied together come to each site one after the other, in an order of its own, now and then with a stop: both
// admit the same, and each but the last of those who asked.
func TestTwoSitesAdmitTheSameOfWhatComesOneByOne(t *testing.T) {
	for name, c := range map[string]struct {
		there, come int
		stop        time.Duration // the longest
	}{
		"401 on an empty contract of 400":               {0, 401, brief - 100*time.Millisecond},
		"51 where 50 fit":                               {350, 51, brief - 100*time.Millisecond},
		"two where one fits, and the second comes late": {399, 2, quiet - 100*time.Millisecond},
		"three where two fit, with long stops":          {398, 3, quiet - 100*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			limit, seed := int64(400), rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			for range 5 {
				var wants []contract.Claim
				for i := range c.there + c.come {
					wants = append(wants, request(i, random.IntN(50)))
				}
				last := slices.MaxFunc(wants[c.there:], func(a, b contract.Claim) int {
					return cmp.Or(a.RequestedAt.Compare(b.RequestedAt), strings.Compare(a.Address, b.Address))
				}).Address
				for range 2 {
					s := &simulated{contract: contract.Contract{Terms: contract.Terms{Standard: &limit}}, has: map[string]contract.Holding{}, comes: map[string]time.Duration{}, decided: map[string]time.Duration{}}
					for _, w := range wants[:c.there] {
						s.has[w.Address] = *w.Wants
					}
					at, stops := time.Duration(0), 0
					for _, i := range random.Perm(c.come) {
						at += time.Duration(random.Int64N(int64(25 * time.Millisecond)))
						if random.IntN(c.come) < 8 && stops < 8 {
							at += c.stop - 25*time.Millisecond
							stops++
						}
						s.comes[wants[c.there+i].Address] = at
					}
					s.live(wants)
					if _, there := s.has[last]; there || len(s.has) != 400 {
						t.Fatalf("%d are provisioned, the one who asked last among them: %v", len(s.has), there)
					}
				}
			}
		})
	}
}

// Far from the limit nobody waits for long, also when others come again and again.
func TestWhereThereIsRoomNobodyWaits(t *testing.T) {
	limit := int64(400)
	s := &simulated{contract: contract.Contract{Terms: contract.Terms{Standard: &limit}}, has: map[string]contract.Holding{}, comes: map[string]time.Duration{}, decided: map[string]time.Duration{}}
	var wants []contract.Claim
	for i := range 60 {
		wants = append(wants, request(i, i))
		s.comes[wants[i].Address] = time.Duration(i) * time.Second
	}
	s.live(wants)
	for address, took := range s.decided {
		if took > brief+100*time.Millisecond {
			t.Errorf("%s waited %s", address, took)
		}
	}
	if len(s.decided) != 60 {
		t.Errorf("%d were admitted", len(s.decided))
	}
}

func TestWhatCountsOfADomainThatIsGone(t *testing.T) {
	key := func(name string) types.NamespacedName {
		return types.NamespacedName{Namespace: "ns-" + name, Name: name}
	}
	pool, other := key("pool"), key("other")
	in := func(pool types.NamespacedName) string { return pool.String() }
	row := func(domain, admittedIn string) admin.Mailbox {
		return admin.Mailbox{Domain: domain, AdmittedIn: admittedIn, Owner: admin.Owner{Namespace: "ns-" + domain}}
	}
	draws := map[types.NamespacedName]types.NamespacedName{pool: pool, other: other, key("moved"): other, key("elsewhere"): pool, {Namespace: "squatter", Name: "gone"}: other}
	for name, c := range map[string]struct {
		row  admin.Mailbox
		host types.NamespacedName // the pool of the host that holds it
		want bool
	}{
		"its domain is gone": {row("gone", in(pool)), other, true},
		"its domain is gone and it was admitted in another pool":         {row("gone", in(other)), pool, false},
		"its domain draws on another pool now":                           {row("moved", in(pool)), pool, false},
		"its domain is there, and on another stack":                      {row("elsewhere", in(pool)), other, true},
		"of an earlier release, on a host of the pool":                   {row("gone", ""), pool, true},
		"of an earlier release, on another host":                         {row("gone", ""), other, false},
		"of an earlier release, and its domain is there without a claim": {row("elsewhere", ""), pool, false},
	} {
		if got := drew(c.row, pool, c.host, draws); got != c.want {
			t.Errorf("%s: counts %v", name, got)
		}
	}
}
