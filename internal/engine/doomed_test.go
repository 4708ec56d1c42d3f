package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/settings"
)

// doomVariable makes an engine of this binary: "" is one that lives, "before accepted 3" one that ends itself by SIGKILL when it passes
// that step for the third time.
const doomVariable = "PEC_TEST_ENGINE_ENDS"

func TestMain(m *testing.M) {
	doom, isEngine := os.LookupEnv(doomVariable)
	if !isEngine {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := runDoomed(ctx, os.Args[1], doom); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runDoomed is run with another journal.
func runDoomed(ctx context.Context, path, doom string) error {
	s, err := settings.Load(path)
	if err == nil {
		err = prepare(ctx, s)
	}
	if err != nil {
		return err
	}
	e, err := New(ctx, s, time.Now, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	if doom != "" {
		d := &doomed{journal: e.journal, log: filepath.Join(s.Files.State, evidenceDir)}
		var left int64
		if _, err := fmt.Sscanf(doom, "%s %s %d", &d.when, &d.kind, &left); err != nil {
			return fmt.Errorf("reading %q: %w", doom, err)
		}
		d.left.Store(left)
		e.journal = d
	}
	return errors.Join(e.Serve(ctx), e.Close())
}

// When a doomed engine ends, seen from a record. What a record names is in custody by then: before is also between the two.
const (
	before   = "before"
	unsynced = "unsynced" // it is written, and the log's fsync has begun
	after    = "after"
)

// doomed is a journal that ends its process at a record.
type doomed struct {
	journal
	log        string
	when, kind string
	left       atomic.Int64
}

func (d *doomed) Append(kind, key, identifier string, data any) (evidence.Record, error) {
	isLast := kind == d.kind && d.left.Add(-1) == 0
	switch {
	case isLast && d.when == before:
		die()
	case isLast && d.when == unsynced:
		if err := dieAtSync(d.log); err != nil {
			return evidence.Record{}, err
		}
	}
	r, err := d.journal.Append(kind, key, identifier, data)
	if isLast && d.when == after {
		die()
	}
	return r, err
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // it is not delivered to this thread first
}

// dieAtSync has the kernel end the process, with all its threads at once, when it next asks for the log to be synced: what that sync is
// for is written, and is on no disk. The log itself knows nothing of it.
func dieAtSync(dir string) error {
	fd, err := descriptorOf(dir)
	if err != nil {
		return err
	}
	const load, is, answer = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	filter := []unix.SockFilter{
		{Code: load, K: 0}, // the number of the system call
		{Code: is, K: unix.SYS_FSYNC, Jf: 3},
		{Code: load, K: 16}, // its first argument
		{Code: is, K: uint32(fd), Jf: 1},
		{Code: answer, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // what the first call sets is the thread's
	defer runtime.UnlockOSThread()
	if err := errors.Join(unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}), unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return errno
	}
	return nil
}

// descriptorOf finds the file of a log that is written.
func descriptorOf(dir string) (fd int, err error) {
	entries, err := os.ReadDir("/proc/self/fd")
	last := ""
	for _, entry := range entries {
		path, _ := os.Readlink("/proc/self/fd/" + entry.Name()) // one that is closed meanwhile is not it
		if filepath.Dir(path) != dir || !strings.HasSuffix(path, ".jsonl") || path <= last {
			continue
		}
		last = path
		if _, err := fmt.Sscan(entry.Name(), &fd); err != nil {
			return 0, err
		}
	}
	if last == "" {
		err = errors.Join(err, fmt.Errorf("no file of the log %s is open", dir))
	}
	return fd, err
}
