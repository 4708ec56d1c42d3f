package road

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/pec-operator/pec-operator/internal/stack"
)

// Zones publishes the demo's zones on the internet's name server, as the owners of the domains would: the MX of every PEC domain
// names the mail hosts of both sites, and each host the address that its site's balancer gave it.
func (r *Road) Zones(ctx context.Context) error {
	addresses := map[string]string{} // "<site>/<domain>" -> address
	for _, d := range r.samples.managed() {
		for _, site := range SiteNames {
			address, err := r.balancer(ctx, site, d.Namespace, stack.NamesFor(d.Name).Mail)
			if err != nil {
				return err
			}
			addresses[site+"/"+d.Name] = address
		}
	}
	for _, d := range r.samples.updated() {
		if err := r.publishUpdated(ctx, string(d.Spec.DNS.RFC2136.Zone), d.Name); err != nil {
			return err
		}
	}
	return r.PublishZones(ctx, r.zoneRecords(addresses))
}

// administrator is whoever runs the demo's zones.
const administrator = "administrator"

// keyName is the name of a site's TSIG key, or of the administrator's.
func keyName(of string) string { return "pec-site-" + of + "." }

// publishUpdated puts a zone that takes updates on the internet's name server, empty: each site's key may change the MX of the domain and
// its owner text, and nothing else, in the words of docs/dns.md.
func (r *Road) publishUpdated(ctx context.Context, zone, domain string) error {
	var text strings.Builder
	for name, secret := range r.material.Keys {
		fmt.Fprintf(&text, "key %q { algorithm hmac-sha256; secret %q; };\n", name, secret)
	}
	fmt.Fprintf(&text, "zone %q { type primary; file %q; update-policy {\n", zone, "/var/lib/bind/zones/"+zone+".zone")
	for _, site := range SiteNames {
		fmt.Fprintf(&text, "grant %[1]s name %[2]s. MX;\ngrant %[1]s name _pec-owner.%[2]s. TXT;\n", keyName(site), domain)
	}
	fmt.Fprintf(&text, "grant %s zonesub ANY;\n}; };\n", keyName(administrator))
	if err := os.MkdirAll(r.state("zones"), 0o755); err != nil {
		return fmt.Errorf("writing zones: %w", err)
	}
	if err := os.WriteFile(r.state("zones", zone+".named"), []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("writing zones: %w", err)
	}
	return r.PublishZones(ctx, map[string][]string{zone: nil})
}

// SetMX makes the MX set of a domain whose zone takes updates exactly this, without asking anybody, as its administrator may: each record
// is "preference host.".
func (r *Road) SetMX(ctx context.Context, domain string, records ...string) error {
	m := new(dns.Msg)
	for _, d := range r.samples.updated() {
		if d.Name == domain {
			m.SetUpdate(string(d.Spec.DNS.RFC2136.Zone) + ".")
		}
	}
	m.RemoveRRset([]dns.RR{&dns.MX{Hdr: dns.RR_Header{Name: domain + ".", Rrtype: dns.TypeMX, Class: dns.ClassINET}}})
	for _, record := range records {
		rr, err := dns.NewRR(domain + ". 60 IN MX " + record)
		if err != nil {
			return fmt.Errorf("setting MX of %s: %w", domain, err)
		}
		m.Insert([]dns.RR{rr})
	}
	m.SetTsig(keyName(administrator), dns.HmacSHA256, 300, time.Now().Unix())
	client := dns.Client{Net: "tcp", TsigSecret: map[string]string{keyName(administrator): r.material.Keys[keyName(administrator)]}}
	answer, _, err := client.ExchangeContext(ctx, m, r.env.Internet.Address+":53")
	if err == nil && answer.Rcode != dns.RcodeSuccess {
		err = fmt.Errorf("the server answers %s", dns.RcodeToString[answer.Rcode])
	}
	if err != nil {
		return fmt.Errorf("setting MX of %s: %w", domain, err)
	}
	return nil
}

// MX asks the internet's name server for the MX set of a domain, sorted, each as "preference host.".
func (r *Road) MX(ctx context.Context, domain string) ([]string, error) {
	m := new(dns.Msg)
	m.SetQuestion(domain+".", dns.TypeMX)
	answer, _, err := new(dns.Client).ExchangeContext(ctx, m, r.env.Internet.Address+":53")
	if err != nil {
		return nil, fmt.Errorf("asking for MX of %s: %w", domain, err)
	}
	var records []string
	for _, rr := range answer.Answer {
		if mx, ok := rr.(*dns.MX); ok {
			records = append(records, fmt.Sprintf("%d %s", mx.Preference, mx.Mx))
		}
	}
	slices.Sort(records)
	return records, nil
}

// PublishZones puts zones, each with its records, on the internet's name server.
func (r *Road) PublishZones(ctx context.Context, zones map[string][]string) error {
	dir := r.state("zones")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing zones: %w", err)
	}
	args := []string{"zone"}
	for origin, records := range zones {
		file := filepath.Join(dir, origin+".zone")
		text := zoneText(origin, r.env.Internet.Address, time.Now().Unix(), records)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return fmt.Errorf("writing zones: %w", err)
		}
		args = append(args, file)
	}
	return r.launcher(ctx, r.Out, args...)
}

// balancer waits for the address of a LoadBalancer Service.
func (r *Road) balancer(ctx context.Context, site, namespace, service string) (string, error) {
	var address string
	err := r.until(ctx, time.Minute, 200*time.Millisecond, func() error {
		out, err := r.Kubectl(ctx, site, "get", "service", service, "-n", namespace, "-o", "json")
		if err != nil {
			return err
		}
		var s struct {
			Status struct {
				LoadBalancer struct {
					Ingress []struct {
						IP string `json:"ip"`
					} `json:"ingress"`
				} `json:"loadBalancer"`
			} `json:"status"`
		}
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			return err
		}
		if len(s.Status.LoadBalancer.Ingress) == 0 {
			return fmt.Errorf("service %s/%s at site %s has no address yet", namespace, service, site)
		}
		address = s.Status.LoadBalancer.Ingress[0].IP
		return nil
	})
	return address, err
}

// zoneRecords answers the records of each zone (the last two labels of a name), sorted. A domain that the operator writes is delegated.
func (r *Road) zoneRecords(addresses map[string]string) map[string][]string {
	zones := map[string]map[string]bool{}
	add := func(name, record string) {
		labels := strings.Split(name, ".")
		origin := strings.Join(labels[len(labels)-2:], ".")
		if zones[origin] == nil {
			zones[origin] = map[string]bool{}
		}
		zones[origin][name+". 60 IN "+record] = true
	}
	updated := map[string]bool{}
	for _, d := range r.samples.updated() {
		updated[d.Name] = true
	}
	for _, d := range r.samples.managed() {
		managed := d.Spec.Provider.Managed
		for _, h := range managed.MailHosts {
			address := "A " + addresses[h.Site+"/"+d.Name]
			add(h.Host, address)
			if link, _, found := strings.Cut(h.PeerLink, ":"); found && link != h.Host {
				add(link, address)
			}
			for _, endpoint := range []string{managed.Endpoints.Submission, managed.Endpoints.IMAP, managed.Endpoints.POP3} {
				if endpoint != "" {
					add(endpoint, address)
				}
			}
			for _, served := range append(r.samples.servedBy(d), managed.Provider.MailDomain) {
				if updated[served] {
					add(served, "NS ns."+served+".")
					add("ns."+served, "A "+r.env.Internet.Address)
					continue
				}
				add(served, fmt.Sprintf("MX %d %s.", *h.Preference, h.Host))
			}
		}
	}
	sorted := map[string][]string{}
	for origin, records := range zones {
		sorted[origin] = slices.Sorted(maps.Keys(records))
	}
	return sorted
}

func zoneText(origin, server string, serial int64, records []string) string {
	return fmt.Sprintf(`$ORIGIN %[1]s.
$TTL 60
@ IN SOA ns.%[1]s. hostmaster.%[1]s. %[2]d 3600 600 86400 5
@ IN NS ns.%[1]s.
ns IN A %[3]s
`, origin, serial, server) + strings.Join(records, "\n") + "\n"
}
