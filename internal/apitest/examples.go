package apitest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Examples are the manifests of our kinds in the documents and the samples, by where each is.
func Examples(t testing.TB) map[string]string {
	t.Helper()
	examples := map[string]string{}
	for _, pattern := range []string{"docs/kinds/*.md", "docs/*.md", "config/samples/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(root(), pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no examples at %s: %v", pattern, err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := string(raw)
			if strings.HasSuffix(file, ".md") {
				text = strings.Join(Fenced(text, "yaml"), "\n---\n")
			}
			for i, document := range strings.Split(text, "\n---\n") {
				if strings.Contains(document, "apiVersion: pec-operator.dev/") {
					examples[fmt.Sprintf("%s, document %d", filepath.Base(file), i+1)] = document
				}
			}
		}
	}
	if len(examples) < 12 {
		t.Fatalf("%d examples: the wrong files were read", len(examples))
	}
	return examples
}

// Fenced are the blocks of a page in the given language; "" for those that name none.
func Fenced(page, language string) []string {
	var blocks []string
	for i, part := range strings.Split(page, "```") {
		if block, is := strings.CutPrefix(part, language+"\n"); i%2 == 1 && is {
			blocks = append(blocks, block)
		}
	}
	return blocks
}
