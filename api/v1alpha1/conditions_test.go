package v1alpha1_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// A condition without its definition is a name; users read these sentences in the generated reference.
func TestEveryConditionAndReasonIsDefined(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "conditions.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	catalogue, err := os.ReadFile("../../docs/reference/conditions.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		seen++
		name, doc := spec.Names[0].Name, spec.Doc.Text()
		value := strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`)
		if !strings.Contains(string(catalogue), "\n### "+value+"\n") && !strings.Contains(string(catalogue), "\n| `"+value+"` |") {
			t.Errorf("%s: %s is not in docs/reference/conditions.md; run make generate", name, value)
		}
		if len(value) > longestName {
			t.Errorf("%s: %s has more than %d characters, with which the largest object is measured", name, value, longestName)
		}
		switch {
		case strings.HasPrefix(name, "Reason") && !strings.HasPrefix(doc, name+" surfaces when "):
			t.Errorf("%s: its comment must start with %q", name, name+" surfaces when ")
		case strings.HasPrefix(name, "Condition") && !strings.Contains(doc, "True"):
			t.Errorf("%s: its comment must say what makes it True", name)
		}
		return true
	})
	if seen < 30 {
		t.Fatalf("saw %d constants: the test reads the wrong file", seen)
	}
}
