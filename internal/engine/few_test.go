//go:build !soak

package engine

// momentsOfAKind is at how many of its three moments a record kills the engine, and killsOfAMoment how often; exchangesAudited is how many
// random exchanges are looked at, and messagesUnderWay how many large messages a neighbour keeps at once. make soak takes all, and more.
const (
	momentsOfAKind   = 2
	killsOfAMoment   = 1
	exchangesAudited = 8
	messagesUnderWay = 3
)
