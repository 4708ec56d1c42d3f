// Command catalogue writes docs/reference from what the code says: the conditions and reasons of every kind from their constants,
// the fields of every kind from its CRD, events, metrics and flags from where they are made. Run it at the top of the project.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "catalogue:", err)
		os.Exit(1)
	}
}

// write puts every page below docs/reference.
func write(root string) error {
	pages, err := pages(root)
	if err != nil {
		return err
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(root, "docs", "reference", name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("writing page %s: %w", name, err)
		}
	}
	return nil
}

// pages are the pages of docs/reference by file name.
func pages(root string) (map[string]string, error) {
	groups, err := readConditions(filepath.Join(root, "api", "v1alpha1", "conditions.go"))
	if err != nil {
		return nil, err
	}
	kinds, err := readKinds(filepath.Join(root, "config", "crd", "bases"))
	if err != nil {
		return nil, err
	}
	source, err := readSource(root)
	if err != nil {
		return nil, err
	}
	out := map[string]string{"conditions.md": conditionsPage(groups, kinds)}
	if out["events.md"], err = eventsPage(groups, source); err != nil {
		return nil, err
	}
	if out["metrics.md"], err = metricsPage(source); err != nil {
		return nil, err
	}
	if out["flags.md"], err = flagsPage(source); err != nil {
		return nil, err
	}
	for _, crd := range kinds {
		out[crd.Spec.Names.Singular+".md"] = kindPage(crd)
	}
	return out, nil
}
