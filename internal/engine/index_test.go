package engine

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/providers"
	"github.com/pec-operator/pec-operator/internal/signing"
)

func writeFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// indexRecord runs the command beside the running engine.
func (w *world) indexRecord(args ...string) []byte {
	w.t.Helper()
	raw, err := json.Marshal(w.settings)
	if err != nil {
		w.t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if err := RunIndex(w.t.Context(), append([]string{"record", "--settings", writeFile(w.t, "engine.json", raw)}, args...), w.now, &stdout, &stderr); err != nil {
		w.t.Fatalf("%v\n%s", err, &stderr)
	}
	return stdout.Bytes()
}

func TestOwnRecordHasEveryLocalDomainAndBothCertificates(t *testing.T) {
	w := newWorld(t)
	for _, d := range []admin.Domain{{Name: "pec.comune-esempio.test", Local: true}, {Name: "pec.altrove.test"}} {
		if err := w.engine.directory.PutDomain(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	next := newSigningPair(t)
	more := []string{"--certificate", writeFile(t, "next.pem", next.cert), "--certificate", w.settings.Files.SigningCert, "--location", "https://pec.uno.test/record.p7m"}
	record := w.indexRecord(more...)
	x, err := providers.Parse(record)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*x509.Certificate{keys().leaves[ours], next.leaf} {
		p, ok := x.Signer(c)
		if !ok || p.Name != w.settings.Provider.Name || p.MailReceipt != w.settings.Provider.MailReceipt || !p.Manages("x@pec.comune-esempio.test") || p.Manages("x@pec.altrove.test") || !p.Manages(sender) {
			t.Errorf("%v %+v", ok, p)
		}
	}
	if n := bytes.Count(record, []byte("providerCertificateHash")); n != 2 || !bytes.Contains(record, []byte("LDIFLocationURL: https://pec.uno.test/record.p7m")) {
		t.Errorf("%d certificates:\n%s", n, record)
	}
	roots := x509.NewCertPool()
	roots.AddCert(keys().root)
	if opened, err := providers.OpenSigned(w.indexRecord(append(more, "--signed")...), roots, time.Now()); err != nil || !bytes.Equal(opened, record) {
		t.Errorf("signed: %v", err)
	}
}

// The engine downloads its index, says how it is, and goes on with the last good one.
func TestEngineDownloadsItsIndex(t *testing.T) {
	w := newWorld(t)
	good, err := os.ReadFile(w.settings.Files.ProvidersIndex)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := pec.NewSigner(keys().certs[theirs], keys().signer[theirs])
	if err != nil {
		t.Fatal(err)
	}
	away := false
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if away {
			http.Error(rw, "", http.StatusBadGateway)
			return
		}
		signed, err := signer.SignEnclosed(good, w.now)
		if err != nil {
			t.Error(err)
		}
		_, _ = rw.Write(signed)
	}))
	t.Cleanup(server.Close)
	w.settings.Index.URL = server.URL
	w.settings.Index.CA = writeFile(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	w.settings.Index.SignerCA = writeFile(t, "signer.pem", keys().certs[theirs])
	w.settings.Files.ProvidersIndex += ".missing"
	w.crash()
	if problems := strings.Join(w.engine.problems(t.Context()), "; "); !strings.Contains(problems, "index") {
		t.Errorf("without an index the engine says %q", problems)
	}
	w.engine.refresher.Pass(t.Context())
	w.now = w.now.Add(2 * time.Second)
	if s := w.engine.indexState(); s.Fetched.IsZero() || s.LastError != "" || s.Unlisted {
		t.Errorf("%+v", s)
	}
	away = true
	w.engine.refresher.Demand("now")
	w.engine.refresher.Pass(t.Context())
	if s := w.engine.indexState(); s.Fetched.IsZero() || !strings.Contains(s.LastError, "502") || s.Handled != "now" {
		t.Errorf("%+v", s)
	}
	w.crash()
	if index, _, err := w.engine.index.Get(); index == nil || err != nil {
		t.Errorf("the last good copy did not outlive the engine: %v", err)
	}
}

// The engine signs with a key that it never sees, and finds it again when the process that has it comes back.
func TestEngineSignsWithAKeyBehindASocket(t *testing.T) {
	w := newWorld(t)
	block, _ := pem.Decode(keys().signer[ours])
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	w.settings.Signer, w.settings.Files.SigningKey = filepath.Join(t.TempDir(), "socket"), "/nonexistent"
	w.crash()
	w.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
	if errs := w.engine.access(w.queue[0].mail); errs[0] == nil {
		t.Fatal("it was certified without a key")
	}
	l, err := net.Listen("unix", w.settings.Signer)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var q signing.Request
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		var answer signing.Response
		if len(q.Digest) > 0 {
			answer.Signature, _ = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, q.Digest)
		}
		_ = json.NewEncoder(rw).Encode(answer)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	w.run(20)
	if got := w.titles("anna@" + ours); len(got) != 1 || got[0] != "posta-certificata" {
		t.Errorf("anna has %v", got)
	}
}
