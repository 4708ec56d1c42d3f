package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// kubernetesVersion is what the servers answer to "version"; it follows go.mod by a test.
const kubernetesVersion = "v1.36.3"

// pauseRepository names the sandbox image, which no registry has.
const pauseRepository = "pec-operator.dev/pause"

// serverNames are the names by which the one binary of servers/ is called.
var serverNames = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"}

// binaries are what a site runs: one folder with every server, CoreDNS and the archive of the sandbox image.
type binaries struct {
	Dir        string `json:"dir"`
	PauseImage string `json:"pauseImage"`
}

// workshop builds from a checkout into the cache.
type workshop struct {
	root  string // of the checkout
	cache string
}

func (w workshop) sources(parts ...string) string {
	return filepath.Join(append([]string{w.root, "hack", "sites"}, parts...)...)
}

// lock keeps two builds from writing the same files; the returned function gives it back.
func (w workshop) lock() (func(), error) {
	if err := os.MkdirAll(w.cache, 0o755); err != nil {
		return nil, err
	}
	return lockFile(filepath.Join(w.cache, "lock"))
}

// lockFile waits until it alone holds the file.
func lockFile(path string) (func(), error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { _ = file.Close() }, nil
}

// build makes the servers, CoreDNS and the sandbox image, unless the cache holds what these sources make.
func (w workshop) build(ctx context.Context) (binaries, error) {
	unlock, err := w.lock()
	if err != nil {
		return binaries{}, err
	}
	defer unlock()
	servers, err := w.program(ctx, "servers", w.sources(), "./servers", versionFlags(kubernetesVersion))
	if err != nil {
		return binaries{}, err
	}
	coredns, err := w.program(ctx, "coredns", w.sources("coredns"), ".", "")
	if err != nil {
		return binaries{}, err
	}
	pause, err := w.program(ctx, "pause", w.sources(), "./pause", "")
	if err != nil {
		return binaries{}, err
	}
	recipe := w.sources("pause", "Dockerfile")
	key, err := contentKey(pause, recipe)
	if err != nil {
		return binaries{}, err
	}
	image := imageBuild{reference: pauseRepository + ":" + key, recipe: recipe, context: filepath.Dir(pause)}
	archive, err := w.archive(ctx, image)
	if err != nil {
		return binaries{}, err
	}
	dir, err := w.collect(servers, coredns, archive)
	return binaries{Dir: dir, PauseImage: image.reference}, err
}

// program builds one Go program and returns its path in the cache, <cache>/<name>/<key>/<name>.
func (w workshop) program(ctx context.Context, name, module, pkg, flags string) (string, error) {
	key, err := w.sourceKey(module, filepath.Join(module, pkg))
	if err != nil {
		return "", err
	}
	target := filepath.Join(w.cache, name, key, name)
	if exists(target) {
		return target, nil
	}
	building := target + ".new"
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", strings.TrimSpace("-s -w "+flags), "-o", building, pkg)
	command.Dir = module
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := w.long("building "+name, command); err != nil {
		return "", err
	}
	return target, os.Rename(building, target)
}

// versionFlags stamp the servers with their version: without it clients would be told v0.0.0.
func versionFlags(version string) string {
	numbers := strings.Split(strings.TrimPrefix(version, "v"), ".")
	const pkg = "k8s.io/component-base/version"
	return fmt.Sprintf("-X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s", pkg, version, numbers[0], numbers[1])
}

// sourceKey names a program's sources: those of its folder, the module's versions, and the compiler.
func (w workshop) sourceKey(module, pkg string) (string, error) {
	files, err := filepath.Glob(filepath.Join(pkg, "*.go"))
	if err != nil {
		return "", err
	}
	key, err := contentKey(append(files, filepath.Join(module, "go.mod"), filepath.Join(module, "go.sum"))...)
	if err != nil {
		return "", err
	}
	return key + "-" + runtime.Version(), nil
}

// contentKey is 12 hexadecimal digits that stand for the files' content.
func contentKey(files ...string) (string, error) {
	hash := sha256.New()
	for _, file := range files {
		source, err := os.Open(file)
		if err != nil {
			return "", err
		}
		size, err := io.Copy(hash, source)
		_ = source.Close()
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", file, err)
		}
		fmt.Fprintf(hash, "\x00%d\x00", size)
	}
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}

// collect puts what a site runs into one folder, by hard links: a site sees only that folder of the cache.
func (w workshop) collect(servers, coredns, pauseArchive string) (string, error) {
	parts := map[string]string{"servers": servers, "coredns": coredns, "pause.tar": pauseArchive}
	hash := sha256.New()
	for _, name := range []string{"servers", "coredns", "pause.tar"} {
		fmt.Fprintln(hash, parts[name])
	}
	dir := filepath.Join(w.cache, "bin", hex.EncodeToString(hash.Sum(nil))[:12])
	if exists(dir) {
		return dir, nil
	}
	building := dir + ".new"
	if err := os.RemoveAll(building); err != nil {
		return "", err
	}
	if err := os.MkdirAll(building, 0o755); err != nil {
		return "", err
	}
	for name, source := range parts {
		if err := os.Link(source, filepath.Join(building, name)); err != nil {
			return "", err
		}
	}
	for _, name := range serverNames {
		if err := os.Symlink("servers", filepath.Join(building, name)); err != nil {
			return "", err
		}
	}
	return dir, os.Rename(building, dir)
}

// long runs a command that may take minutes: every ten seconds it says for how long. Its output appears only if it fails.
func (w workshop) long(what string, command *exec.Cmd) error {
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	started := time.Now()
	elapsed := func() time.Duration { return time.Since(started).Round(time.Second) }
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(10 * time.Second):
				say("%s: %s so far", what, elapsed())
			}
		}
	}()
	err := command.Run()
	close(done)
	if err != nil {
		lines := strings.Split(strings.TrimSpace(output.String()), "\n")
		return fmt.Errorf("%s: %w\n%s", what, err, strings.Join(slices.Clip(lines[max(0, len(lines)-20):]), "\n"))
	}
	if elapsed() >= 2*time.Second {
		say("%s: done in %s", what, elapsed())
	}
	return nil
}

// say tells the person who waits; standard output is for results only.
func say(format string, values ...any) { fmt.Fprintf(os.Stderr, format+"\n", values...) }
