//go:build !soak

package e2e

import "time"

// lettered is how many messages a mailbox of the old provider has, lettersPerSecond how fast a kill can hit the copy in the middle.
const lettered, lettersPerSecond = 200, 50

// away is how long an API server and its operator are gone, and perSecond how many messages are submitted each second meanwhile.
const (
	away      = time.Minute
	perSecond = 20
)
