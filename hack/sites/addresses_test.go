package main

import (
	"net/netip"
	"testing"
)

func TestChooseNetwork(t *testing.T) {
	first, second := candidate("demo", 0), candidate("demo", 1)
	for name, c := range map[string]struct {
		taken []netip.Prefix
		want  network
	}{
		"a machine without conflicts gives the first choice":       {nil, first},
		"a route elsewhere changes nothing":                        {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, first},
		"a first choice that is routed already gives the second":   {[]netip.Prefix{first.prefix}, second},
		"a route for one address of it is a conflict too":          {[]netip.Prefix{netip.PrefixFrom(first.host(), 32)}, second},
		"a wider route that contains only the first is a conflict": {[]netip.Prefix{first.prefix, netip.MustParsePrefix("192.168.0.0/16")}, second},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := chooseNetwork("demo", c.taken)
			if err != nil || got != c.want {
				t.Errorf("got %v, %v, want %v", got, err, c.want)
			}
		})
	}
	if got, err := chooseNetwork("demo", []netip.Prefix{benchmarkSpace}); err == nil {
		t.Errorf("with the whole space routed: got %v, want an error", got)
	}
}

func TestCandidatesAreAllNetworksOnce(t *testing.T) {
	seen := map[network]bool{}
	for n := range networkCount {
		c := candidate("e2e", n)
		if seen[c] || !benchmarkSpace.Overlaps(c.prefix) || c.prefix != c.prefix.Masked() {
			t.Fatalf("candidate %d is %v: seen before, outside of the space, or not a network", n, c.prefix)
		}
		seen[c] = true
	}
}

func TestAddressesOfAnInstanceAreApart(t *testing.T) {
	n := candidate("demo", 0)
	a, b := n.site("a"), n.site("b")
	for _, pair := range [][2]netip.Prefix{{a.pool, b.pool}, {a.pods, b.pods}, {a.services, b.services}, {a.pods, a.services}} {
		if pair[0].Overlaps(pair[1]) {
			t.Errorf("%v and %v overlap", pair[0], pair[1])
		}
	}
	for _, address := range []netip.Addr{n.host(), n.internet(), a.node, b.node} {
		if !n.prefix.Contains(address) || a.pool.Contains(address) || b.pool.Contains(address) {
			t.Errorf("%v is outside of the network or inside a pool", address)
		}
	}
	for _, pool := range []netip.Prefix{a.pool, b.pool} {
		if pool != pool.Masked() || !n.prefix.Overlaps(pool) || pool.Contains(n.at(255)) {
			t.Errorf("pool %v is not a part of %v without its broadcast address", pool, n.prefix)
		}
	}
}
