//go:build !soak

package scale

import "time"

// many is enough to see a write too many; make soak measures.
const (
	many     = 100
	changes  = 10
	logins   = 3
	quietFor = 3 * time.Second
	timed    = false
)
