package calendar

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// settledBefore is a ledger in which every slot before a local time is done.
func settledBefore(t testing.TB, table *Timetable, local string) Ledger {
	t.Helper()
	ledger := Ledger{}
	for _, s := range table.Slots {
		if s.At.Before(at(t, local).UTC()) {
			ledger[s.Name] = Done
		}
	}
	return ledger
}

func TestWhatToDoNow(t *testing.T) {
	lenient := with(letter(t), func(p *Plan) { p.IfMissed = RunLate })
	skipping := with(letter(t), func(p *Plan) { p.IfMissed = Skip })
	anna := Override{Slot: "destroy", At: at(t, "2024-10-28T00:00:00"), Verdict: Release, By: "Anna Rossi", Reason: "det. 12/2024"}
	decided := func(change func(*Override)) Plan {
		o := anna
		change(&o)
		return with(letter(t), func(p *Plan) { p.Overrides = []Override{o} })
	}
	nights := with(letter(t), func(p *Plan) { p.Windows = Windows{Allow: all(t, "20:00-06:00", "08:00-18:00 Thu")} })
	pausing := with(nights, func(p *Plan) { p.Windows.Overrun = Checkpoint })
	for sentence, c := range map[string]struct {
		plan   Plan
		now    string
		known  Ledger // beside all that was before today being done
		want   string // the actions
		shows  string // "slot: state: a piece of why"
		again  string // when to look again
		untold bool   // nothing before today is known
	}{
		"before everything": {plan: letter(t), now: "2022-04-20T07:59:59", shows: "freeze: Waiting: until", again: "2022-04-20T08:00:00"},
		"on time":           {plan: letter(t), now: "2022-04-20T08:00:00", want: "Start freeze"},
		"within grace":      {plan: letter(t), now: "2022-04-20T08:14:59", want: "Start freeze"},
		"missed and held":   {plan: letter(t), now: "2022-04-20T08:15:00", shows: "freeze: Held: write an override to release or drop it", again: "2022-04-20T12:00:00"},
		"missed and late":   {plan: lenient, now: "2022-04-20T10:00:00", want: "Start freeze late"},
		"missed and gone":   {plan: skipping, now: "2022-04-20T10:00:00", want: "Miss freeze", shows: "freeze: Waiting: it was due at 2022-04-20 08:00:00 +02:00"},
		"too late even for what may be late": {plan: lenient, now: "2022-05-09T09:00:00", untold: true, want: "Miss freeze",
			shows: "freeze: Waiting: it had to begin before"},
		"nothing overtakes":                                            {plan: lenient, now: "2022-04-20T12:00:00", want: "Start freeze late", shows: "requests-close: Waiting: for freeze"},
		"a freeze that was missed ends in nothing":                     {plan: letter(t), now: "2022-05-09T09:00:00", known: Ledger{"freeze": Missed}, want: "Miss freeze-end"},
		"an end is never skipped":                                      {plan: skipping, now: "2022-05-09T12:00:00", want: "Start freeze-end late"},
		"verification waits for the delta":                             {plan: letter(t), now: "2022-04-28T12:00:00", known: Ledger{"block-sending": Done, "old-read-only": Done, "final-delta": Running}, shows: "verify: Waiting: for final-delta"},
		"and follows it":                                               {plan: letter(t), now: "2022-04-28T12:00:00", known: Ledger{"block-sending": Done, "old-read-only": Done, "final-delta": Done}, want: "Start verify late"},
		"opening waits for the cut-over":                               {plan: letter(t), now: "2022-04-28T18:00:00", known: Ledger{"block-sending": Done, "old-read-only": Done, "final-delta": Done, "verify": Running}, shows: "open-new: Waiting: for verify"},
		"opening that could not be in time":                            {plan: letter(t), now: "2022-04-28T19:00:00", known: Ledger{"block-sending": Done, "old-read-only": Done, "final-delta": Done, "verify": Done, "cut-over": Done}, shows: "open-new: Held: it was due at"},
		"the final delta takes over":                                   {plan: letter(t), now: "2022-04-28T09:00:00", known: Ledger{"block-sending": Done, "old-read-only": Done, "copy-20220427": Running}, want: "Stop copy-20220427", shows: "final-delta: Waiting: for copy-20220427"},
		"a delta that read-only time comes after does not wait for it": {plan: changed(t, "OldReadOnly 2022-04-28T19:00:00 2022-06-28T09:00:00"), now: "2022-04-28T08:00:00", known: Ledger{"block-sending": Done}, want: "Start final-delta"},
		"no pass begins when sending is blocked":                       {plan: with(letter(t), func(p *Plan) { p.Windows.Allow = all(t, "08:00-18:00 Thu") }), now: "2022-04-28T08:00:00", known: Ledger{"copy-20220427": ""}, want: "Miss copy-20220427"},
		"one pass at a time":                                           {plan: letter(t), now: "2022-04-22T12:00:00", known: Ledger{"copy-20220421": Running}, shows: "copy-20220422: Waiting: for copy-20220421", again: "2022-04-22T12:15:00"},
		"a pass that had to wait is missed":                            {plan: letter(t), now: "2022-04-22T12:15:00", known: Ledger{"copy-20220421": Running}, want: "Miss copy-20220422"},
		"work waits for its window":                                    {plan: nights, now: "2022-04-22T12:00:00", shows: "copy-20220422: Waiting: for the window that opens at 2022-04-22 20:00:00", again: "2022-04-22T20:00:00"},
		"and starts when it opens":                                     {plan: nights, now: "2022-04-22T20:00:00", want: "Start copy-20220422"},
		"work that runs may finish":                                    {plan: nights, now: "2022-04-22T07:00:00", known: Ledger{"copy-20220421": Running}, shows: "copy-20220421: Running: "},
		"or must pause":                                                {plan: pausing, now: "2022-04-22T07:00:00", known: Ledger{"copy-20220421": Running}, want: "Pause copy-20220421"},
		"at the closing, not later":                                    {plan: pausing, now: "2022-04-22T05:00:00", known: Ledger{"copy-20220421": Running}, again: "2022-04-22T06:00:00"},
		"and stays so":                                                 {plan: pausing, now: "2022-04-22T07:00:00", known: Ledger{"copy-20220421": Paused}, shows: "copy-20220421: Paused: until the window opens at 2022-04-22 20:00:00", again: "2022-04-22T12:00:00"},
		"until it opens":                                               {plan: pausing, now: "2022-04-22T20:00:00", known: Ledger{"copy-20220421": Paused}, want: "Resume copy-20220421"},
		"destruction on time":                                          {plan: letter(t), now: "2024-10-28T00:00:00", known: Ledger{"archive-end": Done}, want: "Start destroy"},
		"destruction is held, whatever the plan says":                  {plan: lenient, now: "2024-10-28T00:15:00", known: Ledger{"archive-end": Done}, shows: "destroy: Held: it was due at 2024-10-28 00:00:00 +01:00 (2024-10-27 23:00:00 UTC)"},
		"destruction after a missed archive":                           {plan: lenient, now: "2024-10-28T00:00:00", known: Ledger{"archive-end": Done, "archive": Missed}, shows: "destroy: Held: archive was missed, and this cannot be undone"},
		"a person releases it":                                         {plan: decided(func(*Override) {}), now: "2024-11-04T10:00:00", known: Ledger{"archive-end": Done}, want: "Start destroy late (Anna Rossi: det. 12/2024 (Release))"},
		"a person drops it":                                            {plan: decided(func(o *Override) { o.Verdict = Drop }), now: "2024-10-28T10:00:00", known: Ledger{"archive-end": Done}, want: "Miss destroy (Anna Rossi: det. 12/2024 (Drop))"},
		"a person spoke of another date":                               {plan: decided(func(o *Override) { o.At = at(t, "2023-12-28T00:00:00") }), now: "2024-10-28T10:00:00", known: Ledger{"archive-end": Done}, shows: "destroy: Held: the override by Anna Rossi is about 2023-12-28T00:00:00 and does not count"},
		"a person's word moves nothing forward":                        {plan: decided(func(*Override) {}), now: "2024-10-27T10:00:00", shows: "destroy: Waiting: until"},
	} {
		t.Run(sentence, func(t *testing.T) {
			table, err := c.plan.Settle()
			if err != nil {
				t.Fatal(err)
			}
			ledger := Ledger{}
			if !c.untold {
				ledger = settledBefore(t, table, c.now[:10]+"T00:00:00")
			}
			delete(ledger, "destroy")
			for name, state := range c.known {
				ledger[name] = state
			}
			o := table.Next(at(t, c.now).UTC(), ledger)
			if got := told(o.Actions); c.want != "" && !slices.Contains(got, c.want) || c.want == "" && len(got) > 0 {
				t.Errorf("want %q, got %q", c.want, got)
			}
			if c.again != "" && o.LookAgain.In(rome).Format(layout) != c.again {
				t.Errorf("look again at %s, want %s", Both(o.LookAgain), c.again)
			}
			if c.shows != "" {
				shown(t, o, c.shows)
			}
		})
	}
}

func TestRunsThatWereMissed(t *testing.T) {
	since, now := utc(t, "2022-04-18T12:00:00Z"), utc(t, "2022-04-21T12:00:00Z")
	for sentence, c := range map[string]struct {
		schedule Schedule
		ledger   Ledger
		want     []string
	}{
		"one late run is enough":     {Schedule{}, nil, []string{"Miss run-20220419", "Miss run-20220420", "Start run-20220421 late"}},
		"or none":                    {Schedule{IfMissed: Skip}, nil, []string{"Miss run-20220419", "Miss run-20220420", "Miss run-20220421"}},
		"each is told once":          {Schedule{}, Ledger{"run-20220419": Missed, "run-20220420": Missed, "run-20220421": Done}, nil},
		"it waits for one that runs": {Schedule{}, Ledger{"run-20220419": Running, "run-20220420": Missed}, nil},
		"a window that came too late for two": {Schedule{Windows: Windows{Allow: all(t, "14:00-15:00 Thu")}}, nil,
			[]string{"Miss run-20220419", "Miss run-20220420", "Start run-20220421"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			c.schedule.At = clock(t, "02:30")
			if got := told(c.schedule.Next(since, now, c.ledger).Actions); !slices.Equal(got, c.want) {
				t.Errorf("want %q, got %q", c.want, got)
			}
		})
	}
}

// told is a list of actions in words.
func told(actions []Action) []string {
	var list []string
	for _, a := range actions {
		text := string(a.Do) + " " + a.Slot.Name
		if a.Late {
			text += " late"
		}
		if a.Slot.Irreversible && a.Why != "" {
			text += " (" + a.Why + ")"
		}
		list = append(list, text)
	}
	return list
}

func shown(t *testing.T, o Outlook, want string) {
	t.Helper()
	parts := strings.SplitN(want, ": ", 3)
	for _, s := range o.Slots {
		if s.Slot.Name == parts[0] {
			if string(s.State) != parts[1] || !strings.Contains(s.Why, parts[2]) {
				t.Errorf("%s is %s: %s; want %s", s.Slot.Name, s.State, s.Why, want)
			}
			return
		}
	}
	t.Errorf("%s is not shown", parts[0])
}

// TestTheLetterIsKept lives through the letter with an operator that looks only when it is told to: every promise is kept at
// the letter's own time. Work takes an hour. Then the same with a crash after every action, before it is recorded.
func TestTheLetterIsKept(t *testing.T) {
	for _, crashes := range []bool{false, true} {
		t.Run(fmt.Sprintf("crashes %t", crashes), func(t *testing.T) {
			table, err := letter(t).Settle()
			if err != nil {
				t.Fatal(err)
			}
			ledger, ends := Ledger{}, map[string]time.Time{}
			now := utc(t, "2022-04-01T00:00:00Z")
			var diary []string
			for !now.IsZero() {
				for name, end := range ends {
					if ledger[name] = Running; !now.Before(end) {
						ledger[name] = Done
					}
				}
				o := table.Next(now, ledger)
				for _, a := range o.Actions {
					if _, twice := ends[a.Slot.Name]; twice || a.Do != Start {
						t.Fatalf("%s %s at %s", a.Do, a.Slot.Name, Both(now))
					}
					diary = append(diary, now.In(rome).Format(layout)+" "+a.Slot.Name)
					if ends[a.Slot.Name] = now; a.Slot.Work {
						ends[a.Slot.Name] = now.Add(time.Hour)
					}
					if crashes {
						break // what else was to do is not done now
					}
				}
				if len(o.Actions) > 0 {
					if crashes {
						now = now.Add(20 * time.Second) // until another operator leads
					}
					continue
				}
				next := o.LookAgain
				for name, end := range ends {
					if ledger[name] == Running && (next.IsZero() || end.Before(next)) {
						next = end
					}
				}
				now = next
			}
			want := `2022-04-20T08:00:00 freeze
2022-04-20T12:00:00 requests-close
2022-04-20T12:00:00 copy-20220420
2022-04-21T12:00:00 copy-20220421
2022-04-22T12:00:00 copy-20220422
2022-04-23T12:00:00 copy-20220423
2022-04-24T12:00:00 copy-20220424
2022-04-25T12:00:00 copy-20220425
2022-04-26T12:00:00 copy-20220426
2022-04-27T12:00:00 copy-20220427
2022-04-28T08:00:00 block-sending
2022-04-28T09:00:00 old-read-only
2022-04-28T09:00:00 final-delta
2022-04-28T10:00:00 verify
2022-04-28T11:00:00 cut-over
2022-04-28T18:00:00 open-new
2022-05-09T09:00:00 freeze-end
2022-06-28T09:00:00 old-read-only-end
2022-06-28T09:00:00 archive
2024-10-28T00:00:00 archive-end
2024-10-28T00:00:00 destroy`
			got := strings.Join(diary, "\n")
			if crashes { // up to a minute later, in the same order
				got = minutes(got)
				want = minutes(want)
			}
			if got != want {
				t.Errorf("the diary:\n%s", got)
			}
		})
	}
}

// minutes drops the seconds of a diary.
func minutes(diary string) string {
	var lines []string
	for line := range strings.Lines(diary) {
		lines = append(lines, line[:16]+line[19:])
	}
	return strings.Join(lines, "")
}
