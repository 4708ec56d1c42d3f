package road

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/providers"
)

// Material is what no sample may hold: keys, certificates, passwords and the providers' index. It is made once per instance and kept
// beside the instance's state, so that a second run presents the same identities.
type Material struct {
	Roots     string            `json:"roots"`     // PEM: the authority of the providers' and of the servers' certificates
	Signing   map[string]Pair   `json:"signing"`   // by Managed domain
	TLS       map[string]Pair   `json:"tls"`       // by Managed domain
	Passwords map[string]string `json:"passwords"` // by address
	Index     string            `json:"index"`     // LDIF
	Keys      map[string]string `json:"keys"`      // TSIG, base64, by the name of the key: one of each site, and the administrator's
}

// Pair is a certificate and its key, PEM.
type Pair struct{ Certificate, Key string }

// Pool is the roots as a pool.
func (m *Material) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(m.Roots))
	return pool
}

// loadMaterial reads the material of an instance, or makes it for the samples.
func loadMaterial(path string, s Samples) (*Material, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeMaterial(path, s)
	}
	if err != nil {
		return nil, fmt.Errorf("reading material: %w", err)
	}
	var m Material
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("reading material: %w", err)
	}
	if len(m.Keys) == 0 { // from before domains had keys: nothing else fits the samples then
		return makeMaterial(path, s)
	}
	return &m, nil
}

func makeMaterial(path string, s Samples) (*Material, error) {
	ca, err := newAuthority()
	if err != nil {
		return nil, err
	}
	m := &Material{Roots: ca.pem, Signing: map[string]Pair{}, TLS: map[string]Pair{}, Passwords: map[string]string{}, Keys: map[string]string{}}
	var index []providers.Entry
	for _, d := range s.managed() {
		signer, certificate, err := ca.signer(d)
		if err != nil {
			return nil, err
		}
		server, err := ca.server(d)
		if err != nil {
			return nil, err
		}
		m.Signing[d.Name], m.TLS[d.Name] = signer, server
		identity := d.Spec.Provider.Managed.Provider
		index = append(index, providers.Entry{
			IndexEntry:   pec.IndexEntry{Name: identity.Name, MailReceipt: identity.MailReceipt, Domains: managedDomains(s, d)},
			Certificates: []*x509.Certificate{certificate},
		})
	}
	for _, name := range append(slices.Clone(SiteNames), administrator) {
		raw := make([]byte, 32)
		rand.Read(raw) //nolint:errcheck // it never fails: it ends the program instead
		m.Keys[keyName(name)] = base64.StdEncoding.EncodeToString(raw)
	}
	for _, box := range s.Mailboxes {
		m.Passwords[box.Address()] = rand.Text()
	}
	m.Index = string(providers.Format(index))
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("keeping material: %w", err)
	}
	return m, os.WriteFile(path, raw, 0o600)
}

// managedDomains are those that a provider lists in the index: what its stack serves, and its own mail domain, which signs.
func managedDomains(s Samples, d v1alpha1.PECDomain) []string {
	all := append(s.servedBy(d), d.Spec.Provider.Managed.Provider.MailDomain)
	slices.Sort(all)
	return slices.Compact(all)
}

// manifests renders the material as the Secrets and ConfigMaps that the samples refer to, at one site.
func (m *Material) manifests(site string, s Samples) (string, error) {
	var objects []any
	for _, d := range s.updated() {
		objects = append(objects, secret(d.Namespace, d.Spec.DNS.RFC2136.TSIGSecretRef.SecretName, map[string]string{"name": keyName(site), "secret": m.Keys[keyName(site)]}))
	}
	for _, d := range s.managed() {
		managed := d.Spec.Provider.Managed
		index := corev1.ConfigMap{Data: map[string]string{"index.ldif": m.Index, "roots.pem": m.Roots}}
		index.APIVersion, index.Kind, index.Namespace, index.Name = "v1", "ConfigMap", d.Namespace, managed.ProvidersIndex.ConfigMapRef.Name
		definitions := corev1.ConfigMap{Data: map[string]string{"test.ndb": testDefinitions(d.Name)}}
		definitions.APIVersion, definitions.Kind, definitions.Namespace, definitions.Name = "v1", "ConfigMap", d.Namespace, managed.Antivirus.Definitions.ConfigMapRef.Name
		objects = append(objects, index, definitions,
			secret(d.Namespace, managed.TLS.SecretName, m.TLS[d.Name].data()),
			secret(d.Namespace, managed.Signing.SecretName, m.Signing[d.Name].data()))
	}
	for _, box := range s.Mailboxes {
		ref := box.Spec.Credentials.SecretRef
		objects = append(objects, secret(box.Namespace, ref.Name, map[string]string{ref.Key: m.Passwords[box.Address()]}))
	}
	return manifest(objects...)
}

// Virus is a text that stands for a virus. Every domain's scanner knows that of "everybody", and a domain's own is known to it alone.
func Virus(knownTo string) string {
	return "pec-operator: this text stands for a virus known to " + knownTo
}

// testDefinitions are signatures as ClamAV reads them: name, any kind of file, any place in it, the bytes.
func testDefinitions(domain string) string {
	return fmt.Sprintf("Test.Everybody:0:*:%x\nTest.Own:0:*:%x\n", Virus("everybody"), Virus(domain))
}

func (p Pair) data() map[string]string {
	return map[string]string{"tls.crt": p.Certificate, "tls.key": p.Key}
}

// authority signs what the demo shows; its key is forgotten when the material is made.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	pem         string
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the demo authority: %w", err)
	}
	template := certificate("Demo authority of pec-operator")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the demo authority: %w", err)
	}
	parsed, err := x509.ParseCertificate(raw)
	return &authority{certificate: parsed, key: key, pem: block("CERTIFICATE", raw)}, err
}

// signer makes a provider's signing certificate in the shape of RFC 6109 section 5.5: the service address as rfc822Name, not in the
// DN; digitalSignature, critical; no BasicConstraints.
func (a *authority) signer(d v1alpha1.PECDomain) (Pair, *x509.Certificate, error) {
	managed := d.Spec.Provider.Managed
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return Pair{}, nil, fmt.Errorf("making the signing key of %s: %w", d.Name, err)
	}
	template := certificate("Posta Certificata " + managed.Provider.Name)
	template.Subject.Organization = []string{managed.Provider.Name}
	template.EmailAddresses = []string{managed.ServiceLocalPart() + "@" + managed.Provider.MailDomain}
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
	return a.issue(template, key)
}

func (a *authority) server(d v1alpha1.PECDomain) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("making the server key of %s: %w", d.Name, err)
	}
	template := certificate(d.Name)
	template.DNSNames = hostNames(d)
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	pair, _, err := a.issue(template, key)
	return pair, err
}

func (a *authority) issue(template *x509.Certificate, key crypto.Signer) (Pair, *x509.Certificate, error) {
	raw, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return Pair{}, nil, fmt.Errorf("signing the certificate of %s: %w", template.Subject.CommonName, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, nil, err
	}
	parsed, err := x509.ParseCertificate(raw)
	return Pair{Certificate: block("CERTIFICATE", raw), Key: block("PRIVATE KEY", keyDER)}, parsed, err
}

func certificate(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // the kernel's random source is gone: nothing that follows would be worth having
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
