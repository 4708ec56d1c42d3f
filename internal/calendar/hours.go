package calendar

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// TimeOfDay is a time on the wall of any day, in seconds after 00:00.
type TimeOfDay int

const endOfDay TimeOfDay = 24 * 60 * 60

// ParseTimeOfDay reads hours and minutes, such as 02:30; 24:00 is the end of the day.
func ParseTimeOfDay(s string) (TimeOfDay, error) {
	if s == "24:00" {
		return endOfDay, nil
	}
	t, err := time.Parse("15:04", s)
	if err != nil || t.Format("15:04") != s {
		return 0, fmt.Errorf("%q is not a time of day: write hours and minutes as in 02:30, up to 24:00", s)
	}
	return timeOfDay(t), nil
}

// String is the time as [ParseTimeOfDay] reads it.
func (c TimeOfDay) String() string { return fmt.Sprintf("%02d:%02d", c/3600, c/60%60) }

// timeOfDay is what a clock on the wall shows, whatever the day.
func timeOfDay(wall time.Time) TimeOfDay {
	h, m, s := wall.Clock()
	return TimeOfDay(h*3600 + m*60 + s)
}

// on is what a day's wall says about this time.
func (c TimeOfDay) on(day time.Time) reading {
	return readings(day.Add(time.Duration(c) * time.Second))
}

// ParseDays reads English weekdays, such as Monday, as the kinds spell them.
func ParseDays[D ~string](names []D) (days Days, err error) {
	for _, name := range names {
		day := time.Sunday
		for day.String() != string(name) {
			if day++; day > time.Saturday {
				return nil, fmt.Errorf("%q is not a day: write Monday, Tuesday, Wednesday, Thursday, Friday, Saturday or Sunday", name)
			}
		}
		days = append(days, day)
	}
	return days, nil
}

// Days are weekdays; none means every day.
type Days []time.Weekday

// Has says whether the day is one of them.
func (d Days) Has(day time.Weekday) bool { return len(d) == 0 || slices.Contains(d, day) }

// String names the days.
func (d Days) String() string {
	if len(d) == 0 {
		return "every day"
	}
	names := make([]string, len(d))
	for i, day := range d {
		names[i] = day.String()[:min(3, len(day.String()))]
	}
	return strings.Join(names, ", ")
}

func (d Days) check() error {
	for i, day := range d {
		if day < time.Sunday || day > time.Saturday || slices.Contains(d[:i], day) {
			return fmt.Errorf("days %s: name each day of the week at most once", d)
		}
	}
	return nil
}
