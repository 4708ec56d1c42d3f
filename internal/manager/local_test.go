package manager_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/manager"
)

// local is whether the stack delivers a domain's mail; it fails when its directory does not hold the domain.
func (s *site) local(t *testing.T, domain string) (local bool) {
	t.Helper()
	s.pods.With(t, s.domain, func(e *apitest.Engine) {
		i := slices.IndexFunc(e.Domains, func(d admin.Domain) bool { return d.Name == domain })
		if i < 0 {
			t.Fatalf("the directory does not hold %s", domain)
		}
		local = e.Domains[i].Local
	})
	return local
}

// A guest whose MX is at another provider has its mailboxes here and its mail there.
func TestAGuestIsLocalWhileItsMXNamesTheStack(t *testing.T) {
	apitest.Need(t, server)
	n := apitest.RunNames(t, map[string]string{"locale.test": hostsOf(), "trasloco.test": "pec 60 MX 10 mx.altro.test.\n"})
	s := newSite(t, "locale", siteOptions{namespaces: []string{"locale-comune"}, change: func(o *manager.Options) {
		withNames(n)(o)
		o.DNSInterval = longDay
	}})
	host := s.makeDomain(func(d *v1alpha1.PECDomain) {
		d.Spec.Provider.Managed.AllowedNamespaces = []string{"locale-comune"}
		d.Spec.Provider.Managed.Provider.MailDomain, d.Spec.Provider.Managed.Provider.MailReceipt = "gestore.locale.test", "ricevute@gestore.locale.test"
	})
	guest, box := s.hostedDomain("locale-comune", "pec.trasloco.test"), makeMailbox("locale-comune", "ufficio", "pec.trasloco.test")
	guest.Spec.DNS = nil
	s.provide(t)
	s.create(t, host, guest, box, password("locale-comune", canary))
	s.ready(t, host, box)
	s.waitFor(t, guest, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonForeignMX)
	s.waitFor(t, guest, v1alpha1.ConditionDirectoryInSync, metav1.ConditionTrue, v1alpha1.ReasonDomainNotLocal)
	if s.local(t, guest.Name) {
		t.Fatal("a guest whose MX is at another provider is local")
	}
	if !s.local(t, s.domain) {
		t.Error("a domain whose records a person answers for is not local")
	}

	ours := []string{"10 mx-a.locale.test.", "20 mx-b.locale.test."}
	n.Set("trasloco.test", guest.Name, miekg.TypeMX, ours...)
	s.ready(t, guest)
	s.waitFor(t, guest, v1alpha1.ConditionDirectoryInSync, metav1.ConditionTrue, v1alpha1.ReasonDomainPlaced)
	if !s.local(t, guest.Name) {
		t.Fatal("a guest that is Ready is not local")
	}

	// The names of the mail hosts change in the spec, and who runs the guest's zone has not followed.
	name := func(suffix string) {
		update(t, s, host, func(d *v1alpha1.PECDomain) {
			for i, site := range []string{"a", "b"} {
				d.Spec.Provider.Managed.MailHosts[i].Host = "mx-" + site + suffix + ".locale.test"
			}
		})
	}
	name("-nuovo")
	s.waitFor(t, guest, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonForeignMX)
	time.Sleep(2 * longDay)
	if !s.local(t, guest.Name) {
		t.Fatal("new names of the mail hosts stopped the delivery of a domain whose records did not change")
	}
	name("")
	s.ready(t, guest)

	n.Set("trasloco.test", guest.Name, miekg.TypeMX, "10 mx.altro.test.")
	s.waitFor(t, guest, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonForeignMX)
	if !s.local(t, guest.Name) {
		t.Error("another provider's MX was believed at once")
	}
	s.waitFor(t, guest, v1alpha1.ConditionDirectoryInSync, metav1.ConditionTrue, v1alpha1.ReasonDomainNotLocal)
	if s.local(t, guest.Name) {
		t.Error("a guest that has left is local")
	}
	s.ready(t, box) // its holder still reads what is here

	// Neither who is not served any more nor who ignores his own records keeps the mail that is elsewhere.
	leaves := func(what string) {
		t.Helper()
		if !s.local(t, guest.Name) {
			t.Fatalf("%s: a guest whose MX names the stack is not local", what)
		}
		n.Set("trasloco.test", guest.Name, miekg.TypeMX, "10 mx.altro.test.")
		eventually(t, func() error {
			if s.local(t, guest.Name) {
				return fmt.Errorf("%s: a guest that has left is local", what)
			}
			return nil
		})
		s.get(t, guest.Namespace, guest.Name, guest)
		if guest.Status.DNS == nil || guest.Status.DNS.RecordRequest != nil {
			t.Errorf("%s: what is seen of its records is not shown, or something is asked for: %+v", what, guest.Status.DNS)
		}
		n.Set("trasloco.test", guest.Name, miekg.TypeMX, ours...)
	}
	n.Set("trasloco.test", guest.Name, miekg.TypeMX, ours...)
	s.ready(t, guest)
	update(t, s, host, func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.AllowedNamespaces = nil })
	s.waitFor(t, guest, v1alpha1.ConditionHostReady, metav1.ConditionFalse, v1alpha1.ReasonHostRefused)
	leaves("not served any more")
	state(t, s, guest, "Ours")
	if s.local(t, guest.Name) {
		t.Error("a domain that the stack does not serve became local")
	}
	update(t, s, host, func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.AllowedNamespaces = []string{"locale-comune"} })
	s.waitFor(t, guest, v1alpha1.ConditionDirectoryInSync, metav1.ConditionTrue, v1alpha1.ReasonDomainPlaced)
	update(t, s, host, func(d *v1alpha1.PECDomain) { d.Spec.DNS = nil })
	update(t, s, guest, func(d *v1alpha1.PECDomain) { d.Spec.DNS = &v1alpha1.DomainDNS{Mode: v1alpha1.DNSIgnore} })
	s.waitFor(t, guest, v1alpha1.ConditionDNSVerified, metav1.ConditionTrue, v1alpha1.ReasonDNSIgnored)
	leaves("it alone ignores its records")

	// A guest cannot say by itself that a name's mail is its own.
	taker := s.hostedDomain("locale-comune", "pec.altrui.test")
	s.create(t, taker)
	s.waitFor(t, taker, v1alpha1.ConditionDirectoryInSync, metav1.ConditionTrue, v1alpha1.ReasonDomainNotLocal)
	if s.local(t, taker.Name) {
		t.Error("a guest that ignores the records of a name has its mail")
	}
	if !s.local(t, s.domain) {
		t.Error("a host whose records were not seen yet lost its own mail")
	}
}

// A guest that is made again as another provider's leaves nothing open and nothing local behind.
func TestAGuestThatMovesIsLetGo(t *testing.T) {
	s := newSite(t, "lasciato", siteOptions{namespaces: []string{"lasciato-comune", "lasciato-altri"}})
	host := s.makeDomain(func(d *v1alpha1.PECDomain) {
		d.Spec.Provider.Managed.AllowedNamespaces = []string{"lasciato-comune", "lasciato-altri"}
	})
	const name = "pec.lasciato-comune.test"
	guest, box := s.hostedDomain("lasciato-comune", name), makeMailbox("lasciato-comune", "ufficio", name)
	s.provide(t)
	s.create(t, host, guest, box, password("lasciato-comune", canary), password("lasciato-altri", canary))
	s.ready(t, host, guest, box)
	row := func() (row admin.Mailbox) {
		s.pods.With(t, s.domain, func(e *apitest.Engine) { row = e.Rows[box.Address()] })
		return row
	}
	stays := func(what string) {
		t.Helper()
		poke(t, s, host)
		time.Sleep(2 * time.Second)
		if !s.local(t, name) || row().Access != admin.AccessFull {
			t.Fatalf("%s: local %t, row %s", what, s.local(t, name), row().Access)
		}
	}

	if err := s.Delete(t.Context(), guest); err != nil {
		t.Fatal(err)
	}
	stays("while no PECDomain of its name is there")
	outside := func(namespace string) *v1alpha1.PECDomain {
		d := s.hostedDomain(namespace, name)
		d.Spec.Provider = v1alpha1.DomainProvider{Type: v1alpha1.ProviderExternal, External: &v1alpha1.ExternalProvider{
			Name: "Altro gestore", MailExchangers: []v1alpha1.Hostname{"mx.altro.test"}, IMAP: v1alpha1.Endpoint{Host: "imaps.altro.test"}}}
		return d
	}
	another := outside("lasciato-altri")
	s.create(t, another)
	stays("while another body claims its name")
	if err := s.Delete(t.Context(), another); err != nil {
		t.Fatal(err)
	}
	nowhere := s.hostedDomain("lasciato-comune", name)
	nowhere.Spec.Provider.Hosted.Host = v1alpha1.DomainReference{Name: "pec.nessuno.test", Namespace: s.ns}
	eventually(t, func() error { return s.Create(t.Context(), nowhere) })
	stays("while it names a host that is not there")
	if err := s.Delete(t.Context(), nowhere); err != nil {
		t.Fatal(err)
	}

	leaves := func(what string) (moved *v1alpha1.PECDomain) {
		t.Helper()
		moved = outside("lasciato-comune")
		eventually(t, func() error { return s.Create(t.Context(), moved) })
		poke(t, s, host)
		eventually(t, func() error {
			if s.local(t, name) || row().Access != admin.AccessClosed {
				return fmt.Errorf("%s it is at another provider: local %t, row %s", what, s.local(t, name), row().Access)
			}
			return nil
		})
		return moved
	}
	moved := leaves("while its host is well")
	if err := s.Get(t.Context(), client.ObjectKeyFromObject(box), box); err != nil {
		t.Errorf("its Mailbox is gone: %v", err)
	}

	if err := s.Delete(t.Context(), moved); err != nil {
		t.Fatal(err)
	}
	back := s.hostedDomain("lasciato-comune", name)
	eventually(t, func() error { return s.Create(t.Context(), back) })
	eventually(t, func() error {
		if !s.local(t, name) || row().Access != admin.AccessFull {
			return fmt.Errorf("it came back: local %t, row %s", s.local(t, name), row().Access)
		}
		return nil
	})

	for _, o := range []client.Object{box, back} {
		if err := s.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	poke(t, s, host)
	eventually(t, func() error {
		if s.local(t, name) || row().Access != admin.AccessClosed {
			return fmt.Errorf("nobody claims it, and it has no open mailbox: local %t, row %s", s.local(t, name), row().Access)
		}
		return nil
	})
	back, box = s.hostedDomain("lasciato-comune", name), makeMailbox("lasciato-comune", "ufficio", name)
	eventually(t, func() error { return s.Create(t.Context(), back) })
	s.create(t, box)
	s.ready(t, back, box)

	s.loseClaim(t)
	poke(t, s, host)
	s.waitFor(t, host, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonClaimMissing)
	if err := s.Delete(t.Context(), back); err != nil {
		t.Fatal(err)
	}
	leaves("while its host's pass ends early")
}
