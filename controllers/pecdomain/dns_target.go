package pecdomain

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/dns"
)

// lastingTTL is that of the MX sets that this operator writes and asks for, in seconds.
const lastingTTL = 3600

// target is what a domain's records should be, and what is looked at beside them.
type target struct {
	want      dns.Desired
	sites     map[string]string // by mail host, its site
	endpoints []string
	extra     dns.Extra
	contact   string // who answers questions about the request
	preferred string // the site that writes; "" where nothing says so
	// quiet says that the records are looked at for the stack's sake, nothing beside them, and nothing is asked of anybody.
	quiet bool
	// external says that the hosts are another provider's.
	external bool
}

// fingerprint changes when what is wanted does. The epoch is not part of it: it only moves with what was seen.
func (t target) fingerprint() string {
	return fmt.Sprint(t.want.Domain, t.want.MX, t.sites, t.endpoints, t.extra, t.quiet)
}

// findTarget reads the host of a Hosted domain; ok is false where nobody says which hosts the MX set should name, or who owns the stack
// answers for the records. A guest that is not served, or that alone ignores its records, may still have its mail delivered by the stack.
func (s *scope) findTarget(ctx context.Context) (t target, ok bool, err error) {
	host := s.domain
	if s.domain.Spec.Provider.Type == v1alpha1.ProviderHosted {
		host = &v1alpha1.PECDomain{}
		err := s.Client.Get(ctx, s.host, host)
		switch {
		case apierrors.IsNotFound(err):
			return target{}, false, nil
		case err != nil:
			return target{}, false, fmt.Errorf("reading host %s: %w", s.host, err)
		case host.Spec.Provider.Managed == nil:
			return target{}, false, nil
		}
	}
	if ignores(s.domain) && ignores(host) {
		return target{}, false, nil
	}
	t = targetOf(s.domain, host)
	if t.quiet = ignores(s.domain) || host != s.domain && !host.Serves(s.domain.Namespace); t.quiet { // whoever is not served must not send mail there
		t.extra = dns.Extra{}
		return t, true, nil
	}
	if s.domain.DNSMode() == v1alpha1.DNSRFC2136 {
		t.want.Owner = dns.Owner{Operator: s.DNS.Operator, Object: s.domain.Namespace + "/" + s.domain.Name}
	}
	return t, true, nil
}

// targetOf is the target of a domain on the stack of host: itself when Managed or External. Pure.
func targetOf(d, host *v1alpha1.PECDomain) target {
	t := target{want: dns.Desired{Domain: d.Name, TTL: lastingTTL}, sites: map[string]string{}, contact: cmp.Or(host.Spec.Holder.Contact, d.Spec.Holder.Contact),
		preferred: refs.PreferredSite(d, host)}
	var records []dns.MX
	if m := host.Spec.Provider.Managed; m != nil {
		for _, h := range m.MailHosts {
			records = append(records, dns.MX{Preference: uint16(*h.Preference), Host: h.Host}) //nolint:gosec // the schema bounds it
			t.sites[dns.Name(h.Host)] = h.Site
		}
		t.contact = cmp.Or(t.contact, "postmaster@"+m.Provider.MailDomain)
		if host == d {
			t.endpoints = slices.DeleteFunc([]string{m.Endpoints.Submission, m.Endpoints.IMAP, m.Endpoints.POP3}, func(name string) bool { return name == "" })
		}
	}
	if e := host.Spec.Provider.External; e != nil {
		t.external = true
		for i, name := range e.MailExchangers {
			records = append(records, dns.MX{Preference: uint16(10 * (i + 1)), Host: string(name)}) //nolint:gosec // at most eight
		}
	}
	t.want.MX = dns.NewSet(records...)
	if n := d.Spec.DNS; n != nil && n.Extra != nil {
		verify := func(c v1alpha1.RecordCheck) bool { return c == v1alpha1.RecordVerify }
		t.extra = dns.Extra{SPF: verify(n.Extra.SPF), DMARC: verify(n.Extra.DMARC), MTASTS: verify(n.Extra.MTASTS), TLSRPT: verify(n.Extra.TLSRPT), DANE: verify(n.Extra.DANE)}
	}
	return t
}

// published gives the hosts that a provider's letter names the preferences that it leaves out: those of the table of known providers,
// or else those that are seen. Pure.
func (t target) published(known dns.Providers, seen dns.Observation) target {
	sets := []dns.Set{known[known.Of(t.want.MX)]}
	for _, v := range seen.Views {
		sets = append(sets, v.MX)
	}
	records := slices.Clone(t.want.MX)
	for i, want := range records {
		for _, set := range sets {
			if at := slices.IndexFunc(set, func(m dns.MX) bool { return m.Host == want.Host }); at >= 0 {
				records[i].Preference = set[at].Preference
				break
			}
		}
	}
	t.want.MX = dns.NewSet(records...)
	return t
}

// takeover is the permission that the spec gives. Pure.
func takeover(d *v1alpha1.PECDomain) dns.Takeover {
	if d.Spec.DNS == nil || d.Spec.DNS.Takeover == nil || d.Spec.DNS.Takeover.Policy != v1alpha1.TakeoverFromExpected {
		return dns.Takeover{}
	}
	var records []dns.MX
	for _, r := range d.Spec.DNS.Takeover.ExpectedCurrent {
		records = append(records, dns.MX{Preference: uint16(*r.Preference), Host: string(r.Host)}) //nolint:gosec // the schema bounds it
	}
	return dns.Takeover{Expected: dns.NewSet(records...), ApprovedBy: d.Spec.DNS.Takeover.ApprovedBy}
}
