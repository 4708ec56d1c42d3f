//go:build !soak

package engine

// momentsOfAKind is at how many of its three moments a record kills the engine, and killsOfAMoment how often; make soak takes all.
const (
	momentsOfAKind = 2
	killsOfAMoment = 1
)
