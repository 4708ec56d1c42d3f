package dns

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// MX is one MX record without its TTL, which is a property of the whole set (RFC 2181 5.2).
type MX struct {
	Preference uint16 `json:"preference"`
	Host       string `json:"host"`
}

func (m MX) String() string { return fmt.Sprintf("%d %s", m.Preference, m.Host) }

// Set is an MX set: canonical names, sorted, no record twice. Build it with [NewSet], compare it with [Set.Equal].
type Set []MX

// NewSet makes the canonical form of a set.
func NewSet(records ...MX) Set {
	set := make(Set, 0, len(records))
	for _, m := range records {
		set = append(set, MX{Preference: m.Preference, Host: Name(m.Host)})
	}
	slices.SortFunc(set, func(a, b MX) int {
		return cmp.Or(cmp.Compare(a.Preference, b.Preference), cmp.Compare(a.Host, b.Host))
	})
	return slices.Compact(set)
}

// Equal says whether two sets hold exactly the same records.
func (s Set) Equal(other Set) bool { return slices.Equal(s, other) }

func (s Set) String() string {
	if len(s) == 0 {
		return "no MX record"
	}
	texts := make([]string, 0, len(s))
	for _, m := range s {
		texts = append(texts, m.String())
	}
	return strings.Join(texts, ", ")
}

// hosts answers whether a set names a host.
func (s Set) hosts(host string) bool {
	return slices.ContainsFunc(s, func(m MX) bool { return m.Host == host })
}

// null says that the domain declares to take no mail at all (RFC 7505).
func (s Set) null() bool { return len(s) == 1 && s[0].Host == "." }

// Hash stands for the set in the owner TXT: how this operator knows again a set that it wrote when it wanted other hosts.
func (s Set) Hash() string {
	sum := sha256.Sum256([]byte(s.String()))
	return hex.EncodeToString(sum[:16])
}

// Name is the canonical form of a domain name: lower case, with the final dot.
func Name(name string) string {
	return strings.TrimSuffix(strings.ToLower(name), ".") + "."
}

// parent is the name without its first label; the root is its own parent.
func parent(name string) string {
	_, rest, _ := strings.Cut(name, ".")
	return cmp.Or(rest, ".")
}

// within says whether a name is a zone's own or below it.
func within(name, zone string) bool {
	return zone == "." || name == zone || strings.HasSuffix(name, "."+zone)
}
