package availability

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/calendar"
)

func rome(t *testing.T, text string) time.Time {
	t.Helper()
	l, err := calendar.ParseLocal(text)
	if err != nil {
		t.Fatal(err)
	}
	return l.UTC()
}

func TestPeriod(t *testing.T) {
	for name, c := range map[string]struct {
		at, start string
		minutes   int
	}{
		"its first second": {"2026-01-01T00:00:00", "2026-01-01T00:00:00", 120*24*60 - 60},
		"its last":         {"2026-04-30T23:59:59", "2026-01-01T00:00:00", 120*24*60 - 60},
		"the next":         {"2026-05-01T00:00:00", "2026-05-01T00:00:00", 123 * 24 * 60},
		"the one with the change back to winter time": {"2026-12-31T23:59:59", "2026-09-01T00:00:00", 122*24*60 + 60},
		"a leap year has a day more":                  {"2028-02-29T12:00:00", "2028-01-01T00:00:00", 121*24*60 - 60},
	} {
		t.Run(name, func(t *testing.T) {
			start := PeriodOf(rome(t, c.at))
			if want := rome(t, c.start); !start.Equal(want) {
				t.Errorf("the period began %s, want %s", start, want)
			}
			if got := PeriodAfter(start).Sub(start); got != time.Duration(c.minutes)*time.Minute {
				t.Errorf("it has %s, want %d minutes", got, c.minutes)
			}
		})
	}
}

var base = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func minute(n float64) time.Time { return base.Add(time.Duration(n * float64(time.Minute))) }

func TestLevel(t *testing.T) {
	year := rome(t, "2026-01-01T00:00:00")
	down := func(from, to time.Time) Span { return Span{Verdict: Down, From: from, To: to} }
	none := func(from, to time.Time) Span { return Span{Verdict: Unmeasured, From: from, To: to} }
	for name, c := range map[string]struct {
		ledger                    Ledger
		now                       time.Time
		down, longest, unmeasured time.Duration
		availability              string
		out                       bool
	}{
		"a period that was watched and saw nothing":  {Ledger{Since: year}, base, 0, 0, 0, "100", false},
		"nothing was ever looked at":                 {Ledger{}, year.Add(time.Hour), 0, 0, time.Hour, "", false},
		"two outages are added, the longer is shown": {Ledger{Since: year, Spans: []Span{down(minute(-600), minute(-500)), down(minute(-60), minute(-30))}}, base, 130 * time.Minute, 100 * time.Minute, 0, "99.9247", false},
		"an outage that goes on counts in steps":     {Ledger{Since: year, Spans: []Span{down(minute(-14), time.Time{})}}, base, 10 * time.Minute, 10 * time.Minute, 0, "99.9942", true},
		"before the first look nothing was measured": {Ledger{Since: base.Add(-time.Hour)}, base, 0, 0, base.Add(-time.Hour).Sub(year), "100", false},
		"an operator that was away measured nothing": {Ledger{Since: year, Spans: []Span{none(minute(-90), minute(-30))}}, base, 0, 0, time.Hour, "100", false},
		"only the part in the period counts": {Ledger{Since: year.AddDate(-1, 0, 0), Spans: []Span{down(year.Add(-2*time.Hour), year.Add(time.Hour))}},
			base, time.Hour, time.Hour, 0, "99.9652", false},
		"the former period keeps its part": {Ledger{Since: year.AddDate(-1, 0, 0), Spans: []Span{down(year.Add(-2*time.Hour), year.Add(time.Hour))}},
			year.Add(-time.Minute), 115 * time.Minute, 115 * time.Minute, 0, "99.9345", false}, // seen then, it went on
		"of older outages the total is kept": {Ledger{Since: year, Totals: []Total{{Period: year, Down: 600, Longest: 300, Unmeasured: 60}, {Period: year.AddDate(0, -4, 0), Down: 9999}}},
			base, 10 * time.Minute, 5 * time.Minute, time.Minute, "99.9942", false},
		"a clock that went back counts nothing that is to come": {Ledger{Since: year, Spans: []Span{down(minute(30), minute(60))}}, base, 0, 0, 0, "100", false},
	} {
		t.Run(name, func(t *testing.T) {
			v := c.ledger.Level(c.now)
			if v.Down != c.down || v.Longest != c.longest || v.Unmeasured != c.unmeasured || v.Availability() != c.availability || v.OutSince.IsZero() == c.out {
				t.Errorf("down %s, longest %s, unmeasured %s, availability %q, out since %s", v.Down, v.Longest, v.Unmeasured, v.Availability(), v.OutSince)
			}
		})
	}
}

func TestAllowed(t *testing.T) {
	v := (&Ledger{}).Level(time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC))
	for promise, want := range map[string]time.Duration{"99.8": 354*time.Minute + 14*time.Second, "99.95": 88*time.Minute + 33*time.Second, "100": 0} {
		total, single, err := v.Allowed(promise)
		if err != nil || total != want || single != want/2 {
			t.Errorf("%s %% allows %s, one outage %s (%v); want %s", promise, total, single, err, want)
		}
	}
	if _, _, err := v.Allowed("molto"); err == nil {
		t.Error("a promise that is no number is taken for one")
	}
}

// look is one look at a service: at a minute, what it came to, and since when.
type look struct {
	at   float64
	v    Verdict
	from float64
}

func TestLedger(t *testing.T) {
	for name, c := range map[string]struct {
		looks []look
		// away says, by the number of a look, when the service was looked at before it, instead of at the look before; nil is unknown.
		away map[int]*float64
		want []Span
		// wantChanges is how many looks were written down.
		wantChanges int
	}{
		"a service that is up is written down once":           {looks: []look{{0, Up, 0}, {1, Up, 1}, {2, Up, 2}}, wantChanges: 1},
		"an outage is written when it begins and when ends":   {looks: []look{{0, Up, 0}, {2, Down, 1}, {3, Down, 3}, {4, Up, 4}}, want: []Span{{Down, minute(1), minute(4)}}, wantChanges: 3},
		"an outage from the first look on":                    {looks: []look{{0, Down, 0}, {2, Up, 2}}, want: []Span{{Down, minute(0), minute(2)}}, wantChanges: 2},
		"what cannot be looked at is neither":                 {looks: []look{{0, Up, 0}, {1, Unmeasured, 1}, {3, Up, 3}}, want: []Span{{Unmeasured, minute(1), minute(3)}}, wantChanges: 3},
		"a pause of the operator's is unmeasured":             {looks: []look{{0, Up, 0}, {60, Up, 60}}, want: []Span{{Unmeasured, minute(0), minute(60)}}, wantChanges: 2},
		"an outage ends where the operator's absence begins":  {looks: []look{{0, Up, 0}, {1, Down, 1}, {60, Down, 60}, {61, Up, 61}}, want: []Span{{Down, minute(1), minute(2)}, {Unmeasured, minute(2), minute(60)}, {Down, minute(60), minute(61)}}, wantChanges: 4, away: map[int]*float64{2: at(2)}},
		"without a word on its absence all is unmeasured":     {looks: []look{{0, Up, 0}, {1, Up, 1}, {60, Up, 60}}, away: map[int]*float64{2: nil}, want: []Span{{Unmeasured, minute(0), minute(60)}}, wantChanges: 2},
		"a restart within minutes is no absence":              {looks: []look{{0, Up, 0}, {10, Up, 10}}, away: map[int]*float64{1: at(8)}, wantChanges: 1},
		"a clock that went back ends nothing before it began": {looks: []look{{0, Up, 0}, {2, Down, 2}, {1, Up, 1}}, want: []Span{}, wantChanges: 3},
	} {
		t.Run(name, func(t *testing.T) {
			l, changes := &Ledger{}, 0
			var last time.Time
			for i, k := range c.looks {
				if seen, said := c.away[i]; said {
					if last = (time.Time{}); seen != nil {
						last = minute(*seen)
					}
				}
				if l.Saw(k.v, minute(k.from), last, minute(k.at)) {
					changes++
				}
				last = minute(k.at)
			}
			if diff := cmp.Diff(c.want, l.Spans); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if changes != c.wantChanges {
				t.Errorf("the ledger was written %d times, want %d", changes, c.wantChanges)
			}
		})
	}
}

func at(minute float64) *float64 { return &minute }

func TestALedgerThatIsLeftIsUnmeasured(t *testing.T) {
	l := &Ledger{}
	if l.Left(minute(0)) {
		t.Error("one that was never begun is left")
	}
	l.Saw(Up, minute(0), time.Time{}, minute(0))
	if !l.Left(minute(1)) || l.Left(minute(2)) {
		t.Error("it is left once")
	}
	l.Saw(Up, minute(60), minute(60), minute(60))
	if diff := cmp.Diff([]Span{{Unmeasured, minute(1), minute(60)}}, l.Spans); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAFlappingServiceFitsTheLedger(t *testing.T) {
	l, start := &Ledger{}, rome(t, "2026-04-29T00:00:00")
	now := start
	var out time.Duration
	for i := range 4000 { // a minute down, a minute up, over the end of a period
		v := Up
		if i%2 == 1 {
			v = Down
		}
		l.Saw(v, now, now, now)
		if v == Down && !PeriodOf(now).Equal(PeriodOf(start)) {
			out += time.Minute
		}
		now = now.Add(time.Minute)
	}
	l.Saw(Up, now, now, now)
	if len(l.Spans) > maxSpans || len(l.Totals) != 2 {
		t.Errorf("%d spans and %d totals", len(l.Spans), len(l.Totals))
	}
	if v := l.Level(now); v.Down != out || v.Longest != time.Minute {
		t.Errorf("the new period has %s down, the longest %s; want %s", v.Down, v.Longest, out)
	}
}
