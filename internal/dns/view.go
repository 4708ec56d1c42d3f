package dns

import (
	"slices"
	"time"
)

// Fault is what a server did instead of answering with authority; empty when it did answer.
type Fault string

const (
	// Timeout: no answer in time.
	Timeout Fault = "Timeout"
	// Unreachable: the connection was refused or reset, or no route leads there.
	Unreachable Fault = "Unreachable"
	// Refused: the server declines to answer for this name.
	Refused Fault = "Refused"
	// ServFail: the server says that it failed; an expired secondary does.
	ServFail Fault = "ServFail"
	// Lame: the server answers without authority, although the zone is delegated to it.
	Lame Fault = "Lame"
	// Malformed: the answer is not one to the question, or contradicts itself.
	Malformed Fault = "Malformed"
	// NoAddress: the server's name leads to no address.
	NoAddress Fault = "NoAddress"
	// TooMuch: the round used up its queries before it came to this.
	TooMuch Fault = "TooMuch"
)

// View is what one address of one authoritative server answered.
type View struct {
	Server  string `json:"server"`
	Address string `json:"address,omitempty"`
	// Fault and Detail say why there is no answer; the fields below then mean nothing, but MX: what was seen before the fault.
	Fault  Fault  `json:"fault,omitempty"`
	Detail string `json:"detail,omitempty"`
	MX     Set    `json:"mx,omitempty"`
	TTL    uint32 `json:"ttl,omitempty"`
	// Owner holds the texts at the owner name.
	Owner []string `json:"owner,omitempty"`
	// Alias says that the name is not itself: a CNAME, under a DNAME, or the answer of a wildcard.
	Alias       string `json:"alias,omitempty"`
	Serial      uint32 `json:"serial,omitempty"`
	NegativeTTL uint32 `json:"negativeTTL,omitempty"`
}

// says compares what two views tell about the name. TTL and serial play no part: they differ for a moment after every change,
// and the serials of multi-master servers differ for ever.
func (v View) says(other View) bool {
	return v.MX.Equal(other.MX) && slices.Equal(v.Owner, other.Owner) && v.Alias == other.Alias
}

// Observation is one round over every address of every authoritative server of a domain, from one site.
type Observation struct {
	Domain string    `json:"domain"`
	At     time.Time `json:"at"`
	// Fault and Detail say why the zone's servers were not found; then there are no views.
	Fault  Fault  `json:"fault,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Zone is the zone that holds the domain: the domain itself when it is delegated.
	Zone string `json:"zone,omitempty"`
	// Primary is the server that the zone's SOA names.
	Primary string `json:"primary,omitempty"`
	// ParentNS and ChildNS are the zone's servers as the parent delegates to them, and as the zone lists them itself.
	// ParentNS is empty when one server holds both zones and never refers.
	ParentNS []string `json:"parentNS,omitempty"`
	ChildNS  []string `json:"childNS,omitempty"`
	Views    []View   `json:"views,omitempty"`
	// Unrouted are addresses that this site has no way to: an IPv6 address where there is no IPv6.
	Unrouted []string `json:"unrouted,omitempty"`
	Queries  int      `json:"queries"`
}

// ttl is the longest that a cache may keep the set, and negative the longest that one may keep its absence (RFC 2308 5).
func (o Observation) ttl() (positive, negative time.Duration) {
	for _, v := range o.Views {
		positive = max(positive, time.Duration(v.TTL)*time.Second)
		negative = max(negative, time.Duration(v.NegativeTTL)*time.Second)
	}
	return positive, negative
}
