package pki

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func authority(t *testing.T, site string) *Authority {
	t.Helper()
	pair, err := NewAuthority(site, now)
	if err != nil {
		t.Fatal(err)
	}
	a, err := LoadAuthority(pair)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestStale(t *testing.T) {
	ours, other := authority(t, "a"), authority(t, "b")
	want := Leaf{URI: "pec://a/engine/pec.esempio.test", DNSNames: []string{"engine.ns.svc"}}
	issue := func(a *Authority, l Leaf) Pair {
		pair, err := a.Issue(l, now)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	good, second := issue(ours, want), issue(ours, want)
	for name, c := range map[string]struct {
		pair  Pair
		after time.Duration
		stale bool
	}{
		"a fresh certificate is kept":                           {good, 0, false},
		"one with half of its life left is kept":                {good, LeafLife / 2, false},
		"one with less than a third of its life left is issued": {good, LeafLife*2/3 + time.Second, true},
		"one of another authority is issued":                    {issue(other, want), 0, true},
		"one with another URI is issued":                        {issue(ours, Leaf{URI: "pec://a/engine/other", DNSNames: want.DNSNames}), 0, true},
		"one with other DNS names is issued":                    {issue(ours, Leaf{URI: want.URI}), 0, true},
		"a key that is not the certificate's is issued":         {Pair{Cert: good.Cert, Key: second.Key}, 0, true},
		"an empty Secret is issued":                             {Pair{}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ours.Stale(c.pair, want, now.Add(c.after)); (got != "") != c.stale {
				t.Errorf("Stale() = %q, want stale: %v", got, c.stale)
			}
		})
	}
}

func TestIssuedCertificatesVerify(t *testing.T) {
	a := authority(t, "a")
	pair, err := a.Issue(Leaf{URI: "pec://a/engine/x", DNSNames: []string{"engine.ns.svc"}}, now)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	_, err = loaded.Leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), DNSName: "engine.ns.svc", CurrentTime: now})
	if err != nil {
		t.Errorf("a neighbour refuses our own certificate: %v", err)
	}
}
