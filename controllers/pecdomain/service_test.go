package pecdomain

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	miekg "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/availability"
	"github.com/pec-operator/pec-operator/internal/dns"
)

func TestJudgeLook(t *testing.T) {
	functions := functionsOf(&v1alpha1.EndpointsStatus{Submission: named("smtps.g.test", 465), IMAP: named("imaps.g.test", 993), POP3: named("pop3s.g.test", 995),
		MailExchangers: []v1alpha1.Hostname{"mx-a.g.test", "mx-b.g.test"}}, false)
	for name, c := range map[string]struct {
		functions [][]dns.Door
		but       map[string]dns.Answer // of a host, where it did not greet
		want      availability.Verdict
	}{
		"all greet":                                  {functions, nil, availability.Up},
		"one mail host of two is enough":             {functions, map[string]dns.Answer{"mx-a.g.test": dns.Silent}, availability.Up},
		"without a mail host no mail arrives":        {functions, map[string]dns.Answer{"mx-a.g.test": dns.Silent, "mx-b.g.test": dns.Silent}, availability.Down},
		"without submission nobody sends":            {functions, map[string]dns.Answer{"smtps.g.test": dns.Silent}, availability.Down},
		"without IMAP nobody reads":                  {functions, map[string]dns.Answer{"imaps.g.test": dns.Silent}, availability.Down},
		"POP3 is a second way to read":               {functions, map[string]dns.Answer{"pop3s.g.test": dns.Silent}, availability.Up},
		"what cannot be asked is not known":          {functions, map[string]dns.Answer{"imaps.g.test": dns.Unasked}, availability.Unmeasured},
		"a mail host that nobody could ask may live": {functions, map[string]dns.Answer{"mx-a.g.test": dns.Silent, "mx-b.g.test": dns.Unasked}, availability.Unmeasured},
		"what is known to be down is down":           {functions, map[string]dns.Answer{"imaps.g.test": dns.Unasked, "smtps.g.test": dns.Silent}, availability.Down},
		"a domain without a host is not measured":    {functionsOf(nil, false), nil, availability.Unmeasured},
	} {
		t.Run(name, func(t *testing.T) {
			answers := map[dns.Door]dns.Answer{}
			for _, doors := range c.functions {
				for _, door := range doors {
					answers[door] = dns.Answered
					if said, ok := c.but[door.Host]; ok {
						answers[door] = said
					}
				}
			}
			if got := judgeLook(c.functions, answers); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// Whoever writes an External domain names hosts and ports as he likes.
func TestAnotherProvidersHostsAreKnockedAtOutside(t *testing.T) {
	d := &v1alpha1.PECDomain{Spec: v1alpha1.PECDomainSpec{Provider: v1alpha1.DomainProvider{Type: v1alpha1.ProviderExternal, External: &v1alpha1.ExternalProvider{
		MailExchangers: []v1alpha1.Hostname{"mx.altro.test"}, IMAP: v1alpha1.Endpoint{Host: "imaps.altro.test"}, Submission: &v1alpha1.Endpoint{Host: "smtps.altro.test"}}}}}
	m := &ServiceMeter{}
	d.Status.Endpoints = endpointsOf(d, d)
	m.on(d)
	doors := slices.Concat(m.watched[client.ObjectKeyFromObject(d)].functions...)
	if inside := func(door dns.Door) bool { return !door.External }; len(doors) != 3 || slices.ContainsFunc(doors, inside) || !targetOf(d, d).external {
		t.Errorf("what is another provider's is not known to be: %+v, %+v", doors, targetOf(d, d))
	}
	view := &DNSView{Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}}
	for address, want := range map[string]bool{"8.8.4.4": true, "10.20.1.1": true, "10.21.1.1": false, "127.0.0.1": false} {
		if view.may(true)(netip.MustParseAddr(address)) != want {
			t.Errorf("%s: %t", address, !want)
		}
	}
	if view.may(false) != nil {
		t.Error("a stack of ours is not knocked at where it is")
	}
}

// Guests have their host's doors. What one of these answered at once must not be forgotten when the next guest names it.
func TestADoorOfManyDomainsKeepsItsAnswer(t *testing.T) {
	door := dns.Door{Host: "mx.g.test", Port: 25, Greeting: "220"}
	functions := map[types.NamespacedName][][]dns.Door{}
	for i := range 200_000 {
		functions[types.NamespacedName{Namespace: "comuni", Name: strconv.Itoa(i)}] = [][]dns.Door{{door}}
	}
	observer := &dns.Observer{Roots: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Dial: emptyRoot}
	m := &ServiceMeter{DNS: &DNSView{Observer: observer}}
	answers, whys := m.knock(t.Context(), functions)
	if answers[door] != dns.Silent || whys[door] == "" {
		t.Errorf("%s (%s), though its name has no address", answers[door], whys[door])
	}
}

// emptyRoot is a connection to a name server of the root, in which there is no other name.
func emptyRoot(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		conn := &miekg.Conn{Conn: server}
		defer func() { _ = conn.Close() }()
		question, err := conn.ReadMsg()
		if err != nil {
			return
		}
		answer := new(miekg.Msg).SetRcode(question, miekg.RcodeNameError)
		answer.Authoritative = true
		answer.Ns = []miekg.RR{&miekg.SOA{Hdr: miekg.RR_Header{Name: ".", Rrtype: miekg.TypeSOA, Class: miekg.ClassINET}, Ns: ".", Mbox: "."}}
		_ = conn.WriteMsg(answer)
	}()
	return client, nil
}

func TestJudgeService(t *testing.T) {
	period := availability.Level{Start: now, Length: 123 * 24 * time.Hour, Measured: true} // allows 354 minutes, 177 at a time
	with := func(down, longest time.Duration) availability.Level {
		v := period
		v.Down, v.Longest = down, longest
		return v
	}
	for name, c := range map[string]struct {
		level   availability.Level
		promise string
		want    string
		status  metav1.ConditionStatus
	}{
		"nothing was down":                         {period, "99.8", v1alpha1.ReasonWithinServiceLevel, metav1.ConditionTrue},
		"as much as the period allows":             {with(354*time.Minute, 177*time.Minute), "99.8", v1alpha1.ReasonWithinServiceLevel, metav1.ConditionTrue},
		"a minute more":                            {with(355*time.Minute, 100*time.Minute), "99.8", v1alpha1.ReasonAvailabilityMissed, metav1.ConditionFalse},
		"one outage longer than half":              {with(178*time.Minute, 178*time.Minute), "99.8", v1alpha1.ReasonOutageTooLong, metav1.ConditionFalse},
		"a stricter promise is broken sooner":      {with(100*time.Minute, 10*time.Minute), "99.95", v1alpha1.ReasonAvailabilityMissed, metav1.ConditionFalse},
		"a promise of everything by any outage":    {with(time.Minute, time.Minute), "100", v1alpha1.ReasonAvailabilityMissed, metav1.ConditionFalse},
		"what nobody looked at is not vouched for": {availability.Level{Start: now, Length: time.Hour}, "99.8", v1alpha1.ReasonServiceNotMeasured, metav1.ConditionUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			if got := judgeService(c.level, c.promise); got.Reason != c.want || got.Status != c.status {
				t.Errorf("%s %s: %s", got.Status, got.Reason, got.Message)
			}
		})
	}
}

// interrupted is an API server that has no ledger, and lets a pass come between whenever one is asked for.
type interrupted struct {
	client.Client

	pass func()
}

func (i interrupted) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	i.pass()
	return apierrors.NewNotFound(corev1.Resource("configmaps"), key.Name)
}

func (interrupted) Create(context.Context, client.Object, ...client.CreateOption) error { return nil }

// A pass takes the news of the last look while the next one is being entered.
func TestNewsAreToldOnce(t *testing.T) {
	key := types.NamespacedName{Namespace: "comune", Name: "pec.comune.test"}
	ended := make(chan struct{})
	close(ended) // nobody waits for a pass
	at := &watched{loaded: true}
	m := &ServiceMeter{DNS: &DNSView{ended: ended}, watched: map[types.NamespacedName]*watched{key: at}}
	var told []news
	pass := func() {
		state, _ := m.seen(key)
		told = append(told, state.news...)
	}
	between := interrupted{pass: func() {}}
	for minute, v := range []availability.Verdict{availability.Up, availability.Down, availability.Down, availability.Up} {
		if minute == 3 {
			between.pass = pass
		}
		m.Live, m.Client = between, between
		if err := m.enter(t.Context(), key, at, look{v, "x", now.Add(time.Duration(minute) * time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	pass()
	want := []news{{began: now.Add(time.Minute), why: "x"}, {began: now.Add(time.Minute), ended: now.Add(3 * time.Minute)}}
	if diff := cmp.Diff(want, told, cmp.AllowUnexported(news{})); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestNewsOfOutages(t *testing.T) {
	at := func(minutes int) time.Time { return now.Add(time.Duration(minutes) * time.Minute) }
	ledger := func(spans ...availability.Span) availability.Ledger {
		return availability.Ledger{Since: now, Spans: spans}
	}
	for name, c := range map[string]struct {
		before, after availability.Ledger
		want          news
		is            bool
	}{
		"an outage began":                     {ledger(), ledger(availability.Span{Verdict: availability.Down, From: at(1)}), news{began: at(1), why: "x"}, true},
		"it ended":                            {ledger(availability.Span{Verdict: availability.Down, From: at(1)}), ledger(availability.Span{Verdict: availability.Down, From: at(1), To: at(3)}), news{began: at(1), ended: at(3)}, true},
		"that nobody could look is no outage": {ledger(), ledger(availability.Span{Verdict: availability.Unmeasured, From: at(1)}), news{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, is := newsOf(c.before, c.after, "x")
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(news{})); diff != "" || is != c.is {
				t.Errorf("%v (-want +got):\n%s", is, diff)
			}
		})
	}
}
