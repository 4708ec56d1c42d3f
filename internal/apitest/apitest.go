// Package apitest starts real API servers for tests, and stands in for what runs in the mail pods.
package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/pec-operator/pec-operator/internal/reconcile/check"
)

// ServersVariable names the directory of etcd and kube-apiserver. They are the binaries that the two sites run.
const ServersVariable = "PEC_SERVERS"

// Server is an API server with our kinds.
type Server struct {
	// Config is an administrator's.
	Config   *rest.Config
	env      *envtest.Environment
	auditLog string
	// kubeconfig is kubectl's, once it was needed.
	kubeconfig string
	grants     map[string]map[string]bool // by user and namespace
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
	s := &Server{env: env, grants: map[string]map[string]bool{}}
	if err := s.startAudit(); err != nil {
		return nil, err
	}
	config, err := env.Start()
	if err != nil {
		return nil, fmt.Errorf("starting an API server with the binaries in %s: %w", dir, err)
	}
	config.QPS, config.Burst = -1, 0
	s.Config = config
	return s, nil
}

// Stop ends what Start started.
func (s *Server) Stop() error {
	return errors.Join(s.env.Stop(), os.RemoveAll(filepath.Dir(s.auditLog)))
}

// AddOperator makes a user with the rights that the chart gives to an operator of namespace own with the listed namespaces, and
// answers a configuration as that user: whatever a test does, it does with these rights, and the oracle judges every status that
// is written until the test ends.
func (s *Server) AddOperator(t testing.TB, own string, namespaces ...string) *rest.Config {
	t.Helper()
	check.Watch(t, s.Config)
	user := "operator-" + own
	grants := []grant{{file: "cluster-rules.yaml"}, {file: "own-rules.yaml", namespace: own}}
	for _, namespace := range namespaces {
		grants = append(grants, grant{file: "namespace-rules.yaml", namespace: namespace}, grant{file: "cert-manager-rules.yaml", namespace: namespace})
	}
	return s.grant(t, user, grants...).Config()
}

// AddPeer is a kubeconfig of a user with the rights that the chart gives to the other site's operator.
func (s *Server) AddPeer(t testing.TB, user string) []byte {
	t.Helper()
	raw, err := s.grant(t, user, grant{file: "peer-rules.yaml"}).KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// grant makes a user with what files of the chart grant.
func (s *Server) grant(t testing.TB, user string, grants ...grant) *envtest.AuthenticatedUser {
	t.Helper()
	c, err := client.New(s.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.grants[user] = map[string]bool{}
	for _, g := range grants {
		if err := g.give(c, user); err != nil {
			t.Fatalf("giving %s to %s: %v", g.file, user, err)
		}
		s.grants[user][g.namespace] = true
	}
	added, err := s.env.AddUser(envtest.User{Name: user, Groups: []string{audited}}, nil)
	if err != nil {
		t.Fatalf("adding user %s: %v", user, err)
	}
	return added
}

// grant is a file of the chart's rules, given in a namespace or in all.
type grant struct{ file, namespace string }

func (g grant) give(c client.Client, user string) error {
	rules, err := Rules(g.file)
	if err != nil {
		return err
	}
	name := metav1.ObjectMeta{Name: user + "-" + g.file, Namespace: g.namespace}
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}
	objects := []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: name, Rules: rules},
		&rbacv1.ClusterRoleBinding{ObjectMeta: name, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name}},
	}
	if g.namespace != "" {
		objects = []client.Object{
			&rbacv1.Role{ObjectMeta: name, Rules: rules},
			&rbacv1.RoleBinding{ObjectMeta: name, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name.Name}},
		}
	}
	for _, o := range objects {
		if err := c.Create(context.Background(), o); err != nil {
			return err
		}
	}
	return nil
}

// AddUser answers a configuration as a user of the given groups, with no rights but theirs.
func (s *Server) AddUser(name string, groups ...string) (*rest.Config, error) {
	user, err := s.env.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	if err != nil {
		return nil, fmt.Errorf("adding user %s: %w", name, err)
	}
	return user.Config(), nil
}

// RunControllers runs the named controllers of kube-controller-manager until the test ends.
func (s *Server) RunControllers(t testing.TB, names ...string) {
	t.Helper()
	kubeconfig, err := s.Kubeconfig("controller-manager")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, filepath.Join(os.Getenv(ServersVariable), "kube-controller-manager"),
		"--kubeconfig="+file, "--controllers="+strings.Join(names, ","), "--leader-elect=false", "--secure-port=0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
		if t.Failed() {
			t.Logf("kube-controller-manager: %s", out.String())
		}
	})
}

// Install creates the objects of YAML files of the project.
func (s *Server) Install(t testing.TB, files ...string) {
	t.Helper()
	c, err := client.New(s.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(filepath.Join(root(), file))
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(string(raw), "\n---\n") {
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if err := c.Create(context.Background(), object); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
	}
}

// certManager is the release whose kinds InstallCertManager installs. It is read out of the Go module, which go verifies by its checksum,
// and not imported: its controllers would bring half of the clouds' libraries along.
const certManager = "github.com/cert-manager/cert-manager@v1.21.2"

// InstallCertManager installs cert-manager's kinds, and no controller of them, until the test ends.
func (s *Server) InstallCertManager(t testing.TB) {
	t.Helper()
	out, err := exec.Command("go", "mod", "download", "-json", certManager).Output()
	if err != nil {
		t.Fatalf("downloading %s: %v", certManager, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	crds := envtest.CRDInstallOptions{Paths: []string{filepath.Join(module.Dir, "deploy", "crds", "cert-manager.io_certificates.yaml")}, ErrorIfPathMissing: true}
	if _, err := envtest.InstallCRDs(s.Config, crds); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := envtest.UninstallCRDs(s.Config, crds); err != nil {
			t.Error(err)
		}
	})
}

// Kubeconfig is a kubeconfig of an administrator of the server, everything inline.
func (s *Server) Kubeconfig(name string) ([]byte, error) {
	user, err := s.env.AddUser(envtest.User{Name: name, Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return nil, fmt.Errorf("adding user %s: %w", name, err)
	}
	return user.KubeConfig()
}

// Kubectl runs the kubectl of the servers' release as an administrator, and answers what it printed and whether it succeeded.
func (s *Server) Kubectl(t testing.TB, args ...string) (string, error) {
	t.Helper()
	if s.kubeconfig == "" {
		raw, err := s.Kubeconfig("kubectl")
		if err != nil {
			t.Fatal(err)
		}
		s.kubeconfig = filepath.Join(filepath.Dir(s.auditLog), "kubeconfig")
		if err := os.WriteFile(s.kubeconfig, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(os.Getenv(ServersVariable), "kubectl"), append([]string{"--kubeconfig", s.kubeconfig, "--cache-dir", filepath.Join(filepath.Dir(s.kubeconfig), "cache")}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
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
			if r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/leases") {
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
