//go:build soak

package manager_test

import "time"

// many and quietFor are those of a region's provider on a quiet day.
const (
	many     = 1000
	quietFor = 2 * time.Minute
)
