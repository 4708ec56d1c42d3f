//go:build soak

package scale

import "time"

// many are the mailboxes of a large domain.
const (
	many     = 10_000
	changes  = 200
	logins   = 100
	quietFor = time.Minute
	timed    = true
)
