package dovecotconf

import (
	"strings"
	"testing"
)

// What real Dovecot reads of hostile values is in the tests of package stack, which have its programs.

func TestRender(t *testing.T) {
	tests := map[string]struct {
		nodes []Node
		want  string // the file, or a part of the error
	}{
		"settings, blocks and an include": {
			[]Node{Include("/a/b.conf"), Set("a", Words("x", "y")), Block("service", "lmtp", Block("inet_listener", "", Set("port", Int(24))), Set("mode", Mode(0o600))), Set("b", Empty())},
			"!include /a/b.conf\na = x y\nservice lmtp {\n  inet_listener {\n    port = 24\n  }\n  mode = 0600\n}\nb =\n",
		},
		"quotes and backslashes": {[]Node{Set("a", Text(`x "y" \z`))}, "a = \"x \\\"y\\\" \\\\z\"\n"},
		"a template":             {[]Node{Set("a", Template("/%{user | lower}"))}, "a = \"/%{user | lower}\"\n"},
		"text that expands":      {[]Node{Set("a", Text("%{user}"))}, "has %"},
		"another's value":        {[]Node{Set("a", Same("b"))}, "a = $SET:b\n"},
		"another that is none":   {[]Node{Set("a", Same("b $ENV:x"))}, "no setting"},
		"a variable":             {[]Node{Set("a", Template("$ENV:x"))}, "has $"},
		"a line feed":            {[]Node{Set("a", Text("x\ny"))}, "0x0a"},
		"a word that is none":    {[]Node{Set("a", Word("x y"))}, "no plain word"},
		"a file for a word":      {[]Node{Set("a", Word("</etc/passwd"))}, "no plain word"},
		"a bad word in a list":   {[]Node{Set("a", Words("x", "}"))}, "no plain word"},
		"a key that is none":     {[]Node{Set("a b", Int(1))}, `"a b" is no setting`},
		"a block that is none":   {[]Node{Block("service", "x {")}, `"service" "x {" is no block`},
		"a bad path to include":  {[]Node{Include("/a b")}, `the path of !include is no plain word: "/a b"`},
		"a fault deep inside":    {[]Node{Block("service", "x", Block("inet_listener", "y", Set("port", Word(""))))}, "in service x: in inet_listener y: the value of port"},
	}
	for name, test := range tests {
		got, err := Render(test.nodes...)
		if err != nil {
			got = err.Error()
		}
		if got != test.want && (err == nil || !strings.Contains(got, test.want)) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestParseValue(t *testing.T) {
	for _, text := range []string{`"a`, `"a"b"`, `"a\"`} {
		if v, err := parseValue(text); err == nil {
			t.Errorf("%s is read as %v", text, v)
		}
	}
}
