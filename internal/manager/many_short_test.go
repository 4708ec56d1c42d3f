//go:build !soak

package manager_test

import "time"

// many and quietFor are enough to see a write that every pass would make; make soak asks for more.
const (
	many     = 200
	quietFor = 15 * time.Second
)
