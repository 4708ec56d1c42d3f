package dns

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	miekg "github.com/miekg/dns"
)

// Observer looks at domains from one site: it walks from the root to the zone cut and asks every address of every authoritative
// server, without recursion. No resolver's cache stands between. It is safe for concurrent use, and remembers delegations
// for a few minutes.
type Observer struct {
	// Roots are the addresses of the root's servers: [SystemRoots], or a private root.
	Roots []netip.Addr
	// Dial replaces the network; addresses are "address:53".
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now replaces the clock.
	Now func() time.Time
	// Timeout bounds one question, two seconds when zero; Whole bounds a round, thirty seconds when zero.
	Timeout, Whole time.Duration
	// MaxQueries bounds the packets of one round, 200 when zero.
	MaxQueries int

	lock  sync.Mutex
	zones map[string]cut
	hosts map[string]Host
}

func (o *Observer) timeout() time.Duration { return cmp.Or(o.Timeout, 2*time.Second) }
func (o *Observer) maxQueries() int        { return cmp.Or(o.MaxQueries, 200) }

// Observe makes one round. Every failure is a value in it.
func (o *Observer) Observe(ctx context.Context, domain string) Observation {
	r, cancel := o.round(ctx)
	defer cancel()
	seen := Observation{Domain: Name(domain), At: o.now()}
	at, failed := r.zoneOf(seen.Domain, 0)
	if failed != nil {
		seen.Fault, seen.Detail = failed.fault, failed.detail
	} else {
		seen.Zone, seen.ParentNS, seen.ChildNS = at.zone, at.parentNS, at.childNS
		r.views(&seen, at)
	}
	seen.Queries = int(r.spent.Load())
	return seen
}

// Host looks a host name up at its authoritative servers.
func (o *Observer) Host(ctx context.Context, name string) Host {
	r, cancel := o.round(ctx)
	defer cancel()
	return r.host(Name(name), 0)
}

func (o *Observer) round(ctx context.Context) (*round, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.Whole, 30*time.Second))
	return &round{Observer: o, ctx: ctx}, cancel
}

// views asks all servers at once.
func (r *round) views(seen *Observation, at cut) {
	views := make([]View, len(at.servers))
	unrouted := make([]bool, len(at.servers))
	primaries := make([]string, len(at.servers))
	var wait sync.WaitGroup
	for i, s := range at.servers {
		wait.Go(func() {
			views[i] = View{Server: s.name, Address: s.address.String()}
			if failed := r.view(&views[i], &primaries[i], s, seen.Domain, at.zone); failed != nil {
				views[i].Fault, views[i].Detail, unrouted[i] = failed.fault, failed.detail, failed.unrouted
			}
		})
	}
	wait.Wait()
	for i, v := range views {
		if unrouted[i] {
			seen.Unrouted = append(seen.Unrouted, v.Address)
			continue
		}
		seen.Views = append(seen.Views, v)
	}
	seen.Views = append(seen.Views, at.missing...)
	seen.Primary = slices.Max(append(primaries, ""))
}

// view asks one address: the set, the owner, the zone's SOA, whether a wildcard answers, and the set again, since a server that
// changes its mind within a second is not to be believed.
func (r *round) view(v *View, primary *string, s server, domain, zone string) *failure {
	first, failed := r.authoritative(s, domain, miekg.TypeMX)
	if failed != nil {
		return failed
	}
	v.MX, v.TTL = mxSet(first, domain)
	v.Alias = aliasOf(first, domain)
	owner, failed := r.authoritative(s, OwnerName(domain), miekg.TypeTXT)
	if failed != nil {
		return failed
	}
	v.Owner = texts(owner, OwnerName(domain))
	soa, failed := r.authoritative(s, zone, miekg.TypeSOA)
	if failed != nil {
		return failed
	}
	if *primary, failed = v.readSOA(soa, zone); failed != nil {
		return failed
	}
	if failed := r.probe(v, s, domain, zone); failed != nil {
		return failed
	}
	again, failed := r.authoritative(s, domain, miekg.TypeMX)
	if failed != nil {
		return failed
	}
	return v.consistent(first, owner, again, domain)
}

// consistent finds answers of one server that cannot all be true: two different sets, or a name that does not exist with a name
// below it that does (RFC 8020).
func (v *View) consistent(first, owner, again *miekg.Msg, domain string) *failure {
	set, _ := mxSet(again, domain)
	switch {
	case !set.Equal(v.MX) || first.Rcode != again.Rcode:
		mistaken := v.MX
		v.MX = NewSet(append(slices.Clone(v.MX), set...)...)
		return fail(Malformed, "two answers within one round: %s, then %s", mistaken, set)
	case first.Rcode == miekg.RcodeNameError && len(v.Owner) > 0 && owner.Rcode == miekg.RcodeSuccess:
		return fail(Malformed, "%s is said not to exist, and %s below it has a text", domain, OwnerName(domain))
	default:
		return nil
	}
}

// probe asks for names that nobody has: beside the domain, unless it is its zone's apex, and below it. An answer of a type that
// this room writes, or an alias, is a wildcard's (RFC 4592), and hides what the name would say.
func (r *round) probe(v *View, s server, domain, zone string) *failure {
	type question struct {
		name string
		kind uint16
	}
	questions := []question{{label() + "." + domain, miekg.TypeTXT}}
	if domain != zone {
		questions = append(questions, question{label() + "." + parent(domain), miekg.TypeMX})
	}
	for _, q := range questions {
		m, failed := r.authoritative(s, q.name, q.kind)
		if failed != nil {
			return failed
		}
		if v.Alias == "" && len(m.Answer) > 0 {
			v.Alias = "a wildcard answers below " + parent(q.name)
		}
	}
	return nil
}

func (v *View) readSOA(m *miekg.Msg, zone string) (primary string, failed *failure) {
	for _, rr := range m.Answer {
		if soa, ok := rr.(*miekg.SOA); ok && Name(soa.Hdr.Name) == zone {
			v.Serial, v.NegativeTTL = soa.Serial, min(soa.Hdr.Ttl, soa.Minttl)
			return Name(soa.Ns), nil
		}
	}
	return "", fail(Lame, "asking %s SOA: no SOA at the zone's own name", zone)
}

func mxSet(m *miekg.Msg, domain string) (Set, uint32) {
	var records []MX
	var ttl uint32
	for _, rr := range m.Answer {
		if mx, ok := rr.(*miekg.MX); ok && Name(mx.Hdr.Name) == domain {
			records, ttl = append(records, MX{mx.Preference, mx.Mx}), mx.Hdr.Ttl
		}
	}
	if records == nil {
		return nil, 0
	}
	return NewSet(records...), ttl
}

func aliasOf(m *miekg.Msg, domain string) string {
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *miekg.DNAME:
			return "a DNAME at " + Name(rr.Hdr.Name) + " leads to " + Name(rr.Target)
		case *miekg.CNAME:
			if Name(rr.Hdr.Name) == domain {
				return "it is a CNAME of " + Name(rr.Target)
			}
		}
	}
	return ""
}

func texts(m *miekg.Msg, name string) []string {
	var found []string
	for _, rr := range m.Answer {
		if txt, ok := rr.(*miekg.TXT); ok && Name(txt.Hdr.Name) == name {
			text := ""
			for _, part := range txt.Txt {
				text += part
			}
			found = append(found, text)
		}
	}
	slices.Sort(found)
	return found
}
