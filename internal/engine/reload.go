package engine

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/pki"
	"github.com/pec-operator/pec-operator/internal/settings"
	"github.com/pec-operator/pec-operator/internal/signing"
)

// reloading is a value made from files, made again when they change: a kubelet swaps a Secret's files under a running pod.
// A new content that is no good leaves the last good value in use, and its error is told with it.
type reloading[T any] struct {
	paths []string
	parse func(contents [][]byte) (T, error)

	mu    sync.Mutex
	stamp string
	value T
	err   error
}

func newReloading[T any](parse func(contents [][]byte) (T, error), paths ...string) *reloading[T] {
	return &reloading[T]{paths: paths, parse: parse}
}

// Get returns the last good value, zero if there never was one, and the error of the last reading if that failed. Callers ask for the value:
// with one in hand the error is only to be told.
func (r *reloading[T]) Get() (T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stamp := r.look()
	// After a failure it is read again even if nothing changed: what failed may have been the disk, or the HSM.
	if stamp == r.stamp && r.err == nil {
		return r.value, nil
	}
	value, err := r.read()
	if r.err = err; err == nil {
		r.value = value
	}
	r.stamp = stamp
	return r.value, r.err
}

// look is different whenever a file was replaced, changed, lost or found.
func (r *reloading[T]) look() string {
	var b strings.Builder
	for _, path := range r.paths {
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&b, "%v;", err)
			continue
		}
		fmt.Fprintf(&b, "%d %d;", info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}

func (r *reloading[T]) read() (value T, err error) {
	contents := make([][]byte, len(r.paths))
	for i, path := range r.paths {
		if contents[i], err = os.ReadFile(path); err != nil {
			return value, fmt.Errorf("reading: %w", err)
		}
	}
	if value, err = r.parse(contents); err != nil {
		return value, fmt.Errorf("reading %s: %w", strings.Join(r.paths, " and "), err)
	}
	return value, nil
}

// newSigner reads the signing certificate, with its key from a file or, by the certificate's public key, from the HSM.
func newSigner(s settings.Engine) *reloading[*pec.Signer] {
	if s.Signer == "" {
		return newReloading(func(contents [][]byte) (*pec.Signer, error) { return pec.NewSigner(contents[0], contents[1]) }, s.Files.SigningCert, s.Files.SigningKey)
	}
	return newReloading(func(contents [][]byte) (*pec.Signer, error) {
		chain, err := pec.ParseChain(contents[0])
		if err != nil {
			return nil, err
		}
		key, err := signing.Dial(s.Signer, chain[0].PublicKey)
		if err != nil {
			return nil, err
		}
		return pec.NewSignerWithKey(chain, key)
	}, s.Files.SigningCert)
}

// identity is what this engine shows to the operator and to its peer, and whom it trusts at its own site.
type identity struct {
	certificate tls.Certificate
	siteCA      *x509.CertPool
}

func parseIdentity(contents [][]byte) (*identity, error) {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(contents[2]) {
		return nil, errors.New("the site's CA file holds no certificate")
	}
	return &identity{certificate: pair, siteCA: pool}, nil
}

func parsePair(contents [][]byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	return &pair, err
}

func parseLine(contents [][]byte) (string, error) {
	line := strings.TrimSpace(string(contents[0]))
	if line == "" {
		return "", errors.New("the file is empty")
	}
	return line, nil
}

// verifyURI checks that the other end's certificate chains to roots and carries the one URI that it must be.
func verifyURI(state tls.ConnectionState, roots *x509.CertPool, usage x509.ExtKeyUsage, uri string, now time.Time) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the other end showed no certificate")
	}
	leaf, intermediates := state.PeerCertificates[0], x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		return err
	}
	if !pki.HasURI(leaf, uri) {
		return fmt.Errorf("the other end is not %s", uri)
	}
	return nil
}

// rootsOf reads a PEM file of roots; the system's when there is none.
func rootsOf(path string) (*x509.CertPool, error) {
	if path == "" {
		return x509.SystemCertPool()
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading roots: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, errors.New("reading roots: " + path + " holds no PEM certificate")
	}
	return pool, nil
}

// ifThere is the path of a file that may be left out of its Secret, "" if it was.
func ifThere(path string) string {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return ""
	}
	return path
}
