package calendar

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Slot is one thing to act on once.
type Slot struct {
	Name         string // fit for the name of a Kubernetes object: "freeze", "freeze-end", "copy-20220420"
	Phase        Name   // "" for a recurring run
	Ends         bool   // the end of the phase, not its beginning
	At           time.Time
	Until        time.Time // after this it is pointless to begin; zero if never
	IfMissed     IfMissed
	Irreversible bool
	Work         bool // runs in windows, and goes on until it is recorded as done

	after  []string  // slots that must be settled first
	lane   string    // slots of one lane run one at a time
	stopAt time.Time // when the final delta takes over what still runs; zero if never
}

// Timetable is a plan worked out: every slot by time, and the letter's contradictions.
type Timetable struct {
	Slots     []Slot
	Conflicts []Conflict

	windows   Windows
	overrides []Override
}

// slots makes the slots of every phase, by time and, at the same time, by the order of the phases.
func (p promises) slots() []Slot {
	var slots []Slot
	for _, k := range kinds {
		ph, ok := p[k.name]
		if !ok {
			continue
		}
		s := Slot{Phase: k.name, IfMissed: ph.IfMissed, Irreversible: ph.Irreversible}
		begin, end := s, s
		begin.Name, begin.At, begin.Until, begin.Work = SlotName(k.name), ph.At.utc, ph.Until.utc, k.work
		begin.after = p.before(begins(k.name))
		if k.name == FinalDelta {
			begin.lane = string(Copy)
		}
		slots = append(slots, begin)
		if !ph.Until.IsZero() {
			end.Name, end.At, end.Ends = SlotName(k.name)+"-end", ph.Until.utc, true
			if end.IfMissed == Skip {
				end.IfMissed = RunLate
			}
			end.after = append(p.before(ends(k.name)), begin.Name)
			slots = append(slots, end)
		}
	}
	slots = append(slots, p.passes()...)
	slices.SortStableFunc(slots, func(a, b Slot) int { return a.At.Compare(b.At) })
	return slots
}

// passes makes the copy passes: one at RequestsClose and one every day at the same time on the wall, until sending is blocked.
// A pass that has not begun when the next is due is pointless.
func (p promises) passes() []Slot {
	asked, blocked := p[RequestsClose].At, p[BlockSending].At
	if asked.IsZero() {
		return nil
	}
	k, _ := kindOf(Copy)
	daily := Schedule{At: timeOfDay(onWall(asked.utc)), IfMissed: k.ifMissed}
	passes := daily.slots(asked.utc.Add(-time.Nanosecond), blocked.utc.Add(-time.Nanosecond))
	for i := range passes {
		s := &passes[i]
		s.Name, s.Phase, s.lane = strings.Replace(s.Name, "run", SlotName(Copy), 1), Copy, string(Copy)
		s.after, s.stopAt = []string{SlotName(RequestsClose)}, p[FinalDelta].At.utc
		if s.Until.After(blocked.utc) {
			s.Until = blocked.utc
		}
	}
	return passes
}

// before names the slots that come before a moment in any chain. One that is promised for later does not: that is how the
// final delta waits for OldReadOnly only where it follows it.
func (p promises) before(m moment) []string {
	var names []string
	for _, chain := range order {
		i := slices.Index(chain, m)
		for _, earlier := range chain[:max(i, 0)] {
			at := p.at(earlier)
			if at.IsZero() || at.utc.After(p.at(m).utc) {
				continue
			}
			name := SlotName(earlier.phase)
			if earlier.ends {
				name += "-end"
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// SlotName is that of the slot in which a phase begins: the phase in small letters and hyphens.
func SlotName(n Name) string {
	var b strings.Builder
	for i, r := range string(n) {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// String is the timetable as a person reads it: the wall in Rome, UTC, what happens; the contradictions below.
func (t *Timetable) String() string {
	var b strings.Builder
	for _, s := range t.Slots {
		fmt.Fprintf(&b, "%s %-4s = %s  %s\n", s.At.In(rome).Format("Mon 2006-01-02 15:04"), s.At.In(rome).Format("MST"), s.At.Format("2006-01-02 15:04 UTC"), s.what())
	}
	for _, c := range t.Conflicts {
		fmt.Fprintf(&b, "contradiction: %s\n", c)
	}
	return b.String()
}

// what says what happens in the slot.
func (s Slot) what() string {
	text := string(s.Phase)
	k, _ := kindOf(s.Phase)
	switch {
	case k.follows != "":
		text += ", after " + string(k.follows)
	case s.Ends:
		text += " ends"
	case s.Irreversible:
		text += " (cannot be undone)"
	}
	return text
}
