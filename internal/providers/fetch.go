package providers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/pec-operator/pec-operator/internal/durable"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// Source is where the index is downloaded from, each time whole.
type Source struct {
	// URL is https, of an LDIF signed as ".p7m"; or ldaps, of the directory itself, with the base as path (o=postacert if none).
	URL string
	// TLS holds the certificate that the source asks for, and the roots of its own.
	TLS *tls.Config
	// Signers are the roots of the certificates, or the very ones, that the LDIF may be signed with. A directory is believed by its TLS.
	Signers *x509.CertPool
}

const (
	fetchTimeout = 2 * time.Minute
	defaultBase  = "o=postacert"
)

// Fetch downloads and checks the index, and returns it as LDIF.
func (s Source) Fetch(ctx context.Context, now time.Time) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the index' address: %w", err)
	}
	var raw []byte
	switch u.Scheme {
	case "https":
		raw, err = s.download(ctx, now)
	case "ldaps":
		raw, err = s.search(ctx, u)
	default:
		return nil, fmt.Errorf("downloading the index from %s: it must be https or ldaps", s.URL)
	}
	if err != nil {
		return nil, fmt.Errorf("downloading the index from %s: %w", s.URL, err)
	}
	if _, err := Parse(raw); err != nil {
		return nil, fmt.Errorf("downloading the index from %s: %w", s.URL, err)
	}
	return raw, nil
}

// download gets the signed LDIF and opens it.
func (s Source) download(ctx context.Context, now time.Time) ([]byte, error) {
	transport := &http.Transport{TLSClientConfig: s.TLS, Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	signed, err := get(ctx, &http.Client{Transport: transport}, s.URL, maxIndexBytes)
	if err != nil {
		return nil, err
	}
	return OpenSigned(signed, s.Signers, now)
}

// get reads what is at an address, so many bytes at most; its errors leave it to the caller to name the address.
func get(ctx context.Context, client *http.Client, address string, atMost int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		var fault *url.Error
		if errors.As(err, &fault) {
			err = fault.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %s", resp.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, atMost+1))
	if err == nil && int64(len(raw)) > atMost {
		err = fmt.Errorf("it exceeds %d bytes", atMost)
	}
	return raw, err
}

// OpenSigned takes the LDIF out of a ".p7m" that one of the signers, or somebody whom they certified, signed.
func OpenSigned(signed []byte, signers *x509.CertPool, now time.Time) ([]byte, error) {
	content, signature, err := pec.OpenEnclosed(signed)
	if err != nil {
		return nil, fmt.Errorf("it is not a signed LDIF: %w", err)
	}
	if signers == nil {
		return nil, errors.New("nobody is known who may sign it")
	}
	if err := signature.VerifyAnyUse(signers, now); err != nil {
		return nil, fmt.Errorf("it is signed by %s, who may not: %w", signature.Signer.Subject, err)
	}
	return content, nil
}

// search reads the directory.
func (s Source) search(ctx context.Context, u *url.URL) ([]byte, error) {
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "636")
	}
	config := s.TLS.Clone()
	config.ServerName = u.Hostname()
	raw, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := ldap.NewConn(raw, true)
	conn.SetTimeout(fetchTimeout)
	conn.Start()
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.Close)
	defer stop()
	if len(config.Certificates) > 0 {
		if err := conn.ExternalBind(); err != nil {
			return nil, fmt.Errorf("logging in with the client certificate (SASL EXTERNAL): %w", err)
		}
	}
	base := strings.TrimPrefix(u.Path, "/")
	if base == "" {
		base = defaultBase
	}
	found, err := conn.Search(ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=provider)", nil, nil))
	if err != nil {
		return nil, err
	}
	return formatFound(found.Entries), nil
}

// Pauses of Refresher.Run.
const (
	refreshEvery = 24 * time.Hour
	refreshRetry = 15 * time.Minute
	refreshLook  = time.Minute // for what was asked on demand
)

// Refresher keeps a copy of a downloaded index in a file. The last good one stays, whatever the source does.
type Refresher struct {
	// Source reads the settings, whose files may have changed.
	Source func() (Source, error)
	Path   string
	Now    func() time.Time

	mu      sync.Mutex
	asked   string
	handled string
	tried   time.Time
	err     error
}

// RefreshState is how fresh the copy is.
type RefreshState struct {
	Fetched time.Time // zero: never
	Handled string    // the last demand that was answered
	Err     error     // of the last attempt
}

// State tells how fresh the copy is.
func (r *Refresher) State() RefreshState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return RefreshState{Fetched: r.fetched(), Handled: r.handled, Err: r.err}
}

// fetched is the file's time: it is set whenever the source has answered, changed or not.
func (r *Refresher) fetched() time.Time {
	info, err := os.Stat(r.Path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// Demand asks for a download now; the same demand is answered once.
func (r *Refresher) Demand(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = token
}

// Run downloads once a day, on demand, and again soon after a failure, until the context ends.
func (r *Refresher) Run(ctx context.Context) error {
	for {
		r.Pass(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(refreshLook):
		}
	}
}

// Pass downloads if it is time to.
func (r *Refresher) Pass(ctx context.Context) {
	now := r.Now()
	r.mu.Lock()
	asked := r.asked
	due := asked != r.handled || now.Sub(r.fetched()) >= refreshEvery
	if r.err != nil && asked == r.handled {
		due = now.Sub(r.tried) >= refreshRetry
	}
	r.mu.Unlock()
	if !due {
		return
	}
	err := r.fetch(ctx, now)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried, r.err, r.handled = now, err, asked
}

func (r *Refresher) fetch(ctx context.Context, now time.Time) error {
	source, err := r.Source()
	if err != nil {
		return err
	}
	raw, err := source.Fetch(ctx, now)
	if err != nil {
		return err
	}
	return store(r.Path, raw, now)
}

// store replaces the file whole, so that a crash leaves the old copy or the new one.
func store(path string, raw []byte, now time.Time) error {
	if err := durable.Write(path, raw, 0o640); err != nil {
		return err
	}
	if err := os.Chtimes(path, now, now); err != nil {
		return fmt.Errorf("dating %s: %w", path, err)
	}
	return nil
}
