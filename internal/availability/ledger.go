// Package availability counts how long a service was there, as the rules of certified mail count it: DM 2 November 2005, art. 12. The
// service is available for at least 99.8 % (paragraph 3) of a period of four months (paragraph 4), and no single outage lasts longer than
// half of all the time that the period allows (paragraph 5). Pure: who looks, and where the ledger is kept, is the caller's.
package availability

import (
	"cmp"
	"slices"
	"time"
)

// Verdict is what a look at the service came to.
type Verdict string

const (
	// Up is a service that answered.
	Up Verdict = "Up"
	// Down is one that did not.
	Down Verdict = "Down"
	// Unmeasured is one that nobody could look at: time that counts neither as up nor as down.
	Unmeasured Verdict = "Unmeasured"
)

// Gap is how far two looks may be apart; beyond it, nobody looked in between.
const Gap = 3 * time.Minute

const (
	// maxSpans is how many spans a ledger holds one by one; older ones are kept as totals of their periods.
	maxSpans = 64
	// maxTotals is how many periods' totals are kept: two years.
	maxTotals = 6
)

// Span is a stretch of time in which the service was not seen up; without an end it goes on.
type Span struct {
	Verdict Verdict   `json:"verdict"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to,omitzero"`
}

// Total is what the spans of a period that are no longer held one by one came to, in seconds.
type Total struct {
	Period     time.Time `json:"period"`
	Down       int64     `json:"down,omitempty"`
	Unmeasured int64     `json:"unmeasured,omitempty"`
	Longest    int64     `json:"longest,omitempty"` // outage
}

// Ledger is all that was seen of a service. What is in no span since Since was up.
type Ledger struct {
	Since  time.Time `json:"since"`
	Spans  []Span    `json:"spans,omitempty"` // in order, none overlaps another
	Totals []Total   `json:"totals,omitempty"`
}

// Saw enters a look at the service that was taken now; from is when what it shows began. last is when the service was looked at before,
// zero if nobody knows: then all since the ledger's last entry is unmeasured. It answers whether the ledger changed, which it does only
// when something begins or ends.
func (l *Ledger) Saw(v Verdict, from, last, now time.Time) bool {
	if l.Since.IsZero() {
		l.Since = now
		l.turn(v, now)
		return true
	}
	edge := l.edge()
	if last.Before(edge) {
		last = edge
	}
	changed := false
	if now.Sub(last) > Gap {
		changed = l.turn(Unmeasured, last)
		from = now // nobody knows since when
	}
	if from.Before(last) {
		from = last
	}
	if l.Open() != v {
		l.turn(v, from)
		changed = true
	}
	return changed
}

// Left says that nobody looks any more, since last.
func (l *Ledger) Left(last time.Time) bool {
	if l.Since.IsZero() || l.Open() == Unmeasured {
		return false
	}
	return l.turn(Unmeasured, last)
}

// edge is the ledger's last entry: the service was looked at then.
func (l *Ledger) edge() time.Time {
	if len(l.Spans) == 0 {
		return l.Since
	}
	last := l.Spans[len(l.Spans)-1]
	return cmp.Or(last.To, last.From)
}

// Before says whether the ledger's last entry is older than a time.
func (l *Ledger) Before(t time.Time) bool { return !l.Since.IsZero() && l.edge().Before(t) }

// Open is the verdict that goes on.
func (l *Ledger) Open() Verdict {
	if n := len(l.Spans); n > 0 && l.Spans[n-1].To.IsZero() {
		return l.Spans[n-1].Verdict
	}
	return Up
}

// turn ends what goes on, and begins another verdict. A clock that went back ends nothing before it began.
func (l *Ledger) turn(v Verdict, at time.Time) bool {
	was := l.Open()
	if edge := l.edge(); at.Before(edge) {
		at = edge
	}
	at = at.UTC().Truncate(time.Second)
	if was == v {
		return false
	}
	if was != Up {
		open := &l.Spans[len(l.Spans)-1]
		if open.To = at; !open.To.After(open.From) {
			l.Spans = l.Spans[:len(l.Spans)-1]
		}
	}
	if v != Up {
		l.Spans = append(l.Spans, Span{Verdict: v, From: at})
	}
	l.fold()
	return true
}

// fold keeps the ledger small: the oldest spans become totals of their periods.
func (l *Ledger) fold() {
	for len(l.Spans) > maxSpans {
		oldest := l.Spans[0]
		l.Spans = l.Spans[1:]
		for start := PeriodOf(oldest.From); start.Before(oldest.To); start = PeriodAfter(start) {
			seconds := int64(overlap(oldest, start, PeriodAfter(start), oldest.To) / time.Second)
			t := l.total(start)
			switch oldest.Verdict {
			case Down:
				t.Down, t.Longest = t.Down+seconds, max(t.Longest, seconds)
			case Unmeasured, Up:
				t.Unmeasured += seconds
			}
		}
	}
	l.Totals = l.Totals[max(0, len(l.Totals)-maxTotals):]
}

func (l *Ledger) total(period time.Time) *Total {
	i := slices.IndexFunc(l.Totals, func(t Total) bool { return t.Period.Equal(period) })
	if i < 0 {
		l.Totals, i = append(l.Totals, Total{Period: period.UTC()}), len(l.Totals)
	}
	return &l.Totals[i]
}

// overlap is how much of a span lies between two times; one that goes on ends now.
func overlap(s Span, from, to, now time.Time) time.Duration {
	if s.From.After(from) {
		from = s.From
	}
	for _, end := range []time.Time{cmp.Or(s.To, now), now} {
		if end.Before(to) {
			to = end
		}
	}
	return max(0, to.Sub(from))
}
