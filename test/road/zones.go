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
	return r.PublishZones(ctx, r.zoneRecords(addresses))
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

// zoneRecords answers the records of each zone (the last two labels of a name), sorted.
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
