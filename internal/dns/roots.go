package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	miekg "github.com/miekg/dns"
)

// SystemRoots asks the system's resolvers, as a resolv.conf names them, for the servers of the root: the one question that is
// put to a resolver. Where a private root is in use, its resolvers answer with it.
func (o *Observer) SystemRoots(ctx context.Context, resolvConf string) ([]netip.Addr, error) {
	config, err := miekg.ClientConfigFromFile(resolvConf)
	if err != nil {
		return nil, fmt.Errorf("reading resolvers from %s: %w", resolvConf, err)
	}
	failure := fmt.Errorf("%s names no resolver", resolvConf)
	for _, resolver := range config.Servers {
		address := net.JoinHostPort(resolver, config.Port)
		var roots []netip.Addr
		if roots, failure = o.rootsFrom(ctx, address); failure == nil {
			return roots, nil
		}
	}
	return nil, fmt.Errorf("finding the root's servers: %w", failure)
}

func (o *Observer) rootsFrom(ctx context.Context, resolver string) ([]netip.Addr, error) {
	names, err := o.recursive(ctx, resolver, ".", miekg.TypeNS)
	if err != nil {
		return nil, err
	}
	var roots []netip.Addr
	for _, rr := range names {
		ns, ok := rr.(*miekg.NS)
		if !ok {
			continue
		}
		for _, kind := range []uint16{miekg.TypeA, miekg.TypeAAAA} {
			answers, err := o.recursive(ctx, resolver, Name(ns.Ns), kind)
			if err != nil {
				return nil, err
			}
			for _, answer := range answers {
				if address, ok := addressOf(answer); ok {
					roots = append(roots, address)
				}
			}
		}
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("resolver %s knows no address of a root server", resolver)
	}
	return roots, nil
}

// recursive asks a resolver over TCP: the answer steers everything after it, and TCP is harder to forge than UDP.
func (o *Observer) recursive(ctx context.Context, resolver, name string, kind uint16) ([]miekg.RR, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout())
	defer cancel()
	conn, err := o.dial(ctx, "tcp", resolver)
	if err != nil {
		return nil, fmt.Errorf("reaching resolver %s: %w", resolver, err)
	}
	defer func() { _ = conn.Close() }()
	m := new(miekg.Msg)
	m.SetQuestion(name, kind)
	client := miekg.Client{Net: "tcp", Timeout: o.timeout()}
	answer, _, err := client.ExchangeWithConnContext(ctx, m, &miekg.Conn{Conn: conn})
	if err != nil {
		return nil, fmt.Errorf("asking resolver %s for %s %s: %w", resolver, name, miekg.TypeToString[kind], err)
	}
	if answer.Rcode != miekg.RcodeSuccess {
		return nil, fmt.Errorf("asking resolver %s for %s %s: %s", resolver, name, miekg.TypeToString[kind], miekg.RcodeToString[answer.Rcode])
	}
	return answer.Answer, nil
}
