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

	"github.com/pec-operator/pec-operator/api/v1alpha1"
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

// linked is a cache in which every resource is a stack with mail hosts at both sites.
type linked struct{ allThere }

func (l linked) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	o.(*v1alpha1.PECDomain).Spec.Provider.Managed = &v1alpha1.ManagedProvider{MailHosts: []v1alpha1.MailHost{{Site: "a", PeerLink: "a:9443"}, {Site: "b", PeerLink: "b:9443"}}}
	return l.allThere.Get(ctx, key, o, options...)
}

func newAuthority(t *testing.T) *pki.Authority {
	t.Helper()
	pair, err := pki.NewAuthority("a", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	authority, err := pki.LoadAuthority(pair)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

// recalling is an engine whose directory is empty, and that says this of what it was.
func recalling(t *testing.T, authority *pki.Authority, key engines.Key, says func() (log string, recall admin.Recall)) (address string) {
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
		digests.Log, digests.Recall = says()
		_ = json.NewEncoder(w).Encode(digests)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// The name stands in the status of every mailbox that waits: another one on every page would be a write of all of them.
func TestOneOfSeveralStacksIsNamed(t *testing.T) {
	authority := newAuthority(t)
	underWay := func() (string, admin.Recall) { return "", admin.RecallUnderWay }
	at, hosts := map[engines.Key]string{}, map[types.NamespacedName]bool{}
	for _, name := range []string{"pec.quarto.test", "pec.primo.test", "pec.terzo.test", "pec.secondo.test"} {
		key := engines.First(types.NamespacedName{Namespace: "gestore", Name: name})
		at[key], hosts[key.NamespacedName] = recalling(t, authority, key, underWay), true
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

// A peer that takes the connection and tells nothing, or little, must not be awaited for ever; nor does what was awaited once shorten a later wait.
func TestHowLongAStackIsAwaited(t *testing.T) {
	const standIn = 15 * time.Minute
	authority, key := newAuthority(t), engines.First(types.NamespacedName{Namespace: "gestore", Name: "pec.primo.test"})
	var log string
	var state admin.Recall
	address := recalling(t, authority, key, func() (string, admin.Recall) { return log, state })
	pool := engines.NewPool("a", authority, time.Now, func(engines.Key) string { return address })
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	book := New(linked{}, pool, Sites{Own: "a", Peer: true, StandIn: standIn}, func() time.Time { return now })
	is := func(when string, recall admin.Recall, want Recall) {
		t.Helper()
		state = recall
		if err := pool.Directory(key).Compare(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := book.Recall(t.Context(), key.NamespacedName); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", when, got, err, want)
		}
	}
	log = "a-1111111111111111"
	for begun := now; now.Sub(begun) < 2*standIn; now = now.Add(time.Minute) {
		is("records come now and then", admin.RecallUnderWay, Recall{Awaited: true})
		is("and then none, "+now.Sub(begun).String(), admin.RecallSilent, Recall{Awaited: now.Sub(begun) < standIn})
	}
	is("records come late", admin.RecallUnderWay, Recall{Awaited: true})
	is("none have come for too long", admin.RecallSilent, Recall{Overdue: true})
	log = "a-2222222222222222"
	is("another volume is lost", admin.RecallSilent, Recall{Awaited: true})
	now = now.Add(standIn)
	is("all has come", admin.RecallDone, Recall{})
	is("an engine of an earlier release, which names no log", admin.RecallSilent, Recall{Awaited: true})
}

func TestDomainsThatAreGoneAreForgotten(t *testing.T) {
	book := New(nil, nil, Sites{}, time.Now)
	for i := range 100 {
		key := types.NamespacedName{Namespace: "comune", Name: fmt.Sprintf("pec.%d.test", i)}
		book.entry(key)
		book.recallingSince(key, "", admin.RecallSilent)
		book.Forget(key)
	}
	if len(book.pages)+len(book.recalling) > 0 {
		t.Errorf("%d pages are left, %d recalling", len(book.pages), len(book.recalling))
	}
}
