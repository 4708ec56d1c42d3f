package mailbox

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/mailage"
)

const mib, gib = 1 << 20, 1 << 30

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestAlike(t *testing.T) {
	looked := func(bytes, messages int64, change ...func(*measure)) measure {
		m := measure{bytes: bytes, messages: messages, quota: gib}
		for _, c := range change {
			c(&m)
		}
		return m
	}
	month := func(bytes int64) func(*measure) {
		return func(m *measure) { m.ages = &mailage.Ages{Month: bytes, Year: m.bytes} }
	}
	old := func(bytes int64) func(*measure) {
		return func(m *measure) { m.ages = &mailage.Ages{Year: m.bytes - bytes} }
	}
	sent := func(n int64) func(*measure) { return func(m *measure) { m.sent = &n } }
	large, small := looked(500*mib, 100), looked(1000, 1)
	for name, c := range map[string]struct {
		was, now measure
		later    int // days
		want     bool
	}{
		"another message in a large mailbox":                    {large, looked(501*mib, 101), 0, true},
		"another point of the quota":                            {large, looked(512*mib, 102), 0, false},
		"the first message":                                     {looked(0, 0), looked(1024, 1), 0, false},
		"a message that doubles what is there":                  {small, looked(2000, 2), 0, false},
		"nothing new":                                           {small, small, 0, true},
		"emptied":                                               {small, looked(0, 0), 0, false},
		"the first search of a mailbox that hardly grows":       {large, looked(500*mib, 100, month(9*mib)), 0, true},
		"the first search of one that grows":                    {large, looked(500*mib, 100, month(100*mib)), 0, false},
		"it grows a tenth faster":                               {looked(500*mib, 100, month(60*mib)), looked(500*mib, 100, month(66*mib)), 0, true},
		"it grows twice as fast":                                {looked(500*mib, 100, month(60*mib)), looked(500*mib, 100, month(120*mib)), 0, false},
		"it no longer grows":                                    {looked(500*mib, 100, month(60*mib)), looked(500*mib, 100, month(0)), 0, false},
		"it was not searched again":                             {looked(500*mib, 100, month(60*mib)), large, 0, true},
		"a quiet day that moves the day it is full":             {looked(500*mib, 100, month(60*mib)), looked(500*mib, 100, month(60*mib)), 1, true},
		"three quiet weeks that move it by an eighth of itself": {looked(500*mib, 100, month(240*mib)), looked(500*mib, 100, month(240*mib)), 21, false},
		"a little more of it is old":                            {looked(500*mib, 100, old(50*mib)), looked(500*mib, 100, old(70*mib)), 0, true},
		"a tenth more of it is old":                             {looked(500*mib, 100, old(50*mib)), looked(500*mib, 100, old(100*mib)), 0, false},
		"a few messages more were sent":                         {looked(500*mib, 100, sent(10)), looked(500*mib, 100, sent(30)), 0, true},
		"a tenth more was sent":                                 {looked(500*mib, 100, sent(10000)), looked(500*mib, 100, sent(11000)), 0, true},
		"half as much again was sent":                           {looked(500*mib, 100, sent(10000)), looked(500*mib, 100, sent(15000)), 0, false},
	} {
		was := usageOf(nil, c.was, noon)
		now := noon.AddDate(0, 0, c.later)
		if got := alike(was, usageOf(was, c.now, now), gib, now); got != c.want {
			t.Errorf("%s: alike is %t", name, got)
		}
	}
	if alike(nil, usageOf(nil, small, noon), gib, noon) {
		t.Error("the first look is not shown")
	}
}

// A mailbox that fills up steadily has its status written for a point of the quota, not for a message nor for a day.
func TestABusyMailboxIsWrittenSeldom(t *testing.T) {
	const perMessage, perDay, quota = 100 << 10, 200, 20 * gib
	var shown *v1alpha1.MailboxUsage
	writes, sent := 0, int64(4000)
	for minute := 0; minute < 30*24*60; minute += 5 {
		now := noon.Add(time.Duration(minute) * time.Minute)
		n := int64(minute) * perDay / (24 * 60)
		m := measure{bytes: 5*gib + n*perMessage, messages: 50000 + n, quota: quota, sent: ptr.To(sent + n/50)}
		if minute%(24*60) == 0 { // the daily search
			m.ages = &mailage.Ages{Month: 30 * perDay * perMessage, Year: 5 * gib}
		}
		if is := usageOf(shown, m, now); !alike(shown, is, quota, now) {
			shown = is
			writes++
		}
	}
	if writes > 4 {
		t.Errorf("%d messages in a month were %d writes", 30*perDay, writes)
	}
	if got := *shown.GrowthPerDay; got != 20e6 { // of 20,480,000
		t.Errorf("it grows by %d a day", got)
	}
}

func TestPicture(t *testing.T) {
	ages := func(month, year int64, days int) *mailage.Ages {
		return &mailage.Ages{Month: month, Year: year, Since: noon.AddDate(0, 0, -days)}
	}
	for name, c := range map[string]struct {
		old    v1alpha1.Date
		m      measure
		growth int64
		fullOn v1alpha1.Date
		age    int32
	}{
		"a mailbox that never was searched":                   {"", measure{bytes: 5, quota: 10}, 0, "", 0},
		"300 MB in a month":                                   {"", measure{bytes: 700e6, quota: 1000e6, ages: ages(300e6, 700e6, 30)}, 10e6, "2026-03-31", 0},
		"300 MB in the ten days of a new mailbox":             {"", measure{bytes: 300e6, quota: 600e6, ages: ages(300e6, 300e6, 9)}, 30e6, "2026-03-11", 0},
		"a mailbox that was filled yesterday":                 {"", measure{bytes: 700e6, quota: 1400e6, ages: ages(700e6, 700e6, 1)}, 100e6, "2026-03-08", 0},
		"half of it is older than a year":                     {"", measure{bytes: 800e6, quota: 1000e6, ages: ages(0, 400e6, 0)}, 0, "", 50},
		"what a migration brought is as old as it was":        {"", measure{bytes: 800e6, quota: 1000e6, ages: ages(30e6, 30e6, 20)}, 1e6, "2026-09-17", 95},
		"a rate that fills it in three years":                 {"", measure{bytes: 0, quota: 10950e6, ages: ages(300e6, 0, 30)}, 10e6, "", 0},
		"one that was foreseen and is a little further now":   {"2028-02-01", measure{bytes: 300e6, quota: 7800e6, ages: ages(300e6, 300e6, 30)}, 10e6, "2028-03-20", 0},
		"one that was not, and is as far":                     {"", measure{bytes: 300e6, quota: 7800e6, ages: ages(300e6, 300e6, 30)}, 10e6, "", 0},
		"a full one, for the first time":                      {"", measure{bytes: 10, quota: 10}, 0, "", 0},
		"a full one, searched":                                {"", measure{bytes: 1000e6, quota: 1000e6, ages: ages(300e6, 1000e6, 30)}, 10e6, "2026-03-01", 0},
		"a full one stays full on the day that was foreseen":  {"2026-02-20", measure{bytes: 1000e6, quota: 1000e6, ages: ages(300e6, 1000e6, 30)}, 10e6, "2026-02-20", 0},
		"one without a quota":                                 {"", measure{bytes: 700e6, ages: ages(300e6, 700e6, 30)}, 10e6, "", 0},
		"more of this month than the quota counts, by a page": {"", measure{bytes: 299e6, quota: 999e6, ages: ages(300e6, 300e6, 29)}, 10e6, "2026-05-10", 0},
	} {
		is := usageOf(&v1alpha1.MailboxUsage{FullOn: c.old}, c.m, noon)
		if c.m.ages == nil {
			if is.GrowthPerDay != nil || is.OldPercent != nil {
				t.Errorf("%s: %+v", name, is)
			}
			continue
		}
		if *is.GrowthPerDay != c.growth || is.FullOn != c.fullOn || *is.OldPercent != c.age {
			t.Errorf("%s: %d a day, full on %q, %d %% old; want %d, %q, %d", name, *is.GrowthPerDay, is.FullOn, *is.OldPercent, c.growth, c.fullOn, c.age)
		}
	}
}

func TestUsageUnderAnotherQuota(t *testing.T) {
	shown := func(bytes int64, percent int32, growth int64, fullOn v1alpha1.Date) *v1alpha1.MailboxUsage {
		return &v1alpha1.MailboxUsage{Bytes: &bytes, Percent: &percent, GrowthPerDay: &growth, FullOn: fullOn}
	}
	for name, c := range map[string]struct {
		u     *v1alpha1.MailboxUsage
		quota int64
		want  *v1alpha1.MailboxUsage
	}{
		"a larger one is full later":       {shown(700e6, 70, 10e6, "2026-03-31"), 2000e6, shown(700e6, 35, 10e6, "2026-07-09")},
		"a smaller one is full today":      {shown(700e6, 70, 10e6, ""), 500e6, shown(700e6, 140, 10e6, "2026-03-01")},
		"though that was foreseen later":   {shown(700e6, 14, 10e6, "2027-05-05"), 500e6, shown(700e6, 140, 10e6, "2026-03-01")},
		"the same one has the same":        {shown(700e6, 70, 10e6, "2026-02-02"), 1000e6, shown(700e6, 70, 10e6, "2026-02-02")},
		"nothing is known before a look":   {nil, 1000e6, nil},
		"what never was searched has none": {shown(700e6, 70, 0, ""), 1400e6, shown(700e6, 50, 0, "")},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, underQuota(c.u, c.quota, noon)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTwoFigures(t *testing.T) {
	for n, want := range map[int64]int64{0: 0, 7: 7, 99: 99, 104: 100, 105: 110, 999: 1000, 12345678: 12000000} {
		if got := twoFigures(n); got != want {
			t.Errorf("%d is %d in two figures, want %d", n, got, want)
		}
	}
}
