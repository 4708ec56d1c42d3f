package pecdomain

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/dns"
	"github.com/pec-operator/pec-operator/internal/peer"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// observeDNS reads what was found out about the domain's records, judges it, and has it looked at again when that is due. It never
// waits for a name server, and never ends a pass: mail is served whatever the DNS says.
func observeDNS(ctx context.Context, s *scope) (reconcile.Result, error) {
	key := client.ObjectKeyFromObject(s.domain)
	t, ok, err := s.findTarget(ctx)
	switch {
	case err != nil:
		return reconcile.Result{}, err
	case ignores(s.domain):
		s.True(v1alpha1.ConditionDNSVerified, v1alpha1.ReasonDNSIgnored, "spec.dns.mode is Ignore: the domain's records are looked after elsewhere")
	case !ok, t.quiet:
		s.Say(v1alpha1.ConditionDNSVerified, metav1.ConditionUnknown, v1alpha1.ReasonNoMailHosts, "which hosts the MX set should name is known once the host's PECDomain serves this one")
	}
	switch {
	case !ok && ignores(s.domain):
		s.DNS.forget(key)
		s.domain.Status.DNS = nil
		return reconcile.Result{}, nil
	case !ok:
		return reconcile.Result{RequeueAfter: later}, nil
	}
	m := s.DNS.memory(key)
	t = s.notice(t, m)
	switch {
	case !m.looked.IsZero():
		err = s.judgeDNS(ctx, t, m)
	case !t.quiet:
		s.recall()
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	s.target = &t
	if m.asked.For(s.Request()); (m.asked.Waits() || !s.Now.Before(m.due)) && s.DNS.begin(key, work{target: t, wanted: m.wanted}, s.Mechanism.Now) {
		m.asked.Begun()
	}
	s.DNS.wakeAt(key, m, max(min(soon, s.DNS.Interval/24), m.due.Sub(s.Now))) // a short interval, in a demo, shortens this pause too
	return reconcile.Result{}, nil
}

// notice takes what was found since the last pass, and completes the target with what only a look tells.
func (s *scope) notice(t target, m *memory) target {
	old := s.domain.Status.DNS
	switch f := t.fingerprint(); {
	case m.wanted == "" && old != nil && old.State != "" && s.domain.Status.ObservedGeneration == s.domain.Generation:
		// A new process believes the status until it has looked: a restart is no news.
		m.settled = dns.Settled{State: dns.State(old.State), Sentence: old.Message, At: s.Now}
		m.since = timeOf(old.Since)
		m.wanted = f
	case m.wanted != f:
		m.wanted, m.settled, m.looked, m.due = f, dns.Settled{}, time.Time{}, s.Now
	case s.domain.Status.ObservedGeneration != s.domain.Generation:
		m.due = s.Now
	}
	found, ok := s.DNS.patrol.Take(client.ObjectKeyFromObject(s.domain).String())
	if !ok {
		return s.informed(t, m.last.seen)
	}
	isOutdated := found.of != m.wanted
	if isOutdated {
		found = found.outdated()
	}
	m.last, m.looked = found, s.Now
	t = s.informed(t, m.last.seen)
	m.settle(s, t)
	if isOutdated {
		m.due = s.Now
	}
	return t
}

// informed is the target with what is taken from the records themselves: the epoch, and the preferences of another provider's hosts.
func (s *scope) informed(t target, seen dns.Observation) target {
	if s.domain.Spec.Provider.Type == v1alpha1.ProviderExternal {
		t = t.published(s.DNS.readProviders(), seen)
	}
	if t.want.Owner == (dns.Owner{}) {
		return t
	}
	var own, written uint64
	if d := s.domain.Status.DNS; d != nil && d.Epoch != nil {
		own = uint64(*d.Epoch) //nolint:gosec // the schema bounds it
	}
	for _, v := range seen.Views {
		for _, text := range v.Owner {
			written = max(written, t.want.Owner.EpochIn(text))
		}
	}
	t.want.Owner.Epoch = epochOf(s.role(t), own, written)
	return t
}

func (s *scope) role(t target) peer.Role {
	return peer.RoleOf(s.Stack.Site, t.preferred, s.Peer.State(), s.DNS.StandIn, s.Now)
}

// settle takes a finding into account.
func (m *memory) settle(s *scope, t target) {
	before := m.settled.State
	switch {
	case m.last.wrote == nil:
	case m.last.err == nil:
		m.failure, m.failures = nil, 0
		m.settled = dns.Settled{} // we changed it ourselves: what was believed of it is over
	default:
		m.failure, m.failures = m.last.err, m.failures+1
		m.retry = s.Now.Add(min(s.DNS.Interval/24, quickest<<min(m.failures, 16)))
	}
	verdict := dns.Classify(t.want, m.last.seen)
	m.settled = m.settled.Settle(verdict, m.last.seen, s.DNS.pace(), s.Now)
	if m.settled.State != before || m.since.IsZero() {
		m.since = s.Now
	}
	m.departure = m.departure.after(verdict, t.want, s.Now)
	m.due = s.Now.Add(reconcile.Jitter(s.DNS.again(verdict.State == m.settled.State, m.settled.State == dns.Ours, m.mailWaits, s.Now.Sub(m.since))))
}

// recall repeats what was said before, while nothing new is known.
func (s *scope) recall() {
	s.Repeat(v1alpha1.ConditionDNSVerified, v1alpha1.ConditionDNSOwned, v1alpha1.ConditionDNSRecordsSound, v1alpha1.ConditionAwaitingExternal)
	said, ok := s.Said(v1alpha1.ConditionDNSVerified)
	if !ok || said.Reason == v1alpha1.ReasonNotEvaluated {
		s.Say(v1alpha1.ConditionDNSVerified, metav1.ConditionUnknown, v1alpha1.ReasonDNSNotLookedAt, "the domain's name servers are being asked for the first time")
	}
	for name, course := range map[string]course{v1alpha1.ConditionStalled: courseStalls, v1alpha1.ConditionReconciling: courseWaits} {
		if c := meta.FindStatusCondition(s.domain.Status.Conditions, name); c != nil && ok && c.Reason == said.Reason {
			s.judged = judgement{reason: said.Reason, message: said.Message, course: course}
		}
	}
}

// judgeDNS judges what is known of the domain's records, and says and shows it.
func (s *scope) judgeDNS(ctx context.Context, t target, m *memory) error {
	o := outlook{want: t.want, verdict: dns.Classify(t.want, m.last.seen), settled: m.settled, mode: dns.VerifyOnly, takeover: takeover(s.domain),
		role: s.role(t), unfit: m.last.unfit, otherSite: s.otherSite(m), since: m.since, departure: m.departure, deadline: m.since.Add(requestTime), now: s.Now}
	s.outlook = &o
	if name := s.DNS.readProviders().Of(o.verdict.Seen.MX); name != "" && o.verdict.State == dns.Foreign {
		o.verdict.Sentence += " (" + name + ")"
	}
	if o.otherSite != "" {
		m.due = earlier(m.due, m.looked.Add(s.DNS.Interval/24))
	}
	if t.quiet {
		s.showDNS(o, t, m)
		return nil
	}
	if s.domain.DNSMode() == v1alpha1.DNSRFC2136 {
		o.mode = dns.UpdateMode
		if err := s.readKey(ctx, &o, m); err != nil {
			return err
		}
	}
	if s.judged = o.judgeAndRetry(); s.judged.keep {
		s.recall()
		return nil
	}
	if err := s.cutOver(ctx, o); err != nil {
		return err
	}
	s.sayDNS(o, m)
	s.showDNS(o, t, m)
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// otherSite says what the other site sees, where its state is settled and its set is another than the one seen here. The domain is
// then looked at again sooner, at both sites.
func (s *scope) otherSite(m *memory) string {
	if s.peer == nil || s.peer.Status.DNS == nil || !m.settled.State.Definite() {
		return ""
	}
	theirs := s.peer.Status.DNS
	if !dns.State(theirs.State).Definite() || theirs.State == "" || len(m.last.seen.Views) == 0 || slices.Equal(theirs.Current, texts(m.last.seen.Views[0].MX)) {
		return ""
	}
	return fmt.Sprintf("the other site sees %q, this one %q", theirs.Current, texts(m.last.seen.Views[0].MX))
}

// readKey reads the TSIG key, live and only for this pass, and says why there is none to write with.
func (s *scope) readKey(ctx context.Context, o *outlook, m *memory) error {
	spec := s.domain.Spec.DNS.RFC2136
	secret := &corev1.Secret{}
	err := s.Live.Get(ctx, client.ObjectKey{Namespace: s.domain.Namespace, Name: spec.TSIGSecretRef.SecretName}, secret)
	missing := s.Namespaces.Missing(s.domain.Namespace, err)
	if err != nil && missing == "" && !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading Secret %s/%s: %w", s.domain.Namespace, spec.TSIGSecretRef.SecretName, err)
	}
	raw, decodeErr := base64.StdEncoding.DecodeString(strings.TrimSpace(string(secret.Data["secret"])))
	key, keyErr := dns.NewKey(strings.TrimSpace(string(secret.Data["name"])), strings.ToLower(spec.Algorithm), raw)
	switch {
	case s.DNS.Operator == "":
		o.trouble = trouble{v1alpha1.ReasonOperatorUnnamed, "the owner text would name no operator; set the chart's value dns.operatorID, the same at both sites"}
	case missing != "":
		o.trouble = trouble{v1alpha1.ReasonNamespaceNotGranted, missing}
	case err != nil:
		o.trouble = trouble{v1alpha1.ReasonTSIGKeyUnusable, "there is no Secret " + spec.TSIGSecretRef.SecretName + "; create it with the keys name and secret"}
	case decodeErr != nil:
		o.trouble = trouble{v1alpha1.ReasonTSIGKeyUnusable, "Secret " + spec.TSIGSecretRef.SecretName + ": the key secret is not base64, as tsig-keygen prints it"}
	case keyErr != nil:
		o.trouble = trouble{v1alpha1.ReasonTSIGKeyUnusable, "Secret " + spec.TSIGSecretRef.SecretName + ": " + keyErr.Error()}
	case o.verdict.State.Definite() && o.verdict.Zone != dns.Name(string(spec.Zone)):
		o.trouble = trouble{v1alpha1.ReasonZoneMismatch, fmt.Sprintf("%s is in zone %s, and dns.rfc2136.zone says %s; correct it", s.domain.Name, o.verdict.Zone, spec.Zone)}
	default:
		o.trouble = troubleOf(m.failure)
		o.retry = m.failure != nil && !s.Now.Before(m.retry)
	}
	s.key = key
	return nil
}

// sayDNS turns the judgement into conditions.
func (s *scope) sayDNS(o outlook, m *memory) {
	j := s.judged
	s.Say(v1alpha1.ConditionDNSVerified, j.status, j.reason, j.message)
	if j.course == courseAsks {
		s.True(v1alpha1.ConditionAwaitingExternal, j.reason, j.message)
	}
	switch {
	case o.mode != dns.UpdateMode:
	case o.trouble.reason != "":
		s.False(v1alpha1.ConditionDNSOwned, o.trouble.reason, o.trouble.message+"; until then the domain is kept as with VerifyOnly")
	case o.verdict.Owned:
		s.True(v1alpha1.ConditionDNSOwned, v1alpha1.ReasonMarkOurs, "the owner text at "+dns.OwnerName(s.domain.Name)+" is this operator's")
	default:
		s.False(v1alpha1.ConditionDNSOwned, v1alpha1.ReasonMarkMissing, "no owner text of this operator stands at "+dns.OwnerName(s.domain.Name)+"; it is written with the MX set")
	}
	if len(m.last.checks) == 0 {
		return
	}
	for _, c := range m.last.checks {
		if c.Result == dns.Faulty {
			s.False(v1alpha1.ConditionDNSRecordsSound, v1alpha1.ReasonRecordsFaulty, c.Name+": "+c.Message)
			return
		}
	}
	s.True(v1alpha1.ConditionDNSRecordsSound, v1alpha1.ReasonRecordsSound, "no fault was found beside the MX set; status.dns.checks has what was looked at")
}

// settleDNS does what was decided, and ends the pass where the records are not right. It comes last, so that the records of a domain
// are first claimed when its stack serves it, and so that a wrong record keeps nothing else from being done.
func settleDNS(ctx context.Context, s *scope) (reconcile.Result, error) {
	j := s.judged
	if j.do != nil {
		if err := s.writeDNS(ctx, *j.do); err != nil {
			return reconcile.Result{}, err
		}
	}
	switch j.course {
	case courseWaits:
		return reconcile.Result{}, reconcile.Waiting(later, v1alpha1.ConditionDNSVerified, j.reason, j.message)
	case courseStalls:
		return reconcile.Result{}, reconcile.Stalled(v1alpha1.ConditionDNSVerified, j.reason, j.message)
	default:
		return reconcile.Result{}, nil
	}
}

// maxLookAge is how old a look may be that a write rests on.
const maxLookAge = time.Minute

// writeDNS has a change made in the background, if the ledger allows it.
func (s *scope) writeDNS(ctx context.Context, c dns.Change) error {
	key := client.ObjectKeyFromObject(s.domain)
	m := s.DNS.memory(key)
	if s.Now.Before(m.retry) {
		return nil
	}
	if s.Now.Sub(m.looked) > maxLookAge {
		s.DNS.begin(key, work{target: *s.target, wanted: m.wanted}, s.Mechanism.Now)
		return nil
	}
	domains, err := s.countWritten(ctx)
	if err != nil {
		return err
	}
	pages, _, err := s.DNS.Ledger.read(ctx)
	if err != nil {
		return err
	}
	switch r := s.DNS.limits().Allow(writesOf(pages), c, domains, s.Now); {
	case r == nil:
	case r.Until.IsZero():
		return reconcile.Stalled(v1alpha1.ConditionDNSVerified, v1alpha1.ReasonWriteBudgetSpent, r.Sentence)
	case s.judged.course == courseOn:
		return nil
	default:
		return reconcile.Waiting(min(later, max(time.Second, r.Until.Sub(s.Now))), v1alpha1.ConditionDNSVerified, v1alpha1.ReasonMXWriting, s.judged.message+"; "+r.Sentence)
	}
	c.Primary = dns.Name(string(s.domain.Spec.DNS.RFC2136.Server))
	s.DNS.begin(key, work{target: *s.target, wanted: m.wanted, change: &c, key: s.key, domains: domains}, s.Mechanism.Now)
	return nil
}

// countWritten counts the domains that this operator writes.
func (s *scope) countWritten(ctx context.Context) (int, error) {
	var domains v1alpha1.PECDomainList
	if err := s.Client.List(ctx, &domains, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("counting the domains whose records are written: %w", err)
	}
	n := 0
	for i := range domains.Items {
		if domains.Items[i].DNSMode() == v1alpha1.DNSRFC2136 {
			n++
		}
	}
	return n, nil
}
