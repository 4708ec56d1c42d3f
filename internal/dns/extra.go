package dns

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"blitiri.com.ar/go/spf"
	miekg "github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"
)

// Result is the outcome of a check.
type Result string

const (
	// Sound: it is there, and as it should be.
	Sound Result = "Sound"
	// Absent: nothing is there, which harms nothing.
	Absent Result = "Absent"
	// Faulty: it is there and wrong, or it is missing and must be there.
	Faulty Result = "Faulty"
	// Doubtful: it could not be looked at.
	Doubtful Result = "Unknown"
)

// Check is what was found out about one kind of record or host beside the MX set.
type Check struct {
	Name    string
	Result  Result
	Message string
}

func found(name string, result Result, format string, args ...any) Check {
	return Check{Name: name, Result: result, Message: fmt.Sprintf(format, args...)}
}

func doubtful(name string, f *failure) Check { return found(name, Doubtful, "not looked at: %s", f) }

// Extra are the records beside MX that are looked at when asked for. CAA and DNSSEC always are.
type Extra struct{ SPF, DMARC, MTASTS, TLSRPT, DANE bool }

// Check looks at the records beside the MX set of a domain whose zone is known from an observation. hosts are the domain's mail
// hosts as they were probed.
func (p *Prober) Check(ctx context.Context, extra Extra, seen Observation, hosts []MailHost) []Check {
	r, cancel := p.Observer.round(ctx)
	defer cancel()
	checks := []Check{r.caa(hosts), r.dnssec(seen)}
	for _, c := range []struct {
		wanted bool
		look   func() Check
	}{
		{extra.SPF, func() Check { return p.spf(ctx, r, seen.Domain, hosts) }},
		{extra.DMARC, func() Check { return r.dmarc(seen.Domain) }},
		{extra.MTASTS, func() Check { return p.mtaSTS(ctx, r, seen.Domain, hosts) }},
		{extra.TLSRPT, func() Check { return r.tlsRPT(seen.Domain) }},
		{extra.DANE, func() Check { return r.dane(hosts) }},
	} {
		if c.wanted {
			checks = append(checks, c.look())
		}
	}
	return checks
}

// one is the one text with a version tag; more than one counts as none to every reader of such records.
func one(texts []string, tag string) (text string, many bool) {
	of := slices.DeleteFunc(slices.Clone(texts), func(t string) bool {
		t = strings.ToLower(t)
		return t != tag && !strings.HasPrefix(t, tag+" ") && !strings.HasPrefix(t, tag+";")
	})
	if len(of) == 0 {
		return "", false
	}
	return of[0], len(of) > 1
}

// spf: no record, or one that lets the mail hosts send (RFC 7208).
func (p *Prober) spf(ctx context.Context, r *round, domain string, hosts []MailHost) Check {
	const name = "SPF"
	texts, failed := r.txt(domain)
	if failed != nil {
		return doubtful(name, failed)
	}
	text, many := one(texts, "v=spf1")
	switch {
	case many:
		return found(name, Faulty, "%s has more than one v=spf1 record: receivers take that for an error", bare(domain))
	case text == "":
		return found(name, Absent, "no v=spf1 record")
	}
	for _, host := range hosts {
		for _, address := range host.Host.Addresses {
			result, err := spf.CheckHostWithSender(net.IP(address.AsSlice()), bare(host.Host.Name), "postmaster@"+bare(domain),
				spf.WithContext(ctx), spf.WithResolver(resolver{p.Observer}))
			switch result {
			case spf.Pass:
			case spf.TempError:
				return found(name, Doubtful, "not evaluated for %s: %v", address, err)
			default:
				return found(name, Faulty, "%q says %s for %s (%s): it should let the mail hosts send", text, result, bare(host.Host.Name), address)
			}
		}
	}
	return found(name, Sound, "%q lets every mail host send", text)
}

// dmarc: no record, or one with a policy, at the domain or at its organisational domain (RFC 7489 6.6.3).
func (r *round) dmarc(domain string) Check {
	const name = "DMARC"
	at := []string{bare(domain)}
	if organisation, err := publicsuffix.EffectiveTLDPlusOne(bare(domain)); err == nil && organisation != at[0] {
		at = append(at, organisation)
	}
	for _, at := range at {
		texts, failed := r.txt("_dmarc." + at)
		if failed != nil {
			return doubtful(name, failed)
		}
		text, many := one(texts, "v=dmarc1")
		switch policy := tag(text, "p"); {
		case many:
			return found(name, Faulty, "_dmarc.%s has more than one v=DMARC1 record: receivers take that for none", at)
		case text == "":
		case policy != "none" && policy != "quarantine" && policy != "reject":
			return found(name, Faulty, "_dmarc.%s has no policy that receivers know: p=%q", at, policy)
		default:
			return found(name, Sound, "_dmarc.%s has p=%s", at, policy)
		}
	}
	return found(name, Absent, "no v=DMARC1 record")
}

// tag is the value of a "name=value" among others between semicolons.
func tag(text, name string) string {
	for part := range strings.SplitSeq(text, ";") {
		if key, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok && strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.ToLower(strings.TrimSpace(value))
		}
	}
	return ""
}

// tlsRPT: no record, or one that says where to report (RFC 8460 3).
func (r *round) tlsRPT(domain string) Check {
	const name = "TLS-RPT"
	texts, failed := r.txt("_smtp._tls." + domain)
	if failed != nil {
		return doubtful(name, failed)
	}
	text, many := one(texts, "v=tlsrptv1")
	switch address := tag(text, "rua"); {
	case many:
		return found(name, Faulty, "more than one v=TLSRPTv1 record: senders take that for none")
	case text == "":
		return found(name, Absent, "no v=TLSRPTv1 record")
	case !strings.HasPrefix(address, "mailto:") && !strings.HasPrefix(address, "https:"):
		return found(name, Faulty, "rua=%q is neither mailto: nor https:", address)
	default:
		return found(name, Sound, "reports go to %s", address)
	}
}

// dane: no TLSA record, or in a signed zone one that matches what each mail host shows (RFC 7672). One in an unsigned zone is read by
// nobody; a wrong one in a signed zone stops mail.
func (r *round) dane(hosts []MailHost) Check {
	const name = "DANE"
	matched := false
	for _, host := range hosts {
		records, failed := r.records("_25._tcp."+host.Host.Name, miekg.TypeTLSA)
		if failed != nil {
			return doubtful(name, failed)
		}
		if len(records) == 0 {
			continue
		}
		at, failed := r.zoneOf(host.Host.Name, 0)
		if failed != nil {
			return doubtful(name, failed)
		}
		if ds, failed := r.ds(at.zone); failed != nil {
			return doubtful(name, failed)
		} else if len(ds) == 0 {
			return found(name, Faulty, "%s has TLSA records in zone %s, which is not signed: nobody reads them there", bare(host.Host.Name), bare(at.zone))
		}
		for address, shown := range host.Certificates {
			if host.Greetings[address] == nil && !matches(records, shown) {
				return found(name, Faulty, "no TLSA record of %s matches the certificate that %s shows: mail from whoever checks them stops", bare(host.Host.Name), address)
			}
		}
		matched = true
	}
	if !matched {
		return found(name, Absent, "no TLSA record")
	}
	return found(name, Sound, "the TLSA records match the certificates shown")
}

// matches says whether a TLSA record names a certificate that was shown: the server's own (usage 3) or an authority's (usage 2). The
// other usages play no part in mail (RFC 7672 3.1.3).
func matches(records []miekg.RR, shown []*x509.Certificate) bool {
	return slices.ContainsFunc(records, func(rr miekg.RR) bool {
		tlsa := rr.(*miekg.TLSA)
		return slices.ContainsFunc(shown, func(c *x509.Certificate) bool {
			isServer := len(shown) > 0 && c == shown[0]
			return (tlsa.Usage == 3 && isServer || tlsa.Usage == 2 && !isServer) && tlsa.Verify(c) == nil
		})
	})
}

// caa: the nearest set above each mail host lets somebody issue a certificate for it (RFC 8659 3). Who may is not ours to judge.
func (r *round) caa(hosts []MailHost) Check {
	const name = "CAA"
	issuers := map[string]bool{}
	for _, host := range hosts {
		for at := host.Host.Name; at != "."; at = parent(at) {
			records, failed := r.records(at, miekg.TypeCAA)
			if failed != nil {
				return doubtful(name, failed)
			}
			allowed, bound := issuersOf(records)
			if bound && len(allowed) == 0 {
				return found(name, Faulty, "the CAA records of %s let nobody issue a certificate for %s: its next renewal fails", bare(at), bare(host.Host.Name))
			}
			for _, issuer := range allowed {
				issuers[issuer] = true
			}
			if len(records) > 0 {
				break
			}
		}
	}
	if len(issuers) == 0 {
		return found(name, Absent, "no CAA record binds the issuers of the mail hosts' certificates")
	}
	return found(name, Sound, "certificates of the mail hosts may come from %s", strings.Join(sortedKeys(issuers), ", "))
}

func issuersOf(records []miekg.RR) (allowed []string, bound bool) {
	for _, rr := range records {
		caa := rr.(*miekg.CAA)
		if caa.Tag != "issue" {
			continue
		}
		bound = true
		if issuer, _, _ := strings.Cut(caa.Value, ";"); strings.TrimSpace(issuer) != "" {
			allowed = append(allowed, strings.TrimSpace(issuer))
		}
	}
	return allowed, bound
}

func sortedKeys(set map[string]bool) []string {
	keys := make([]string, 0, len(set))
	for key := range set {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// AddressesOf gathers the addresses of mail hosts by site, from a table of host to site.
func AddressesOf(hosts []MailHost, sites map[string]string) map[string][]netip.Addr {
	addresses := map[string][]netip.Addr{}
	for _, host := range hosts {
		if site := sites[host.Host.Name]; site != "" {
			addresses[site] = append(addresses[site], host.Host.Addresses...)
		}
	}
	return addresses
}
