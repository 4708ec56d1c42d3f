//go:build cgo

// Command pec-signer lends the engine the key of an HSM. It is a program of its own because the maker's PKCS#11 library is native code: the
// engine, which reads what strangers send, stays static and never has it in its memory. It knows of no message, only of digests.
package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/pec-operator/pec-operator/internal/signing"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "pec-signer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("pec-signer", flag.ContinueOnError)
	flags.SetOutput(stderr)
	module := flags.String("module", "", "path of the HSM's PKCS#11 `library`")
	token := flags.String("token", "", "`label` of the token")
	key := flags.String("key", "", "`label` of the key; of several keys the engine's certificate says which")
	pin := flags.String("pin-file", "", "`file` with the token's PIN")
	socket := flags.String("socket", "", "Unix `socket` to serve")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *module == "" || *token == "" || *key == "" || *pin == "" || *socket == "" {
		return errors.New("--module, --token, --key, --pin-file and --socket must be given")
	}
	h := &hsm{module: *module, token: *token, label: *key, pinFile: *pin, log: slog.New(slog.NewJSONHandler(stderr, nil))}
	defer h.close()
	return serve(ctx, *socket, h)
}

// serve answers on the socket until the context ends. Only the pod's group may connect.
func serve(ctx context.Context, socket string, h *hsm) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the former socket: %w", err)
	}
	defer syscall.Umask(syscall.Umask(0o117))
	l, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /v1/sign", h)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	h.log.Info("serving", "socket", socket)
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

// hsm is the token, logged in at the first request, and anew after a failure: an HSM over a network comes and goes.
type hsm struct {
	module, token, label, pinFile string
	log                           *slog.Logger

	mu      sync.RWMutex // held for reading while the token signs
	ctx     *crypto11.Context
	opening int                      // how often the token was opened
	keys    map[string]crypto.Signer // by public key, DER
	refused string                   // a PIN that the token did not take
}

// open logs in. A PIN that was refused is not tried again: after a few attempts the token would lock itself for everybody.
func (h *hsm) open() (*crypto11.Context, error) {
	raw, err := os.ReadFile(h.pinFile)
	if err != nil {
		return nil, fmt.Errorf("reading the PIN: %w", err)
	}
	pin := strings.TrimRight(string(raw), "\r\n")
	if pin == h.refused {
		return nil, errPIN
	}
	ctx, err := crypto11.Configure(&crypto11.Config{Path: h.module, TokenLabel: h.token, Pin: pin, MaxSessions: 16, PoolWaitTimeout: 10 * time.Second})
	var answer pkcs11.Error
	if errors.As(err, &answer) && (answer == pkcs11.CKR_PIN_INCORRECT || answer == pkcs11.CKR_PIN_INVALID || answer == pkcs11.CKR_PIN_LEN_RANGE) {
		h.refused = pin
		return nil, errPIN
	}
	return ctx, err
}

var errPIN = errors.New("the token refused the PIN, and is not asked again before the PIN's Secret changes")

var errNoKey = errors.New("the HSM has no key of this label with the certificate's public key")

func (h *hsm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q signing.Request
	if err := json.NewDecoder(io.LimitReader(r.Body, 16<<10)).Decode(&q); err != nil {
		http.Error(w, "the request is not JSON", http.StatusBadRequest)
		return
	}
	if len(q.Digest) != 0 && len(q.Digest) != crypto.SHA256.Size() {
		http.Error(w, "the digest is no SHA-256", http.StatusBadRequest)
		return
	}
	signature, opening, err := h.sign(q)
	if isLost(err) {
		h.log.Warn("asking the HSM again", "error", err.Error())
		h.closeOpening(opening)
		signature, _, err = h.sign(q)
	}
	switch {
	case errors.Is(err, errNoKey):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		h.log.Error("asking the HSM", "error", err.Error())
		http.Error(w, "the HSM does not answer: "+err.Error(), http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(signing.Response{Signature: signature})
	}
}

// sign also says in which opening of the token it failed: another request may have opened it anew since.
func (h *hsm) sign(q signing.Request) (signature []byte, opening int, err error) {
	h.mu.RLock() // nobody closes the token under a signature
	key, opening := h.keys[string(q.PublicKey)], h.opening
	if key == nil {
		h.mu.RUnlock()
		if opening, err = h.search(q.PublicKey); err != nil {
			return nil, opening, err
		}
		h.mu.RLock()
		key, opening = h.keys[string(q.PublicKey)], h.opening
	}
	defer h.mu.RUnlock()
	switch {
	case key == nil:
		return nil, opening, errClosed
	case len(q.Digest) == 0:
		return nil, opening, nil
	}
	signature, err = key.Sign(rand.Reader, q.Digest, crypto.SHA256)
	return signature, opening, err
}

// search looks for a key that is not known: it may have been made since.
func (h *hsm) search(public []byte) (opening int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys[string(public)] != nil {
		return h.opening, nil
	}
	if h.ctx == nil {
		ctx, err := h.open()
		if err != nil {
			return h.opening, fmt.Errorf("logging in to the token: %w", err)
		}
		h.ctx = ctx
		h.opening++
	}
	pairs, err := h.ctx.FindKeyPairs(nil, []byte(h.label))
	if err != nil {
		return h.opening, fmt.Errorf("searching the token: %w", err)
	}
	h.keys = map[string]crypto.Signer{}
	for _, pair := range pairs {
		spki, err := x509.MarshalPKIXPublicKey(pair.Public())
		if err != nil {
			return h.opening, fmt.Errorf("encoding a public key: %w", err)
		}
		h.keys[string(spki)] = pair
	}
	if h.keys[string(public)] == nil {
		return h.opening, errNoKey
	}
	return h.opening, nil
}

// closeOpening closes the token for all, unless it was opened anew since.
func (h *hsm) closeOpening(opening int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx != nil && h.opening == opening {
		_ = h.ctx.Close()
		h.ctx, h.keys = nil, nil
	}
}

func (h *hsm) close() {
	h.mu.RLock()
	opening := h.opening
	h.mu.RUnlock()
	h.closeOpening(opening)
}

// lost are the answers after which the sessions, or the device behind them, must be had anew. Any other is about the one request: the
// token that all requests share stays open.
var lost = []pkcs11.Error{
	pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED, pkcs11.CKR_USER_NOT_LOGGED_IN, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED,
	pkcs11.CKR_KEY_HANDLE_INVALID, pkcs11.CKR_OBJECT_HANDLE_INVALID, pkcs11.CKR_SLOT_ID_INVALID, pkcs11.CKR_TOKEN_NOT_PRESENT,
	pkcs11.CKR_TOKEN_NOT_RECOGNIZED, pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_DEVICE_MEMORY, pkcs11.CKR_DEVICE_REMOVED,
	pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_FUNCTION_FAILED, // what HSMs over a network say when that is gone
}

var errClosed = errors.New("the token was closed meanwhile")

func isLost(err error) bool {
	var answer pkcs11.Error
	return errors.Is(err, errClosed) || errors.As(err, &answer) && slices.Contains(lost, answer)
}
