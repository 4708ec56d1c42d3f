// Package postfixconf writes Postfix configuration files from typed values.
//
// Postfix has no quoting: a line feed starts a new parameter, leading white space continues the one before, `$` expands, `#`
// may be a comment, and braces and commas divide lists. So a value that would need quoting is refused, and every file is parsed back before it is
// returned: what Postfix reads is what was asked for.
package postfixconf

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxValue is in bytes; far above any value that is meant, far below what makes a configuration unreadable.
const maxValue = 4096

// Value is the value of one parameter; only the functions of this package make one.
type Value struct {
	text string
	err  error
}

// Text is one piece of text, spaces allowed inside.
func Text(s string) Value { return Value{s, checkText(s)} }

// Word is Text without anything that divides a list: white space and commas.
func Word(s string) Value {
	err := checkText(s)
	switch {
	case err == nil && s == "":
		err = errors.New("is empty")
	case err == nil && strings.ContainsAny(s, " ,"):
		err = errors.New("has white space or a comma, which would divide it")
	}
	return Value{s, err}
}

// Empty is the empty value: the parameter is there, and turns its feature off.
func Empty() Value { return Value{} }

// Bool is yes or no.
func Bool(b bool) Value {
	if b {
		return Value{text: "yes"}
	}
	return Value{text: "no"}
}

// Int is a number: bytes, a count.
func Int(n int64) Value { return Value{text: strconv.FormatInt(n, 10)} }

// Period is a time span in whole seconds.
func Period(d time.Duration) Value {
	if d < 0 || d%time.Second != 0 {
		return Value{err: fmt.Errorf("is not a number of whole seconds: %s", d)}
	}
	return Value{text: strconv.FormatInt(int64(d/time.Second), 10) + "s"}
}

// List is words, in order.
func List(words ...string) Value {
	values := make([]Value, len(words))
	for i, w := range words {
		values[i] = Word(w)
	}
	return Join(values...)
}

// Join is a list whose elements are values, in order.
func Join(values ...Value) Value {
	texts := make([]string, len(values))
	for i, v := range values {
		if v.err != nil {
			return v
		}
		texts[i] = v.text
	}
	return Value{text: strings.Join(texts, ", ")}
}

// Inline is the restriction or table `name` with a table of one entry that stands in the parameter itself. Key and result are
// constants of ours: an entry has no quoting at all.
func Inline(name, key, result string) Value {
	for _, v := range []Value{Word(name), Word(key), Text(result)} {
		if v.err != nil {
			return v
		}
	}
	if strings.ContainsAny(key, "=") || strings.ContainsAny(result, ",=") {
		return Value{err: errors.New("has = or a comma, which would divide an inline table")}
	}
	return Value{text: name + " inline:{{" + key + " = " + result + "}}"}
}

// InlineTable is a table of one entry that stands in the parameter itself; the same holds for key and result as for Inline.
func InlineTable(key, result string) Value {
	v := Inline("x", key, result)
	v.text = strings.TrimPrefix(v.text, "x ")
	return v
}

var macroName = regexp.MustCompile(`^[a-z_]{1,32}$`)

// Macros is a list of milter macros by name, without braces.
func Macros(names ...string) Value {
	words := make([]string, len(names))
	for i, n := range names {
		switch {
		case !macroName.MatchString(n):
			return Value{err: fmt.Errorf("is no macro name: %q", n)}
		case len(n) == 1:
			words[i] = n
		default:
			words[i] = "{" + n + "}"
		}
	}
	return Value{text: strings.Join(words, " ")}
}

func checkText(s string) error {
	if len(s) > maxValue {
		return fmt.Errorf("is longer than %d bytes", maxValue)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return fmt.Errorf("has byte 0x%02x, which is not printable ASCII", s[i])
		}
	}
	if strings.ContainsAny(s, "${}#") {
		return errors.New("has $, a brace or #, which Postfix would expand, group or warn of")
	}
	if strings.TrimSpace(s) != s {
		return errors.New("begins or ends with a space, which Postfix drops")
	}
	return nil
}
