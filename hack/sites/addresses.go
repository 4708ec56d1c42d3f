package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
)

// benchmarkSpace is 198.18.0.0/15, set apart for tests of network devices (RFC 2544): no office, cloud or container network uses it, so
// an instance's network very rarely meets a route that the machine already has.
var benchmarkSpace = netip.MustParsePrefix("198.18.0.0/15")

const networkCount = 1 << (24 - 15)

// network is the /24 that joins the machine, the two sites and the internet of one instance.
type network struct{ prefix netip.Prefix }

func (n network) at(last byte) netip.Addr {
	bytes := n.prefix.Addr().As4()
	bytes[3] = last
	return netip.AddrFrom4(bytes)
}

func (n network) host() netip.Addr     { return n.at(1) }
func (n network) internet() netip.Addr { return n.at(2) }

// candidate is the instance's nth choice of a network: the first follows from the name alone, so that an instance that is stopped and
// started again keeps its addresses.
func candidate(instance string, n int) network {
	sum := sha256.Sum256([]byte(instance))
	index := (binary.BigEndian.Uint32(sum[:4]) + uint32(n)) % networkCount
	base := benchmarkSpace.Addr().As4()
	address := binary.BigEndian.Uint32(base[:]) + index<<8
	var bytes [4]byte
	binary.BigEndian.PutUint32(bytes[:], address)
	return network{netip.PrefixFrom(netip.AddrFrom4(bytes), 24)}
}

// chooseNetwork returns the instance's first choice that overlaps nothing in taken: the machine's routes and the living instances.
func chooseNetwork(instance string, taken []netip.Prefix) (network, error) {
	for n := range networkCount {
		choice := candidate(instance, n)
		if !overlapsAny(choice.prefix, taken) {
			return choice, nil
		}
	}
	return network{}, fmt.Errorf("choosing a network for instance %s: every /24 of %s is routed on this machine already", instance, benchmarkSpace)
}

func overlapsAny(prefix netip.Prefix, others []netip.Prefix) bool {
	for _, other := range others {
		if prefix.Overlaps(other) {
			return true
		}
	}
	return false
}

// siteAddresses are the addresses of one site. Pods and Services are numbered alike in every instance: they are never routed outside
// their site.
type siteAddresses struct {
	node     netip.Addr
	pool     netip.Prefix // of LoadBalancer Services
	pods     netip.Prefix
	services netip.Prefix
}

func (n network) site(name string) siteAddresses {
	if name == "a" {
		return siteAddresses{n.at(10), netip.PrefixFrom(n.at(64), 26), netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("10.96.1.0/24")}
	}
	return siteAddresses{n.at(20), netip.PrefixFrom(n.at(128), 26), netip.MustParsePrefix("10.244.2.0/24"), netip.MustParsePrefix("10.96.2.0/24")}
}

// kubernetesService is the address that kube-apiserver gives its own Service: the first of the range.
func (s siteAddresses) kubernetesService() netip.Addr { return s.services.Addr().Next() }
