package postfixconf

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Parameter is one setting of main.cf, or an override of one in master.cf.
type Parameter struct {
	Name  string
	Value Value
}

// Parameters of per-transport settings carry the transport's name, hyphens included.
var parameterName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]{0,127}$`)

func (p Parameter) check() error {
	if !parameterName.MatchString(p.Name) {
		return fmt.Errorf("%q is no parameter name", p.Name)
	}
	if p.Value.err != nil {
		return fmt.Errorf("the value of %s %w", p.Name, p.Value.err)
	}
	return nil
}

// RenderMain writes main.cf, sorted by name. It refuses a parameter that is given twice, because the last would win silently.
func RenderMain(parameters []Parameter) (string, error) { return render("main.cf", parameters) }

// Table is a lookup in an SQLite database; in Query, '%s' (quotes included) is the key that is looked for.
type Table struct {
	Path  string
	Query string
}

// RenderTable writes the file that a table sqlite:FILE names.
func RenderTable(t Table) (string, error) {
	return render("sqlite table", []Parameter{{"dbpath", Word(t.Path)}, {"query", Text(t.Query)}})
}

func render(file string, parameters []Parameter) (string, error) {
	want := map[string]string{}
	for _, p := range parameters {
		if err := p.check(); err != nil {
			return "", fmt.Errorf("writing %s: %w", file, err)
		}
		if _, twice := want[p.Name]; twice {
			return "", fmt.Errorf("writing %s: %s is given twice", file, p.Name)
		}
		want[p.Name] = p.Value.text
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(want)) {
		fmt.Fprintln(&b, strings.TrimSpace(name+" = "+want[name]))
	}
	got, err := parse(b.String())
	if err != nil {
		return "", fmt.Errorf("reading %s back: %w", file, err)
	}
	if !maps.Equal(got, want) {
		return "", fmt.Errorf("writing %s: it does not read back as it was meant", file)
	}
	return b.String(), nil
}

// parse reads what Postfix would: comments and blank lines aside, a line that begins with white space continues the one before.
func parse(text string) (map[string]string, error) {
	values := map[string]string{}
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "" || trimmed[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if name == "" {
				return nil, fmt.Errorf("a continuation of nothing: %q", line)
			}
			values[name] += " " + trimmed
		default:
			before, after, found := strings.Cut(line, "=")
			if !found {
				return nil, fmt.Errorf("no = in %q", line)
			}
			name = strings.TrimSpace(before)
			values[name] = strings.TrimSpace(after)
		}
	}
	return values, nil
}
