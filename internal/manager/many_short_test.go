//go:build !soak

package manager_test

import "time"

// many and quietFor are enough to see a write that every pass would make, guests to see what one costs that all others pay for, and
// awayBoxes and awayFor to see what an engine's restart writes; make soak asks for more.
const (
	many           = 200
	quietFor       = 8 * time.Second
	guests         = 30
	guestsQuietFor = 2 * time.Second
	awayBoxes      = 60
	awayFor        = 5 * time.Second
)

// afterOthers is a death in a phase that is recorded as another is, in which the operator dies here too.
func afterOthers(int) int { return survives }

// deathOnDay is after how many writes the operator dies on a day of copying: here on every third day.
func deathOnDay(day int) int {
	if day%3 == 0 {
		return day - 21
	}
	return survives
}
