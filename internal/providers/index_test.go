package providers

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/pec"
)

var now = time.Date(2026, 11, 21, 20, 14, 3, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// selfSigned is a signing certificate that is its own root.
func selfSigned(email string) (*x509.Certificate, *ecdsa.PrivateKey) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: email}, EmailAddresses: []string{email},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)))), key
}

func entry(name, domain string, certs ...*x509.Certificate) Entry {
	return Entry{
		IndexEntry:   pec.IndexEntry{Name: name, MailReceipt: "servizio@" + domain, Domains: []string{domain, "pec." + domain}},
		Certificates: certs,
	}
}

func TestIndexWrittenReadsBack(t *testing.T) {
	first, _ := selfSigned("a@alfa.example.it")
	renewed, _ := selfSigned("a@alfa.example.it")
	second, _ := selfSigned("b@beta.example.it")
	unknown, _ := selfSigned("b@beta.example.it")
	entries := []Entry{entry("Alfa, Società <Prova> S.p.A.", "alfa.example.it", first, renewed), entry("Beta", "beta.example.it", second)}
	x, err := Parse(Format(entries))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cert *x509.Certificate
		want pec.IndexEntry
	}{{first, entries[0].IndexEntry}, {renewed, entries[0].IndexEntry}, {second, entries[1].IndexEntry}, {unknown, pec.IndexEntry{}}} {
		got, ok := x.Signer(c.cert)
		if diff := cmp.Diff(c.want, got); diff != "" || ok != (c.cert != unknown) {
			t.Error(ok, diff)
		}
	}
	for domain, want := range map[string]string{"alfa.example.it": "servizio@alfa.example.it", "PEC.Beta.Example.IT": "servizio@beta.example.it", "example.it": "", "": ""} {
		got, ok := x.MailReceipt(domain)
		if got != want || ok != (want != "") || x.Certified(domain) != ok {
			t.Errorf("%q: got %q, %v", domain, got, ok)
		}
	}
}

// asDistributed is an index as others write it: other cases, other order, comments, CRLF, a second environment.
func asDistributed(primary, secondary *x509.Certificate) string {
	return strings.ReplaceAll(fmt.Sprintf(`# the index
version: 1

dn: o=postacert
objectclass: top
objectclass: organization
o: postacert

dn: providerName=Gamma,o=postacert
managedDomains: Gamma.Example.IT
objectclass: LDIFLocationURLObject
objectclass: provider
LDIFLocationURL: https://gamma.example.it/index.ldif.p7m
mailreceipt: servizio@gamma.example.it
PROVIDERNAME: Gamma
description: a provider
providerCertificateHash: %s
providerCertificate;binary:: %s

dn: providerUnit=prova,providerName=Gamma,o=postacert
objectclass: provider
providerUnit: prova
providerName: Gamma
mailReceipt: prova@gamma.example.it
manageddomains: prova.gamma.example.it
providercertificatehash: %s
providercertificate:: %s
`, strings.ToUpper(fingerprint(primary.Raw)), base64.StdEncoding.EncodeToString(primary.Raw),
		fingerprint(secondary.Raw), base64.StdEncoding.EncodeToString(secondary.Raw)), "\n", "\r\n")
}

func TestIndexAsOthersWriteIt(t *testing.T) {
	primary, _ := selfSigned("a@gamma.example.it")
	secondary, _ := selfSigned("b@gamma.example.it")
	x, err := Parse([]byte(asDistributed(primary, secondary)))
	if err != nil {
		t.Fatal(err)
	}
	p, _ := x.Signer(primary)
	s, _ := x.Signer(secondary)
	want := []pec.IndexEntry{
		{Name: "Gamma", MailReceipt: "servizio@gamma.example.it", Domains: []string{"gamma.example.it"}},
		{Name: "Gamma", MailReceipt: "prova@gamma.example.it", Domains: []string{"prova.gamma.example.it"}},
	}
	if diff := cmp.Diff(want, []pec.IndexEntry{p, s}); diff != "" {
		t.Error(diff)
	}
	shared, err := Parse([]byte(asDistributed(primary, primary)))
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := shared.Signer(primary); !p.Manages("x@gamma.example.it") || !p.Manages("x@prova.gamma.example.it") {
		t.Errorf("one certificate of two environments signs for %v", p.Domains)
	}
}

func TestIndexIsStrict(t *testing.T) {
	cert, _ := selfSigned("a@alfa.example.it")
	good := string(Format([]Entry{entry("Alfa", "alfa.example.it", cert)}))
	for sentence, c := range map[string]struct{ raw, want string }{
		"nothing":                        {"", "no provider's certificate"},
		"not LDIF":                       {"hello", "LDIF"},
		"a value by URL":                 {strings.Replace(good, "mailReceipt: ", "mailReceipt:< file:///etc/hostname#", 1), "by URL"},
		"a value by URL, folded":         {strings.Replace(good, "mailReceipt: ", "mailReceipt:\n < file:///etc/hostname#", 1), "by URL"},
		"a change record":                {"dn: o=postacert\nchangetype: delete\n", "change record"},
		"a certificate without hash":     {strings.Replace(good, "providerCertificateHash: ", "providerCertificateHash: 00", 1), "not in providerCertificateHash"},
		"another certificate's hash":     {strings.Replace(good, "providerCertificateHash: "+strings.ToUpper(fingerprint(cert.Raw)), "providerCertificateHash: "+fingerprint(nil), 1), "not in providerCertificateHash"},
		"a service mailbox that is none": {strings.Replace(good, "mailReceipt: servizio@", "mailReceipt: servizio at ", 1), "mail address"},
		"no domain":                      {strings.ReplaceAll(good, "managedDomains", "description"), "must have values"},
		"two names":                      {strings.Replace(good, "providerName: Alfa\n", "providerName: Alfa\nproviderName: Omega\n", 1), "one value"},
		"one certificate, two providers": {good + strings.ReplaceAll(good[strings.Index(good, "dn: providerName"):], "Alfa", "Omega"), "belongs to"},
	} {
		t.Run(sentence, func(t *testing.T) {
			_, err := Parse([]byte(c.raw))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// onDisk lays index and roots out as a ConfigMap volume does: names are links into ..data, itself a link to a directory.
type onDisk struct {
	t    *testing.T
	root string
	n    int
}

func (d *onDisk) publish(index, roots []byte) {
	d.t.Helper()
	d.n++
	dir := filepath.Join(d.root, fmt.Sprintf("..version%d", d.n))
	check := func(err error) {
		if err != nil {
			d.t.Fatal(err)
		}
	}
	check(os.Mkdir(dir, 0o700))
	for name, content := range map[string][]byte{"index.ldif": index, "roots.pem": roots} {
		path := filepath.Join(dir, name)
		check(os.WriteFile(path, content, 0o600))
		check(os.Chtimes(path, now, now)) // the same time in every version: only the link tells
		if d.n == 1 {
			check(os.Symlink(filepath.Join("..data", name), filepath.Join(d.root, name)))
		}
	}
	check(os.Symlink(filepath.Base(dir), filepath.Join(d.root, "..new")))
	check(os.Rename(filepath.Join(d.root, "..new"), filepath.Join(d.root, "..data")))
}

func TestFileFollowsTheVolume(t *testing.T) {
	first, _ := selfSigned("a@alfa.example.it")
	second, _ := selfSigned("a@beta.example.it")
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: first.Raw})
	alfa, beta := Format([]Entry{entry("Alfa", "alfa.example.it", first)}), Format([]Entry{entry("Beta", "beta.example.it", second)})
	if len(alfa) != len(beta) {
		// Certificates differ by a byte or two in length; pad, so that the size tells nothing.
		for len(alfa) < len(beta) {
			alfa = append(alfa, '\n')
		}
		for len(beta) < len(alfa) {
			beta = append(beta, '\n')
		}
	}
	clock := now
	disk := &onDisk{t: t, root: t.TempDir()}
	f := NewFile(filepath.Join(disk.root, "roots.pem"), func() time.Time { return clock }, filepath.Join(disk.root, "index.ldif"))
	expect := func(sentence, domain, problem string) {
		t.Helper()
		x, pool, err := f.Get()
		if (domain == "") != (x == nil) || (x == nil) != (pool == nil) || (x != nil && !x.Certified(domain)) {
			t.Errorf("%s: index %v", sentence, x)
		}
		if (problem == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), problem)) {
			t.Errorf("%s: error %v, want %q", sentence, err, problem)
		}
	}
	expect("before the volume is there", "", "no such file")
	disk.publish(alfa, roots)
	expect("within a second nobody looks", "", "no such file")
	clock = clock.Add(time.Second)
	expect("the first version", "alfa.example.it", "")
	disk.publish(beta, roots)
	clock = clock.Add(999 * time.Millisecond)
	expect("within a second the old one counts", "alfa.example.it", "")
	clock = clock.Add(time.Millisecond)
	expect("same size, same time, another link", "beta.example.it", "")
	disk.publish([]byte("broken"), roots)
	clock = clock.Add(time.Second)
	expect("a broken index does not replace a good one", "beta.example.it", "LDIF")
	disk.publish(alfa, []byte("broken"))
	clock = clock.Add(time.Second)
	expect("nor do broken roots", "beta.example.it", "no PEM certificate")
	clock = clock.Add(-time.Hour)
	disk.publish(alfa, roots)
	expect("a clock that was put back does not stop it", "alfa.example.it", "")
}

func TestIndexServesTheJudge(t *testing.T) {
	cert, key := selfSigned("posta-certificata@alfa.example.it")
	signer, err := pec.NewSignerWithKey([]*x509.Certificate{cert}, key)
	if err != nil {
		t.Fatal(err)
	}
	p := pec.Provider{Name: "Alfa", MailDomain: "alfa.example.it", ServiceAddress: "posta-certificata@alfa.example.it"}
	transit := pec.Transit{Identifier: "x@alfa.example.it", Sender: "a@alfa.example.it", Recipients: []pec.Recipient{{Address: "b@beta.example.it"}}}
	raw, err := signer.Acceptance(p, transit, "y@alfa.example.it", now)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ldifPath, rootsPath := filepath.Join(dir, "index.ldif"), filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(ldifPath, Format([]Entry{entry("Alfa", "alfa.example.it", cert)}), 0o600); err != nil {
		t.Fatal(err)
	}
	var roots bytes.Buffer
	if err := pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(rootsPath, roots.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	index, pool, err := Load(ldifPath, rootsPath)
	if err != nil {
		t.Fatal(err)
	}
	j := pec.Classify(raw, index, pool, now)
	if j.Type != pec.TypeAcceptance || j.Provider.MailReceipt != "servizio@alfa.example.it" || !j.Provider.Manages(j.Certification.Sender) {
		t.Errorf("%+v", j)
	}
}

func FuzzParse(f *testing.F) {
	cert, _ := selfSigned("a@alfa.example.it")
	f.Add(Format([]Entry{entry("Alfa", "alfa.example.it", cert)}))
	f.Add([]byte(asDistributed(cert, cert)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, err := Parse(raw)
		if err == nil && len(x.signers) == 0 {
			t.Fatal("an index of nobody")
		}
	})
}
