package inspect

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/exit"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/providers"
)

var (
	at       = time.Date(2026, 11, 21, 20, 14, 3, 0, time.UTC)
	now      = at.AddDate(10, 0, 0) // long after the certificates' end
	provider = pec.Provider{Name: "Gestore di Prova S.p.A.", MailDomain: "pec.example.it", ServiceAddress: "posta-certificata@pec.example.it"}
)

const identifier = "pecabcdefgh234567@pec.example.it"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// identity signs as the provider; its certificate is its own root.
type identity struct {
	*pec.Signer
	pem []byte
}

func newIdentity() identity {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Posta Certificata di prova"},
		NotBefore: at.AddDate(-1, 0, 0), NotAfter: at.AddDate(1, 0, 0), EmailAddresses: []string{provider.ServiceAddress},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
	cert := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))))
	return identity{
		Signer: must(pec.NewSignerWithKey([]*x509.Certificate{cert}, key)),
		pem:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
	}
}

var ours, other = sync.OnceValue(newIdentity), sync.OnceValue(newIdentity)

func (id identity) ldif() []byte {
	return providers.Format([]providers.Entry{{
		IndexEntry:   pec.IndexEntry{Name: provider.Name, MailReceipt: "servizio@pec.example.it", Domains: []string{"pec.example.it"}},
		Certificates: []*x509.Certificate{id.Certificate()},
	}})
}

func lines(s ...string) []byte { return []byte(strings.Join(s, "\r\n") + "\r\n") }

var submitted = lines("From: mario@pec.example.it", "To: bob@pec.other.example.it", "Cc: eve@example.org", "Message-ID: <client-1@mario.example.it>",
	"Subject: Delibera", "", "Buongiorno, citt\xe0.", "From here on")

func envelope() []byte {
	o := must(pec.ParseOriginal(submitted))
	t := o.Transit(identifier, "mario@pec.example.it", []string{"bob@pec.other.example.it", "eve@example.org"}, func(d string) bool { return d == "pec.other.example.it" })
	return must(ours().Envelope(provider, t, o, nil, at))
}

func failure() []byte {
	t := pec.Transit{Identifier: identifier, Sender: "mario@pec.example.it", Subject: "Delibera", Recipients: []pec.Recipient{{Address: "bob@pec.other.example.it", Certified: true}}}
	return must(ours().DeliveryError(provider, t, "pecnotice@pec.example.it", "bob@pec.other.example.it", pec.ErrorNoRecipient, "5.1.1 - X - \x1b[31mrosso", at))
}

// file writes a file of the test and answers its path.
func file(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// inspected runs the command and answers what it printed and its exit status.
func inspected(t testing.TB, args ...string) (string, int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	err := Run(args, now, &stdout, &stderr)
	if err == nil {
		return stdout.String(), 0
	}
	var chosen *exit.Error
	if !errors.As(err, &chosen) {
		t.Fatalf("error without an exit status: %v", err)
	}
	return stdout.String(), chosen.Status
}

func TestReportOfAnEnvelope(t *testing.T) {
	out, status := inspected(t, file(t, "m.eml", envelope()), "--json", "--index", file(t, "i.ldif", ours().ldif()), "--roots", file(t, "r.pem", ours().pem))
	cert := ours().Certificate()
	certified := bytes.Replace(submitted, []byte("<client-1@mario.example.it>\r\nSubject: Delibera\r\n"),
		[]byte("<"+identifier+">\r\nSubject: Delibera\r\nX-Riferimento-Message-ID: <client-1@mario.example.it>\r\n"), 1)
	want := fmt.Sprintf(`{
  "type": "posta-certificata",
  "certified": true,
  "signature": {
    "intact": true,
    "digest": "sha256",
    "signer": {
      "subject": "CN=Posta Certificata di prova",
      "rfc822Name": "posta-certificata@pec.example.it",
      "sha256": "%x",
      "issuer": "CN=Posta Certificata di prova",
      "notBefore": "2025-11-21T21:14:03+01:00",
      "notAfter": "2027-11-21T21:14:03+01:00"
    },
    "chain": "trusted",
    "chainReason": "it ends in a given root at 2026-11-21T21:14:03+01:00",
    "revocation": "not-checked",
    "revocationReason": "no revocation lists were given (--crl)"
  },
  "provider": "Gestore di Prova S.p.A.",
  "issuer": "Gestore di Prova S.p.A.",
  "identifier": "pecabcdefgh234567@pec.example.it",
  "messageID": "pecabcdefgh234567@pec.example.it",
  "clientMessageID": "<client-1@mario.example.it>",
  "subject": "Delibera",
  "sender": "mario@pec.example.it",
  "replyTo": "mario@pec.example.it",
  "recipients": [
    {
      "address": "bob@pec.other.example.it",
      "certified": true
    },
    {
      "address": "eve@example.org",
      "certified": false
    }
  ],
  "delivery": "",
  "takenInCharge": [],
  "receipt": "completa",
  "failure": {
    "kind": "nessuno",
    "text": ""
  },
  "times": {
    "event": "2026-11-21T21:14:03+01:00",
    "signed": "2026-11-21T21:14:03+01:00",
    "judged": "2026-11-21T21:14:03+01:00"
  },
  "original": {
    "bytes": %d,
    "sha256": "%x"
  },
  "errors": [],
  "notes": []
}
`, sha256.Sum256(cert.Raw), len(certified), sha256.Sum256(certified))
	if diff := cmp.Diff(want, out); diff != "" || status != 0 {
		t.Errorf("status %d\n%s", status, diff)
	}
}

func TestTableForPeople(t *testing.T) {
	out, status := inspected(t, file(t, "m.eml", failure()))
	if status != 1 || strings.Contains(out, "\x1b") {
		t.Errorf("status %d", status)
	}
	for _, row := range []string{
		"type        errore-consegna\n", "signature   intact, sha256\n", "signer      CN=Posta Certificata di prova\n            posta-certificata@pec.example.it\n",
		"chain       not-checked: no roots were given (--roots)\n", "recipients  bob@pec.other.example.it (certified mail)\n",
		"failure     no-dest 5.1.1 - X -  [31mrosso\n", "errors      gestore sconosciuto",
	} {
		if !strings.Contains(out, row) {
			t.Errorf("no %q in\n%s", row, out)
		}
	}
	if strings.Contains(out, "taken charge") {
		t.Errorf("an empty row in\n%s", out)
	}
}

func TestJudgementOfFiles(t *testing.T) {
	index, otherIndex := file(t, "i.ldif", ours().ldif()), file(t, "o.ldif", other().ldif())
	roots, otherRoots := file(t, "r.pem", ours().pem), file(t, "o.pem", other().pem)
	lf := bytes.ReplaceAll(envelope(), []byte("\r\n"), []byte("\n"))
	altered := bytes.Replace(envelope(), []byte("Zha3"), []byte("Zha4"), 1)
	altered = bytes.Replace(altered, []byte("postacert.eml\"\r\n\r\n"), []byte("postacert.eml\"\r\n\r\nQUJD\r\n"), 1)
	anomaly := must(ours().Anomaly(provider, must(pec.ParseOriginal(submitted)), nil, "mario@pec.example.it", nil, []string{"x"}, at))
	for sentence, c := range map[string]struct {
		raw    []byte
		args   []string
		want   pec.Type
		intact bool
		chain  Chain
		status int
		says   string // in errors or notes
	}{
		"nothing but the file": {raw: envelope(), want: pec.TypeEnvelope, intact: true, chain: ChainNotChecked, status: 1, says: "gestore sconosciuto"},
		"in the index":         {raw: envelope(), args: []string{"--index", index}, want: pec.TypeEnvelope, intact: true, chain: ChainNotChecked},
		"only the roots":       {raw: envelope(), args: []string{"--roots", roots}, want: pec.TypeEnvelope, intact: true, chain: ChainTrusted, status: 1, says: "gestore sconosciuto"},
		"in the index, at a time after the certificate": {raw: envelope(), args: []string{"--index", index, "--at", "2030-01-01T00:00:00Z"}, want: pec.TypeEnvelope, intact: true, chain: ChainNotChecked, status: 1, says: "non era valido"},
		"not in the index":                {raw: envelope(), args: []string{"--index", otherIndex}, want: pec.TypeOrdinary, intact: true, chain: ChainNotChecked, status: 1, says: "non appartiene a un gestore"},
		"another root":                    {raw: envelope(), args: []string{"--roots", otherRoots}, want: pec.TypeOrdinary, intact: true, chain: ChainUntrusted, status: 1, says: "catena"},
		"at a time after the certificate": {raw: envelope(), args: []string{"--roots", roots, "--at", "2030-01-01T00:00:00Z"}, want: pec.TypeOrdinary, intact: true, chain: ChainUntrusted, status: 1, says: "expired"},
		"line feeds alone":                {raw: lf, args: []string{"--index", index, "--roots", roots}, want: pec.TypeEnvelope, intact: true, chain: ChainTrusted, says: "line ends"},
		"line feeds in some lines":        {raw: bytes.Replace(envelope(), []byte("\r\n"), []byte("\n"), 20), args: []string{"--index", index}, want: pec.TypeEnvelope, intact: true, chain: ChainNotChecked, says: "line ends"},
		"out of an mbox file":             {raw: append([]byte("From mario@pec.example.it Sat Nov 21 20:14:03 2026\n"), lf...), args: []string{"--index", index}, want: pec.TypeEnvelope, intact: true, chain: ChainNotChecked, says: "mbox"},
		"an altered original":             {raw: altered, args: []string{"--roots", roots}, want: pec.TypeOrdinary, chain: ChainNotChecked, status: 1, says: "firma non valida"},
		"an altered original, line feeds": {raw: bytes.ReplaceAll(altered, []byte("\r\n"), []byte("\n")), want: pec.TypeOrdinary, chain: ChainNotChecked, status: 1, says: "firma non valida"},
		"an altered header":               {raw: bytes.Replace(envelope(), []byte("X-Trasporto: posta-certificata"), []byte("X-Ricevuta: accettazione"), 1), want: pec.TypeAnomaly, intact: true, chain: ChainNotChecked, status: 1, says: "daticert.xml e' di tipo"},
		"an anomaly envelope":             {raw: anomaly, want: pec.TypeAnomaly, intact: true, chain: ChainNotChecked, status: 1, says: "busta di anomalia"},
		"ordinary mail":                   {raw: submitted, want: pec.TypeOrdinary, chain: ChainNotChecked, status: 1, says: "non porta una firma"},
		"a header and nothing else":       {raw: []byte("Subject: x"), want: pec.TypeOrdinary, chain: ChainNotChecked, status: 1, says: "CRLF"},
		"a header with a broken line":     {raw: lines("Subject: x", "what is this", "", "x"), want: pec.TypeOrdinary, chain: ChainNotChecked, status: 1, says: "intestazione"},
	} {
		t.Run(sentence, func(t *testing.T) {
			out, status := inspected(t, append([]string{"--json", file(t, "m.eml", c.raw)}, c.args...)...)
			var r Report
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatal(err)
			}
			if r.Type != c.want || r.Signature.Intact != c.intact || r.Signature.Chain != c.chain || status != c.status || r.Signature.ChainReason == "" {
				t.Errorf("status %d\n%s", status, out)
			}
			if said := fmt.Sprint(r.Errors, r.Notes); !strings.Contains(said, c.says) {
				t.Errorf("says %s, want %s", said, c.says)
			}
			if r.Recipients == nil || r.TakenInCharge == nil || r.Errors == nil || r.Notes == nil || r.Certified != (status == 0) {
				t.Errorf("a list is null, or certified is wrong:\n%s", out)
			}
		})
	}
}

func TestOrdinaryMailShowsItsHeader(t *testing.T) {
	out, _ := inspected(t, "--json", file(t, "m.eml", submitted))
	var r Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	want := []Recipient{{Address: "bob@pec.other.example.it"}, {Address: "eve@example.org"}}
	if diff := cmp.Diff(want, r.Recipients); diff != "" || r.Sender != "mario@pec.example.it" || r.Identifier != "" || r.Signature.Signer != nil {
		t.Errorf("%s\n%s", diff, out)
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	good := file(t, "m.eml", envelope())
	for sentence, args := range map[string][]string{
		"no file":                  {},
		"two files":                {good, good},
		"a file that is not":       {filepath.Join(t.TempDir(), "none.eml")},
		"a directory":              {t.TempDir()},
		"an empty file":            {file(t, "e", nil)},
		"no mail at all":           {file(t, "e", []byte("\x7fELF\x00\x01:"))},
		"a first line of blanks":   {file(t, "e", []byte("  \r\nSubject: x\r\n\r\n"))},
		"an index that is not":     {good, "--index", filepath.Join(t.TempDir(), "none.ldif")},
		"an index that is none":    {good, "--index", good},
		"roots that are none":      {good, "--roots", good},
		"a time that is none":      {good, "--at", "yesterday"},
		"a flag that nobody knows": {good, "--verbose"},
	} {
		t.Run(sentence, func(t *testing.T) {
			if out, status := inspected(t, args...); status != 2 || out != "" {
				t.Errorf("status %d, %s", status, out)
			}
		})
	}
	if out, status := inspected(t, "--help"); status != 0 || out != "" {
		t.Errorf("help: status %d, %s", status, out)
	}
}

func TestAFileHasABound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big.eml")
	f := must(os.Create(path))
	if _, err := f.WriteString("Subject: x\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(maxFile+1), f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := read(path); err == nil || !strings.Contains(err.Error(), "exceeds") {
		t.Errorf("got %v", err)
	}
}

// FuzzInspect: whatever the file, there is a report with every list in it, and only an intact signature makes it certified.
func FuzzInspect(f *testing.F) {
	f.Add(envelope())
	f.Add(failure())
	f.Add(bytes.ReplaceAll(envelope(), []byte("\r\n"), []byte("\n")))
	f.Add(submitted)
	f.Add([]byte("From x\nSubject: y\n\nz"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, message := cutMailboxLine(raw); !startsWithField(message) {
			t.Skip()
		}
		r, err := options{}.judge(raw, now)
		if err != nil || r.Recipients == nil || r.TakenInCharge == nil || r.Certified && (!r.Signature.Intact || r.Identifier == "") {
			t.Fatalf("%v %+v", err, r)
		}
		var out bytes.Buffer
		if err := errors.Join(r.write(&out, true), r.write(&out, false)); err != nil {
			t.Fatal(err)
		}
	})
}
