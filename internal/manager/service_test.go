package manager_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/availability"
	"github.com/pec-operator/pec-operator/internal/manager"
	"github.com/pec-operator/pec-operator/internal/stack"
)

// clientDoor greets over TLS, as the ports of mail clients do, while it is open.
type clientDoor struct {
	address string
	closed  atomic.Bool
}

func openDoor(t *testing.T, greeting string) *clientDoor {
	t.Helper()
	secret := certificateSecret(t, "x", "x", time.Now().Add(time.Hour))
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	d := &clientDoor{address: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if !d.closed.Load() {
					fmt.Fprintf(conn, "%s\r\n", greeting)
				}
			}()
		}
	}()
	return d
}

func TestThePromisedServiceIsMeasured(t *testing.T) {
	apitest.Need(t, server)
	n := apitest.RunNames(t, map[string]string{"servizio.test": hostsOf()})
	submission, imap := openDoor(t, "220 smtps ESMTP"), openDoor(t, "* OK ready")
	s := newSite(t, "servizio", siteOptions{change: func(o *manager.Options) {
		withNames(n)(o)
		names := o.DNSDial
		o.ServiceEvery = 200 * time.Millisecond
		o.DNSDial = func(ctx context.Context, network, address string) (net.Conn, error) {
			for port, door := range map[string]*clientDoor{":465": submission, ":993": imap} {
				if strings.HasSuffix(address, port) {
					return new(net.Dialer).DialContext(ctx, network, door.address)
				}
			}
			return names(ctx, network, address)
		}
	}})
	promised := func() *v1alpha1.PECDomain {
		return s.makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.ServiceLevel = &v1alpha1.ServiceLevel{AvailabilityPercent: "99.8"} })
	}
	domain := promised()
	s.provide(t)
	s.create(t, domain)
	s.ready(t, domain)
	s.waitFor(t, domain, v1alpha1.ConditionServiceLevelMet, metav1.ConditionTrue, v1alpha1.ReasonWithinServiceLevel)
	if got := domain.Status.ServiceLevel; got == nil || got.Availability != "100" || *got.DownMinutes != 0 || *got.UnmeasuredMinutes == 0 {
		t.Fatalf("at first the status says %+v", got)
	}

	t.Run("looks that find nothing new write nothing", func(t *testing.T) {
		s.settle(t)
		time.Sleep(3 * time.Second)
		if calls := s.writes.Take(); len(calls) > 0 {
			t.Errorf("the operator wrote %q", calls)
		}
	})

	t.Run("an outage is told of, and shown while it goes on and after", func(t *testing.T) {
		imap.closed.Store(true)
		eventually(t, func() error {
			s.get(t, s.ns, s.domain, domain)
			if domain.Status.ServiceLevel.OutageSince == nil {
				return fmt.Errorf("no outage is shown: %+v", domain.Status.ServiceLevel)
			}
			return nil
		})
		eventually(t, func() error {
			return s.noted(domain, v1alpha1.ReasonOutageBegan, "imaps.servizio.test port 993 does not greet")
		})
		time.Sleep(time.Second) // it lasts at least that
		imap.closed.Store(false)
		eventually(t, func() error {
			s.get(t, s.ns, s.domain, domain)
			if got := domain.Status.ServiceLevel; got.OutageSince != nil || *got.DownMinutes != 1 || *got.LongestOutageMinutes != 1 || got.Availability == "100" {
				return fmt.Errorf("after it the status says %+v", got)
			}
			return nil
		})
		eventually(t, func() error { return s.noted(domain, v1alpha1.ReasonOutageEnded, "it was down from") })
	})

	t.Run("a restart of the operator is no absence", func(t *testing.T) {
		before := s.serviceLedger(t)
		s.restart()
		s.settle(t)
		if after := s.serviceLedger(t); len(after.Spans) != len(before.Spans) || !after.Since.Equal(before.Since) {
			t.Errorf("the ledger was %+v and is %+v", before, after)
		}
	})

	t.Run("the ledger outlives the resource, and what lay between was not measured", func(t *testing.T) {
		if err := s.Delete(t.Context(), domain); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if l := s.serviceLedger(t); l.Open() != availability.Unmeasured {
				return fmt.Errorf("the ledger of a domain that is gone says %+v", l)
			}
			return nil
		})
		time.Sleep(1500 * time.Millisecond) // the ledger counts whole seconds
		domain = promised()
		s.create(t, domain)
		s.waitFor(t, domain, v1alpha1.ConditionServiceLevelMet, metav1.ConditionTrue, v1alpha1.ReasonWithinServiceLevel)
		eventually(t, func() error {
			if l := s.serviceLedger(t); l.Open() != availability.Up || len(l.Spans) != 2 {
				return fmt.Errorf("the ledger of a domain that is back says %+v", l)
			}
			return nil
		})
		s.get(t, s.ns, s.domain, domain)
		if got := domain.Status.ServiceLevel; *got.DownMinutes != 1 {
			t.Errorf("the outage before is forgotten: %+v", got)
		}
	})
}

// serviceLedger is the ledger of the site's own domain.
func (s *site) serviceLedger(t *testing.T) availability.Ledger {
	t.Helper()
	stored := &corev1.ConfigMap{}
	s.get(t, s.ns, stack.NamesFor(s.domain).StatefulSet+"-service", stored)
	var l availability.Ledger
	if err := json.Unmarshal([]byte(stored.Data["ledger.json"]), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

// noted says what is missing of an event of an object whose note has some words.
func (s *site) noted(o client.Object, reason, words string) error {
	var list eventsv1.EventList
	if err := s.List(context.Background(), &list, client.InNamespace(o.GetNamespace())); err != nil {
		return err
	}
	for _, e := range list.Items {
		if e.Regarding.UID == o.GetUID() && e.Reason == reason && strings.Contains(e.Note, words) {
			return nil
		}
	}
	return fmt.Errorf("no event %s says %q", reason, words)
}
