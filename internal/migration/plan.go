// Package migration copies mailboxes from another provider with proof: what is at the source afterwards is in our store, byte for
// byte, as many times as there, with its dates, flags and keywords, and a manifest says so message by message.
//
// A message is known by its content, the SHA-256 of its bytes, and not by its Message-ID, which some have not and others share. Its
// GUID in our store derives from that, and from which of its exact duplicates in the folder it is: so whoever copies again, after
// a crash or a day later, finds what was copied. Messages are only ever added.
package migration

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// Kind is what a run does.
type Kind string

const (
	// KindCopy adds what our store lacks.
	KindCopy Kind = "Copy"
	// KindVerify reads all of both sides again, compares, and leaves the manifest.
	KindVerify Kind = "Verify"
	// KindCopyVerify is one after the other: when a verification found something missing.
	KindCopyVerify Kind = "CopyVerify"
)

// Plan is the work of one run, as its pods read it. It holds no secret.
type Plan struct {
	Migration string `json:"migration"` // namespace/name, for people and for the journal's name
	Kind      Kind   `json:"kind"`
	// DryRun reads and counts, and writes nothing.
	DryRun bool `json:"dryRun"`
	// AlignFlags makes the flags of what was copied earlier those of the source: right until the holder uses the copy.
	AlignFlags bool   `json:"alignFlags"`
	Store      string `json:"store"`  // URL of the engine
	Source     string `json:"source"` // host:port
	// SourceName is what the source's certificate bears; "" is the host of Source.
	SourceName string `json:"sourceName,omitempty"`
	// Own is the host:port of a stack of ours, which may be anywhere; any other server is on the internet, or in one of the Networks.
	Own      string         `json:"own,omitempty"`
	Networks []netip.Prefix `json:"networks,omitempty"`
	// SourceCA names the file with the roots of the source's certificate, SourceRoots are such roots in PEM; without either, the system's.
	SourceCA    string `json:"sourceCA"`
	SourceRoots string `json:"sourceRoots,omitempty"`
	// Old is the host:port at which a verification opens the old mailbox too, to see that it can only be read there; "" is none.
	Old string `json:"old,omitempty"`
	// OldName is what the certificate there bears; "" is the host of Old.
	OldName string `json:"oldName,omitempty"`
	// PerSecond bounds the messages that one run of one mailbox fetches; 0 is no bound.
	PerSecond float64 `json:"perSecond"`
	// ApproveSkipped are the digests of messages that may be left behind.
	ApproveSkipped []string  `json:"approveSkipped"`
	Mailboxes      []Mailbox `json:"mailboxes"`
}

// Mailbox is one mailbox, by its index.
type Mailbox struct {
	Address  string `json:"address"`  // at the source, also the user there
	Target   string `json:"target"`   // in our store
	Password string `json:"password"` // the file that holds it
}

// Report is what a run says of its mailbox.
type Report struct {
	Folders  int   `json:"folders"`
	Messages int   `json:"messages"` // at the source
	Bytes    int64 `json:"bytes"`
	Saved    int   `json:"saved"`   // by this run; in a dry run, what would be
	Flagged  int   `json:"flagged"` // whose flags were brought up to the source's
	// Skipped are messages that cannot be copied as they are, Approved how many of these may be left behind.
	Skipped  int `json:"skipped"`
	Approved int `json:"approved"`
	// Pending are the digests of the first of those that a person must decide about.
	Pending []string `json:"pending,omitempty"`
	// Differences and Extra are what a verification found: at the source and not here, here and no longer at the source.
	Differences int `json:"differences"`
	Extra       int `json:"extra"`
	// Manifest is the digest of the manifest, Location the record that holds it.
	Manifest string `json:"manifest,omitempty"`
	Location string `json:"location,omitempty"`
	// Old is how the old mailbox was found at the plan's Old.
	Old string `json:"old,omitempty"`
}

// How an old mailbox is found where it should only be read. A verification does not fail for it: the copy is as good.
const (
	OldReadOnly = "ReadOnly"
	OldWritable = "Writable"
)

// maxPending keeps a report small enough for a pod's last words.
const maxPending = 20

// skip counts a message that cannot be copied.
func (r *Report) skip(digest string, approved []string) {
	r.Skipped++
	switch {
	case slices.Contains(approved, digest):
		r.Approved++
	case len(r.Pending) < maxPending:
		r.Pending = append(r.Pending, digest)
	}
}

// undecided says how many messages wait for a person.
func (r *Report) undecided() int { return r.Skipped - r.Approved }

// guid is the GUID of the n-th exact copy of a message in its folder. It covers the whole message: one GUID with two bodies is
// silently one body after a sync.
func guid(digest string, n int) string {
	sum := sha256.Sum256([]byte(digest + "/" + strconv.Itoa(n)))
	return hex.EncodeToString(sum[:16])
}

// unreadable stands for the digest of a message that the source does not hand over.
func unreadable(folder string, validity, uid uint32) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "unreadable\x00%s\x00%d\x00%d", folder, validity, uid))
	return hex.EncodeToString(sum[:])
}

// lines encodes values as one JSON document a line.
func lines[T any](values []T) ([]byte, error) {
	var out []byte
	for _, v := range values {
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encoding a manifest: %w", err)
		}
		out = append(append(out, raw...), '\n')
	}
	return out, nil
}
