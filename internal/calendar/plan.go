package calendar

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Phase is one promise of a letter.
type Phase struct {
	Name         Name
	At           Local
	Until        Local    // the end of a span
	Irreversible bool     // Destroy always is
	IfMissed     IfMissed // "" is the plan's
}

// Plan is a letter's calendar, in any order.
type Plan struct {
	Phases    []Phase
	IfMissed  IfMissed // "" is Hold
	Windows   Windows  // for copying, verifying, archiving and destroying
	Overrides []Override
}

// Verdict is what a person decides about a slot that is held.
type Verdict string

const (
	// Release lets the slot run late, as soon as windows and earlier phases allow.
	Release Verdict = "Release"
	// Drop gives the slot up: it is shown as missed.
	Drop Verdict = "Drop"
)

// Override is a person's word about one slot that is held. It names the time that was missed, so that an old one left in Git
// says nothing about a later date. It never moves a slot forward and never opens a window.
type Override struct {
	Slot    string
	At      Local
	Verdict Verdict
	By      string // who decided
	Reason  string
}

// Conflict is a contradiction of the letter: promises of different times about one thing. The latest wins, and all are shown.
type Conflict struct {
	Thing    string
	Promises []Promise // the earliest first; the last one wins
}

// Promise is a time and the place in the plan where it stands.
type Promise struct {
	Where string
	At    Local
}

// String shows every promise and the one that wins.
func (c Conflict) String() string {
	first, last := c.Promises[0], c.Promises[len(c.Promises)-1]
	return fmt.Sprintf("%s %s (%s) and %s (%s): the latest promise, %s, wins", c.Thing, first.At, first.Where, last.At, last.Where, last.At)
}

// promises are the phases of a plan by name.
type promises map[Name]Phase

// Settle checks the plan and works out its timetable. The error has every fault, each with what to write instead.
func (p Plan) Settle() (*Timetable, error) {
	phases, err := p.read()
	if err := errors.Join(err, p.Windows.Check()); err != nil {
		return nil, err
	}
	conflicts := phases.reconcile()
	if err := phases.inOrder(); err != nil {
		return nil, err
	}
	if err := phases.derive(p.Windows); err != nil {
		return nil, err
	}
	t := &Timetable{Slots: phases.slots(), Conflicts: conflicts, windows: p.Windows, overrides: p.Overrides}
	var errs []error
	for _, o := range p.Overrides {
		errs = append(errs, o.check(t.Slots))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return t, nil
}

// read puts the phases by name, with what the plan leaves to others filled in.
func (p Plan) read() (promises, error) {
	phases := promises{}
	errs := []error{checkIfMissed(p.IfMissed)}
	for _, ph := range p.Phases {
		if _, twice := phases[ph.Name]; twice {
			errs = append(errs, fmt.Errorf("phase %s is there twice: keep one, with the later date if the letter prints two", ph.Name))
		}
		errs = append(errs, ph.check())
		k, _ := kindOf(ph.Name)
		ph.Irreversible = ph.Irreversible || k.irreversible
		if ph.IfMissed = cmp.Or(ph.IfMissed, p.IfMissed, Hold); ph.Irreversible {
			ph.IfMissed = Hold
		}
		phases[ph.Name] = ph
	}
	for _, needed := range []Name{BlockSending, OpenNew} {
		if _, ok := phases[needed]; !ok {
			errs = append(errs, fmt.Errorf("phase %s is missing: without it nothing says when to copy for the last time; add it", needed))
		}
	}
	return phases, errors.Join(errs...)
}

func (ph Phase) check() error {
	k, known := kindOf(ph.Name)
	switch {
	case !known:
		return fmt.Errorf("phase %q is unknown: write %s", ph.Name, promised())
	case k.derived:
		return fmt.Errorf("phase %s is derived from the others: leave it out", ph.Name)
	case ph.At.IsZero():
		return fmt.Errorf("phase %s has no time: write when it begins in at", ph.Name)
	case !k.span && !ph.Until.IsZero():
		return fmt.Errorf("phase %s is a moment: leave until out", ph.Name)
	case k.span && !k.endless && ph.Until.IsZero():
		return fmt.Errorf("phase %s would never end: write its end in until", ph.Name)
	}
	return checkIfMissed(ph.IfMissed)
}

func checkIfMissed(m IfMissed) error {
	if m != "" && m != RunLate && m != Skip && m != Hold {
		return fmt.Errorf("ifMissed %q: write %s, %s or %s", m, RunLate, Skip, Hold)
	}
	return nil
}

// promised lists the phases that a plan may have.
func promised() string {
	var list string
	for _, k := range kinds {
		if !k.derived {
			list += ", " + string(k.name)
		}
	}
	return "one of " + list[2:]
}

// reconcile lets the latest promise win at every joint, and returns the contradictions.
func (p promises) reconcile() []Conflict {
	var conflicts []Conflict
	for _, j := range joints {
		span, hasSpan := p[j.span]
		next, hasNext := p[j.next]
		if !hasSpan || !hasNext {
			continue
		}
		both := []Promise{{string(j.span) + ".until", span.Until}, {string(j.next) + ".at", next.At}}
		slices.SortStableFunc(both, func(a, b Promise) int { return a.At.utc.Compare(b.At.utc) })
		if !span.Until.IsZero() && span.Until != next.At {
			conflicts = append(conflicts, Conflict{Thing: j.thing, Promises: both})
		}
		span.Until, next.At = both[1].At, both[1].At
		p[j.span], p[j.next] = span, next
	}
	return conflicts
}

// inOrder checks the rules between phases, and that every span ends after it begins.
func (p promises) inOrder() error {
	var errs []error
	for _, k := range kinds {
		if ph := p[k.name]; !ph.Until.IsZero() && !ph.Until.utc.After(ph.At.utc) {
			errs = append(errs, fmt.Errorf("phase %s ends at %s, not after its beginning at %s: correct one of them", k.name, ph.Until, ph.At))
		}
	}
	for _, chain := range order {
		var last moment
		for _, m := range chain {
			if p.at(m).IsZero() {
				continue
			}
			if p.at(m).utc.Before(p.at(last).utc) {
				errs = append(errs, fmt.Errorf("%s at %s comes before %s at %s: correct one of them, %s must not come first", m, p.at(m), last, p.at(last), m))
			}
			last = m
		}
	}
	return errors.Join(errs...)
}

// at is the time of a moment, zero if the plan does not have it.
func (p promises) at(m moment) Local {
	if m.ends {
		return p[m.phase].Until
	}
	return p[m.phase].At
}

// String is how an error names the moment.
func (m moment) String() string {
	if m.ends {
		return "the end of " + string(m.phase)
	}
	return string(m.phase)
}

// derive adds what no letter prints. The final delta begins when the old content stops changing, which is when it becomes
// read-only, or when sending is blocked if nothing of the kind is promised before the new boxes open.
func (p promises) derive(w Windows) error {
	quiet := p[BlockSending].At
	opening := p[OpenNew].At
	if readOnly := p[OldReadOnly].At; !readOnly.IsZero() && !readOnly.utc.After(opening.utc) {
		quiet = readOnly
	}
	if first, _ := w.NextOpening(quiet.utc); quiet != opening && !first.Before(opening.utc) {
		return fmt.Errorf("the final delta, from %s, would wait for a window until %s, but OpenNew is promised for %s: give a window that is open between the two",
			quiet, first.In(rome).Format(layout), opening)
	}
	if asked := p[RequestsClose].At; !asked.IsZero() {
		if p[BlockSending].At.utc.Sub(asked.utc) > 366*24*time.Hour {
			return fmt.Errorf("copying would go on for more than a year, from RequestsClose at %s to BlockSending at %s: correct one of them", asked, p[BlockSending].At)
		}
	}
	for _, k := range kinds {
		if k.derived && k.name != Copy {
			p[k.name] = Phase{Name: k.name, At: quiet, IfMissed: k.ifMissed}
		}
	}
	return nil
}

func (o Override) check(slots []Slot) error {
	known := slices.ContainsFunc(slots, func(s Slot) bool { return s.Name == o.Slot })
	switch {
	case !known:
		return fmt.Errorf("override of %q: there is no such slot; write the name that the status shows", o.Slot)
	case o.Verdict != Release && o.Verdict != Drop:
		return fmt.Errorf("override of %s: verdict %q: write %s or %s", o.Slot, o.Verdict, Release, Drop)
	case o.By == "" || o.Reason == "":
		return fmt.Errorf("override of %s: write who decided in by, and why in reason", o.Slot)
	case o.At.IsZero():
		return fmt.Errorf("override of %s: write in at the local time that was missed", o.Slot)
	}
	return nil
}
