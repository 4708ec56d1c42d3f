package dns

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

// certificate is self-signed for one name.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, leaf
}

// smtp is a mail server up to STARTTLS, with what it says.
func smtp(t *testing.T, greeting, extensions string, cert tls.Certificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				lines := bufio.NewReader(conn)
				fmt.Fprintf(conn, "%s\r\n", greeting)
				for _, answer := range []string{extensions, "220 2.0.0 go ahead"} {
					if _, err := lines.ReadString('\n'); err != nil {
						return
					}
					fmt.Fprintf(conn, "%s\r\n", answer)
				}
				_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
			}()
		}
	}()
	return l.Addr().String()
}

func TestPreflightOfMailHosts(t *testing.T) {
	w := faultyWorld(t, data(t, zone), data(t, zone))
	hosts := data(t, "host.example.", "good.host.example. A 198.51.100.1", "closed.host.example. A 198.51.100.2", "busy.host.example. A 198.51.100.3",
		"plain.host.example. A 198.51.100.4", "stranger.host.example. A 198.51.100.5", "alias.host.example. CNAME good.host.example.", "void.host.example. TXT x",
		"half.host.example. A 198.51.100.2", "half.host.example. A 198.51.100.6", "good6.host.example. AAAA 2001:db8::25")
	w.serve(rootAddress, data(t, ".", "host.example. NS ns.host.example.", "ns.host.example. A 192.0.2.9"))
	hosts.records = append([]miekg.RR{must(miekg.NewRR("ns.host.example. A 192.0.2.9")), must(miekg.NewRR("host.example. NS ns.host.example."))}, hosts.records...)
	w.serve("192.0.2.9", hosts)
	roots := x509.NewCertPool()
	cert := func(name string) tls.Certificate {
		c, leaf := certificate(t, name)
		roots.AddCert(leaf)
		return c
	}
	const full = "250-mx\r\n250-SIZE 1\r\n250 STARTTLS"
	w.addresses["198.51.100.1"] = smtp(t, "220 mx ESMTP", full, cert("good.host.example"))
	w.addresses["198.51.100.3"] = smtp(t, "554 no", full, cert("busy.host.example"))
	w.addresses["198.51.100.4"] = smtp(t, "220 mx ESMTP", "250 mx", cert("plain.host.example"))
	w.addresses["198.51.100.5"] = smtp(t, "220 mx ESMTP", full, cert("another.host.example"))
	w.addresses["198.51.100.6"] = smtp(t, "220 mx ESMTP", full, cert("half.host.example"))
	w.addresses["2001:db8::25"] = smtp(t, "220 mx ESMTP", full, cert("good6.host.example"))
	prober := &Prober{Observer: w.observer(), TLS: &tls.Config{RootCAs: roots}, Timeout: time.Second}
	for name, c := range map[string]struct {
		host string
		says []string
	}{
		"all is well":                         {"good.host.example", nil},
		"all is well over IPv6":               {"good6.host.example.", nil},
		"nobody listens on port 25":           {"closed.host.example", []string{"port 25 does not answer"}},
		"the greeting is a refusal":           {"busy.host.example", []string{"no greeting: 554"}},
		"no STARTTLS":                         {"plain.host.example", []string{"STARTTLS is not offered"}},
		"the certificate is of another name":  {"stranger.host.example", []string{"does not do for stranger.host.example"}},
		"an alias":                            {"alias.host.example", []string{"an MX names no alias"}},
		"a name without address":              {"void.host.example", []string{"neither A nor AAAA"}},
		"a name that is not there":            {"absent.host.example", []string{"has no address"}},
		"a name outside every zone":           {"mx.nowhere.test", []string{"has no address"}},
		"one of two addresses does not serve": {"half.host.example", []string{"half.host.example. (198.51.100.2): port 25"}},
	} {
		t.Run(name, func(t *testing.T) {
			faults := prober.Probe(t.Context(), c.host).Faults()
			if len(faults) != len(c.says) {
				t.Fatalf("got %q", faults)
			}
			for i, says := range c.says {
				if !strings.Contains(faults[i], says) {
					t.Errorf("got %q, want %q", faults[i], says)
				}
			}
		})
	}
}

func TestEndpointsCarryBothSites(t *testing.T) {
	a, b := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	sites := map[string][]netip.Addr{"a": {a}, "b": {b, netip.MustParseAddr("2001:db8::2")}}
	for name, c := range map[string]struct {
		host Host
		want []string
	}{
		"both":       {Host{Name: "imap.", Addresses: []netip.Addr{b, a}}, nil},
		"one":        {Host{Name: "imap.", Addresses: []netip.Addr{a}}, []string{"imap. carries no address of site b"}},
		"none":       {Host{Name: "imap."}, []string{"imap. carries no address of site a", "imap. carries no address of site b"}},
		"no answers": {Host{Name: "imap.", Fault: Timeout, Detail: "silence"}, []string{"imap. was not found: silence"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := EndpointFaults(c.host, sites); !slices.Equal(got, c.want) {
				t.Errorf("got %q", got)
			}
		})
	}
	servers(t, "named", "nsd")
	w := realWorld(t, false)
	prober := &Prober{Observer: w.observer()}
	if got := EndpointFaults(prober.Endpoint(t.Context(), "imap.gestore.it"), sites); got != nil {
		t.Errorf("an alias of a name with both: %q", got)
	}
}

func TestDelegationFaults(t *testing.T) {
	o := recorded()
	o.ParentNS, o.ChildNS = []string{"ns1.", "ns2."}, []string{"ns1.", "ns2."}
	if got := DelegationFaults(o); got != nil {
		t.Errorf("equal: %q", got)
	}
	o.ChildNS = []string{"ns1.", "ns3."}
	if got := DelegationFaults(o); len(got) != 1 || !strings.Contains(got[0], "ns3.") {
		t.Errorf("different: %q", got)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
