package apitest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/pki"
	"github.com/pec-operator/pec-operator/internal/stack"
)

// Pods stands in for the kubelet and the mail pods of a site: for each StatefulSet whose Secret exists it runs an engine in
// memory, with the certificate that the operator issued, and reports the pod as ready. An engine's directory outlives its pod,
// as on a volume.
type Pods struct {
	site    string
	client  client.Client
	address string

	mu      sync.Mutex
	engines map[string]*Engine // by server name
}

// Engine is the directory of one engine.
type Engine struct {
	Domain  string
	Rows    map[string]admin.Mailbox
	Domains []admin.Domain
	Peer    *admin.Peer
	// Given are what the operator gave to holders, by address.
	Given map[string]admin.Given
	// Secrets are how the Secrets of the two sites stand to each other, and Compared what this site found, by address.
	Secrets  map[string]admin.Secrets
	Compared map[string]admin.Compared
	// Grants are those of Jobs, by namespace/name.
	Grants map[string]admin.Grant
	// Usage is what mailboxes hold, by address.
	Usage map[string]admin.Usage
	// Measured is how often it was asked for one.
	Measured int
	// Refuses are the addresses that it refuses to place, with why.
	Refuses map[string]string
	// Certified are addresses to which it sends no ordinary mail on: it refuses that, and places the rest.
	Certified []string
	// Unknown is a field that it does not know, as one of an earlier release: it refuses all of a request that has it.
	Unknown string
	// Fails are the addresses whose place it does not carry out to its end, with why.
	Fails map[string]string
	// RefusesPeer is why it takes no peer.
	RefusesPeer string
	// Meanwhile, if any, is called once, before the next place that gives a row another access: what happens while that is on its way.
	Meanwhile func()
	// Problems are what the engine complains of.
	Problems []string
	// Antivirus is what it says of its scanner.
	Antivirus admin.Antivirus
	// Stores is what it says of both sites' stores.
	Stores *admin.Stores
	// Recall is what it says of what it was before its log began.
	Recall admin.Recall
	// Incomplete is what it says of its directory, until it is told that this is whole.
	Incomplete bool
	// Closed counts the rows that were closed.
	Closed int
	// Puts counts what was written, Told how often it told its digests.
	Puts int
	Told int
	// Down makes the engine refuse connections.
	Down bool

	site string
	cert tls.Certificate
	ca   *x509.CertPool
}

// RunPods starts the stand-in for a site until the test ends.
func RunPods(t testing.TB, site string, c client.Client) *Pods {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Pods{site: site, client: c, address: listener.Addr().String(), engines: map[string]*Engine{}}
	server := &http.Server{Handler: http.HandlerFunc(p.serve), ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go server.Serve(tls.NewListener(listener, &tls.Config{GetConfigForClient: p.configFor})) //nolint:errcheck // ends with Close
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); _ = server.Close() })
	go p.run(ctx)
	return p
}

// Address is where every engine of the site is reached; the TLS server name says which is meant.
func (p *Pods) Address(engines.Key) string { return p.address }

// With runs f on the engine of a domain, under its lock; it fails the test when no such engine runs.
func (p *Pods) With(t testing.TB, domain string, f func(*Engine)) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.engines {
		if e.Domain == domain {
			f(e)
			return
		}
	}
	t.Fatalf("no engine runs for %s", domain)
}

func (p *Pods) run(ctx context.Context) {
	for ctx.Err() == nil {
		var sets appsv1.StatefulSetList
		if p.client.List(ctx, &sets) == nil {
			for i := range sets.Items {
				_ = p.start(ctx, &sets.Items[i]) // tried again in the next round
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// start starts the engine of a StatefulSet and reports its pod.
func (p *Pods) start(ctx context.Context, set *appsv1.StatefulSet) error {
	domain := set.Annotations[stack.DomainAnnotation]
	names := stack.NamesFor(domain)
	secret := &corev1.Secret{}
	if err := p.client.Get(ctx, client.ObjectKey{Namespace: set.Namespace, Name: names.EngineSecret}, secret); err != nil {
		return err
	}
	cert, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return fmt.Errorf("starting the engine of %s: %w", domain, err)
	}
	ca := x509.NewCertPool()
	ca.AppendCertsFromPEM(secret.Data["ca.crt"])
	p.mu.Lock()
	server := names.EngineHosts(set.Namespace)[0]
	if p.engines[server] == nil {
		p.engines[server] = &Engine{Domain: domain, Rows: map[string]admin.Mailbox{}, Given: map[string]admin.Given{}, Usage: map[string]admin.Usage{}, Secrets: map[string]admin.Secrets{}, Compared: map[string]admin.Compared{}, site: p.site}
	}
	p.engines[server].cert, p.engines[server].ca = cert, ca
	p.mu.Unlock()
	if set.Status.ReadyReplicas == 1 && set.Status.ObservedGeneration == set.Generation {
		return nil
	}
	set.Status = appsv1.StatefulSetStatus{Replicas: 1, ReadyReplicas: 1, UpdatedReplicas: 1, ObservedGeneration: set.Generation}
	return p.client.Status().Update(ctx, set)
}

var errDown = errors.New("no such engine runs")

func (p *Pods) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.engines[hello.ServerName]
	if e == nil || e.Down {
		return nil, errDown
	}
	return &tls.Config{
		Certificates: []tls.Certificate{e.cert}, ClientCAs: e.ca, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
	}, nil
}

func (p *Pods) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.engines[r.TLS.ServerName]
	switch {
	case e == nil || e.Down:
		// A connection from before the engine went down; the pod would have cut it.
		panic(http.ErrAbortHandler)
	case !pki.HasURI(r.TLS.PeerCertificates[0], admin.OperatorURI(e.site)):
		http.Error(w, "only the operator of this site may call", http.StatusForbidden)
	default:
		e.answer(w, r)
	}
}

func (e *Engine) answer(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	switch {
	case r.Method == http.MethodPut:
		e.put(w, r, path)
	case path == "status":
		peer := admin.PeerState{Stores: e.Stores}
		if e.Peer != nil {
			peer.Configured, peer.Site, peer.Digest = e.Peer.Site != "", e.Peer.Site, e.Peer.Digest()
		}
		e.reply(w, admin.Status{Site: e.site, Domain: e.Domain, Domains: e.Domains, Problems: e.Problems, Antivirus: e.Antivirus, Peer: peer, Incomplete: e.Incomplete})
	case path == "digests":
		tree := &admin.Tree{}
		for address := range e.Rows {
			tree.Set(address, e.placed(address).Digest)
		}
		e.Told++
		d := tree.Digests()
		d.Recall = e.Recall
		if d.All == r.URL.Query().Get("known") {
			d.Buckets = nil
		}
		e.reply(w, d)
	case path == "placed":
		rows := []*admin.Placed{}
		for address := range e.Rows {
			if slices.Contains(r.URL.Query()["bucket"], strconv.Itoa(admin.Bucket(address))) {
				rows = append(rows, e.placed(address))
			}
		}
		e.reply(w, rows)
	case strings.HasSuffix(path, "/usage"):
		e.Measured++
		e.reply(w, e.Usage[strings.TrimSuffix(strings.TrimPrefix(path, "mailboxes/"), "/usage")])
	default:
		http.NotFound(w, r)
	}
}

// placed is what it holds of an address.
func (e *Engine) placed(address string) *admin.Placed {
	p := &admin.Placed{Mailbox: e.Rows[address], Holder: admin.Holder{Given: e.Given[address], InForce: admin.InForce{Rules: e.Given[address].Rules}, Secrets: e.Secrets[address]}}
	if err := p.Seal(e.Rows[address].Password); err != nil {
		panic(err)
	}
	return p
}

func (e *Engine) put(w http.ResponseWriter, r *http.Request, path string) {
	e.Puts++
	var err error
	switch {
	case path == "peer" && e.RefusesPeer != "":
		http.Error(w, e.RefusesPeer, http.StatusUnprocessableEntity)
	case path == "peer":
		e.Peer = &admin.Peer{}
		err = json.NewDecoder(r.Body).Decode(e.Peer)
	case path == "whole":
		e.Incomplete = false
	case path == "placed":
		var raw []byte
		raw, err = io.ReadAll(r.Body)
		if e.Unknown != "" && bytes.Contains(raw, []byte(strconv.Quote(e.Unknown))) {
			http.Error(w, "reading the request: unknown field "+e.Unknown, http.StatusUnprocessableEntity)
			return
		}
		var places []admin.Place
		if err = errors.Join(err, json.Unmarshal(raw, &places)); err == nil {
			answers := make([]admin.Answer, len(places))
			for i := range places {
				answers[i] = e.place(places[i])
			}
			e.Puts += len(places) - 1
			e.reply(w, answers)
		}
	case strings.HasPrefix(path, "jobs/"):
		var g admin.Grant
		err = json.NewDecoder(r.Body).Decode(&g)
		if e.Grants == nil {
			e.Grants = map[string]admin.Grant{}
		}
		e.Grants[strings.TrimPrefix(path, "jobs/")] = g
	default:
		var d admin.Domain
		err = json.NewDecoder(r.Body).Decode(&d)
		if i := e.domain(d.Name); i >= 0 {
			e.Domains[i] = d
		} else {
			e.Domains = append(e.Domains, d)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// domain is where Domains has one; -1 where it has not.
func (e *Engine) domain(name string) int {
	return slices.IndexFunc(e.Domains, func(d admin.Domain) bool { return d.Name == name })
}

// place is what the engine does with one place.
func (e *Engine) place(p admin.Place) admin.Answer {
	if refusal := e.Refuses[p.Address]; refusal != "" {
		return admin.Answer{Refused: refusal}
	}
	if meanwhile := e.Meanwhile; meanwhile != nil && p.Mailbox != nil && p.Mailbox.Access != e.Rows[p.Address].Access {
		e.Meanwhile = nil
		meanwhile()
	}
	if p.If != nil && !e.Rows[p.Address].Same(*p.If) {
		return admin.Answer{Refused: "the row has become another", Changed: true}
	}
	if failure := e.Fails[p.Address]; failure != "" {
		return admin.Answer{Failed: failure}
	}
	var refused string
	if p.Mailbox != nil {
		row := *p.Mailbox
		if slices.Contains(e.Certified, row.ForwardTo) {
			refused = "ordinary mail is refused, and not sent on to " + row.ForwardTo + ": it is a certified mailbox"
			row.OrdinaryMail, row.ForwardTo = admin.OrdinaryDiscard, ""
		}
		if e.domain(row.Domain) < 0 {
			return admin.Answer{Refused: "the stack does not hold " + row.Domain}
		}
		if row.Access == admin.AccessClosed {
			e.Closed++
		}
		row.PasswordChangedByHolder = false
		if row.Password == "" {
			row.Password, row.PasswordChangedByHolder = e.Rows[row.Address].Password, e.Rows[row.Address].PasswordChangedByHolder
		}
		e.Rows[row.Address] = row
	}
	if p.Given != nil {
		e.Given[p.Address] = *p.Given
	}
	if c := p.Compared; c != nil {
		found := admin.Secrets{}
		if !c.Same {
			found = admin.Secrets{Pair: c.Pair, DifferSince: time.Now()}
		}
		e.Secrets[p.Address], e.Compared[p.Address] = found, *c
	}
	return admin.Answer{Placed: e.placed(p.Address), Refused: refused}
}

func (e *Engine) reply(w http.ResponseWriter, v any) {
	_ = json.NewEncoder(w).Encode(v) // the caller's client reports a cut answer
}
