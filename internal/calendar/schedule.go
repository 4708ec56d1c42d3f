package calendar

import (
	"errors"
	"fmt"
	"time"
)

// Schedule is work that recurs at one time on the wall in Rome. On a day whose wall skips that time it runs at the first
// instant after the gap; on a day whose wall shows it twice it runs once, at the first. A run that has not begun when the next
// is due is missed: one late run is enough.
type Schedule struct {
	At       TimeOfDay
	Days     Days
	Windows  Windows
	IfMissed IfMissed // RunLate or Skip; "" is RunLate
}

// Check says what is wrong with the schedule, and what to write instead.
func (s Schedule) Check() error {
	var errs []error
	if s.At < 0 || s.At >= endOfDay {
		errs = append(errs, fmt.Errorf("schedule at %s: write a time from 00:00 to 23:59", s.At))
	}
	if s.IfMissed != "" && s.IfMissed != RunLate && s.IfMissed != Skip {
		errs = append(errs, fmt.Errorf("ifMissed %q: a run that recurs waits for nobody; write %s or %s", s.IfMissed, RunLate, Skip))
	}
	return errors.Join(append(errs, s.Days.check(), s.Windows.Check())...)
}

// Next decides about the runs after since, and shows the one to come. since is when the schedule began, and later the At of
// any slot before which all are settled; what done says about earlier ones is not looked at;
// no since means now, for a new schedule owes nothing. The schedule must pass Check.
func (s Schedule) Next(since, now time.Time, done Ledger) Outlook {
	if since.IsZero() {
		since = now
	}
	upcoming := now.AddDate(0, 0, horizon)
	slots := s.slots(since, upcoming)
	for i, slot := range slots {
		if slot.At.After(now) {
			slots = slots[:i+1]
			break
		}
	}
	return look(slots, s.Windows, nil, now, done)
}

// slots makes the runs after one instant and up to another. A run is pointless from the next one on.
func (s Schedule) slots(after, upTo time.Time) []Slot {
	var slots []Slot
	for day := dayOf(after); ; day = day.AddDate(0, 0, 1) {
		at := s.At.on(day).first
		if !s.Days.Has(day.Weekday()) || !at.After(after) {
			continue
		}
		if n := len(slots); n > 0 {
			slots[n-1].Until = at
		}
		if at.After(upTo) {
			return slots
		}
		ifMissed := s.IfMissed
		if ifMissed == "" {
			ifMissed = RunLate
		}
		slots = append(slots, Slot{Name: "run-" + day.Format("20060102"), At: at, IfMissed: ifMissed, Work: true, lane: "run"})
	}
}
