package dns

import (
	"strings"

	miekg "github.com/miekg/dns"
)

// ds asks the parent of a zone whether it vouches for the zone's keys.
func (r *round) ds(zone string) ([]*miekg.DS, *failure) {
	if zone == "." {
		return nil, nil
	}
	above, failed := r.zoneOf(parent(zone), 0)
	if failed != nil {
		return nil, failed
	}
	m, failed := r.firstAnswer(above, zone, miekg.TypeDS)
	if failed != nil {
		return nil, failed
	}
	var all []*miekg.DS
	for _, rr := range m.Answer {
		if ds, ok := rr.(*miekg.DS); ok && Name(ds.Hdr.Name) == zone {
			all = append(all, ds)
		}
	}
	return all, nil
}

// dnssec: the zone is not signed, or the keys that its parent vouches for sign its keys, and those sign the MX set, today
// (RFC 4035 5). What expires is the signature, and then every validating resolver loses the domain. Signing is never switched on here.
func (r *round) dnssec(seen Observation) Check {
	const name = "DNSSEC"
	if seen.Zone == "" {
		return found(name, Doubtful, "not looked at: the zone was not found")
	}
	ds, failed := r.ds(seen.Zone)
	if failed != nil {
		return doubtful(name, failed)
	}
	if len(ds) == 0 {
		return found(name, Absent, "zone %s is not signed: its parent has no DS record", bare(seen.Zone))
	}
	at, failed := r.zoneOf(seen.Zone, 0)
	if failed != nil {
		return doubtful(name, failed)
	}
	signed := &round{Observer: r.Observer, ctx: r.ctx, signed: true}
	m, failed := signed.firstAnswer(at, seen.Zone, miekg.TypeDNSKEY)
	if failed != nil {
		return doubtful(name, failed)
	}
	keys, signatures := setOf(m, seen.Zone, miekg.TypeDNSKEY)
	if !signed.holds(vouched(keys, ds), signatures, keys) {
		return found(name, Faulty, "no key of zone %s that its parent's DS records vouch for signs its keys validly today: validating resolvers see no such domain", bare(seen.Zone))
	}
	if m, failed = signed.firstAnswer(at, seen.Domain, miekg.TypeMX); failed != nil {
		return doubtful(name, failed)
	}
	set, signatures := setOf(m, seen.Domain, miekg.TypeMX)
	if len(set) > 0 && !signed.holds(keys, signatures, set) {
		return found(name, Faulty, "the MX set of %s has no valid signature of its zone today: validating resolvers see none", bare(seen.Domain))
	}
	return found(name, Sound, "zone %s is signed, as its parent vouches", bare(seen.Zone))
}

// setOf takes a set and its signatures out of an answer.
func setOf(m *miekg.Msg, name string, kind uint16) (set []miekg.RR, signatures []*miekg.RRSIG) {
	for _, rr := range m.Answer {
		switch signature, ok := rr.(*miekg.RRSIG); {
		case Name(rr.Header().Name) != name:
		case ok && signature.TypeCovered == kind:
			signatures = append(signatures, signature)
		case rr.Header().Rrtype == kind:
			set = append(set, rr)
		}
	}
	return set, signatures
}

// vouched are the keys that a DS record is the digest of.
func vouched(keys []miekg.RR, ds []*miekg.DS) []miekg.RR {
	var of []miekg.RR
	for _, rr := range keys {
		for _, d := range ds {
			if made := rr.(*miekg.DNSKEY).ToDS(d.DigestType); made != nil && made.KeyTag == d.KeyTag && strings.EqualFold(made.Digest, d.Digest) {
				of = append(of, rr)
			}
		}
	}
	return of
}

// holds says whether one of the keys signed a set, with a signature that is valid now.
func (r *round) holds(keys []miekg.RR, signatures []*miekg.RRSIG, set []miekg.RR) bool {
	for _, signature := range signatures {
		for _, rr := range keys {
			key := rr.(*miekg.DNSKEY)
			if key.KeyTag() == signature.KeyTag && signature.ValidityPeriod(r.now()) && signature.Verify(key, set) == nil {
				return true
			}
		}
	}
	return false
}
