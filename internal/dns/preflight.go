package dns

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/reach"
)

// MailHost is what a preflight finds out about one MX host.
type MailHost struct {
	Host Host
	// Greetings holds, by address, why port 25 does not serve as an MX should; nil where it does.
	Greetings map[netip.Addr]error
	// Certificates holds, by address, what was shown there.
	Certificates map[netip.Addr][]*x509.Certificate
}

// Named says that the name is one that an MX may hold: no alias, and with an address.
func (h MailHost) Named() bool { return h.Host.Alias == "" && len(h.Host.Addresses) > 0 }

// Faults judges an MX host. The name is no alias (RFC 2181 10.3, RFC 5321 5.1), has addresses, and each of them greets and
// offers STARTTLS with a certificate of that name.
func (h MailHost) Faults() []string {
	switch {
	case h.Host.Alias != "":
		return []string{fmt.Sprintf("%s is an alias of %s, and an MX names no alias", h.Host.Name, h.Host.Alias)}
	case len(h.Host.Addresses) == 0:
		return []string{fmt.Sprintf("%s has no address: %s", h.Host.Name, h.Host.Detail)}
	}
	var faults []string
	for _, address := range h.Host.Addresses {
		if err := h.Greetings[address]; err != nil {
			faults = append(faults, fmt.Sprintf("%s (%s): %v", h.Host.Name, address, err))
		}
	}
	return faults
}

// EndpointFaults judges a name that mail clients connect to: it must carry an address of each site, or the loss of one building
// takes the name with it.
func EndpointFaults(endpoint Host, sites map[string][]netip.Addr) []string {
	if endpoint.Fault != "" {
		return []string{fmt.Sprintf("%s was not found: %s", endpoint.Name, endpoint.Detail)}
	}
	var faults []string
	for site, addresses := range sites {
		if !slices.ContainsFunc(addresses, func(a netip.Addr) bool { return slices.Contains(endpoint.Addresses, a) }) {
			faults = append(faults, fmt.Sprintf("%s carries no address of site %s", endpoint.Name, site))
		}
	}
	slices.Sort(faults)
	return faults
}

// DelegationFaults judges the zone's servers: the parent must list those that the zone lists.
func DelegationFaults(o Observation) []string {
	if len(o.ParentNS) == 0 || slices.Equal(o.ParentNS, o.ChildNS) {
		return nil
	}
	return []string{fmt.Sprintf("the parent delegates %s to %s, and the zone itself lists %s",
		o.Zone, strings.Join(o.ParentNS, ", "), strings.Join(o.ChildNS, ", "))}
}

// Prober knocks at mail hosts.
type Prober struct {
	Observer *Observer
	// TLS holds the roots to verify with; the system's when nil.
	TLS *tls.Config
	// Web is the same for the web server of an MTA-STS policy.
	Web *tls.Config
	// Timeout bounds one conversation, ten seconds when zero.
	Timeout time.Duration
	// May says which addresses are knocked at; all when nil. Whoever names a host names its address too, and ports inside are none of his concern.
	May func(netip.Addr) bool
	// MayRead is May for the web server of an MTA-STS policy: that is named by who owns the domain, where the mail hosts are ours too.
	MayRead func(netip.Addr) bool
}

// dial connects to "address:port", where it may; everywhere when may is nil.
func (p *Prober) dial(ctx context.Context, may func(netip.Addr) bool, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	switch {
	case err != nil:
		return nil, err
	case may != nil && !may(to.Addr()):
		return nil, reach.ErrInside
	}
	return p.Observer.dial(ctx, network, address)
}

// Probe looks a mail host up and talks to port 25 of each address, up to STARTTLS.
func (p *Prober) Probe(ctx context.Context, name string) MailHost {
	found := MailHost{Host: p.Observer.Host(ctx, name), Greetings: map[netip.Addr]error{}, Certificates: map[netip.Addr][]*x509.Certificate{}}
	for _, address := range found.Host.Addresses {
		found.Certificates[address], found.Greetings[address] = p.greet(ctx, bare(found.Host.Name), address)
	}
	return found
}

// Endpoint looks a client's name up, through aliases, which are allowed there.
func (p *Prober) Endpoint(ctx context.Context, name string) Host {
	found := p.Observer.Host(ctx, name)
	for hops := 0; found.Alias != "" && hops < 4; hops++ {
		next := p.Observer.Host(ctx, found.Alias)
		next.Name = Name(name)
		found = next
	}
	return found
}

func (p *Prober) greet(ctx context.Context, host string, address netip.Addr) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.Timeout, 10*time.Second))
	defer cancel()
	conn, err := p.dial(ctx, p.May, "tcp", net.JoinHostPort(address.String(), "25"))
	switch {
	case errors.Is(err, reach.ErrInside):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("port 25 does not answer: %w", plain(err))
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if err := startTLS(textproto.NewConn(conn)); err != nil {
		return nil, err
	}
	config := new(tls.Config)
	if p.TLS != nil {
		config = p.TLS.Clone()
	}
	config.ServerName, config.MinVersion = host, tls.VersionTLS12
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("the certificate of STARTTLS does not do for %s: %w", host, plain(err))
	}
	return secured.ConnectionState().PeerCertificates, nil
}

// startTLS leads a conversation up to the handshake (RFC 5321 4.2, RFC 3207 4).
func startTLS(conn *textproto.Conn) error {
	if _, _, err := conn.ReadResponse(220); err != nil {
		return fmt.Errorf("no greeting: %w", plain(err))
	}
	if err := conn.PrintfLine("EHLO probe.invalid"); err != nil {
		return fmt.Errorf("saying EHLO: %w", plain(err))
	}
	_, extensions, err := conn.ReadResponse(250)
	if err != nil {
		return fmt.Errorf("saying EHLO: %w", plain(err))
	}
	if !slices.Contains(strings.Split(strings.ToUpper(extensions), "\n"), "STARTTLS") {
		return errors.New("STARTTLS is not offered")
	}
	if err := conn.PrintfLine("STARTTLS"); err != nil {
		return fmt.Errorf("saying STARTTLS: %w", plain(err))
	}
	if _, _, err := conn.ReadResponse(220); err != nil {
		return fmt.Errorf("saying STARTTLS: %w", plain(err))
	}
	return nil
}

// plain leaves the addresses and ports of a connection out of its error: what is said of one fault must be the same every time.
func plain(err error) error {
	var network *net.OpError
	if errors.As(err, &network) {
		return network.Err
	}
	return err
}

// NamedAndTimely verifies of a mail host's certificate what mail servers at large rely on: that it names the host and is valid now.
// Who issued it they do not ask (RFC 7672 1.3.4), unless DANE or MTA-STS says so.
func NamedAndTimely(now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection below verifies what there is to verify
		VerifyConnection: func(state tls.ConnectionState) error {
			leaf := state.PeerCertificates[0]
			if at := now(); at.Before(leaf.NotBefore) || at.After(leaf.NotAfter) {
				return fmt.Errorf("it is valid from %s to %s only", leaf.NotBefore.UTC().Format(time.DateOnly), leaf.NotAfter.UTC().Format(time.DateOnly))
			}
			if err := leaf.VerifyHostname(state.ServerName); err != nil {
				return fmt.Errorf("it does not name the host: %w", err)
			}
			return nil
		},
	}
}
