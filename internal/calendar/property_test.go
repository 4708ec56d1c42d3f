package calendar

import (
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"
)

// seeded makes chance repeatable: a failure prints the seed, and CALENDAR_SEED runs it again.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("CALENDAR_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to see it again: CALENDAR_SEED=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// nearChange is an instant within a few days of a change of clocks.
func nearChange(r *rand.Rand) time.Time {
	month := time.March
	if r.IntN(2) == 0 {
		month = time.October
	}
	day := time.Date(2005+r.IntN(40), month+1, 1, 1, 0, 0, 0, time.UTC)
	for day = day.AddDate(0, 0, -1); day.Weekday() != time.Sunday; day = day.AddDate(0, 0, -1) {
	}
	if r.IntN(2) == 0 {
		return day.Add(time.Duration(r.IntN(12*60)-8*60) * time.Minute)
	}
	return day.Add(time.Duration(r.IntN(4*24*60)-3*24*60) * time.Minute)
}

func randomLocal(r *rand.Rand, t time.Time) Local {
	for {
		if l, err := LocalAt(t.Truncate(time.Minute)); err == nil {
			return l
		}
		t = t.Add(time.Hour)
	}
}

func randomWindow(r *rand.Rand, longest int) Window {
	from := r.IntN(24 * 4)
	if r.IntN(2) == 0 {
		from, longest = r.IntN(16), min(longest, 8) // where clocks change
	}
	to := (from + 1 + r.IntN(longest)) % (24 * 4)
	if to == from {
		to = (from + 1) % (24 * 4)
	}
	w := Window{From: TimeOfDay(from * 900), To: TimeOfDay(to * 900)}
	for d := time.Sunday; d <= time.Saturday; d++ {
		if r.IntN(2) == 0 {
			w.Days = append(w.Days, d)
		}
	}
	return w
}

func randomWindows(r *rand.Rand) Windows {
	for {
		w := Windows{Overrun: []Overrun{"", Finish, Checkpoint}[r.IntN(3)]}
		for range r.IntN(3) {
			w.Allow = append(w.Allow, randomWindow(r, 90))
		}
		for range r.IntN(3) {
			w.Deny = append(w.Deny, randomWindow(r, 30))
		}
		if w.Check() == nil {
			return w
		}
	}
}

func randomPlan(r *rand.Rand) Plan {
	policies := []IfMissed{"", RunLate, Skip, Hold}
	p := Plan{IfMissed: policies[r.IntN(4)]}
	if r.IntN(3) > 0 {
		p.Windows = randomWindows(r)
	}
	at := nearChange(r)
	step := func() Local {
		at = at.Add(time.Duration(r.IntN(40)*r.IntN(3)) * time.Hour)
		return randomLocal(r, at)
	}
	add := func(n Name, at, until Local) {
		p.Phases = append(p.Phases, Phase{Name: n, At: at, Until: until, IfMissed: policies[r.IntN(4)], Irreversible: r.IntN(8) == 0})
	}
	maybe := func(n Name) {
		if r.IntN(4) > 0 {
			add(n, step(), Local{})
		}
	}
	freeze := step()
	maybe(RequestsClose)
	add(BlockSending, step(), Local{})
	readOnly := step()
	add(OpenNew, step(), Local{})
	if r.IntN(4) == 0 {
		readOnly = step()
	}
	at = at.Add(time.Hour)
	if r.IntN(4) > 0 {
		add(Freeze, freeze, step())
	}
	if r.IntN(4) > 0 {
		add(OldReadOnly, readOnly, step())
	}
	at = at.Add(time.Hour)
	if r.IntN(4) > 0 {
		archived := step()
		at = at.Add(time.Hour)
		add(Archive, archived, step())
	}
	at = at.Add(time.Hour)
	maybe(Destroy)
	r.Shuffle(len(p.Phases), func(i, j int) { p.Phases[i], p.Phases[j] = p.Phases[j], p.Phases[i] })
	return p
}

// world is what outlives a crash: what was begun, under the slot's name as a Job would be, and what was recorded.
type world struct {
	*testing.T
	r       *rand.Rand
	windows Windows
	begun   map[string]State // Running, Paused or Done
	ends    map[string]time.Time
	ledger  Ledger
}

func newWorld(t *testing.T, r *rand.Rand, w Windows) *world {
	return &world{T: t, r: r, windows: w, begun: map[string]State{}, ends: map[string]time.Time{}, ledger: Ledger{}}
}

// observe lets work end, and brings into the ledger what is found begun.
func (w *world) observe(now time.Time) {
	for name, state := range w.begun {
		if state == Running && !now.Before(w.ends[name]) {
			w.begun[name] = Done
		}
		w.ledger[name] = w.begun[name]
	}
}

// carryOut acts and records, and says whether it crashed on the way.
func (w *world) carryOut(now time.Time, a Action) (crashed bool) {
	s := a.Slot
	if w.r.IntN(8) == 0 {
		return true // before acting
	}
	if a.Do == Start || a.Do == Resume {
		if s.Work && !w.windows.Open(now) {
			w.Errorf("%s of %s at %s, outside its windows", a.Do, s.Name, Both(now))
		}
		for other, state := range w.begun {
			if state == Running && s.lane != "" && other != s.Name && w.lane(other) == s.lane {
				w.Errorf("%s begins while %s runs", s.Name, other)
			}
		}
	}
	switch a.Do {
	case Start:
		if w.begun[s.Name] != "" || w.ledger[s.Name] != "" {
			w.Errorf("%s begins again at %s: it was %s, %s", s.Name, Both(now), w.begun[s.Name], w.ledger[s.Name])
		}
		w.begun[s.Name], w.ends[s.Name] = Done, now
		if s.Work {
			w.begun[s.Name], w.ends[s.Name] = Running, now.Add(time.Duration(w.r.IntN(30*60))*time.Minute)
		}
	case Pause:
		w.begun[s.Name] = Paused
	case Resume:
		w.begun[s.Name] = Running
	case Stop:
		w.begun[s.Name] = Done
	case Miss:
		if w.begun[s.Name] != "" || w.ledger[s.Name] != "" {
			w.Errorf("%s is called missed, but it was %s, %s", s.Name, w.begun[s.Name], w.ledger[s.Name])
		}
		w.ledger[s.Name] = Missed // telling is recording
	}
	if w.r.IntN(8) == 0 {
		return true // after acting, before recording
	}
	w.observe(now)
	return false
}

func (w *world) lane(name string) string {
	if len(name) > 5 && name[:5] == "copy-" || name == "final-delta" {
		return string(Copy)
	}
	if len(name) > 4 && name[:4] == "run-" {
		return "run"
	}
	return ""
}

// later is when the operator looks again: when it is told to, when work ends, or much later after a crash.
func (w *world) later(now time.Time, o Outlook, crashed bool) time.Time {
	if crashed {
		return now.Add(time.Duration(w.r.IntN(60)) * []time.Duration{time.Second, time.Minute, time.Hour}[w.r.IntN(3)])
	}
	if len(o.Actions) > 0 {
		return now
	}
	next := o.LookAgain
	for name, state := range w.begun {
		if end := w.ends[name]; state == Running && (next.IsZero() || end.Before(next)) {
			next = end
		}
	}
	if w.r.IntN(20) == 0 && !next.IsZero() {
		next = next.Add(time.Duration(w.r.IntN(40)) * time.Hour)
	}
	return next
}

// quietUntil checks that nothing changes between a look without actions and the time it gave to look again.
func quietUntil(t *testing.T, r *rand.Rand, now time.Time, o Outlook, ask func(time.Time) Outlook) {
	span := 100 * 24 * time.Hour
	if !o.LookAgain.IsZero() {
		span = o.LookAgain.Sub(now)
	}
	between := now.Add(time.Duration(r.Int64N(int64(span))))
	then := ask(between)
	if len(then.Actions) > 0 {
		t.Errorf("at %s nothing to do until %s, but at %s: %s %s", Both(now), Both(o.LookAgain), Both(between), then.Actions[0].Do, then.Actions[0].Slot.Name)
	}
	for i, s := range o.Slots {
		if then.Slots[i].State != s.State {
			t.Errorf("at %s, %s is %s until %s, but at %s it is %s", Both(now), s.Slot.Name, s.State, Both(o.LookAgain), Both(between), then.Slots[i].State)
		}
	}
}

func TestRandomPlansThroughCrashesAndMissedSlots(t *testing.T) {
	r := seeded(t)
	settled, refused := 0, 0
	for settled < 1500 && !t.Failed() {
		plan := randomPlan(r)
		table, err := plan.Settle()
		if err != nil {
			refused++
			continue
		}
		settled++
		live(t, r, plan, table)
		if t.Failed() {
			t.Logf("the plan:\n%s%+v", table, plan)
		}
	}
	if refused > settled {
		t.Errorf("%d of %d random plans were refused: they try too little", refused, refused+settled)
	}
}

// live lives through a plan from before its first slot until nothing is left to wait for.
func live(t *testing.T, r *rand.Rand, plan Plan, table *Timetable) {
	w := newWorld(t, r, plan.Windows)
	now := table.Slots[0].At.Add(-time.Hour)
	answered := map[string]Verdict{}
	for range 5000 {
		w.observe(now)
		o := table.Next(now, w.ledger)
		if !reflect.DeepEqual(o, table.Next(now, w.ledger)) {
			t.Errorf("asked twice at %s, two answers", Both(now))
		}
		crashed := false
		for _, a := range o.Actions {
			checkStart(t, plan.Windows, w.ledger, now, a, answered)
			notAfterBlocking(t, plan, now, a)
			if crashed = w.carryOut(now, a); crashed {
				break
			}
		}
		if len(o.Actions) == 0 {
			checkRest(t, plan.Windows, now, o)
			quietUntil(t, r, now, o, func(at time.Time) Outlook { return table.Next(at, w.ledger) })
		}
		next := w.later(now, o, crashed)
		if next.IsZero() {
			if !decide(r, table, o, answered) {
				checkEnd(t, o)
				return
			}
			next = now.Add(time.Duration(r.IntN(100)) * time.Hour)
		}
		if t.Failed() {
			return
		}
		now = next
	}
	t.Error("the plan never comes to rest")
}

// decide is a person who looks at what is held; false if nothing is.
func decide(r *rand.Rand, table *Timetable, o Outlook, answered map[string]Verdict) bool {
	held := false
	for _, s := range o.Slots {
		if s.State != Held {
			continue
		}
		held = true
		v := []Verdict{Release, Drop}[r.IntN(2)]
		if r.IntN(3) == 0 { // about another date: no answer
			table.overrides = append(table.overrides, Override{Slot: s.Slot.Name, At: Local{s.Slot.At.Add(time.Hour)}, Verdict: v, By: "Bruno", Reason: "old"})
			continue
		}
		answered[s.Slot.Name] = v
		table.overrides = append(table.overrides, Override{Slot: s.Slot.Name, At: Local{s.Slot.At}, Verdict: v, By: "Anna", Reason: "test"})
	}
	return held
}

// checkStart checks that an action is allowed: after what comes before it, and late only where lateness is.
func checkStart(t *testing.T, w Windows, ledger Ledger, now time.Time, a Action, answered map[string]Verdict) {
	s := a.Slot
	if a.Do != Start {
		return
	}
	due := s.At
	if s.Work {
		due, _ = w.NextOpening(s.At)
	}
	if now.Before(due) {
		t.Errorf("%s begins at %s, before it is due", s.Name, Both(now))
	}
	if late := !now.Before(due.Add(Grace)); late != a.Late || late && (s.Irreversible || s.IfMissed != RunLate) && answered[s.Name] != Release {
		t.Errorf("%s (%s, irreversible %t) begins at %s, late %t, and nobody released it", s.Name, s.IfMissed, s.Irreversible, Both(now), late)
	}
	for _, before := range s.after {
		if st := ledger[before]; st != Done && (st != Missed || s.Irreversible && answered[s.Name] != Release) {
			t.Errorf("%s begins while %s is %q", s.Name, before, st)
		}
	}
	if !s.Until.IsZero() && !now.Before(s.Until) {
		t.Errorf("%s begins at %s, after its end", s.Name, Both(now))
	}
}

// notAfterBlocking checks that no copy pass begins once sending is blocked: the final delta is for that.
func notAfterBlocking(t *testing.T, plan Plan, now time.Time, a Action) {
	for _, ph := range plan.Phases {
		if ph.Name == BlockSending && a.Do == Start && a.Slot.Phase == Copy && !now.Before(ph.At.UTC()) {
			t.Errorf("%s begins at %s, when sending is blocked", a.Slot.Name, Both(now))
		}
	}
}

// checkRest checks what runs while nothing is to be done.
func checkRest(t *testing.T, w Windows, now time.Time, o Outlook) {
	for _, s := range o.Slots {
		if s.State == Running && s.Slot.Work && w.Overrun == Checkpoint && !w.Open(now) {
			t.Errorf("%s runs at %s, outside its windows", s.Slot.Name, Both(now))
		}
	}
}

// checkEnd checks that when nothing is left to wait for, every slot is settled.
func checkEnd(t *testing.T, o Outlook) {
	for _, s := range o.Slots {
		if s.State != Done && s.State != Missed {
			t.Errorf("at the end %s is %s: %s", s.Slot.Name, s.State, s.Why)
		}
	}
}

func TestRandomSchedulesThroughCrashesAndMissedRuns(t *testing.T) {
	r := seeded(t)
	for range 500 {
		s := Schedule{At: TimeOfDay(r.IntN(24*60) * 60), Days: randomWindow(r, 9).Days, IfMissed: []IfMissed{"", RunLate, Skip}[r.IntN(3)]}
		if r.IntN(2) == 0 {
			s.At = TimeOfDay(2*3600 + r.IntN(60)*60) // where clocks change
		}
		if r.IntN(2) == 0 {
			s.Windows = randomWindows(r)
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		liveSchedule(t, r, s)
		if t.Failed() {
			t.Fatalf("the schedule: %+v", s)
		}
	}
}

// liveSchedule lives through some weeks of a schedule around a change of clocks.
func liveSchedule(t *testing.T, r *rand.Rand, s Schedule) {
	w := newWorld(t, r, s.Windows)
	since := nearChange(r)
	now, began, end := since, since, since.AddDate(0, 0, 20)
	rested := since // the last look that found nothing to do
	for now.Before(end) && !t.Failed() {
		w.observe(now)
		o := s.Next(since, now, w.ledger)
		crashed := false
		for _, a := range o.Actions {
			checkStart(t, s.Windows, w.ledger, now, a, nil)
			if later := s.slots(a.Slot.At, now); a.Do == Start && len(later) > 0 {
				t.Errorf("%s begins at %s, when %s is due", a.Slot.Name, Both(now), later[0].Name)
			}
			if crashed = w.carryOut(now, a); crashed {
				break
			}
		}
		if len(o.Actions) == 0 {
			rested = now
			checkRest(t, s.Windows, now, o)
			quietUntil(t, r, now, o, func(at time.Time) Outlook { return s.Next(since, at, w.ledger) })
			for _, st := range o.Slots { // forget what is settled, as a caller does
				if st.State != Done && st.State != Missed {
					break
				}
				since = st.Slot.At
			}
		}
		now = w.later(now, o, crashed)
	}
	for _, slot := range s.slots(began, rested) {
		if w.ledger[slot.Name] == "" && !slot.Until.IsZero() && !slot.Until.After(rested) {
			t.Errorf("%s was neither run nor shown as missed", slot.Name)
		}
	}
}

func TestOpeningsOfRandomWindows(t *testing.T) {
	r := seeded(t)
	for range 3000 {
		w, now := randomWindows(r), nearChange(r)
		opening, ok := w.NextOpening(now)
		if !ok || opening.Before(now) || !w.Open(opening) {
			t.Fatalf("%+v at %s: opens at %s, %t", w, Both(now), Both(opening), ok)
		}
		wall := onWall(opening)
		if slices.ContainsFunc(w.Deny, func(v Window) bool { return v.shows(wall) }) {
			t.Fatalf("%+v opens at %s, which is denied", w, Both(opening))
		}
		for at := now; at.Before(opening); at = at.Add(5 * time.Minute) {
			if w.Open(at) {
				t.Fatalf("%+v at %s: opens at %s, but is open at %s", w, Both(now), Both(opening), Both(at))
			}
		}
		closing, ok := w.NextClosing(opening)
		if !ok {
			closing = opening.AddDate(0, 0, 20)
		} else if w.Open(closing) {
			t.Fatalf("%+v closes at %s and is open then", w, Both(closing))
		}
		for at := opening; at.Before(closing); at = at.Add(5 * time.Minute) {
			if !w.Open(at) {
				t.Fatalf("%+v opened at %s until %s, but is closed at %s", w, Both(opening), Both(closing), Both(at))
			}
		}
	}
}

func TestEveryInstantNearAChangeOfClocksIsReadOnceOrRefused(t *testing.T) {
	r := seeded(t)
	for range 20000 {
		at := nearChange(r).Truncate(time.Second)
		l, err := LocalAt(at)
		other := slices.ContainsFunc([]time.Duration{-time.Hour, time.Hour}, func(d time.Duration) bool {
			return onWall(at.Add(d)).Equal(onWall(at))
		})
		if (err != nil) != other {
			t.Fatalf("%s: %v, but another instant that shows the same: %t", Both(at), err, other)
		}
		if err == nil && !l.UTC().Equal(at) {
			t.Fatalf("%s became %s", Both(at), Both(l.UTC()))
		}
	}
}
