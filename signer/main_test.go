//go:build cgo

package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/signing"
)

const (
	module = "/usr/lib/softhsm/libsofthsm2.so"
	label  = "firma"
)

// token is a SoftHSM with a PIN. The library reads its settings once in a process, so that all tests share it.
var token = sync.OnceValue(func() (dir string) {
	dir, err := os.MkdirTemp("", "softhsm")
	if err != nil {
		panic(err)
	}
	config := filepath.Join(dir, "softhsm2.conf")
	for path, content := range map[string]string{config: "directories.tokendir = " + dir + "\nobjectstore.backend = file\n", filepath.Join(dir, "pin"): "1234\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			panic(err)
		}
	}
	if err := os.Setenv("SOFTHSM2_CONF", config); err != nil {
		panic(err)
	}
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "pec", "--pin", "1234", "--so-pin", "4321").CombinedOutput(); err != nil {
		panic(string(out))
	}
	return dir
})

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(token())
	os.Exit(code)
}

// inToken does something with the token as its keeper would.
func inToken(t *testing.T, do func(*crypto11.Context)) {
	t.Helper()
	token()
	ctx, err := crypto11.Configure(&crypto11.Config{Path: module, TokenLabel: "pec", Pin: "1234"})
	if err != nil {
		t.Fatal(err)
	}
	do(ctx)
	if err := ctx.Close(); err != nil {
		t.Fatal(err)
	}
}

// start runs the program in this process and returns its socket.
func start(t *testing.T, pinFile string) string { return startLogging(t, pinFile, io.Discard) }

func startLogging(t *testing.T, pinFile string, stderr io.Writer) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "socket")
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"--module", module, "--token", "pec", "--key", label, "--pin-file", pinFile, "--socket", socket}, stderr)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			return socket
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the program does not listen")
	return ""
}

// certificate is one for a key of the token.
func certificate(t *testing.T, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	issuer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Gestore"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, EmailAddresses: []string{"posta-certificata@pec.uno.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, issuer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestKeysOfAnHSMSign(t *testing.T) {
	var publics []crypto.PublicKey
	inToken(t, func(ctx *crypto11.Context) {
		a, err := ctx.GenerateRSAKeyPairWithLabel([]byte{1}, []byte(label), 2048)
		if err != nil {
			t.Fatal(err)
		}
		b, err := ctx.GenerateECDSAKeyPairWithLabel([]byte{2}, []byte(label), elliptic.P256())
		if err != nil {
			t.Fatal(err)
		}
		publics = []crypto.PublicKey{a.Public(), b.Public()}
	})
	socket := start(t, filepath.Join(token(), "pin"))
	for _, public := range publics {
		key, err := signing.Dial(socket, public)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := pec.NewSignerWithKey([]*x509.Certificate{certificate(t, public)}, key)
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for range 32 { // more than the token has sessions
			group.Go(func() {
				cms, err := signer.SignDetached([]byte("content"), time.Now())
				if err == nil {
					_, err = pec.VerifyDetached([]byte("content"), cms)
				}
				if err != nil {
					t.Errorf("%T: %v", public, err)
				}
			})
		}
		group.Wait()
	}
	// The next key is made while this one signs, under the same label: nothing is started again.
	inToken(t, func(ctx *crypto11.Context) {
		c, err := ctx.GenerateECDSAKeyPairWithLabel([]byte{3}, []byte(label), elliptic.P256())
		if err != nil {
			t.Fatal(err)
		}
		publics = append(publics, c.Public())
	})
	for i, public := range publics {
		key, err := signing.Dial(socket, public)
		if err != nil {
			t.Fatalf("key %d: %v", i+1, err)
		}
		digest := sha256.Sum256([]byte("content"))
		if _, err := key.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
			t.Errorf("key %d: %v", i+1, err)
		}
	}
}

func TestWhatTheHSMDoesNotSign(t *testing.T) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var public crypto.PublicKey
	inToken(t, func(ctx *crypto11.Context) {
		key, err := ctx.GenerateRSAKeyPairWithLabel([]byte{9}, []byte(label), 2048)
		if err != nil {
			t.Fatal(err)
		}
		public = key.Public()
	})
	pin := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(pin, []byte("0000"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := start(t, pin)
	for range 12 { // a token locks itself after fewer wrong attempts than that
		if _, err := signing.Dial(socket, public); err == nil || !strings.Contains(err.Error(), "refused the PIN") || strings.Contains(err.Error(), "0000") {
			t.Errorf("with a wrong PIN: %v", err)
		}
	}
	if err := os.WriteFile(pin, []byte("1234"), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := signing.Dial(socket, public)
	if err != nil {
		t.Fatalf("after the PIN was put right: %v", err)
	}
	if _, err := signing.Dial(socket, own.Public()); err == nil || !strings.Contains(err.Error(), "no key") {
		t.Errorf("a key that is not in the token: %v", err)
	}
	digest := sha256.Sum256(nil)
	for sentence, c := range map[string]struct {
		digest []byte
		opts   crypto.SignerOpts
	}{
		"another digest":  {digest[:20], crypto.SHA1},
		"half a digest":   {digest[:16], crypto.SHA256},
		"another padding": {digest[:], &rsa.PSSOptions{Hash: crypto.SHA256}},
	} {
		if _, err := key.Sign(rand.Reader, c.digest, c.opts); err == nil {
			t.Errorf("%s was signed", sentence)
		}
	}
}

// lines is what the program wrote, of many requests at once.
type lines struct {
	sync.Mutex
	strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.Builder.Write(p)
}

func (l *lines) count(what string) int {
	l.Lock()
	defer l.Unlock()
	return strings.Count(l.String(), what)
}

// All requests share the token. One that the token refuses for itself closes it for nobody; when its sessions are gone it is opened
// again, and no signature is lost.
func TestOneRequestDoesNotEndTheOthers(t *testing.T) {
	var good, bad crypto.PublicKey
	inToken(t, func(ctx *crypto11.Context) {
		key, err := ctx.GenerateRSAKeyPairWithLabel([]byte{20}, []byte(label), 2048)
		if err != nil {
			t.Fatal(err)
		}
		good = key.Public()
		attributes := func(more ...*pkcs11.Attribute) crypto11.AttributeSet {
			set := crypto11.NewAttributeSet()
			set.AddIfNotPresent(append(more, pkcs11.NewAttribute(pkcs11.CKA_ID, []byte{21}), pkcs11.NewAttribute(pkcs11.CKA_LABEL, []byte(label))))
			return set
		}
		key, err = ctx.GenerateRSAKeyPairWithAttributes(attributes(), attributes(pkcs11.NewAttribute(pkcs11.CKA_SIGN, false)), 2048)
		if err != nil {
			t.Fatal(err)
		}
		bad = key.Public()
	})
	var log lines
	socket := startLogging(t, filepath.Join(token(), "pin"), &log)
	digest := sha256.Sum256(nil)
	signs := func(public crypto.PublicKey, times int) (failures []error) {
		key, err := signing.Dial(socket, public)
		if err != nil {
			return []error{err}
		}
		for range times {
			if _, err := key.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
				failures = append(failures, err)
			}
		}
		return failures
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for _, err := range signs(good, 20) {
				t.Errorf("beside requests that are refused: %v", err)
			}
		})
		group.Go(func() {
			if n := len(signs(bad, 20)); n != 20 {
				t.Errorf("a key that may not sign was refused %d times of 20", n)
			}
		})
	}
	group.Wait()
	if n := log.count("asking the HSM again"); n != 0 {
		t.Errorf("the token was opened anew %d times for requests that it refused", n)
	}
	native := pkcs11.New(module)
	slots, err := native.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := native.CloseAllSessions(slots[0]); err != nil { // between signatures: SoftHSM does not survive it under one
			t.Fatal(err)
		}
		for range 8 {
			group.Go(func() {
				for _, err := range signs(good, 5) {
					t.Errorf("after the sessions were lost: %v", err)
				}
			})
		}
		group.Wait()
	}
	if log.count("asking the HSM again") == 0 {
		t.Error("the sessions were not lost: nothing was tried")
	}
}
