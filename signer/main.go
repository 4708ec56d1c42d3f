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

	mu      sync.Mutex
	ctx     *crypto11.Context
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
	signature, err := h.sign(q)
	if err != nil && !errors.Is(err, errNoKey) {
		h.log.Warn("asking the HSM again", "error", err.Error())
		h.close()
		signature, err = h.sign(q)
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

func (h *hsm) sign(q signing.Request) ([]byte, error) {
	key, err := h.key(q.PublicKey)
	if err != nil || len(q.Digest) == 0 {
		return nil, err
	}
	return key.Sign(rand.Reader, q.Digest, crypto.SHA256)
}

// key finds a key by its public key. One that is not known may have been made since: then the token is searched again.
func (h *hsm) key(public []byte) (crypto.Signer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if key := h.keys[string(public)]; key != nil {
		return key, nil
	}
	if h.ctx == nil {
		ctx, err := h.open()
		if err != nil {
			return nil, fmt.Errorf("logging in to the token: %w", err)
		}
		h.ctx = ctx
	}
	pairs, err := h.ctx.FindKeyPairs(nil, []byte(h.label))
	if err != nil {
		return nil, fmt.Errorf("searching the token: %w", err)
	}
	h.keys = map[string]crypto.Signer{}
	for _, pair := range pairs {
		spki, err := x509.MarshalPKIXPublicKey(pair.Public())
		if err != nil {
			return nil, fmt.Errorf("encoding a public key: %w", err)
		}
		h.keys[string(spki)] = pair
	}
	if key := h.keys[string(public)]; key != nil {
		return key, nil
	}
	return nil, errNoKey
}

func (h *hsm) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx != nil {
		_ = h.ctx.Close()
	}
	h.ctx, h.keys = nil, nil
}
