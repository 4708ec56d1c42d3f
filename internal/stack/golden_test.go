package stack

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/pec-operator/pec-operator/internal/settings"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); if that is meant, run: go test ./internal/stack -run %s -update\n%s", path, t.Name(), diff)
	}
}

func TestRenderedFiles(t *testing.T) {
	got, err := files(makeDomain(), makeSettings())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		golden(t, name, got[name])
	}
	if _, err := settings.Parse([]byte(got[fileEngine])); err != nil {
		t.Error(err)
	}
}

func TestRenderedObjects(t *testing.T) {
	objects, err := Objects(makeDomain(), makeSettings())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, o := range objects {
		if c, ok := o.(*corev1.ConfigMap); ok { // its files are golden files of their own
			c.Data = map[string]string{"keys": strings.Join(slices.Sorted(maps.Keys(c.Data)), " ")}
		}
		raw, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(raw))
	}
	for _, c := range Claims(makeDomain()) {
		raw, err := yaml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(raw))
	}
	golden(t, "objects.yaml", strings.Join(all, "---\n"))
}
