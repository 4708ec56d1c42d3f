package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheReferenceIsFresh(t *testing.T) {
	const root = "../.."
	pages, err := pages(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range pages {
		have, err := os.ReadFile(filepath.Join(root, "docs", "reference", name))
		if err != nil || string(have) != want {
			t.Errorf("docs/reference/%s is not what the code says (%v): run make generate", name, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(root, "docs", "reference", "*.md"))
	if err != nil || len(files) != len(pages) {
		t.Errorf("docs/reference has %d pages, want %d (%v)", len(files), len(pages), err)
	}
}
