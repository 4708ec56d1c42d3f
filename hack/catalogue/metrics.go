package main

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// metric is a metric of ours.
type metric struct {
	name, kind, help string
	labels           []string
}

// metricsOf are the metrics that a package makes. One made by a function from its parameters is read at the function's calls.
func metricsOf(p *pkg) ([]metric, error) {
	var out []metric
	var failed error
	p.walk(func(n ast.Node, around []ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return
		}
		form, isNew := strings.CutPrefix(selectedCall(call, "prometheus"), "New")
		if !isNew || form == "Registry" || len(call.Args) == 0 {
			return
		}
		options, ok := call.Args[0].(*ast.CompositeLit)
		if !ok {
			failed = fmt.Errorf("reading the metric at %s: its options are not written there", p.at(call))
			return
		}
		function, parameters := enclosing(around)
		made := []map[string]ast.Expr{nil} // nothing to put in
		if name, ok := field(options, "Name").(*ast.Ident); ok && slices.Contains(parameters, name.Name) {
			made = p.callsOf(function, parameters)
		}
		for _, values := range made {
			m, err := readMetric(strings.TrimSuffix(strings.TrimSuffix(form, "Vec"), "Func"), call, options, values)
			if err != nil {
				failed = fmt.Errorf("reading the metric at %s: %w", p.at(call), err)
			}
			out = append(out, m)
		}
	})
	slices.SortFunc(out, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	return out, failed
}

func selectedCall(call *ast.CallExpr, from string) string { return selected(call.Fun, from) }

// readMetric reads a metric's options and labels, with values in the place of the names that stand for them.
func readMetric(kind string, call *ast.CallExpr, options *ast.CompositeLit, values map[string]ast.Expr) (metric, error) {
	m := metric{kind: strings.ToLower(kind)}
	word := func(e ast.Expr) string {
		if name, ok := e.(*ast.Ident); ok && values[name.Name] != nil {
			e = values[name.Name]
		}
		value, _ := text(e)
		return value
	}
	var name []string
	for _, part := range []string{"Namespace", "Subsystem", "Name"} {
		if e := field(options, part); e != nil {
			name = append(name, word(e))
		}
	}
	m.name, m.help = strings.Join(name, "_"), word(field(options, "Help"))
	if m.help == "" || slices.Contains(name, "") {
		return m, fmt.Errorf("its name or help is not a constant")
	}
	if len(call.Args) < 2 {
		return m, nil
	}
	if labels, ok := call.Args[1].(*ast.CompositeLit); ok {
		for _, label := range labels.Elts {
			m.labels = append(m.labels, "`"+word(label)+"`")
		}
	}
	return m, nil
}

// enclosing is the innermost named function around a node, and the names of its parameters.
func enclosing(around []ast.Node) (name string, parameters []string) {
	for i := len(around) - 1; i >= 0; i-- {
		var kind *ast.FuncType
		switch f := around[i].(type) {
		case *ast.FuncDecl:
			name, kind = f.Name.Name, f.Type
		case *ast.FuncLit:
			assigned, ok := around[i-1].(*ast.AssignStmt)
			if !ok {
				continue
			}
			name, kind = assigned.Lhs[0].(*ast.Ident).Name, f.Type
		default:
			continue
		}
		for _, p := range kind.Params.List {
			for _, n := range p.Names {
				parameters = append(parameters, n.Name)
			}
		}
		return name, parameters
	}
	return "", nil
}

// callsOf are the arguments of each call of a function of the package, by parameter.
func (p *pkg) callsOf(function string, parameters []string) []map[string]ast.Expr {
	var out []map[string]ast.Expr
	p.walk(func(n ast.Node, _ []ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok || called(call) != function || len(call.Args) != len(parameters) {
			return
		}
		values := map[string]ast.Expr{}
		for i, parameter := range parameters {
			values[parameter] = call.Args[i]
		}
		out = append(out, values)
	})
	return out
}

// metricsPage is the catalogue of metrics.
func metricsPage(source []*pkg) (string, error) {
	var b strings.Builder
	b.WriteString(generated + `# Metrics

The manager serves its own on ` + "`--metrics-bind-address`" + `, beside those of controller-runtime; an engine on its pod's port ` + "`health`" + `. No metric has an
address, a name or a domain as a label: there are too many, and they are people's.
`)
	for _, p := range source {
		metrics, err := metricsOf(p)
		if err != nil {
			return "", err
		}
		if len(metrics) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## Of `%s`\n\n| metric | type | labels | what it says |\n|---|---|---|---|\n", p.path)
		for _, m := range metrics {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), cell(m.help))
		}
	}
	return b.String(), nil
}
