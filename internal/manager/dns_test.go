package manager_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/manager"
	"github.com/pec-operator/pec-operator/internal/reach"
)

// day is how long these tests' operators take a day to be: what is right is looked at every two seconds. A longDay is for what must be
// met before it is over.
const day, longDay = 2 * time.Second, 4 * time.Second

func hostsOf() string {
	return "mx-a A 198.51.100.1\nmx-b A 198.51.100.2\nsmtps A 198.51.100.1\nsmtps A 198.51.100.2\nimaps A 198.51.100.1\nimaps A 198.51.100.2\n"
}

// withNames has an operator look at a test's own DNS.
func withNames(n *apitest.Names) func(*manager.Options) {
	return func(o *manager.Options) {
		o.DNSRoots, o.DNSDial, o.DNSInterval, o.DNSOperator = []netip.Addr{apitest.Root}, n.Dial, day, "insieme-1"
	}
}

// written is a domain's DNS part for mode RFC2136.
func written(zone string) *v1alpha1.DomainDNS {
	return &v1alpha1.DomainDNS{Mode: v1alpha1.DNSRFC2136, RFC2136: &v1alpha1.RFC2136{Server: "ns.nomi.test", Zone: v1alpha1.Hostname(zone),
		TSIGSecretRef: v1alpha1.SecretReference{SecretName: "tsig"}, Algorithm: "HMAC-SHA256"}}
}

func tsig(ns string, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "tsig"}, Data: data}
}

func state(t *testing.T, s *site, d *v1alpha1.PECDomain, want v1alpha1.DNSState) {
	t.Helper()
	eventually(t, func() error {
		s.get(t, d.Namespace, d.Name, d)
		if d.Status.DNS == nil || d.Status.DNS.State != want {
			return fmt.Errorf("%s is not %s: %+v", d.Name, want, d.Status.DNS)
		}
		return nil
	})
}

func TestTheOperatorKeepsItsMXAndNeverAForeignOne(t *testing.T) {
	apitest.Need(t, server)
	n := apitest.RunNames(t, map[string]string{"tenuto.test": hostsOf()})
	s := newSite(t, "tenuto", siteOptions{change: withNames(n)})
	domain := s.makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.DNS = written("tenuto.test") })
	ours := []string{"10 mx-a.tenuto.test.", "20 mx-b.tenuto.test."}
	s.provide(t)
	s.create(t, domain)

	c := s.waitFor(t, domain, v1alpha1.ConditionDNSOwned, metav1.ConditionFalse, v1alpha1.ReasonTSIGKeyUnusable)
	if !strings.Contains(c.Message, "create it") {
		t.Errorf("the message does not say what to do: %q", c.Message)
	}
	s.waitFor(t, domain, v1alpha1.ConditionAwaitingExternal, metav1.ConditionTrue, v1alpha1.ReasonRecordRequested)
	if r := domain.Status.DNS.RecordRequest; r == nil || !strings.Contains(r.Italian, "pec 3600 IN MX 10 mx-a.tenuto.test.") {
		t.Errorf("without a key the records are not asked for: %+v", r)
	}
	s.create(t, tsig(s.ns, n.Key()))
	s.ready(t, domain)
	s.waitFor(t, domain, v1alpha1.ConditionDNSOwned, metav1.ConditionTrue, v1alpha1.ReasonMarkOurs)
	s.waitFor(t, domain, v1alpha1.ConditionDNSRecordsSound, metav1.ConditionTrue, v1alpha1.ReasonRecordsSound)
	if got := n.Get(s.domain, miekg.TypeMX); !slices.Equal(got, ours) {
		t.Fatalf("the MX set is %q", got)
	}
	if got := n.Get("_pec-owner."+s.domain, miekg.TypeTXT); len(got) != 1 || !strings.Contains(got[0], "op=insieme-1;tenuto/pec.tenuto.test;epoch=1;") {
		t.Fatalf("the owner text is %q", got)
	}

	t.Run("quiet rounds write nothing", func(t *testing.T) {
		time.Sleep(3 * time.Second) // what was announced is written
		s.writes.Take()
		time.Sleep(2 * day)
		if calls := s.writes.Take(); len(calls) > 0 {
			t.Errorf("rounds that found nothing new wrote to the API server: %q", calls)
		}
	})

	t.Run("a foreign MX is not touched", func(t *testing.T) {
		n.Set("tenuto.test", s.domain, miekg.TypeMX, "10 mx.altro.test.")
		c := s.waitFor(t, domain, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonForeignMX)
		if !strings.Contains(c.Message, "10 mx.altro.test.") {
			t.Errorf("the message does not name it: %q", c.Message)
		}
		state(t, s, domain, "Foreign")
		if r := domain.Status.DNS.RecordRequest; r == nil || !strings.Contains(r.Italian, "ATTENZIONE") || strings.Contains(r.Italian, "IN MX") || strings.Contains(r.English, "update add") {
			t.Errorf("the warning is missing, or it has a record line: %+v", r)
		}
		time.Sleep(2 * day)
		if got := n.Get(s.domain, miekg.TypeMX); !slices.Equal(got, []string{"10 mx.altro.test."}) {
			t.Fatalf("the foreign MX was touched: %q", got)
		}
	})

	t.Run("after it is gone ours is put back, once", func(t *testing.T) {
		n.Set("tenuto.test", s.domain, miekg.TypeMX)
		state(t, s, domain, "Ours")
		s.ready(t, domain)
		if got := n.Get(s.domain, miekg.TypeMX); !slices.Equal(got, ours) {
			t.Fatalf("the MX set is %q", got)
		}
		n.Set("tenuto.test", s.domain, miekg.TypeMX)
		s.waitFor(t, domain, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonWriteBudgetSpent)
		// The count is not the status: a resource that is made anew does not get another revival.
		if err := s.Delete(t.Context(), domain); err != nil {
			t.Fatal(err)
		}
		again := s.makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.DNS = written("tenuto.test") })
		eventually(t, func() error { return s.Create(t.Context(), again) })
		s.waitFor(t, again, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonWriteBudgetSpent)
		if got := n.Get(s.domain, miekg.TypeMX); len(got) != 0 {
			t.Fatalf("the MX set is %q", got)
		}
	})
}

func TestRecordsAreAskedForAndFound(t *testing.T) {
	apitest.Need(t, server)
	n := apitest.RunNames(t, map[string]string{
		"chiesto.test": hostsOf(), "comune.test": "", "muto.test": "", "altro.test": "mx A 198.51.100.9\n",
		".": "ns.nomi.test. A 192.0.2.53\nsordo.test. NS ns.sordo.test.\nns.sordo.test. A 192.0.2.66",
	})
	s := newSite(t, "chiesto", siteOptions{namespaces: []string{"chiesto-comune"}, change: withNames(n)})
	host := s.makeDomain(func(d *v1alpha1.PECDomain) {
		d.Spec.DNS = nil
		d.Spec.Provider.Managed.AllowedNamespaces = []string{"chiesto-comune"}
	})
	guest, deaf := s.hostedDomain("chiesto-comune", "pec.comune.test"), s.hostedDomain("chiesto-comune", "pec.sordo.test")
	guest.Spec.DNS, deaf.Spec.DNS = nil, nil
	outside := s.hostedDomain("chiesto-comune", "pec.muto.test")
	outside.Spec.DNS = nil
	outside.Spec.Provider = v1alpha1.DomainProvider{Type: v1alpha1.ProviderExternal, External: &v1alpha1.ExternalProvider{
		Name: "Altro gestore", MailExchangers: []v1alpha1.Hostname{"mx.altro.test"}, IMAP: v1alpha1.Endpoint{Host: "imaps.altro.test"}}}
	s.provide(t)
	s.create(t, host, guest, deaf, outside)

	for d, line := range map[*v1alpha1.PECDomain]string{
		host:    "update add pec.chiesto.test. 3600 MX 10 mx-a.chiesto.test.",
		guest:   "pec 3600 IN MX 20 mx-b.chiesto.test.",
		outside: "pec 3600 IN MX 10 mx.altro.test.",
	} {
		s.waitFor(t, d, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRecordRequested)
		if r := d.Status.DNS.RecordRequest; r == nil || !strings.Contains(r.Italian, line) || !strings.Contains(r.English, line) {
			t.Errorf("%s: the request does not hold %q: %+v", d.Name, line, r)
		}
	}
	s.waitFor(t, guest, v1alpha1.ConditionHostReady, metav1.ConditionTrue, v1alpha1.ReasonHostServes)
	s.waitFor(t, deaf, v1alpha1.ConditionDNSVerified, metav1.ConditionUnknown, v1alpha1.ReasonUnverifiable)
	if n.Get("pec.comune.test", miekg.TypeMX) != nil {
		t.Error("VerifyOnly wrote")
	}

	n.Set("chiesto.test", s.domain, miekg.TypeMX, "10 mx-a.chiesto.test.", "20 mx-b.chiesto.test.")
	n.Set("comune.test", "pec.comune.test", miekg.TypeMX, "10 mx-a.chiesto.test.", "20 mx-b.chiesto.test.")
	n.Set("muto.test", "pec.muto.test", miekg.TypeMX, "5 mx.altro.test.") // the letter names hosts, not preferences
	s.ready(t, host, guest, outside)
	for _, d := range []*v1alpha1.PECDomain{host, guest, outside} {
		if d.Status.DNS.RecordRequest != nil || d.Status.DNS.State != "Ours" {
			t.Errorf("%s still asks: %+v", d.Name, d.Status.DNS)
		}
	}

	t.Run("a broken record beside the MX is said, and mail goes on", func(t *testing.T) {
		n.Set("chiesto.test", s.domain, miekg.TypeTXT, `"v=spf1 -all"`)
		update(t, s, host, func(d *v1alpha1.PECDomain) {
			d.Spec.DNS = &v1alpha1.DomainDNS{Mode: v1alpha1.DNSVerifyOnly, Extra: &v1alpha1.DNSExtra{SPF: v1alpha1.RecordVerify, DMARC: v1alpha1.RecordVerify}}
		})
		c := s.waitFor(t, host, v1alpha1.ConditionDNSRecordsSound, metav1.ConditionFalse, v1alpha1.ReasonRecordsFaulty)
		if !strings.HasPrefix(c.Message, "SPF: ") {
			t.Errorf("message is %q", c.Message)
		}
		s.ready(t, host)
	})

	t.Run("a guest's policy is not looked for inside, and not at all when its host refuses it", func(t *testing.T) {
		policy := func() (message string) {
			s.get(t, guest.Namespace, guest.Name, guest)
			for _, c := range guest.Status.DNS.Checks {
				if c.Name == "MTA-STS" {
					message = c.Message
				}
			}
			return message
		}
		n.Set("comune.test", "_mta-sts.pec.comune.test", miekg.TypeTXT, `"v=STSv1; id=1"`)
		n.Set("comune.test", "mta-sts.pec.comune.test", miekg.TypeA, "10.96.0.1")
		update(t, s, guest, func(d *v1alpha1.PECDomain) {
			d.Spec.DNS = &v1alpha1.DomainDNS{Mode: v1alpha1.DNSVerifyOnly, Extra: &v1alpha1.DNSExtra{MTASTS: v1alpha1.RecordVerify}}
		})
		eventually(t, func() error {
			if said := policy(); !strings.HasSuffix(said, reach.ErrInside.Error()) {
				return fmt.Errorf("the check says %q", said)
			}
			return nil
		})
		update(t, s, host, func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.AllowedNamespaces = nil })
		s.waitFor(t, guest, v1alpha1.ConditionHostReady, metav1.ConditionFalse, v1alpha1.ReasonHostRefused)
		eventually(t, func() error {
			if said := policy(); said != "" {
				return fmt.Errorf("the check says %q", said)
			}
			return nil
		})
	})
}

func TestAProviderIsChangedByItsPhases(t *testing.T) {
	apitest.Need(t, server)
	n := apitest.RunNames(t, map[string]string{"cambio.test": hostsOf() + "pec 2 MX 10 mx.altro.test.\n"})
	s := newSite(t, "cambio", siteOptions{change: withNames(n)})
	domain := s.makeDomain(func(d *v1alpha1.PECDomain) {
		d.Spec.DNS = written("cambio.test")
		d.Spec.DNS.Takeover = &v1alpha1.DNSTakeover{Policy: v1alpha1.TakeoverFromExpected, ApprovedBy: "M. Bianchi, prot. 12/2026",
			ExpectedCurrent: []v1alpha1.MXRecord{{Preference: ptr.To(int32(20)), Host: "mx.altro.test"}}}
	})
	s.provide(t)
	s.create(t, domain, tsig(s.ns, n.Key()))
	s.waitFor(t, domain, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonForeignMX) // another preference is another set
	if got := n.Get(s.domain, miekg.TypeMX); !slices.Equal(got, []string{"10 mx.altro.test."}) {
		t.Fatalf("the MX set is %q", got)
	}
	update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.DNS.Takeover.ExpectedCurrent[0].Preference = ptr.To(int32(10)) })
	phases := map[string]bool{}
	eventually(t, func() error {
		s.get(t, s.ns, s.domain, domain)
		if domain.Status.DNS != nil && domain.Status.DNS.CutOver != nil {
			phases[domain.Status.DNS.CutOver.Phase] = true
		}
		if !phases["Done"] {
			return fmt.Errorf("phases seen: %v, now %+v", phases, domain.Status.DNS)
		}
		return nil
	})
	if got := n.Get(s.domain, miekg.TypeMX); !slices.Equal(got, []string{"10 mx-a.cambio.test.", "20 mx-b.cambio.test."}) {
		t.Errorf("the MX set is %q", got)
	}
	if c := domain.Status.DNS; c.CutOver.OldHostsUntil == nil || !slices.Equal(c.Previous, []string{"10 mx.altro.test."}) && len(c.Previous) == 0 {
		t.Errorf("what was there before, or until when the old hosts are needed, is not said: %+v", c)
	}
	s.ready(t, domain)
}

func TestAnUpdateThatIsRefusedIsNamed(t *testing.T) {
	apitest.Need(t, server)
	n := apitest.RunNames(t, map[string]string{"negato.test": hostsOf()})
	s := newSite(t, "negato", siteOptions{change: withNames(n)})
	domain := s.makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.DNS = written("negato.test") })
	wrong := n.Key()
	wrong["secret"] = []byte("bm90IHRoZSBzZWNyZXQgdGhhdCB0aGUgc2VydmVyIGhhcw==")
	key := tsig(s.ns, wrong)
	s.provide(t)
	s.create(t, domain, key)
	s.waitFor(t, domain, v1alpha1.ConditionDNSOwned, metav1.ConditionFalse, v1alpha1.ReasonTSIGKeyRefused)
	s.waitFor(t, domain, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRecordRequested)
	if got := n.Get(s.domain, miekg.TypeMX); got != nil {
		t.Fatalf("the MX set is %q", got)
	}
	update(t, s, key, func(k *corev1.Secret) { k.Data = n.Key() })
	s.ready(t, domain)

	var ledger corev1.ConfigMap
	s.get(t, s.ns+"-operatore", "pec-dns-ledger", &ledger)
	if page := ledger.Data[s.domain]; strings.Count(page, `"kind"`) != 1 {
		t.Errorf("refused writes were counted: %s", page)
	}
	if strings.Contains(logs.String(), string(n.Key()["secret"])) || strings.Contains(logs.String(), string(wrong["secret"])) {
		t.Error("a TSIG secret stands in the log")
	}
}

func TestTheOtherSiteStandsInAndTheFirstOneStops(t *testing.T) {
	apitest.Need(t, server)
	n := apitest.RunNames(t, map[string]string{"supplente.test": hostsOf()})
	var ahead atomic.Int64
	s := newSite(t, "supplente", siteOptions{name: "b", peer: deadPeer(t), change: func(o *manager.Options) {
		withNames(n)(o)
		o.StandIn = 3 * time.Minute
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}})
	domain := s.makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.DNS, d.Spec.PreferredSite = written("supplente.test"), "a" })
	s.provide(t)
	s.create(t, domain, tsig(s.ns, n.Key()))
	c := s.waitFor(t, domain, v1alpha1.ConditionDNSVerified, metav1.ConditionFalse, v1alpha1.ReasonOtherSiteWrites)
	if !strings.Contains(c.Message, "site a writes") || n.Get(s.domain, miekg.TypeMX) != nil {
		t.Errorf("the second site does not wait: %s", c.Message)
	}
	ahead.Store(int64(4 * time.Minute)) // a server takes what was signed within five
	s.request(t, domain, "silent for long")
	s.ready(t, domain)
	text := n.Get("_pec-owner."+s.domain, miekg.TypeTXT)
	if len(text) != 1 || !strings.Contains(text[0], ";epoch=2;") {
		t.Fatalf("the owner text is %q", text)
	}

	// What the first site meets that was alive all the time: a later epoch than the one that it knows.
	n.Set("supplente.test", "_pec-owner."+s.domain, miekg.TypeTXT, strings.Replace(text[0], ";epoch=2;", ";epoch=3;", 1))
	update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.PreferredSite = "b" })
	s.waitFor(t, domain, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonOwnedByOther)
	n.Set("supplente.test", s.domain, miekg.TypeMX)
	time.Sleep(2 * day)
	if got := n.Get(s.domain, miekg.TypeMX); got != nil {
		t.Errorf("a site that was stood in for wrote: %q", got)
	}
}
