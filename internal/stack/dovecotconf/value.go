// Package dovecotconf writes dovecot.conf from typed blocks and values.
//
// In this syntax a line feed ends a setting, `#` begins a comment, `$` and a leading `<` read the environment or a file, `%`
// expands, and braces open and close blocks. Text is therefore written in double quotes with `"` and `\` escaped, and what
// cannot be carried that way is refused. Every file is parsed back before it is returned.
package dovecotconf

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// maxValue is in bytes.
const maxValue = 8192

// Value is the value of one setting; only the functions of this package make one.
type Value struct {
	text   string
	quoted bool
	err    error
}

var word = regexp.MustCompile(`^[A-Za-z0-9./~:@_-]+$`)

// Word is a value that needs no quotes: a path, a name, an address.
func Word(s string) Value {
	if len(s) > maxValue || !word.MatchString(s) {
		return Value{err: fmt.Errorf("is no plain word: %.40q", s)}
	}
	return Value{text: s}
}

// Words is a list of words.
func Words(words ...string) Value {
	for _, w := range words {
		if v := Word(w); v.err != nil {
			return v
		}
	}
	return Value{text: strings.Join(words, " ")}
}

// Text is any text that does not expand.
func Text(s string) Value {
	if strings.Contains(s, "%") {
		return Value{err: errors.New("has %, which Dovecot would expand")}
	}
	return Template(s)
}

// Template is a constant of ours that holds %{variables}; never give it anything that came from a resource.
func Template(s string) Value {
	v := Value{text: s, quoted: true}
	switch {
	case len(s) > maxValue:
		v.err = fmt.Errorf("is longer than %d bytes", maxValue)
	case strings.Contains(s, "$"):
		v.err = errors.New("has $, which Dovecot would expand")
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			v.err = fmt.Errorf("has byte 0x%02x, which is not printable ASCII", s[i])
		}
	}
	return v
}

// Empty is the empty value: the setting is there, and turns its default off.
func Empty() Value { return Value{} }

// Same is the value of another setting, of an included file too: a secret that no ConfigMap may hold.
func Same(key string) Value {
	if !settingKey.MatchString(key) {
		return Value{err: fmt.Errorf("is that of no setting: %.40q", key)}
	}
	return Value{text: "$SET:" + key}
}

// Bool is yes or no.
func Bool(b bool) Value {
	if b {
		return Value{text: "yes"}
	}
	return Value{text: "no"}
}

// Int is a number: bytes, a count, a port.
func Int(n int64) Value { return Value{text: strconv.FormatInt(n, 10)} }

// Mode is the mode of a socket.
func Mode(m uint32) Value { return Value{text: fmt.Sprintf("%04o", m&0o777)} }

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func (v Value) String() string {
	if !v.quoted {
		return v.text
	}
	return `"` + quoter.Replace(v.text) + `"`
}
