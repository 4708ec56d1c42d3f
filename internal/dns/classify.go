package dns

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// State is what a domain's MX is, as all its authoritative servers tell it.
type State string

const (
	// None: no MX at any server, and no owner.
	None State = "None"
	// Ours: exactly the wanted set, and no other operator's mark on it.
	Ours State = "Ours"
	// Foreign: every MX is somebody else's.
	Foreign State = "Foreign"
	// Hybrid: ours and others beside each other, which the rules of the certified list forbid.
	Hybrid State = "Hybrid"
	// Drifted: only hosts of ours, but not exactly the wanted set.
	Drifted State = "Drifted"
	// Missing: we wrote a set, and it is gone.
	Missing State = "Missing"
	// Conflict: the owner TXT is another operator's, or of a later epoch.
	Conflict State = "Conflict"
	// Alias: the name is an alias, lies under one, or a wildcard answers for it.
	Alias State = "Alias"
	// LameServer: a server answers without authority, or refuses.
	LameServer State = "Lame"
	// Unverifiable: a server does not answer, or two servers differ.
	Unverifiable State = "Unverifiable"
)

// Desired is what a domain's MX should be.
type Desired struct {
	Domain string
	MX     Set
	TTL    uint32
	// Owner is zero where this operator never had a key; a domain that fell back to VerifyOnly keeps it.
	Owner Owner
}

// Verdict is a state with its reason, and what all servers agree on.
type Verdict struct {
	State    State
	Sentence string
	Domain   string
	Zone     string
	Primary  string
	At       time.Time
	// Seen is what all servers agree on; nothing in Alias, Lame and Unverifiable.
	Seen Records
	// Owned says that the owner TXT is ours, in this epoch or an earlier one.
	Owned bool
	// Foreign says that some server, whatever the state, showed an MX that is not ours.
	Foreign bool
	// OldTTL and NegativeTTL are how long caches may keep what they hold.
	OldTTL, NegativeTTL time.Duration
}

// Records are the two sets that this operator writes together.
type Records struct {
	MX    Set
	TTL   uint32
	Owner string
}

// Definite says that the servers answered and agree: anything else never changes a mind.
func (s State) Definite() bool { return s != LameServer && s != Unverifiable }

// Classify names what the observations of one or both sites show. Every view counts: one server that is silent, lame or of
// another opinion makes the whole unverifiable, since a mail server somewhere asks just that one.
func Classify(want Desired, observations ...Observation) Verdict {
	verdict := Verdict{Domain: Name(want.Domain)}
	var views []View
	for _, o := range observations {
		verdict.Zone, verdict.Primary = o.Zone, o.Primary
		verdict.At = later(verdict.At, o.At)
		positive, negative := o.ttl()
		verdict.OldTTL, verdict.NegativeTTL = max(verdict.OldTTL, positive), max(verdict.NegativeTTL, negative)
		views = append(views, o.Views...)
	}
	verdict.Foreign = slices.ContainsFunc(views, func(v View) bool { return foreign(v, want) })
	if state, why := unsound(observations, views); state != "" {
		return verdict.is(state, "%s", why)
	}
	if first := views[0]; first.Alias != "" {
		return verdict.is(Alias, "%s is not a name of its own: %s; its MX cannot be kept there", verdict.Domain, first.Alias)
	}
	verdict.Seen = Records{MX: views[0].MX, TTL: uint32(verdict.OldTTL / time.Second)}
	if len(views[0].Owner) > 1 {
		return verdict.is(Conflict, "%s holds %d texts, and one set has one owner", OwnerName(want.Domain), len(views[0].Owner))
	}
	verdict.Seen.Owner = strings.Join(views[0].Owner, "")
	return verdict.judge(want)
}

// Elsewhere says that all servers agree on an MX set of which no host is ours, whoever else's mark is on it.
func (v Verdict) Elsewhere(want Desired) bool {
	return len(v.Seen.MX) > 0 && len(strangers(v.Seen, want)) == len(v.Seen.MX)
}

func (v Verdict) is(state State, format string, args ...any) Verdict {
	v.State, v.Sentence = state, fmt.Sprintf(format, args...)
	return v
}

// unsound is the state of observations that cannot be trusted, with the server and the reason.
func unsound(observations []Observation, views []View) (State, string) {
	for _, o := range observations {
		if o.Fault != "" {
			return faulty(o.Fault), fmt.Sprintf("the servers of %s were not found: %s", o.Domain, o.Detail)
		}
		if o.Zone != observations[0].Zone {
			return Unverifiable, fmt.Sprintf("one site sees %s in zone %s, the other in zone %s", o.Domain, observations[0].Zone, o.Zone)
		}
		if strings.Count(o.Zone, ".") < 2 && o.Zone != Name(o.Domain) {
			return Unverifiable, fmt.Sprintf("the nearest zone to %s is %q: the domain above it is not delegated, or not registered", o.Domain, o.Zone)
		}
		if len(o.Views) == 0 {
			return Unverifiable, fmt.Sprintf("no server of %s could be asked from this site", o.Domain)
		}
	}
	if len(views) == 0 {
		return Unverifiable, "nothing was observed yet"
	}
	for _, v := range views {
		if v.Fault != "" {
			return faulty(v.Fault), fmt.Sprintf("%s (%s): %s", v.Server, v.Address, v.Detail)
		}
	}
	for _, v := range views[1:] {
		if !v.says(views[0]) {
			return Unverifiable, disagreement(views[0], v)
		}
	}
	return "", ""
}

func faulty(f Fault) State {
	if f == Lame || f == Refused {
		return LameServer
	}
	return Unverifiable
}

// disagreement says how two servers differ, and which of them is behind when their serials tell.
func disagreement(a, b View) string {
	text := fmt.Sprintf("servers disagree: %s (%s) has %s, %s (%s) has %s", a.Server, a.Address, a.content(), b.Server, b.Address, b.content())
	switch {
	case older(a.Serial, b.Serial):
		return text + fmt.Sprintf("; %s is behind (serial %d, not %d): a zone transfer is under way or broken", a.Server, a.Serial, b.Serial)
	case older(b.Serial, a.Serial):
		return text + fmt.Sprintf("; %s is behind (serial %d, not %d): a zone transfer is under way or broken", b.Server, b.Serial, a.Serial)
	default:
		return text
	}
}

func (v View) content() string {
	if v.Alias != "" {
		return v.Alias
	}
	if len(v.Owner) == 0 {
		return v.MX.String() + " and no owner"
	}
	return v.MX.String() + " and owner " + strings.Join(v.Owner, " and ")
}

// older compares zone serials in their circle (RFC 1982 3.2).
func older(a, b uint32) bool { return a != b && int32(a-b) < 0 }

// judge names a state that all servers agree on. Whose the owner TXT is comes first, then whose the hosts are.
func (v Verdict) judge(want Desired) Verdict {
	exact := v.Seen.MX.Equal(want.MX) && len(want.MX) > 0
	verifying := want.Owner == Owner{}
	if verifying && exact {
		return v.is(Ours, "the MX set is exactly the one wanted: %s", want.MX)
	}
	if why := conflict(v.Seen.Owner, want); why != "" {
		return v.is(Conflict, "%s", why)
	}
	v.Owned = v.Seen.Owner != ""
	strangers := strangers(v.Seen, want)
	switch {
	case len(v.Seen.MX) == 0 && v.Owned:
		return v.is(Missing, "the owner TXT is ours and the MX set is gone: somebody removed it")
	case len(v.Seen.MX) == 0:
		return v.is(None, "no MX record at any server")
	case exact && v.Owned:
		return v.is(Ours, "the MX set is exactly the one wanted, and the owner is this operator: %s", want.MX)
	case exact:
		return v.is(Ours, "the MX set is exactly the one wanted, and nobody's mark is on it: %s", want.MX)
	case len(strangers) == 0:
		return v.is(Drifted, "the MX set is %s and should be %s", v.Seen.MX, want.MX)
	case len(strangers) < len(v.Seen.MX):
		return v.is(Hybrid, "beside ours the MX set has %s: other servers beside ours are not allowed, and the domain may leave the certified list", strangers)
	case v.Seen.MX.null():
		return v.is(Foreign, "the MX set is the null MX: the domain declares to take no mail")
	default:
		return v.is(Foreign, "the MX set is another provider's: %s", v.Seen.MX)
	}
}

// conflict says why an owner TXT is not this operator's to follow; empty when it is, or when there is none.
func conflict(text string, want Desired) string {
	owner, _, readable := parseOwner(text)
	switch {
	case text == "":
		return ""
	case !readable:
		return fmt.Sprintf("%s holds a text that is no operator's: %q", OwnerName(want.Domain), text)
	case !owner.same(want.Owner):
		return fmt.Sprintf("the owner is %s of operator %q, not this one", owner.Object, owner.Operator)
	case owner.Epoch > want.Owner.Epoch:
		return fmt.Sprintf("the owner's epoch is %d, this site's is %d: the other site has taken over", owner.Epoch, want.Owner.Epoch)
	default:
		return ""
	}
}

// strangers are the records that are neither wanted nor in a set that this operator wrote.
func strangers(seen Records, want Desired) Set {
	owner, hash, readable := parseOwner(seen.Owner)
	if readable && owner.same(want.Owner) && hash == seen.MX.Hash() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(seen.MX), func(m MX) bool { return want.MX.hosts(m.Host) })
}

// foreign says that a view, even one that ended in a fault, showed an MX that is not ours.
func foreign(v View, want Desired) bool {
	return len(strangers(Records{MX: v.MX, Owner: strings.Join(v.Owner, "")}, want)) > 0
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
