//go:build !soak

package migration

import "time"

const (
	perMailbox           = 200
	firstKill, laterKill = 300 * time.Millisecond, 200 * time.Millisecond
)
