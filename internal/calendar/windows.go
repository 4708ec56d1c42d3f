package calendar

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Overrun is what happens to work that is running when its window closes.
type Overrun string

const (
	// Finish lets the work end; nothing new starts. It is what an empty Overrun means.
	Finish Overrun = "Finish"
	// Checkpoint pauses the work at its next checkpoint and resumes it at the next opening.
	Checkpoint Overrun = "Checkpoint"
)

// Window is open while a clock on the wall in Rome shows From or later, and not yet To. To earlier than From is a night: it
// belongs to the day on which it begins. On the day with an hour twice the wall shows that hour twice, and the window is open
// both times; an hour that is skipped is never shown.
type Window struct {
	Days     Days // on which it begins
	From, To TimeOfDay
}

// ParseWindow reads the days and the two times of a window, as the kinds spell them.
func ParseWindow[D, T ~string](days []D, from, to T) (Window, error) {
	on, daysErr := ParseDays(days)
	opens, fromErr := ParseTimeOfDay(string(from))
	closes, toErr := ParseTimeOfDay(string(to))
	return Window{Days: on, From: opens, To: closes}, errors.Join(daysErr, fromErr, toErr)
}

// Windows say when work may run. No allow window means always; deny beats allow.
type Windows struct {
	Allow, Deny []Window
	Overrun     Overrun
}

// horizon is how many days to search for a change: two weeks and a day see every weekday twice, so that a window of an hour
// which one change of clocks skips is found the week after.
const horizon = 15

// Open says whether work may run at this instant.
func (w Windows) Open(now time.Time) bool {
	wall := onWall(now)
	shows := func(v Window) bool { return v.shows(wall) }
	return !slices.ContainsFunc(w.Deny, shows) && (len(w.Allow) == 0 || slices.ContainsFunc(w.Allow, shows))
}

// NextOpening is the first instant, now included, at which work may run; false if there is none.
func (w Windows) NextOpening(now time.Time) (time.Time, bool) { return w.next(now, true) }

// NextClosing is the first instant, now included, at which work may not run; false if there is none.
func (w Windows) NextClosing(now time.Time) (time.Time, bool) { return w.next(now, false) }

// Check says what is wrong with the windows, and what to write instead.
func (w Windows) Check() error {
	var errs []error
	for _, v := range slices.Concat(w.Allow, w.Deny) {
		errs = append(errs, v.check())
	}
	if w.Overrun != "" && w.Overrun != Finish && w.Overrun != Checkpoint {
		errs = append(errs, fmt.Errorf("overrun %q: write %s or %s", w.Overrun, Finish, Checkpoint))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	quiet := time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC) // far from any change of clocks
	if _, ok := w.NextOpening(quiet); !ok {
		return errors.New("the windows never open, because the deny windows cover all that is allowed: shorten a deny window or widen an allow window")
	}
	return nil
}

func (w Windows) next(now time.Time, open bool) (time.Time, bool) {
	if w.Open(now) == open {
		return now, true
	}
	today := dayOf(now)
	for i := range horizon + 1 {
		for _, edge := range w.edges(today.AddDate(0, 0, i)) {
			if edge.After(now) && w.Open(edge) == open {
				return edge, true
			}
		}
	}
	return time.Time{}, false
}

// edges are the instants of a day at which the windows may open or close, in order.
func (w Windows) edges(day time.Time) []time.Time {
	change, _ := day.Add(12 * time.Hour).In(rome).ZoneBounds() // if the clocks changed this day, when
	edges := []time.Time{change.UTC()}
	for _, v := range slices.Concat(w.Allow, w.Deny) {
		from, to := v.From.on(day), v.To.on(day)
		edges = append(edges, from.first, from.last, to.first, to.last)
	}
	slices.SortFunc(edges, time.Time.Compare)
	return edges
}

// shows says whether the wall shows a time in the window.
func (v Window) shows(wall time.Time) bool {
	clock, today := timeOfDay(wall), wall.Weekday()
	if v.From < v.To {
		return v.Days.Has(today) && v.From <= clock && clock < v.To
	}
	yesterday := (today + 6) % 7
	return v.Days.Has(today) && v.From <= clock || v.Days.Has(yesterday) && clock < v.To
}

func (v Window) check() error {
	if v.From < 0 || v.From >= endOfDay || v.To < 0 || v.To > endOfDay || v.From == v.To {
		return fmt.Errorf("window from %s to %s: write from 00:00 to 23:59 and a different to, up to 24:00 (00:00 to 24:00 is the whole day)", v.From, v.To)
	}
	return v.Days.check()
}
