package reconcile

import (
	"strings"
	"testing"
)

func TestTextsAreCutBetweenCharacters(t *testing.T) {
	for name, c := range map[string]struct {
		text              string
		limit             int
		characters, bytes string
	}{
		"what fits stays":            {"città", 6, "città", "città"},
		"as long as the limit":       {"città", 5, "città", "citt"},
		"a character of two bytes":   {"àèìòù", 3, "àèì", "à"},
		"a character of four bytes":  {"𝄞𝄞", 1, "𝄞", ""},
		"nothing fits in no room":    {"x", 0, "", ""},
		"nothing is cut of no text":  {"", 3, "", ""},
		"a limit between characters": {"abàc", 4, "abàc", "abà"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Cut(c.text, c.limit); got != c.characters {
				t.Errorf("to %d characters it is cut to %q, want %q", c.limit, got, c.characters)
			}
			if got := cutBytes(c.text, c.limit); got != c.bytes {
				t.Errorf("to %d bytes it is cut to %q, want %q", c.limit, got, c.bytes)
			}
		})
	}
}

func TestFirstOf(t *testing.T) {
	for name, c := range map[string]struct{ list, want string }{
		"nobody":               {"", ""},
		"as many as are named": {"a b c", "a; b; c"},
		"one more":             {"a b c d", "a; b; c; and 1 more"},
		"many more":            {"a b c d e f g", "a; b; c; and 4 more"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := FirstOf(strings.Fields(c.list), 3, "; "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
