package calendar

import (
	"strings"
	"testing"
	"time"
)

// at makes a local time that is right.
func at(t testing.TB, s string) Local {
	t.Helper()
	l, err := ParseLocal(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// utc makes an instant.
func utc(t testing.TB, s string) time.Time {
	t.Helper()
	u, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestLocalTimes(t *testing.T) {
	const form = "write year, month, day and time as in 2022-04-20T08:00:00"
	for sentence, c := range map[string]struct {
		text string
		utc  string
		why  string // a piece of the error
	}{
		"summer is two hours ahead":         {text: "2022-04-20T08:00:00", utc: "2022-04-20T06:00:00Z"},
		"winter is one hour ahead":          {text: "2024-10-28T00:00:00", utc: "2024-10-27T23:00:00Z"},
		"the last second before the gap":    {text: "2022-03-27T01:59:59", utc: "2022-03-27T00:59:59Z"},
		"the gap's first second":            {text: "2022-03-27T02:00:00", why: "does not exist"},
		"the gap's last second":             {text: "2022-03-27T02:59:59", why: "write 2022-03-27T01:59:59 or earlier, or 2022-03-27T03:00:00 or later"},
		"the first second after the gap":    {text: "2022-03-27T03:00:00", utc: "2022-03-27T01:00:00Z"},
		"the last second that exists once":  {text: "2022-10-30T01:59:59", utc: "2022-10-29T23:59:59Z"},
		"the first second that comes twice": {text: "2022-10-30T02:00:00", why: "exists twice"},
		"the last second that comes twice":  {text: "2022-10-30T02:59:59", why: "write 2022-10-30T01:59:59 or earlier, or 2022-10-30T03:00:00 or later"},
		"the first second that is new":      {text: "2022-10-30T03:00:00", utc: "2022-10-30T02:00:00Z"},
		"the clocks' way is told":           {text: "2022-10-30T02:30:00", why: "the clocks go back from 03:00 to 02:00"},
		"a leap day":                        {text: "2024-02-29T12:00:00", utc: "2024-02-29T11:00:00Z"},
		"no leap day":                       {text: "2023-02-29T12:00:00", why: form},
		"a zone":                            {text: "2022-04-20T08:00:00Z", why: form},
		"an offset":                         {text: "2022-04-20T08:00:00+02:00", why: form},
		"a fraction":                        {text: "2022-04-20T08:00:00.5", why: form},
		"a short hour":                      {text: "2022-04-20T8:00:00", why: form},
		"no seconds":                        {text: "2022-04-20T08:00", why: form},
		"a blank instead of T":              {text: "2022-04-20 08:00:00", why: form},
		"24 hours":                          {text: "2022-04-20T24:00:00", why: form},
		"Italian order":                     {text: "20/04/2022 08:00", why: form},
		"nothing":                           {text: "", why: form},
		"a year with two zeros":             {text: "0022-04-20T08:00:00", why: "the year must be from 2005 to 2199"},
	} {
		t.Run(sentence, func(t *testing.T) {
			l, err := ParseLocal(c.text)
			if c.why != "" {
				if err == nil || !strings.Contains(err.Error(), c.why) {
					t.Fatalf("want an error with %q, got %v", c.why, err)
				}
				return
			}
			if err != nil || !l.UTC().Equal(utc(t, c.utc)) || l.String() != c.text {
				t.Errorf("%s became %s and %s: %v", c.text, l.UTC(), l, err)
			}
			if back, err := LocalAt(l.UTC()); err != nil || back != l {
				t.Errorf("back from UTC: %s, %v", back, err)
			}
		})
	}
	if !(Local{}).IsZero() || (Local{}).String() != "" {
		t.Error("the zero value is no time")
	}
}

func FuzzParseLocal(f *testing.F) {
	for _, s := range []string{"2022-04-20T08:00:00", "2022-03-27T02:30:00", "2022-10-30T02:30:00", "2024-02-30T00:00:00", "2199-12-31T23:59:59", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLocal(s)
		if err != nil {
			if !l.IsZero() || !strings.Contains(err.Error(), "write") && !strings.Contains(err.Error(), "correct") {
				t.Fatalf("%q: %s, and an error that does not say what to do: %v", s, l, err)
			}
			return
		}
		if l.String() != s {
			t.Fatalf("%q reads back as %q", s, l)
		}
		if back, err := LocalAt(l.UTC()); err != nil || back != l {
			t.Fatalf("%q: back from UTC %s, %v", s, back, err)
		}
	})
}
