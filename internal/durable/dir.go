// Package durable makes the names of files survive a loss of power. Syncing a file keeps its bytes; which name they have is the
// directory's to remember.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir syncs a directory: after a file in it was made, renamed or linked, and before anything is said that needs its name.
func Dir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("syncing directory: %w", err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing directory %s: %w", path, err)
	}
	return nil
}

// Unfinished are the names of files that are being written. One that is there when nobody writes was left by a process that was killed.
const Unfinished = ".new-*"

// Write puts a file in place, whole and on disk, or leaves what was there. Directories that are missing are made, open to those who
// may read the file.
func Write(path string, content []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, Unfinished)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeDir(dir, mode|0o700|mode&0o044>>2); err == nil {
			tmp, err = os.CreateTemp(dir, Unfinished)
		}
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone after the rename, a leftover otherwise
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return Dir(dir)
}

// makeDir makes a directory and those above it that are missing, each with its name on disk.
func makeDir(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode)
	if above := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && above != path {
		if err := makeDir(above, mode); err != nil {
			return err
		}
		err = os.Mkdir(path, mode)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return Dir(filepath.Dir(path))
}
