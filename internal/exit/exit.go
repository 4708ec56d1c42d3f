// Package exit is the error by which a command chooses its exit status.
package exit

// Error is an error with the status that the process ends with.
type Error struct {
	Status int
	// Reason is one word for people, which may be empty: a Job's pod leaves it as its last words.
	Reason string
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }
