//go:build soak

package engine

const (
	momentsOfAKind   = 3
	killsOfAMoment   = 4
	exchangesAudited = 100
	messagesUnderWay = 8
)
