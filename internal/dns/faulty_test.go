package dns

import (
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

// zoneData answers as an authoritative server does, from lines in zone-file form.
type zoneData struct {
	apex    string
	records []miekg.RR
}

func data(t *testing.T, apex string, lines ...string) zoneData {
	t.Helper()
	z := zoneData{apex: apex}
	lines = append(lines, apex+" 3600 IN SOA ns1.gestore.it. hostmaster.gestore.it. 7 3600 600 86400 60")
	for _, line := range lines {
		rr, err := miekg.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		z.records = append(z.records, rr)
	}
	return z
}

func (z zoneData) ServeDNS(w miekg.ResponseWriter, q *miekg.Msg) { reply(w, q, z.answer(q)) }

// reply cuts an answer to what UDP holds.
func reply(w miekg.ResponseWriter, q, m *miekg.Msg) {
	if opt := q.IsEdns0(); opt != nil && w.RemoteAddr().Network() == "udp" {
		m.Truncate(int(opt.UDPSize()))
	}
	_ = w.WriteMsg(m)
}

func (z zoneData) answer(q *miekg.Msg) *miekg.Msg {
	m := new(miekg.Msg)
	m.SetReply(q)
	name, kind := Name(q.Question[0].Name), q.Question[0].Qtype
	exists := false
	for _, rr := range z.records {
		owner := Name(rr.Header().Name)
		exists = exists || within(owner, name)
		switch {
		case rr.Header().Rrtype == miekg.TypeNS && owner != z.apex && within(name, owner) && (kind != miekg.TypeDS || name != owner):
			m.Ns = append(m.Ns, rr)
		case rr.Header().Rrtype == miekg.TypeDNAME && owner != name && within(name, owner):
			m.Answer = append(m.Answer, rr)
		case strings.HasPrefix(owner, "*.") && within(name, owner[2:]) && name != owner[2:] && rr.Header().Rrtype == kind:
			wild := miekg.Copy(rr)
			wild.Header().Name = name
			m.Answer = append(m.Answer, wild)
		case owner == name && (rr.Header().Rrtype == kind || rr.Header().Rrtype == miekg.TypeCNAME):
			m.Answer = append(m.Answer, rr)
		}
	}
	if len(m.Ns) > 0 { // a referral, with what glue there is
		for _, rr := range z.records {
			if rr.Header().Rrtype == miekg.TypeA {
				m.Extra = append(m.Extra, rr)
			}
		}
		return m
	}
	m.Authoritative = true
	if len(m.Answer) == 0 {
		m.Ns = []miekg.RR{z.records[len(z.records)-1]}
		if !exists {
			m.Rcode = miekg.RcodeNameError
		}
	}
	return m
}

// serve gives a handler an address of this world, over UDP and TCP.
func (w *world) serve(address string, h miekg.Handler) {
	w.t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, server := range []*miekg.Server{{Listener: tcp, Handler: h}, {PacketConn: udp, Handler: h}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started
		w.t.Cleanup(func() { _ = server.Shutdown() })
	}
	w.addresses[address] = tcp.Addr().String()
}

// faultyWorld has a root that delegates the comune's zone and the provider's to two servers; they are as given.
func faultyWorld(t *testing.T, first, second miekg.Handler) *world {
	w := newWorld(t)
	ns := func(zone string) []string {
		return []string{zone + " NS ns1.gestore.it.", zone + " NS ns2.gestore.it."}
	}
	glue := []string{"ns1.gestore.it. A " + primaryAddress, "ns2.gestore.it. A " + secondaryAddress}
	w.serve(rootAddress, data(t, ".", append(append(ns(zone), ns("gestore.it.")...), glue...)...))
	provider := data(t, "gestore.it.", append(ns("gestore.it."), glue...)...)
	for address, h := range map[string]miekg.Handler{primaryAddress: first, secondaryAddress: second} {
		w.serve(address, miekg.HandlerFunc(func(rw miekg.ResponseWriter, q *miekg.Msg) {
			if q.RecursionDesired {
				t.Errorf("asked to recurse for %s", q.Question[0].Name)
			}
			if within(Name(q.Question[0].Name), "gestore.it.") && !mute(h) {
				provider.ServeDNS(rw, q)
				return
			}
			h.ServeDNS(rw, q)
		}))
	}
	return w
}

// silence answers nothing at all, not even for the provider's own zone.
type silence struct{}

func (silence) ServeDNS(miekg.ResponseWriter, *miekg.Msg) {}

func mute(h miekg.Handler) bool { return h == miekg.Handler(silence{}) }

// whenAsked changes the answer to one kind of question about the domain.
func whenAsked(z zoneData, kind uint16, change func(n int64, m *miekg.Msg)) miekg.Handler {
	var times atomic.Int64
	return miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) {
		m := z.answer(q)
		if q.Question[0].Qtype == kind && Name(q.Question[0].Name) == domain {
			change(times.Add(1), m)
		}
		reply(w, q, m)
	})
}

func TestServersThatFail(t *testing.T) {
	ns := []string{zone + " NS ns1.gestore.it.", zone + " NS ns2.gestore.it."}
	with := func(lines ...string) zoneData { return data(t, zone, append(lines, ns...)...) }
	empty := with()
	silent := silence{}
	rcode := func(code int) miekg.Handler {
		return miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) { _ = w.WriteMsg(new(miekg.Msg).SetRcode(q, code)) })
	}
	mx := func(set Set) (lines []string) {
		for _, rr := range mxRecords(domain, set, 3600) {
			lines = append(lines, rr.String())
		}
		return lines
	}
	lagging := with(mx(oursSet)...)
	lagging.records[len(lagging.records)-1].(*miekg.SOA).Serial = 6
	crowd := make([]string, 0, 100)
	for i := range 100 {
		crowd = append(crowd, mx(NewSet(MX{uint16(i), "a-rather-long-name-of-a-mail-server.altro.example"}))...)
	}
	for name, c := range map[string]struct {
		first, second miekg.Handler
		want          State
		says          string
		foreign       bool
	}{
		"both are well":                {empty, empty, None, "no MX", false},
		"the first is silent":          {silent, with(mx(foreignSet)...), Unverifiable, "ns1.gestore.it. (192.0.2.2): asking", true},
		"one is silent":                {empty, silent, Unverifiable, "no answer", false},
		"both are silent":              {silent, silent, Unverifiable, "not found", false},
		"one refuses":                  {empty, rcode(miekg.RcodeRefused), LameServer, "refused", false},
		"one fails":                    {empty, rcode(miekg.RcodeServerFailure), Unverifiable, "SERVFAIL", false},
		"one answers NOTAUTH":          {empty, rcode(miekg.RcodeNotAuth), LameServer, "NOTAUTH", false},
		"one answers without AA":       {empty, whenAsked(empty, miekg.TypeMX, func(_ int64, m *miekg.Msg) { m.Authoritative = false }), LameServer, "without authority", false},
		"one refers upward":            {empty, data(t, ".", zone+" NS elsewhere.example."), LameServer, "without authority", false},
		"one is behind":                {empty, lagging, Unverifiable, "ns2.gestore.it. is behind (serial 6, not 7)", false},
		"one lies":                     {empty, with(mx(foreignSet)...), Unverifiable, "disagree", true},
		"one says NXDOMAIN at first":   {with(mx(foreignSet)...), whenAsked(with(mx(foreignSet)...), miekg.TypeMX, func(n int64, m *miekg.Msg) { nxdomain(n == 1, m) }), Unverifiable, "two answers", true},
		"both say NXDOMAIN at first":   {whenAsked(with(mx(foreignSet)...), miekg.TypeMX, func(n int64, m *miekg.Msg) { nxdomain(n == 1, m) }), whenAsked(with(mx(foreignSet)...), miekg.TypeMX, func(n int64, m *miekg.Msg) { nxdomain(n == 1, m) }), Unverifiable, "two answers", true},
		"the name is not, below it is": {with(OwnerName(domain) + " TXT x"), whenAsked(with(OwnerName(domain)+" TXT x"), miekg.TypeMX, func(_ int64, m *miekg.Msg) { nxdomain(true, m) }), Unverifiable, "said not to exist", false},
		"answers to another question":  {empty, whenAsked(empty, miekg.TypeMX, func(_ int64, m *miekg.Msg) { m.Question[0].Name = "other.example." }), Unverifiable, "another question", false},
		"the set needs TCP":            {with(crowd...), with(crowd...), Foreign, "99 a-rather-long", true},
		"a CNAME":                      {with(domain + " CNAME www." + zone), with(domain + " CNAME www." + zone), Alias, "CNAME of www", false},
		"a DNAME above":                {with(zone + " DNAME altrove.example."), with(zone + " DNAME altrove.example."), Alias, "DNAME at " + zone, false},
		"a wildcard beside":            {with("*." + zone + " MX 10 mx.altro.example."), with("*." + zone + " MX 10 mx.altro.example."), Alias, "wildcard answers below " + zone, true},
		"a wildcard below":             {with("*." + domain + " TXT x"), with("*." + domain + " TXT x"), Alias, "wildcard answers below " + domain, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := faultyWorld(t, c.first, c.second).observer()
			o.Timeout = 500 * time.Millisecond
			began := time.Now()
			seen := o.Observe(t.Context(), domain)
			if took := time.Since(began); took > 6*time.Second {
				t.Errorf("took %s: twelve times the timeout of one question", took)
			}
			v := Classify(want(), seen)
			if v.State != c.want || !strings.Contains(v.Sentence, c.says) || v.Foreign != c.foreign {
				t.Errorf("got %s (foreign %t): %s", v.State, v.Foreign, v.Sentence)
			}
			if d := Plan(v, want(), Policy{Mode: UpdateMode}); d.Do != nil && v.State != None {
				t.Errorf("would write: %+v", d.Do)
			}
			if seen.Queries == 0 || seen.Queries > 60 {
				t.Errorf("%d queries", seen.Queries)
			}
		})
	}
}

func nxdomain(yes bool, m *miekg.Msg) {
	if yes {
		m.Rcode, m.Answer = miekg.RcodeNameError, nil
	}
}

// A flock of delegations that lead nowhere costs a bounded number of queries.
func TestQueriesAndTimeAreBounded(t *testing.T) {
	w := newWorld(t)
	loop := data(t, ".", zone+" NS ns.a.example.", "a.example. NS ns.b.example.", "b.example. NS ns.a.example.")
	w.serve(rootAddress, loop)
	o := w.observer()
	if seen := o.Observe(t.Context(), domain); seen.Fault == "" || seen.Queries > 100 {
		t.Errorf("name servers that need each other: %+v", seen)
	}
	o.MaxQueries = 1
	if seen := o.Observe(t.Context(), domain); seen.Fault == "" || seen.Queries > 20 {
		t.Errorf("one query allowed: %+v", seen)
	}
	w.serve(rootAddress, miekg.HandlerFunc(func(miekg.ResponseWriter, *miekg.Msg) {}))
	o = w.observer()
	o.Whole = 300 * time.Millisecond
	began := time.Now()
	if seen := o.Observe(t.Context(), domain); seen.Fault != Timeout || time.Since(began) > time.Second {
		t.Errorf("a silent root for %s: %+v", time.Since(began), seen)
	}
}

// An IPv6 address of a server that this site has no route to is named, and does not hide what the others say.
func TestAddressWithoutRoute(t *testing.T) {
	z := data(t, zone, zone+" NS ns1.gestore.it.")
	w := newWorld(t)
	w.serve(rootAddress, data(t, ".", zone+" NS ns1.gestore.it.", "gestore.it. NS ns1.gestore.it.", "ns1.gestore.it. A "+primaryAddress))
	provider := data(t, "gestore.it.", "gestore.it. NS ns1.gestore.it.", "ns1.gestore.it. A "+primaryAddress, "ns1.gestore.it. AAAA 2001:db8::53")
	w.serve(primaryAddress, miekg.HandlerFunc(func(rw miekg.ResponseWriter, q *miekg.Msg) {
		if within(Name(q.Question[0].Name), "gestore.it.") {
			provider.ServeDNS(rw, q)
			return
		}
		z.ServeDNS(rw, q)
	}))
	seen := w.observer().Observe(t.Context(), domain)
	if len(seen.Unrouted) != 1 || seen.Unrouted[0] != "2001:db8::53" || Classify(want(), seen).State != None {
		t.Errorf("got %+v", seen)
	}
}

func TestRootsComeFromTheSystemsResolver(t *testing.T) {
	w := newWorld(t)
	w.serve("192.0.2.53", data(t, ".", ". NS a.root.", "a.root. A 192.0.2.1", "a.root. AAAA 2001:db8::1"))
	conf := w.write("resolv.conf", "nameserver 192.0.2.99\nnameserver 192.0.2.53\n")
	roots, err := w.observer().SystemRoots(t.Context(), conf)
	want := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	if err != nil || len(roots) != 2 || roots[0] != want[0] || roots[1] != want[1] {
		t.Errorf("got %v, %v", roots, err)
	}
	if _, err := w.observer().SystemRoots(t.Context(), w.write("empty.conf", "")); err == nil {
		t.Error("no resolver, and no error")
	}
}
