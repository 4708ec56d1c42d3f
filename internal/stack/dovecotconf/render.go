package dovecotconf

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Node is one setting, block or include.
type Node struct {
	head  string // the setting's key, or the block's kind and name
	value Value
	body  []Node // of a block
	block bool
	err   error
}

var (
	settingKey = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}(/[a-z0-9_]{1,63})?$`)
	blockName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_=-]{0,63}$`)
)

// Set is one setting.
func Set(key string, v Value) Node {
	n := Node{head: key, value: v}
	switch {
	case !settingKey.MatchString(key):
		n.err = fmt.Errorf("%q is no setting", key)
	case v.err != nil:
		n.err = fmt.Errorf("the value of %s %w", key, v.err)
	}
	return n
}

// Block is a block of a kind ("service", "protocol"), with a name where the kind has one ("" where not).
func Block(kind, name string, body ...Node) Node {
	n := Node{head: kind, body: body, block: true}
	if !settingKey.MatchString(kind) || (name != "" && !blockName.MatchString(name)) {
		n.err = fmt.Errorf("%q %q is no block", kind, name)
	}
	if name != "" {
		n.head += " " + name
	}
	return n
}

// Include reads another file at this place; Dovecot does not start without it.
func Include(path string) Node {
	n := Node{head: "!include", value: Word(path)}
	if n.value.err != nil {
		n.err = fmt.Errorf("the path of !include %w", n.value.err)
	}
	return n
}

// Render writes the nodes in the order given.
func Render(nodes ...Node) (string, error) {
	var b strings.Builder
	if err := write(&b, nodes, ""); err != nil {
		return "", fmt.Errorf("writing dovecot.conf: %w", err)
	}
	got, rest, err := parse(strings.Split(b.String(), "\n"))
	if err != nil {
		return "", fmt.Errorf("reading dovecot.conf back: %w", err)
	}
	if len(rest) > 0 || !same(got, nodes) {
		return "", errors.New("writing dovecot.conf: it does not read back as it was meant")
	}
	return b.String(), nil
}

func write(b *strings.Builder, nodes []Node, indent string) error {
	for _, n := range nodes {
		switch {
		case n.err != nil:
			return n.err
		case n.block:
			fmt.Fprintf(b, "%s%s {\n", indent, n.head)
			if err := write(b, n.body, indent+"  "); err != nil {
				return fmt.Errorf("in %s: %w", n.head, err)
			}
			fmt.Fprintf(b, "%s}\n", indent)
		case n.head == "!include":
			fmt.Fprintf(b, "%s!include %s\n", indent, n.value)
		default:
			fmt.Fprintf(b, "%s%s\n", indent, strings.TrimSpace(n.head+" = "+n.value.String()))
		}
	}
	return nil
}

// parse reads nodes up to the end of the block they are in, and returns the lines after it.
func parse(lines []string) (nodes []Node, rest []string, err error) {
	for len(lines) > 0 {
		line := strings.TrimSpace(lines[0])
		lines = lines[1:]
		key, value, isSetting := strings.Cut(line, " =")
		switch {
		case line == "":
		case line == "}":
			return nodes, lines, nil
		case strings.HasPrefix(line, "!include "):
			nodes = append(nodes, Node{head: "!include", value: Value{text: strings.TrimPrefix(line, "!include ")}})
		case isSetting && !strings.ContainsAny(key, ` "`):
			v, err := parseValue(strings.TrimSpace(value))
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", key, err)
			}
			nodes = append(nodes, Node{head: key, value: v})
		case strings.HasSuffix(line, " {"):
			n := Node{head: strings.TrimSuffix(line, " {"), block: true}
			if n.body, lines, err = parse(lines); err != nil {
				return nil, nil, err
			}
			nodes = append(nodes, n)
		default:
			return nil, nil, fmt.Errorf("neither setting nor block: %q", line)
		}
	}
	return nodes, nil, nil
}

func parseValue(s string) (Value, error) {
	if !strings.HasPrefix(s, `"`) {
		return Value{text: s}, nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"' && i == len(s)-1:
			return Value{text: b.String(), quoted: true}, nil
		case s[i] == '"':
			return Value{}, fmt.Errorf("text after the closing quote: %q", s)
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return Value{}, fmt.Errorf("no closing quote: %q", s)
}

func same(a, b []Node) bool {
	return slices.EqualFunc(a, b, func(x, y Node) bool {
		return x.head == y.head && x.block == y.block && x.value == y.value && same(x.body, y.body)
	})
}
