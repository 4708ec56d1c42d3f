package calendar

import (
	"slices"
	"strings"
	"testing"
)

// planned makes a plan from lines such as "Freeze 2022-04-20T08:00:00 2022-05-09T09:00:00".
func planned(t testing.TB, lines ...string) Plan {
	t.Helper()
	var p Plan
	for _, line := range lines {
		f := append(strings.Fields(line), "", "")
		ph := Phase{Name: Name(f[0])}
		if f[1] != "" {
			ph.At = at(t, f[1])
		}
		if f[2] != "" {
			ph.Until = at(t, f[2])
		}
		p.Phases = append(p.Phases, ph)
	}
	return p
}

// letter is the founding letter's calendar.
func letter(t testing.TB) Plan {
	return planned(t,
		"RequestsClose 2022-04-20T12:00:00",
		"Freeze 2022-04-20T08:00:00 2022-05-09T09:00:00",
		"BlockSending 2022-04-28T08:00:00",
		"OpenNew 2022-04-28T18:00:00",
		"OldReadOnly 2022-04-28T09:00:00 2022-06-28T09:00:00",
		"Archive 2022-06-28T09:00:00 2023-12-28T00:00:00",
		"Destroy 2024-10-28T00:00:00")
}

// changed is the letter with lines in the place of those of the same phase; a line that is a name alone takes the phase away.
func changed(t testing.TB, lines ...string) Plan {
	t.Helper()
	p := letter(t)
	for _, ph := range planned(t, lines...).Phases {
		p.Phases = slices.DeleteFunc(p.Phases, func(old Phase) bool { return old.Name == ph.Name })
		if !ph.At.IsZero() {
			p.Phases = append(p.Phases, ph)
		}
	}
	return p
}

func with(p Plan, change func(*Plan)) Plan {
	change(&p)
	return p
}

func TestPlansThatAreRefused(t *testing.T) {
	good := Override{Slot: "destroy", At: at(t, "2024-10-28T00:00:00"), Verdict: Release, By: "Anna Rossi", Reason: "det. 12/2024"}
	override := func(change func(*Override)) Plan {
		o := good
		change(&o)
		return with(letter(t), func(p *Plan) { p.Overrides = []Override{o} })
	}
	for sentence, c := range map[string]struct {
		plan Plan
		why  string
	}{
		"an unknown phase":                      {changed(t, "Party 2022-04-20T12:00:00"), `phase "Party" is unknown: write one of Freeze, RequestsClose`},
		"a derived phase":                       {changed(t, "CutOver 2022-04-28T12:00:00"), "leave it out"},
		"a phase without a time":                {planned(t, "Destroy"), "write when it begins in at"},
		"a phase twice":                         {with(letter(t), func(p *Plan) { p.Phases = append(p.Phases, p.Phases[0]) }), "is there twice: keep one"},
		"a moment with an end":                  {changed(t, "OpenNew 2022-04-28T18:00:00 2022-04-28T19:00:00"), "OpenNew is a moment: leave until out"},
		"a freeze for ever":                     {changed(t, "Freeze 2022-04-20T08:00:00"), "Freeze would never end"},
		"an end before the beginning":           {changed(t, "Freeze 2022-04-20T08:00:00 2022-04-19T08:00:00"), "not after its beginning"},
		"nothing opens":                         {changed(t, "OpenNew"), "OpenNew is missing"},
		"nothing blocks":                        {changed(t, "BlockSending"), "BlockSending is missing"},
		"requests after sending is blocked":     {changed(t, "RequestsClose 2022-04-28T12:00:00"), "BlockSending at 2022-04-28T08:00:00 comes before RequestsClose at 2022-04-28T12:00:00"},
		"read-only before sending is blocked":   {changed(t, "OldReadOnly 2022-04-27T09:00:00 2022-06-28T09:00:00"), "OldReadOnly at 2022-04-27T09:00:00 comes before BlockSending"},
		"the rule reaches over what is absent":  {changed(t, "RequestsClose", "Freeze 2022-04-28T12:00:00 2022-05-09T09:00:00"), "comes before Freeze"},
		"a freeze that ends before opening":     {changed(t, "Freeze 2022-04-20T08:00:00 2022-04-28T17:00:00"), "the end of Freeze at 2022-04-28T17:00:00 comes before OpenNew"},
		"old content gone before the new":       {changed(t, "OldReadOnly 2022-04-28T09:00:00 2022-04-28T10:00:00", "Archive", "Destroy"), "the end of OldReadOnly"},
		"destroyed while it can be read":        {changed(t, "Archive", "Destroy 2022-05-28T00:00:00"), "Destroy at 2022-05-28T00:00:00 comes before the end of OldReadOnly"},
		"copying for more than a year":          {changed(t, "Freeze", "RequestsClose 2021-04-20T12:00:00"), "more than a year"},
		"an ifMissed that nobody knows":         {with(letter(t), func(p *Plan) { p.IfMissed = "Retry" }), "write RunLate, Skip or Hold"},
		"the same on a phase":                   {with(letter(t), func(p *Plan) { p.Phases[0].IfMissed = "Retry" }), "write RunLate, Skip or Hold"},
		"windows that never open":               {with(letter(t), func(p *Plan) { p.Windows.Deny = all(t, "00:00-24:00") }), "never open"},
		"no window for the final delta":         {with(letter(t), func(p *Plan) { p.Windows.Allow = all(t, "20:00-06:00") }), "would wait for a window until 2022-04-28T20:00:00, but OpenNew is promised for 2022-04-28T18:00:00: give a window that is open between the two"},
		"an override of no slot":                {override(func(o *Override) { o.Slot = "freeze-begin" }), "there is no such slot"},
		"an override by nobody":                 {override(func(o *Override) { o.By = "" }), "write who decided in by, and why in reason"},
		"an override without a reason":          {override(func(o *Override) { o.Reason = "" }), "write who decided in by, and why in reason"},
		"an override without the time it means": {override(func(o *Override) { o.At = Local{} }), "the local time that was missed"},
		"an override without a verdict":         {override(func(o *Override) { o.Verdict = "" }), "write Release or Drop"},
	} {
		t.Run(sentence, func(t *testing.T) {
			table, err := c.plan.Settle()
			if err == nil || !strings.Contains(err.Error(), c.why) || table != nil {
				t.Errorf("want an error with %q, got %v", c.why, err)
			}
		})
	}
	_, err := planned(t, "Party 2022-04-20T12:00:00", "Destroy").Settle()
	if n := len(strings.Split(err.Error(), "\n")); n != 4 {
		t.Errorf("every fault is told at once, one a line: %v", err)
	}
}

func TestTheLatestPromiseWins(t *testing.T) {
	for sentence, c := range map[string]struct {
		plan      Plan
		conflicts []string
		slot      string
		at        string
	}{
		"the table against the text": {
			plan:      letter(t),
			conflicts: []string{"the old content is kept until 2023-12-28T00:00:00 (Archive.until) and 2024-10-28T00:00:00 (Destroy.at): the latest promise, 2024-10-28T00:00:00, wins"},
			slot:      "destroy", at: "2024-10-28T00:00:00",
		},
		"the text against the table": {
			plan:      changed(t, "Archive 2022-06-28T09:00:00 2024-10-28T00:00:00", "Destroy 2023-12-28T00:00:00"),
			conflicts: []string{"the old content is kept until 2023-12-28T00:00:00 (Destroy.at) and 2024-10-28T00:00:00 (Archive.until): the latest promise, 2024-10-28T00:00:00, wins"},
			slot:      "destroy", at: "2024-10-28T00:00:00",
		},
		"readable until later than archived": {
			plan:      changed(t, "Archive 2022-05-28T09:00:00 2024-10-28T00:00:00"),
			conflicts: []string{"the old content can be read until 2022-05-28T09:00:00 (Archive.at) and 2022-06-28T09:00:00 (OldReadOnly.until): the latest promise, 2022-06-28T09:00:00, wins"},
			slot:      "archive", at: "2022-06-28T09:00:00",
		},
		"an end that is left out is no contradiction": {
			plan: changed(t, "Archive 2022-06-28T09:00:00"), slot: "archive-end", at: "2024-10-28T00:00:00",
		},
		"the same date twice is none": {
			plan: changed(t, "Archive 2022-06-28T09:00:00 2024-10-28T00:00:00"), slot: "destroy", at: "2024-10-28T00:00:00",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			table, err := c.plan.Settle()
			if err != nil {
				t.Fatal(err)
			}
			var told []string
			for _, conflict := range table.Conflicts {
				told = append(told, conflict.String())
			}
			if !slices.Equal(told, c.conflicts) {
				t.Errorf("told %q", told)
			}
			i := slices.IndexFunc(table.Slots, func(s Slot) bool { return s.Name == c.slot })
			if i < 0 || !table.Slots[i].At.Equal(at(t, c.at).UTC()) {
				t.Errorf("%s is not at %s:\n%s", c.slot, c.at, table)
			}
		})
	}
}

func TestWhatIsDerived(t *testing.T) {
	for sentence, c := range map[string]struct {
		plan   Plan
		passes int
		delta  string
	}{
		"the letter":                              {plan: letter(t), passes: 8, delta: "2022-04-28T09:00:00"},
		"no read-only time before opening":        {plan: changed(t, "OldReadOnly 2022-04-28T19:00:00 2022-06-28T09:00:00"), passes: 8, delta: "2022-04-28T08:00:00"},
		"no read-only time at all":                {plan: changed(t, "OldReadOnly"), passes: 8, delta: "2022-04-28T08:00:00"},
		"no closing of requests: no passes":       {plan: changed(t, "RequestsClose"), delta: "2022-04-28T09:00:00"},
		"requests close when sending is blocked":  {plan: changed(t, "RequestsClose 2022-04-28T08:00:00"), delta: "2022-04-28T09:00:00"},
		"passes keep to the wall across a change": {plan: planned(t, "RequestsClose 2022-03-25T12:00:00", "BlockSending 2022-03-28T12:00:00", "OpenNew 2022-03-28T18:00:00"), passes: 3, delta: "2022-03-28T12:00:00"},
	} {
		t.Run(sentence, func(t *testing.T) {
			table, err := c.plan.Settle()
			if err != nil {
				t.Fatal(err)
			}
			passes := 0
			for _, s := range table.Slots {
				switch s.Phase {
				case Copy:
					passes++
					if wall := onWall(s.At); wall.Hour() != 12 {
						t.Errorf("%s at %s", s.Name, Both(s.At))
					}
				case FinalDelta, Verify, CutOver:
					if !s.At.Equal(at(t, c.delta).UTC()) {
						t.Errorf("%s at %s, want %s", s.Name, Both(s.At), c.delta)
					}
				}
			}
			if passes != c.passes {
				t.Errorf("%d passes, want %d", passes, c.passes)
			}
		})
	}
}
