package dns

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Providers are the MX sets that certified-mail providers publish for their customers' domains, by the provider's name. They are
// data (a ConfigMap), not code: providers change them.
type Providers map[string]Set

// ParseProviders reads a table of name to MX lines, each "preference host".
func ParseProviders(table map[string]string) (Providers, error) {
	providers := Providers{}
	for name, text := range table {
		var records []MX
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if len(fields) == 0 {
				continue
			}
			if len(fields) != 2 {
				return nil, fmt.Errorf("reading MX of provider %s: %q is not \"preference host\"", name, strings.TrimSpace(line))
			}
			preference, err := strconv.ParseUint(fields[0], 10, 16)
			if err != nil {
				return nil, fmt.Errorf("reading MX of provider %s: %q: %w", name, strings.TrimSpace(line), err)
			}
			records = append(records, MX{uint16(preference), fields[1]})
		}
		if len(records) == 0 {
			return nil, fmt.Errorf("reading MX of provider %s: no line", name)
		}
		providers[name] = NewSet(records...)
	}
	return providers, nil
}

// Of names the provider to which every host of a set belongs, whatever the preferences; empty when there is none.
func (p Providers) Of(set Set) string {
	var names []string
	for name, published := range p {
		if len(set) > 0 && !slices.ContainsFunc(set, func(m MX) bool { return !published.hosts(m.Host) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
