package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// pkg is the code of one package directory, tests left out.
type pkg struct {
	// path from the top of the project.
	path  string
	files []*ast.File
	set   *token.FileSet
}

// readSource reads the packages of the binary, in the order of their paths.
func readSource(root string) ([]*pkg, error) {
	set := token.NewFileSet()
	byPath := map[string]*pkg{}
	for _, top := range []string{"controllers", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(file string, entry fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			parsed, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			path, err := filepath.Rel(root, filepath.Dir(file))
			if err != nil {
				return err
			}
			if byPath[path] == nil {
				byPath[path] = &pkg{path: filepath.ToSlash(path), set: set}
			}
			byPath[path].files = append(byPath[path].files, parsed)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading the code below %s: %w", top, err)
		}
	}
	var out []*pkg
	for _, p := range byPath {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *pkg) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

// walk calls f for each node of the package with the nodes around it, the outermost first.
func (p *pkg) walk(f func(n ast.Node, around []ast.Node)) {
	for _, file := range p.files {
		var around []ast.Node
		ast.Inspect(file, func(n ast.Node) bool {
			if n == nil {
				around = around[:len(around)-1]
				return true
			}
			f(n, around)
			around = append(around, n)
			return true
		})
	}
}

func (p *pkg) at(n ast.Node) string { return p.set.Position(n.Pos()).String() }

// text is a string constant as it is written in an expression.
func text(e ast.Expr) (string, bool) {
	literal, ok := e.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	value, err := strconv.Unquote(literal.Value)
	return value, err == nil
}

// selected is the name that an expression selects from a package of the given name; "" when it does not.
func selected(e ast.Expr, from string) string {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := s.X.(*ast.Ident); !ok || x.Name != from {
		return ""
	}
	return s.Sel.Name
}

// called is the last part of the name of what a call calls.
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// field is the value of a field in a composite literal; nil when it is not given.
func field(literal *ast.CompositeLit, name string) ast.Expr {
	for _, element := range literal.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.Ident); ok && key.Name == name {
				return pair.Value
			}
		}
	}
	return nil
}
