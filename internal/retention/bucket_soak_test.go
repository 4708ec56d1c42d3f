//go:build soak

package retention

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/pec-operator/pec-operator/internal/mailtest"
)

// service is a real S3 server, versitygw over a directory, with two buckets: one with object lock, one without.
type service struct {
	url    string
	roots  *x509.CertPool
	keys   Keys
	client *minio.Client
}

const lockedBucket, plainBucket = "archivio-bloccato", "archivio-libero"

func startService(t *testing.T) *service {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "versitygw")
	if out, err := exec.Command("go", "build", "-C", "../../hack/s3", "-o", program, "github.com/versity/versitygw/cmd/versitygw").CombinedOutput(); err != nil {
		t.Fatalf("building the S3 server: %v\n%s", err, out)
	}
	cert, key := mailtest.SelfSigned(t, "localhost")
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
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	s := &service{url: "https://" + address, roots: x509.NewCertPool(), keys: Keys{ID: "archivio", Secret: "canary-s3-secret"}}
	s.roots.AppendCertsFromPEM([]byte(cert))
	cmd := exec.Command(program, "--port", address, "--access", s.keys.ID, "--secret", s.keys.Secret, "--cert", filepath.Join(dir, "tls.crt"), "--key", filepath.Join(dir, "tls.key"),
		"posix", "--sidecar", filepath.Join(dir, "meta"), "--versioning-dir", filepath.Join(dir, "versions"), filepath.Join(dir, "data"))
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
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.roots}
	s.client, err = minio.New(address, &minio.Options{Creds: credentials.NewStaticV4(s.keys.ID, s.keys.Secret, ""), Secure: true, Region: "us-east-1", Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	for bucket, lock := range map[string]bool{lockedBucket: true, plainBucket: false} {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			if err = s.client.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{ObjectLocking: lock}); err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
	}
	return s
}

func (s *service) open(t *testing.T, bucket string, until time.Time) (*Bucket, error) {
	t.Helper()
	return OpenBucket(t.Context(), S3{Endpoint: s.url, Bucket: bucket, Prefix: "comune", Region: "us-east-1", RetainUntil: until}, s.keys, s.roots)
}

func TestARealBucketKeepsWhatItWasGiven(t *testing.T) {
	s := startService(t)
	until := time.Now().AddDate(0, 30, 0)
	if _, err := s.open(t, plainBucket, until); !errors.Is(err, errNoLock) {
		t.Errorf("a bucket without object lock, where one is asked for: %v", err)
	}
	if _, err := OpenBucket(t.Context(), S3{Endpoint: s.url, Bucket: lockedBucket, RetainUntil: until}, Keys{ID: "archivio", Secret: "other"}, s.roots); err == nil || errors.Is(err, errNoLock) {
		t.Errorf("wrong keys: %v", err)
	}
	smallPackages(t, 100)
	for name, bucket := range map[string]struct {
		name  string
		until time.Time
	}{"with object lock": {lockedBucket, until}, "without": {plainBucket, time.Time{}}} {
		t.Run(name, func(t *testing.T) {
			place, err := s.open(t, bucket.name, bucket.until)
			if err != nil {
				t.Fatal(err)
			}
			box := newMailbox(t, 500)
			result := archive(t, box, place, task(t, noon))
			if diff := cmp.Diff(box.all(), restoredFrom(t, place).all()); diff != "" {
				t.Error(diff)
			}
			if again := archive(t, box, place, task(t, noon)); again.Archived != 0 || again.Messages != result.Messages {
				t.Errorf("a second run: %+v", again)
			}
			if bucket.until.IsZero() {
				return
			}
			key := "comune/" + result.Packages[0].Name
			object, err := s.client.StatObject(context.Background(), bucket.name, key, minio.StatObjectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			err = s.client.RemoveObject(context.Background(), bucket.name, key, minio.RemoveObjectOptions{VersionID: object.VersionID, GovernanceBypass: true})
			if err == nil {
				t.Error("the service let a package be deleted")
			}
		})
	}
}

func TestARealBucketTakesANameOnce(t *testing.T) {
	s := startService(t)
	place, err := s.open(t, lockedBucket, time.Now().AddDate(0, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	checkPlace(t, place)
}
