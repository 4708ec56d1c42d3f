package retention

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/store"
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

// Review lists what would be due in a mailbox that the other site archives, from the archive and this site's own store. It writes
// nothing anywhere: a package that is not sealed yet is no proof, and is left to who made it.
func Review(ctx context.Context, from source, archive Place, t Task) (Result, error) {
	result := Result{Address: t.Address, Reviewed: true}
	archived, err := catalogue(ctx, archive, t.Address, nil)
	if err != nil {
		return result, err
	}
	result.Due, err = review(ctx, from, t, archived)
	return result, err
}

// review is the list of a mailbox.
func review(ctx context.Context, from source, t Task, archived []Archived) (DueResult, error) {
	old := eligible(archived, *t.Removal)
	present, err := proven(ctx, from, t.Address, old)
	if err != nil {
		return DueResult{}, err
	}
	due := Due(present, old)
	return DueResult{Count: int64(len(due)), Digest: DueDigest(due)}, nil
}

// eligible are the archived messages that have been archived long enough, with all their kin. Pure.
func eligible(archived []Archived, r Removal) (old []Archived) {
	if r.Held {
		return nil
	}
	waits := map[string]bool{}
	for _, a := range archived {
		if a.Identifier != "" && !a.Day.Before(r.ArchivedBefore) {
			waits[a.Identifier] = true
		}
	}
	for _, a := range archived {
		if a.Day.Before(r.ArchivedBefore) && !waits[a.Identifier] {
			old = append(old, a)
		}
	}
	return old
}

// content is what a message is, and in which folder.
func (m Message) content() string { return m.Folder + "\t" + m.SHA256 }

// proven counts, by folder and hash, the messages of a mailbox that are byte for byte archived ones. Each is read: a store's names for messages
// are no proof of what they are, and the two sites' need not be the same.
func proven(ctx context.Context, from source, address string, archived []Archived) (map[string]int, error) {
	look := func(folder string, date time.Time, size int64) string {
		return fmt.Sprint(date.Unix(), " ", size, " ", folder)
	}
	like, folders := map[string]bool{}, map[string]bool{}
	for _, a := range archived {
		like[look(a.Folder, a.Date, a.Size)], folders[a.Folder] = true, true
	}
	found := map[string]int{}
	for folder := range folders {
		listed, err := from.Messages(ctx, address, folder, 0)
		if errors.Is(err, store.ErrNotFound) {
			continue // its holder removed it, and with it what was in it
		}
		if err != nil {
			return nil, fmt.Errorf("listing a folder of %s: %w", address, err)
		}
		for _, l := range listed {
			if !like[look(folder, l.Date, l.Size)] {
				continue
			}
			sum, err := digestStored(ctx, from, address, folder, l.UID)
			switch {
			case errors.Is(err, store.ErrNotFound): // removed meanwhile
			case err != nil:
				return nil, err
			default:
				found[Message{Folder: folder, SHA256: sum}.content()]++
			}
		}
	}
	return found, nil
}

func digestStored(ctx context.Context, from source, address, folder string, uid uint32) (string, error) {
	body, err := from.Open(ctx, address, folder, uid)
	if err != nil {
		return "", fmt.Errorf("opening a message of %s: %w", address, err)
	}
	defer body.Close() //nolint:errcheck // it was only read
	return store.DigestOf(body)
}

// Due answers what would be removed of what a mailbox holds, as lines that are equal at two sites that hold the same mail: folder and
// hash, sorted. Equal messages count as often as they are both in the archive and in the mailbox. Pure.
func Due(present map[string]int, old []Archived) []string {
	var due []string
	taken := map[string]int{}
	for _, a := range old {
		if p := a.content(); taken[p] < present[p] {
			taken[p]++
			due = append(due, p)
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
			lines = append(lines, r.line())
			count += r.Due.Count
		}
	}
	slices.Sort(lines)
	return count, DueDigest(lines)
}

func (r Result) line() string { return fmt.Sprintf("%s\t%d\t%s", r.Address, r.Due.Count, r.Due.Digest) }

const (
	// Half is how many characters of a mark stand for an address, and how many for its list: 36 bits each.
	Half = 6
	// maxMarks is how many mailboxes are marked.
	maxMarks = 1024
)

func mark(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])[:Half]
}

// Marks are twelve characters for each mailbox with something due, sorted; "" when none has, or too many have. A status holds a
// thousand of them, and by them a person learns which mailboxes differ; whether they do, only [Combine] says. Pure.
func Marks(results []Result) string {
	var marks []string
	for _, r := range results {
		if r.Due.Count > 0 {
			marks = append(marks, mark(r.Address)+mark(r.line()))
		}
	}
	if len(marks) > maxMarks {
		return ""
	}
	slices.Sort(marks)
	return strings.Join(marks, "")
}

// Differing answers which of some mailboxes two sites' marks tell apart, sorted, and how many others there are of which nobody here
// knows the address. Pure.
func Differing(ours, theirs string, addresses []string) (names []string, others int) {
	a, b := unmark(ours), unmark(theirs)
	differ := map[string]bool{}
	for _, lists := range []map[string]string{a, b} {
		for key := range lists {
			if a[key] != b[key] {
				differ[key] = true
			}
		}
	}
	for _, address := range addresses {
		if differ[mark(address)] {
			names = append(names, address)
		}
	}
	slices.Sort(names)
	return names, max(0, len(differ)-len(names))
}

func unmark(marks string) map[string]string {
	lists := map[string]string{}
	for ; len(marks) >= 2*Half; marks = marks[2*Half:] {
		lists[marks[:Half]] = marks[Half : 2*Half]
	}
	return lists
}
