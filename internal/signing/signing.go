// Package signing is the contract between the engine and the process that uses an HSM: what crosses the Unix socket between them, and the
// engine's end of it. Only digests cross; the key never leaves the HSM, and the maker's library never comes into the engine.
//
//	POST /v1/sign   Request -> Response; 404 when the HSM has no key of that public key
package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Request asks for a signature. Without a digest it asks only whether the key is there.
type Request struct {
	PublicKey []byte `json:"publicKey"` // SubjectPublicKeyInfo, DER: which of the HSM's keys
	Digest    []byte `json:"digest"`    // SHA-256
}

// Response is a signature: PKCS #1 v1.5 of RSA, or the DER of ECDSA.
type Response struct {
	Signature []byte `json:"signature"`
}

// Key is a key in the HSM, as a crypto.Signer that answers SHA-256 alone.
type Key struct {
	public crypto.PublicKey
	spki   []byte
	client *http.Client
}

// signTimeout bounds one signature: an HSM over a network takes milliseconds, and a message waits for four of them.
const signTimeout = 20 * time.Second

// Dial finds the key of a public key in the process that listens on socket.
func Dial(socket string, public crypto.PublicKey) (*Key, error) {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encoding the public key: %w", err)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	k := &Key{public: public, spki: spki, client: &http.Client{
		Timeout: signTimeout, Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute},
	}}
	if _, err := k.ask(nil); err != nil {
		return nil, fmt.Errorf("looking for the signing key in the HSM: %w", err)
	}
	return k, nil
}

// Public is the public key.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Sign has a digest signed.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	_, pss := opts.(*rsa.PSSOptions)
	if opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size() || pss {
		return nil, errors.New("signing with the HSM: it signs SHA-256 digests, with PKCS #1 v1.5 or ECDSA")
	}
	signature, err := k.ask(digest)
	if err != nil {
		return nil, fmt.Errorf("signing with the HSM: %w", err)
	}
	return signature, nil
}

func (k *Key) ask(digest []byte) ([]byte, error) {
	body, err := json.Marshal(Request{PublicKey: k.spki, Digest: digest})
	if err != nil {
		return nil, err
	}
	resp, err := k.client.Post("http://signer/v1/sign", "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(strings.TrimSpace(string(raw)))
	}
	var answer Response
	return answer.Signature, json.Unmarshal(raw, &answer)
}
