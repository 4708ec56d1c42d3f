package mailtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
)

// besideVariable is set in the process that runs a provider beside a test, to the folder that both see.
const besideVariable = "PEC_MAILTEST_BESIDE"

// Beside is another provider's Dovecot in namespaces of its own, for a test that is not in them: it is reached through a socket in the
// file system.
type Beside struct {
	// Roots are the authority of its certificate.
	Roots  *x509.CertPool
	folder string
}

// order is what a provider beside a test is to be.
type order struct {
	Passwords map[string]string
	Settings  []string
}

// StartBeside starts a provider beside a test until the test ends. The test's package has a test of the name host that calls ServeBeside.
func StartBeside(t *testing.T, host string, passwords map[string]string, settings ...string) *Beside {
	t.Helper()
	folder, err := os.MkdirTemp("", "beside") // t.TempDir is too long for a socket's path
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	raw, err := json.Marshal(order{passwords, settings})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(folder, "order"), raw, 0o600))
	cmd := again(t, host, "-test.short") // and so without what else the package's tests need
	cmd.Env = append(cmd.Env, besideVariable+"="+folder)
	log := &Log{}
	cmd.Stdout, cmd.Stderr = log, log
	leash, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = leash.Close()
		if err := <-ended; err != nil || t.Failed() {
			t.Logf("the provider beside: %v\n%s", err, log)
		}
	})
	b := &Beside{Roots: x509.NewCertPool(), folder: folder}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if ca, err := os.ReadFile(filepath.Join(folder, "ca")); err == nil {
			b.Roots.AppendCertsFromPEM(ca)
			return b
		}
		if time.Now().After(end) {
			t.Fatalf("no provider beside:\n%s", log)
		}
	}
}

// Connect connects to it, whatever the address.
func (b *Beside) Connect(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(b.folder, "imaps"))
}

// Login opens a session there.
func (b *Beside) Login(t *testing.T, address, password string) *imapclient.Client {
	t.Helper()
	conn, err := b.Connect(t.Context(), "", "")
	must(t, err)
	c := imapclient.New(tls.Client(conn, &tls.Config{ServerName: ProviderHost, RootCAs: b.Roots, MinVersion: tls.VersionTLS12}), nil)
	must(t, c.Login(address, password).Wait())
	return c
}

// ServeBeside is the provider's half of StartBeside; in an ordinary run of the tests it is nothing.
func ServeBeside(t *testing.T) {
	folder := os.Getenv(besideVariable)
	if folder == "" {
		t.Skip("it is the half of other tests")
	}
	settleIn(t)
	raw, err := os.ReadFile(filepath.Join(folder, "order"))
	must(t, err)
	var o order
	must(t, json.Unmarshal(raw, &o))
	_, ca := StartProvider(t, o.Passwords, o.Settings...)
	l, err := net.Listen("unix", filepath.Join(folder, "imaps"))
	must(t, err)
	defer func() { _ = l.Close() }()
	go forward(l)
	written := filepath.Join(folder, "ca.new")
	must(t, os.WriteFile(written, []byte(ca), 0o600))
	must(t, os.Rename(written, filepath.Join(folder, "ca")))
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
}

func forward(l net.Listener) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(ProviderPort)))
		if err != nil {
			_ = near.Close()
			continue
		}
		closeBoth := func() { _ = errors.Join(near.Close(), far.Close()) }
		go func() { defer closeBoth(); _, _ = io.Copy(far, near) }()
		go func() { defer closeBoth(); _, _ = io.Copy(near, far) }()
	}
}
