package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// The wire is a bridge in a network namespace of its own, where no firewall of the machine reaches. Every machine of the instance has
// one port on it, named after the machine, and the host has one too.

// ip runs iproute2's commands in order, in one go: each line is one command, {x} in it stands for the network namespace of machine x.
func (i instance) ip(ctx context.Context, script string) error {
	for _, machine := range append([]string{wire}, machineNames...) {
		script = strings.ReplaceAll(script, "{"+machine+"}", i.netns(machine))
	}
	for line := range strings.Lines(script) {
		if line = strings.TrimSpace(line); line != "" {
			if _, err := run(ctx, append([]string{"ip"}, strings.Fields(line)...)...); err != nil {
				return err
			}
		}
	}
	return nil
}

// connect makes the instance's namespaces and joins them.
func (i instance) connect(ctx context.Context, n network) error {
	host := i.hostInterface()
	if err := i.ip(ctx, fmt.Sprintf(`
		netns add {wire}
		-n {wire} link set dev lo up
		-n {wire} link add wire type bridge
		-n {wire} link set dev wire up
		link add %[1]s type veth peer name host netns {wire}
		-n {wire} link set dev host master wire
		-n {wire} link set dev host up
		addr add %[2]s/24 dev %[1]s
		link set dev %[1]s up`, host, n.host())); err != nil {
		return err
	}
	if err := i.nft(ctx, wire, mustRender("wire.nft", nil)); err != nil {
		return err
	}
	if err := i.plug(ctx, internet, n.internet()); err != nil {
		return err
	}
	for _, name := range siteNames {
		addresses := n.site(name)
		if err := i.plug(ctx, name, addresses.node); err != nil {
			return err
		}
		// What has no other way goes to the internet, which has none either and says so at once.
		if err := i.ip(ctx, fmt.Sprintf("-n {%s} route add default via %s", name, n.internet())); err != nil {
			return err
		}
		if _, err := run(ctx, "ip", "netns", "exec", i.netns(name), "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"); err != nil {
			return err
		}
		if err := i.nft(ctx, name, mustRender("site.nft", i.site(name, n))); err != nil {
			return err
		}
	}
	return nil
}

// plug makes the namespace of a machine and its port on the wire.
func (i instance) plug(ctx context.Context, machine string, address netip.Addr) error {
	return i.ip(ctx, fmt.Sprintf(`
		netns add {%[1]s}
		-n {%[1]s} link set dev lo up
		link add eth0 netns {%[1]s} type veth peer name %[1]s netns {wire}
		-n {wire} link set dev %[1]s master wire
		-n {wire} link set dev %[1]s up
		-n {%[1]s} addr add %[2]s/24 dev eth0
		-n {%[1]s} link set dev eth0 up`, machine, address))
}

func (i instance) nft(ctx context.Context, machine, script string) error {
	_, err := runWith(ctx, script, "ip", "netns", "exec", i.netns(machine), "nft", "-f", "-")
	return err
}

// disconnect removes what connect made, in whatever state an earlier run has left it.
func (i instance) disconnect(ctx context.Context) error {
	if exists("/sys/class/net/" + i.hostInterface()) {
		// By name and at once: the kernel removes it with its namespace as well, but later, and a new one could not be made until then.
		if _, err := run(ctx, "ip", "link", "delete", i.hostInterface()); err != nil {
			return err
		}
	}
	for _, machine := range append([]string{wire}, machineNames...) {
		if !exists(i.netnsPath(machine)) {
			continue
		}
		if _, err := run(ctx, "ip", "netns", "delete", i.netns(machine)); err != nil {
			// A name without a namespace, as a restart of the machine or an interrupted "ip netns add" leaves it.
			if err := os.Remove(i.netnsPath(machine)); err != nil {
				return err
			}
		}
	}
	return nil
}

// setCut cuts a site off, or joins it again; both can be repeated.
func (i instance) setCut(ctx context.Context, site string, cut bool) error {
	already, err := i.cutSites(ctx)
	if err != nil || slices.Contains(already, site) == cut {
		return err
	}
	verb := "delete"
	if cut {
		verb = "add"
	}
	return i.nft(ctx, wire, fmt.Sprintf("%s element bridge cut sites { %q }\n", verb, site))
}

// cutSites lists the sites that are cut off now.
func (i instance) cutSites(ctx context.Context) ([]string, error) {
	text, err := run(ctx, "ip", "netns", "exec", i.netns(wire), "nft", "-j", "list", "set", "bridge", "cut", "sites")
	if err != nil {
		return nil, err
	}
	var listing struct {
		Nftables []struct {
			Set *struct {
				Elem []string `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(text), &listing); err != nil {
		return nil, fmt.Errorf("reading the list of cut sites: %w", err)
	}
	for _, entry := range listing.Nftables {
		if entry.Set != nil {
			return entry.Set.Elem, nil
		}
	}
	return nil, nil
}

// routes lists the IPv4 networks that this machine reaches by a route of its own. Routes for half of all addresses or more are default
// routes in disguise (VPNs have them) and forbid nothing.
func routes(ctx context.Context) ([]netip.Prefix, error) {
	text, err := run(ctx, "ip", "-4", "-json", "route", "show", "table", "all")
	if err != nil {
		return nil, err
	}
	var entries []struct {
		Destination string `json:"dst"`
	}
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		return nil, fmt.Errorf("reading the routes of this machine: %w", err)
	}
	var found []netip.Prefix
	for _, entry := range entries {
		if prefix, err := parseDestination(entry.Destination); err == nil && prefix.Bits() > 1 {
			found = append(found, prefix)
		}
	}
	return found, nil
}

func parseDestination(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(address, address.BitLen()), nil
}
