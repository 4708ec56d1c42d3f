// Package durable makes the names of files survive a loss of power. Syncing a file keeps its bytes; which name they have is the
// directory's to remember.
package durable

import (
	"fmt"
	"os"
)

// Dir syncs a directory: after a file in it was made, renamed or linked, and before anything is said that needs its name.
func Dir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("syncing directory: %w", err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing directory %s: %w", path, err)
	}
	return nil
}
