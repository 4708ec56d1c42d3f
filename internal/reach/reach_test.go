package reach

import (
	"net/netip"
	"testing"
)

func TestWhereAConnectionMayGo(t *testing.T) {
	site := []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd00:20::/32")}
	for name, c := range map[string]struct {
		address string
		allowed []netip.Prefix
		want    bool
	}{
		"an address of the internet":                          {"8.8.4.4", nil, true},
		"one of version 6":                                    {"2606:4700::1111", nil, true},
		"this machine":                                        {"127.0.0.1", nil, false},
		"this machine, of version 6":                          {"::1", nil, false},
		"this machine, mapped":                                {"::ffff:127.0.0.1", nil, false},
		"a private network":                                   {"10.20.1.1", nil, false},
		"another":                                             {"192.168.1.1", nil, false},
		"a private network, of version 6":                     {"fd00:20::1", nil, false},
		"a private network, mapped":                           {"::ffff:10.20.1.1", nil, false},
		"a private network, translated":                       {"64:ff9b::a14:101", nil, false},
		"the cloud's word about this machine, which is local": {"169.254.169.254", nil, false},
		"a link":                                  {"fe80::1", nil, false},
		"a link, with its zone":                   {"fe80::1%eth0", nil, false},
		"pods of many a cluster":                  {"100.64.3.4", nil, false},
		"nowhere":                                 {"0.0.0.0", nil, false},
		"many at once":                            {"224.0.0.1", nil, false},
		"everybody":                               {"255.255.255.255", nil, false},
		"a private network that is allowed":       {"10.20.1.1", site, true},
		"the same, mapped":                        {"::ffff:10.20.1.1", site, true},
		"one of version 6 that is":                {"fd00:20::1", site, true},
		"a private network beside":                {"10.21.1.1", site, false},
		"the internet, where a network is listed": {"8.8.4.4", site, true},
	} {
		if got := May(netip.MustParseAddr(c.address), c.allowed); got != c.want {
			t.Errorf("%s (%s): %v", name, c.address, got)
		}
	}
}
