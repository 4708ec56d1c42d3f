package main

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// announced are the conditions whose changes become events, by constant: true for those that do so by themselves, false for those that do
// as the reason of the top condition. They are what the tables of the kinds summarise, and what the mechanism has for every kind.
func announced(source []*pkg) map[string]bool {
	out := map[string]bool{"ConditionReady": true, "ConditionNotInForce": true, "ConditionSuspended": false}
	for _, p := range source {
		p.walk(func(n ast.Node, _ []ast.Node) {
			table, ok := n.(*ast.CompositeLit)
			if !ok || (selected(table.Type, "reconcile") != "Table" && !isIdent(table.Type, "Table")) {
				return
			}
			for _, list := range []string{"Positive", "Negative", "Informative", "Announced"} {
				for _, name := range p.conditionsIn(field(table, list)) {
					out[name] = out[name] || list == "Informative" || list == "Announced"
				}
			}
		})
	}
	return out
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// conditionsIn are the condition constants in an expression, and in the variables of the package that it names.
func (p *pkg) conditionsIn(e ast.Expr) []string {
	if e == nil {
		return nil
	}
	var out []string
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if name := selected(n, "v1alpha1"); strings.HasPrefix(name, "Condition") {
				out = append(out, name)
			}
			return false
		case *ast.Ident:
			p.walk(func(v ast.Node, _ []ast.Node) {
				if spec, ok := v.(*ast.ValueSpec); ok && len(spec.Values) == 1 && spec.Names[0].Name == n.Name {
					out = append(out, p.conditionsIn(spec.Values[0])...)
				}
			})
		}
		return true
	})
	return out
}

// recorded are the reasons that code gives to an event itself, by constant: true for those that it gives to nothing else; and a complaint
// for each that is no constant of ours.
func recorded(source []*pkg) (reasons map[string]bool, complaints []string) {
	events, uses := map[string]int{}, map[string]int{}
	for _, p := range source {
		p.walk(func(n ast.Node, _ []ast.Node) {
			if s, ok := n.(*ast.SelectorExpr); ok {
				uses[selected(s, "v1alpha1")]++
			}
			call, ok := n.(*ast.CallExpr)
			if !ok || called(call) != "Eventf" || len(call.Args) < 4 {
				return
			}
			reason, ok := call.Args[3].(*ast.SelectorExpr)
			switch name := selected(call.Args[3], "v1alpha1"); {
			case strings.HasPrefix(name, "Reason"):
				events[name]++
			case !ok || reason.Sel.Name != "Reason":
				complaints = append(complaints, p.at(call)+": the event's reason is neither a constant of api/v1alpha1 nor a condition's")
			}
		})
	}
	reasons = map[string]bool{}
	for name, n := range events {
		reasons[name] = uses[name] == n
	}
	return reasons, complaints
}

// eventsPage is the catalogue of events.
func eventsPage(groups []group, source []*pkg) (string, error) {
	becomes := announced(source)
	direct, complaints := recorded(source)
	if len(complaints) > 0 {
		return "", fmt.Errorf("reading the events: %s", strings.Join(complaints, "; "))
	}
	var b strings.Builder
	b.WriteString(generated + `# Events

An event announces that a condition changed its status or its reason, once: its reason is the condition's, its note the condition's
message, its action ` + "`Reconcile`" + `. It is a Warning when the condition stops being True (ArchiveRecommended: becomes True) or the object is
Stalled, and Normal otherwise. An event of its own announces no condition: its action is the slot of the calendar (the Phase... of a
MailboxMigration), ` + "`Measure`" + ` (outages) or ` + "`Reconcile`" + `.

| kind | reason | announces a change of | surfaces |
|---|---|---|---|
`)
	var rows []string
	for _, g := range groups {
		by := map[string]bool{}
		for _, c := range g.conditions {
			itself, is := becomes[c.constant]
			switch {
			case is && itself:
				by[c.value] = true
			case is:
				by["the top condition"] = true
			}
		}
		for _, r := range g.reasons {
			why := make([]string, 0, len(by)+1)
			for name := range by {
				why = append(why, name)
			}
			if only, is := direct[r.constant]; is {
				if only {
					why = nil
				}
				why = append(why, "an event of its own")
			}
			if len(why) == 0 {
				continue
			}
			slices.Sort(why)
			kind := g.of
			if kind == "" {
				kind = "every kind"
			}
			rows = append(rows, fmt.Sprintf("| %s | `%s` | %s | %s |\n", kind, r.value, strings.Join(why, ", "), cell(strings.TrimPrefix(r.doc, "surfaces "))))
		}
	}
	slices.Sort(rows)
	b.WriteString(strings.Join(rows, ""))
	return b.String(), nil
}
