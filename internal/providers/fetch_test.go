package providers

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// authority issues the certificates of servers, clients and signers.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority() authority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 1, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	return authority{must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)))), key}
}

func (a authority) issue(name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, EmailAddresses: []string{"indice@example.it"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)))), key
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a authority) pair(name string) tls.Certificate {
	cert, key := a.issue(name)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a authority) sign(content []byte) []byte {
	cert, key := a.issue("Centro")
	return must(must(pec.NewSignerWithKey([]*x509.Certificate{cert}, key)).SignEnclosed(content, time.Now()))
}

func sample() []byte {
	cert, _ := selfSigned("a@alfa.example.it")
	return Format([]Entry{entry("Alfa, Società <Prova> S.p.A.", "alfa.example.it", cert)})
}

func TestSignedIndexOverMutualTLS(t *testing.T) {
	ca, center, stranger := newAuthority(), newAuthority(), newAuthority()
	index := sample()
	var answer []byte
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if answer == nil {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(answer)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.pair("server")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	good := Source{URL: server.URL + "/index.ldif.p7m", TLS: &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.pair("client")}}, Signers: center.pool()}
	with := func(change func(*Source)) Source {
		s := good
		s.TLS = good.TLS.Clone()
		change(&s)
		return s
	}
	damaged := center.sign(index)
	damaged[bytes.Index(damaged, []byte("managedDomains"))] ^= 1
	for sentence, c := range map[string]struct {
		source Source
		answer []byte
		want   string // in the error; "" for none
	}{
		"signed by the center":                  {good, center.sign(index), ""},
		"signed by somebody else":               {good, stranger.sign(index), "who may not"},
		"changed after it was signed":           {good, damaged, "not a signed LDIF"},
		"not signed":                            {good, index, "not a signed LDIF"},
		"signed, and no index":                  {good, center.sign([]byte("version: 1\n")), "no provider's certificate"},
		"the server is away":                    {good, nil, "503"},
		"no client certificate":                 {with(func(s *Source) { s.TLS.Certificates = nil }), center.sign(index), "certificate"},
		"a client certificate of another CA":    {with(func(s *Source) { s.TLS.Certificates = []tls.Certificate{stranger.pair("client")} }), center.sign(index), "certificate"},
		"a server of another CA":                {with(func(s *Source) { s.TLS.RootCAs = stranger.pool() }), center.sign(index), "unknown authority"},
		"nobody is configured who may sign":     {with(func(s *Source) { s.Signers = nil }), center.sign(index), "nobody is known"},
		"a scheme that proves nothing":          {with(func(s *Source) { s.URL = "http://127.0.0.1/" }), nil, "https or ldaps"},
		"a signer that is configured by itself": {with(func(s *Source) { s.Signers = poolOf(center.sign(index)) }), nil, "503"},
	} {
		t.Run(sentence, func(t *testing.T) {
			answer = c.answer
			raw, err := c.source.Fetch(t.Context(), time.Now())
			if c.want == "" && (err != nil || !bytes.Equal(raw, index)) {
				t.Errorf("%v, %d bytes", err, len(raw))
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestIndexFromADirectory(t *testing.T) {
	ca := newAuthority()
	cert, _ := selfSigned("a@alfa.example.it")
	renewed, _ := selfSigned("a@alfa.example.it")
	index := Format([]Entry{entry("Alfa, Società <Prova> S.p.A.", "alfa.example.it", cert, renewed), {IndexEntry: entry("Beta", "beta.example.it").IndexEntry, Certificates: []*x509.Certificate{ca.cert}, Location: "https://beta.example.it/indice.ldif.p7m"}})
	url := startDirectory(t, ca, index)
	source := Source{URL: url, TLS: &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.pair("client")}}}
	raw, err := source.Fetch(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	x, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*x509.Certificate{cert, renewed} {
		if p, ok := x.Signer(c); !ok || p.Name != "Alfa, Società <Prova> S.p.A." || !p.Manages("x@pec.alfa.example.it") {
			t.Errorf("%v %+v", ok, p)
		}
	}
	if !bytes.Contains(raw, []byte("https://beta.example.it/indice.ldif.p7m")) || !x.Certified("beta.example.it") {
		t.Errorf("the second provider is not as it was written:\n%s", raw)
	}
	source.TLS.Certificates = nil
	if _, err := source.Fetch(t.Context(), time.Now()); err == nil {
		t.Error("the directory answered without a client certificate")
	}
	source.URL = url + "/o=nessuno"
	source.TLS.Certificates = []tls.Certificate{ca.pair("client")}
	if _, err := source.Fetch(t.Context(), time.Now()); err == nil || !strings.Contains(err.Error(), "No Such Object") {
		t.Errorf("a base that is not there: %v", err)
	}
}

// startDirectory starts OpenLDAP with the index in it and returns its address.
func startDirectory(t *testing.T, ca authority, index []byte) string {
	t.Helper()
	dir := t.TempDir()
	schema := must(filepath.Abs("testdata/providers.schema"))
	cert, key := ca.issue("directory")
	der := must(x509.MarshalPKCS8PrivateKey(key))
	for name, content := range map[string][]byte{
		"ca.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}), "tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "index.ldif": bytes.TrimPrefix(index, []byte("version: 1\n\n")), // slapadd does not know the line
		"slapd.conf": fmt.Appendf(nil, `include /etc/ldap/schema/core.schema
include %[2]s
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/pid
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/tls.crt
TLSCertificateKeyFile %[1]s/tls.key
TLSVerifyClient demand
database mdb
suffix "o=postacert"
directory %[1]s
maxsize 10485760
access to * by users read by * none
`, dir, schema),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("slapadd", "-f", filepath.Join(dir, "slapd.conf"), "-l", filepath.Join(dir, "index.ldif")).CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, out)
	}
	address := free(t)
	cmd := exec.Command("slapd", "-f", filepath.Join(dir, "slapd.conf"), "-h", "ldaps://"+address, "-d", "0")
	said := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	for range 200 {
		select {
		case <-ended:
			t.Fatalf("slapd ended: %s", said)
		case <-time.After(50 * time.Millisecond):
		}
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return "ldaps://" + address
		}
	}
	t.Fatal("slapd does not listen")
	return ""
}

// free is a port below those that the kernel gives to outgoing connections, so that none of them takes it before the server.
func free(t *testing.T) string {
	t.Helper()
	for range 200 {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+mathrand.IntN(12000))); err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port of loopback is free")
	return ""
}

// poolOf holds the very certificate that signed.
func poolOf(signed []byte) *x509.CertPool {
	_, signature, err := pec.OpenEnclosed(signed)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(signature.Signer)
	return pool
}

func TestLastGoodIndexStays(t *testing.T) {
	ca := newAuthority()
	var answer func() []byte
	asked := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = w.Write(answer())
	}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	clock := time.Now().Truncate(time.Second)
	path := filepath.Join(t.TempDir(), "index", "index.ldif")
	r := &Refresher{Path: path, Now: func() time.Time { return clock }, Source: func() (Source, error) {
		return Source{URL: server.URL, TLS: &tls.Config{RootCAs: roots}, Signers: ca.pool()}, nil
	}}
	first := sample()
	steps := []struct {
		sentence string
		after    time.Duration
		demand   string
		answer   []byte
		asked    int
		err      bool
		age      time.Duration
	}{
		{sentence: "at first it is downloaded", answer: ca.sign(first), asked: 1},
		{sentence: "within the day it is not again", after: 23 * time.Hour, asked: 1, age: 23 * time.Hour},
		{sentence: "on demand it is, and a bad one does not replace it", demand: "1", answer: []byte("x"), asked: 2, err: true, age: 23 * time.Hour},
		{sentence: "after a failure there is a pause", after: time.Minute, asked: 2, err: true, age: 23*time.Hour + time.Minute},
		{sentence: "then it is tried again", after: refreshRetry, answer: ca.sign(first), asked: 3},
		{sentence: "the same demand is answered once", demand: "1", asked: 3},
		{sentence: "the next day it is downloaded again", after: 24 * time.Hour, answer: ca.sign(first), asked: 4},
	}
	for _, s := range steps {
		clock = clock.Add(s.after)
		if s.demand != "" {
			r.Demand(s.demand)
		}
		answer = func() []byte { return s.answer }
		r.Pass(t.Context())
		state := r.State()
		if asked != s.asked || (state.Err != nil) != s.err || clock.Sub(state.Fetched) != s.age {
			t.Errorf("%s: asked %d times, %v, %s old", s.sentence, asked, state.Err, clock.Sub(state.Fetched))
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, first) {
			t.Errorf("%s: %v, %d bytes", s.sentence, err, len(got))
		}
	}
	if r.State().Handled != "1" {
		t.Errorf("handled %q", r.State().Handled)
	}
}

func TestWhatWasDownloadedComesBeforeWhatWasGiven(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	given, _ := selfSigned("a@alfa.example.it")
	downloaded, _ := selfSigned("a@alfa.example.it")
	write("roots.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: given.Raw}))
	write("given.ldif", Format([]Entry{entry("Alfa", "alfa.example.it", given)}))
	clock := time.Now()
	f := NewFile(filepath.Join(dir, "roots.pem"), func() time.Time { clock = clock.Add(2 * time.Second); return clock }, filepath.Join(dir, "downloaded.ldif"), filepath.Join(dir, "given.ldif"))
	lists := func(c *x509.Certificate) bool {
		x, _, err := f.Get()
		if err != nil {
			t.Fatal(err)
		}
		_, ok := x.Signer(c)
		return ok
	}
	if !lists(given) {
		t.Error("before the first download the given index does not count")
	}
	write("downloaded.ldif", Format([]Entry{entry("Alfa", "alfa.example.it", downloaded)}))
	if !lists(downloaded) || lists(given) {
		t.Error("the given index counts still")
	}
	if err := os.Remove(filepath.Join(dir, "given.ldif")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if !lists(downloaded) {
		t.Error("without the given index the downloaded one does not count")
	}
}
