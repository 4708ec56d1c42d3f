package pec

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// at is the instant of every event in these tests: winter, so +0100.
var at = time.Date(2026, 11, 21, 20, 14, 3, 987e6, time.UTC)

var provider = Provider{Name: "Gestore di Prova S.p.A.", MailDomain: "pec.example.it", ServiceAddress: "posta-certificata@pec.example.it"}

// authority is a root, an intermediate and the pool that believes the root. Its keys live as long as the test.
type authority struct {
	root, middle *x509.Certificate
	middleKey    crypto.Signer
	rootPEM      []byte
	roots        *x509.CertPool
}

// testCA is made once: RSA keys are slow to make.
var testCA = sync.OnceValue(newAuthority)

func newAuthority() *authority {
	rootKey, middleKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	root := issue("Radice di prova", nil, nil, rootKey, rootKey.Public(), func(c *x509.Certificate) { c.IsCA = true })
	middle := issue("Intermedia di prova", nil, root, rootKey, middleKey.Public(), func(c *x509.Certificate) { c.IsCA = true })
	a := &authority{root: root, middle: middle, middleKey: middleKey, roots: x509.NewCertPool()}
	a.roots.AddCert(root)
	a.rootPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})
	return a
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func issue(name string, emails []string, parent *x509.Certificate, parentKey crypto.Signer, public any, change func(*x509.Certificate)) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62))), Subject: pkix.Name{CommonName: name},
		NotBefore: at.AddDate(-1, 0, 0), NotAfter: at.AddDate(1, 0, 0), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, EmailAddresses: emails,
		SubjectKeyId: must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 160))).Bytes(),
	}
	change(template)
	if template.IsCA {
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	if parent == nil {
		parent = template
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, parent, public, parentKey))))
}

// identity is a provider's signing identity.
type identity struct {
	*Signer
	key   crypto.Signer
	chain []*x509.Certificate
}

func (a *authority) identity(key crypto.Signer, email string, change func(*x509.Certificate)) identity {
	leaf := issue("Posta Certificata di prova", []string{email}, a.middle, a.middleKey, key.Public(), change)
	chain := []*x509.Certificate{leaf, a.middle}
	return identity{Signer: must(NewSignerWithKey(chain, key)), key: key, chain: chain}
}

var rsaIdentity = sync.OnceValue(func() identity {
	return testCA().identity(must(rsa.GenerateKey(rand.Reader, 2048)), provider.ServiceAddress, func(*x509.Certificate) {})
})

var rsa3072Identity = sync.OnceValue(func() identity {
	return testCA().identity(must(rsa.GenerateKey(rand.Reader, 3072)), provider.ServiceAddress, func(*x509.Certificate) {})
})

var ecdsaIdentity = sync.OnceValue(func() identity {
	return testCA().identity(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), provider.ServiceAddress, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
	})
})

// listed is an index of one provider with these certificates.
type listed []*x509.Certificate

func (l listed) Signer(cert *x509.Certificate) (IndexEntry, bool) {
	for _, c := range l {
		if c.Equal(cert) {
			return IndexEntry{Name: provider.Name, MailReceipt: "servizio@pec.example.it", Domains: []string{"pec.example.it"}}, true
		}
	}
	return IndexEntry{}, false
}

func (l listed) Certified(domain string) bool { return strings.EqualFold(domain, "pec.example.it") }

func index(ids ...identity) listed {
	var l listed
	for _, id := range ids {
		l = append(l, id.chain[0])
	}
	return l
}

// writeFile puts test material where another program can read it.
func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func lines(s ...string) []byte { return []byte(strings.Join(s, "\r\n") + "\r\n") }

func replaced(raw []byte, old, new string) []byte {
	if !bytes.Contains(raw, []byte(old)) {
		panic("test: the message holds no " + old)
	}
	return bytes.Replace(raw, []byte(old), []byte(new), 1)
}

// sum is what a signer signs of content.
func sum(content string) []byte {
	digest := sha256.Sum256([]byte(content))
	return digest[:]
}

func encodeBase64(raw []byte) []byte {
	return must(collect(0, func(w io.Writer) error {
		_, err := inBase64{flat(raw)}.WriteTo(w)
		return err
	}))
}
