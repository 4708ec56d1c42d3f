package pecdomain

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/dns"
)

func TestDecideWhetherADomainIsLocal(t *testing.T) {
	day := 24 * time.Hour
	set := func(hosts ...string) (s dns.Set) {
		for i, host := range hosts {
			s = append(s, dns.MX{Preference: uint16(10 * (i + 1)), Host: host + "."}) //nolint:gosec // a handful
		}
		return s
	}
	ours, old, others := set("mx-a.gestore.it", "mx-b.gestore.it"), set("mx-vecchio.gestore.it"), set("mx.altro.it")
	want := dns.Desired{Domain: "pec.comune.it", MX: ours}
	sees := func(state dns.State, seen dns.Set, ago time.Duration) *outlook {
		return &outlook{want: want, now: now, since: now.Add(-9 * day), departure: departure{seen.Hash(), now.Add(-ago)},
			verdict: dns.Verdict{State: state, Seen: dns.Records{MX: seen}}, settled: dns.Settled{State: state, At: now}}
	}
	unconfirmed := func(o *outlook, before dns.State) *outlook {
		o.settled.State = before
		return o
	}
	unseen := func(o *outlook) *outlook {
		o.departure = departure{}
		return o
	}
	unknown := func(o *outlook) *outlook {
		o.settled.Unknown = true
		return o
	}
	away, here := admin.Domain{Name: "pec.comune.it"}, admin.Domain{Name: "pec.comune.it", Local: true, MX: ours.Hash()}
	for name, c := range map[string]struct {
		whereabouts
		want admin.Domain
	}{
		"before the first look nothing begins":                        {whereabouts{held: away}, away},
		"and nothing ends":                                            {whereabouts{held: here}, here},
		"an MX that names the stack begins":                           {whereabouts{held: away, here: sees(dns.Ours, ours, 0)}, here},
		"so do other preferences of its hosts":                        {whereabouts{held: away, here: sees(dns.Drifted, ours[:1], 0)}, admin.Domain{Name: away.Name, Local: true, MX: ours[:1].Hash()}},
		"one look alone begins nothing":                               {whereabouts{held: away, here: unconfirmed(sees(dns.Ours, ours, 0), dns.Foreign)}, away},
		"another provider's MX begins nothing":                        {whereabouts{held: away, here: sees(dns.Foreign, others, 9*day), agreed: true, lasting: day}, away},
		"ours beside another's begins nothing":                        {whereabouts{held: away, here: sees(dns.Hybrid, append(set("mx.altro.it"), ours...), 9*day), agreed: true, lasting: day}, away},
		"no MX begins nothing":                                        {whereabouts{held: away, here: sees(dns.None, nil, 9*day), agreed: true, lasting: day}, away},
		"what the other site sees begins where this one sees nothing": {whereabouts{held: away, here: unknown(sees(dns.Unverifiable, nil, 0)), there: dns.Ours}, admin.Domain{Name: away.Name, Local: true}},
		"and not where this one sees something else":                  {whereabouts{held: away, here: sees(dns.Foreign, others, 0), there: dns.Ours}, away},
		"a person's word begins":                                      {whereabouts{held: away, ignored: true}, admin.Domain{Name: away.Name, Local: true}},
		"the provider's own mail domain needs no MX":                  {whereabouts{held: away, receipts: true, here: sees(dns.Foreign, others, 9*day), agreed: true, lasting: day}, admin.Domain{Name: away.Name, Local: true}},

		"another provider's MX that stood for a day, at both sites, ends": {whereabouts{held: here, here: sees(dns.Foreign, others, day), agreed: true, lasting: day}, admin.Domain{Name: here.Name, MX: here.MX}},
		"so does one under another operator's mark":                       {whereabouts{held: here, here: sees(dns.Conflict, others, day), agreed: true, lasting: day}, admin.Domain{Name: here.Name, MX: here.MX}},
		"one that a new process has not looked at does not":               {whereabouts{held: here, here: unseen(sees(dns.Foreign, others, 9*day)), agreed: true, lasting: day}, here},
		"one that has stood for less, in a state of nine days, does not":  {whereabouts{held: here, here: sees(dns.Foreign, others, day-time.Second), agreed: true, lasting: day}, here},
		"one that the other site does not see does not":                   {whereabouts{held: here, here: sees(dns.Foreign, others, 9*day), lasting: day}, here},
		"one look alone ends nothing":                                     {whereabouts{held: here, here: unconfirmed(sees(dns.Foreign, others, 9*day), dns.Ours), agreed: true, lasting: day}, here},
		"a set that has not changed since it named the stack ends nothing": {whereabouts{held: admin.Domain{Name: here.Name, Local: true, MX: old.Hash()}, here: sees(dns.Foreign, old, 9*day), agreed: true, lasting: day},
			admin.Domain{Name: here.Name, Local: true, MX: old.Hash()}},
		"ours under another operator's mark ends nothing": {whereabouts{held: here, here: sees(dns.Conflict, ours, 9*day), agreed: true, lasting: day}, here},
		"ours beside another's ends nothing":              {whereabouts{held: here, here: sees(dns.Hybrid, append(set("mx.altro.it"), ours...), 9*day), agreed: true, lasting: day}, here},
		"an MX that is gone ends nothing":                 {whereabouts{held: here, here: sees(dns.Missing, nil, 9*day), agreed: true, lasting: day}, here},
		"an alias ends nothing":                           {whereabouts{held: here, here: sees(dns.Alias, nil, 9*day), agreed: true, lasting: day}, here},
		"silent servers end nothing":                      {whereabouts{held: here, here: unknown(sees(dns.Unverifiable, nil, 9*day)), agreed: true, lasting: day}, here},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.decide()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSinceWhenASetIsElsewhere(t *testing.T) {
	want := dns.Desired{Domain: "pec.comune.it", MX: wantSet}
	third := dns.NewSet(dns.MX{Preference: 10, Host: "mx.terzo.test"})
	before := departure{otherSet.Hash(), now.Add(-time.Hour)}
	for name, c := range map[string]struct {
		state dns.State
		seen  dns.Set
		want  departure
	}{
		"the same set stands on":              {dns.Foreign, otherSet, before},
		"under another's mark too":            {dns.Conflict, otherSet, before},
		"another set begins now":              {dns.Foreign, third, departure{third.Hash(), now}},
		"a host of this stack beside it ends": {dns.Hybrid, append(wantSet[:1:1], otherSet...), departure{}},
		"no MX ends it":                       {dns.None, nil, departure{}},
		"this stack's ends it":                {dns.Ours, wantSet, departure{}},
		"a silent server changes nothing":     {dns.Unverifiable, nil, before},
	} {
		t.Run(name, func(t *testing.T) {
			if got := before.after(dns.Verdict{State: c.state, Seen: dns.Records{MX: c.seen}}, want, now); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
