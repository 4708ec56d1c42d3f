package calendar

import (
	"strings"
	"testing"
	"time"
)

// hours makes a window, such as "22:00-06:00 Fri Sat".
func hours(t testing.TB, s string) Window {
	t.Helper()
	fields := strings.Fields(s)
	from, to, _ := strings.Cut(fields[0], "-")
	var days []string
	for _, f := range fields[1:] {
		days = append(days, map[string]string{"Mon": "Monday", "Tue": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday",
			"Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday"}[f])
	}
	w, err := ParseWindow(days, from, to)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return w
}

func clock(t testing.TB, s string) TimeOfDay {
	t.Helper()
	c, err := ParseTimeOfDay(s)
	if err != nil {
		t.Fatal(err)
	}
	if c.String() != s {
		t.Fatalf("%s reads back as %s", s, c)
	}
	return c
}

func all(t testing.TB, windows ...string) []Window {
	t.Helper()
	var list []Window
	for _, s := range windows {
		list = append(list, hours(t, s))
	}
	return list
}

func TestOpenings(t *testing.T) {
	for sentence, c := range map[string]struct {
		allow, deny []string
		now, opens  string // now == opens: it is open
	}{
		"no window is always open":                     {now: "2022-04-20T06:00:00Z", opens: "2022-04-20T06:00:00Z"},
		"a night across midnight is open before it":    {allow: []string{"22:00-06:00"}, now: "2022-04-20T21:30:00Z", opens: "2022-04-20T21:30:00Z"},
		"and after it":                                 {allow: []string{"22:00-06:00"}, now: "2022-04-20T03:59:59Z", opens: "2022-04-20T03:59:59Z"},
		"and not at its end":                           {allow: []string{"22:00-06:00"}, now: "2022-04-20T04:00:00Z", opens: "2022-04-20T20:00:00Z"},
		"Friday's night is open on Saturday morning":   {allow: []string{"22:00-06:00 Fri"}, now: "2022-04-23T03:00:00Z", opens: "2022-04-23T03:00:00Z"},
		"and not on Friday morning":                    {allow: []string{"22:00-06:00 Fri"}, now: "2022-04-22T03:00:00Z", opens: "2022-04-22T20:00:00Z"},
		"24:00 is the end of the day":                  {allow: []string{"20:00-24:00"}, now: "2022-04-20T22:00:00Z", opens: "2022-04-21T18:00:00Z"},
		"deny beats allow":                             {allow: []string{"00:00-24:00"}, deny: []string{"08:00-18:00"}, now: "2022-04-20T06:00:00Z", opens: "2022-04-20T16:00:00Z"},
		"the end of a denied day":                      {deny: []string{"00:00-24:00 Wed"}, now: "2022-04-20T06:00:00Z", opens: "2022-04-20T22:00:00Z"},
		"deny windows that meet leave no crack":        {deny: []string{"08:00-12:00", "12:00-18:00"}, now: "2022-04-20T09:00:00Z", opens: "2022-04-20T16:00:00Z"},
		"an hour that is skipped never opens":          {allow: []string{"02:00-03:00"}, now: "2022-03-27T00:30:00Z", opens: "2022-03-28T00:00:00Z"},
		"once a week and skipped: the week after":      {allow: []string{"02:00-03:00 Sun"}, now: "2022-03-26T12:00:00Z", opens: "2022-04-03T00:00:00Z"},
		"a window that begins in the gap":              {allow: []string{"02:30-05:00"}, now: "2022-03-27T00:30:00Z", opens: "2022-03-27T01:00:00Z"},
		"an hour that comes twice opens the first":     {allow: []string{"02:00-02:30"}, now: "2022-10-29T23:00:00Z", opens: "2022-10-30T00:00:00Z"},
		"and the second time":                          {allow: []string{"02:00-02:30"}, now: "2022-10-30T00:30:00Z", opens: "2022-10-30T01:00:00Z"},
		"an hour that comes twice is denied twice":     {deny: []string{"02:00-03:00"}, now: "2022-10-30T00:00:00Z", opens: "2022-10-30T02:00:00Z"},
		"a denied half hour frees the half in between": {deny: []string{"02:00-02:30"}, now: "2022-10-30T00:00:00Z", opens: "2022-10-30T00:30:00Z"},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := Windows{Allow: all(t, c.allow...), Deny: all(t, c.deny...)}
			if err := w.Check(); err != nil {
				t.Fatal(err)
			}
			now, want := utc(t, c.now), utc(t, c.opens)
			if got, ok := w.NextOpening(now); !ok || !got.Equal(want) || w.Open(now) != now.Equal(want) {
				t.Errorf("at %s it opens at %s, open now: %t; want %s", Both(now), Both(got), w.Open(now), Both(want))
			}
		})
	}
}

func TestWindowsThatAreRefused(t *testing.T) {
	for sentence, c := range map[string]struct {
		windows Windows
		why     string
	}{
		"from and to are the same":         {Windows{Allow: []Window{{From: 3600, To: 3600}}}, "00:00 to 24:00 is the whole day"},
		"beginning at the end of the day":  {Windows{Deny: []Window{{From: endOfDay, To: 3600}}}, "from 00:00 to 23:59"},
		"a day named twice":                {Windows{Allow: all(t, "08:00-09:00 Mon Mon")}, "at most once"},
		"no such day":                      {Windows{Allow: []Window{{To: 60, Days: Days{7}}}}, "at most once"},
		"an overrun that nobody knows":     {Windows{Overrun: "Kill"}, "write Finish or Checkpoint"},
		"all that is allowed is denied":    {Windows{Allow: all(t, "08:00-12:00 Mon"), Deny: all(t, "07:00-13:00")}, "never open"},
		"everything is denied, in a night": {Windows{Deny: all(t, "08:00-20:00", "20:00-08:00")}, "never open"},
	} {
		t.Run(sentence, func(t *testing.T) {
			if err := c.windows.Check(); err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("want an error with %q, got %v", c.why, err)
			}
		})
	}
}

func TestTimesOfDayAndDaysThatAreRefused(t *testing.T) {
	for _, s := range []string{"", "2:30", "02:30:00", "24:01", "25:00", "02.30", "02:60"} {
		if c, err := ParseTimeOfDay(s); err == nil || !strings.Contains(err.Error(), "write") {
			t.Errorf("%q became %s, %v", s, c, err)
		}
	}
	for _, s := range []string{"", "Mon", "monday", "Lunedì"} {
		if d, err := ParseDays([]string{"Sunday", s}); err == nil || !strings.Contains(err.Error(), "write Monday") {
			t.Errorf("%q became %s, %v", s, d, err)
		}
	}
}

func TestRunsOfASchedule(t *testing.T) {
	for sentence, c := range map[string]struct {
		at    string
		days  Days
		after string
		want  string // the first run
		name  string
	}{
		"tonight":                             {at: "02:30", after: "2022-04-19T12:00:00Z", want: "2022-04-20T00:30:00Z", name: "run-20220420"},
		"not again at its own time":           {at: "02:30", after: "2022-04-20T00:30:00Z", want: "2022-04-21T00:30:00Z", name: "run-20220421"},
		"on its days only":                    {at: "02:30", days: Days{time.Sunday}, after: "2022-04-20T00:00:00Z", want: "2022-04-24T00:30:00Z", name: "run-20220424"},
		"a time that is skipped: after it":    {at: "02:30", after: "2022-03-26T12:00:00Z", want: "2022-03-27T01:00:00Z", name: "run-20220327"},
		"a time that comes twice: the first":  {at: "02:30", after: "2022-10-29T12:00:00Z", want: "2022-10-30T00:30:00Z", name: "run-20221030"},
		"and not the second":                  {at: "02:30", after: "2022-10-30T00:30:00Z", want: "2022-10-31T01:30:00Z", name: "run-20221031"},
		"midnight in Rome names Rome's day":   {at: "00:00", after: "2022-04-19T12:00:00Z", want: "2022-04-19T22:00:00Z", name: "run-20220420"},
		"the day's last minute, before a gap": {at: "23:59", after: "2022-03-26T12:00:00Z", want: "2022-03-26T22:59:00Z", name: "run-20220326"},
	} {
		t.Run(sentence, func(t *testing.T) {
			s := Schedule{At: clock(t, c.at), Days: c.days}
			o := s.Next(utc(t, c.after), utc(t, c.after), nil)
			if got := o.Slots[0].Slot; !got.At.Equal(utc(t, c.want)) || got.Name != c.name || len(o.Actions) > 0 || !o.LookAgain.Equal(got.At) {
				t.Errorf("%s at %s, look again at %s; want %s at %s", got.Name, Both(got.At), Both(o.LookAgain), c.name, c.want)
			}
		})
	}
	for _, s := range []Schedule{{At: endOfDay}, {IfMissed: Hold}, {Days: Days{9}}, {Windows: Windows{Overrun: "x"}}} {
		if s.Check() == nil {
			t.Errorf("%+v was accepted", s)
		}
	}
	if o := (Schedule{}).Next(time.Time{}, utc(t, "2022-04-20T12:00:00Z"), nil); len(o.Actions) > 0 || len(o.Slots) != 1 {
		t.Errorf("a new schedule owes nothing: %+v", o)
	}
}
