package engine

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/evidence"
)

const (
	// stampTimeout bounds one question to the time-stamping authority.
	stampTimeout = 30 * time.Second
	// sealLate is how long after its day a seal or its time-stamp is late: the law gives the log a day.
	sealLate = 24 * time.Hour
)

// newSealer makes what closes the log's days. The seal is signed with the key that signs the messages.
func (e *Engine) newSealer() *evidence.Sealer {
	s := &evidence.Sealer{
		Log: e.evidence, Domain: e.settings.Domain, Site: e.settings.Site, Provider: e.settings.Provider.ServiceAddress, Now: e.now,
		Sign: func(content []byte, at time.Time) ([]byte, error) {
			signer, err := e.signer.Get()
			if signer == nil {
				return nil, fmt.Errorf("no signing certificate: %w", err)
			}
			return signer.SignDetached(content, at)
		},
	}
	if e.settings.Timestamping.URL != "" {
		s.Stamp = e.stamp
	}
	return s
}

// stamp asks the authority. Its CA file is read each time: once a day is not often.
func (e *Engine) stamp(ctx context.Context, content []byte) ([]byte, error) {
	t := e.settings.Timestamping
	roots, err := rootsOf(t.CA)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	return evidence.RequestStamp(ctx, &http.Client{Transport: transport, Timeout: stampTimeout}, t.URL, roots, content)
}

// seals is the sealing as the operator is told of it.
func (e *Engine) seals() admin.Seals {
	state := e.sealer.State()
	s := admin.Seals{
		Day: state.Last.Day, Records: state.Last.Last, Head: state.Last.Head, Unsealed: state.Unsealed, Unstamped: state.Unstamped,
		Stamping: e.sealer.Stamp != nil, Late: state.Late(e.now(), sealLate),
	}
	if state.Err != nil {
		s.LastError = oneLine(state.Err.Error())
	}
	return s
}
