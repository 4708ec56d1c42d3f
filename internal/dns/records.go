package dns

import (
	"context"
	"fmt"
	"net"
	"slices"

	miekg "github.com/miekg/dns"
)

// records asks the first server of a name's zone that answers, and follows aliases, which are allowed for what is looked up here.
// No record is no failure.
func (r *round) records(name string, kind uint16) ([]miekg.RR, *failure) {
	name = Name(name)
	for range 4 {
		at, failed := r.zoneOf(name, 0)
		if failed != nil {
			return nil, failed
		}
		m, failed := r.firstAnswer(at, name, kind)
		if failed != nil {
			return nil, failed
		}
		alias := ""
		var found []miekg.RR
		for _, rr := range m.Answer {
			switch rr := rr.(type) {
			case *miekg.CNAME:
				if Name(rr.Hdr.Name) == name {
					alias = Name(rr.Target)
				}
			default:
				if rr.Header().Rrtype == kind && Name(rr.Header().Name) == name {
					found = append(found, rr)
				}
			}
		}
		if len(found) > 0 || alias == "" {
			return found, nil
		}
		name = alias
	}
	return nil, fail(Malformed, "asking %s %s: a chain of aliases", name, miekg.TypeToString[kind])
}

func (r *round) txt(name string) ([]string, *failure) {
	found, failed := r.records(name, miekg.TypeTXT)
	var all []string
	for _, rr := range found {
		text := ""
		for _, part := range rr.(*miekg.TXT).Txt {
			text += part
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all, failed
}

// resolver answers what the SPF library asks, from the authoritative servers.
type resolver struct{ *Observer }

func (r resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	round, cancel := r.round(ctx)
	defer cancel()
	texts, failed := round.txt(name)
	return texts, failed.dnsError(name, len(texts))
}

func (r resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	round, cancel := r.round(ctx)
	defer cancel()
	found, failed := round.records(name, miekg.TypeMX)
	var all []*net.MX
	for _, rr := range found {
		all = append(all, &net.MX{Host: rr.(*miekg.MX).Mx, Pref: rr.(*miekg.MX).Preference})
	}
	return all, failed.dnsError(name, len(all))
}

func (r resolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	found := r.Host(ctx, host)
	var all []net.IPAddr
	for _, address := range found.Addresses {
		all = append(all, net.IPAddr{IP: address.AsSlice()})
	}
	var failed *failure
	if found.Fault != "" {
		failed = fail(found.Fault, "%s", found.Detail)
	}
	return all, failed.dnsError(host, len(all))
}

// LookupAddr is asked for "ptr" terms, which RFC 7208 5.5 tells nobody to publish: they match nothing here.
func (r resolver) LookupAddr(_ context.Context, address string) ([]string, error) {
	return nil, (*failure)(nil).dnsError(address, 0)
}

// dnsError is a failure, or the absence of an answer, as the standard library words it.
func (f *failure) dnsError(name string, found int) error {
	switch {
	case f != nil:
		return &net.DNSError{Err: f.detail, Name: name, IsTemporary: true}
	case found == 0:
		return &net.DNSError{Err: "no such record", Name: name, IsNotFound: true}
	default:
		return nil
	}
}

func (f *failure) String() string { return fmt.Sprintf("%s: %s", f.fault, f.detail) }
