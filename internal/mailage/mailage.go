// Package mailage holds how old what a mailbox holds is: the one measure of our own mailboxes, which the engine takes, and of another
// provider's, which are looked at over IMAP. What is derived from it needs no history, and so survives the loss of everything but the
// mailbox.
package mailage

import "time"

// MonthDays and YearDays are the periods of Ages, in days.
const MonthDays, YearDays = 30, 365

// Unknown is the bytes of what nobody counted.
const Unknown = -1

// Ages say how many bytes of a mailbox arrived when, by the dates that its messages arrived with.
type Ages struct {
	Month int64 `json:"month"` // of what arrived in the last MonthDays days and is still there
	Year  int64 `json:"year"`  // and in the last YearDays days; Unknown if there was too much to count
	// Since is when the oldest of Month arrived.
	Since time.Time `json:"since,omitzero"`
}

// Add counts a message that arrived at a time.
func (a *Ages) Add(at time.Time, size int64, now time.Time) {
	if at.Before(now.AddDate(0, 0, -YearDays)) {
		return
	}
	if a.Year != Unknown {
		a.Year += size
	}
	if at.Before(now.AddDate(0, 0, -MonthDays)) {
		return
	}
	a.Month += size
	if a.Since.IsZero() || at.Before(a.Since) {
		a.Since = at.UTC()
	}
}
