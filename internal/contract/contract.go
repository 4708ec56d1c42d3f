package contract

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/calendar"
)

// Type is the use that a mailbox is contracted for.
type Type string

// The types of a mailbox.
const (
	Standard Type = "Standard"
	Massive  Type = "Massive"
)

// Terms are the numbers of a contract, or of the part of it that one domain may draw; nil is without limit.
type Terms struct {
	Standard, Massive, Bytes *int64
}

func (t Terms) of(l Limit) *int64 {
	switch l {
	case StandardMailboxes:
		return t.Standard
	case MassiveMailboxes:
		return t.Massive
	}
	return t.Bytes
}

// Contract is what all claims together may draw.
type Contract struct {
	Reference string
	Terms
	// Parts are the most that single domains may draw of it.
	Parts map[string]Terms
	// Ended says that its last day is over: nothing more is admitted.
	Ended bool
	// Granted are the addresses, in lower case, that may be Massive.
	Granted map[string]bool
}

// Holding is what a mailbox has, or wants.
type Holding struct {
	Type  Type
	Bytes int64
}

// Claim is one mailbox of a contract.
type Claim struct {
	Address, Domain string
	RequestedAt     time.Time
	// Wants is what the resource asks for; nil when there is no resource any more.
	Wants *Holding
	// Has is what is provisioned; nil when nothing is.
	Has *Holding
}

// Limit is what keeps a claim from being admitted.
type Limit string

// The limits of a contract.
const (
	StandardMailboxes Limit = "StandardMailboxes"
	MassiveMailboxes  Limit = "MassiveMailboxes"
	Storage           Limit = "Storage"
	Validity          Limit = "Validity"
	Grant             Limit = "Grant"
)

func mailboxesOf(t Type) Limit {
	if t == Massive {
		return MassiveMailboxes
	}
	return StandardMailboxes
}

// Decision is the answer to one claim.
type Decision struct {
	Admitted bool
	// Wants is what was asked for.
	Wants Holding
	// Limit is what the claim is held by; "" when it is admitted.
	Limit Limit
	// Part is the domain whose part is used up; "" when it is the contract itself.
	Part string
	// Place is the claim's place among those that wait for the same, from 1; 0 when it does not wait for room.
	Place int
	// Near says that there is hardly room for all open claims, so that one which is not known here yet may decide.
	Near bool
}

// Tally is what a contract, or a part of it, comes to.
type Tally struct {
	Standard, Massive, Bytes int64
	// Closed are the mailboxes among them whose resource is gone.
	Closed int64
	// Held are the claims that wait.
	Held int64
}

// add counts a holding, or takes it away with sign -1.
func (t *Tally) add(h Holding, sign int64) {
	if h.Type == Massive {
		t.Massive += sign
	} else {
		t.Standard += sign
	}
	t.Bytes += sign * h.Bytes
}

func (t *Tally) of(l Limit) int64 {
	switch l {
	case StandardMailboxes:
		return t.Standard
	case MassiveMailboxes:
		return t.Massive
	}
	return t.Bytes
}

// Over are the limits that more is provisioned of than the terms allow.
func (t *Tally) Over(terms Terms) []Limit {
	var out []Limit
	for _, l := range []Limit{StandardMailboxes, MassiveMailboxes, Storage} {
		if limit := terms.of(l); limit != nil && t.of(l) > *limit {
			out = append(out, l)
		}
	}
	return out
}

// Outcome is the answer to all claims of a contract.
type Outcome struct {
	Decisions map[string]Decision // by address, of the claims that want something
	Total     Tally
	Domains   map[string]*Tally
}

// Decide answers all claims of a contract.
func Decide(c Contract, claims []Claim) Outcome {
	o := Outcome{Decisions: make(map[string]Decision, len(claims)), Domains: map[string]*Tally{}}
	open := make([]Claim, 0, len(claims))
	for _, claim := range claims {
		if o.Domains[claim.Domain] == nil {
			o.Domains[claim.Domain] = &Tally{}
		}
		switch {
		case claim.Wants == nil && claim.Has == nil:
		case claim.Wants == nil:
			o.count(claim.Domain, *claim.Has, 1)
			o.Total.Closed++
			o.Domains[claim.Domain].Closed++
		case claim.Has != nil && claim.Wants.Type == claim.Has.Type && claim.Wants.Bytes <= claim.Has.Bytes:
			o.count(claim.Domain, *claim.Wants, 1)
			o.Decisions[claim.Address] = Decision{Admitted: true, Wants: *claim.Wants}
		default:
			if claim.Has != nil {
				o.count(claim.Domain, *claim.Has, 1)
			}
			open = append(open, claim)
		}
	}
	slices.SortFunc(open, func(a, b Claim) int {
		return cmp.Or(a.RequestedAt.Compare(b.RequestedAt), strings.Compare(a.Address, b.Address))
	})
	places := map[queue]int{}
	for _, claim := range open {
		o.Decisions[claim.Address] = o.judge(c, claim, places)
	}
	for _, claim := range open {
		d := o.Decisions[claim.Address]
		d.Near = !d.Admitted || o.near(c, claim, int64(len(open)))
		o.Decisions[claim.Address] = d
	}
	return o
}

// spare is how many more claims like one there must be room for, at least, once the open ones are decided: else the one is near a limit.
const spare = 10

// near says whether one of an admitted claim's limits has no room for as many more like it as are open now, and for spare of them where
// fewer are: then it may matter which of the claims that come together is seen first.
func (o *Outcome) near(c Contract, claim Claim, open int64) bool {
	more := max(open, spare)
	for l, each := range map[Limit]int64{mailboxesOf(claim.Wants.Type): 1, Storage: claim.Wants.Bytes} {
		if !fits(o.Total.of(l), more*each, c.of(l)) || !fits(o.Domains[claim.Domain].of(l), more*each, c.Parts[claim.Domain].of(l)) {
			return true
		}
	}
	return false
}

func (o *Outcome) count(domain string, h Holding, sign int64) {
	o.Total.add(h, sign)
	o.Domains[domain].add(h, sign)
}

// queue is what claims wait for: room under one limit, of the contract or of one domain's part.
type queue struct {
	limit Limit
	part  string
}

// judge answers one claim, given everything that is provisioned, those who asked before, and how many wait in each queue. What it has makes
// room for what it wants.
func (o *Outcome) judge(c Contract, claim Claim, places map[queue]int) Decision {
	if claim.Has != nil {
		o.count(claim.Domain, *claim.Has, -1)
	}
	d := Decision{Wants: *claim.Wants}
	d.Limit, d.Part = o.limit(c, claim)
	if d.Limit == "" {
		d.Admitted = true
		o.count(claim.Domain, *claim.Wants, 1)
		return d
	}
	if claim.Has != nil {
		o.count(claim.Domain, *claim.Has, 1)
	}
	o.Total.Held++
	o.Domains[claim.Domain].Held++
	if d.Limit != Validity && d.Limit != Grant {
		in := queue{d.Limit, d.Part}
		places[in]++
		d.Place = places[in]
	}
	return d
}

// limit is the first limit that a claim meets, and the domain whose part it is of.
func (o *Outcome) limit(c Contract, claim Claim) (Limit, string) {
	kind := mailboxesOf(claim.Wants.Type)
	switch {
	case c.Ended:
		return Validity, ""
	case kind == MassiveMailboxes && !c.Granted[strings.ToLower(claim.Address)]:
		return Grant, ""
	}
	// Of what it wants, only what it does not have yet needs room: a contract that shrank does not take a quota away from
	// whoever changes something else.
	needs := map[Limit]int64{}
	if claim.Has == nil || claim.Has.Type != claim.Wants.Type {
		needs[kind] = 1
	}
	if claim.Has == nil || claim.Wants.Bytes > claim.Has.Bytes {
		needs[Storage] = claim.Wants.Bytes
	}
	for _, l := range []Limit{kind, Storage} {
		if needs[l] == 0 {
			continue
		}
		if !fits(o.Total.of(l), needs[l], c.of(l)) {
			return l, ""
		}
		if !fits(o.Domains[claim.Domain].of(l), needs[l], c.Parts[claim.Domain].of(l)) {
			return l, claim.Domain
		}
	}
	return "", ""
}

func fits(used, more int64, limit *int64) bool { return limit == nil || used+more <= *limit }

// Ended says whether a contract whose last day is until, like 2027-12-31, is over: its last day ends at midnight in Rome.
func Ended(until string, now time.Time) bool { return until != "" && calendar.Day(now) > until }
