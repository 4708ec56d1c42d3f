package dns

import (
	"fmt"
	"time"
)

const day = 24 * time.Hour

// Limits bound how much this operator writes, so that a bad template cannot move a whole region, nor two automata fight.
type Limits struct {
	// Pause is the least time between two writes to one domain.
	Pause time.Duration
	// Restores and Revivals are how often per day a drifted or a removed set is put back before a person is asked.
	Restores, Revivals int
	// Share is the part of all domains that may change per day, and Floor the number that may in any case.
	Share float64
	Floor int
}

// DefaultLimits: one write an hour per domain, three restores and one revival a day, 30 % of the domains and never fewer than ten.
var DefaultLimits = Limits{Pause: time.Hour, Restores: 3, Revivals: 1, Share: 0.3, Floor: 10}

// Write is a line of the ledger: a write that was tried, whether or not the server took it.
type Write struct {
	Domain string    `json:"domain"`
	Kind   Kind      `json:"kind"`
	At     time.Time `json:"at"`
}

// Ledger holds the writes of the last day over all domains.
type Ledger []Write

// Since drops what is too old to count.
func (l Ledger) Since(now time.Time) Ledger {
	var kept Ledger
	for _, w := range l {
		if now.Sub(w.At) < day {
			kept = append(kept, w)
		}
	}
	return kept
}

// Refusal says why a write must wait, and until when; a zero Until waits for a person.
type Refusal struct {
	Sentence string
	Until    time.Time
}

// Allow judges a planned write against the ledger; nil allows it. all is the number of domains that this operator keeps.
func (l Limits) Allow(ledger Ledger, c Change, all int, now time.Time) *Refusal {
	var last time.Time
	kinds := map[Kind]int{}
	domains := map[string]time.Time{}
	for _, w := range ledger.Since(now) {
		domains[w.Domain] = later(domains[w.Domain], w.At)
		if w.Domain == c.Domain {
			last = later(last, w.At)
			kinds[w.Kind]++
		}
	}
	if until := last.Add(l.Pause); !last.IsZero() && now.Before(until) {
		return &Refusal{Sentence: fmt.Sprintf("%s was written at %s, the next write waits %s", c.Domain, last.Format(time.RFC3339), l.Pause), Until: until}
	}
	for kind, most := range map[Kind]int{Restoring: l.Restores, Reviving: l.Revivals} {
		if c.Kind == kind && kinds[kind] >= most {
			return &Refusal{Sentence: fmt.Sprintf("the MX of %s was put back %d times in a day and changed again: find out who changes it", c.Domain, kinds[kind])}
		}
	}
	_, counted := domains[c.Domain]
	if most := max(l.Floor, int(l.Share*float64(all))); !counted && len(domains) >= most {
		return &Refusal{Sentence: fmt.Sprintf("%d of %d domains were written within a day, which is the most: approve more, or wait", len(domains), all), Until: oldest(domains).Add(day)}
	}
	return nil
}

func oldest(times map[string]time.Time) time.Time {
	var first time.Time
	for _, at := range times {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}
