package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/reach"
)

// policySize is the most that is read of a policy; RFC 8461 3.3 suggests as much.
const policySize = 64 << 10

// mtaSTS: no record, or a policy that lists every mail host (RFC 8461): one that it leaves out gets no mail from who enforces it, and
// that is the other building's.
func (p *Prober) mtaSTS(ctx context.Context, r *round, domain string, hosts []MailHost) Check {
	const name = "MTA-STS"
	texts, failed := r.txt("_mta-sts." + domain)
	if failed != nil {
		return doubtful(name, failed)
	}
	text, many := one(texts, "v=stsv1")
	switch {
	case many:
		return found(name, Faulty, "more than one v=STSv1 record: senders take that for none")
	case text == "":
		return found(name, Absent, "no v=STSv1 record")
	}
	policy, err := p.policy(ctx, "mta-sts."+bare(domain))
	switch {
	case errors.Is(err, reach.ErrInside):
		return found(name, Faulty, "its policy cannot be read: %v", reach.ErrInside)
	case err != nil:
		return found(name, Faulty, "there is a v=STSv1 record, and its policy cannot be read: %v", plain(err))
	}
	mode, patterns := parsePolicy(policy)
	if mode != "enforce" && mode != "testing" && mode != "none" {
		return found(name, Faulty, "the policy has no mode that senders know: %q", mode)
	}
	for _, host := range hosts {
		if mode != "none" && !slices.ContainsFunc(patterns, func(pattern string) bool { return covers(pattern, bare(host.Host.Name)) }) {
			return found(name, Faulty, "the policy (mode %s) does not list %s: who enforces it sends nothing there", mode, bare(host.Host.Name))
		}
	}
	return found(name, Sound, "the policy (mode %s) lists every mail host", mode)
}

// policy reads a policy from its web server, whose address comes from the authoritative servers; redirects are not followed (3.3).
func (p *Prober) policy(ctx context.Context, host string) (string, error) {
	transport := &http.Transport{TLSClientConfig: p.Web, DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		found := p.Endpoint(ctx, host)
		if len(found.Addresses) == 0 {
			return nil, fmt.Errorf("%s has no address", host)
		}
		return p.dial(ctx, p.MayRead, network, net.JoinHostPort(found.Addresses[0].String(), "443"))
	}}
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("it redirects, which senders do not follow")
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return "", fmt.Errorf("asking for the policy: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("reading the policy: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("reading the policy: %s", response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, policySize))
	if err != nil {
		return "", fmt.Errorf("reading the policy: %w", err)
	}
	return string(text), nil
}

func parsePolicy(text string) (mode string, patterns []string) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch value = strings.ToLower(strings.TrimSpace(value)); key {
		case "mode":
			mode = value
		case "mx":
			patterns = append(patterns, value)
		}
	}
	return mode, patterns
}

// covers matches a host with a pattern; a leading "*." stands for exactly one label (4.1).
func covers(pattern, host string) bool {
	if suffix, wild := strings.CutPrefix(pattern, "*."); wild {
		_, rest, ok := strings.Cut(host, ".")
		return ok && rest == suffix
	}
	return pattern == host
}
