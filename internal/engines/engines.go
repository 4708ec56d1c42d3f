// Package engines dials the engines of this site: one client per Managed domain, by mutual TLS under the site's authority.
package engines

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/pki"
	"github.com/pec-operator/pec-operator/internal/stack"
)

// Key names one engine of this site: that of a shard of a Managed domain's stack.
type Key struct {
	types.NamespacedName // of the domain

	Shard int
}

// First is the engine of a stack's first shard, which holds all its mailboxes in this release.
func First(host types.NamespacedName) Key { return Key{NamespacedName: host} }

// Pool holds the clients, so that connections outlive a pass. It is safe for concurrent use.
type Pool struct {
	site      string
	authority *pki.Authority
	now       func() time.Time
	// address answers host:port of an engine.
	address func(Key) string

	mu          sync.Mutex
	clients     map[Key]*admin.Client
	directories map[Key]*Directory
	pair        pki.Pair
}

// NewPool makes a pool for a site. address is nil for the engines' Services; another one serves whoever stands elsewhere.
func NewPool(site string, authority *pki.Authority, now func() time.Time, address func(Key) string) *Pool {
	if address == nil {
		address = serviceAddress
	}
	return &Pool{site: site, authority: authority, now: now, address: address, clients: map[Key]*admin.Client{}, directories: map[Key]*Directory{}}
}

func (k Key) hosts() []string { return stack.ShardNames(k.Name, k.Shard).EngineHosts(k.Namespace) }

func serviceAddress(k Key) string {
	return k.hosts()[0] + ":" + strconv.Itoa(stack.AdminPort)
}

// URL is where the pods of this cluster reach an engine.
func URL(k Key) string { return "https://" + serviceAddress(k) }

// Leaf is what the certificate of an engine says; extra are names beside those of its Service.
func Leaf(site string, k Key, extra ...string) pki.Leaf {
	return pki.Leaf{URI: admin.EngineURI(site, k.Name), DNSNames: append(k.hosts(), extra...)}
}

// For is the client of an engine. It dials nothing yet.
func (p *Pool) For(k Key) *admin.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.client(k)
}

// Directory is the directory of an engine.
func (p *Pool) Directory(k Key) *Directory {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.directories[k] == nil {
		p.directories[k] = newDirectory(p.client(k), p.now)
	}
	return p.directories[k]
}

// Forget lets go of the engines of a domain that is gone, and of what was known of their directories.
func (p *Pool) Forget(domain types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.clients, func(k Key, _ *admin.Client) bool { return k.NamespacedName == domain })
	maps.DeleteFunc(p.directories, func(k Key, _ *Directory) bool { return k.NamespacedName == domain })
}

func (p *Pool) client(k Key) *admin.Client {
	if p.clients[k] == nil {
		p.clients[k] = admin.NewClient(p.URL(k), p.tlsConfig(k))
	}
	return p.clients[k]
}

// URL is where an engine is reached.
func (p *Pool) URL(k Key) string { return "https://" + p.address(k) }

// tlsConfig trusts this site's authority only, and of its certificates only that of the domain's own engine: any other
// engine of the site could otherwise answer in its place.
func (p *Pool) tlsConfig(k Key) *tls.Config {
	want := Leaf(p.site, k)
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    p.authority.Pool(),
		ServerName: want.DNSNames[0],
		Time:       p.now,
		VerifyConnection: func(state tls.ConnectionState) error {
			if !pki.HasURI(state.PeerCertificates[0], want.URI) {
				return errOtherEngine
			}
			return nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return p.clientCertificate() },
	}
}

// clientCertificate is the operator's own; it lives in memory and is made again at each start and before it ends.
func (p *Pool) clientCertificate() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	leaf := pki.Leaf{URI: admin.OperatorURI(p.site)}
	if p.authority.Stale(p.pair, leaf, p.now()) != "" {
		pair, err := p.authority.Issue(leaf, p.now())
		if err != nil {
			return nil, err
		}
		p.pair = pair
	}
	cert, err := tls.X509KeyPair(p.pair.Cert, p.pair.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the operator's certificate: %w", err)
	}
	return &cert, nil
}

// errOtherEngine is the fault of a certificate that is good and another's.
var errOtherEngine = errors.New("another engine of this site answers in its place")

// Why says in a sentence why a call of an engine failed, without addresses and ports that change on every try: the sentence
// stands in a status, and a status that changes on every pass wakes everybody who watches it.
func Why(err error) string {
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var transport *url.Error
	switch {
	case errors.Is(err, errOtherEngine):
		return errOtherEngine.Error() + "; see whether its Service selects its own pod"
	case errors.As(err, &unknown), errors.As(err, &hostname):
		return "its certificate is not of this site's authority; delete its Secret to have it issued again"
	case errors.As(err, &transport) && transport.Timeout():
		return "it did not answer in time"
	case errors.As(err, &transport):
		return "it does not take the connection; see the engine container of its pod"
	}
	return err.Error() // the engine's own words
}
