package main

import (
	"go/ast"
	"path/filepath"
	"strings"
	"testing"
)

func source(t *testing.T) []*pkg {
	t.Helper()
	out, err := readSource("../..")
	if err != nil || len(out) < 10 {
		t.Fatalf("%d packages: %v", len(out), err)
	}
	return out
}

// A word that nobody uses is a promise that nobody keeps.
func TestEveryConditionAndReasonIsUsed(t *testing.T) {
	used := map[string]bool{}
	for _, p := range source(t) {
		p.walk(func(n ast.Node, _ []ast.Node) {
			if s, ok := n.(*ast.SelectorExpr); ok {
				used[selected(s, "v1alpha1")] = true
			}
		})
	}
	groups, err := readConditions(filepath.Join("../..", "api", "v1alpha1", "conditions.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		for _, w := range append(g.conditions, g.reasons...) {
			if !used[w.constant] {
				t.Errorf("%s is defined and never used: remove it", w.constant)
			}
		}
	}
}

// A reason that is written out where it is used is in no catalogue.
func TestEveryReasonInCodeIsAConstant(t *testing.T) {
	_, complaints := recorded(source(t))
	for _, complaint := range complaints {
		t.Error(complaint)
	}
	// The place of the condition's type and of the reason among the arguments of what says one.
	said := map[string][2]int{"Say": {0, 2}, "True": {0, 1}, "False": {0, 1}, "Waiting": {1, 2}, "Stalled": {0, 1}, "StalledBy": {0, 1}}
	calls := 0
	for _, p := range source(t) {
		p.walk(func(n ast.Node, _ []ast.Node) {
			switch n := n.(type) {
			case *ast.CallExpr:
				at, is := said[called(n)]
				if !is || len(n.Args) <= at[1] {
					return
				}
				calls++
				for _, i := range at {
					if _, literal := text(n.Args[i]); literal {
						t.Errorf("%s: a condition's type or reason is written out: make it a constant of api/v1alpha1", p.at(n))
					}
				}
			case *ast.CompositeLit:
				if selected(n.Type, "metav1") != "Condition" {
					return
				}
				for _, name := range []string{"Type", "Reason"} {
					if _, literal := text(field(n, name)); literal {
						t.Errorf("%s: a condition's %s is written out: make it a constant of api/v1alpha1", p.at(n), name)
					}
				}
			}
		})
	}
	if calls < 20 {
		t.Errorf("%d conditions are said: the test reads the wrong code", calls)
	}
}

func TestWhatTheCatalogueReads(t *testing.T) {
	becomes := announced(source(t))
	for constant, itself := range map[string]bool{
		"ConditionProvisioned": false, "ConditionClaimLost": false, "ConditionPeerReachable": true, "ConditionUnderLegalHold": true,
	} {
		if got, is := becomes[constant]; !is || got != itself {
			t.Errorf("%s: announced by itself %v (%v), want %v", constant, got, is, itself)
		}
	}
	if _, is := becomes["ConditionReconciling"]; is {
		t.Error("Reconciling would be an event on every retry")
	}
	pages, err := pages("../..")
	if err != nil {
		t.Fatal(err)
	}
	for page, words := range map[string][]string{
		"metrics.md": {"| `pec_operator_passes_total` | counter | `kind`, `outcome` |", "`pec_engine_received_total`", "`pec_engine_sync_pending` | gauge"},
		"flags.md":   {"| `--namespace` | `pec-system` |", "## inspect", "| `--at` |", "| `--stand-in` | `15m` |", "| `--dns-interval` | `24h` |"},
		"events.md":  {"| Mailbox | `AddressReserved` |", "| `SuspendedBySpec` |", "| PECDomain | `OutageBegan` | an event of its own |"},
	} {
		for _, want := range words {
			if !strings.Contains(pages[page], want) {
				t.Errorf("%s has no %q", page, want)
			}
		}
	}
}
