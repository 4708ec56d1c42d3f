package pecdomain

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
		MailExchangers: []v1alpha1.Hostname{"mx-a.g.test", "mx-b.g.test"}})
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
		"a domain without a host is not measured":    {functionsOf(nil), nil, availability.Unmeasured},
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
