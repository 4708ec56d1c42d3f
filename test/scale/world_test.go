package scale

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/engine"
	"github.com/pec-operator/pec-operator/internal/mailtest"
	"github.com/pec-operator/pec-operator/internal/manager"
	"github.com/pec-operator/pec-operator/internal/settings"
	"github.com/pec-operator/pec-operator/internal/stack"
)

// roleVariable makes this test's binary one of the product's processes.
const roleVariable = "PEC_SCALE_ROLE"

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // the operator sets its own
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var err error
	switch os.Getenv(roleVariable) {
	case "manager":
		err = manager.Run(ctx, os.Args[1:])
	case "engine":
		err = engine.Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const (
	site     = "a"
	ns       = "molti"
	own      = "sistema" // the operator's namespace
	domain   = "pec.molti.test"
	password = "una-password-di-prova"
	imaps    = "127.0.0.1:10993"
)

// world is one site.
type world struct {
	client.WithWatch
	t          *testing.T
	seen       cache.Cache // of Mailboxes, as somebody who watches them has it
	metrics    *kubernetes.Clientset
	kubeconfig string
	stack      *mailtest.Stack
	state      string // of the engine, on a disk

	operator, engine *process
	// table are the figures, for the docs.
	table [][2]string
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newWorld starts the API server and Dovecot, and makes what a person brings.
func newWorld(t *testing.T) *world {
	t.Helper()
	// An API server looks for an address that others could reach, even if none does.
	for _, link := range []string{"link add out0 type veth peer name out1", "address add 192.0.2.1/24 dev out0", "link set out0 up", "link set out1 up", "route add default dev out0"} {
		run(t, "ip", strings.Fields(link)...)
	}
	server, err := apitest.Start()
	must(t, err)
	t.Cleanup(func() { must(t, server.Stop()) })
	w := &world{t: t}
	w.WithWatch, err = client.NewWithWatch(server.Config, client.Options{Scheme: manager.Scheme()})
	must(t, err)
	w.seen, err = cache.New(server.Config, cache.Options{Scheme: manager.Scheme()})
	must(t, err)
	go func() { _ = w.seen.Start(t.Context()) }()
	w.metrics, err = kubernetes.NewForConfig(server.Config)
	must(t, err)
	kubeconfig, err := server.Kubeconfig("operator")
	must(t, err)
	w.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	must(t, os.WriteFile(w.kubeconfig, kubeconfig, 0o600))
	for _, name := range []string{ns, own} {
		w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	for _, name := range []string{"mail-tls", "signing"} {
		cert, key := mailtest.SelfSigned(t, name+"."+domain)
		w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Type: corev1.SecretTypeTLS, StringData: map[string]string{"tls.crt": cert, "tls.key": key}})
	}
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "providers-index"}, Data: map[string]string{"index.ldif": "x", "roots.pem": "x"}})
	w.stack = mailtest.StartStack(t, domain, "")
	must(t, w.stack.Directory.Close())
	w.state = t.TempDir() // on a disk, unlike the Dovecot's root
	must(t, os.Chmod(w.state, 0o755))
	run(t, "mount", "--bind", w.state, w.stack.State)
	hosts := filepath.Join(t.TempDir(), "hosts")
	must(t, os.WriteFile(hosts, fmt.Appendf(nil, "127.0.0.1 localhost %s\n", strings.Join(stack.NamesFor(domain).EngineHosts(ns), " ")), 0o644))
	run(t, "mount", "--bind", hosts, "/etc/hosts")
	return w
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		must(w.t, w.Create(w.t.Context(), o))
	}
}

func makeDomain() *v1alpha1.PECDomain {
	return &v1alpha1.PECDomain{
		ObjectMeta: metav1.ObjectMeta{Name: domain, Namespace: ns},
		Spec: v1alpha1.PECDomainSpec{
			Holder: v1alpha1.DomainHolder{Name: "Gestore Esempio"},
			DNS:    &v1alpha1.DomainDNS{Mode: v1alpha1.DNSIgnore},
			Provider: v1alpha1.DomainProvider{Type: v1alpha1.ProviderManaged, Managed: &v1alpha1.ManagedProvider{
				Provider:       v1alpha1.ProviderIdentity{Name: "Gestore Esempio S.p.A.", MailDomain: domain, MailReceipt: "ricevute@" + domain},
				MailHosts:      []v1alpha1.MailHost{{Host: "mx-a.molti.test", Site: site, Preference: ptr.To(int32(10))}},
				Endpoints:      v1alpha1.Endpoints{Submission: "smtps.molti.test", IMAP: "imaps.molti.test"},
				Storage:        v1alpha1.Storage{Size: resource.MustParse("1Gi")},
				TLS:            v1alpha1.ServerCertificate{SecretName: "mail-tls"},
				Signing:        v1alpha1.Signing{SecretName: "signing"},
				ProvidersIndex: v1alpha1.ProvidersIndex{ConfigMapRef: v1alpha1.LocalReference{Name: "providers-index"}},
			}},
		},
	}
}

func makeMailbox(localPart, secret string) *v1alpha1.Mailbox {
	return &v1alpha1.Mailbox{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: localPart + ".at." + domain},
		Spec: v1alpha1.MailboxSpec{
			DomainRef: v1alpha1.LocalReference{Name: domain}, LocalPart: localPart,
			Holder: v1alpha1.MailboxHolder{Name: "Maria Bianchi"}, Quota: ptr.To(resource.MustParse("1Gi")),
			Credentials: v1alpha1.MailboxCredentials{SecretRef: v1alpha1.SecretKeyReference{Name: secret}},
			RequestedAt: metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
		},
	}
}

func makeSecret(name, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Data: map[string][]byte{"password": []byte(value)}}
}

// startOperator starts the operator as a process of its own.
func (w *world) startOperator() {
	w.t.Helper()
	w.operator = start(w.t, "manager", []string{"KUBECONFIG=" + w.kubeconfig, "GOGC=200"}, // as the chart has it
		"--site="+site, "--namespace="+own, "--namespaces="+ns, "--mail-image=mail:test", "--leader-elect=false",
		"--metrics-bind-address=0", "--health-probe-bind-address=0")
}

// startEngine starts the engine of the domain with what the operator made for it, and reports its pod as a kubelet would.
func (w *world) startEngine() {
	w.t.Helper()
	names := stack.NamesFor(domain)
	config, keys, set := &corev1.ConfigMap{}, &corev1.Secret{}, &appsv1.StatefulSet{}
	w.eventually(func() error {
		return errors.Join(w.get(names.ConfigMap, config), w.get(names.EngineSecret, keys), w.get(names.StatefulSet, set))
	})
	s, err := settings.Parse([]byte(config.Data["engine.json"]))
	must(w.t, err)
	dir := w.t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		must(w.t, os.WriteFile(path, content, 0o600))
		return path
	}
	mail := &corev1.Secret{}
	must(w.t, w.get("mail-tls", mail))
	cert, key := file("mail.crt", mail.Data["tls.crt"]), file("mail.key", mail.Data["tls.key"])
	s.Antivirus = settings.Antivirus{}
	s.Files = settings.Files{
		State: w.stack.State, SigningCert: cert, SigningKey: key, HolderCert: cert, HolderKey: key,
		ProvidersIndex: filepath.Join(dir, "index.ldif"), ProvidersRoots: filepath.Join(dir, "roots.pem"),
		AdminCert: file("tls.crt", keys.Data["tls.crt"]), AdminKey: file("tls.key", keys.Data["tls.key"]), AdminCA: file("ca.crt", keys.Data["ca.crt"]),
		DoveadmPassword: file("doveadm", []byte(mailtest.DoveadmPassword)), DoveadmAPIKey: file("apikey", []byte(mailtest.DoveadmKey)),
	}
	w.engine = start(w.t, "engine", nil, "run", "--settings="+file("engine.json", encode(w.t, s)))
	set.Status = appsv1.StatefulSetStatus{Replicas: 1, ReadyReplicas: 1, UpdatedReplicas: 1, ObservedGeneration: set.Generation}
	must(w.t, w.Status().Update(w.t.Context(), set))
	w.eventually(func() error {
		d := &v1alpha1.PECDomain{}
		if err := w.get(domain, d); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionDirectoryInSync) {
			return fmt.Errorf("the stack takes no mailboxes: %+v", d.Status.Conditions)
		}
		return nil
	})
}

func (w *world) get(name string, o client.Object) error {
	return w.Get(w.t.Context(), client.ObjectKey{Namespace: ns, Name: name}, o)
}

func (w *world) eventually(f func() error) {
	w.t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	w.t.Fatal(err)
}

// requests are the requests that the API server has answered so far, by verb and resource.
func (w *world) requests() map[string]int {
	w.t.Helper()
	raw, err := w.metrics.RESTClient().Get().AbsPath("/metrics").DoRaw(w.t.Context())
	must(w.t, err)
	counts := map[string]int{}
	for line := range strings.Lines(string(raw)) {
		labels, ok := strings.CutPrefix(line, "apiserver_request_total{")
		if !ok {
			continue
		}
		labels, value, _ := strings.Cut(labels, "} ")
		label := func(name string) string {
			_, rest, _ := strings.Cut(labels, name+`="`)
			text, _, _ := strings.Cut(rest, `"`)
			return text
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		must(w.t, err)
		counts[strings.TrimSuffix(label("verb")+" "+label("resource")+"/"+label("subresource"), "/")] += int(n)
	}
	return counts
}

// since is how many requests of a kind there were since an earlier count.
func (w *world) since(before map[string]int) map[string]int {
	now := w.requests()
	for name, n := range before {
		now[name] -= n
	}
	return now
}

// process is one that the test started.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}
}

// start starts this binary in a role; it ends with the test at the latest.
func start(t *testing.T, role string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], args...), done: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), roleVariable+"="+role), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log := &mailtest.Log{}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	must(t, p.cmd.Start())
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			text := log.String()
			t.Logf("%s: ...%s", role, text[max(0, len(text)-20_000):])
		}
	})
	return p
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.t.Errorf("a process does not end")
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // it says where it is
		<-p.done
	}
}

// figure is a line of a file of the process in /proc.
func (p *process) figure(file, name string) int64 {
	p.t.Helper()
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), file))
	must(p.t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if fields[0] == name+":" {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			must(p.t, err)
			return n
		}
	}
	p.t.Fatalf("%s has no %s", file, name)
	return 0
}

// written are the bytes that the process had the disk write.
func (p *process) written() int64 { return p.figure("io", "write_bytes") }

// memory is what the process holds, and the most that it held, in MiB.
func (p *process) memory() string {
	return fmt.Sprintf("%d (at most %d)", p.figure("status", "VmRSS")>>10, p.figure("status", "VmHWM")>>10)
}

// cpu is the time that the process has computed.
func (p *process) cpu() time.Duration { return stat(p.t, strconv.Itoa(p.cmd.Process.Pid)).cpu }

// servers is the time that the API server and its etcd have computed.
func (w *world) servers() (busy time.Duration) {
	w.t.Helper()
	for _, file := range globbed(w.t, "/proc/[0-9]*/stat") {
		if s := stat(w.t, filepath.Base(filepath.Dir(file))); s.parent == os.Getpid() && (s.name == "kube-apiserver" || s.name == "etcd") {
			busy += s.cpu
		}
	}
	return busy
}

func globbed(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	must(t, err)
	return files
}

// status is what /proc says of a process; nothing when it is gone.
type status struct {
	name   string
	parent int
	cpu    time.Duration
}

func stat(t *testing.T, pid string) status {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return status{}
	}
	must(t, err)
	before, after, _ := strings.Cut(string(raw), ") ")
	_, name, _ := strings.Cut(before, "(")
	fields := strings.Fields(after)
	number := func(i int) int {
		n, err := strconv.Atoi(fields[i])
		must(t, err)
		return n
	}
	return status{name, number(1), time.Duration(number(11)+number(12)) * 10 * time.Millisecond}
}

// quantiles says the median and the 99th percentile.
func quantiles(all []time.Duration) string {
	slices.Sort(all)
	at := func(q float64) time.Duration { return all[int(q*float64(len(all)-1))].Round(time.Millisecond) }
	return fmt.Sprintf("p50 %s, p99 %s", at(0.5), at(0.99))
}
