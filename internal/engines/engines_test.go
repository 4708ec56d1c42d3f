package engines

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/pki"
)

var (
	now  = time.Now
	host = First(types.NamespacedName{Namespace: "ns", Name: "pec.esempio.test"})
)

func authority(t *testing.T) *pki.Authority {
	t.Helper()
	pair, err := pki.NewAuthority("a", now())
	if err != nil {
		t.Fatal(err)
	}
	a, err := pki.LoadAuthority(pair)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// serve is an engine with a certificate that says leaf, by an authority.
func serve(t *testing.T, signer, trusted *pki.Authority, leaf pki.Leaf) string {
	t.Helper()
	pair, err := signer.Issue(leaf, now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !pki.HasURI(r.TLS.PeerCertificates[0], admin.OperatorURI("a")) {
			t.Error("the operator shows another's certificate")
		}
		_, _ = w.Write([]byte(`{"domain":"pec.esempio.test"}`))
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted.Pool()}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestOnlyTheDomainsOwnEngineIsBelieved(t *testing.T) {
	ours, theirs := authority(t), authority(t)
	own := Leaf("a", host)
	other := Leaf("a", First(types.NamespacedName{Namespace: "ns", Name: "pec.altro.test"}))
	shard := Leaf("a", Key{NamespacedName: host.NamespacedName, Shard: 1})
	for name, c := range map[string]struct {
		address string
		why     string // "" for an answer
	}{
		"its own engine":                        {serve(t, ours, ours, own), ""},
		"one of another authority":              {serve(t, theirs, ours, own), "not of this site's authority"},
		"another engine of the site":            {serve(t, ours, ours, pki.Leaf{URI: other.URI, DNSNames: own.DNSNames}), "another engine"},
		"that of another shard of its stack":    {serve(t, ours, ours, shard), "not of this site's authority"},
		"one that takes no certificate of ours": {serve(t, ours, theirs, own), "does not take the connection"},
		"nobody":                                {"127.0.0.1:1", "does not take the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			pool := NewPool("a", ours, now, func(Key) string { return c.address })
			status, err := pool.For(host).Status(context.Background())
			switch {
			case c.why == "" && (err != nil || status.Domain != host.Name):
				t.Errorf("status %v, error %v", status, err)
			case c.why != "" && (err == nil || !strings.Contains(Why(err), c.why)):
				t.Errorf("error %v is told as %q, want %q", err, Why(err), c.why)
			}
		})
	}
}

func TestWhyRepeatsTheEnginesOwnWords(t *testing.T) {
	if got := Why(errors.New("engine answered 507: the disk is full")); !strings.Contains(got, "the disk is full") {
		t.Errorf("got %q", got)
	}
}

func TestDomainsThatAreGoneAreForgotten(t *testing.T) {
	pool := NewPool("a", authority(t), now, nil)
	key := func(i int) Key {
		return First(types.NamespacedName{Namespace: "ns", Name: fmt.Sprintf("pec.%d.test", i)})
	}
	for i := range 100 {
		pool.Directory(key(i))
	}
	for i := range 99 {
		pool.Forget(key(i).NamespacedName)
	}
	if len(pool.clients) != 1 || len(pool.directories) != 1 || pool.directories[key(99)] == nil {
		t.Errorf("of one domain there are %d clients and %d directories", len(pool.clients), len(pool.directories))
	}
}
