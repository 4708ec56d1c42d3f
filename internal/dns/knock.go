package dns

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pec-operator/pec-operator/internal/reach"
)

// Door is one service of a host: where it is knocked at, and what it greets with.
type Door struct {
	Host string
	Port uint16
	// TLS says that it speaks TLS from the first byte.
	TLS bool
	// Greeting is what its first line begins with.
	Greeting string
	// External says that it is another provider's.
	External bool
}

// Answer is what a knock came to.
type Answer string

const (
	// Answered: an address of the host greeted.
	Answered Answer = "Answered"
	// Silent: the host has no address, or none greeted.
	Silent Answer = "Silent"
	// Unasked: nobody got as far as the host, so that nothing is known of it: the name servers did not answer, no route leads
	// there, or the Prober may not go there.
	Unasked Answer = "Unasked"
)

// Knock looks a host up and waits for the greeting of the first address that gives one. It says no word itself, and takes whatever
// certificate it is shown: whether mail is taken is another question, and so is the certificate.
func (p *Prober) Knock(ctx context.Context, d Door) (answer Answer, why string) {
	host := p.Endpoint(ctx, d.Host)
	switch {
	case host.Fault != "" && host.Fault != NoAddress:
		return Unasked, fmt.Sprintf("%s: its name servers do not answer (%s)", d.Host, host.Fault)
	case len(host.Addresses) == 0:
		return Silent, d.Host + " has no address"
	}
	answer = Unasked
	for _, address := range host.Addresses {
		switch err := p.greeted(ctx, d, net.JoinHostPort(address.String(), strconv.Itoa(int(d.Port)))); {
		case err == nil:
			return Answered, ""
		case errors.Is(err, reach.ErrInside):
			why = cmp.Or(why, fmt.Sprintf("%s: %v", d.Host, err))
		case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
			why = cmp.Or(why, fmt.Sprintf("%s port %d: no route leads there", d.Host, d.Port))
		default:
			answer, why = Silent, fmt.Sprintf("%s port %d does not greet", d.Host, d.Port)
		}
	}
	return answer, why
}

// greeted waits for the greeting at one address.
func (p *Prober) greeted(ctx context.Context, d Door, address string) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.Timeout, 10*time.Second))
	defer cancel()
	conn, err := p.dial(ctx, p.May, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if d.TLS {
		conn = tls.Client(conn, &tls.Config{ServerName: d.Host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}) //nolint:gosec // nothing is said or believed: a greeting is waited for
	}
	line, err := bufio.NewReaderSize(conn, 512).ReadString('\n')
	switch {
	case err != nil:
		return err
	case !strings.HasPrefix(line, d.Greeting):
		return fmt.Errorf("it greets with %q", line)
	}
	return nil
}
