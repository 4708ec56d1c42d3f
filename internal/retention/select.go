package retention

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// kinWindow is how much younger than the rule's age messages are still looked at, for receipts about older ones: the last notice
// about a message comes a day after it, and a provider's queue holds no longer than a week.
const kinWindow = 7 * 24 * time.Hour

// Rule says which messages are due to be archived.
type Rule struct {
	// Before is the instant before which a message must have arrived.
	Before time.Time `json:"before"`
	// Folders, each with those below it; all when there are none.
	Folders []string `json:"folders,omitempty"`
	// Classes; all when there are none.
	Classes []Class `json:"classes,omitempty"`
}

func (r Rule) asks(m Message) bool {
	folder := len(r.Folders) == 0 || slices.ContainsFunc(r.Folders, func(f string) bool { return within(m.Folder, f) })
	return folder && m.Date.Before(r.Before) && (len(r.Classes) == 0 || slices.Contains(r.Classes, m.Class))
}

// within says whether a folder is another one or below it.
func within(folder, above string) bool {
	return folder == above || strings.HasPrefix(folder, above+"/")
}

// Select answers the messages that a rule asks for, and with each message all receipts about it, however young and in whatever
// folder: who opens the archive in ten years must find the proof beside what it proves. Kin stand together, the eldest kin first,
// a message before its receipts; the order depends on nothing but the messages. Pure.
func Select(messages []Message, rule Rule) []Message {
	var selected []Message
	kins := group(messages)
	for _, kin := range kins {
		whole := slices.ContainsFunc(kin, func(m Message) bool { return m.Class != Receipt && rule.asks(m) })
		for _, m := range kin {
			if rule.asks(m) || (whole && m.Class == Receipt) {
				selected = append(selected, m)
			}
		}
	}
	return selected
}

// group puts kin together, in the order of [Select].
func group(messages []Message) [][]Message {
	sent := map[string]string{} // the sender's Message-ID to the identifier
	for _, m := range messages {
		if m.Identifier != "" && m.Refers != "" {
			sent[m.Refers] = m.Identifier
		}
	}
	byKey := map[string][]Message{}
	for _, m := range messages {
		key := cmp.Or(m.Identifier, sent[m.Refers], sent[m.MessageID])
		if key == "" {
			key = "\x00" + m.Folder + "\x00" + m.GUID // kin to nobody
		}
		byKey[key] = append(byKey[key], m)
	}
	kins := make([][]Message, 0, len(byKey))
	for _, kin := range byKey {
		slices.SortFunc(kin, compare)
		kins = append(kins, kin)
	}
	slices.SortFunc(kins, func(a, b []Message) int {
		return cmp.Or(eldest(a).Compare(eldest(b)), compare(a[0], b[0]))
	})
	return kins
}

func eldest(kin []Message) time.Time {
	return slices.MinFunc(kin, func(a, b Message) int { return a.Date.Compare(b.Date) }).Date
}

// compare orders kin: what is no receipt first, then by time; the rest only makes the order total.
func compare(a, b Message) int {
	receipts := map[bool]int{true: 1}
	return cmp.Or(
		cmp.Compare(receipts[a.Class == Receipt], receipts[b.Class == Receipt]),
		a.Date.Compare(b.Date),
		cmp.Compare(a.Folder, b.Folder),
		cmp.Compare(a.SHA256, b.SHA256),
		cmp.Compare(a.GUID, b.GUID),
	)
}

// limits bound one package: what a crash makes the next run do again, and what a person can still handle.
type limits struct {
	messages int
	bytes    int64
}

var packageLimits = limits{messages: 2000, bytes: 1 << 30}

// chunks cuts a selection into packages. Kin that were selected together stay together, so a package may be larger by that much.
func (l limits) chunks(selected []Message) [][]Message {
	var all [][]Message
	var now []Message
	var size int64
	for _, kin := range group(selected) {
		now = append(now, kin...)
		for _, m := range kin {
			size += m.Size
		}
		if len(now) >= l.messages || size >= l.bytes {
			all, now, size = append(all, now), nil, 0
		}
	}
	if len(now) > 0 {
		all = append(all, now)
	}
	return all
}

// writeLines writes messages as they stand in an index: one JSON object a line.
func writeLines(w io.Writer, messages []Message) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, m := range messages {
		if err := encoder.Encode(m); err != nil {
			return fmt.Errorf("writing the index: %w", err)
		}
	}
	return nil
}

// Digest is the SHA-256 of a selection.
func Digest(messages []Message) string {
	hash := sha256.New()
	_ = writeLines(hash, messages) // a hash takes everything
	return hex.EncodeToString(hash.Sum(nil))
}
