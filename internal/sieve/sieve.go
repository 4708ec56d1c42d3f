// Package sieve writes a mailbox's inbound rules as a Sieve script (RFC 5228) for Dovecot.
//
// A rule's texts come from people. They stand in quoted strings and nowhere else, not even in a comment; what a quoted string
// cannot carry is refused, and each script is read back and compared with its rules before it is returned.
package sieve

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/store"
)

// MaxRules and MaxText bound a mailbox's rules; MaxText is in characters.
const MaxRules, MaxText = 32, 128

// Where the scripts are, below the stack's directory: one for each mailbox with rules (Path), and the one that runs when a mailbox's
// scripts would drop a message.
const (
	Dir      = "rules"
	Suffix   = ".sieve"
	KeptFile = "kept" + Suffix
	Kept     = "keep;\n"
)

// Path is the file of a mailbox below Dir, in the folder of its domain: with its suffix an address may be longer than a file's name. The
// sign in front keeps a domain from having the name of another file.
func Path(address string) string {
	local, domain, _ := strings.Cut(address, "@")
	return filepath.Join("@"+domain, local+Suffix)
}

// ErrInvalid marks a rule that cannot be written; its author has to change it.
var ErrInvalid = errors.New("not a rule that can be followed")

// Headers are the header fields that a rule may look at.
var Headers = []string{"From", "To", "Subject"}

const preamble = `require ["fileinto", "mailbox"];` + "\n"

// Render writes the rules in their order; the first that matches files the message. No rules give the empty script.
func Render(rules []admin.Rule) (string, error) {
	if len(rules) == 0 {
		return "", nil
	}
	if err := Check(rules); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(preamble)
	for _, r := range rules {
		fmt.Fprintf(&b, "if header :contains %s %s { fileinto :create %s; stop; }\n", quote(r.Header), quote(r.Contains), quote(r.Folder))
	}
	back, err := read(b.String())
	if err != nil {
		return "", fmt.Errorf("reading the rules back: %w", err)
	}
	if !slices.EqualFunc(back, rules, func(x, y admin.Rule) bool {
		return x.Header == y.Header && x.Contains == y.Contains && x.Folder == y.Folder
	}) {
		return "", errors.New("writing rules: they do not read back as they were meant")
	}
	return b.String(), nil
}

// Check says what is wrong with rules, and what to do.
func Check(rules []admin.Rule) error {
	if len(rules) > MaxRules {
		return fmt.Errorf("%d rules: %w: give %d or fewer", len(rules), ErrInvalid, MaxRules)
	}
	for i, r := range rules {
		problem := ""
		switch {
		case !slices.Contains(Headers, r.Header):
			problem = "header must be From, To or Subject"
		case !isText(r.Name):
			problem = fmt.Sprintf("name must be one line of up to %d characters", MaxText)
		case !isText(r.Contains):
			problem = fmt.Sprintf("contains must be one line of up to %d characters", MaxText)
		case !isFolder(r.Folder):
			problem = fmt.Sprintf("folder must be a name of up to %d characters like Clienti/Rossi, without * and %%, and not %s", MaxText, store.Expunged)
		default:
			continue
		}
		return fmt.Errorf("rule %d: %w: %s", i+1, ErrInvalid, problem)
	}
	return nil
}

func isText(s string) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= MaxText && !strings.ContainsFunc(s, unprintable)
}

// unprintable are control characters and the line ends of Unicode.
func unprintable(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

// isFolder refuses the hidden folder too: filed there, a message would seem lost.
func isFolder(s string) bool {
	if !isText(s) || strings.ContainsAny(s, `*%\`) || strings.TrimSpace(s) != s {
		return false
	}
	return !slices.ContainsFunc(strings.Split(s, "/"), func(part string) bool {
		return part == "" || part == "." || part == ".." || strings.HasPrefix(part, "~") || strings.EqualFold(part, store.Expunged)
	})
}

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func quote(s string) string { return `"` + quoter.Replace(s) + `"` }

// read reads a script of Render's back.
func read(script string) (rules []admin.Rule, err error) {
	rest, ok := strings.CutPrefix(script, preamble)
	if !ok {
		return nil, errors.New("it does not begin as it should")
	}
	for rest != "" {
		var r admin.Rule
		for _, step := range []struct {
			before string
			into   *string
		}{{"if header :contains ", &r.Header}, {" ", &r.Contains}, {" { fileinto :create ", &r.Folder}} {
			if rest, ok = strings.CutPrefix(rest, step.before); !ok {
				return nil, fmt.Errorf("%.40q where %q should be", rest, step.before)
			}
			if *step.into, rest, err = unquote(rest); err != nil {
				return nil, err
			}
		}
		if rest, ok = strings.CutPrefix(rest, "; stop; }\n"); !ok {
			return nil, fmt.Errorf("%.40q after a rule", rest)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func unquote(s string) (text, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		return "", "", fmt.Errorf("no quoted string: %.40q", s)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], nil
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", fmt.Errorf("no closing quote: %.40q", s)
}
