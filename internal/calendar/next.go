package calendar

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Grace is how late a slot may start and still be on time: long enough for an operator to be moved to another node.
const Grace = 15 * time.Minute

// State is where a slot stands.
type State string

// A caller records Running, Paused, Done and Missed; the other two are worked out.
const (
	Waiting State = "Waiting" // its time, or its turn, has not come
	Held    State = "Held"    // missed, and a person must decide
	Running State = "Running" // begun
	Paused  State = "Paused"  // begun, and stopped at a checkpoint until the windows open
	Done    State = "Done"    // settled
	Missed  State = "Missed"  // settled without having been acted on
)

// Ledger is what is known to have happened, by the name of the slot. It must hold what was recorded and also what a look at the
// world finds begun, such as a Job of the slot's name: between acting and recording there may have been a crash.
type Ledger map[string]State

// Do is what to do about a slot.
type Do string

const (
	// Start begins the slot; then record Running, or Done if there was nothing to wait for.
	Start Do = "Start"
	// Pause stops the work at its next checkpoint, because its window has closed; then record Paused.
	Pause Do = "Pause"
	// Resume lets paused work go on; then record Running.
	Resume Do = "Resume"
	// Stop ends the work for good, because a later slot does the rest; then record Done.
	Stop Do = "Stop"
	// Miss does nothing but record Missed, and tell.
	Miss Do = "Miss"
)

// Action is one thing to do now.
type Action struct {
	Do   Do
	Slot Slot
	Late bool   // it starts after its grace
	Why  string // for events and status; for a person's decision, name and reason
}

// Status is where a slot stands, and why in words.
type Status struct {
	Slot  Slot
	State State
	Why   string
}

// Outlook is the answer: what to do now, where every slot stands, and when to look again (zero: only when something is
// recorded). After acting, record and look again at once.
type Outlook struct {
	Actions   []Action
	Slots     []Status
	LookAgain time.Time
}

// Next decides what to do now. It answers the same whenever it is asked the same, so a caller that crashed asks again.
func (t *Timetable) Next(now time.Time, done Ledger) Outlook {
	return look(t.Slots, t.windows, t.overrides, now, done)
}

// view is one look at the slots.
type view struct {
	Outlook
	now       time.Time
	windows   Windows
	overrides []Override
	done      Ledger
	busy      map[string]string // lane to the slot that has begun in it; no two are ever due at once
}

func look(slots []Slot, w Windows, overrides []Override, now time.Time, done Ledger) Outlook {
	v := &view{now: now.UTC(), windows: w, overrides: overrides, done: done, busy: map[string]string{}}
	for _, s := range slots {
		if st := done[s.Name]; s.lane != "" && (st == Running || st == Paused) {
			v.busy[s.lane] = s.Name
		}
	}
	for _, s := range slots {
		switch state := done[s.Name]; state {
		case Done, Missed:
			v.is(s, state, "")
		case Running, Paused:
			v.begun(s, state)
		default:
			v.pending(s)
		}
	}
	return v.Outlook
}

// begun decides about a slot that has begun: it goes on, unless a later slot takes over or its window closes.
func (v *view) begun(s Slot, state State) {
	open := !s.Work || v.windows.Open(v.now)
	switch {
	case !s.stopAt.IsZero() && !v.now.Before(s.stopAt):
		v.act(Stop, s, state, false, "the final delta takes over")
	case state == Paused && open:
		v.act(Resume, s, state, false, "a window is open")
	case state == Running && !open && v.windows.Overrun == Checkpoint:
		v.act(Pause, s, state, false, "the window is closed")
	case state == Paused:
		opening, _ := v.windows.NextOpening(v.now)
		v.lookAt(opening)
		v.is(s, state, "until the window opens at "+Both(opening))
	default:
		if closing, ok := v.windows.NextClosing(v.now); ok && s.Work && v.windows.Overrun == Checkpoint {
			v.lookAt(closing)
		}
		v.is(s, state, "")
	}
}

// pending decides about a slot that has not begun.
func (v *view) pending(s Slot) {
	due := s.At
	if s.Work {
		due, _ = v.windows.NextOpening(s.At)
	}
	begin := strings.TrimSuffix(s.Name, "-end")
	late := !v.now.Before(due.Add(Grace))
	v.lookAt(s.At, due, due.Add(Grace), s.Until)
	switch {
	case s.Ends && v.done[begin] == Missed:
		v.act(Miss, s, Waiting, false, begin+" was missed: there is nothing to end")
	case !s.Until.IsZero() && !v.now.Before(s.Until):
		v.act(Miss, s, Waiting, false, "it had to begin before "+Both(s.Until))
	case v.now.Before(s.At):
		v.is(s, Waiting, "until "+Both(s.At))
	case late && s.IfMissed == Skip:
		v.act(Miss, s, Waiting, false, "it was due at "+Both(due))
	case late && s.IfMissed == Hold:
		v.held(s, late, "it was due at "+Both(due))
	case s.Irreversible && v.gap(s) != "":
		v.held(s, late, v.gap(s)+" was missed, and this cannot be undone")
	default:
		v.turn(s, late, "")
	}
}

// held looks for a person's decision about a slot that must not go on without one.
func (v *view) held(s Slot, late bool, why string) {
	for _, o := range v.overrides {
		if o.Slot != s.Name {
			continue
		}
		said := fmt.Sprintf("%s: %s (%s)", o.By, o.Reason, o.Verdict)
		switch {
		case !o.At.utc.Equal(s.At):
			why += "; the override by " + o.By + " is about " + o.At.String() + " and does not count"
		case o.Verdict == Drop:
			v.act(Miss, s, Held, false, said)
			return
		default:
			v.turn(s, late, said)
			return
		}
	}
	v.is(s, Held, why+"; write an override to release or drop it")
}

// turn starts a slot whose time has come, if it is its turn: what comes earlier is settled, its lane is free, a window is open.
func (v *view) turn(s Slot, late bool, why string) {
	unsettled := slices.IndexFunc(s.after, func(n string) bool { return v.done[n] != Done && v.done[n] != Missed })
	opening, _ := v.windows.NextOpening(v.now)
	switch {
	case unsettled >= 0:
		v.is(s, Waiting, "for "+s.after[unsettled])
	case v.busy[s.lane] != "":
		v.is(s, Waiting, "for "+v.busy[s.lane])
	case s.Work && opening.After(v.now):
		v.lookAt(opening)
		v.is(s, Waiting, "for the window that opens at "+Both(opening))
	default:
		v.act(Start, s, Waiting, late, why)
	}
}

// gap names a slot before this one that was missed, "" if none was.
func (v *view) gap(s Slot) string {
	if i := slices.IndexFunc(s.after, func(n string) bool { return v.done[n] == Missed }); i >= 0 {
		return s.after[i]
	}
	return ""
}

func (v *view) act(do Do, s Slot, state State, late bool, why string) {
	v.Actions = append(v.Actions, Action{Do: do, Slot: s, Late: late, Why: why})
	v.is(s, state, why)
}

func (v *view) is(s Slot, state State, why string) {
	v.Slots = append(v.Slots, Status{Slot: s, State: state, Why: why})
}

// lookAt remembers the earliest time to come at which something may change.
func (v *view) lookAt(times ...time.Time) {
	for _, t := range times {
		if t.After(v.now) && (v.LookAgain.IsZero() || t.Before(v.LookAgain)) {
			v.LookAgain = t
		}
	}
}
