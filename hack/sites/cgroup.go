package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroupHierarchies are the roots of the mounted hierarchies: one with version 2, one per controller with version 1.
func cgroupHierarchies() []string {
	if exists(filepath.Join(cgroupRoot, "cgroup.procs")) {
		return []string{cgroupRoot}
	}
	found, _ := filepath.Glob(filepath.Join(cgroupRoot, "*", "cgroup.procs"))
	roots := make([]string, 0, len(found))
	for _, procs := range found {
		roots = append(roots, filepath.Dir(procs))
	}
	return roots
}

// joinCgroup moves the calling process into path below the root of every hierarchy, and makes the path if need be. Children are born
// there, so that membership tells the instance's processes from all others on the machine.
func joinCgroup(path string) error {
	for _, root := range cgroupHierarchies() {
		group := root
		for part := range strings.SplitSeq(path, "/") {
			parent := group
			group = filepath.Join(group, part)
			delegateControllers(parent)
			if err := os.Mkdir(group, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				return fmt.Errorf("making control group %s: %w", group, err)
			}
			if err := inheritCpuset(parent, group); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("joining control group %s: %w", group, err)
		}
		// Once more: a group of version 2 hands nothing down while it holds a process, and that may have been this one.
		delegateControllers(filepath.Dir(group))
	}
	return nil
}

// delegateControllers lets the groups below a group of version 2 use the controllers that it has. A controller that cannot be handed
// down is left out: containers then run without that limit. With version 1 there is nothing to do.
func delegateControllers(group string) {
	controllers, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if err != nil {
		return
	}
	for controller := range strings.FieldsSeq(string(controllers)) {
		_ = os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
	}
}

// inheritCpuset copies the parent's processors and memory nodes: version 1 starts a cpuset empty and refuses processes until both are set.
func inheritCpuset(parent, group string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(group, name))
		if err != nil || strings.TrimSpace(string(own)) != "" {
			continue
		}
		inherited, err := os.ReadFile(filepath.Join(parent, name))
		if err != nil || strings.TrimSpace(string(inherited)) == "" {
			continue // version 2: an empty file means "as the parent"
		}
		if err := os.WriteFile(filepath.Join(group, name), inherited, 0o644); err != nil {
			return fmt.Errorf("copying %s to %s: %w", name, group, err)
		}
	}
	return nil
}

// memberOf tells whether a /proc/PID/cgroup text names the group or one below it in any hierarchy.
func memberOf(text, group string) bool {
	for line := range strings.Lines(text) {
		_, path, found := strings.Cut(strings.TrimSpace(line), ":/")
		if found && (path == group || strings.HasPrefix(path, group+"/")) {
			return true
		}
	}
	return false
}

// members are the process numbers of every process in the group, but not the caller's own.
func members(group string) []int {
	entries, _ := os.ReadDir("/proc")
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		text, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cgroup"))
		if err == nil && memberOf(string(text), group) && !isZombie(pid) {
			found = append(found, pid)
		}
	}
	return found
}

// isZombie tells whether the process has ended and only waits for its parent to notice.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	return strings.HasPrefix(after, "Z")
}

// killMembers ends every process of the group at once and waits until none is left: at most ten seconds.
func killMembers(group string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		alive := members(group)
		if len(alive) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("ending the processes of %s: %v do not end", group, alive)
		}
		for _, pid := range alive {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// removeCgroup removes the group and those below it from every hierarchy. A group that was just emptied can be busy for a moment.
func removeCgroup(path string) error {
	var last error
	for range 100 {
		last = nil
		for _, root := range cgroupHierarchies() {
			if err := removeCgroupTree(filepath.Join(root, path)); err != nil {
				last = err
			}
		}
		if last == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return last
}

func removeCgroupTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeCgroupTree(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("removing control group %s: %w", dir, err)
	}
	return nil
}
