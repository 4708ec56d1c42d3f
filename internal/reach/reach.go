// Package reach says where the operator connects to servers that somebody else named.
package reach

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// ErrInside is an address that no provider on the internet has. Without this, whoever names another provider's host would have the operator
// knock at the doors inside, and could tell the open ones by what a status says.
var ErrInside = errors.New("its name leads to a private address, where nobody is asked; if it stands there, add its network to the chart's value external.networks")

// inside are the networks that no provider on the internet has, besides those that the library knows as such.
var inside = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // shared, which clusters use for pods
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), // each address of version 4 again, the private ones too, as the three below
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("fec0::/10"),
}

// within says whether an address is in one of some networks. Pure.
func within(networks []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(address) })
}

// May says whether a connection to an address may be made: it is on the internet, or in a network that is allowed. Pure.
func May(address netip.Addr, allowed []netip.Prefix) bool {
	address = address.Unmap().WithZone("")
	return within(allowed, address) || address.IsGlobalUnicast() && !address.IsPrivate() && !within(inside, address)
}

// Dialer makes connections to servers of others. What a name leads to is judged when it was resolved, for each address: judged before,
// the name could lead elsewhere a moment later.
func Dialer(allowed []netip.Prefix) *net.Dialer {
	return &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !May(to.Addr(), allowed) {
			return ErrInside
		}
		return nil
	}}
}
