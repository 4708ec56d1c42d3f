package pecdomain

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/dns"
	"github.com/pec-operator/pec-operator/internal/peer"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// What a look finds out that began for another spec says nothing of this one's mail hosts, and nothing of what is verified beside them.
func TestALookForTheFormerSpecIsNoneForThis(t *testing.T) {
	for sentence, c := range map[string]struct {
		change   func(*v1alpha1.PECDomain) // while the look is under way
		outdated bool
	}{
		"the spec is as it was":        {func(*v1alpha1.PECDomain) {}, false},
		"another mail host is named":   {func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.MailHosts[0].Host = "mx-errato.ente.test" }, true},
		"a record more is to be right": {func(d *v1alpha1.PECDomain) { d.Spec.DNS.Extra = &v1alpha1.DNSExtra{MTASTS: v1alpha1.RecordVerify} }, true},
	} {
		t.Run(sentence, func(t *testing.T) {
			asked, answer := make(chan struct{}, 1000), make(chan struct{})
			view := (&DNSView{Interval: 24 * time.Hour, Observer: &dns.Observer{Roots: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
				Dial: func(context.Context, string, string) (net.Conn, error) {
					asked <- struct{}{}
					<-answer
					return nil, errors.New("no network")
				}}}).Ready()
			view.patrol.Open(t.Context())
			defer close(view.ended)
			d := &v1alpha1.PECDomain{}
			d.Namespace, d.Name = "ente", "pec.ente.test"
			d.Spec.DNS = &v1alpha1.DomainDNS{}
			d.Spec.Provider = v1alpha1.DomainProvider{Type: v1alpha1.ProviderManaged, Managed: &v1alpha1.ManagedProvider{
				MailHosts: []v1alpha1.MailHost{{Host: "mx.ente.test", Site: "a", Preference: ptr.To(int32(10))}}}}
			pass := func() (*scope, *memory) {
				t.Helper()
				s := &scope{domain: d, Pass: reconcile.NewPass(d, now), Reconciler: &Reconciler{DNS: view, Peer: &peer.Peer{},
					Mechanism: &reconcile.Mechanism{Now: func() time.Time { return now }}}}
				if _, err := observeDNS(t.Context(), s); err != nil {
					t.Fatal(err)
				}
				m := view.memory(client.ObjectKeyFromObject(d))
				m.timer.Stop()
				return s, m
			}
			pass()
			<-asked
			c.change(d)
			pass()
			close(answer)
			<-view.events // the look has ended
			s, m := pass()
			s.sayDNS(outlook{}, m)
			if _, said := s.Said(v1alpha1.ConditionDNSRecordsSound); said == c.outdated {
				t.Errorf("of the records beside the MX set something is said: %t", said)
			}
			if (m.last.unfit == notLookedAt) != c.outdated || (len(m.last.checks) == 0) != c.outdated || m.due.After(now) == c.outdated {
				t.Fatalf("it is unfit for %q, was checked for %v, and is due %s", m.last.unfit, m.last.checks, m.due)
			}
			if !c.outdated {
				return
			}
			<-view.events // the look that began in that pass
			if _, m = pass(); m.last.unfit == notLookedAt || len(m.last.checks) == 0 || !m.due.After(now) {
				t.Errorf("after a look of its own it is unfit for %q, was checked for %v, and is due %s", m.last.unfit, m.last.checks, m.due)
			}
		})
	}
}
