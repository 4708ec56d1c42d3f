package availability

import (
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/calendar"
)

// step is how finely time that goes on is counted: a figure that moved every second would be a write every second.
const step = 5 * time.Minute

// monthsOfPeriod is the law's period (art. 12, paragraph 4): January to April, May to August, September to December.
const monthsOfPeriod = 4

// PeriodOf is the beginning, on the clocks of Europe/Rome, of the period that a moment is in.
func PeriodOf(t time.Time) time.Time {
	t = calendar.InRome(t)
	first := (int(t.Month())-1)/monthsOfPeriod*monthsOfPeriod + 1
	return time.Date(t.Year(), time.Month(first), 1, 0, 0, 0, 0, t.Location())
}

// PeriodAfter is the beginning of the period after one that begins then.
func PeriodAfter(start time.Time) time.Time {
	return calendar.InRome(start).AddDate(0, monthsOfPeriod, 0)
}

// Level is what a period has come to so far.
type Level struct {
	Start time.Time
	// Length of the whole period; a change of clocks is in it.
	Length time.Duration
	// Down is the time in which the service was down, Longest that of one outage alone, Unmeasured that in which nobody looked. Of what
	// goes on, whole steps of five minutes are counted.
	Down, Longest, Unmeasured time.Duration
	// Measured says whether anybody has looked at all.
	Measured bool
	// OutSince is when the outage that goes on began; zero when there is none.
	OutSince time.Time
}

// Level is what the period that now is in has come to. Only the part of an outage that is in the period counts for it.
func (l *Ledger) Level(now time.Time) Level {
	start := PeriodOf(now)
	end := PeriodAfter(start)
	v := Level{Start: start, Length: end.Sub(start)}
	if !l.Since.IsZero() && !l.Since.After(now) {
		v.Unmeasured = overlap(Span{From: start, To: l.Since}, start, end, now)
	} else {
		v.Unmeasured = now.Sub(start).Truncate(step)
	}
	for _, s := range l.Spans {
		d := overlap(s, start, end, now)
		if s.To.IsZero() || s.To.After(now) {
			d = d.Truncate(step)
		}
		switch s.Verdict {
		case Down:
			v.Down, v.Longest = v.Down+d, max(v.Longest, d)
			if s.To.IsZero() && !s.From.After(now) {
				v.OutSince = s.From
			}
		case Unmeasured, Up:
			v.Unmeasured += d
		}
	}
	for _, t := range l.Totals {
		if t.Period.Equal(start) {
			v.Down += time.Duration(t.Down) * time.Second
			v.Unmeasured += time.Duration(t.Unmeasured) * time.Second
			v.Longest = max(v.Longest, time.Duration(t.Longest)*time.Second)
		}
	}
	v.Measured = !l.Since.IsZero() && now.Sub(start) > v.Unmeasured
	return v
}

// Availability is the percentage of the whole period that the service will have been there for if nothing more goes down, cut after four
// places; time that nobody measured is left out of the count. "" while nothing was measured.
func (v Level) Availability() string {
	counted := v.Length - v.Unmeasured
	if !v.Measured || counted <= 0 {
		return ""
	}
	const places = 10_000
	shown := new(big.Int).Div(big.NewInt(int64((counted-v.Down)/time.Second)*100*places), big.NewInt(int64(counted/time.Second))).Int64()
	text := fmt.Sprintf("%d.%04d", shown/places, shown%places)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// Allowed is how long the service may be down in the whole period under a promise like "99.8", and how long one outage may last.
func (v Level) Allowed(promise string) (total, single time.Duration, err error) {
	percent, ok := new(big.Rat).SetString(promise)
	if !ok {
		return 0, 0, fmt.Errorf("reading the promise %q: not a number", promise)
	}
	share := new(big.Rat).Sub(big.NewRat(100, 1), percent)
	share.Mul(share, big.NewRat(int64(v.Length/time.Second), 100))
	seconds := new(big.Int).Div(share.Num(), share.Denom())
	total = time.Duration(seconds.Int64()) * time.Second
	return total, total / 2, nil
}
