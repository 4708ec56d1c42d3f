package dns

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// view and round are recorded answers; the edits say what is different about them.
func view(name string, edits ...func(*View)) View {
	v := View{Server: name, Address: "192.0.2." + name[2:3], Serial: 7, NegativeTTL: 60}
	for _, edit := range edits {
		edit(&v)
	}
	return v
}

func recorded(views ...View) Observation {
	return Observation{Domain: domain, At: noon, Zone: zone, Primary: "ns1.gestore.it.", Views: views}
}

// both is the same answer at two servers.
func both(edits ...func(*View)) Observation {
	return recorded(view("ns1.gestore.it.", edits...), view("ns2.gestore.it.", edits...))
}

func holds(set Set) func(*View)         { return func(v *View) { v.MX, v.TTL = set, 3600 } }
func owned(texts ...string) func(*View) { return func(v *View) { v.Owner = texts } }
func faults(f Fault) func(*View) {
	return func(v *View) { v.Fault, v.Detail = f, "asking: "+string(f) }
}
func aliased(v *View) { v.Alias = "it is a CNAME of elsewhere.example." }
func behind(v *View)  { v.Serial = 6 }

func TestEveryState(t *testing.T) {
	mine := siteA.Text(oursSet)
	other := Owner{Operator: "set-2", Object: siteA.Object, Epoch: 1}
	newer := Owner{Operator: siteA.Operator, Object: siteA.Object, Epoch: 2}
	former := NewSet(MX{10, "mx-old.gestore.it"})
	hybrid := NewSet(append(slices.Clone(oursSet), foreignSet...)...)
	moved := recorded(view("ns1.gestore.it."))
	moved.Zone = domain
	unregistered := both()
	unregistered.Zone = "it."
	for name, c := range map[string]struct {
		seen      []Observation
		verifying bool
		want      State
		says      string
		foreign   bool
		owned     bool
		// plan is what RFC2136 mode would write, empty for nothing.
		plan Kind
	}{
		"nothing anywhere":                                 {seen: []Observation{both()}, want: None, plan: Claiming},
		"exactly ours, with our mark":                      {seen: []Observation{both(holds(oursSet), owned(mine))}, want: Ours, owned: true},
		"exactly ours, nobody's mark":                      {seen: []Observation{both(holds(oursSet))}, want: Ours, plan: Adopting},
		"exactly ours, verifying only":                     {seen: []Observation{both(holds(oursSet))}, verifying: true, want: Ours},
		"exactly ours, verifying, another's mark":          {seen: []Observation{both(holds(oursSet), owned(other.Text(oursSet)))}, verifying: true, want: Ours},
		"another provider's":                               {seen: []Observation{both(holds(foreignSet))}, want: Foreign, foreign: true, says: "mx.altro.example."},
		"another provider's under our old mark":            {seen: []Observation{both(holds(foreignSet), owned(mine))}, want: Foreign, foreign: true, owned: true},
		"the null MX":                                      {seen: []Observation{both(holds(NewSet(MX{0, "."})))}, want: Foreign, foreign: true, says: "null MX"},
		"ours and another's":                               {seen: []Observation{both(holds(hybrid))}, want: Hybrid, foreign: true, says: "certified list"},
		"ours and another's under our mark":                {seen: []Observation{both(holds(hybrid), owned(mine))}, want: Hybrid, foreign: true, owned: true},
		"one of ours is gone":                              {seen: []Observation{both(holds(oursSet[:1]), owned(mine))}, want: Drifted, owned: true, plan: Restoring},
		"our hosts with other preferences":                 {seen: []Observation{both(holds(NewSet(MX{30, "mx-a.gestore.it"})), owned(mine))}, want: Drifted, owned: true, plan: Restoring},
		"our hosts incomplete, nobody's mark":              {seen: []Observation{both(holds(oursSet[:1]))}, want: Drifted},
		"a set that we wrote when we wanted others":        {seen: []Observation{both(holds(former), owned(siteA.Text(former)))}, want: Drifted, owned: true, plan: Restoring},
		"a set with our former host that we did not write": {seen: []Observation{both(holds(former), owned(mine))}, want: Foreign, foreign: true, owned: true},
		"our mark and no set":                              {seen: []Observation{both(owned(mine))}, want: Missing, owned: true, plan: Reviving},
		"another operator's mark":                          {seen: []Observation{both(holds(oursSet), owned(other.Text(oursSet)))}, want: Conflict, says: "set-2"},
		"another operator's mark and no set":               {seen: []Observation{both(owned(other.Text(nil)))}, want: Conflict},
		"a later epoch":                                    {seen: []Observation{both(holds(oursSet), owned(newer.Text(oursSet)))}, want: Conflict, says: "taken over"},
		"a mark that nobody writes":                        {seen: []Observation{both(owned("v=spf1 -all"))}, want: Conflict, says: "v=spf1"},
		"two marks":                                        {seen: []Observation{both(holds(oursSet), owned(mine, "x"))}, want: Conflict, says: "one set has one owner"},
		"an alias":                                         {seen: []Observation{both(aliased)}, want: Alias, says: "CNAME"},
		"a server without authority":                       {seen: []Observation{recorded(view("ns1.gestore.it."), view("ns2.gestore.it.", faults(Lame)))}, want: LameServer, says: "ns2"},
		"a server that refuses":                            {seen: []Observation{recorded(view("ns1.gestore.it."), view("ns2.gestore.it.", faults(Refused)))}, want: LameServer},
		"a silent server":                                  {seen: []Observation{recorded(view("ns1.gestore.it."), view("ns2.gestore.it.", faults(Timeout)))}, want: Unverifiable, says: "ns2"},
		"a silent server beside a foreign set":             {seen: []Observation{recorded(view("ns1.gestore.it.", holds(foreignSet)), view("ns2.gestore.it.", faults(Timeout)))}, want: Unverifiable, foreign: true},
		"a failing server":                                 {seen: []Observation{recorded(view("ns1.gestore.it.", faults(ServFail)))}, want: Unverifiable},
		"a server name without address":                    {seen: []Observation{recorded(view("ns1.gestore.it."), view("ns2.gestore.it.", faults(NoAddress)))}, want: Unverifiable},
		"servers of two opinions":                          {seen: []Observation{recorded(view("ns1.gestore.it."), view("ns2.gestore.it.", holds(foreignSet)))}, want: Unverifiable, foreign: true, says: "disagree"},
		"a server that is behind":                          {seen: []Observation{recorded(view("ns1.gestore.it.", holds(oursSet)), view("ns2.gestore.it.", behind))}, want: Unverifiable, says: "ns2.gestore.it. is behind (serial 6, not 7)"},
		"two sites of two opinions":                        {seen: []Observation{both(), both(holds(oursSet))}, want: Unverifiable, says: "disagree"},
		"two sites that agree":                             {seen: []Observation{both(), both()}, want: None, plan: Claiming},
		"two sites and two zone cuts":                      {seen: []Observation{both(), moved}, want: Unverifiable, says: "the other in zone"},
		"the domain above is not registered":               {seen: []Observation{unregistered}, want: Unverifiable, says: "not registered"},
		"no servers were found":                            {seen: []Observation{{Domain: domain, Fault: Timeout, Detail: "the root is silent"}}, want: Unverifiable, says: "root is silent"},
		"a lame delegation on the way":                     {seen: []Observation{{Domain: domain, Fault: Lame, Detail: "lame"}}, want: LameServer},
		"no address of a server has a route":               {seen: []Observation{recorded()}, want: Unverifiable},
		"nothing observed":                                 {want: Unverifiable},
	} {
		t.Run(name, func(t *testing.T) {
			desired := want()
			if c.verifying {
				desired.Owner = Owner{}
			}
			v := Classify(desired, c.seen...)
			if v.State != c.want || v.Foreign != c.foreign || v.Owned != c.owned || v.Sentence == "" || !strings.Contains(v.Sentence, c.says) {
				t.Errorf("got %s (foreign %t, owned %t): %s", v.State, v.Foreign, v.Owned, v.Sentence)
			}
			var kind Kind
			if do := Plan(v, desired, Policy{Mode: UpdateMode}).Do; do != nil {
				kind = do.Kind
			}
			if kind != c.plan {
				t.Errorf("plans %q, want %q", kind, c.plan)
			}
			if d := Plan(v, desired, Policy{Mode: VerifyOnly}); d.Do != nil || d.Reason == "" || d.Sentence == "" {
				t.Errorf("VerifyOnly: %+v", d)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	approval := Takeover{Expected: foreignSet, ApprovedBy: "il Segretario, prot. 55/2026"}
	lower := siteA
	lower.Epoch = 0
	for name, c := range map[string]struct {
		seen   Observation
		policy Policy
		edit   func(*Desired)
		want   Outcome
		reason string
		writes bool
		asks   bool
	}{
		"off":                                     {seen: both(), policy: Policy{Mode: Off}, want: Ready, reason: "DNSOff"},
		"no host wanted":                          {seen: both(), policy: Policy{Mode: UpdateMode}, edit: func(d *Desired) { d.MX = nil }, want: Stalled, reason: "NoMailHosts"},
		"nobody to be the owner":                  {seen: both(), policy: Policy{Mode: UpdateMode}, edit: func(d *Desired) { d.Owner = Owner{} }, want: Stalled, reason: "RecordRequested", asks: true},
		"a free name, verifying":                  {seen: both(), policy: Policy{Mode: VerifyOnly}, want: Stalled, reason: "RecordRequested", asks: true},
		"a foreign set":                           {seen: both(holds(foreignSet)), policy: Policy{Mode: UpdateMode}, want: Stalled, reason: "ForeignMX", asks: true},
		"a foreign set, approved":                 {seen: both(holds(foreignSet)), policy: Policy{Mode: UpdateMode, Takeover: approval}, want: Reconciling, reason: "TakeOver", writes: true},
		"a foreign set, approved, verifying":      {seen: both(holds(foreignSet)), policy: Policy{Mode: VerifyOnly, Takeover: approval}, want: Stalled, reason: "RecordRequested", asks: true},
		"a foreign set, approved without number":  {seen: both(holds(foreignSet)), policy: Policy{Mode: UpdateMode, Takeover: Takeover{Expected: foreignSet, ApprovedBy: "il Segretario"}}, want: Stalled, reason: "ForeignMX", asks: true},
		"a foreign set, another one was approved": {seen: both(holds(NewSet(MX{5, "mx.altro.example"}))), policy: Policy{Mode: UpdateMode, Takeover: approval}, want: Stalled, reason: "ForeignMX", asks: true},
		"an approved set with another's mark":     {seen: both(holds(foreignSet), owned("v=1;op=x;a/b;epoch=1;h=00")), policy: Policy{Mode: UpdateMode, Takeover: approval}, want: Stalled, reason: "OwnedByOther", asks: true},
		"a mixed set":                             {seen: both(holds(NewSet(oursSet[0], foreignSet[0]))), policy: Policy{Mode: UpdateMode}, want: Stalled, reason: "HybridMX", asks: true},
		"ours under an earlier epoch":             {seen: both(holds(oursSet), owned(lower.Text(oursSet))), policy: Policy{Mode: UpdateMode}, want: Reconciling, reason: "Adopt", writes: true},
		"an alias":                                {seen: both(aliased), policy: Policy{Mode: UpdateMode}, want: Stalled, reason: "Alias", asks: true},
		"a silent server":                         {seen: both(faults(Timeout)), policy: Policy{Mode: UpdateMode}, want: Unknown, reason: "Unverifiable"},
	} {
		t.Run(name, func(t *testing.T) {
			desired := want()
			if c.edit != nil {
				c.edit(&desired)
			}
			d := Plan(Classify(desired, c.seen), desired, c.policy)
			if d.Outcome != c.want || d.Reason != c.reason || (d.Do != nil) != c.writes || d.Ask != c.asks {
				t.Errorf("got %+v", d)
			}
		})
	}
}

func TestSettling(t *testing.T) {
	hour := time.Hour
	type step struct {
		after time.Duration
		seen  Observation
		want  State
		known bool
	}
	back := both(holds(oursSet), behind)
	for name, steps := range map[string][]step{
		"the first definite answer holds at once":                         {{0, both(holds(oursSet)), Ours, true}},
		"one different answer changes no mind":                            {{0, both(holds(oursSet)), Ours, true}, {hour, both(), Ours, true}, {2 * hour, both(holds(oursSet)), Ours, true}, {3 * hour, both(), Ours, true}},
		"two different answers an interval apart do":                      {{0, both(holds(oursSet)), Ours, true}, {hour, both(), Ours, true}, {2 * hour, both(), None, true}},
		"two different answers at once do not":                            {{0, both(holds(oursSet)), Ours, true}, {hour, both(), Ours, true}, {hour + time.Minute, both(), Ours, true}},
		"silence is borne for three intervals":                            {{0, both(holds(oursSet)), Ours, true}, {hour, both(faults(Timeout)), Ours, true}, {2 * hour, both(faults(Timeout)), Ours, true}, {3 * hour, both(faults(Timeout)), Unverifiable, false}},
		"after silence the same answer again is believed":                 {{0, both(holds(oursSet)), Ours, true}, {3 * hour, both(faults(Timeout)), Unverifiable, false}, {4 * hour, both(holds(oursSet)), Unverifiable, false}, {5 * hour, both(holds(oursSet)), Ours, true}},
		"silence between two equal answers makes them one each":           {{0, both(holds(oursSet)), Ours, true}, {hour, both(), Ours, true}, {2 * hour, both(faults(Timeout)), Ours, true}, {3 * hour, both(), Ours, true}},
		"silence from the start is unknown":                               {{0, both(faults(Timeout)), Unverifiable, false}},
		"a serial that goes back is not believed once, then is the truth": {{0, both(), None, true}, {hour, back, None, true}, {2 * hour, back, None, true}, {3 * hour, back, Ours, true}},
	} {
		t.Run(name, func(t *testing.T) {
			desired := want()
			desired.Owner = Owner{}
			var s Settled
			for i, step := range steps {
				s = s.Settle(Classify(desired, step.seen), step.seen, Pace{hour, hour}, noon.Add(step.after))
				if s.State != step.want || s.Unknown == step.known {
					t.Fatalf("step %d: %+v", i, s)
				}
			}
		})
	}
}

func TestBudget(t *testing.T) {
	line := func(domain string, kind Kind, ago time.Duration) Write { return Write{domain, kind, noon.Add(-ago)} }
	crowd := func(n int) (l Ledger) {
		for i := range n {
			l = append(l, line("d"+string(rune('A'+i))+".it.", Claiming, time.Duration(i+1)*time.Minute))
		}
		return l
	}
	for name, c := range map[string]struct {
		ledger Ledger
		kind   Kind
		all    int
		says   string
		until  time.Time
	}{
		"nothing was written":                             {kind: Claiming, all: 1},
		"written half an hour ago":                        {ledger: Ledger{line(domain, Claiming, 30*time.Minute)}, kind: Restoring, all: 1, says: "waits", until: noon.Add(30 * time.Minute)},
		"written two hours ago":                           {ledger: Ledger{line(domain, Claiming, 2*time.Hour)}, kind: Restoring, all: 1},
		"restored three times today":                      {ledger: Ledger{line(domain, Restoring, 2*time.Hour), line(domain, Restoring, 3*time.Hour), line(domain, Restoring, 4*time.Hour)}, kind: Restoring, all: 1, says: "3 times"},
		"restored three times, one of them yesterday":     {ledger: Ledger{line(domain, Restoring, 2*time.Hour), line(domain, Restoring, 3*time.Hour), line(domain, Restoring, 25*time.Hour)}, kind: Restoring, all: 1},
		"revived once today":                              {ledger: Ledger{line(domain, Reviving, 2*time.Hour)}, kind: Reviving, all: 1, says: "1 times"},
		"ten other domains of ten":                        {ledger: crowd(10), kind: Claiming, all: 10, says: "10 of 10", until: noon.Add(-10 * time.Minute).Add(day)},
		"ten other domains of a hundred":                  {ledger: crowd(10), kind: Claiming, all: 100},
		"thirty other domains of a hundred":               {ledger: crowd(30), kind: Claiming, all: 100, says: "30 of 100", until: noon.Add(-30 * time.Minute).Add(day)},
		"this domain is one of the ten that were written": {ledger: append(crowd(9), line(domain, Claiming, 2*time.Hour)), kind: Restoring, all: 10},
	} {
		t.Run(name, func(t *testing.T) {
			refusal := DefaultLimits.Allow(c.ledger, Change{Domain: domain, Kind: c.kind}, c.all, noon)
			switch {
			case (refusal == nil) != (c.says == ""):
				t.Errorf("got %+v", refusal)
			case refusal != nil && (!strings.Contains(refusal.Sentence, c.says) || !refusal.Until.Equal(c.until)):
				t.Errorf("got %+v", *refusal)
			}
		})
	}
}
