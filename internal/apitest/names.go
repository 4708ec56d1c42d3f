package apitest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

// Names is a DNS of a test's own: a real BIND that holds the root and every zone, at an address of the documentation ranges that the
// dialer leads to loopback; and mail servers, up to STARTTLS, at every address of 198.51.100.0/24. 192.0.2.66 never answers.
type Names struct {
	t      testing.TB
	listen string
	mail   string
	silent string
	key    string // the administrator's secret, base64
	site   string // the operator's
}

// Root is the address of the root's server.
var Root = netip.MustParseAddr("192.0.2.53")

// KeyName is the name of the operator's TSIG key.
const KeyName = "pec-site-a."

// RunNames serves zones, by name, until the test ends. Each text is what the zone holds beside SOA and NS; in each, the operator may
// update the MX of "pec" below it and its owner text, and the administrator everything.
func RunNames(t testing.TB, zones map[string]string) *Names {
	t.Helper()
	n := &Names{t: t, listen: freePort(t), key: newSecret(), site: newSecret()}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	_, port, _ := net.SplitHostPort(n.listen)
	var conf strings.Builder
	fmt.Fprintf(&conf, "options { directory %q; listen-on port %s { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; dnssec-validation no; notify no; pid-file none; session-keyfile none; empty-zones-enable no; };\ncontrols { };\n", dir, port)
	fmt.Fprintf(&conf, "key admin. { algorithm hmac-sha256; secret %q; };\nkey %s { algorithm hmac-sha256; secret %q; };\n", n.key, KeyName, n.site)
	zones = withRoot(zones)
	for name, text := range zones {
		origin := strings.TrimSuffix(name, ".") + "."
		file := write("zone"+strings.ReplaceAll(name, "/", "-"), fmt.Sprintf("$TTL 2\n$ORIGIN %s\n@ 2 IN SOA ns.nomi.test. hostmaster.nomi.test. 1 3600 600 86400 1\n@ NS ns.nomi.test.\n%s\n", origin, text))
		fmt.Fprintf(&conf, "zone %q { type primary; file %q; update-policy { grant %s name pec.%s MX; grant %s name _pec-owner.pec.%s TXT; grant admin. zonesub ANY; }; };\n",
			origin, file, KeyName, strings.TrimPrefix(origin, "."), KeyName, strings.TrimPrefix(origin, "."))
	}
	var log bytes.Buffer
	cmd := exec.Command("named", "-g", "-n", "1", "-c", write("named.conf", conf.String()))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting BIND (`make packages` installs it): %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("named said:\n%s", log.String())
		}
	})
	n.mail, n.silent = mailServer(t), deaf(t)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if m, err := n.ask("nomi.test.", miekg.TypeSOA); err == nil && m.Authoritative && len(m.Answer) > 0 {
			return n
		}
		if time.Now().After(end) {
			t.Fatal("BIND does not answer")
		}
	}
}

func withRoot(zones map[string]string) map[string]string {
	all := map[string]string{".": "ns.nomi.test. A " + Root.String(), "nomi.test": "ns A " + Root.String()}
	for name, text := range zones {
		all[name] = text
	}
	return all
}

func newSecret() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	return base64.StdEncoding.EncodeToString(raw)
}

// Key is the Secret data of the operator's TSIG key.
func (n *Names) Key() map[string][]byte {
	return map[string][]byte{"name": []byte(KeyName), "secret": []byte(n.site)}
}

// Dial leads to this DNS and its mail servers, and nowhere else.
func (n *Names) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, _ := net.SplitHostPort(address)
	to := ""
	switch {
	case host == Root.String() && port == "53":
		to = n.listen
	case host == "192.0.2.66":
		to = n.silent
	case strings.HasPrefix(host, "198.51.100.") && port == "25":
		to = n.mail
	}
	if to == "" {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
	}
	return new(net.Dialer).DialContext(ctx, network, to)
}

// Set makes the records of a name and type exactly these, without any prerequisite, as an administrator does. records are as in a zone
// file; none removes the set.
func (n *Names) Set(zone, name string, kind uint16, records ...string) {
	n.t.Helper()
	m := new(miekg.Msg)
	m.SetUpdate(miekg.Fqdn(zone))
	m.RemoveRRset([]miekg.RR{&miekg.ANY{Hdr: miekg.RR_Header{Name: miekg.Fqdn(name), Rrtype: kind, Class: miekg.ClassINET}}})
	for _, text := range records {
		rr, err := miekg.NewRR(miekg.Fqdn(name) + " 2 IN " + miekg.TypeToString[kind] + " " + text)
		if err != nil {
			n.t.Fatal(err)
		}
		m.Insert([]miekg.RR{rr})
	}
	m.SetTsig("admin.", miekg.HmacSHA256, 300, time.Now().Unix())
	client := miekg.Client{Net: "tcp", TsigSecret: map[string]string{"admin.": n.key}}
	answer, _, err := client.Exchange(m, n.listen)
	if err != nil || answer.Rcode != miekg.RcodeSuccess {
		n.t.Fatalf("the administrator's own update: %v %v", answer, err)
	}
}

// Get answers the records of a name and type, without their headers, sorted.
func (n *Names) Get(name string, kind uint16) []string {
	n.t.Helper()
	m, err := n.ask(name, kind)
	if err != nil {
		n.t.Fatal(err)
	}
	var all []string
	for _, rr := range m.Answer {
		all = append(all, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(all)
	return all
}

func (n *Names) ask(name string, kind uint16) (*miekg.Msg, error) {
	m := new(miekg.Msg)
	m.SetQuestion(miekg.Fqdn(name), kind)
	answer, _, err := new(miekg.Client).Exchange(m, n.listen)
	return answer, err
}

// freePort finds a port below those that the kernel gives to outgoing connections, free for UDP and TCP.
func freePort(t testing.TB) string {
	t.Helper()
	for range 200 {
		tcp, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+mathrand.IntN(12000)))
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		_ = tcp.Close()
		if err == nil {
			_ = udp.Close()
			return tcp.Addr().String()
		}
	}
	t.Fatal("no port of loopback is free for both UDP and TCP")
	return ""
}

// deaf takes packets and connections and never answers.
func deaf(t testing.TB) string {
	t.Helper()
	address := freePort(t)
	udp, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = udp.Close(), tcp.Close() })
	return address
}

// mailServer greets and shows, after STARTTLS, a certificate of the name that it is asked for.
func mailServer(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{hello.ServerName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
	}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				lines := bufio.NewReader(conn)
				fmt.Fprint(conn, "220 mx.test ESMTP\r\n")
				for _, answer := range []string{"250-mx.test\r\n250 STARTTLS\r\n", "220 go ahead\r\n"} {
					if _, err := lines.ReadString('\n'); err != nil {
						return
					}
					fmt.Fprint(conn, answer)
				}
				_ = tls.Server(conn, config).Handshake() // the client reports what fails
			}()
		}
	}()
	return l.Addr().String()
}
