package dns

import "time"

// patience is how many intervals without a definite answer a settled state outlives.
const patience = 3

// Pace is how often a domain is looked at.
type Pace struct {
	// Interval is that of the regular rounds: a day.
	Interval time.Duration
	// Confirm is how far apart two rounds must be to count as two.
	Confirm time.Duration
}

// Settled is what a domain's state is held to be, across rounds.
type Settled struct {
	State    State     `json:"state,omitempty"`
	Sentence string    `json:"sentence,omitempty"`
	At       time.Time `json:"at,omitzero"`
	// Candidate is a state seen in one round and not yet confirmed by a second.
	Candidate   State     `json:"candidate,omitempty"`
	CandidateAt time.Time `json:"candidateAt,omitzero"`
	// Unknown says that for three intervals no round gave a definite answer.
	Unknown bool `json:"unknown,omitempty"`
	// Serials are those of the last round, by server address.
	Serials map[string]uint32 `json:"serials,omitempty"`
}

// Settle takes one more verdict into account. The first definite one holds at once, another after two rounds; an indefinite one changes no
// mind, but after three intervals it is said that nothing is known. A server whose serial went back is not believed in that
// round: it was restored from an old copy, or is not the one it was.
func (s Settled) Settle(v Verdict, round Observation, pace Pace, now time.Time) Settled {
	relapsed := s.relapse(round)
	s.Serials = serials(round)
	if relapsed != "" && v.State.Definite() {
		v = v.is(Unverifiable, "the serial of %s went back", relapsed)
	}
	switch {
	case !v.State.Definite():
		s.Candidate, s.CandidateAt = "", time.Time{}
		s.Unknown = s.At.IsZero() || now.Sub(s.At) >= patience*pace.Interval
		if s.Unknown {
			s.State, s.Sentence = v.State, v.Sentence
		}
		return s
	case s.At.IsZero() || v.State == s.State:
	case v.State != s.Candidate:
		s.Candidate, s.CandidateAt = v.State, now
		return s
	case now.Sub(s.CandidateAt) < pace.Confirm:
		return s
	}
	return Settled{State: v.State, Sentence: v.Sentence, At: now, Serials: s.Serials}
}

func (s Settled) relapse(round Observation) (server string) {
	for _, v := range round.Views {
		if before, known := s.Serials[v.Address]; known && v.Fault == "" && older(v.Serial, before) {
			return v.Server
		}
	}
	return ""
}

func serials(round Observation) map[string]uint32 {
	found := map[string]uint32{}
	for _, v := range round.Views {
		if v.Fault == "" {
			found[v.Address] = v.Serial
		}
	}
	return found
}
