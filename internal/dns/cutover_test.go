package dns

import (
	"testing"
	"time"
)

// A change of provider from first to last on real servers, in the test's own time: what each phase writes, waits for and leaves.
func TestCutoverOnRealServers(t *testing.T) {
	w := realWorld(t, true)
	w.set(zone, domain, foreignSet)
	b, now := w.backend("site-a"), noon
	m := Moment{Want: want(), Takeover: Takeover{Expected: foreignSet, ApprovedBy: "prot. 9/2026"}, Interval: 10 * time.Minute}
	w.eventually("both servers have the foreign set", func() bool { return classified(t, b, want()).State == Foreign })
	var c Cutover
	next := func() Step {
		t.Helper()
		w.eventually("the servers agree", func() bool { m.Verdict = classified(t, b, want()); return m.Verdict.State.Definite() })
		m.Now = now
		var step Step
		c, step = c.Next(m)
		if step.Do != nil {
			if err := Carry(t.Context(), b, *step.Do); err != nil {
				t.Fatalf("phase %s: %v", c.Phase, err)
			}
		}
		return step
	}
	at := func(phase Phase) {
		t.Helper()
		if c.Phase != phase {
			t.Fatalf("phase %s, want %s; the verdict is %s: %s", c.Phase, phase, m.Verdict.State, m.Verdict.Sentence)
		}
	}
	next()
	at(Lowering)
	if c.Wait != time.Hour {
		t.Errorf("waits %s, the TTL is an hour", c.Wait)
	}
	next()
	w.eventually("the low TTL is at both servers", func() bool { next(); return c.Phase == Draining })
	if set, owners := w.sets(domain); !set.Equal(foreignSet) || len(owners) > 0 {
		t.Fatalf("lowering the TTL left %s %v", set, owners)
	}
	now = now.Add(59 * time.Minute)
	if step := next(); c.Phase != Draining || step.Until != noon.Add(time.Hour) {
		t.Errorf("an hour's TTL after 59 minutes: %+v", step)
	}
	now = now.Add(time.Minute)
	next()
	at(Swapping)
	for name, gate := range map[string]*bool{"the calendar's window is closed": &m.WindowOpen, "the other site has not agreed": &m.Agreed} {
		m.WindowOpen, m.Agreed = true, true
		*gate = false
		if step := next(); step.Do != nil {
			t.Errorf("%s, and it writes", name)
		}
	}
	m.WindowOpen, m.Agreed = true, true
	if step := next(); step.Do == nil || step.Do.Kind != TakingOver {
		t.Fatalf("the swap: %+v", step)
	}
	w.eventually("the wanted set is at both servers", func() bool { next(); return c.Phase == Verifying })
	if c.OldHostsUntil != now.Add(2*time.Hour) {
		t.Errorf("the old hosts are to serve until %s", c.OldHostsUntil)
	}
	next()
	at(Verifying)
	now = now.Add(10 * time.Minute)
	next()
	at(Expiring)
	now = now.Add(time.Hour)
	next()
	at(Raising)
	next()
	w.eventually("the lasting TTL is at both servers", func() bool { next(); return c.Phase == Done })
	if m.Verdict.Seen.TTL != 3600 || m.Verdict.State != Ours {
		t.Errorf("in the end: %+v", m.Verdict)
	}
}

func TestCutoverStopsWhereItMust(t *testing.T) {
	approval := Takeover{Expected: foreignSet, ApprovedBy: "prot. 9/2026"}
	held := both(holds(oursSet), owned(siteA.Text(oursSet)))
	for name, c := range map[string]struct {
		from     Phase
		seen     Observation
		takeover Takeover
		want     Phase
		writes   Kind
	}{
		"a silent server holds every phase":             {from: Expiring, seen: both(faults(Timeout)), want: Expiring},
		"lowering without approval":                     {from: Lowering, seen: both(holds(foreignSet)), want: Lowering},
		"lowering a set that is no longer the approved": {from: Lowering, seen: both(holds(NewSet(MX{1, "mx.terzo.example"}))), takeover: approval, want: Lowering},
		"lowering the approved set":                     {from: Lowering, seen: both(holds(foreignSet)), takeover: approval, want: Lowering, writes: Retiming},
		"nothing to lower":                              {from: Lowering, seen: both(), want: Swapping},
		"somebody carried out the request already":      {from: Lowering, seen: held, want: Swapping},
		"the approved set changed before the swap":      {from: Swapping, seen: both(holds(NewSet(MX{1, "mx.terzo.example"}))), takeover: approval, want: Swapping},
		"swapped":                              {from: Swapping, seen: held, want: Verifying},
		"the old set came back after the swap": {from: Expiring, seen: both(holds(foreignSet)), takeover: approval, want: Verifying},
		"the old set came back, and the TTL is not raised": {from: Raising, seen: both(holds(foreignSet)), takeover: approval, want: Verifying},
		"while verifying":         {from: Verifying, seen: both(holds(foreignSet)), takeover: approval, want: Verifying},
		"the TTL is high already": {from: Raising, seen: held, want: Done},
		"done stays done":         {from: Done, seen: held, want: Done},
	} {
		t.Run(name, func(t *testing.T) {
			m := Moment{Now: noon, Verdict: Classify(want(), c.seen), Want: want(), Takeover: c.takeover, WindowOpen: true, Agreed: true, Interval: time.Hour}
			got, step := Cutover{Phase: c.from, Since: noon.Add(-2 * time.Hour), Wait: time.Hour}.Next(m)
			var kind Kind
			if step.Do != nil {
				kind = step.Do.Kind
			}
			if got.Phase != c.want || kind != c.writes {
				t.Errorf("phase %s, writes %q: %s", got.Phase, kind, step.Sentence)
			}
		})
	}
}
