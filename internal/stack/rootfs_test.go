package stack

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The tests in this file's hands run the rendered pod for real: each container in an overlay on the mail image's root file
// system, with the volumes, the user, the capabilities and the read-only root that its specification says, all of it in mount,
// network and process namespaces that the kernel takes away with the test's process.

// rootfsVariable names the root file system of the mail image.
const rootfsVariable = "PEC_MAIL_ROOTFS"

// insideVariable is set in the process that runs in the namespaces.
const insideVariable = "PEC_STACK_TEST_INSIDE"

// rootfs is where the mail image is unpacked.
func rootfs(t *testing.T) string {
	t.Helper()
	dir := os.Getenv(rootfsVariable)
	if dir == "" && testing.Short() {
		t.Skip("needs the mail image's root file system")
	}
	if dir == "" {
		t.Fatalf("%s is not set: run `make unit`, which unpacks the mail image, or `go test -short` to leave this test out", rootfsVariable)
	}
	if os.Getuid() != 0 {
		t.Fatal("mounting needs root: run `make unit` as root, or `go test -short` to leave this test out")
	}
	return dir
}

// inNamespaces runs a test again in a process of its own, in fresh mount, network and process namespaces; in that process it
// calls body. Nothing outlives the process.
func inNamespaces(t *testing.T, body func(t *testing.T, node *node)) {
	t.Helper()
	image := rootfs(t)
	if os.Getenv(insideVariable) != "" {
		body(t, newNode(t, image))
		return
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.parallel=4", "-test.timeout=4m", fmt.Sprintf("-update=%t", *update))
	cmd.Env = append(os.Environ(), insideVariable+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in its namespaces: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// node plays the part of a kubelet for one pod.
type node struct {
	t     *testing.T
	image string
	dir   string                       // on tmpfs
	data  map[string]map[string]string // ConfigMaps and Secrets by name
	// resolver is the containers' /etc/resolv.conf; the image's own if empty.
	resolver string
}

func newNode(t *testing.T, image string) *node {
	n := &node{t: t, image: image, dir: os.Getenv(insideVariable), data: map[string]map[string]string{}}
	n.run("mount", "--make-rprivate", "/")
	n.run("mount", "-t", "proc", "proc", "/proc")
	n.run("mount", "-t", "tmpfs", "tmpfs", n.dir)
	n.run("ip", "link", "set", "lo", "up")
	return n
}

func (n *node) run(name string, args ...string) string {
	n.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// volume makes a volume as a kubelet does: claims and empty volumes belong to root and the pod's group, setgid; files of
// ConfigMaps and Secrets too, with their mode.
func (n *node) volume(v corev1.Volume) string {
	n.t.Helper()
	dir := filepath.Join(n.dir, "volumes", v.Name)
	if claim := v.PersistentVolumeClaim; claim != nil {
		dir = filepath.Join(n.dir, "claims", claim.ClaimName)
	}
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	mode := os.FileMode(0o775)
	switch {
	case v.EmptyDir != nil:
		mode = 0o777
	case v.ConfigMap != nil:
		n.files(dir, n.data[v.ConfigMap.Name], v.ConfigMap.Items, *v.ConfigMap.DefaultMode)
	case v.Secret != nil:
		n.files(dir, n.data[v.Secret.SecretName], v.Secret.Items, *v.Secret.DefaultMode)
	}
	n.must(os.MkdirAll(dir, 0o755))
	n.must(os.Chown(dir, 0, mailID))
	n.must(os.Chmod(dir, mode|os.ModeSetgid))
	return dir
}

func (n *node) files(dir string, content map[string]string, only []corev1.KeyToPath, mode int32) {
	n.t.Helper()
	if only == nil {
		for key := range content {
			only = append(only, corev1.KeyToPath{Key: key, Path: key})
		}
	}
	n.must(os.MkdirAll(dir, 0o755))
	for _, item := range only {
		text, ok := content[item.Key]
		if !ok {
			n.t.Fatalf("volume %s wants %s, which is not there", dir, item.Key)
		}
		path := filepath.Join(dir, item.Path)
		n.must(os.WriteFile(path, []byte(text), 0o600))
		n.must(os.Chown(path, 0, mailID))
		n.must(os.Chmod(path, os.FileMode(mode)))
	}
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// running is a started container.
type running struct {
	root   string
	cmd    *exec.Cmd
	output *lockedBuffer
	done   chan struct{}
}

func (n *node) temporary(name string) string {
	n.t.Helper()
	dir, err := os.MkdirTemp(n.dir, name)
	n.must(err)
	return dir
}

// overlay is the mail image's root file system, to be changed at will.
func (n *node) overlay(name string) string {
	n.t.Helper()
	base := n.temporary(name)
	for _, d := range []string{"upper", "work", "root"} {
		n.must(os.Mkdir(filepath.Join(base, d), 0o755))
	}
	root := filepath.Join(base, "root")
	n.run("mount", "-t", "overlay", "overlay", root, "-o", fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", n.image, base, base))
	return root
}

// root builds a container's root file system with its volumes mounted.
func (n *node) root(pod corev1.PodSpec, c corev1.Container) string {
	n.t.Helper()
	root := n.overlay(c.Name)
	for _, m := range c.VolumeMounts {
		n.must(os.MkdirAll(filepath.Join(root, m.MountPath), 0o755))
	}
	if n.resolver != "" {
		n.must(os.WriteFile(filepath.Join(root, "etc/resolv.conf"), []byte(n.resolver), 0o644))
	}
	if *c.SecurityContext.ReadOnlyRootFilesystem {
		n.run("mount", "-o", "remount,ro", root)
	}
	n.run("mount", "--bind", "/dev", filepath.Join(root, "dev"))
	for _, m := range c.VolumeMounts {
		target := filepath.Join(root, m.MountPath)
		n.run("mount", "--bind", filepath.Join(n.volumePath(pod, m.Name), m.SubPath), target)
		if m.ReadOnly {
			n.run("mount", "-o", "remount,bind,ro", target)
		}
	}
	return root
}

func (n *node) volumePath(pod corev1.PodSpec, name string) string {
	n.t.Helper()
	for _, v := range pod.Volumes {
		if v.Name == name {
			return n.volume(v)
		}
	}
	n.t.Fatalf("no volume %s", name)
	return ""
}

// start starts a container's own command, as process 1 of a process namespace.
func (n *node) start(pod corev1.PodSpec, c corev1.Container) *running {
	n.t.Helper()
	root := n.root(pod, c)
	r := &running{root: root, cmd: exec.Command("unshare", n.inRoot(root, c, c.Command...)...), output: &lockedBuffer{}, done: make(chan struct{})}
	r.cmd.Env = environment(c)
	r.cmd.Stdout, r.cmd.Stderr = r.output, r.output
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	n.must(r.cmd.Start())
	go func() { _ = r.cmd.Wait(); close(r.done) }()
	return r
}

func environment(c corev1.Container) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, e := range c.Env {
		env = append(env, e.Name+"="+e.Value)
	}
	return env
}

// inRoot are the arguments of unshare that run a command as the container's security context says.
func (n *node) inRoot(root string, c corev1.Container, command ...string) []string {
	bounding := "-all"
	for _, capability := range c.SecurityContext.Capabilities.Add {
		bounding += ",+" + strings.ToLower(string(capability))
	}
	args := []string{
		"--pid", "--fork", "--kill-child", "--mount", "--mount-proc=" + root + "/proc", "chroot", root,
		"setpriv", "--bounding-set=" + bounding, "--inh-caps=-all", "--no-new-privs", fmt.Sprintf("--groups=%d", mailID),
		fmt.Sprintf("--reuid=%d", *c.SecurityContext.RunAsUser),
	}
	if c.SecurityContext.RunAsGroup != nil {
		args = append(args, fmt.Sprintf("--regid=%d", *c.SecurityContext.RunAsGroup))
	}
	return append(args, command...)
}

// exec runs a command in a running container's root and returns its output.
func (n *node) exec(r *running, c corev1.Container, command ...string) (string, error) {
	cmd := exec.Command("unshare", n.inRoot(r.root, c, command...)...)
	cmd.Env = environment(c)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// stop ends a container as a kubelet does: SIGTERM to its process 1. One that listens and has not said yet what it does at a signal is not
// ended by it, because it is process 1: it gets another.
func (r *running) stop() {
	for {
		select {
		case <-r.done:
			return
		default:
		}
		// Process 1 of the container is unshare's only child.
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", r.cmd.Process.Pid, r.cmd.Process.Pid))
		var pid int
		if _, err := fmt.Sscan(string(children), &pid); err == nil {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
		select {
		case <-r.done:
		case <-time.After(5 * time.Second):
		}
	}
}

// lockedBuffer collects what a container prints.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
