package sieve

import (
	"errors"
	"strings"
	"testing"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// What real Pigeonhole reads of these scripts is in the tests of package stack, which have its programs.

func rule() admin.Rule {
	return admin.Rule{Name: "clienti", Header: "From", Contains: "rossi@", Folder: "Clienti/Rossi"}
}

func TestRender(t *testing.T) {
	r := rule()
	r.Contains = `a "quoted" \ text`
	got, err := Render([]admin.Rule{r, rule()})
	want := "require [\"fileinto\", \"mailbox\"];\n" +
		`if header :contains "From" "a \"quoted\" \\ text" { fileinto :create "Clienti/Rossi"; stop; }` + "\n" +
		`if header :contains "From" "rossi@" { fileinto :create "Clienti/Rossi"; stop; }` + "\n"
	if err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if got, err := Render(nil); got != "" || err != nil {
		t.Errorf("no rules give %q, %v", got, err)
	}
}

func TestRenderRefuses(t *testing.T) {
	for name, change := range map[string]func(*admin.Rule){
		"a header that rules do not look at":  func(r *admin.Rule) { r.Header = "Bcc" },
		"no text to look for":                 func(r *admin.Rule) { r.Contains = "" },
		"a line feed in the text":             func(r *admin.Rule) { r.Contains = "a\nkeep;" },
		"a NUL in the text":                   func(r *admin.Rule) { r.Contains = "a\x00" },
		"a line separator of Unicode":         func(r *admin.Rule) { r.Contains = "a\u2028b" },
		"bytes that are no UTF-8":             func(r *admin.Rule) { r.Contains = "\xff" },
		"a text that is too long":             func(r *admin.Rule) { r.Contains = strings.Repeat("x", MaxText+1) },
		"a line feed in the name":             func(r *admin.Rule) { r.Name = "a\nb" },
		"no folder":                           func(r *admin.Rule) { r.Folder = "" },
		"the folder that holders do not see":  func(r *admin.Rule) { r.Folder = "Expunged" },
		"a folder below it":                   func(r *admin.Rule) { r.Folder = "expunged/x" },
		"a way out of the mailbox":            func(r *admin.Rule) { r.Folder = "a/../../b" },
		"a home directory":                    func(r *admin.Rule) { r.Folder = "~vmail/x" },
		"an absolute path":                    func(r *admin.Rule) { r.Folder = "/etc" },
		"a pattern":                           func(r *admin.Rule) { r.Folder = "a*" },
		"a folder with a blank at its end":    func(r *admin.Rule) { r.Folder = "a " },
		"a carriage return in the folder":     func(r *admin.Rule) { r.Folder = "a\r" },
		"a folder without a name inside it":   func(r *admin.Rule) { r.Folder = "a//b" },
		"a backslash, which storage may keep": func(r *admin.Rule) { r.Folder = `a\b` },
	} {
		t.Run(name, func(t *testing.T) {
			r := rule()
			change(&r)
			if got, err := Render([]admin.Rule{rule(), r}); !errors.Is(err, ErrInvalid) {
				t.Errorf("rendered %q, %v", got, err)
			}
		})
	}
	if _, err := Render(make([]admin.Rule, MaxRules+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("too many rules: %v", err)
	}
}

// Whatever the texts are, a script has one rule for each and nothing else, or none is written.
func FuzzRender(f *testing.F) {
	f.Add("rossi@", "Clienti")
	f.Add(`" { discard; } #`, `x"; redirect "a@b.test`)
	f.Add(`\`, `\"`)
	f.Fuzz(func(t *testing.T, contains, folder string) {
		r := rule()
		r.Contains, r.Folder = contains, folder
		script, err := Render([]admin.Rule{r})
		if err != nil {
			return
		}
		if lines := strings.Count(script, "\n"); lines != 2 {
			t.Errorf("one rule became %d lines: %q", lines, script)
		}
	})
}
