// Package pki makes the certificates that machines of one site show each other: a certificate authority per site and short
// leaf certificates by it. People never see these; the certificates of mail clients and of signing come from the spec.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"time"
)

const (
	// authorityLife bounds a site's authority; it is replaced with overlap long before.
	authorityLife = 10 * 365 * 24 * time.Hour
	// LeafLife is how long a leaf is valid; it is re-issued when a third of it is left.
	LeafLife = 90 * 24 * time.Hour
	// skew is how far a neighbour's clock may be behind ours before it refuses a fresh certificate.
	skew = time.Hour
)

// Pair is a certificate and its private key, both PEM.
type Pair struct {
	Cert []byte
	Key  []byte
}

// Authority is the certificate authority of one site.
type Authority struct {
	// PEM is the authority's certificate; it is public.
	PEM  []byte
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes the pair of a new authority for a site, ECDSA P-256, valid for ten years from now.
func NewAuthority(site string, now time.Time) (Pair, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "pec-operator site " + site},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	pair, err := sign(template, nil)
	if err != nil {
		return Pair{}, fmt.Errorf("making the certificate authority of site %s: %w", site, err)
	}
	return pair, nil
}

// LoadAuthority reads a pair that NewAuthority made.
func LoadAuthority(p Pair) (*Authority, error) {
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the site's certificate authority: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("reading the site's certificate authority: %q is not an ECDSA authority", pair.Leaf.Subject)
	}
	return &Authority{PEM: p.Cert, cert: pair.Leaf, key: key}, nil
}

// Pool holds this authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Leaf is what a certificate says of its owner.
type Leaf struct {
	// URI is the identity that the other side checks.
	URI string
	// DNSNames are the names that the owner is dialled by; none for a client.
	DNSNames []string
}

// Issue makes a leaf, for server and client use, valid for LeafLife from now.
func (a *Authority) Issue(l Leaf, now time.Time) (Pair, error) {
	uri, err := url.Parse(l.URI)
	if err != nil {
		return Pair{}, fmt.Errorf("issuing a certificate for %s: %w", l.URI, err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "pec-operator"},
		NotBefore:   now.Add(-skew),
		NotAfter:    now.Add(LeafLife),
		URIs:        []*url.URL{uri},
		DNSNames:    l.DNSNames,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	pair, err := sign(template, a)
	if err != nil {
		return Pair{}, fmt.Errorf("issuing a certificate for %s: %w", l.URI, err)
	}
	return pair, nil
}

// Stale says why a leaf must be issued again, or "" when it is good: a third of its life or more is left, this authority
// signed it, it says what l says, and the key is its own.
func (a *Authority) Stale(p Pair, l Leaf, now time.Time) string {
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return "certificate and key are not a pair"
	}
	leaf := pair.Leaf
	switch {
	case leaf.CheckSignatureFrom(a.cert) != nil:
		return "another authority signed it"
	case !HasURI(leaf, l.URI):
		return "its URI is another"
	case !slices.Equal(leaf.DNSNames, l.DNSNames):
		return "its DNS names are others"
	case now.After(leaf.NotAfter.Add(-LeafLife / 3)):
		return "less than a third of its life is left"
	}
	return ""
}

// HasURI says whether a certificate carries an identity.
func HasURI(cert *x509.Certificate, uri string) bool {
	return slices.ContainsFunc(cert.URIs, func(u *url.URL) bool { return u.String() == uri })
}

// sign completes a template with a fresh key and serial number; by == nil makes it self-signed.
func sign(template *x509.Certificate, by *Authority) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return Pair{}, err
	}
	template.SerialNumber = serial
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return Pair{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}
