package dns

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	miekg "github.com/miekg/dns"
)

// payload is the UDP size offered: what crosses every path whole (DNS flag day 2020).
const payload = 1232

// server is one address of one name server.
type server struct {
	name    string
	address netip.Addr
}

// round is one observation: its context and what it may still spend. It is shared by the goroutines of the round.
type round struct {
	*Observer
	ctx   context.Context
	spent atomic.Int64
	// signed asks for signatures too (RFC 3225).
	signed bool
	// silent holds the addresses that gave no answer in this round: a walk asks them last.
	silent sync.Map
}

// failure is a fault with its detail; nil is an answer.
type failure struct {
	fault  Fault
	detail string
	// unrouted: the packet never left this site.
	unrouted bool
}

func fail(f Fault, format string, args ...any) *failure {
	return &failure{fault: f, detail: fmt.Sprintf(format, args...)}
}

// ask puts one question to one address without recursion, over UDP and again over TCP when the answer was cut short. A lost
// packet is asked for once more.
func (r *round) ask(s server, name string, kind uint16) (*miekg.Msg, *failure) {
	var failed *failure
	for range 2 {
		var answer *miekg.Msg
		answer, failed = r.exchange("udp", s, name, kind)
		if failed == nil && answer.Truncated {
			answer, failed = r.exchange("tcp", s, name, kind)
		}
		if failed == nil {
			return answer, judgeAnswer(answer, name, kind)
		}
		if failed.fault != Timeout {
			return nil, failed
		}
	}
	r.silent.Store(s.address, true)
	return nil, failed
}

// lively orders servers for a walk, which needs one answer and not all: those that were silent come last.
func (r *round) lively(servers []server) []server {
	var first, last []server
	for _, s := range servers {
		if _, silent := r.silent.Load(s.address); silent {
			last = append(last, s)
			continue
		}
		first = append(first, s)
	}
	return append(first, last...)
}

func (r *round) exchange(network string, s server, name string, kind uint16) (*miekg.Msg, *failure) {
	what := fmt.Sprintf("%s %s", name, miekg.TypeToString[kind])
	if r.spent.Add(1) > int64(r.maxQueries()) {
		return nil, fail(TooMuch, "asking %s: the round's %d queries are used up", what, r.maxQueries())
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.timeout())
	defer cancel()
	conn, err := r.dial(ctx, network, net.JoinHostPort(s.address.String(), "53"))
	if err != nil {
		return nil, networkFailure(what, network, err)
	}
	defer func() { _ = conn.Close() }()
	m := new(miekg.Msg)
	m.SetQuestion(name, kind)
	m.RecursionDesired = false
	m.SetEdns0(payload, r.signed)
	client := miekg.Client{Net: network, Timeout: r.timeout()}
	answer, _, err := client.ExchangeWithConnContext(ctx, m, &miekg.Conn{Conn: conn})
	if err != nil {
		return nil, networkFailure(what, network, err)
	}
	return answer, nil
}

func networkFailure(what, network string, err error) *failure {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		failed := fail(Unreachable, "asking %s: this site has no route there", what)
		failed.unrouted = true
		return failed
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fail(Timeout, "asking %s: no answer over %s", what, strings.ToUpper(network))
	case errors.As(err, new(*net.OpError)), errors.Is(err, context.Canceled):
		return fail(Unreachable, "asking %s: no connection over %s", what, strings.ToUpper(network))
	default:
		return fail(Malformed, "asking %s: the answer over %s cannot be read", what, strings.ToUpper(network))
	}
}

// judgeAnswer accepts an answer to exactly this question that says the name is there or is not.
func judgeAnswer(m *miekg.Msg, name string, kind uint16) *failure {
	what := fmt.Sprintf("%s %s", name, miekg.TypeToString[kind])
	switch {
	case !m.Response || len(m.Question) != 1 || Name(m.Question[0].Name) != name || m.Question[0].Qtype != kind:
		return fail(Malformed, "asking %s: the answer is to another question", what)
	case m.Rcode == miekg.RcodeRefused:
		return fail(Refused, "asking %s: refused", what)
	case m.Rcode == miekg.RcodeServerFailure:
		return fail(ServFail, "asking %s: the server failed (SERVFAIL); a secondary whose zone has expired says so", what)
	case m.Rcode == miekg.RcodeNotAuth:
		return fail(Lame, "asking %s: not the zone's server (NOTAUTH)", what)
	case m.Rcode != miekg.RcodeSuccess && m.Rcode != miekg.RcodeNameError:
		return fail(Malformed, "asking %s: %s", what, miekg.RcodeToString[m.Rcode])
	default:
		return nil
	}
}

// authoritative is ask, for servers that must have the zone themselves.
func (r *round) authoritative(s server, name string, kind uint16) (*miekg.Msg, *failure) {
	m, failed := r.ask(s, name, kind)
	if failed == nil && !m.Authoritative {
		return nil, fail(Lame, "asking %s %s: an answer without authority", name, miekg.TypeToString[kind])
	}
	return m, failed
}

// label is a name that nobody has.
func label() string {
	raw := make([]byte, 8)
	_, _ = rand.Read(raw)
	return "pec-probe-" + hex.EncodeToString(raw)
}

func (o *Observer) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

func (o *Observer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if o.Dial != nil {
		return o.Dial(ctx, network, address)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}
