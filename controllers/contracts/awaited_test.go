package contracts

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/pki"
)

// allThere is a cache in which every resource is, and says nothing.
type allThere struct{ client.Reader }

func (allThere) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	o.SetNamespace(key.Namespace)
	o.SetName(key.Name)
	return nil
}

// recalling is an engine whose directory is empty, and that does not know yet what it was.
func recalling(t *testing.T, authority *pki.Authority, key engines.Key) (address string) {
	t.Helper()
	pair, err := authority.Issue(engines.Leaf("a", key), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		digests := (&admin.Tree{}).Digests()
		digests.Recall = admin.RecallUnderWay
		_ = json.NewEncoder(w).Encode(digests)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// The name stands in the status of every mailbox that waits: another one on every page would be a write of all of them.
func TestOneOfSeveralStacksIsNamed(t *testing.T) {
	pair, err := pki.NewAuthority("a", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	authority, err := pki.LoadAuthority(pair)
	if err != nil {
		t.Fatal(err)
	}
	at, hosts := map[engines.Key]string{}, map[types.NamespacedName]bool{}
	for _, name := range []string{"pec.quarto.test", "pec.primo.test", "pec.terzo.test", "pec.secondo.test"} {
		key := engines.First(types.NamespacedName{Namespace: "gestore", Name: name})
		at[key], hosts[key.NamespacedName] = recalling(t, authority, key), true
	}
	pool := engines.NewPool("a", authority, time.Now, func(k engines.Key) string { return at[k] })
	for key := range at {
		if err := pool.Directory(key).Compare(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	book := New(allThere{}, pool, Sites{Own: "a", Peer: true}, time.Now)
	for range 20 {
		if name, err := book.awaited(t.Context(), hosts); err != nil || name != "pec.primo.test" {
			t.Fatalf("it names %q, %v", name, err)
		}
	}
}

func TestDomainsThatAreGoneAreForgotten(t *testing.T) {
	book := New(nil, nil, Sites{}, time.Now)
	for i := range 100 {
		key := types.NamespacedName{Namespace: "comune", Name: fmt.Sprintf("pec.%d.test", i)}
		book.entry(key)
		book.recallingSince(key, admin.RecallSilent)
		book.Forget(key)
	}
	if len(book.pages)+len(book.recalling) > 0 {
		t.Errorf("%d pages are left, %d recalling", len(book.pages), len(book.recalling))
	}
}
