package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// group is a run of conditions and the reasons that follow them in one const block.
type group struct {
	// of is what the block's comment says whose they are: a kind, or "" for all.
	of                  string
	conditions, reasons []word
}

// word is a condition's type or a reason: its constant, its value, its definition.
type word struct{ constant, value, doc string }

// readConditions reads the constants of a file, in its order.
func readConditions(file string) ([]group, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("reading the conditions: %w", err)
	}
	var groups []group
	for _, decl := range parsed.Decls {
		block, ok := decl.(*ast.GenDecl)
		if !ok || block.Tok != token.CONST {
			continue
		}
		_, of, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(block.Doc.Text()), "."), " of ")
		groups = append(groups, group{of: of})
		for _, spec := range block.Specs {
			constant := spec.(*ast.ValueSpec)
			name := constant.Names[0].Name
			value, err := strconv.Unquote(constant.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				return nil, fmt.Errorf("reading constant %s: %w", name, err)
			}
			last := &groups[len(groups)-1]
			w := word{constant: name, value: value, doc: strings.TrimSpace(strings.TrimPrefix(constant.Doc.Text(), name+" "))}
			switch {
			case strings.HasPrefix(name, "Reason"):
				last.reasons = append(last.reasons, w)
			case len(last.reasons) > 0:
				groups = append(groups, group{of: of, conditions: []word{w}})
			default:
				last.conditions = append(last.conditions, w)
			}
		}
	}
	return groups, nil
}

// conditionsPage is the catalogue of conditions and reasons.
func conditionsPage(groups []group, kinds []*apiextensionsv1.CustomResourceDefinition) string {
	var b strings.Builder
	b.WriteString(generated + `# Conditions and reasons

A condition's reason is also the reason of the event that announces it and the value of the log key "reason". A condition may have a
reason of another condition: of the one that stopped the operator first.

## Every kind
`)
	writeGroups(&b, groups, "")
	for _, crd := range kinds {
		kind := crd.Spec.Names.Kind
		fmt.Fprintf(&b, "\n## %s\n", kind)
		if writeGroups(&b, groups, kind) == 0 {
			b.WriteString("\nNo controller of this release acts on it: it has no conditions, not even those of every kind.\n")
		}
	}
	return b.String()
}

// writeGroups writes the groups of a kind and counts them.
func writeGroups(b *strings.Builder, groups []group, of string) int {
	n := 0
	for _, g := range groups {
		if g.of != of {
			continue
		}
		n++
		for _, c := range g.conditions {
			fmt.Fprintf(b, "\n### %s\n\n%s %s\n", c.value, c.value, c.doc)
		}
		b.WriteString("\n| reason | surfaces |\n|---|---|\n")
		for _, r := range g.reasons {
			fmt.Fprintf(b, "| `%s` | %s |\n", r.value, cell(strings.TrimPrefix(r.doc, "surfaces ")))
		}
	}
	return n
}
