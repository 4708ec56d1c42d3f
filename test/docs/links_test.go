// Package docs keeps the documents true to the tree that they speak of.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

var (
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	code    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	// indented is a block of code without a fence.
	indented = regexp.MustCompile(`(?m)^    \S.*$`)
	// unlinked is what no anchor keeps of a heading.
	unlinked = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	seen := 0
	for _, page := range pages(t) {
		text := read(t, page)
		for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(fence.ReplaceAllString(text, ""), ""), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			seen++
			file, anchor, _ := strings.Cut(match[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link %s: %v", page, match[1], err)
			} else if anchor != "" && !anchors(read(t, target))[anchor] {
				t.Errorf("%s: the link %s: no heading of %s makes that anchor", page, match[1], target)
			}
		}
	}
	if seen < 50 {
		t.Fatalf("saw %d links: the test reads the wrong files", seen)
	}
}

// Who copies a command without a namespace is told that nothing is there.
func TestEveryCommandNamesItsNamespace(t *testing.T) {
	command := regexp.MustCompile(`kubectl (?:--context \S+ )?(get|describe|wait|annotate|delete|patch|exec|logs|create secret|create rolebinding)\b[^|;&\n]*`)
	named := regexp.MustCompile(` (-n|--namespace|-A|--all-namespaces)\b`)
	seen := 0
	for _, page := range pages(t) {
		text := strings.ReplaceAll(read(t, page), "\\\n", " ")
		for _, block := range slices.Concat(fence.FindAllString(text, -1), indented.FindAllString(text, -1)) {
			for _, c := range command.FindAllString(block, -1) {
				if seen++; !named.MatchString(c) {
					t.Errorf("%s: %q names no namespace", page, c)
				}
			}
		}
	}
	if seen < 25 {
		t.Fatalf("saw %d commands: the test reads the wrong text", seen)
	}
}

// pages are the README files and all of docs.
func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case strings.HasPrefix(path, filepath.Join(root, "docs")) && filepath.Ext(path) == ".md", entry.Name() == "README.md":
			all = append(all, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// anchors are those that a forge makes of a page's headings.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		all[strings.ReplaceAll(unlinked.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-")] = true
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
