package peer

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: peer, cluster: {server: "https://peer.test:6443"%s}}]
users: [{name: reader, user: {%s}}]
contexts: [{name: peer, context: {cluster: peer, user: reader}}]
current-context: peer
`

func TestConfigTakesWhatIsInline(t *testing.T) {
	for name, c := range map[string]struct {
		cluster, user string
		want          bool
	}{
		"an inline token":                      {"", "token: abc", true},
		"a plugin is a program":                {"", "exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, interactiveMode: Never}", false},
		"an auth provider is one too":          {"", "auth-provider: {name: gcp}", false},
		"a token file is a file of ours":       {"", "tokenFile: /var/run/secrets/token", false},
		"a certificate file is a file of ours": {"", "client-certificate: /etc/x, client-key: /etc/y", false},
		"a CA file is a file of ours":          {", certificate-authority: /etc/ca", "token: abc", false},
		"unverified TLS is whoever answers":    {", insecure-skip-tls-verify: true", "token: abc", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Config(fmt.Appendf(nil, kubeconfig, c.cluster, c.user))
			if (err == nil) != c.want {
				t.Errorf("error %v, want accepted: %v", err, c.want)
			}
			if err != nil && !errors.Is(err, errBadKubeconfig) {
				t.Errorf("the error does not say what to do: %v", err)
			}
		})
	}
	if _, err := Config([]byte("no kubeconfig")); !errors.Is(err, errBadKubeconfig) {
		t.Errorf("garbage: %v", err)
	}
}

func TestProbes(t *testing.T) {
	var code atomic.Int32
	code.Store(http.StatusOK)
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/version" || r.Header.Get("Authorization") != "Bearer abc" {
			t.Errorf("asked for %s with %q", r.URL.Path, r.Header.Get("Authorization"))
		}
		w.WriteHeader(int(code.Load()))
	}))
	defer api.Close()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	clock := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := New(path, runtime.NewScheme(), func() time.Time { return clock })
	ctx := context.Background()
	state := func(name string, wantReachable bool, wantWhy string) {
		t.Helper()
		got := p.State()
		if got.Reachable != wantReachable || !strings.Contains(got.Why, wantWhy) {
			t.Errorf("%s: reachable %v (%s), want %v (%s)", name, got.Reachable, got.Why, wantReachable, wantWhy)
		}
	}
	p.Probe(ctx)
	state("without a kubeconfig", false, "not there")
	if _, err := p.Domain(ctx, client.ObjectKey{}); !errors.Is(err, ErrNotConnected) {
		t.Errorf("reading a peer that is not connected: %v", err)
	}

	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	text := strings.Replace(fmt.Sprintf(kubeconfig, ", certificate-authority-data: "+base64.StdEncoding.EncodeToString(ca), "token: abc"),
		"https://peer.test:6443", api.URL, 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(time.Minute)
	p.Probe(ctx)
	state("once it is introduced", true, "")
	if !p.State().Since.Equal(clock) {
		t.Errorf("reachable since %s", p.State().Since)
	}

	answered := clock
	code.Store(http.StatusServiceUnavailable)
	clock = clock.Add(time.Minute)
	for range failuresToDisconnect - 1 {
		p.Probe(ctx)
		state("one lost answer is no news", true, "")
	}
	p.Probe(ctx)
	state("five in a row are", false, "does not answer")
	if since := p.State().Since; !since.Equal(answered) {
		t.Errorf("silent since %s, want since the last answer at %s", since, answered)
	}

	code.Store(http.StatusOK)
	p.Probe(ctx)
	state("it comes back at once", true, "")
	code.Store(http.StatusUnauthorized)
	p.Probe(ctx)
	state("a refused credential needs no counting", false, "refuses our credential")

	acts := func(name string, want bool) {
		t.Helper()
		if role := RoleOf("b", "a", p.State(), 15*time.Minute, clock); role.Acts != want {
			t.Errorf("%s: acts %v", name, role.Acts)
		}
	}
	clock = clock.Add(24 * time.Hour)
	p.Probe(ctx)
	acts("a day of refusals", false)
	api.Close()
	silent := clock
	p.Probe(ctx)
	acts("the first probe that nobody answers", false)
	clock = silent.Add(14 * time.Minute)
	p.Probe(ctx)
	acts("14 minutes of silence", false)
	clock = silent.Add(15 * time.Minute)
	p.Probe(ctx)
	acts("15 minutes of silence", true)
}
