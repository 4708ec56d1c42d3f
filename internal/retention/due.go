package retention

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Removal says when an archived message would be removed from its mailbox.
type Removal struct {
	// ArchivedBefore is the day before which it must have been archived.
	ArchivedBefore time.Time
	// Held says that nothing is due: a legal hold is in force, or what removal waits for has not happened.
	Held bool
}

// Archived is a message in a sealed package.
type Archived struct {
	Message
	Day     time.Time // on which its package was made
	Package string
}

// Due answers which of the messages that are still in a mailbox would be removed, as lines that are equal at two sites that hold
// the same mail: folder and hash, sorted. Kin of which one is not due yet are not due. Pure.
func Due(present func(Message) bool, archived []Archived, r Removal) []string {
	if r.Held {
		return nil
	}
	waits := map[string]bool{}
	for _, a := range archived {
		if a.Identifier != "" && !a.Day.Before(r.ArchivedBefore) {
			waits[a.Identifier] = true
		}
	}
	var due []string
	for _, a := range archived {
		if present(a.Message) && a.Day.Before(r.ArchivedBefore) && !waits[a.Identifier] {
			due = append(due, a.Folder+"\t"+a.SHA256)
		}
	}
	slices.Sort(due)
	return due
}

// DueDigest is the SHA-256 of a mailbox's list.
func DueDigest(due []string) string {
	sum := sha256.Sum256([]byte(strings.Join(due, "\n")))
	return hex.EncodeToString(sum[:])
}

// Combine is the digest of the lists of many mailboxes, whatever the order they are given in; those with nothing due leave no
// trace in it. Pure.
func Combine(results []Result) (count int64, digest string) {
	var lines []string
	for _, r := range results {
		if r.Due.Count > 0 {
			lines = append(lines, fmt.Sprintf("%s\t%d\t%s", r.Address, r.Due.Count, r.Due.Digest))
			count += r.Due.Count
		}
	}
	slices.Sort(lines)
	return count, DueDigest(lines)
}
