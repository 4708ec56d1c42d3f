package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestDir(t *testing.T) {
	dir := t.TempDir()
	if err := Dir(dir); err != nil {
		t.Errorf("a directory: %v", err)
	}
	if err := Dir(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "file")
	for _, content := range []string{"first", "second", ""} {
		if err := Write(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		if raw, err := os.ReadFile(path); err != nil || string(raw) != content {
			t.Errorf("written %q, read %q, %v", content, raw, err)
		}
	}
	for of, want := range map[string]fs.FileMode{path: 0o640, filepath.Dir(path): fs.ModeDir | 0o750, filepath.Join(dir, "a"): fs.ModeDir | 0o750} {
		if info, err := os.Stat(of); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v: %v", of, info.Mode(), want, err)
		}
	}
	if err := Write(filepath.Join(path, "below a file"), nil, 0o600); err == nil {
		t.Error("a file was made below a file")
	}
	if err := Write(filepath.Dir(path), nil, 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("in the directory are %v, %v", left, err)
	}
}
