//go:build soak

package engine

const (
	momentsOfAKind   = 3
	killsOfAMoment   = 12
	exchangesAudited = 100
	messagesUnderWay = 8
)
