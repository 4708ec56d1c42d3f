//go:build soak

package e2e

import "time"

// lettered is how many messages a mailbox of the old provider has, lettersPerSecond how fast a kill can hit the copy in the middle.
const lettered, lettersPerSecond = 2000, 200

// away is how long an API server and its operator are gone, and perSecond how many messages are submitted each second meanwhile. A
// message costs a quarter of a second of a core until both providers have certified it at both sites: two cores, which serve the API
// servers and the clients as well, take 20 a second at the door for as long as the queue may grow, and end with 5 a second for ever.
const (
	away      = 30 * time.Minute
	perSecond = 5
)
