package manager_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/mailtest"
	"github.com/pec-operator/pec-operator/internal/manager"
)

// TestProviderBeside is the provider that the tests here look at.
func TestProviderBeside(t *testing.T) { mailtest.ServeBeside(t) }

// line is the road to a provider: it counts who takes it, and may be cut, or lead nowhere.
type line struct {
	mu     sync.Mutex
	to     *mailtest.Beside
	taken  int
	cut    bool
	silent bool
	stuck  []net.Conn
}

func (l *line) connect(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken++
	switch {
	case l.cut:
		return noDNS(ctx, network, address)
	case l.silent:
		near, far := net.Pipe()
		l.stuck = append(l.stuck, far)
		return near, nil
	}
	return l.to.Connect(ctx, network, address)
}

// is sets what the line does from now on, and answers how often it was taken so far.
func (l *line) is(cut, silent bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, far := range l.stuck {
		_ = far.Close()
	}
	l.stuck = nil
	l.cut, l.silent = cut, silent
	return l.taken
}

// externalDomain is a domain that the provider beside runs.
func (s *site) externalDomain(change ...func(*v1alpha1.PECDomain)) *v1alpha1.PECDomain {
	d := s.hostedDomain(s.ns, s.domain)
	d.Spec.Provider = v1alpha1.DomainProvider{Type: v1alpha1.ProviderExternal, External: &v1alpha1.ExternalProvider{
		Name: "Altro gestore", MailExchangers: []v1alpha1.Hostname{"mx.altrove.test"}, IMAP: v1alpha1.Endpoint{Host: mailtest.ProviderHost}}}
	for _, c := range change {
		c(d)
	}
	return d
}

// wrong is a password that no provider here knows.
const wrong = "una password sbagliata"

func TestExternalMailbox(t *testing.T) {
	const ns = "altrove"
	address := func(local string) string { return local + "@pec." + ns + ".test" }
	road := &line{to: mailtest.StartBeside(t, "TestProviderBeside", map[string]string{address("protocollo"): canary, address("vuota"): canary}, mailtest.Quota)}
	s := newSite(t, ns, siteOptions{namespaces: []string{"un-altro"}, change: func(o *manager.Options) {
		o.ExternalConnect, o.ExternalRoots = road.connect, road.to.Roots
		o.ExternalInterval = 1000 * time.Hour // after a restart a turn may come at any time of it: not in this test
	}})
	c := road.to.Login(t, address("protocollo"), canary)
	raw := "Subject: Prova\r\n\r\n" + strings.Repeat(strings.Repeat("x", 98)+"\r\n", 10000)
	for _, age := range []int{1, 10, 20, 200, 400, 800} { // a megabyte each, of ten
		mailtest.Append(t, c, "INBOX", raw, nil, time.Now().AddDate(0, 0, -age))
	}
	_ = c.Close()
	seen := func(m *v1alpha1.Mailbox) {
		m.Annotations = map[string]string{v1alpha1.ReconcileRequestedAnnotation: "seen"}
	}
	domain, box := s.externalDomain(), makeMailbox(ns, "protocollo", s.domain, seen)
	s.create(t, domain, password(ns, canary))
	s.ready(t, domain)
	s.settle(t)
	began := road.is(false, false)
	s.create(t, box)
	s.ready(t, box)
	s.waitFor(t, box, v1alpha1.ConditionCredentialsValid, metav1.ConditionTrue, v1alpha1.ReasonAcceptedByProvider)
	s.waitFor(t, box, v1alpha1.ConditionWatched, metav1.ConditionTrue, v1alpha1.ReasonProviderAnswers)
	s.waitFor(t, box, v1alpha1.ConditionQuotaHealthy, metav1.ConditionTrue, v1alpha1.ReasonWithinQuota)
	advice := s.waitFor(t, box, v1alpha1.ConditionArchiveRecommended, metav1.ConditionTrue, v1alpha1.ReasonFillsSoon)
	s.wrote(t, box, 1)
	u := box.Status.Usage
	if box.Status.Quota != "10Mi" || *u.Messages != 6 || *u.Percent != 57 || *u.GrowthPerDay != 100e3 || u.FullOn == "" || *u.OldPercent != 30 || !strings.Contains(advice.Message, "ask Altro gestore") {
		t.Errorf("quota %s, %d messages, %d %%, %d a day, %d %% old: %s", box.Status.Quota, *u.Messages, *u.Percent, *u.GrowthPerDay, *u.OldPercent, advice.Message)
	}
	if box.Status.AdmittedAs != "" || box.Status.EffectiveAccess != nil || len(box.NotInForce())+len(domain.NotInForce()) > 0 {
		t.Errorf("something of it is said to be provisioned, or not in force: %+v", box.Status)
	}

	t.Run("passes log in no oftener than the interval, nor does a restart", func(t *testing.T) {
		s.passOver(t, box)
		s.restart()
		s.passOver(t, box)
		if n := road.is(false, false) - began; n != 1 {
			t.Errorf("%d logins, want the first alone", n)
		}
		s.wrote(t, box, 0)
	})

	t.Run("a wrong password is tried once, and a corrected one at once", func(t *testing.T) {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "sbagliata"}, Data: map[string][]byte{"password": []byte(wrong)}}
		refused := makeMailbox(ns, "vuota", s.domain, seen, func(m *v1alpha1.Mailbox) { m.Spec.Credentials.SecretRef.Name = secret.Name })
		before := road.is(false, false)
		s.create(t, secret, refused)
		c := s.waitFor(t, refused, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRefusedByProvider)
		if !strings.Contains(c.Message, "Secret sbagliata") || strings.Contains(c.Message, wrong) {
			t.Error(c.Message)
		}
		s.passOver(t, refused)
		s.restart() // the status knows which Secret was refused
		s.passOver(t, refused)
		if n := road.is(false, false) - before; n != 1 {
			t.Errorf("%d logins, want one", n)
		}
		secret.Data["password"] = []byte(canary)
		update(t, s, secret, func(o *corev1.Secret) { o.Data = map[string][]byte{"password": []byte(canary)} })
		s.request(t, refused, "corrected")
		s.ready(t, refused)
	})

	t.Run("a hash opens nothing elsewhere", func(t *testing.T) {
		s.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "hash"}, Data: map[string][]byte{"password": []byte(hashed)}})
		m := makeMailbox(ns, "cifrata", s.domain, func(m *v1alpha1.Mailbox) { m.Spec.Credentials.SecretRef.Name = "hash" })
		s.create(t, m)
		s.waitFor(t, m, v1alpha1.ConditionCredentialsValid, metav1.ConditionFalse, v1alpha1.ReasonHashUnusable)
	})

	t.Run("an unreachable provider and a silent one take nothing away", func(t *testing.T) {
		road.is(true, false)
		s.touchSecret(t)
		s.request(t, box, "cut")
		c := s.waitFor(t, box, v1alpha1.ConditionWatched, metav1.ConditionFalse, v1alpha1.ReasonProviderUnreachable)
		if !strings.Contains(c.Message, "it does not take the connection") || box.Status.Usage == nil {
			t.Errorf("usage %v: %s", box.Status.Usage, c.Message)
		}
		road.is(false, true)
		s.settle(t)
		s.restart()
		time.Sleep(6 * time.Second) // longer than a first look may take before it is said
		s.wrote(t, box, 0)
		s.touchSecret(t)
		s.request(t, box, "silent")
		s.waitFor(t, box, v1alpha1.ConditionWatched, metav1.ConditionFalse, v1alpha1.ReasonFirstLook)
		// Nobody waits for it: another mailbox's pass is as quick as ever.
		other := makeMailbox(ns, "altra", "pec.nessuno.test")
		s.create(t, other)
		s.waitFor(t, other, v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonDomainNotFound)
		road.is(false, false)
		s.touchSecret(t)
		s.request(t, box, "back")
		s.ready(t, box)
	})

	t.Run("who names another's domain guesses no passwords there", func(t *testing.T) {
		const thief = "un-altro" // comes after the other one also when both are of the same second
		guess, domain := password(thief, wrong), s.externalDomain(func(d *v1alpha1.PECDomain) { d.Namespace = thief })
		theirs := makeMailbox(thief, "protocollo", s.domain, seen)
		before := road.is(false, false)
		s.create(t, theirs)
		s.waitFor(t, theirs, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDomainNotFound)
		const looked = `{"status":{"quota":"1Gi","triedSecretVersion":"1","usage":{"bytes":5,"messages":1,"percent":97}}}` // by who thought it theirs
		if err := s.Status().Patch(context.Background(), theirs, client.RawPatch(types.MergePatchType, []byte(looked))); err != nil {
			t.Fatal(err)
		}
		s.create(t, domain, guess)
		c := s.waitFor(t, theirs, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonDomainNotReady)
		if !strings.Contains(c.Message, "namespace "+ns+" claimed "+s.domain+" first") {
			t.Error(c.Message)
		}
		if shown := theirs.Status; shown.Usage != nil || shown.Quota != "" || shown.TriedSecretVersion != "" {
			t.Errorf("it shows of another body's mailbox %+v", shown)
		}
		for _, next := range []string{"un'altra prova ancora", "e poi una terza prova"} {
			update(t, s, guess, func(o *corev1.Secret) { o.Data = map[string][]byte{"password": []byte(next)} })
			s.passOver(t, theirs)
		}
		if n := road.is(false, false) - before; n != 0 {
			t.Errorf("%d logins at another body's mailbox", n)
		}
		if err := s.Delete(context.Background(), domain); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("what comes to a stack of ours is its provider's no more", func(t *testing.T) {
		if err := s.Delete(context.Background(), domain); err != nil {
			t.Fatal(err)
		}
		s.create(t, s.makeDomain())
		s.waitFor(t, box, v1alpha1.ConditionProvisioned, metav1.ConditionTrue, v1alpha1.ReasonRowPlaced)
		if c := meta.FindStatusCondition(box.Status.Conditions, v1alpha1.ConditionWatched); c != nil || box.Status.TriedSecretVersion != "" {
			t.Errorf("it is still watched: %v", c)
		}
	})
}

// passOver has a pass over a mailbox that has answered the request "seen", without asking for anything new, and waits for its end.
func (s *site) passOver(t *testing.T, box *v1alpha1.Mailbox) {
	t.Helper()
	n, value := passesOver(t, "Mailbox"), ""
	if s.read(t, box); box.Annotations[v1alpha1.ReconcileRequestedAnnotation] == "" {
		value = "seen"
	}
	s.request(t, box, value)
	eventually(t, func() error {
		if passesOver(t, "Mailbox") == n {
			return errors.New("no pass came")
		}
		return nil
	})
	time.Sleep(500 * time.Millisecond) // for a look that it may have begun
}

// touchSecret makes another version of the Secret, with the same password.
func (s *site) touchSecret(t *testing.T) {
	t.Helper()
	update(t, s, password(s.ns, canary), func(o *corev1.Secret) {
		o.Labels = map[string]string{"touched": fmt.Sprint(time.Now().UnixNano())}
	})
}

// TestExternalWithoutQuota has a provider that tells no quota: the spec's counts, and without one nobody can say whether there is room.
func TestExternalWithoutQuota(t *testing.T) {
	const ns = "senza-quota"
	address := func(local string) string { return local + "@pec." + ns + ".test" }
	road := &line{to: mailtest.StartBeside(t, "TestProviderBeside", map[string]string{address("uno"): canary, address("due"): canary}, mailtest.Taciturn)}
	s := newSite(t, ns, siteOptions{change: func(o *manager.Options) { o.ExternalConnect, o.ExternalRoots = road.connect, road.to.Roots }})
	for _, local := range []string{"uno", "due"} {
		c := road.to.Login(t, address(local), canary)
		mailtest.Append(t, c, "INBOX", "Subject: Prova\r\n\r\n"+strings.Repeat(strings.Repeat("x", 98)+"\r\n", 9000), nil, time.Now())
		_ = c.Close()
	}
	said, unsaid := makeMailbox(ns, "uno", s.domain, func(m *v1alpha1.Mailbox) { m.Spec.Quota = ptr.To(resource.MustParse("1M")) }),
		makeMailbox(ns, "due", s.domain, func(m *v1alpha1.Mailbox) { m.Spec.Quota = nil })
	s.create(t, s.externalDomain(), password(ns, canary), said, unsaid)
	s.ready(t, said, unsaid)
	s.waitFor(t, said, v1alpha1.ConditionQuotaHealthy, metav1.ConditionFalse, v1alpha1.ReasonNearQuota)
	s.waitFor(t, unsaid, v1alpha1.ConditionQuotaHealthy, metav1.ConditionUnknown, v1alpha1.ReasonQuotaNotOffered)
	if u := unsaid.Status.Usage; *u.Messages != 1 || *u.Bytes < 900000 || u.Percent != nil || said.Status.Quota != "1M" || *said.Status.Usage.Percent != 90 {
		t.Errorf("usage %+v, quota %s, %d %%", u, said.Status.Quota, *said.Status.Usage.Percent)
	}
}

// TestExternalAtTheOtherSite has an operator at b whose peer was just lost: while a is preferred and not silent for long, it is quiet; then
// it looks in its place.
func TestExternalAtTheOtherSite(t *testing.T) {
	const ns = "altra-sede"
	address := "protocollo@pec." + ns + ".test"
	road := &line{to: mailtest.StartBeside(t, "TestProviderBeside", map[string]string{address: canary}, mailtest.Quota)}
	var ahead atomic.Int64
	s := newSite(t, ns, siteOptions{name: "b", peer: deadPeer(t), change: func(o *manager.Options) {
		o.ExternalConnect, o.ExternalRoots, o.StandIn = road.connect, road.to.Roots, 15*time.Minute
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}})
	domain, box := s.externalDomain(func(d *v1alpha1.PECDomain) { d.Spec.PreferredSite = "a" }), makeMailbox(ns, "protocollo", s.domain)
	s.create(t, domain, password(ns, canary), box)
	s.ready(t, box)
	c := s.waitFor(t, box, v1alpha1.ConditionWatched, metav1.ConditionTrue, v1alpha1.ReasonPreferredSiteWatches)
	if n := road.is(false, false); n != 0 || !strings.Contains(c.Message, "site a") || box.Status.Usage != nil {
		t.Errorf("%d logins; %s; it shows %+v", n, c.Message, box.Status.Usage)
	}
	// Whom the domain prefers is read at once.
	update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.PreferredSite = "b" })
	s.waitFor(t, box, v1alpha1.ConditionWatched, metav1.ConditionTrue, v1alpha1.ReasonProviderAnswers)
	update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.PreferredSite = "a" })
	s.waitFor(t, box, v1alpha1.ConditionWatched, metav1.ConditionTrue, v1alpha1.ReasonPreferredSiteWatches)
	if n := road.is(false, false); n != 1 || box.Status.Usage != nil || box.Status.Quota != "" {
		t.Errorf("%d logins; it still shows %+v", n, box.Status.Usage)
	}
	ahead.Store(int64(14 * time.Minute))
	s.request(t, box, "silent for a while")
	eventually(t, func() error {
		if s.read(t, box); box.Status.LastHandledReconcileAt != "silent for a while" {
			return errors.New("the mailbox was not looked at")
		}
		return nil
	})
	s.waitFor(t, box, v1alpha1.ConditionWatched, metav1.ConditionTrue, v1alpha1.ReasonPreferredSiteWatches)
	ahead.Store(int64(16 * time.Minute))
	s.request(t, box, "silent for long")
	s.waitFor(t, box, v1alpha1.ConditionWatched, metav1.ConditionTrue, v1alpha1.ReasonProviderAnswers)
	eventually(t, func() error { // what is asked for is looked at anew
		if n := road.is(false, false); n != 2 || box.Status.Usage == nil {
			return fmt.Errorf("%d logins, of which one was before site a was silent; it shows %+v", n, box.Status.Usage)
		}
		return nil
	})
}
