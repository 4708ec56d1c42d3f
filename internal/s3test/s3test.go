// Package s3test is a real S3 server for tests: versitygw over a directory.
package s3test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pec-operator/pec-operator/internal/mailtest"
)

// Region is what the server calls its region.
const Region = "us-east-1"

// Server is a running one. It ends with the test.
type Server struct {
	URL        string
	CA         string // its certificate, PEM
	ID, Secret string
	Client     *minio.Client
}

// Start builds and starts a server, from the module in hack/s3 below the project's root, that listens at an address of a network
// namespace; "" is the test's own.
func Start(t *testing.T, root, netns, host string) *Server {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "versitygw")
	if out, err := exec.Command("go", "build", "-C", filepath.Join(root, "hack/s3"), "-o", program, "github.com/versity/versitygw/cmd/versitygw").CombinedOutput(); err != nil {
		t.Fatalf("building the S3 server: %v\n%s", err, out)
	}
	cert, key := mailtest.SelfSigned(t, host)
	for name, content := range map[string]string{"tls.crt": cert, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []string{"data", "versions", "meta"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free here is most likely free there
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(host, port(listener))
	_ = listener.Close()
	s := &Server{URL: "https://" + address, CA: cert, ID: "archivio", Secret: "canary-s3-secret"}
	command := []string{program, "--port", address, "--access", s.ID, "--secret", s.Secret, "--cert", filepath.Join(dir, "tls.crt"), "--key", filepath.Join(dir, "tls.key"),
		"posix", "--sidecar", filepath.Join(dir, "meta"), "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "data")}
	if netns != "" {
		command = append([]string{"nsenter", "--net=/run/netns/" + netns}, command...)
	}
	cmd := exec.Command(command[0], command[1:]...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	transport, err := minio.DefaultTransport(true)
	if err != nil {
		t.Fatal(err)
	}
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.Roots()}
	s.Client, err = minio.New(address, &minio.Options{Creds: credentials.NewStaticV4(s.ID, s.Secret, ""), Secure: true, Region: Region, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func port(l net.Listener) string {
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		panic(err) // a listener has an address
	}
	return port
}

// Roots are what the server's certificate is verified with.
func (s *Server) Roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.CA))
	return roots
}

// MakeBucket makes a bucket, with object lock or without, as soon as the server answers.
func (s *Server) MakeBucket(t *testing.T, name string, lock bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		err := s.Client.MakeBucket(t.Context(), name, minio.MakeBucketOptions{ObjectLocking: lock})
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
