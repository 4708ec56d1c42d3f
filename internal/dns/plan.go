package dns

import (
	"fmt"
	"strings"
	"unicode"
)

// Mode is what the operator may do about a domain's records.
type Mode string

const (
	// VerifyOnly looks and asks; it is the default, and what a broken credential falls back to.
	VerifyOnly Mode = "VerifyOnly"
	// UpdateMode writes by DNS UPDATE.
	UpdateMode Mode = "RFC2136"
	// Off does nothing at all.
	Off Mode = "Off"
)

// Takeover is the permission to replace one exact foreign set. The zero Takeover permits nothing.
type Takeover struct {
	// Expected is the whole set that may be replaced.
	Expected Set
	// ApprovedBy names the person and the protocol number of the approval.
	ApprovedBy string
}

// permits says that a set is exactly the one whose replacement was approved under a protocol number.
func (t Takeover) permits(seen Set) bool {
	return len(t.Expected) > 0 && t.Expected.Equal(seen) && strings.ContainsFunc(t.ApprovedBy, unicode.IsDigit)
}

// Policy is what the plan may do.
type Policy struct {
	Mode     Mode
	Takeover Takeover
}

// Change is one write and everything that must still be true when it is carried out. There is no other way to write: each
// backend turns Was into prerequisites (RFC 2136 2.4), so a name that has changed since it was seen stays as it is.
type Change struct {
	Domain, Zone, Primary string
	Was, Will             Records
	Kind                  Kind
}

// Kind is what a change is for; the write budget counts by it.
type Kind string

const (
	// Claiming a free name.
	Claiming Kind = "Claim"
	// Adopting a set that is exact already, or raising the epoch on it: the MX records stay.
	Adopting Kind = "Adopt"
	// Restoring what drifted.
	Restoring Kind = "Restore"
	// Reviving what somebody removed.
	Reviving Kind = "Revive"
	// TakingOver an approved foreign set.
	TakingOver Kind = "TakeOver"
	// Releasing takes our own records away when the domain is given up.
	Releasing Kind = "Release"
	// Retiming changes the TTL of a set and nothing else.
	Retiming Kind = "Retime"
)

// Outcome is how a decision counts for who waits for it.
type Outcome string

const (
	Ready       Outcome = "Ready"
	Reconciling Outcome = "Reconciling"
	Stalled     Outcome = "Stalled"
	Unknown     Outcome = "Unknown"
)

// Decision is what to do about a domain now: at most one write, or a request that a person carries out, or neither.
type Decision struct {
	Outcome  Outcome
	Reason   string
	Sentence string
	// Do is the write; nil when nothing is to be written.
	Do *Change
	// Ask says that the record request is to be shown.
	Ask bool
}

// Plan decides. A foreign MX is never part of a write, unless its exact set was approved.
func Plan(v Verdict, want Desired, p Policy) Decision {
	switch {
	case p.Mode == Off:
		return Decision{Outcome: Ready, Reason: "DNSOff", Sentence: "the domain's records are looked after elsewhere"}
	case len(want.MX) == 0:
		return Decision{Outcome: Stalled, Reason: "NoMailHosts", Sentence: "no mail host is wanted, and a domain without MX takes no mail: give the hosts"}
	case !v.State.Definite():
		return Decision{Outcome: Unknown, Reason: string(v.State), Sentence: v.Sentence}
	}
	approved := p.Takeover.permits(v.Seen.MX) && (v.State == Foreign || v.State == Hybrid || v.State == Drifted)
	if p.Mode == UpdateMode && (want.Owner != Owner{}) {
		return planUpdate(v, want, p.Takeover, approved)
	}
	return planRequest(v, approved)
}

// planRequest decides where the operator cannot write: what is right is Ready, and the rest is asked for.
func planRequest(v Verdict, approved bool) Decision {
	switch {
	case v.State == Ours:
		return Decision{Outcome: Ready, Reason: string(Ours), Sentence: v.Sentence}
	case askable(v.State) || approved:
		return Decision{Outcome: Stalled, Reason: "RecordRequested", Sentence: v.Sentence + ": the records are requested from who runs the zone", Ask: true}
	default:
		return stop(v)
	}
}

// planUpdate decides where the operator may write.
func planUpdate(v Verdict, want Desired, t Takeover, approved bool) Decision {
	owner, _, _ := parseOwner(v.Seen.Owner)
	switch {
	case approved:
		return write(v, want, TakingOver, fmt.Sprintf("replacing %s, as approved by %s", v.Seen.MX, t.ApprovedBy))
	case v.State == None:
		return write(v, want, Claiming, "claiming a free name")
	case v.State == Missing:
		return write(v, want, Reviving, v.Sentence)
	case v.State == Drifted && v.Owned:
		return write(v, want, Restoring, v.Sentence)
	case v.State == Ours && !v.Owned:
		return write(v, want, Adopting, "marking a set that is exact already")
	case v.State == Ours && owner.Epoch < want.Owner.Epoch:
		return write(v, want, Adopting, fmt.Sprintf("raising the epoch from %d to %d", owner.Epoch, want.Owner.Epoch))
	default:
		return planRequest(v, false)
	}
}

func write(v Verdict, want Desired, kind Kind, why string) Decision {
	change := Change{Domain: v.Domain, Zone: v.Zone, Primary: v.Primary, Was: v.Seen, Kind: kind}
	change.Will = Records{MX: want.MX, TTL: want.TTL, Owner: want.Owner.Text(want.MX)}
	if kind == Adopting {
		change.Will.TTL = v.Seen.TTL
	}
	return Decision{Outcome: Reconciling, Reason: string(kind), Sentence: why, Do: &change}
}

// Release decides about the records of a domain that is given up with RemoveIfOurs: they are removed only where the set is exactly
// ours under our own mark, and only when both sites agreed, since no cache in the world can be told to take an MX back.
func Release(v Verdict, want Desired, agreed bool) Decision {
	switch {
	case !v.State.Definite():
		return Decision{Outcome: Unknown, Reason: string(v.State), Sentence: v.Sentence}
	case v.State != Ours || !v.Owned || want.Owner == Owner{}:
		return Decision{Outcome: Ready, Reason: "RecordsLeft", Sentence: "the records stay as they are: " + v.Sentence}
	case !agreed:
		return Decision{Outcome: Unknown, Reason: "PeerMustAgree", Sentence: "the other site has not agreed: an MX is not removed during a partition"}
	}
	change := Change{Domain: v.Domain, Zone: v.Zone, Primary: v.Primary, Was: v.Seen, Kind: Releasing}
	return Decision{Outcome: Reconciling, Reason: string(Releasing), Sentence: "removing our own set and mark", Do: &change}
}

// stop is the decision of a state in which only a person can go on. It is meant to be seen: the request holds the warning.
func stop(v Verdict) Decision {
	reason := map[State]string{Foreign: "ForeignMX", Hybrid: "HybridMX", Conflict: "OwnedByOther", Alias: "Alias"}[v.State]
	return Decision{Outcome: Stalled, Reason: reason, Sentence: v.Sentence, Ask: true}
}

// askable are the states in which the wanted records may be asked for without touching anybody's mail.
func askable(s State) bool { return s == None || s == Missing || s == Drifted }
