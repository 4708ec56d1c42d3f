package dns

import (
	"fmt"
	"time"
)

// Phase is where a cut-over stands.
type Phase string

const (
	// Lowering the TTL of the old set.
	Lowering Phase = "LowerTTL"
	// Draining: waiting until no cache holds the old set under its old TTL.
	Draining Phase = "WaitOldTTL"
	// Swapping the old set for the wanted one.
	Swapping Phase = "Swap"
	// Verifying the wanted set at every server, twice.
	Verifying Phase = "Verify"
	// Expiring: waiting until no cache holds the old set, or its absence.
	Expiring Phase = "WaitCaches"
	// Raising the TTL of the wanted set.
	Raising Phase = "RaiseTTL"
	// Done: the old host may stop taking mail.
	Done Phase = "Done"
)

// LowTTL is what a set's TTL is lowered to before it is swapped, in seconds.
const LowTTL = 300

// Cutover is a change of provider in progress: what must be remembered between rounds.
type Cutover struct {
	Phase Phase     `json:"phase"`
	Since time.Time `json:"since"`
	// Wait is how long the caches of the world hold what was there when the cut-over began: the longer of the old TTL and the
	// zone's negative TTL.
	Wait time.Duration `json:"wait"`
	// OldHostsUntil is until when the old hosts must go on taking mail; set by the swap.
	OldHostsUntil time.Time `json:"oldHostsUntil,omitzero"`
}

// Moment is what the next step is decided from.
type Moment struct {
	Now      time.Time
	Verdict  Verdict
	Want     Desired
	Takeover Takeover
	// WindowOpen says that the calendar allows the swap now.
	WindowOpen bool
	// Agreed says that both sites are live and hold the same manifest: taking the old MX away cannot be undone in the world's
	// caches, so it is never done during a partition.
	Agreed bool
	// Interval is how far apart two rounds must be to count as two.
	Interval time.Duration
}

// Step is what to do in a phase: a write, or the reason to wait and the moment until which.
type Step struct {
	Do       *Change
	Sentence string
	Until    time.Time
}

// Next moves a cut-over by at most one phase and says what the phase needs. The zero Cutover begins. It never moves on less than a
// definite state at every server, and every write in it is one that [Takeover] permits.
func (c Cutover) Next(m Moment) (Cutover, Step) {
	v := m.Verdict
	swapped := c.Phase == Verifying || c.Phase == Expiring || c.Phase == Raising
	switch {
	case !v.State.Definite():
		return c, Step{Sentence: v.Sentence}
	case swapped && v.State != Ours:
		return c.enter(Verifying, m.Now), Step{Sentence: "after the swap: " + v.Sentence}
	}
	switch c.Phase {
	case "":
		c.Wait = max(v.OldTTL, v.NegativeTTL)
		return c.enter(Lowering, m.Now), Step{Sentence: fmt.Sprintf("caches hold what is there now for %s", c.Wait)}
	case Lowering:
		return c.lower(m)
	case Draining:
		return c.wait(m.Now, c.Since.Add(c.Wait), Swapping, "caches still hold the old set under its old TTL")
	case Swapping:
		return c.swap(m)
	case Verifying:
		return c.wait(m.Now, c.Since.Add(m.Interval), Expiring, "seen once at every server; a second round must confirm it")
	case Expiring:
		return c.wait(m.Now, c.Since.Add(c.Wait), Raising, "caches may still hold the old set, or its absence")
	case Raising:
		return c.raise(m)
	default:
		return c, Step{Sentence: "the cut-over is done"}
	}
}

func (c Cutover) enter(p Phase, now time.Time) Cutover {
	c.Phase, c.Since = p, now
	return c
}

// wait passes to the next phase when its time has come.
func (c Cutover) wait(now, until time.Time, next Phase, why string) (Cutover, Step) {
	if now.Before(until) {
		return c, Step{Sentence: why, Until: until}
	}
	return c.enter(next, now), Step{}
}

// lower writes the old set with a low TTL: an update of a foreign set, hence only of the approved one.
func (c Cutover) lower(m Moment) (Cutover, Step) {
	v := m.Verdict
	switch {
	case v.State == Ours:
		return c.enter(Swapping, m.Now), Step{Sentence: "the wanted set is there already"}
	case len(v.Seen.MX) == 0:
		return c.enter(Swapping, m.Now), Step{Sentence: "there is no set whose TTL to lower"}
	case v.Seen.TTL <= LowTTL:
		return c.enter(Draining, m.Now), Step{}
	case !m.Takeover.permits(v.Seen.MX) || v.State == Conflict || v.State == Alias:
		return c, Step{Sentence: "the set that is there is not the approved one: " + v.Sentence}
	}
	return c, Step{Sentence: "lowering the TTL of the old set", Do: retime(v, LowTTL)}
}

// swap does what [Plan] decides, when the calendar and both sites let it.
func (c Cutover) swap(m Moment) (Cutover, Step) {
	decision := Plan(m.Verdict, m.Want, Policy{Mode: UpdateMode, Takeover: m.Takeover})
	switch {
	case m.Verdict.State == Ours && decision.Do == nil:
		c.OldHostsUntil = m.Now.Add(2 * c.Wait)
		return c.enter(Verifying, m.Now), Step{}
	case decision.Do == nil:
		return c, Step{Sentence: decision.Sentence}
	case !m.WindowOpen:
		return c, Step{Sentence: "the calendar's window is closed"}
	case !m.Agreed:
		return c, Step{Sentence: "the other site has not agreed: an old MX is not taken away during a partition"}
	}
	decision.Do.Will.TTL = LowTTL
	return c, Step{Do: decision.Do, Sentence: decision.Sentence}
}

// raise gives the wanted set its lasting TTL.
func (c Cutover) raise(m Moment) (Cutover, Step) {
	v := m.Verdict
	if v.Seen.TTL >= m.Want.TTL {
		return c.enter(Done, m.Now), Step{}
	}
	return c, Step{Do: retime(v, m.Want.TTL), Sentence: "raising the TTL of the wanted set"}
}

// retime writes what is there with another TTL. Prerequisites do not compare TTLs (RFC 2136 2.4), so it may be repeated.
func retime(v Verdict, ttl uint32) *Change {
	c := Change{Domain: v.Domain, Zone: v.Zone, Primary: v.Primary, Was: v.Seen, Will: v.Seen, Kind: Retiming}
	c.Will.TTL = ttl
	return &c
}
