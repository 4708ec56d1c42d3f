package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
)

// option is a flag of a role.
type option struct{ name, value, usage string }

// flagsOf are the flags of each set that a package makes, by the set's name, in the order of the code.
func flagsOf(p *pkg) (names []string, sets map[string][]option, failed error) {
	sets = map[string][]option{}
	role := map[string]string{} // by variable
	p.walk(func(n ast.Node, _ []ast.Node) {
		switch n := n.(type) {
		case *ast.AssignStmt:
			call, ok := n.Rhs[0].(*ast.CallExpr)
			if !ok || selectedCall(call, "flag") != "NewFlagSet" {
				return
			}
			name := firstText(call.Args[0])
			role[n.Lhs[0].(*ast.Ident).Name], names = name, append(names, name)
		case *ast.CallExpr:
			s, ok := n.Fun.(*ast.SelectorExpr)
			if !ok {
				return
			}
			set, ok := s.X.(*ast.Ident)
			if !ok || role[set.Name] == "" || !defines(s.Sel.Name) {
				return
			}
			o, err := readFlag(s.Sel.Name, n.Args)
			if err != nil {
				failed = fmt.Errorf("reading the flag at %s: %w", p.at(n), err)
			}
			sets[role[set.Name]] = append(sets[role[set.Name]], o)
		}
	})
	return names, sets, failed
}

// defines says whether a method of a flag set defines a flag.
func defines(method string) bool {
	switch strings.TrimSuffix(method, "Var") {
	case "Bool", "Duration", "Float64", "Int", "Int64", "String", "Text", "Uint", "Uint64", "Func", "BoolFunc", "":
		return true
	}
	return false
}

func readFlag(method string, args []ast.Expr) (option, error) {
	if strings.HasSuffix(method, "Var") {
		args = args[1:]
	}
	name, named := text(args[0])
	usage, used := text(args[len(args)-1])
	o := option{name: name, usage: usage}
	switch {
	case strings.HasSuffix(method, "Func"):
		usage, used = text(args[1])
		o.usage = usage
	case len(args) == 3:
		value, read := shownDefault(args[1])
		if !read {
			return o, fmt.Errorf("its default is not one that the catalogue can read")
		}
		o.value = value
	}
	if !named || !used {
		return o, fmt.Errorf("its name or usage is not a constant")
	}
	return o, nil
}

// shownDefault is how a page shows the default of a flag.
func shownDefault(e ast.Expr) (string, bool) {
	switch value := e.(type) {
	case *ast.BasicLit:
		return strings.Trim(value.Value, `"`), true
	case *ast.Ident:
		return value.Name, true
	case *ast.BinaryExpr: // 15*time.Minute
		times, is := value.X.(*ast.BasicLit)
		unit := map[string]string{"Hour": "h", "Minute": "m", "Second": "s"}[selected(value.Y, "time")]
		if is && unit != "" && value.Op == token.MUL {
			return times.Value + unit, true
		}
	}
	return "", false
}

// firstText is the leftmost string of a sum.
func firstText(e ast.Expr) string {
	if sum, ok := e.(*ast.BinaryExpr); ok {
		return firstText(sum.X)
	}
	value, _ := text(e)
	return strings.TrimSpace(value)
}

// flagsPage is the catalogue of flags.
func flagsPage(source []*pkg) (string, error) {
	var b strings.Builder
	b.WriteString(generated + "# Flags\n\nEach role of the binary has its own: `pec-operator ROLE --help`.\n")
	for _, p := range source {
		names, sets, err := flagsOf(p)
		if err != nil {
			return "", err
		}
		for _, name := range names {
			if len(sets[name]) == 0 {
				continue
			}
			fmt.Fprintf(&b, "\n## %s\n\n| flag | default | what it is |\n|---|---|---|\n", name)
			for _, o := range sets[name] {
				value := ""
				if o.value != "" {
					value = "`" + o.value + "`"
				}
				fmt.Fprintf(&b, "| `--%s` | %s | %s |\n", o.name, value, cell(strings.ReplaceAll(o.usage, "`", "")))
			}
		}
	}
	return b.String(), nil
}
