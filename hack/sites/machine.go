package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A machine is a site or the internet: a set of namespaces (network, processes, mounts, host name) with an init process, a /run, a
// /var/lib and a /var/log of its own. When its init ends the kernel ends everything in it, mounts included: nothing can leak.

// privateDirs are the folders that a machine has for itself, below its state; /run is emptied when it starts, as on a real one.
var privateDirs = map[string]string{"log": "/var/log", "run": "/run", "lib": "/var/lib"}

// binDir is where a machine finds the servers, wherever the cache lies.
const binDir = "/run/bin"

// kernelSettings are what the kubelet demands of the kernel. It finds them as it wants them, and so leaves the real ones alone.
var kernelSettings = map[string]string{
	"/proc/sys/vm/overcommit_memory":      "1",
	"/proc/sys/vm/panic_on_oom":           "0",
	"/proc/sys/kernel/panic":              "10",
	"/proc/sys/kernel/panic_on_oops":      "1",
	"/proc/sys/kernel/keys/root_maxkeys":  "1000000",
	"/proc/sys/kernel/keys/root_maxbytes": "25000000",
}

// startMachine runs a machine until ctx ends or its init does, and returns why.
func startMachine(ctx context.Context, i instance, machine string, output *logFile) error {
	result := make(chan error, 1)
	go func() {
		// The thread enters the machine's network before it makes the init process, and is never given back: it ends with this goroutine.
		runtime.LockOSThread()
		result <- runInit(ctx, i, machine, output)
	}()
	return <-result
}

func runInit(ctx context.Context, i instance, machine string, output *logFile) error {
	// Containers of the time before left theirs; nothing of it is alive.
	if err := removeCgroup(filepath.Join(i.cgroup(), machine)); err != nil {
		return err
	}
	netns, err := os.Open(i.netnsPath(machine))
	if err != nil {
		return err
	}
	defer netns.Close()
	if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering %s: %w", netns.Name(), err)
	}
	command := exec.CommandContext(ctx, "/proc/self/exe", "--instance", i.name, "init", machine)
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL, // without its supervisor a machine would run on unseen
		Setsid:     true,
	}
	return command.Run()
}

// initMachine is the init process of a machine: it prepares the namespaces, starts the machine's supervisor and buries orphans until
// the supervisor ends.
func initMachine(i instance, machine string) error {
	runtime.LockOSThread() // the namespace of control groups is this thread's, and the supervisor is made by it
	group := filepath.Join(i.cgroup(), machine)
	if err := joinCgroup(group); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("separating the control groups: %w", err)
	}
	var r record
	if err := readJSON(i.recordFile(), &r); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(machine)); err != nil {
		return err
	}
	if err := mountPrivate(i, machine, r.Binaries); err != nil {
		return err
	}
	// One below the root: with version 2 only a leaf may hold processes, and containers become its neighbours.
	if err := joinCgroup("init"); err != nil {
		return err
	}
	supervisor := exec.Command("/proc/self/exe", "--instance", i.name, "serve", machine, r.Network.String())
	supervisor.Stdout, supervisor.Stderr = os.Stdout, os.Stderr
	supervisor.Env = append(os.Environ(), "PATH="+binDir+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root")
	if err := supervisor.Start(); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if pid == supervisor.Process.Pid {
			return fmt.Errorf("the supervisor of %s ended with status %d", machine, status.ExitStatus())
		}
	}
}

// mountPrivate gives the calling process's mount namespace the machine's own folders.
func mountPrivate(i instance, machine string, b binaries) error {
	// What the host unmounts later is unmounted here too; nothing goes the other way.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("separating the mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	// Its own group is the root of all, so that runc, the kubelet and its statistics never meet another site's containers.
	for _, root := range cgroupHierarchies() {
		if err := bind(filepath.Join(root, i.cgroup(), machine), root); err != nil {
			return err
		}
	}
	state := i.dir(machine)
	if err := os.RemoveAll(filepath.Join(state, "run")); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(state, "run", "bin"), 0o755); err != nil {
		return err
	}
	if err := bind(b.Dir, filepath.Join(state, "run", "bin")); err != nil {
		return err
	}
	if err := shadowKernelSettings(filepath.Join(state, "run", "kernel")); err != nil {
		return err
	}
	if err := shadowResolver(state); err != nil {
		return err
	}
	for _, name := range []string{"log", "run", "lib"} { // lib last: it hides the state, where the others come from
		source := filepath.Join(state, name)
		if err := os.MkdirAll(source, 0o755); err != nil {
			return err
		}
		if err := bind(source, privateDirs[name]); err != nil {
			return err
		}
	}
	// The kubelet and containerd expect a root whose mounts reach the containers.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("sharing the mounts with containers: %w", err)
	}
	return nil
}

func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("binding %s on %s: %w", source, target, err)
	}
	return nil
}

func shadowKernelSettings(dir string) error {
	for path, value := range kernelSettings {
		if !exists(path) {
			continue
		}
		shadow := filepath.Join(dir, filepath.Base(path))
		if err := writeFile(shadow, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := bind(shadow, path); err != nil {
			return err
		}
	}
	return nil
}

// shadowResolver makes the machine's own resolv.conf the one that its programs read. Where /etc/resolv.conf is a link into /run it is
// enough to put the file there, since the machine's /run is its own.
func shadowResolver(state string) error {
	own := filepath.Join(state, "lib", "config", "resolv.conf")
	target, err := os.Readlink("/etc/resolv.conf")
	if err != nil {
		return bind(own, "/etc/resolv.conf")
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join("/etc", target)
	}
	inRun, found := strings.CutPrefix(target, "/run/")
	if !found {
		return bind(own, target)
	}
	content, err := os.ReadFile(own)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(state, "run", inRun), content, 0o644)
}

// initPID finds the init process of a living machine, as the caller numbers it; 0 if the machine does not run.
func (i instance) initPID(machine string) int {
	group := filepath.Join(i.cgroup(), machine, "init")
	for _, pid := range members(group) {
		status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
		if err == nil && isInit(string(status), pid) {
			return pid
		}
	}
	return 0
}

// isInit tells whether a /proc/PID/status text is that of process 1 of a machine: number 1 in the first process namespace below ours.
// A pod's process 1 is one namespace deeper.
func isInit(status string, pid int) bool {
	for line := range strings.Lines(status) {
		if numbers, found := strings.CutPrefix(line, "NSpid:"); found {
			fields := strings.Fields(numbers)
			return len(fields) == 2 && fields[0] == strconv.Itoa(pid) && fields[1] == "1"
		}
	}
	return false
}

// enter is the command that runs argv inside a living machine.
func (i instance) enter(machine string, argv ...string) ([]string, error) {
	pid := i.initPID(machine)
	if pid == 0 {
		return nil, fmt.Errorf("%s of instance %s does not run: start it with \"up\"", machine, i.name)
	}
	return append([]string{"nsenter", "--target", strconv.Itoa(pid), "--mount", "--uts", "--net", "--pid", "--"}, argv...), nil
}
