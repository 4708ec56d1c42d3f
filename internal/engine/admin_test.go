package engine

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/pki"
)

// client is the operator, or somebody else with that URI, by that authority.
func (s *site) client(uri string, by *pki.Authority) *admin.Client {
	s.t.Helper()
	leaf, err := by.Issue(pki.Leaf{URI: uri}, s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(leaf.Cert, leaf.Key)
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.authority.PEM)
	address := s.listen(serveHTTP(s.engine.adminServer()))
	_, port, _ := net.SplitHostPort(address)
	return admin.NewClient("https://localhost:"+port, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots})
}

func TestOperatorPlacesAMailbox(t *testing.T) {
	s := newSite(t, "a", admin.EngineURI("a", ours))
	c := s.client(admin.OperatorURI("a"), s.authority)
	ctx := t.Context()
	want := admin.Mailbox{Address: "nuova@comune.test", Domain: "comune.test", Password: "{BLF-CRYPT}$2y$05$x", CredentialsVersion: "1", QuotaBytes: 5, Access: admin.AccessFull}
	place := func(m admin.Mailbox) admin.Answer {
		t.Helper()
		answers, err := c.Place(ctx, []admin.Place{{Address: m.Address, Mailbox: &m}})
		if err != nil {
			t.Fatal(err)
		}
		return answers[0]
	}
	if a := place(want); !strings.Contains(a.Refused, "does not hold") || a.Placed != nil {
		t.Fatalf("a mailbox of a domain that is not there: %+v", a)
	}
	if err := c.PutDomain(ctx, admin.Domain{Name: want.Domain}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if a := place(want); a.Refused+a.Failed != "" || !a.Placed.Mailbox.Same(want) || a.Placed.Mailbox.Password != "" {
			t.Fatalf("answered %+v", a)
		}
	}
	if rows, err := c.Placed(ctx, admin.Bucket(want.Address)); err != nil || len(rows) != 1 || !rows[0].Mailbox.Same(want) {
		t.Fatalf("listed %v, %v", rows, err)
	}
	want.Address, want.Domain = "ricevute@"+ours, ours
	if a := place(want); a.Refused == "" || a.Placed != nil {
		t.Fatalf("the provider's own address became a mailbox: %+v", a)
	}
	if _, err := s.engine.directory.PutMailbox(ctx, want); err != nil { // it was one before the provider took it
		t.Fatal(err)
	}
	if a := place(want); a.Refused == "" || a.Placed != nil {
		t.Fatalf("a mailbox whose address the provider took was changed: %+v", a)
	}
	want.Access, want.Password, want.ClosedAt = admin.AccessClosed, "", time.Unix(1_700_000_000, 0)
	if a := place(want); a.Refused+a.Failed != "" || a.Placed.Mailbox.Access != admin.AccessClosed {
		t.Fatalf("a mailbox whose address the provider took cannot be closed: %+v", a)
	}
}

func TestOperatorConfiguresThePeer(t *testing.T) {
	s := newSite(t, "a", admin.EngineURI("a", ours))
	c := s.client(admin.OperatorURI("a"), s.authority)
	good := admin.Peer{Site: "b", Address: "mx-b.uno.test:9443", CABundle: string(s.authority.PEM)}
	for name, change := range map[string]func(*admin.Peer){
		"an address without a port": func(p *admin.Peer) { p.Address = "mx-b.uno.test" },
		"our own site":              func(p *admin.Peer) { p.Site = "a" },
		"no certificate":            func(p *admin.Peer) { p.CABundle = "-" },
	} {
		bad := good
		change(&bad)
		if err := c.PutPeer(t.Context(), bad); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := c.PutPeer(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if s, err := c.Status(t.Context()); err != nil || !s.Peer.Configured || s.Peer.Digest != good.Digest() || s.Mailboxes != 7 || s.Site != "a" {
		t.Fatalf("status %+v, %v", s, err)
	}
}

func TestOnlyTheOperatorOfThisSiteIsAnswered(t *testing.T) {
	s, other := newSite(t, "a", admin.EngineURI("a", ours)), newSite(t, "b", admin.EngineURI("b", ours))
	for name, c := range map[string]*admin.Client{
		"the operator of the other site":                 s.client(admin.OperatorURI("b"), other.authority),
		"an operator of this site by another authority":  s.client(admin.OperatorURI("a"), other.authority),
		"an engine of this site":                         s.client(admin.EngineURI("a", ours), s.authority),
		"the other site's operator by our own authority": s.client(admin.OperatorURI("b"), s.authority),
	} {
		if _, err := c.Status(t.Context()); err == nil {
			t.Errorf("%s was answered", name)
		}
	}
}
