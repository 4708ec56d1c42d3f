package mailbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/imapx"
	"github.com/pec-operator/pec-operator/internal/reach"
)

func TestPausesBetweenLooks(t *testing.T) {
	const interval = 6 * time.Hour
	about := func(got, want time.Duration) bool { return got > want*8/10 && got < want*12/10 }
	mem := &watched{}
	for i, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute} {
		if mem.settle(sight{err: errors.New("no answer")}, noon, interval); !about(mem.due.Sub(noon), want) {
			t.Errorf("failure %d is followed by %s", i+1, mem.due.Sub(noon))
		}
	}
	for range 20 {
		mem.settle(sight{err: imapx.ErrRefused}, noon, interval)
	}
	if !about(mem.due.Sub(noon), interval) || mem.stopped {
		t.Errorf("many failures are followed by %s", mem.due.Sub(noon))
	}
	if mem.settle(sight{}, noon, interval); !about(mem.due.Sub(noon), interval) || mem.failures != 0 {
		t.Errorf("a success is followed by %s, after %d failures", mem.due.Sub(noon), mem.failures)
	}
	if mem.settle(sight{err: imapx.ErrCredentials}, noon, interval); !mem.stopped {
		t.Error("a wrong password is tried again")
	}
}

// Whoever writes a PECDomain names the host: at a private address nobody is asked, before anything is sent, unless that network was listed.
func TestALookGoesNowhereInside(t *testing.T) {
	for name, c := range map[string]struct {
		networks []netip.Prefix
		inside   bool
	}{
		"this machine":               {nil, true},
		"another network is allowed": {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, true},
		"its network is allowed":     {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			looked := make(chan struct{})
			p := (&ProviderPoller{Interval: time.Hour, Networks: c.networks, Now: func() time.Time { return noon }}).Ready()
			p.ctx = t.Context()
			m, l := &v1alpha1.Mailbox{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "mario.at.pec.altrove.test"}}, look{provider: "127.0.0.1:1"}
			go func() {
				<-p.events // the look has ended
				close(looked)
			}()
			p.see(m, l, credentials{}, "", noon)
			<-looked
			if seen := p.see(m, l, credentials{}, "", noon); seen.last == nil || seen.last.err == nil || errors.Is(seen.last.err, reach.ErrInside) != c.inside {
				t.Errorf("it saw %+v", seen.last)
			}
		})
	}
}

func TestARequestIsALookBeforeItsTurn(t *testing.T) {
	l := look{provider: "imap.altrove.test:993"}
	for sentence, c := range map[string]struct {
		known watched
		looks bool
	}{
		"at what was looked at a moment ago":  {watched{look: l, due: noon.Add(time.Hour)}, true},
		"not with a password that is refused": {watched{look: l, due: noon.Add(time.Hour), stopped: true}, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			p := (&ProviderPoller{Interval: time.Hour, Now: func() time.Time { return noon }, Connect: func(context.Context, string, string) (net.Conn, error) {
				<-t.Context().Done() // the look lasts as long as the test
				return nil, t.Context().Err()
			}}).Ready()
			p.ctx = t.Context()
			defer close(p.ended)
			m := &v1alpha1.Mailbox{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "mario.at.pec.altrove.test"}}
			key, known := client.ObjectKeyFromObject(m), c.known
			p.mailboxes[key] = &known
			p.see(m, l, credentials{}, "", noon)
			p.see(m, l, credentials{}, "now", noon)
			if began := !p.providers[l.provider].Begin(key.String(), func(context.Context) sight { return sight{} }); began != c.looks {
				t.Errorf("it looks: %t, want %t", began, c.looks)
			}
		})
	}
}

// A pass that waits for its first look answers no request, and the one after the look finds the same.
func TestOneRequestIsOneLook(t *testing.T) {
	p := (&ProviderPoller{Interval: time.Hour, Now: func() time.Time { return noon }}).Ready()
	p.ctx = t.Context()
	m, l := &v1alpha1.Mailbox{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "mario.at.pec.altrove.test"}}, look{provider: "127.0.0.1:1"}
	p.see(m, l, credentials{}, "now", noon)
	<-p.events // the look has ended
	if seen := p.see(m, l, credentials{}, "now", noon); seen.last == nil || !seen.due.After(noon) {
		t.Errorf("it saw %+v, and looks again at %s", seen.last, seen.due)
	}
}

// What a look that was under way sees may be older than the request.
func TestARequestWhileALookIsUnderWayIsAnotherLook(t *testing.T) {
	looks, goOn := make(chan struct{}, 2), make(chan struct{})
	p := (&ProviderPoller{Interval: time.Hour, Now: func() time.Time { return noon }, Connect: func(context.Context, string, string) (net.Conn, error) {
		looks <- struct{}{}
		<-goOn
		return nil, errors.New("no network")
	}}).Ready()
	p.ctx = t.Context()
	m, l := &v1alpha1.Mailbox{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "mario.at.pec.altrove.test"}}, look{provider: "imap.altrove.test:993"}
	p.see(m, l, credentials{}, "first", noon)
	<-looks
	p.see(m, l, credentials{}, "second", noon)
	close(goOn)
	<-p.events // the look has ended; the second request was handled by then
	p.see(m, l, credentials{}, "", noon)
	select {
	case <-looks:
	case <-time.After(5 * time.Second):
		t.Error("the second request is not looked for")
	}
	<-p.events
	if seen := p.see(m, l, credentials{}, "", noon); seen.asked.Waits() || !seen.due.After(noon) {
		t.Errorf("there is a third look: due %s", seen.due)
	}
}

func TestWhatAnOperatorThatStartsRecalls(t *testing.T) {
	const interval = 6 * time.Hour
	now := look{provider: "imap.altrove.test:993", version: "u/password@7#password"}
	elsewhere, otherKey := now, now
	elsewhere.provider, otherKey.version = "imap.errato.test:993", "u/password@7#altra"
	answered := []metav1.Condition{{Type: v1alpha1.ConditionWatched, Reason: v1alpha1.ReasonProviderAnswers}}
	refused := []metav1.Condition{{Type: v1alpha1.ConditionCredentialsValid, Reason: v1alpha1.ReasonRefusedByProvider}}
	failed := func(reason, at string) []metav1.Condition {
		return []metav1.Condition{{Type: v1alpha1.ConditionWatched, Reason: reason, Message: "Altro gestore (" + at + ") cannot be asked"}}
	}
	silent, silentElsewhere := failed(v1alpha1.ReasonProviderUnreachable, now.provider), failed(v1alpha1.ReasonProviderUnreachable, elsewhere.provider)
	closed := failed(v1alpha1.ReasonProviderRefuses, now.provider)
	for name, c := range map[string]struct {
		tried      string
		conditions []metav1.Condition
		stopped    bool
		recalled   bool
		waits      bool
	}{
		"a mailbox that nobody looked at":            {},
		"one that was looked at":                     {tried: now.triedAs("7"), conditions: answered, recalled: true, waits: true},
		"one that an earlier release looked at":      {tried: "7", conditions: answered, recalled: true, waits: true},
		"its Secret changed meanwhile":               {tried: now.triedAs("6"), conditions: answered},
		"its password was refused":                   {tried: now.triedAs("7"), conditions: refused, stopped: true},
		"it was refused to an earlier release":       {tried: "7", conditions: refused, stopped: true},
		"it was refused, and the Secret was mended":  {tried: now.triedAs("6"), conditions: refused},
		"it was refused elsewhere":                   {tried: elsewhere.triedAs("7"), conditions: refused},
		"another key of its Secret was refused":      {tried: otherKey.triedAs("7"), conditions: refused},
		"its provider did not answer the last times": {tried: now.triedAs("7"), conditions: silent, recalled: true},
		"it did not answer once":                     {conditions: silent, recalled: true},
		"it does not open the mailbox":               {tried: now.triedAs("6"), conditions: closed, recalled: true},
		"another one did not answer":                 {tried: elsewhere.triedAs("7"), conditions: silentElsewhere},
	} {
		m := &v1alpha1.Mailbox{Status: v1alpha1.MailboxStatus{TriedSecretVersion: c.tried, Conditions: c.conditions}}
		var waited time.Duration
		for range 20 { // its turn is at random within the interval
			mem := recalled(m, now, "7", noon, interval)
			if mem.stopped != c.stopped || mem.recalled != c.recalled || mem.due.Sub(noon) > interval {
				t.Errorf("%s: stopped %t, what was seen is known %t, due %s", name, mem.stopped, mem.recalled, mem.due)
			}
			waited = max(waited, mem.due.Sub(noon))
		}
		if (waited > 0) != c.waits {
			t.Errorf("%s: it waits %s", name, waited)
		}
	}
}

func TestProvidersWithoutMailboxesAreForgotten(t *testing.T) {
	p := (&ProviderPoller{Interval: time.Hour, Now: func() time.Time { return noon }, Connect: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no network")
	}}).Ready()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { _ = p.Start(ctx); close(ended) }()
	started := func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.ctx != nil }
	for !started() {
		time.Sleep(time.Millisecond)
	}
	at := func(i, provider int) (*v1alpha1.Mailbox, look) {
		m := &v1alpha1.Mailbox{}
		m.Namespace, m.Name = "comune", fmt.Sprintf("casella-%d.at.pec.test", i)
		return m, look{provider: fmt.Sprintf("imap.%d.test:993", provider)}
	}
	see := func(i, provider int) {
		m, l := at(i, provider)
		p.see(m, l, credentials{}, "", noon)
	}
	for i := range 100 {
		see(i, i/2)
	}
	see(0, 7) // it moves, and leaves another behind
	see(99, 7)
	see(98, 7)
	if len(p.providers) != 49 {
		t.Errorf("%d providers of 49 that run a mailbox", len(p.providers))
	}
	for i := range 100 {
		m, _ := at(i, 0)
		p.forget(client.ObjectKeyFromObject(m))
	}
	if len(p.providers)+len(p.mailboxes) > 0 {
		t.Errorf("without a mailbox there are %d providers, and %d mailboxes", len(p.providers), len(p.mailboxes))
	}
	cancel()
	<-ended
}
