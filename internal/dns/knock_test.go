package dns

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/reach"
)

// greeter answers every connection with one line, over TLS when it has a certificate.
func greeter(t *testing.T, line string, certificates ...tls.Certificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if len(certificates) > 0 {
		l = tls.NewListener(l, &tls.Config{Certificates: certificates, MinVersion: tls.VersionTLS12})
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if line == "" {
					time.Sleep(time.Second)
					return
				}
				fmt.Fprintf(conn, "%s\r\n", line)
			}()
		}
	}()
	return l.Addr().String()
}

func TestKnock(t *testing.T) {
	w := faultyWorld(t, data(t, zone), data(t, zone))
	w.serve(rootAddress, data(t, ".", "host.example. NS ns.host.example.", "ns.host.example. A 192.0.2.9", "mute.example. NS ns.mute.example.", "ns.mute.example. A 192.0.2.66"))
	w.serve("192.0.2.9", data(t, "host.example.", "host.example. NS ns.host.example.", "ns.host.example. A 192.0.2.9", "one.host.example. A 198.51.100.1", "two.host.example. A 198.51.100.9", "two.host.example. A 198.51.100.1",
		"closed.host.example. A 198.51.100.9", "alias.host.example. CNAME one.host.example.", "void.host.example. TXT x", "far.host.example. A 203.0.113.1", "inside.host.example. A 127.0.0.1"))
	cert, _ := certificate(t, "other.example")
	doors := map[string]string{"25": greeter(t, "220 mx ESMTP"), "465": greeter(t, "220 smtps ESMTP", cert), "993": greeter(t, "* OK ready", cert), "995": greeter(t, "-ERR no", cert), "26": greeter(t, "")}
	o := w.observer()
	inner := o.Dial
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, _ := net.SplitHostPort(address)
		switch {
		case strings.HasPrefix(host, "203.0.113."):
			return nil, &net.OpError{Op: "dial", Err: syscall.ENETUNREACH}
		case host == "198.51.100.9":
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		case host == "198.51.100.1", host == "127.0.0.1":
			return new(net.Dialer).DialContext(ctx, network, doors[port])
		}
		return inner(ctx, network, address)
	}
	p := &Prober{Observer: o, Timeout: 300 * time.Millisecond}
	outside := func(a netip.Addr) bool { return reach.May(a, nil) }
	for name, c := range map[string]struct {
		door Door
		want Answer
	}{
		"a mail exchanger greets":                      {Door{"one.host.example", 25, false, "220", false}, Answered},
		"submission greets inside TLS":                 {Door{"one.host.example", 465, true, "220", false}, Answered},
		"IMAP greets with its own word":                {Door{"one.host.example", 993, true, "* OK", false}, Answered},
		"a client's name may be an alias":              {Door{"alias.host.example", 993, true, "* OK", false}, Answered},
		"one building of two is enough":                {Door{"two.host.example", 25, false, "220", false}, Answered},
		"a service that greets with a fault is silent": {Door{"one.host.example", 995, true, "+OK", false}, Silent},
		"one that takes the connection and says none":  {Door{"one.host.example", 26, false, "220", false}, Silent},
		"one that refuses the connection":              {Door{"closed.host.example", 25, false, "220", false}, Silent},
		"a name without an address":                    {Door{"void.host.example", 25, false, "220", false}, Silent},
		"a name whose servers are silent is not known": {Door{"mx.mute.example", 25, false, "220", false}, Unasked},
		"nor is one that no route leads to":            {Door{"far.host.example", 25, false, "220", false}, Unasked},
		"a host of ours greets inside":                 {Door{"inside.host.example", 25, false, "220", false}, Answered},
		"another provider's is not knocked at there":   {Door{"inside.host.example", 25, false, "220", true}, Unasked},
		"it is on the internet":                        {Door{"one.host.example", 25, false, "220", true}, Answered},
	} {
		t.Run(name, func(t *testing.T) {
			p := &Prober{Observer: o, Timeout: p.Timeout}
			if c.door.External {
				p.May = outside
			}
			if got, why := p.Knock(t.Context(), c.door); got != c.want || (why == "") != (got == Answered) {
				t.Errorf("%s (%s), want %s", got, why, c.want)
			}
		})
	}
	outward := &Prober{Observer: o, Timeout: p.Timeout, May: outside}
	inside := netip.MustParseAddr("127.0.0.1")
	if found := outward.Probe(t.Context(), "inside.host.example"); !errors.Is(found.Greetings[inside], reach.ErrInside) {
		t.Errorf("a mail host inside came to %v", found.Greetings)
	}
}
