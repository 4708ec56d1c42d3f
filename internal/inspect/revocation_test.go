package inspect

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/providers"
)

func TestRevocationIsAskedOfTheListsGiven(t *testing.T) {
	rootKey, key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Autorita'"}, NotBefore: at.AddDate(-1, 0, 0), NotAfter: at.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}
	root := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, &template, &template, rootKey.Public(), rootKey))))
	template = x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Posta Certificata"}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, EmailAddresses: []string{provider.ServiceAddress}}
	leaf := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, &template, root, key.Public(), rootKey))))
	signer := must(pec.NewSignerWithKey([]*x509.Certificate{leaf}, key))
	o := must(pec.ParseOriginal(submitted))
	message := must(signer.Envelope(provider, o.Transit(identifier, "mario@pec.example.it", []string{"bob@pec.other.example.it"}, func(string) bool { return true }), o, nil, at))
	list := func(serial int64) []byte {
		return must(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: at.Add(-time.Hour), NextUpdate: at.Add(time.Hour),
			RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(serial), RevocationTime: at.Add(-time.Hour)}}}, root, rootKey))
	}
	inPEM := func(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}) }
	index := providers.Format([]providers.Entry{{IndexEntry: pec.IndexEntry{Name: provider.Name, MailReceipt: "servizio@pec.example.it", Domains: []string{"pec.example.it"}}, Certificates: []*x509.Certificate{leaf}}})
	with := []string{file(t, "m.eml", message), "--json", "--index", file(t, "i.ldif", index)}
	roots := []string{"--roots", file(t, "r.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}))}
	for sentence, c := range map[string]struct {
		args   []string
		want   string
		status int
	}{
		"no list":                    {roots, "not-checked", 0},
		"a list without the signer":  {append([]string{"--crl", file(t, "c", list(3))}, roots...), "good", 0},
		"a list with the signer":     {append([]string{"--crl", file(t, "c", list(2))}, roots...), "revoked", 1},
		"the second of two lists":    {append([]string{"--crl", file(t, "c", list(3)), "--crl", file(t, "d", inPEM(list(2)))}, roots...), "revoked", 1},
		"no roots to end a chain":    {[]string{"--crl", file(t, "c", list(2))}, "not-checked", 0},
		"a list past its term":       {append([]string{"--crl", file(t, "c", list(3)), "--at", at.Add(2 * time.Hour).Format(time.RFC3339)}, roots...), "unknown", 0},
		"something that is no list":  {append([]string{"--crl", file(t, "c", []byte("x"))}, roots...), "", unreadable},
		"a list that does not exist": {append([]string{"--crl", "/does/not/exist"}, roots...), "", unreadable},
	} {
		t.Run(sentence, func(t *testing.T) {
			out, status := inspected(t, append(with[:len(with):len(with)], c.args...)...)
			var r Report
			if out != "" {
				if err := json.Unmarshal([]byte(out), &r); err != nil {
					t.Fatal(err)
				}
			}
			if status != c.status || r.Signature.Revocation != c.want {
				t.Errorf("status %d, %q: %s", status, r.Signature.Revocation, r.Signature.RevocationReason)
			}
		})
	}
}
