package engine

import (
	"crypto/tls"
	"fmt"
	"net/http"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
	"github.com/pec-operator/pec-operator/internal/providers"
)

// indexSource reads the settings' files anew, because a client certificate ends and is replaced.
func (e *Engine) indexSource() (providers.Source, error) {
	s := e.settings.Index
	roots, err := rootsOf(ifThere(s.CA))
	if err != nil {
		return providers.Source{}, err
	}
	source := providers.Source{URL: s.URL, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	if s.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(s.ClientCert, s.ClientKey)
		if err != nil {
			return providers.Source{}, fmt.Errorf("reading the client certificate for the index: %w", err)
		}
		source.TLS.Certificates = []tls.Certificate{pair}
	}
	if ifThere(s.SignerCA) != "" {
		if source.Signers, err = rootsOf(s.SignerCA); err != nil {
			return providers.Source{}, err
		}
	}
	return source, nil
}

// indexState is the index as the operator is told of it.
func (e *Engine) indexState() admin.Index {
	var state admin.Index
	if e.refresher != nil {
		s := e.refresher.State()
		state.Fetched, state.Handled = s.Fetched, s.Handled
		if s.Err != nil {
			state.LastError = oneLine(s.Err.Error())
		}
	}
	index, _, _ := e.index.Get()
	signer, _ := e.signer.Get()
	if index != nil && signer != nil {
		_, listed := index.Signer(signer.Certificate())
		state.Unlisted = !listed
	}
	return state
}

func (e *Engine) putIndex(r *http.Request) (any, error) {
	demand, err := readRequest[admin.Refresh](r)
	if err != nil {
		return nil, err
	}
	if e.refresher == nil {
		return nil, fmt.Errorf("the index is not downloaded here: %w", directory.ErrInvalid)
	}
	e.refresher.Demand(demand.Token)
	return nil, nil
}
