package dns

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

// The world of these tests: a private root with the delegations down to example.it, on BIND; the primary of comune.example.it and
// others, on BIND, with update-policy; their secondary on NSD. Every server has an address of the documentation ranges, which
// the dialer leads to a port of loopback.
const (
	rootAddress      = "192.0.2.1"
	primaryAddress   = "192.0.2.2"
	secondaryAddress = "192.0.2.3"
	domain           = "pec.comune.example.it."
	zone             = "comune.example.it."
)

type world struct {
	t         testing.TB
	dir       string
	lock      sync.Mutex
	addresses map[string]string // by address, what loopback port stands for it
	keys      map[string]Key
	zones     map[string]string // by zone, its file
	secondary bool
	quiet     bool // the primary does not notify: the secondary lags until it is told
}

// servers skips in short mode and fails with a sentence where a server is not installed.
func servers(t testing.TB, programs ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs real name servers")
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not installed: `make packages` installs it, `go test -short` leaves this test out", program)
		}
	}
}

// free finds a port below those that the kernel gives to outgoing connections, so that none of them takes it before the server.
func free(t testing.TB) string {
	t.Helper()
	for range 200 {
		tcp, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+mathrand.IntN(12000)))
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		tcp.Close()
		if err == nil {
			udp.Close()
			return tcp.Addr().String()
		}
	}
	t.Fatal("no port of loopback is free for both UDP and TCP")
	return ""
}

// zoneText is a zone with both servers, from the lines below its apex.
func zoneText(name string, lines ...string) string {
	return fmt.Sprintf("$TTL 3600\n$ORIGIN %s\n@ 3600 IN SOA ns1.gestore.it. hostmaster.%s 1 3600 600 86400 60\n%s\n", name, name, strings.Join(lines, "\n"))
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, dir: t.TempDir(), addresses: map[string]string{}, keys: map[string]Key{}, zones: map[string]string{}}
	for _, name := range []string{"site-a", "site-b", "third", "powerless"} {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret)
		key, err := NewKey(name, "hmac-sha256", secret)
		if err != nil {
			t.Fatal(err)
		}
		w.keys[name] = key
	}
	return w
}

// bothServers are the NS lines of a zone that primary and secondary serve.
const bothServers = "@ NS ns1.gestore.it.\n@ NS ns2.gestore.it."

// start brings up the root, the primary and, when asked, the secondary, for the zones given before.
func (w *world) start(secondary bool) {
	w.secondary = secondary
	ns := "@ NS ns1.gestore.it."
	if secondary {
		ns = bothServers
	}
	delegations := []string{"it. NS ns.root.", "ns.root. A " + rootAddress}
	it := []string{"@ NS ns.root."}
	for name, text := range w.zones {
		w.zones[name] = strings.ReplaceAll(text, "@SERVERS@", ns)
		it = append(it, strings.ReplaceAll(strings.ReplaceAll(ns, "@", name), "\n", "\n"))
	}
	it = append(it, "gestore.it. NS ns1.gestore.it.", "ns1.gestore.it. A "+primaryAddress, "ns2.gestore.it. A "+secondaryAddress)
	w.zones["gestore.it."] = zoneText("gestore.it.", "@ NS ns1.gestore.it.", "ns1 A "+primaryAddress, "ns2 A "+secondaryAddress, "mx-a A 198.51.100.1", "mx-b A 198.51.100.2",
		"mail A 198.51.100.1", "mail A 198.51.100.2", "imap CNAME mail", "alias CNAME mx-a")
	// The root's server must not hold "it." itself, or no referral would be seen.
	w.bind("root", rootAddress, map[string]string{".": "$TTL 3600\n. SOA ns.root. hostmaster.root. 1 3600 600 86400 60\n. NS ns.root.\n" + strings.Join(delegations, "\n") + "\n",
		"it.": zoneText("it.", it...)}, false)
	w.bind("primary", primaryAddress, w.zones, true)
	if secondary {
		w.nsd()
	}
}

func (w *world) write(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// policy is the text of docs/dns.md, for the domain and the key of a site.
func policy(key, domain string) string {
	return fmt.Sprintf("grant %s name %s MX; grant %s name %s TXT;", key, domain, key, OwnerName(domain))
}

func (w *world) bind(name, address string, zones map[string]string, updates bool) {
	listen := free(w.t)
	_, port, _ := net.SplitHostPort(listen)
	var conf strings.Builder
	fmt.Fprintf(&conf, `options { directory %q; listen-on port %s { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; dnssec-validation no; notify explicit;
 pid-file none; session-keyfile none; allow-transfer { 127.0.0.1; }; notify-delay 0; startup-notify-rate 100; serial-query-rate 100;
 transfers-out 1000; tcp-clients 1000; tcp-listen-queue 512; };
controls { };
`, w.dir, port)
	for _, key := range w.keys {
		fmt.Fprintf(&conf, "key %q { algorithm hmac-sha256; secret %q; };\n", key.name, key.secret)
	}
	for zone, text := range zones {
		file := w.write(name+"-"+zone+"zone", text)
		fmt.Fprintf(&conf, "zone %q { type primary; file %q;", zone, file)
		if updates {
			fmt.Fprintf(&conf, " update-policy { %s %s grant third. zonesub ANY; };", policy("site-a.", "pec."+zone), policy("site-b.", "pec."+zone))
		}
		if updates && w.secondary && !w.quiet {
			fmt.Fprintf(&conf, " also-notify { 127.0.0.1 port %s; };", w.port(secondaryAddress))
		}
		conf.WriteString(" };\n")
	}
	w.addresses[address] = listen
	w.run(name, listen, "named", "-g", "-n", "1", "-c", w.write(name+".conf", conf.String()))
	w.loaded(name, address, zones)
}

// port is the loopback port that an address stands for; the first question chooses it.
func (w *world) port(address string) string {
	w.lock.Lock()
	defer w.lock.Unlock()
	if w.addresses[address] == "" {
		w.addresses[address] = free(w.t)
	}
	_, port, _ := net.SplitHostPort(w.addresses[address])
	return port
}

func (w *world) nsd() {
	var conf strings.Builder
	fmt.Fprintf(&conf, `server:
  ip-address: 127.0.0.1@%s
  server-count: 1
  username: ""
  chroot: ""
  database: ""
  zonesdir: %q
  pidfile: ""
  zonelistfile: %q
  xfrdfile: %q
  xfrdir: %q
  xfrd-reload-timeout: 0
remote-control:
  control-enable: no
`, w.port(secondaryAddress), w.dir, filepath.Join(w.dir, "zone.list"), filepath.Join(w.dir, "xfrd.state"), w.dir)
	for zone := range w.zones {
		fmt.Fprintf(&conf, "zone:\n  name: %q\n  zonefile: %q\n  allow-notify: 127.0.0.1 NOKEY\n  request-xfr: AXFR 127.0.0.1@%s NOKEY\n", zone, "secondary-"+zone+"zone", w.port(primaryAddress))
	}
	w.run("secondary", w.addresses[secondaryAddress], "nsd", "-d", "-c", w.write("nsd.conf", conf.String()))
	w.loaded("secondary", secondaryAddress, w.zones)
}

// loaded waits until a server answers for every zone with authority: it listens before it has read them.
func (w *world) loaded(name, address string, zones map[string]string) {
	w.t.Helper()
	w.eventually("the "+name+" has every zone", func() bool {
		for zone := range zones {
			m := new(miekg.Msg)
			m.SetQuestion(zone, miekg.TypeSOA)
			answer, _, err := new(miekg.Client).Exchange(m, w.addresses[address])
			if err != nil || !answer.Authoritative {
				return false
			}
		}
		return true
	})
}

// run starts a server and waits until it answers; it ends with the test.
func (w *world) run(name, listen, program string, args ...string) {
	w.t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		w.t.Fatalf("starting %s: %v", program, err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if w.t.Failed() {
			w.t.Logf("%s said:\n%s", name, log.String())
		}
	})
	w.eventually(name+" answers", func() bool {
		conn, err := net.DialTimeout("tcp", listen, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	w.t.Fatalf("never came true: %s", what)
}

// dial leads the documentation addresses to loopback, and nothing anywhere else.
func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, _ := net.SplitHostPort(address)
	w.lock.Lock()
	listen, ok := w.addresses[host]
	if !ok {
		listen, ok = w.addresses[host+":"+port]
	}
	w.lock.Unlock()
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
	}
	return new(net.Dialer).DialContext(ctx, network, listen)
}

func (w *world) observer() *Observer {
	return &Observer{Roots: []netip.Addr{netip.MustParseAddr(rootAddress)}, Dial: w.dial, Timeout: time.Second}
}

func (w *world) backend(key string) *RFC2136 {
	return &RFC2136{Observer: w.observer(), Key: w.keys[key]}
}

// third is the administrator of the zone, or somebody in his place: an update without any prerequisite.
func (w *world) third(zone string, change func(*miekg.Msg)) {
	w.t.Helper()
	m := new(miekg.Msg)
	m.SetUpdate(zone)
	change(m)
	key := w.keys["third"]
	key.sign(m, time.Now().Unix())
	client := miekg.Client{Net: "tcp", TsigSecret: key.secrets()}
	answer, _, err := client.Exchange(m, w.addresses[primaryAddress])
	if err != nil || answer.Rcode != miekg.RcodeSuccess {
		w.t.Fatalf("the administrator's own update: %v %v", answer, err)
	}
}

// set makes the MX set of a name exactly this, as an administrator does.
func (w *world) set(zone, name string, set Set) {
	w.third(zone, func(m *miekg.Msg) {
		m.RemoveRRset([]miekg.RR{&miekg.MX{Hdr: header(name, miekg.TypeMX, 0)}})
		m.Insert(mxRecords(name, set, 3600))
	})
}

// sets is the primary's own answer: the MX set and the owner texts.
func (w *world) sets(name string) (Set, []string) {
	w.t.Helper()
	ask := func(name string, kind uint16) *miekg.Msg {
		m := new(miekg.Msg)
		m.SetQuestion(name, kind)
		answer, _, err := new(miekg.Client).Exchange(m, w.addresses[primaryAddress])
		if err != nil {
			w.t.Fatal(err)
		}
		return answer
	}
	set, _ := mxSet(ask(name, miekg.TypeMX), name)
	return set, texts(ask(OwnerName(name), miekg.TypeTXT), OwnerName(name))
}

// Fixtures that most tests share.
var (
	oursSet    = NewSet(MX{10, "mx-a.gestore.it"}, MX{20, "mx-b.gestore.it"})
	foreignSet = NewSet(MX{10, "mx.altro.example"})
	siteA      = Owner{Operator: "set-1", Object: "comune/pec.comune.example.it", Epoch: 1}
	noon       = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
)

func want() Desired { return Desired{Domain: domain, MX: oursSet, TTL: 3600, Owner: siteA} }
