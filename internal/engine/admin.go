package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
	"github.com/pec-operator/pec-operator/internal/pki"
	"github.com/pec-operator/pec-operator/internal/store"
)

// maxAdminBody bounds a request of the operator, in bytes.
const maxAdminBody = 16 << 20

// adminServer is the API of package admin, for the operator of this site, and that of package store, for its Jobs. Nobody else
// gets as far as a request.
func (e *Engine) adminServer() *http.Server {
	mux := http.NewServeMux()
	handle := func(pattern string, answer func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !pki.HasURI(r.TLS.PeerCertificates[0], admin.OperatorURI(e.settings.Site)) {
				http.Error(w, "only the operator of this site may ask this", http.StatusForbidden)
				return
			}
			result, err := answer(r)
			e.answerAdmin(w, r, result, err)
		})
	}
	handle("GET /v1/status", func(r *http.Request) (any, error) { return e.status(r.Context()) })
	handle("PUT /v1/domains/{domain}", e.putDomain)
	handle("GET /v1/digests", e.getDigests)
	handle("GET /v1/placed", e.getPlaced)
	handle("PUT /v1/placed", e.putPlaced)
	handle("GET /v1/mailboxes/{address}/usage", e.mailboxUsage)
	handle("PUT /v1/peer", e.putPeer)
	handle("PUT /v1/whole", e.putWhole)
	handle("PUT /v1/index", e.putIndex)
	handle("PUT /v1/jobs/{namespace}/{name}", e.putGrant)
	e.serveStore(mux)
	return &http.Server{
		Handler: mux, TLSConfig: e.adminTLS(), ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
	}
}

// adminTLS lets in only the certificates of this site's operator and of its Jobs, by this site's CA.
func (e *Engine) adminTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		id, err := e.identity.Get()
		if id == nil {
			return nil, err
		}
		return &tls.Config{
			MinVersion:   tls.VersionTLS13,
			NextProtos:   []string{"h2", "http/1.1"},
			Certificates: []tls.Certificate{id.certificate},
			ClientAuth:   tls.RequireAnyClientCert,
			VerifyConnection: func(state tls.ConnectionState) error {
				uri := admin.OperatorURI(e.settings.Site)
				if job := jobOf(&state, e.settings.Site); job != "" {
					uri = job
				}
				return verifyURI(state, id.siteCA, x509.ExtKeyUsageClientAuth, uri, e.now())
			},
		}, nil
	}}
}

func (e *Engine) answerAdmin(w http.ResponseWriter, r *http.Request, result any, err error) {
	switch {
	case err == nil && result == nil:
		w.WriteHeader(http.StatusNoContent)
	case err == nil:
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(result); err != nil {
			e.log.Warn("answering the operator", "path", r.URL.Path, "error", err)
		}
	case errors.Is(err, admin.ErrNotFound), errors.Is(err, store.ErrNotFound):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, store.ErrDenied):
		http.Error(w, err.Error(), http.StatusForbidden)
	case errors.Is(err, directory.ErrInvalid), errors.Is(err, store.ErrInvalid):
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	default:
		e.log.Error("answering the operator", "path", r.URL.Path, "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// readRequest decodes the operator's request, or a job's.
func readRequest[T any](r *http.Request) (T, error) {
	v, err := decodeStrict[T](io.LimitReader(r.Body, maxAdminBody))
	if err != nil {
		return v, fmt.Errorf("reading the request: %w: %w", directory.ErrInvalid, err)
	}
	return v, nil
}

func (e *Engine) putDomain(r *http.Request) (any, error) {
	d, err := readRequest[admin.Domain](r)
	if err != nil {
		return nil, err
	}
	if d.Name != r.PathValue("domain") {
		return nil, fmt.Errorf("domain %q at the path of %q: %w", d.Name, r.PathValue("domain"), directory.ErrInvalid)
	}
	return nil, e.directory.PutDomain(r.Context(), d)
}

func (e *Engine) putPeer(r *http.Request) (any, error) {
	p, err := readRequest[admin.Peer](r)
	if err != nil {
		return nil, err
	}
	if err := e.checkPeer(p); err != nil {
		return nil, err
	}
	before, isTold, err := e.directory.Peer(r.Context())
	if err != nil || isTold && before == p {
		return nil, err
	}
	if err := e.directory.PutPeer(r.Context(), p); err != nil {
		return nil, err
	}
	e.tenure.end()
	e.sync.all(r.Context(), syncCoalesce)
	return nil, nil
}

func (e *Engine) checkPeer(p admin.Peer) error {
	host, _, err := net.SplitHostPort(p.Address)
	switch {
	case p == admin.Peer{}:
		return nil
	case err != nil || host == "":
		return fmt.Errorf("peer address %q: %w: not host:port", p.Address, directory.ErrInvalid)
	case p.Site == "" || p.Site == e.settings.Site:
		return fmt.Errorf("peer site %q: %w: not another site", p.Site, directory.ErrInvalid)
	case !x509.NewCertPool().AppendCertsFromPEM([]byte(p.CABundle)):
		return fmt.Errorf("peer CA: %w: no certificate in it", directory.ErrInvalid)
	}
	return nil
}

func (e *Engine) status(ctx context.Context) (admin.Status, error) {
	s := admin.Status{Site: e.settings.Site, Domain: e.settings.Domain, Version: version(), Problems: e.problems(ctx), Incomplete: e.isIncomplete()}
	var err error
	if s.Mailboxes, err = e.directory.Count(ctx); err != nil {
		return s, err
	}
	if s.Domains, err = e.directory.Domains(ctx); err != nil {
		return s, err
	}
	s.Evidence.Records, s.Evidence.Head = e.evidence.Head()
	s.Evidence.Seals = e.seals()
	if signer, _ := e.signer.Get(); signer != nil {
		s.Signing = admin.Signing{Subject: signer.Certificate().Subject.String(), NotAfter: signer.Certificate().NotAfter}
	}
	if s.Antivirus = e.antivirusStatus(); s.Antivirus.Problem != "" { // not in problems, which readiness asks: a pod whose mail waits must still be reached by IMAP
		s.Problems = append(s.Problems, s.Antivirus.Problem)
	}
	if sentence := e.filterProblem(ctx); sentence != "" {
		s.Problems = append(s.Problems, sentence)
	}
	s.Index = e.indexState()
	peer, isTold, err := e.directory.Peer(ctx)
	if err != nil {
		return s, err
	}
	if s.Peer = e.sync.state(peer.Site != ""); s.Peer.Configured {
		s.Peer.Site, s.Replication = peer.Site, e.replication()
	}
	if isTold {
		s.Peer.Digest = peer.Digest()
	}
	s.Peer.Stores, err = e.storesState(ctx, s.Peer.Configured)
	return s, err
}

func (e *Engine) hasPeer(ctx context.Context) bool {
	peer, _, err := e.directory.Peer(ctx)
	return peer.Site != "" && err == nil
}

// version is the revision that this binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return info.Main.Version
}
