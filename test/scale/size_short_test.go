//go:build !soak

package scale

import "time"

// many is enough to see that the measuring works; make soak measures.
const (
	many     = 300
	changes  = 20
	logins   = 10
	quietFor = 5 * time.Second
)
