//go:build soak

package migration

import "time"

const (
	perMailbox           = 2000
	firstKill, laterKill = time.Second, 300 * time.Millisecond
)
