package dns

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/pec-operator/pec-operator/internal/reach"
)

const mailHost = "mx.comune.example.it."

func TestRecordsBesideTheMX(t *testing.T) {
	_, leaf := certificate(t, bare(mailHost))
	_, stranger := certificate(t, "altro.example")
	digest := func(c *x509.Certificate) string {
		sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		return hex.EncodeToString(sum[:])
	}
	host := MailHost{Host: Host{Name: mailHost, Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.1")}},
		Certificates: map[netip.Addr][]*x509.Certificate{netip.MustParseAddr("198.51.100.1"): {leaf}}}
	everything := Extra{SPF: true, DMARC: true, MTASTS: true, TLSRPT: true, DANE: true}
	policy := atomic.Pointer[string]{}
	for name, c := range map[string]struct {
		records []string
		policy  string
		check   string
		want    Result
		says    string
	}{
		"no SPF":                            {check: "SPF", want: Absent},
		"SPF that lets the host send":       {records: []string{domain + ` TXT "v=spf1 a:mx.comune.example.it -all"`}, check: "SPF", want: Sound},
		"SPF through an include":            {records: []string{domain + ` TXT "v=spf1 include:_s.comune.example.it -all"`, `_s.comune.example.it. TXT "v=spf1 ip4:198.51.100.0/24 -all"`}, check: "SPF", want: Sound},
		"SPF that lets nobody send":         {records: []string{domain + ` TXT "v=spf1 -all"`}, check: "SPF", want: Faulty, says: "says fail for mx.comune.example.it"},
		"SPF twice":                         {records: []string{domain + ` TXT "v=spf1 mx -all"`, domain + ` TXT "v=spf1 ~all"`}, check: "SPF", want: Faulty, says: "more than one"},
		"SPF with a slip of the pen":        {records: []string{domain + ` TXT "v=spf1 ipv4:198.51.100.1 -all"`}, check: "SPF", want: Faulty, says: "permerror"},
		"another text is no SPF":            {records: []string{domain + ` TXT "v=spf10 -all"`}, check: "SPF", want: Absent},
		"no DMARC":                          {check: "DMARC", want: Absent},
		"DMARC of the domain":               {records: []string{"_dmarc." + domain + ` TXT "v=DMARC1; p=Reject"`}, check: "DMARC", want: Sound, says: "p=reject"},
		"DMARC of the organisation":         {records: []string{`_dmarc.example.it. TXT "v=DMARC1; p=none"`}, check: "DMARC", want: Absent}, // outside this zone
		"DMARC without policy":              {records: []string{"_dmarc." + domain + ` TXT "v=DMARC1; rua=mailto:a@b.it"`}, check: "DMARC", want: Faulty, says: "no policy"},
		"DMARC behind an alias":             {records: []string{"_dmarc." + domain + " CNAME d.comune.example.it.", `d.comune.example.it. TXT "v=DMARC1; p=none"`}, check: "DMARC", want: Sound},
		"TLS-RPT":                           {records: []string{"_smtp._tls." + domain + ` TXT "v=TLSRPTv1; rua=mailto:tls@comune.example.it"`}, check: "TLS-RPT", want: Sound},
		"TLS-RPT that reports nowhere":      {records: []string{"_smtp._tls." + domain + ` TXT "v=TLSRPTv1; rua=tls@comune.example.it"`}, check: "TLS-RPT", want: Faulty},
		"no MTA-STS":                        {check: "MTA-STS", want: Absent},
		"MTA-STS that lists the host":       {records: sts, policy: "version: STSv1\r\nmode: enforce\r\nmx: *.comune.example.it\r\nmax_age: 86400\r\n", check: "MTA-STS", want: Sound},
		"MTA-STS that leaves the host out":  {records: sts, policy: "version: STSv1\nmode: enforce\nmx: mx.altro.example\n", check: "MTA-STS", want: Faulty, says: "does not list"},
		"an asterisk stands for one label":  {records: sts, policy: "mode: enforce\nmx: *.example.it\n", check: "MTA-STS", want: Faulty},
		"MTA-STS that is switched off":      {records: sts, policy: "mode: none\n", check: "MTA-STS", want: Sound},
		"MTA-STS without a policy":          {records: sts, check: "MTA-STS", want: Faulty, says: "404"},
		"MTA-STS without a web server":      {records: sts[:1], check: "MTA-STS", want: Faulty, says: "no address"},
		"MTA-STS that leads inside":         {records: []string{sts[0], "mta-sts." + domain + " A 127.0.0.1"}, policy: "mode: none\n", check: "MTA-STS", want: Faulty, says: reach.ErrInside.Error()},
		"no CAA":                            {check: "CAA", want: Absent},
		"CAA of the zone":                   {records: []string{`comune.example.it. CAA 0 issue "ca.example"`}, check: "CAA", want: Sound, says: "ca.example"},
		"CAA that forbids every issuer":     {records: []string{`comune.example.it. CAA 0 issue ";"`}, check: "CAA", want: Faulty, says: "nobody"},
		"the nearest CAA counts":            {records: []string{`comune.example.it. CAA 0 issue ";"`, mailHost + ` CAA 0 issue "ca.example"`}, check: "CAA", want: Sound},
		"no TLSA":                           {check: "DANE", want: Absent},
		"TLSA in a zone that is not signed": {records: []string{"_25._tcp." + mailHost + " TLSA 3 1 1 " + digest(leaf)}, check: "DANE", want: Faulty, says: "not signed"},
		"a zone that is not signed":         {check: "DNSSEC", want: Absent},
	} {
		t.Run(name, func(t *testing.T) {
			w, web := extraWorld(t, &policy, c.records...)
			if c.policy != "" {
				policy.Store(&c.policy)
			} else {
				policy.Store(nil)
			}
			prober := &Prober{Observer: w.observer(), Web: &tls.Config{RootCAs: web}, MayRead: func(a netip.Addr) bool { return reach.May(a, nil) }}
			got := checkOf(t, prober.Check(t.Context(), everything, Observation{Domain: domain, Zone: zone}, []MailHost{host}), c.check)
			if got.Result != c.want || !strings.Contains(got.Message, c.says) {
				t.Errorf("got %+v", got)
			}
		})
	}

	t.Run("a signed zone", func(t *testing.T) {
		for name, c := range map[string]struct {
			until  time.Duration
			tlsa   string
			alter  bool
			dnssec Result
			dane   Result
		}{
			"all holds":                                    {until: time.Hour, tlsa: digest(leaf), dnssec: Sound, dane: Sound},
			"a TLSA record of another certificate":         {until: time.Hour, tlsa: digest(stranger), dnssec: Sound, dane: Faulty},
			"signatures that have expired":                 {until: -time.Minute, tlsa: digest(leaf), dnssec: Faulty, dane: Sound},
			"an MX set that was changed after its signing": {until: time.Hour, tlsa: digest(leaf), alter: true, dnssec: Faulty, dane: Sound},
		} {
			t.Run(name, func(t *testing.T) {
				w := signedWorld(t, c.until, c.alter, "_25._tcp."+mailHost+" TLSA 3 1 1 "+c.tlsa)
				prober := &Prober{Observer: w.observer()}
				checks := prober.Check(t.Context(), everything, Observation{Domain: domain, Zone: zone}, []MailHost{host})
				if got := checkOf(t, checks, "DNSSEC"); got.Result != c.dnssec {
					t.Errorf("got %+v", got)
				}
				if got := checkOf(t, checks, "DANE"); got.Result != c.dane {
					t.Errorf("got %+v", got)
				}
			})
		}
	})

	t.Run("nobody answers", func(t *testing.T) {
		w := faultyWorld(t, silence{}, silence{})
		o := w.observer()
		o.Timeout = 20 * time.Millisecond
		for _, c := range (&Prober{Observer: o}).Check(t.Context(), everything, Observation{Domain: domain, Zone: zone}, []MailHost{host}) {
			if c.Result != Doubtful && c.Name != "DNSSEC" { // the root answers that there is no DS
				t.Errorf("got %+v", c)
			}
		}
	})
}

var sts = []string{"_mta-sts." + domain + ` TXT "v=STSv1; id=1"`, "mta-sts." + domain + " A 198.51.100.7"}

func checkOf(t *testing.T, checks []Check, name string) Check {
	t.Helper()
	for _, c := range checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("%s was not looked at: %+v", name, checks)
	return Check{}
}

// extraWorld has a zone with the records of a case, a mail host, and the web server of a policy.
func extraWorld(t *testing.T, policy *atomic.Pointer[string], records ...string) (*world, *x509.CertPool) {
	t.Helper()
	lines := append([]string{zone + " NS ns1.gestore.it.", zone + " NS ns2.gestore.it.", mailHost + " A 198.51.100.1", domain + " MX 10 " + mailHost}, records...)
	served := data(t, zone, lines...)
	w := faultyWorld(t, served, served)
	pair, leaf := certificate(t, "mta-sts."+bare(domain))
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		text := policy.Load()
		if text == nil || r.URL.Path != "/.well-known/mta-sts.txt" {
			http.NotFound(rw, r)
			return
		}
		_, _ = rw.Write([]byte(*text))
	}))
	web.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	web.StartTLS()
	t.Cleanup(web.Close)
	w.addresses["198.51.100.7"], w.addresses["127.0.0.1"] = web.Listener.Addr().String(), web.Listener.Addr().String()
	return w, roots
}

// signedWorld is a zone that its parent vouches for, with signatures that last until then.
func signedWorld(t *testing.T, until time.Duration, alter bool, records ...string) *world {
	t.Helper()
	key := &miekg.DNSKEY{Hdr: header(zone, miekg.TypeDNSKEY, 3600), Flags: 257, Protocol: 3, Algorithm: miekg.ECDSAP256SHA256}
	private, err := key.Generate(256)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(set ...miekg.RR) *miekg.RRSIG {
		s := &miekg.RRSIG{Hdr: header(set[0].Header().Name, miekg.TypeRRSIG, 3600), Algorithm: key.Algorithm, KeyTag: key.KeyTag(), SignerName: zone,
			Inception: uint32(time.Now().Add(-2 * time.Hour).Unix()), Expiration: uint32(time.Now().Add(until).Unix())}
		if err := s.Sign(private.(crypto.Signer), set); err != nil {
			t.Fatal(err)
		}
		return s
	}
	mx := must(miekg.NewRR(domain + " 3600 MX 10 " + mailHost))
	signatures := map[uint16]*miekg.RRSIG{miekg.TypeDNSKEY: sign(key), miekg.TypeMX: sign(mx)}
	if alter {
		mx = must(miekg.NewRR(domain + " 3600 MX 10 mx.altro.example."))
	}
	lines := append([]string{zone + " NS ns1.gestore.it.", zone + " NS ns2.gestore.it.", mailHost + " A 198.51.100.1"}, records...)
	served := data(t, zone, lines...)
	served.records = append([]miekg.RR{key, mx}, served.records...)
	handler := miekg.HandlerFunc(func(rw miekg.ResponseWriter, q *miekg.Msg) {
		m := served.answer(q)
		if opt := q.IsEdns0(); opt != nil && opt.Do() && len(m.Answer) > 0 {
			if s := signatures[q.Question[0].Qtype]; s != nil {
				m.Answer = append(m.Answer, s)
			}
		}
		reply(rw, q, m)
	})
	w := faultyWorld(t, handler, handler)
	ns := []string{zone + " NS ns1.gestore.it.", zone + " NS ns2.gestore.it.", "gestore.it. NS ns1.gestore.it.", "gestore.it. NS ns2.gestore.it.",
		"ns1.gestore.it. A " + primaryAddress, "ns2.gestore.it. A " + secondaryAddress}
	w.serve(rootAddress, data(t, ".", append(ns, key.ToDS(miekg.SHA256).String())...))
	return w
}
