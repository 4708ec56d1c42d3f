package dns

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	miekg "github.com/miekg/dns"
)

const (
	// deepest bounds the delegations between the root and a domain, and the name servers whose own names must be looked up.
	deepest = 12
	// remembered is how long a delegation is kept: a pass over many domains asks for a common parent once.
	remembered = 5 * time.Minute
)

// cut is a zone and its servers.
type cut struct {
	zone     string
	parentNS []string
	childNS  []string
	servers  []server
	missing  []View // name servers without an address
	expires  time.Time
}

// zoneOf walks from the nearest known delegation down to the zone that holds a name (RFC 1034 4.2, 5.3.3).
func (r *round) zoneOf(name string, depth int) (cut, *failure) {
	if depth > deepest {
		return cut{}, fail(Lame, "finding the zone of %s: name servers that need each other's addresses", name)
	}
	at := r.nearest(name)
	for range deepest {
		m, failed := r.firstUseful(at, name)
		if failed != nil {
			return cut{}, failed
		}
		if !m.Authoritative {
			at = r.descend(at, m, name, depth)
			continue
		}
		if alias := aliasOwner(m, name); alias != "" {
			name = alias
			continue
		}
		zone := soaOwner(m)
		if zone == "" || !within(name, zone) {
			return cut{}, fail(Malformed, "finding the zone of %s: an answer without SOA", name)
		}
		if zone != at.zone {
			at = cut{zone: zone, servers: at.servers}
		}
		return r.complete(at, depth), nil
	}
	return cut{}, fail(Lame, "finding the zone of %s: more than %d delegations", name, deepest)
}

// nearest is the deepest zone at or above a name whose servers are known.
func (r *round) nearest(name string) cut {
	r.lock.Lock()
	defer r.lock.Unlock()
	for ; name != "."; name = parent(name) {
		if known, ok := r.zones[name]; ok && r.now().Before(known.expires) {
			return known
		}
	}
	root := cut{zone: ".", childNS: []string{"."}}
	for _, address := range r.Roots {
		root.servers = append(root.servers, server{name: ".", address: address})
	}
	return root
}

// firstUseful asks a zone's servers in turn for the SOA of a name, until one answers with authority or refers downward.
func (r *round) firstUseful(at cut, name string) (*miekg.Msg, *failure) {
	failed := fail(NoAddress, "no server of zone %s has an address", at.zone)
	for _, s := range r.lively(at.servers) {
		m, f := r.ask(s, name, miekg.TypeSOA)
		if f == nil && (m.Authoritative || referral(m, at.zone, name) != "") {
			return m, nil
		}
		if f == nil {
			f = fail(Lame, "asking %s SOA: neither an answer with authority nor a delegation", name)
		}
		f.detail = s.name + " (" + s.address.String() + "), server of " + at.zone + ": " + f.detail
		failed = f
	}
	return nil, failed
}

// referral is the zone that an answer delegates to: strictly below the one asked, at or above the name.
func referral(m *miekg.Msg, from, name string) string {
	for _, rr := range m.Ns {
		zone := Name(rr.Header().Name)
		if rr.Header().Rrtype == miekg.TypeNS && zone != from && within(zone, from) && within(name, zone) {
			return zone
		}
	}
	return ""
}

// descend follows a referral. Glue is believed only for the delegation itself: the names' own zones are asked as well.
func (r *round) descend(at cut, m *miekg.Msg, name string, depth int) cut {
	next := cut{zone: referral(m, at.zone, name)}
	for _, rr := range m.Ns {
		if ns, ok := rr.(*miekg.NS); ok && Name(ns.Hdr.Name) == next.zone {
			next.parentNS = append(next.parentNS, Name(ns.Ns))
		}
	}
	slices.Sort(next.parentNS)
	for _, rr := range m.Extra {
		if owner := Name(rr.Header().Name); within(owner, at.zone) && slices.Contains(next.parentNS, owner) {
			if address, ok := addressOf(rr); ok {
				next.servers = append(next.servers, server{owner, address})
			}
		}
	}
	if len(next.servers) == 0 {
		next.servers, _ = r.serversOf(next.parentNS, depth)
	}
	return next
}

// complete adds to a delegation what the zone says of itself: its NS set, and every address of every name in either.
func (r *round) complete(at cut, depth int) cut {
	if at.childNS != nil {
		return at
	}
	for _, s := range r.lively(at.servers) {
		if m, f := r.authoritative(s, at.zone, miekg.TypeNS); f == nil {
			for _, rr := range m.Answer {
				if ns, ok := rr.(*miekg.NS); ok && Name(ns.Hdr.Name) == at.zone {
					at.childNS = append(at.childNS, Name(ns.Ns))
				}
			}
			slices.Sort(at.childNS)
			break
		}
	}
	r.remember(at) // so that a name server inside the zone finds the zone
	names := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(at.parentNS), at.childNS...))))
	found, missing := r.serversOf(names, depth)
	servers := slices.Clone(at.servers)
	if at.parentNS == nil {
		servers = nil // those of the parent: only the zone's own NS set counts
	}
	at.missing = slices.DeleteFunc(missing, func(v View) bool {
		return slices.ContainsFunc(servers, func(s server) bool { return s.name == v.Server })
	})
	at.servers = unique(append(servers, found...))
	r.remember(at)
	return at
}

func (r *round) remember(at cut) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.zones == nil {
		r.zones = map[string]cut{}
	}
	at.expires = r.now().Add(remembered)
	r.zones[at.zone] = at
}

// serversOf looks up the addresses of name servers, and says which have none.
func (r *round) serversOf(names []string, depth int) (found []server, missing []View) {
	for _, name := range names {
		host := r.host(name, depth+1)
		for _, address := range host.Addresses {
			found = append(found, server{name, address})
		}
		if len(host.Addresses) == 0 {
			missing = append(missing, View{Server: name, Fault: NoAddress, Detail: "the name server has no address: " + host.Detail})
		}
	}
	return found, missing
}

// Host is what the authoritative servers of a host name say about it.
type Host struct {
	Name      string
	Addresses []netip.Addr
	// Alias is what the name is a CNAME of.
	Alias string
	// Fault and Detail say why there is neither.
	Fault  Fault
	Detail string
	until  time.Time
}

// host asks for the addresses of a name at the first server of its zone that answers. What is found is remembered as zones are; that
// there is nothing is not, since somebody may just be adding it.
func (r *round) host(name string, depth int) Host {
	r.lock.Lock()
	known, ok := r.hosts[name]
	r.lock.Unlock()
	if ok && r.now().Before(known.until) {
		return known
	}
	found := r.lookup(name, depth)
	if len(found.Addresses) > 0 || found.Alias != "" {
		r.lock.Lock()
		defer r.lock.Unlock()
		if r.hosts == nil {
			r.hosts = map[string]Host{}
		}
		found.until = r.now().Add(remembered)
		r.hosts[name] = found
	}
	return found
}

func (r *round) lookup(name string, depth int) Host {
	found := Host{Name: name}
	at, failed := r.zoneOf(name, depth)
	if failed != nil {
		found.Fault, found.Detail = failed.fault, failed.detail
		return found
	}
	for _, kind := range []uint16{miekg.TypeA, miekg.TypeAAAA} {
		m, failed := r.firstAnswer(at, name, kind)
		if failed != nil {
			found.Fault, found.Detail = failed.fault, failed.detail
			return found
		}
		for _, rr := range m.Answer {
			if Name(rr.Header().Name) != name {
				continue
			}
			if address, ok := addressOf(rr); ok {
				found.Addresses = append(found.Addresses, address)
			}
			if cname, ok := rr.(*miekg.CNAME); ok {
				found.Alias = Name(cname.Target)
			}
		}
	}
	if len(found.Addresses) == 0 {
		found.Detail = "neither A nor AAAA"
	}
	return found
}

func (r *round) firstAnswer(at cut, name string, kind uint16) (*miekg.Msg, *failure) {
	failed := fail(NoAddress, "no server of zone %s has an address", at.zone)
	for _, s := range r.lively(at.servers) {
		m, f := r.authoritative(s, name, kind)
		if f == nil {
			return m, nil
		}
		failed = f
	}
	return nil, failed
}

// aliasOwner is the name whose zone to look for when the name itself is an alias: a CNAME stands below its zone's apex, and a
// DNAME may stand at it.
func aliasOwner(m *miekg.Msg, name string) string {
	for _, rr := range m.Answer {
		owner := Name(rr.Header().Name)
		switch {
		case rr.Header().Rrtype == miekg.TypeDNAME && owner != name && within(name, owner):
			return owner
		case rr.Header().Rrtype == miekg.TypeCNAME && owner == name:
			return parent(name)
		}
	}
	return ""
}

func soaOwner(m *miekg.Msg) string {
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		if soa, ok := rr.(*miekg.SOA); ok {
			return Name(soa.Hdr.Name)
		}
	}
	return ""
}

func addressOf(rr miekg.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *miekg.A:
		address, ok := netip.AddrFromSlice(rr.A)
		return address.Unmap(), ok
	case *miekg.AAAA:
		return netip.AddrFromSlice(rr.AAAA)
	default:
		return netip.Addr{}, false
	}
}

// unique drops the same address under the same name, in a stable order.
func unique(servers []server) []server {
	slices.SortFunc(servers, func(a, b server) int {
		if by := strings.Compare(a.name, b.name); by != 0 {
			return by
		}
		return a.address.Compare(b.address)
	})
	return slices.Compact(servers)
}
