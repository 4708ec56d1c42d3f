// Package apitest starts real API servers for tests, and stands in for what runs in the mail pods.
package apitest

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// ServersVariable names the directory of etcd and kube-apiserver. They are the binaries that the two sites run.
const ServersVariable = "PEC_SERVERS"

// Server is an API server with our kinds.
type Server struct {
	// Config is an administrator's.
	Config *rest.Config
	env    *envtest.Environment
}

// Start starts etcd and kube-apiserver and installs the kinds; Stop ends them.
func Start() (*Server, error) {
	dir := os.Getenv(ServersVariable)
	if dir == "" {
		return nil, fmt.Errorf("starting an API server: set %s to the directory of etcd and kube-apiserver (make servers builds them), or run the tests with -short", ServersVariable)
	}
	env := &envtest.Environment{
		BinaryAssetsDirectory: dir,
		CRDDirectoryPaths:     []string{filepath.Join(root(), "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	config, err := env.Start()
	if err != nil {
		return nil, fmt.Errorf("starting an API server with the binaries in %s: %w", dir, err)
	}
	config.QPS, config.Burst = -1, 0
	return &Server{Config: config, env: env}, nil
}

// Stop ends what Start started.
func (s *Server) Stop() error { return s.env.Stop() }

// AddUser makes a user without any rights but those that RBAC gives, and answers a configuration as that user.
func (s *Server) AddUser(name string) (*rest.Config, error) {
	user, err := s.env.AddUser(envtest.User{Name: name}, nil)
	if err != nil {
		return nil, fmt.Errorf("adding user %s: %w", name, err)
	}
	return user.Config(), nil
}

// Kubeconfig is a kubeconfig of a user of the server, everything inline.
func (s *Server) Kubeconfig(name string) ([]byte, error) {
	user, err := s.env.AddUser(envtest.User{Name: name, Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return nil, fmt.Errorf("adding user %s: %w", name, err)
	}
	return user.KubeConfig()
}

// Main runs the tests of a package with one API server, which server points to; nil under -short.
func Main(m *testing.M, server **Server) {
	flag.Parse()
	if testing.Short() {
		os.Exit(m.Run())
	}
	s, err := Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	*server = s
	code := m.Run()
	if err := s.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the API server:", err)
	}
	os.Exit(code)
}

// Need skips a test that needs the package's API server when there is none.
func Need(t testing.TB, server *Server) *Server {
	t.Helper()
	if server == nil {
		t.Skip("needs an API server; run without -short")
	}
	return server
}

// root is the project's top folder.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Writes counts the calls of a client that change something, by method and path. Leases are not counted: holding one is writing.
type Writes struct {
	mu    sync.Mutex
	calls []string
}

// Watch makes a copy of a configuration whose calls are counted.
func (w *Writes) Watch(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodGet {
				w.mu.Lock()
				w.calls = append(w.calls, r.Method+" "+r.URL.Path)
				w.mu.Unlock()
			}
			return next.RoundTrip(r)
		})
	})
	return config
}

// Take answers the calls since the last Take.
func (w *Writes) Take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
