package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is one supervised program.
type process struct {
	name string
	argv []string
	env  []string // added to the supervisor's own
}

// Restart delays: short enough that a killed server is back within a second or two, growing so that one which cannot start does not
// take the whole processor.
const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = 2 * time.Second
	livedWell  = 10 * time.Second
)

// heldDir has a file for each server that is not to be started again; it is below /run, which is empty when a machine starts.
const heldDir = "/run/held"

// keep runs p until ctx ends, and starts it again whenever it ends before, unless it is held. Its output goes to <logs>/<name>.log.
func keep(ctx context.Context, p process, logs string) {
	output := &logFile{path: filepath.Join(logs, p.name+".log")}
	delay := firstDelay
	for ctx.Err() == nil {
		for exists(filepath.Join(heldDir, p.name)) && ctx.Err() == nil {
			time.Sleep(firstDelay)
		}
		started := time.Now()
		err := runProcess(ctx, p, output)
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > livedWell {
			delay = firstDelay
		}
		log.Printf("%s ended after %s, starting it again in %s: %v", p.name, time.Since(started).Round(time.Millisecond), delay, err)
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		delay = min(2*delay, lastDelay)
	}
}

func runProcess(ctx context.Context, p process, output *logFile) error {
	command := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
	command.Env = append(os.Environ(), p.env...)
	// Through a pipe, not as an open file: AppArmor's profile of named would refuse to inherit a file it does not name.
	command.Stdout, command.Stderr = output, output
	// A grandchild that holds the pipe (a container's shim) must not keep the supervisor from seeing that its own child has ended.
	command.WaitDelay = 100 * time.Millisecond
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	return command.Run()
}

// logLimit bounds a log file in bytes; one older file of the same size is kept.
const logLimit = 16 << 20

// logFile is an append-only log that moves itself out of the way when it has grown.
type logFile struct {
	path string
	mu   sync.Mutex
	file *os.File
	size int64
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil && l.size+int64(len(p)) > logLimit {
		_ = l.file.Close()
		l.file = nil
		if err := os.Rename(l.path, l.path+".1"); err != nil {
			return 0, err
		}
	}
	if l.file == nil {
		if err := l.open(); err != nil {
			return 0, fmt.Errorf("opening the log %s: %w", l.path, err)
		}
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}

func (l *logFile) open() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return err
	}
	l.file, l.size = file, info.Size()
	return nil
}
