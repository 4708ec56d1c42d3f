package pec

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// opensslAuthority is a root with a key, and OpenSSL's books of what it revoked.
type opensslAuthority struct {
	t    *testing.T
	dir  string
	root *x509.Certificate
}

func newOpenSSLAuthority(t *testing.T) (*opensslAuthority, crypto.Signer) {
	t.Helper()
	key := ecdsaIdentity().key // any key will do
	root := issue("Autorita' di prova", nil, nil, key, key.Public(), func(c *x509.Certificate) { c.IsCA = true })
	a := &opensslAuthority{t: t, dir: t.TempDir()}
	a.root = root
	a.write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}))
	a.write("ca.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))}))
	a.write("crlnumber", []byte("01\n"))
	a.write("ca.conf", []byte("[ca]\ndefault_ca = d\n[d]\ndatabase = "+a.path("index.txt")+"\ncertificate = "+a.path("ca.pem")+"\nprivate_key = "+a.path("ca.key")+
		"\ncrlnumber = "+a.path("crlnumber")+"\ndefault_md = sha256\n[users]\nissuingDistributionPoint = critical, @idp\n[idp]\nfullname = URI:http://altrove.test/x.crl\n"))
	return a, key
}

func (a *opensslAuthority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *opensslAuthority) write(name string, content []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.path(name), content, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// list is a list in force for a day around an instant, with these lines of OpenSSL's books.
func (a *opensslAuthority) list(around time.Time, options []string, books ...string) []byte {
	a.t.Helper()
	const form = "060102150405Z"
	a.write("index.txt", []byte(strings.Join(books, "")))
	args := append([]string{"ca", "-config", a.path("ca.conf"), "-gencrl", "-out", a.path("crl.pem"),
		"-crl_lastupdate", around.Add(-12 * time.Hour).Format(form), "-crl_nextupdate", around.Add(12 * time.Hour).Format(form)}, options...)
	if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
		a.t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
	raw, err := os.ReadFile(a.path("crl.pem"))
	if err != nil {
		a.t.Fatal(err)
	}
	return raw
}

// revoked is a line of OpenSSL's books.
func revoked(c *x509.Certificate, on time.Time, reason string) string {
	serial := c.SerialNumber.Text(16)
	if len(serial)%2 == 1 {
		serial = "0" + serial
	}
	return fmt.Sprintf("R\t%s\t%s%s\t%s\tunknown\t/CN=x\n", c.NotAfter.UTC().Format("060102150405Z"), on.UTC().Format("060102150405Z"), reason, strings.ToUpper(serial))
}

func TestRevokedSignerIsNobodys(t *testing.T) {
	a, key := newOpenSSLAuthority(t)
	leaf := issue("Posta Certificata di prova", []string{provider.ServiceAddress}, a.root, key, key.Public(), func(c *x509.Certificate) {
		c.CRLDistributionPoints = []string{"http://crl.test/x.crl"}
	})
	id := identity{Signer: must(NewSignerWithKey([]*x509.Certificate{leaf}, key)), key: key, chain: []*x509.Certificate{leaf}}
	raw := documents(t, id)["posta-certificata"] // signed at at
	roots := x509.NewCertPool()
	roots.AddCert(a.root)
	stranger, _ := newOpenSSLAuthority(t)
	stranger.root = issue("Autorita' di prova", nil, nil, rsaIdentity().key, rsaIdentity().key.Public(), func(c *x509.Certificate) { c.IsCA = true })
	stranger.write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stranger.root.Raw}))
	stranger.write("ca.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(rsaIdentity().key))}))
	hour, day := time.Hour, 24*time.Hour
	for sentence, c := range map[string]struct {
		crl     []byte
		arrived time.Duration // after it was signed
		want    Standing
	}{
		"no list is there":                                      {nil, 0, StandingUnknown},
		"the list names somebody else":                          {a.list(at, nil, revoked(rsaIdentity().chain[0], at.Add(-day), "")), 0, StandingGood},
		"the list names nobody":                                 {a.list(at, nil), 0, StandingGood},
		"it was revoked before it signed":                       {a.list(at, nil, revoked(leaf, at.Add(-hour), ",superseded")), 0, StandingRevoked},
		"it was revoked before it signed, says an expired list": {a.list(at.Add(-2*day), nil, revoked(leaf, at.Add(-3*day), "")), 0, StandingRevoked},
		"it was revoked while the message waited":               {a.list(at.Add(hour), nil, revoked(leaf, at.Add(hour), ",cessationOfOperation")), 2 * hour, StandingGood},
		"its key was stolen while the message waited":           {a.list(at.Add(hour), nil, revoked(leaf, at.Add(hour), ",keyCompromise")), 2 * hour, StandingRevoked},
		"it was revoked, and the message says it is a week old": {a.list(at.Add(7*day), nil, revoked(leaf, at.Add(hour), "")), 7 * day, StandingRevoked},
		"it was revoked after the message arrived":              {a.list(at.Add(hour), nil, revoked(leaf, at.Add(hour), ",keyCompromise")), 0, StandingGood},
		"the list's term is over":                               {a.list(at.Add(-2*day), nil), 0, StandingUnknown},
		"the list is of another place":                          {a.list(at, []string{"-crlexts", "users"}), 0, StandingUnknown},
		"somebody of the same name signed the list":             {stranger.list(at, nil, revoked(leaf, at.Add(-hour), "")), 0, StandingUnknown},
	} {
		t.Run(sentence, func(t *testing.T) {
			var crls *CRLs
			if c.crl != nil {
				crls = NewCRLs(must(ParseCRLs(c.crl))...)
			}
			for range 2 { // the second time the chain is known
				j := Open(raw).JudgeBy(Trust{Index: index(id), Roots: roots, CRLs: crls}, at.Add(c.arrived))
				if j.Standing != c.want || (j.StandingReason == "") != (c.want == StandingGood) {
					t.Fatalf("stands %s: %s; %v", j.Standing, j.StandingReason, j.Errors)
				}
				if want := map[bool]Type{true: TypeOrdinary, false: TypeEnvelope}[c.want == StandingRevoked]; j.Type != want {
					t.Fatalf("judged %s: %v", j.Type, j.Errors)
				}
			}
		})
	}
}

func TestWhatIsNoRevocationListIsRefused(t *testing.T) {
	for sentence, raw := range map[string]string{
		"nothing": "", "no list": "hello", "a certificate": string(testCA().rootPEM), "broken PEM": "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
	} {
		if lists, err := ParseCRLs([]byte(raw)); err == nil {
			t.Errorf("%s gave %d lists", sentence, len(lists))
		}
	}
}
