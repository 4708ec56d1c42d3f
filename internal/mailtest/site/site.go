// Package site runs, for tests, what a Job meets at a site: a stack's real Dovecot with the real engine before it, and an operator
// that grants. It is used inside mailtest.Inside.
package site

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/engine"
	"github.com/pec-operator/pec-operator/internal/mailtest"
	"github.com/pec-operator/pec-operator/internal/pki"
	"github.com/pec-operator/pec-operator/internal/settings"
)

// Name is the site's.
const Name = "a"

// Site is a stack with its engine.
type Site struct {
	*mailtest.Stack
	Authority *pki.Authority
	// URL of the engine.
	URL string
	// Operator is the client of this site's operator.
	Operator *admin.Client
}

// Start starts the Dovecot and the engine of a domain with mailboxes.
func Start(t *testing.T, domain, passwordHash string, mailboxes ...string) *Site {
	t.Helper()
	s := &Site{Stack: mailtest.StartStack(t, domain, passwordHash, mailboxes...), URL: "https://localhost:8443"}
	pair, err := pki.NewAuthority(Name, time.Now())
	must(t, err)
	s.Authority, err = pki.LoadAuthority(pair)
	must(t, err)
	keys := t.TempDir()
	s.Certificate(t, keys, pki.Leaf{URI: admin.EngineURI(Name, domain), DNSNames: []string{"localhost"}})
	must(t, os.WriteFile(filepath.Join(keys, "doveadm"), []byte(mailtest.DoveadmPassword), 0o600))
	must(t, os.WriteFile(filepath.Join(keys, "apikey"), []byte(mailtest.DoveadmKey), 0o600))
	free := "127.0.0.1:0"
	e, err := engine.New(context.Background(), settings.Engine{
		Site: Name, Domain: domain, Hostname: "mx-a." + domain,
		Listen: settings.Listen{Access: free, Incoming: free, MilterMX: free, MilterSubmit: free, PeerLink: free, Health: free, LoginPolicy: "127.0.0.1:10029", SyncDestination: free, Admin: "127.0.0.1:8443"},
		Next:   settings.Next{Reinject: free, LMTP: "127.0.0.1:2424", Doveadm: "127.0.0.1:24245", DoveadmHTTP: "http://127.0.0.1:24280"},
		Files: settings.Files{
			State: s.State, AdminCert: filepath.Join(keys, "tls.crt"), AdminKey: filepath.Join(keys, "tls.key"), AdminCA: filepath.Join(keys, "ca.crt"),
			DoveadmPassword: filepath.Join(keys, "doveadm"), DoveadmAPIKey: filepath.Join(keys, "apikey"),
		},
	}, time.Now, slog.New(slog.NewTextHandler(io.Discard, nil)))
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Logf("the engine ended: %v", err)
		}
		_ = e.Close()
	})
	s.Operator = admin.NewClient(s.URL, s.client(t, admin.OperatorURI(Name)))
	s.await(t, ended)
	return s
}

func (s *Site) await(t *testing.T, ended chan error) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := s.Operator.Digests(t.Context(), "")
		if err == nil {
			return
		}
		select {
		case err := <-ended:
			t.Fatalf("the engine ended: %v", err)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("the engine does not answer: %v", err)
		}
	}
}

// Certificate writes tls.crt, tls.key and ca.crt of an identity of this site into a directory.
func (s *Site) Certificate(t *testing.T, dir string, leaf pki.Leaf) {
	t.Helper()
	pair, err := s.Authority.Issue(leaf, time.Now())
	must(t, err)
	for name, content := range map[string][]byte{"tls.crt": pair.Cert, "tls.key": pair.Key, "ca.crt": s.Authority.PEM} {
		must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
}

func (s *Site) client(t *testing.T, uri string) *tls.Config {
	t.Helper()
	pair, err := s.Authority.Issue(pki.Leaf{URI: uri}, time.Now())
	must(t, err)
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	must(t, err)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, RootCAs: s.Authority.Pool()}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
