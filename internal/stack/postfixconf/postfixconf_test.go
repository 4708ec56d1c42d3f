package postfixconf

import (
	"strings"
	"testing"
	"time"
)

// What real Postfix reads of hostile values is in the tests of package stack, which have its programs.

func TestRenderMain(t *testing.T) {
	tests := map[string]struct {
		parameters []Parameter
		want       string // the file, or a part of the error
	}{
		"sorted by name": {
			[]Parameter{{"b", Bool(true)}, {"a", Int(-1)}, {"c", Empty()}, {"d", Period(90 * time.Second)}},
			"a = -1\nb = yes\nc =\nd = 90s\n",
		},
		"a list":                          {[]Parameter{{"a", List("x", "[::1]/128")}}, "a = x, [::1]/128\n"},
		"macros":                          {[]Parameter{{"a", Macros("i", "auth_authen")}}, "a = i {auth_authen}\n"},
		"an inline table":                 {[]Parameter{{"a", Join(Word("x"), Inline("t", "<>", "550 no"))}}, "a = x, t inline:{{<> = 550 no}}\n"},
		"a parameter twice":               {[]Parameter{{"a", Int(1)}, {"a", Int(2)}}, "a is given twice"},
		"a name that is none":             {[]Parameter{{"a b", Int(1)}}, "no parameter name"},
		"a name with a line feed":         {[]Parameter{{"a\nb", Int(1)}}, "no parameter name"},
		"a half second":                   {[]Parameter{{"a", Period(time.Second / 2)}}, "whole seconds"},
		"a word of two":                   {[]Parameter{{"a", Word("x y")}}, "would divide it"},
		"no word":                         {[]Parameter{{"a", Word("")}}, "is empty"},
		"a bad word in a list":            {[]Parameter{{"a", List("x", "y,permit")}}, "would divide it"},
		"a macro that is none":            {[]Parameter{{"a", Macros("i} x")}}, "no macro name"},
		"an inline table with two keys":   {[]Parameter{{"a", Inline("t", "k", "x, l = y")}}, "would divide an inline table"},
		"an inline table that closes":     {[]Parameter{{"a", Inline("t", "k", "x}} permit")}}, "a brace"},
		"text that the next line repairs": {[]Parameter{{"a", Text("x\n")}}, "0x0a"},
	}
	for name, test := range tests {
		got, err := RenderMain(test.parameters)
		if err != nil {
			got = err.Error()
		}
		if got != test.want && (err == nil || !strings.Contains(got, test.want)) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestRenderMaster(t *testing.T) {
	smtpd := Service{Name: "127.0.0.1:25", Kind: Inet, Command: "smtpd", Overrides: []Parameter{{"a", List("x", "y")}}}
	tests := map[string]struct {
		services []Service
		want     string
	}{
		"an entry with an override": {[]Service{smtpd}, "127.0.0.1:25 inet n y n - - smtpd\n  -o { a = x, y }\n"},
		"a socket":                  {[]Service{{Name: "q", Kind: Unix, Public: true, Privileged: true, Wakeup: "9?", ProcessLimit: "1", Command: "q"}}, "q unix n n n 9? 1 q\n"},
		"an entry twice":            {[]Service{smtpd, smtpd}, "is given twice"},
		"a command with arguments":  {[]Service{{Name: "a", Kind: Unix, Command: "sh -c x"}}, "not of its form"},
		"an unknown kind":           {[]Service{{Name: "a", Kind: "pipe", Command: "x"}}, "unknown kind"},
		"two spaces in an override": {[]Service{{Name: "a", Kind: Unix, Command: "x", Overrides: []Parameter{{"a", Text("x  y")}}}}, "does not read back"},
		"a hostile override":        {[]Service{{Name: "a", Kind: Unix, Command: "x", Overrides: []Parameter{{"a", Text("} -o {b=c")}}}}, "a brace"},
	}
	for name, test := range tests {
		got, err := RenderMaster(test.services)
		if err != nil {
			got = err.Error()
		}
		if got != test.want && (err == nil || !strings.Contains(got, test.want)) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestRenderTable(t *testing.T) {
	got, err := RenderTable(Table{Path: "/a.sqlite", Query: "SELECT a FROM b WHERE c = '%s'"})
	if want := "dbpath = /a.sqlite\nquery = SELECT a FROM b WHERE c = '%s'\n"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := RenderTable(Table{Path: "/a\nquery = DELETE FROM b", Query: "SELECT 1"}); err == nil {
		t.Error("a path with a line feed is taken")
	}
}

// What Postfix reads as a continuation is read so here too, or the check after writing would prove nothing.
func TestParse(t *testing.T) {
	got, err := parse("# comment\na = x\n\n  y\nb=\n")
	if err != nil || got["a"] != "x y" || got["b"] != "" {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{" a = x\n", "a\n"} {
		if _, err := parse(text); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}
