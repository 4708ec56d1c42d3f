package pecdomain

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/availability"
	"github.com/pec-operator/pec-operator/internal/dns"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/stack"
)

const (
	// lookWidth is how many doors are knocked at at once.
	lookWidth = 128
	// knockTimeout bounds a knock: a greeting that takes longer is none to a person who waits.
	knockTimeout = 10 * time.Second
	// maxNews is how many outages are told of, after a time in which nobody could tell.
	maxNews = 8
	// serviceKey is the ledger's key in its ConfigMap.
	serviceKey = "ledger.json"
)

// ServiceMeter measures, from where this operator stands, whether the services that were promised are there. What it sees is kept in a ConfigMap
// in the domain's namespace, without an owner: it outlives the operator and the resource, and is written only when an outage, or a time in
// which nobody could look, begins or ends.
type ServiceMeter struct {
	Live   client.Reader
	Client client.Client
	// DNS is this site's view of the DNS.
	DNS *DNSView
	// Every is the time between two looks.
	Every time.Duration
	// Alive answers when an operator of this site last lived before this one was elected; zero if nobody knows.
	Alive func() time.Time
	Now   func() time.Time

	mu      sync.Mutex // guards watched and what it points to: a look works on a copy (enter), and puts it back (keep)
	watched map[types.NamespacedName]*watched
}

// watched is one domain's service.
type watched struct {
	functions [][]dns.Door
	made      time.Time // when the resource was
	ledger    availability.Ledger
	loaded    bool
	fault     string    // why the ledger cannot be read
	last      time.Time // look
	// suspect is what the last look showed that the ledger does not say yet, and since when.
	suspect availability.Verdict
	since   time.Time
	news    []news
	gone    bool
}

// look is what a look at a domain's service came to.
type look struct {
	verdict availability.Verdict
	why     string // what the doors that were found wanting said
	at      time.Time
}

// news is an outage that began or ended.
type news struct {
	began, ended time.Time
	why          string
}

// functionsOf are what a domain's service consists of, each with the doors of which one must answer: whoever may send reaches submission,
// whoever may read IMAP, and whoever writes from outside one of the mail hosts. An endpoint carries the addresses of both sites. POP3 is
// a second way to read. Pure.
func functionsOf(e *v1alpha1.EndpointsStatus, external bool) [][]dns.Door {
	if e == nil {
		return nil
	}
	var functions [][]dns.Door
	one := func(at *v1alpha1.Endpoint, greeting string) {
		if at != nil {
			functions = append(functions, []dns.Door{{Host: string(at.Host), Port: uint16(*at.Port), TLS: true, Greeting: greeting, External: external}}) //nolint:gosec // the schema bounds it
		}
	}
	one(e.Submission, "220")
	one(e.IMAP, "* ")
	var exchangers []dns.Door
	for _, host := range e.MailExchangers {
		exchangers = append(exchangers, dns.Door{Host: string(host), Port: 25, Greeting: "220", External: external})
	}
	if len(exchangers) > 0 {
		functions = append(functions, exchangers)
	}
	return functions
}

// judgeLook is what knocking came to: the service is down when a function of it answers nowhere, and unmeasured when that is not known of
// one. Pure.
func judgeLook(functions [][]dns.Door, answers map[dns.Door]dns.Answer) availability.Verdict {
	verdict := availability.Up
	if len(functions) == 0 {
		return availability.Unmeasured
	}
	for _, doors := range functions {
		came := map[dns.Answer]bool{}
		for _, door := range doors {
			came[answers[door]] = true
		}
		switch {
		case came[dns.Answered]:
		case came[dns.Unasked]:
			verdict = availability.Unmeasured
		default:
			return availability.Down
		}
	}
	return verdict
}

// Start looks until ctx ends.
func (m *ServiceMeter) Start(ctx context.Context) error {
	tick := time.NewTicker(m.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			m.look(ctx)
		}
	}
}

// on has a domain's service watched.
func (m *ServiceMeter) on(d *v1alpha1.PECDomain) {
	key := client.ObjectKeyFromObject(d)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watched == nil {
		m.watched = map[types.NamespacedName]*watched{}
	}
	if m.watched[key] == nil {
		m.watched[key] = &watched{made: d.CreationTimestamp.Time}
	}
	m.watched[key].functions, m.watched[key].gone = functionsOf(d.Status.Endpoints, d.Spec.Provider.External != nil), false
}

// seen is what is known of a domain's service; false before the first look. Its news are told once.
func (m *ServiceMeter) seen(key types.NamespacedName) (state watched, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.watched[key]
	if at == nil {
		return watched{}, false
	}
	state, at.news = *at, nil
	return state, at.loaded || at.fault != ""
}

// leave ends the watch over a domain; the ledger says so with the next look.
func (m *ServiceMeter) leave(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := m.watched[key]; at != nil {
		at.gone = true
	}
}

// look knocks at every door once, and enters what came of it.
func (m *ServiceMeter) look(ctx context.Context) {
	m.mu.Lock()
	all := maps.Clone(m.watched)
	functions := map[types.NamespacedName][][]dns.Door{}
	for key, at := range all {
		functions[key] = at.functions
	}
	m.mu.Unlock()
	now := m.Now()
	answers, whys := m.knock(ctx, functions)
	if ctx.Err() != nil {
		return // a look that was cut short shows nothing
	}
	for key, at := range all {
		l := look{verdict: judgeLook(functions[key], answers), why: whyOf(functions[key], whys), at: now}
		if err := m.enter(ctx, key, at, l); err != nil {
			logf.FromContext(ctx).WithName("service").Info("the service's ledger waits", "PECDomain", key, "reason", err.Error())
		}
	}
}

// whyOf is what the doors that were found wanting said, each sentence once. Pure.
func whyOf(functions [][]dns.Door, whys map[dns.Door]string) string {
	var out []string
	for _, doors := range functions {
		for _, door := range doors {
			if why := whys[door]; why != "" && !slices.Contains(out, why) {
				out = append(out, why)
			}
		}
	}
	return strings.Join(out, "; ")
}

// knock knocks at each door once, however many domains have it.
func (m *ServiceMeter) knock(ctx context.Context, functions map[types.NamespacedName][][]dns.Door) (answers map[dns.Door]dns.Answer, whys map[dns.Door]string) {
	answers, whys = map[dns.Door]dns.Answer{}, map[dns.Door]string{}
	noRoots := m.DNS.roots(ctx)
	slots := make(chan struct{}, lookWidth)
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, doors := range functions {
		for _, door := range slices.Concat(doors...) {
			mu.Lock()
			_, taken := answers[door]
			if !taken { // one that is may have answered already
				answers[door] = dns.Unasked
			}
			mu.Unlock()
			if taken || noRoots != nil {
				continue
			}
			wait.Go(func() {
				slots <- struct{}{}
				prober := &dns.Prober{Observer: m.DNS.Observer, Timeout: knockTimeout, May: m.DNS.may(door.External)}
				answer, why := prober.Knock(ctx, door)
				<-slots
				mu.Lock()
				defer mu.Unlock()
				answers[door], whys[door] = answer, why
			})
		}
	}
	wait.Wait()
	return answers, whys
}

// after takes a look into account, and says whether the ledger changed. One look that finds something amiss is not believed before the next one
// finds the same: it then began with the first.
func (at *watched) after(l look) (changed bool) {
	ledger := &at.ledger
	ledger.Spans, ledger.Totals = slices.Clone(ledger.Spans), slices.Clone(ledger.Totals)
	switch {
	case at.gone:
		changed = ledger.Left(at.last)
	case l.verdict != availability.Up && l.verdict != ledger.Open() && at.suspect != l.verdict:
		at.suspect, at.since = l.verdict, l.at
		if !ledger.Since.IsZero() {
			changed = ledger.Saw(ledger.Open(), l.at, at.last, l.at)
		}
	default:
		from := l.at
		if at.suspect == l.verdict {
			from = at.since
		}
		changed = ledger.Saw(l.verdict, from, at.last, l.at)
		at.suspect = ""
	}
	at.last = l.at
	return changed
}

// enter puts a look into a domain's ledger, and writes that if it changed.
func (m *ServiceMeter) enter(ctx context.Context, key types.NamespacedName, at *watched, l look) error {
	m.mu.Lock()
	state := *at
	m.mu.Unlock()
	if !state.loaded {
		if err := m.load(ctx, key, &state); err != nil {
			m.keep(key, at, state)
			return err
		}
	}
	before := state
	changed := state.after(l)
	var found []news
	if changed {
		err := m.save(ctx, key, state.ledger)
		if state.gone && (apierrors.IsNotFound(err) || apierrors.IsForbidden(err)) {
			m.keep(key, at, before) // its namespace goes too
		}
		if err != nil {
			return err // the next look finds the same and tries again
		}
		if n, is := newsOf(before.ledger, state.ledger, l.why); is {
			found = append(found, n)
		}
	}
	m.keep(key, at, state, found...)
	if changed && !state.gone {
		m.DNS.wake(key.String())
	}
	return nil
}

// newsOf is what a change of the ledger says of outages. Pure.
func newsOf(before, after availability.Ledger, why string) (news, bool) {
	was, is := before.Open() == availability.Down, after.Open() == availability.Down
	switch {
	case is && !was:
		return news{began: after.Spans[len(after.Spans)-1].From, why: why}, true
	case was && !is:
		began := before.Spans[len(before.Spans)-1].From
		for _, s := range after.Spans {
			if s.From.Equal(began) && s.Verdict == availability.Down {
				return news{began: began, ended: s.To}, true
			}
		}
	}
	return news{}, false
}

// keep stores what a look came to and found, but for what a pass has taken or said meanwhile.
func (m *ServiceMeter) keep(key types.NamespacedName, at *watched, state watched, found ...news) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if state.gone && at.gone {
		delete(m.watched, key)
		return
	}
	at.ledger, at.loaded, at.fault, at.last = state.ledger, state.loaded, state.fault, state.last
	at.news = append(at.news, found...)
	at.suspect, at.since, at.news = state.suspect, state.since, at.news[max(0, len(at.news)-maxNews):]
}

// load reads the ledger, and when the service was last looked at.
func (m *ServiceMeter) load(ctx context.Context, key types.NamespacedName, at *watched) error {
	stored := &corev1.ConfigMap{}
	err := m.Live.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: serviceLedger(key.Name)}, stored)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading ConfigMap %s/%s: %w", key.Namespace, serviceLedger(key.Name), err)
	}
	if text := stored.Data[serviceKey]; text != "" {
		if err := json.Unmarshal([]byte(text), &at.ledger); err != nil {
			at.fault = fmt.Sprintf("ConfigMap %s, key %s, cannot be read: put its last good content back, or move it elsewhere to begin anew", serviceLedger(key.Name), serviceKey)
			return fmt.Errorf("reading ConfigMap %s/%s: %w", key.Namespace, serviceLedger(key.Name), err)
		}
	}
	at.loaded, at.fault = true, ""
	if at.last = m.Alive(); at.ledger.Before(at.made) {
		at.last = time.Time{} // the ledger is of a resource that is gone: how long nobody looked, nobody knows
	}
	return nil
}

// save writes the ledger.
func (m *ServiceMeter) save(ctx context.Context, key types.NamespacedName, ledger availability.Ledger) error {
	text, err := json.Marshal(ledger)
	if err != nil {
		return fmt.Errorf("writing ConfigMap %s/%s: %w", key.Namespace, serviceLedger(key.Name), err)
	}
	stored := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: serviceLedger(key.Name), Annotations: map[string]string{stack.DomainAnnotation: key.Name}}}
	err = m.Live.Get(ctx, client.ObjectKeyFromObject(stored), stored)
	before := stored.DeepCopy()
	stored.Data = map[string]string{serviceKey: string(text)}
	switch {
	case apierrors.IsNotFound(err):
		err = m.Client.Create(ctx, stored, reconcile.FieldOwner)
	case err == nil:
		err = m.Client.Patch(ctx, stored, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), reconcile.FieldOwner)
	}
	if err != nil {
		return fmt.Errorf("writing ConfigMap %s/%s: %w", key.Namespace, serviceLedger(key.Name), err)
	}
	return nil
}

// serviceLedger is the name of the ConfigMap with the ledger of a domain's service.
func serviceLedger(domain string) string { return stack.NamesFor(domain).StatefulSet + "-service" }
