//go:build soak

package manager_test

import "time"

// many and quietFor are those of a region's provider on a quiet day, guests its municipalities, awayFor a pod that starts on another node.
const (
	many           = 1000
	quietFor       = 2 * time.Minute
	guests         = 400
	guestsQuietFor = time.Minute
	awayBoxes      = 1000
	awayFor        = time.Minute
)

// afterOthers is a death in a phase that is recorded as another is.
func afterOthers(writes int) int { return writes }

// deathOnDay is after how many writes the operator dies on a day of copying.
func deathOnDay(day int) int { return day - 21 }
