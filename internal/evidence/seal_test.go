package evidence

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
)

const provider = "posta-certificata@pec.uno.test"

// party is a certificate with its key.
type party struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newParty(t testing.TB, template *x509.Certificate, issuer *party) *party {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
	parent, by := template, key
	if issuer != nil {
		parent, by = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &party{cert, key}
}

func newRoot(t testing.TB) *party {
	return newParty(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
}

func newSigner(t testing.TB, root *party, address string) *pec.Signer {
	t.Helper()
	leaf := newParty(t, &x509.Certificate{Subject: pkix.Name{CommonName: address}, EmailAddresses: []string{address}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}, root)
	signer, err := pec.NewSignerWithKey([]*x509.Certificate{leaf.cert}, leaf.key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func (p *party) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.cert)
	return pool
}

func (p *party) write(t testing.TB, dir, name string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: p.cert.Raw}, ".key": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name+suffix), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// newTSA is a time-stamping authority over HTTPS: OpenSSL's. answer, if not nil, may change what is asked and answered.
func newTSA(t testing.TB, root *party, change func(question, answer []byte) []byte) (*http.Client, string) {
	t.Helper()
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	tsa := newParty(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Marcatura di prova"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}}, root)
	dir := t.TempDir()
	tsa.write(t, dir, "tsa")
	config := fmt.Sprintf("[tsa]\nserial=%[1]s/serial\nsigner_cert=%[1]s/tsa.crt\nsigner_key=%[1]s/tsa.key\ndefault_policy=1.2.3.4\ndigests=sha256\nsigner_digest=sha256\ness_cert_id_chain=no\ness_cert_id_alg=sha256\n", dir)
	for name, content := range map[string]string{"tsa.cnf": config, "serial": "01\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		question, _ := io.ReadAll(r.Body)
		path := filepath.Join(dir, "question")
		_ = os.WriteFile(path, question, 0o600)
		answer, err := exec.Command("openssl", "ts", "-reply", "-config", filepath.Join(dir, "tsa.cnf"), "-section", "tsa", "-queryfile", path).Output()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if change != nil {
			answer = change(question, answer)
		}
		_, _ = w.Write(answer)
	}))
	t.Cleanup(server.Close)
	return server.Client(), server.URL
}

// kept is a log of five days with its seals, the first three of them time-stamped, and the clock and parties that made it.
type kept struct {
	dir    string
	now    time.Time
	root   *party
	log    *Log
	sealer *Sealer
}

func newKept(t testing.TB) *kept {
	t.Helper()
	k := &kept{dir: t.TempDir(), now: time.Now().AddDate(0, 0, -5), root: newRoot(t)}
	signer := newSigner(t, k.root, provider)
	client, url := newTSA(t, k.root, nil)
	k.open(t)
	k.sealer = &Sealer{Log: k.log, Domain: "pec.uno.test", Site: "a", Provider: provider, Now: k.clock, Sign: signer.SignDetached,
		Stamp: func(ctx context.Context, content []byte) ([]byte, error) {
			return RequestStamp(ctx, client, url, k.root.pool(), content)
		}}
	for d := range 5 {
		if d == 3 {
			k.sealer.Stamp = nil
		}
		k.fill(t, fmt.Sprint("day", d), 4)
		k.now = k.now.AddDate(0, 0, 1)
		k.sealer.Pass(t.Context())
		if err := k.sealer.State().Err; err != nil {
			t.Fatal(err)
		}
	}
	k.fill(t, "today", 3)
	return k
}

func (k *kept) clock() time.Time { return k.now }

func (k *kept) open(t testing.TB) {
	t.Helper()
	var err error
	if k.log, err = Open(k.dir, DefaultSegmentSize, k.clock); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.log.Close() })
}

func (k *kept) fill(t testing.TB, key string, n int) {
	t.Helper()
	for i := range n {
		if _, err := k.log.Append("event", fmt.Sprint(key, i), "id", i); err != nil {
			t.Fatal(err)
		}
	}
}

func (k *kept) verify(t testing.TB) Report {
	t.Helper()
	records, head := k.log.Head()
	r, err := Verify(k.dir, Expect{Roots: k.root.pool(), Provider: provider, Records: records, Head: head, Now: k.now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSealedLogVerifiesHereAndWithOpenSSL(t *testing.T) {
	k := newKept(t)
	r := k.verify(t)
	if len(r.Faults) > 0 || len(r.Seals) != 5 || r.Unsealed != 4 { // three events and the record of the last seal
		t.Fatalf("faults %q, %d seals, %d unsealed", r.Faults, len(r.Seals), r.Unsealed)
	}
	for i, s := range r.Seals {
		if s.Chains != "trusted" || s.Stamped.IsZero() != (i >= 3) {
			t.Errorf("seal %d: %+v", i, s)
		}
	}
	k.root.write(t, k.dir, "root")
	root, seal := filepath.Join(k.dir, "root.crt"), sealPath(k.dir, r.Seals[0].Day, sealSuffix)
	for _, args := range [][]string{
		{"cms", "-verify", "-binary", "-inform", "DER", "-in", seal + ".p7s", "-content", seal, "-CAfile", root, "-purpose", "smimesign", "-out", "/dev/null"},
		{"ts", "-verify", "-data", seal + ".p7s", "-in", seal + ".p7s.tsr", "-CAfile", root},
	} {
		if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
			t.Errorf("openssl %v: %v\n%s", args, err, out)
		}
	}
	if paths, _ := segmentPaths(k.dir); len(paths) != 6 {
		t.Errorf("%d segments, want one for each day", len(paths))
	}
}

// Every way of tampering that has a name in the rules is found, whatever else is done to hide it.
func TestTamperingIsFound(t *testing.T) {
	segment := func(t *testing.T, k *kept, i int) string {
		paths, err := segmentPaths(k.dir)
		if err != nil {
			t.Fatal(err)
		}
		return paths[i]
	}
	edit := func(t *testing.T, path string, change func([]byte) []byte) {
		raw, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(raw), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	swap := func(t *testing.T, a, b string) {
		for _, step := range [][2]string{{a, a + ".x"}, {b, a}, {a + ".x", b}} {
			if err := os.Rename(step[0], step[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	lastLine := func(raw []byte) []byte { return raw[:bytes.LastIndexByte(raw[:len(raw)-1], '\n')+1] }
	days := func(k *kept) (names []string) {
		seals, _ := readSeals(k.dir)
		for _, s := range seals {
			names = append(names, s.Day)
		}
		return names
	}
	forge := func(t *testing.T, k *kept, signer *pec.Signer) {
		// The forger writes the last sealed day anew, with a chain and a seal that fit.
		day := days(k)[4]
		path := segment(t, k, 4)
		var lines []byte
		at := begin(k.dir, []string{path})
		raw, _ := os.ReadFile(path)
		for line := range bytes.Lines(raw) {
			r, _ := decodeLine(line)
			if r.Prev = at.Head; r.Kind == "event" {
				r.Data = []byte("7")
			}
			line, _ := r.encode()
			lines, at = append(lines, line...), Position{r.Seq, r.Hash}
		}
		edit(t, path, func([]byte) []byte { return lines })
		edit(t, sealPath(k.dir, day, sealSuffix), func(raw []byte) []byte {
			seals, _ := readSeals(k.dir)
			return bytes.Replace(raw, []byte(seals[4].Head), []byte(at.Head), 1)
		})
		seal, _ := os.ReadFile(sealPath(k.dir, day, sealSuffix))
		signature, err := signer.SignDetached(seal, k.now)
		if err != nil {
			t.Fatal(err)
		}
		edit(t, sealPath(k.dir, day, signatureSuffix), func([]byte) []byte { return signature })
		_ = os.Remove(segment(t, k, 5)) // which says what the seal was
	}
	for name, c := range map[string]struct {
		tamper func(*testing.T, *kept)
		want   string
		noHead bool // it is found without a kept head
	}{
		"a changed byte": {noHead: true, want: "not an intact record", tamper: func(t *testing.T, k *kept) {
			edit(t, segment(t, k, 2), func(raw []byte) []byte { raw[20] ^= 1; return raw })
		}},
		"a removed record": {noHead: true, want: "does not follow", tamper: func(t *testing.T, k *kept) {
			edit(t, segment(t, k, 1), func(raw []byte) []byte { return raw[bytes.IndexByte(raw, '\n')+1:] })
		}},
		"a removed segment": {noHead: true, want: "expected the segment", tamper: func(t *testing.T, k *kept) { _ = os.Remove(segment(t, k, 1)) }},
		"the first day removed before its time": {noHead: true, want: "must be kept", tamper: func(t *testing.T, k *kept) {
			_ = os.Remove(segment(t, k, 0))
		}},
		"sealed records cut from the end": {noHead: true, want: "records were cut off", tamper: func(t *testing.T, k *kept) {
			_ = os.Remove(segment(t, k, 5))
			edit(t, segment(t, k, 4), lastLine)
		}},
		"unsealed records cut from the end": {want: "the kept head is of record", tamper: func(t *testing.T, k *kept) {
			edit(t, segment(t, k, 5), lastLine)
		}},
		"two days exchanged": {noHead: true, want: "does not follow", tamper: func(t *testing.T, k *kept) {
			swap(t, segment(t, k, 1), segment(t, k, 2))
		}},
		"the seals of two days exchanged": {noHead: true, want: "is the seal of", tamper: func(t *testing.T, k *kept) {
			two := days(k)
			for _, suffix := range []string{sealSuffix, signatureSuffix, stampSuffix} {
				swap(t, sealPath(k.dir, two[0], suffix), sealPath(k.dir, two[1], suffix))
			}
		}},
		"a seal removed": {noHead: true, want: "the log has it, and it is not there", tamper: func(t *testing.T, k *kept) {
			day := days(k)[4]
			for _, suffix := range []string{sealSuffix, signatureSuffix} {
				_ = os.Remove(sealPath(k.dir, day, suffix))
			}
		}},
		"a seal changed": {noHead: true, want: "signature does not hold", tamper: func(t *testing.T, k *kept) {
			edit(t, sealPath(k.dir, days(k)[3], sealSuffix), func(raw []byte) []byte {
				return bytes.Replace(raw, []byte(`"site": "a"`), []byte(`"site": "b"`), 1)
			})
		}},
		"a seal forged with a certificate of nobody": {noHead: true, want: "certificate signed by unknown authority", tamper: func(t *testing.T, k *kept) {
			forge(t, k, newSigner(t, newRoot(t), provider))
		}},
		"a seal forged by another provider": {noHead: true, want: "is not of " + provider, tamper: func(t *testing.T, k *kept) {
			forge(t, k, newSigner(t, k.root, "posta-certificata@pec.due.test"))
		}},
		"the last day rewritten with the provider's own key": {want: "whose head was kept", tamper: func(t *testing.T, k *kept) {
			signer := newSigner(t, k.root, provider)
			forge(t, k, signer)
		}},
		"a sealed and stamped day rewritten with the provider's own key": {noHead: true, want: "time-stamp does not hold", tamper: func(t *testing.T, k *kept) {
			day := days(k)[1]
			edit(t, sealPath(k.dir, day, sealSuffix), func(raw []byte) []byte { return append(raw, '\n') })
			seal, _ := os.ReadFile(sealPath(k.dir, day, sealSuffix))
			signature, _ := newSigner(t, k.root, provider).SignDetached(seal, k.now)
			edit(t, sealPath(k.dir, day, signatureSuffix), func([]byte) []byte { return signature })
		}},
		"a time-stamp exchanged for another day's": {noHead: true, want: "time-stamp does not hold", tamper: func(t *testing.T, k *kept) {
			swap(t, sealPath(k.dir, days(k)[0], stampSuffix), sealPath(k.dir, days(k)[1], stampSuffix))
		}},
		"a time-stamp removed": {noHead: true, want: "the log has it, and it is not there", tamper: func(t *testing.T, k *kept) {
			_ = os.Remove(sealPath(k.dir, days(k)[0], stampSuffix))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKept(t)
			records, head := k.log.Head()
			if strings.Contains(name, "own key") && !c.noHead {
				records = k.sealer.State().Last.Last
				head = k.sealer.State().Last.Head
			}
			c.tamper(t, k)
			expect := Expect{Roots: k.root.pool(), Provider: provider, Now: k.now}
			r, err := Verify(k.dir, expect)
			if err != nil {
				t.Fatal(err)
			}
			if c.noHead != (len(r.Faults) > 0) {
				t.Errorf("without a kept head: %q", r.Faults)
			}
			expect.Records, expect.Head = records, head
			if r, err = Verify(k.dir, expect); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.Join(r.Faults, "\n"), c.want) {
				t.Errorf("found %q, want %q", r.Faults, c.want)
			}
		})
	}
}

func TestMissedDaysAreSealedAndAnAbsentAuthorityHoldsNothingUp(t *testing.T) {
	k := &kept{dir: t.TempDir(), now: time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC), root: newRoot(t)}
	k.open(t)
	away := true
	client, url := newTSA(t, k.root, nil)
	k.sealer = &Sealer{Log: k.log, Provider: provider, Now: k.clock, Sign: newSigner(t, k.root, provider).SignDetached,
		Stamp: func(ctx context.Context, content []byte) ([]byte, error) {
			if away {
				return nil, fmt.Errorf("the authority is away")
			}
			return RequestStamp(ctx, client, url, k.root.pool(), content)
		}}
	for d := range 3 { // across the change to summer time; nobody seals
		k.fill(t, fmt.Sprint(d), 2)
		k.now = k.now.AddDate(0, 0, 1)
	}
	k.sealer.Pass(t.Context())
	if s := k.sealer.State(); s.Err == nil || s.Unsealed != 0 || s.Unstamped != 3 || s.Oldest != "2026-03-27" || s.Last.Day != "2026-03-29" {
		t.Fatalf("authority away: %+v", s)
	}
	k.fill(t, "mail goes on", 1)
	_ = k.log.Close()
	k.open(t)
	k.sealer.Log, away = k.log, false
	k.sealer.Pass(t.Context())
	if s := k.sealer.State(); s.Err != nil || s.Unstamped != 0 {
		t.Fatalf("authority back: %+v", s)
	}
	if r := k.verify(t); len(r.Faults) > 0 || len(r.Seals) != 3 {
		t.Fatalf("%d seals, faults %q", len(r.Seals), r.Faults)
	}
	before, _ := k.log.Head()
	k.sealer.Pass(t.Context())
	if after, _ := k.log.Head(); after != before {
		t.Errorf("a pass with nothing to do wrote %d records", after-before)
	}
}

func TestAnswersOfAnAuthorityThatAreRefused(t *testing.T) {
	root := newRoot(t)
	var first []byte
	client, url := newTSA(t, root, func(_, answer []byte) []byte {
		if first == nil {
			first = answer
		}
		return first
	})
	ask := func(roots *x509.CertPool, content string) error {
		_, err := RequestStamp(t.Context(), client, url, roots, []byte(content))
		return err
	}
	if err := ask(root.pool(), "content"); err != nil {
		t.Fatal(err)
	}
	if err := ask(root.pool(), "content"); err == nil || !strings.Contains(err.Error(), "nonce") {
		t.Errorf("the answer to the same question asked before: %v", err)
	}
	if err := ask(root.pool(), "another"); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("the answer about another content: %v", err)
	}
	first = nil
	if err := ask(newRoot(t).pool(), "content"); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("an authority of another root: %v", err)
	}
}

func TestWhatIsOlderThanThirtyMonthsIsListedAndTheLogOpensWithoutIt(t *testing.T) {
	k := newKept(t)
	k.now = k.now.AddDate(0, keepMonths, -2) // the first three of five days are too old
	r := k.verify(t)
	paths, _ := segmentPaths(k.dir)
	var want []string
	for _, p := range paths[:3] {
		want = append(want, filepath.Base(p))
	}
	if !slices.Equal(r.Removable, want) || len(r.Faults) > 0 {
		t.Fatalf("removable %q, want %q; faults %q", r.Removable, want, r.Faults)
	}
	records, head := k.log.Head()
	_ = k.log.Close()
	for _, p := range paths[:3] {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
	k.open(t)
	if n, h := k.log.Head(); n != records || h != head {
		t.Fatalf("opened at %d %s, want %d %s", n, h, records, head)
	}
	k.fill(t, "later", 1)
	if r := k.verify(t); len(r.Faults) > 0 {
		t.Errorf("faults %q", r.Faults)
	}
}
