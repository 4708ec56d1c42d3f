package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	miekg "github.com/miekg/dns"
)

// RFC2136 is the backend that writes by DNS UPDATE: over TCP, signed, always under prerequisites, MX and owner TXT in one
// transaction. The zone's primary is thereby the arbiter between the sites, and between them and everybody else.
type RFC2136 struct {
	Observer *Observer
	// Server is the primary, host:port; when empty, the server that the zone's SOA names.
	Server string
	Key    Key
	// Timeout bounds one update.
	Timeout time.Duration
}

var _ Backend = (*RFC2136)(nil)

// Observe looks at every authoritative server.
func (b *RFC2136) Observe(ctx context.Context, domain string) Observation {
	return b.Observer.Observe(ctx, domain)
}

// Claim writes to a free name.
func (b *RFC2136) Claim(ctx context.Context, c Change) error {
	if !c.free() {
		return fmt.Errorf("claiming %s: %w: the name was not seen free", c.Domain, ErrUnsafe)
	}
	return b.update(ctx, "claiming", c)
}

// Swap replaces what was seen.
func (b *RFC2136) Swap(ctx context.Context, c Change) error {
	if c.free() {
		return fmt.Errorf("swapping %s: %w: there was nothing to replace", c.Domain, ErrUnsafe)
	}
	return b.update(ctx, "swapping", c)
}

func (b *RFC2136) update(ctx context.Context, verb string, c Change) error {
	if err := c.safe(); err != nil {
		return fmt.Errorf("%s MX of %s: %w", verb, c.Domain, err)
	}
	if err := b.send(ctx, c); err != nil {
		return fmt.Errorf("%s MX of %s: %w", verb, c.Domain, err)
	}
	return nil
}

// message is the whole transaction. The prerequisites name every record that was seen, and that no alias stands there: an
// addition at an alias is ignored without a word (RFC 2136 3.4.2.2).
func (c Change) message() *miekg.Msg {
	m := new(miekg.Msg)
	m.SetUpdate(c.Zone)
	name, owner := Name(c.Domain), OwnerName(c.Domain)
	m.RRsetNotUsed([]miekg.RR{&miekg.CNAME{Hdr: header(name, miekg.TypeCNAME, 0)}})
	require(m, mxRecords(name, c.Was.MX, 0), header(name, miekg.TypeMX, 0))
	require(m, txtRecords(owner, c.Was.Owner, 0), header(owner, miekg.TypeTXT, 0))
	replace(m, header(name, miekg.TypeMX, 0), mxRecords(name, c.Will.MX, c.Will.TTL))
	if c.Will.Owner != "" || c.Kind == Releasing {
		replace(m, header(owner, miekg.TypeTXT, 0), txtRecords(owner, c.Will.Owner, c.Will.TTL))
	}
	return m
}

// require makes a prerequisite of exactly these records, or of none.
func require(m *miekg.Msg, records []miekg.RR, absent miekg.RR_Header) {
	if len(records) > 0 {
		m.Used(records)
		return
	}
	m.RRsetNotUsed([]miekg.RR{&miekg.ANY{Hdr: absent}})
}

func replace(m *miekg.Msg, old miekg.RR_Header, records []miekg.RR) {
	m.RemoveRRset([]miekg.RR{&miekg.ANY{Hdr: old}})
	m.Insert(records)
}

func header(name string, kind uint16, ttl uint32) miekg.RR_Header {
	return miekg.RR_Header{Name: name, Rrtype: kind, Class: miekg.ClassINET, Ttl: ttl}
}

func mxRecords(name string, set Set, ttl uint32) []miekg.RR {
	records := make([]miekg.RR, 0, len(set))
	for _, mx := range set {
		records = append(records, &miekg.MX{Hdr: header(name, miekg.TypeMX, ttl), Preference: mx.Preference, Mx: mx.Host})
	}
	return records
}

// txtRecords holds one text of at most 255 octets per string (RFC 1035 3.3.14).
func txtRecords(name, text string, ttl uint32) []miekg.RR {
	if text == "" {
		return nil
	}
	var parts []string
	for len(text) > 255 {
		parts, text = append(parts, text[:255]), text[255:]
	}
	return []miekg.RR{&miekg.TXT{Hdr: header(name, miekg.TypeTXT, ttl), Txt: append(parts, text)}}
}

// send makes one attempt with a message of its own, and names what the server said.
func (b *RFC2136) send(ctx context.Context, c Change) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(b.Timeout, 15*time.Second))
	defer cancel()
	server, err := b.primary(ctx, c)
	if err != nil {
		return err
	}
	conn, err := b.Observer.dial(ctx, "tcp", server)
	if err != nil {
		return fmt.Errorf("reaching primary %s: %w", server, err)
	}
	defer func() { _ = conn.Close() }()
	m := c.message()
	b.Key.sign(m, b.Observer.now().Unix())
	client := miekg.Client{Net: "tcp", Timeout: cmp.Or(b.Timeout, 15*time.Second), TsigSecret: b.Key.secrets()}
	answer, _, err := client.ExchangeWithConnContext(ctx, m, &miekg.Conn{Conn: conn})
	if err = b.verdict(answer, err, c.Zone); err != nil {
		return fmt.Errorf("updating zone %s at %s: %w", c.Zone, server, err)
	}
	return nil
}

func (b *RFC2136) primary(ctx context.Context, c Change) (string, error) {
	if b.Server != "" {
		return b.Server, nil
	}
	host := b.Observer.Host(ctx, c.Primary)
	if len(host.Addresses) == 0 {
		return "", fmt.Errorf("finding primary %s of zone %s: %s", c.Primary, c.Zone, host.Detail)
	}
	return net.JoinHostPort(host.Addresses[0].String(), "53"), nil
}

// verdict turns the answer into one of the named errors. An answer whose signature does not verify proves no success; what it
// says about a failure is believed, since believing it changes nothing.
func (b *RFC2136) verdict(answer *miekg.Msg, err error, zone string) error {
	if answer == nil {
		return err
	}
	signature := answer.IsTsig()
	if signature != nil && signature.Error != miekg.RcodeSuccess {
		return b.badSignature(signature)
	}
	switch {
	case errors.Is(err, miekg.ErrTime):
		return fmt.Errorf("%w: the server's answer is signed at a time too far from ours: check NTP here and there", ErrClock)
	case answer.Rcode == miekg.RcodeRefused:
		return fmt.Errorf("%w: key %s is refused; its update-policy must allow MX of the domain and TXT of its owner name, and an MX host inside the zone must have an address", ErrRights, b.Key)
	case answer.Rcode == miekg.RcodeNotAuth || answer.Rcode == miekg.RcodeNotZone || answer.Rcode == miekg.RcodeNotImplemented:
		return fmt.Errorf("%w: it answers %s for zone %s", ErrZone, miekg.RcodeToString[answer.Rcode], zone)
	case changed(answer.Rcode):
		return fmt.Errorf("%w: it answers %s", ErrChanged, miekg.RcodeToString[answer.Rcode])
	case err != nil:
		return err
	case answer.Rcode != miekg.RcodeSuccess:
		return fmt.Errorf("%w: it answers %s", ErrServer, miekg.RcodeToString[answer.Rcode])
	case signature == nil:
		return fmt.Errorf("%w: its answer is not signed, and proves nothing", ErrServer)
	default:
		return nil
	}
}

func (b *RFC2136) badSignature(signature *miekg.TSIG) error {
	if signature.Error == miekg.RcodeBadTime {
		return fmt.Errorf("%w: the server refuses the time of the signature (BADTIME)%s: check NTP here and there, the key is right", ErrClock, skew(signature))
	}
	return fmt.Errorf("%w: %s for key %s: check its name, algorithm and secret at both ends", ErrKey, miekg.RcodeToString[int(signature.Error)], b.Key)
}

// skew says how far apart the clocks are: a BADTIME answer carries the server's time (RFC 8945 5.2.3).
func skew(signature *miekg.TSIG) string {
	server, err := strconv.ParseUint(signature.OtherData, 16, 48)
	if err != nil {
		return ""
	}
	apart := time.Duration(int64(server)-int64(signature.TimeSigned)) * time.Second //nolint:gosec // 48-bit seconds
	return fmt.Sprintf(", its clock is %s from ours", apart)
}

// changed are the answers to a prerequisite that does not hold (RFC 2136 3.2.5).
func changed(rcode int) bool {
	switch rcode {
	case miekg.RcodeYXDomain, miekg.RcodeYXRrset, miekg.RcodeNXRrset, miekg.RcodeNameError:
		return true
	default:
		return false
	}
}
