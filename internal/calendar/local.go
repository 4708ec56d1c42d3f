package calendar

import (
	"fmt"
	"time"
	_ "time/tzdata" // a scratch image has no zone files
)

// TimeZone is the zone of every local time here: the letters are Italian.
const TimeZone = "Europe/Rome"

// layout is how a plan writes a local time.
const layout = "2006-01-02T15:04:05"

// Certified mail began in 2005; a year outside these is a slip of the pen.
const firstYear, lastYear = 2005, 2199

var rome = func() *time.Location {
	l, err := time.LoadLocation(TimeZone)
	if err != nil {
		panic(err) // the zone is in the binary
	}
	return l
}()

// InRome is a moment as the clocks in Italy show it, for texts that people read there.
func InRome(t time.Time) time.Time { return t.In(rome) }

// Local is a time on the wall in Europe/Rome that happens exactly once. The zero value is no time at all.
type Local struct{ utc time.Time }

// ParseLocal reads a time as a letter prints it, such as 2022-04-20T08:00:00: no zone, no fraction, nothing left out. A time in
// the hour that a change of clocks skips or repeats is refused, because no reader could tell what was promised.
func ParseLocal(s string) (Local, error) {
	wall, err := time.Parse(layout, s)
	if err != nil || wall.Format(layout) != s {
		return Local{}, fmt.Errorf("%q is not a local time: write year, month, day and time as in 2022-04-20T08:00:00, without zone or fraction", s)
	}
	if wall.Year() < firstYear || wall.Year() > lastYear {
		return Local{}, fmt.Errorf("%s: the year must be from %d to %d; correct it", s, firstYear, lastYear)
	}
	r := readings(wall)
	switch r.count {
	case 0:
		return Local{}, fmt.Errorf("%s does not exist in %s: that day the clocks go forward from %s to %s; write %s or earlier, or %s or later",
			s, TimeZone, r.from.Format("15:04"), r.to.Format("15:04"), r.from.Add(-time.Second).Format(layout), r.to.Format(layout))
	case 2:
		return Local{}, fmt.Errorf("%s exists twice in %s: that day the clocks go back from %s to %s; write %s or earlier, or %s or later",
			s, TimeZone, r.from.Format("15:04"), r.to.Format("15:04"), r.to.Add(-time.Second).Format(layout), r.from.Format(layout))
	}
	return Local{r.first}, nil
}

// LocalAt is the local time at an instant; it fails in the hour that exists twice, which no local time can name.
func LocalAt(t time.Time) (Local, error) { return ParseLocal(t.In(rome).Format(layout)) }

// UTC is the instant.
func (l Local) UTC() time.Time { return l.utc }

// IsZero says that there is no time.
func (l Local) IsZero() bool { return l.utc.IsZero() }

// String is the local time as a letter prints it, "" for none; [ParseLocal] reads it back.
func (l Local) String() string {
	if l.IsZero() {
		return ""
	}
	return l.utc.In(rome).Format(layout)
}

// Both shows an instant to a person who must not guess: the wall in Rome with its offset, and UTC.
func Both(t time.Time) string {
	return fmt.Sprintf("%s (%s)", t.In(rome).Format("2006-01-02 15:04:05 -07:00"), t.UTC().Format("2006-01-02 15:04:05 UTC"))
}

// Minute is an instant on the wall in Rome, to the minute, as a condition may say it.
func Minute(t time.Time) string { return t.In(rome).Format("2006-01-02 15:04 MST") }

// reading is what a time on the wall means: how many instants show it, the first and the last of them. If none or two do, the
// clocks change there, from one time on the wall to another; a time that is skipped has first and last where the gap ends.
type reading struct {
	count       int
	first, last time.Time
	from, to    time.Time // on the wall
}

// readings reads a time on the wall, given as if the wall showed UTC. The offsets of the day before and of the day after tell
// everything, because the clocks never change twice in two days.
func readings(wall time.Time) reading {
	before, after := offset(wall.Add(-24*time.Hour)), offset(wall.Add(24*time.Hour))
	early, late := wall.Add(-before), wall.Add(-after)
	fitsBefore, fitsAfter := offset(early) == before, offset(late) == after
	switch {
	case before == after || fitsBefore && !fitsAfter:
		return reading{count: 1, first: early, last: early}
	case fitsAfter && !fitsBefore:
		return reading{count: 1, first: late, last: late}
	}
	r := reading{count: 2, first: early, last: late}
	change, _ := late.In(rome).ZoneBounds()
	if !fitsBefore {
		change, _ = early.In(rome).ZoneBounds()
		r = reading{first: change.UTC(), last: change.UTC()}
	}
	r.from, r.to = change.UTC().Add(before), change.UTC().Add(after)
	return r
}

// offset is how far the wall in Rome is ahead of UTC.
func offset(t time.Time) time.Duration {
	_, seconds := t.In(rome).Zone()
	return time.Duration(seconds) * time.Second
}

// onWall is what the wall in Rome shows at an instant, as if it showed UTC.
func onWall(t time.Time) time.Time { return t.UTC().Add(offset(t)) }

// dayOf is the day on the wall at an instant, at 00:00 as if the wall showed UTC.
func dayOf(t time.Time) time.Time {
	y, m, d := t.In(rome).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}
