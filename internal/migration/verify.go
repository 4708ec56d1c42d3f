package migration

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/imapx"
	"github.com/pec-operator/pec-operator/internal/store"
)

// Entry is a line of a manifest: a message of the source.
type Entry struct {
	Folder       string    `json:"folder"` // in our store
	SourceFolder string    `json:"sourceFolder"`
	UIDValidity  uint32    `json:"uidValidity"`
	UID          uint32    `json:"uid"` // at the source
	SHA256       string    `json:"sha256"`
	Size         int64     `json:"size"`
	Date         time.Time `json:"date"`
	Flags        []string  `json:"flags"`
	// Outcome is Copied, Approved (left behind, as a person approved), Skipped (a person must decide) or Missing.
	Outcome string `json:"outcome"`
}

// The outcomes of an Entry.
const (
	OutcomeCopied   = "Copied"
	OutcomeApproved = "Approved"
	OutcomeSkipped  = "Skipped"
	OutcomeMissing  = "Missing"
)

// thing is what must be the same on both sides: where a message is, what it says, when it came, and how it is marked.
type thing struct {
	folder, digest string
	date           int64
	flags          string
}

func thingOf(folder, digest string, date time.Time, flags []string) thing {
	slices.Sort(flags)
	return thing{folder, digest, date.Unix(), strings.Join(flags, " ")}
}

// verify reads every byte of both sides and compares them as multisets. Nothing that an earlier run remembers counts.
func (r *run) verify(ctx context.Context) error {
	folders, err := r.folders(ctx)
	if err != nil {
		return err
	}
	here, extra, err := r.readStore(ctx)
	if err != nil {
		return err
	}
	var entries []Entry
	for _, f := range folders {
		list, err := r.readSource(ctx, f)
		if err != nil {
			return err
		}
		entries = append(entries, list...)
	}
	for i := range entries {
		r.judge(&entries[i], here, extra)
	}
	for _, n := range extra {
		r.report.Extra += max(n, 0)
	}
	return r.keepManifest(ctx, entries)
}

// judge finds one message of the source among ours, and takes it out of them. Pure but for the report.
func (r *run) judge(e *Entry, here, extra map[thing]int) {
	if e.Outcome != "" {
		r.report.skip(e.SHA256, r.plan.ApproveSkipped)
		if slices.Contains(r.plan.ApproveSkipped, e.SHA256) {
			e.Outcome = OutcomeApproved
		}
		return
	}
	extra[thing{folder: e.Folder, digest: e.SHA256}]--
	t := thingOf(e.Folder, e.SHA256, e.Date, keepable(e.Flags))
	if here[t] == 0 {
		e.Outcome = OutcomeMissing
		r.report.Differences++
		return
	}
	here[t]--
	e.Outcome = OutcomeCopied
}

// readStore reads our side: how many there are of each thing, and of each content whatever its date and flags.
func (r *run) readStore(ctx context.Context) (here, contents map[thing]int, err error) {
	here, contents = map[thing]int{}, map[thing]int{}
	for name := range r.there {
		if name == store.Expunged {
			continue
		}
		list, err := r.store.Messages(ctx, r.mailbox.Target, name, 0)
		if err != nil {
			return nil, nil, err
		}
		for _, m := range list {
			digest, err := r.digestOf(ctx, name, m.UID)
			if err != nil {
				return nil, nil, err
			}
			here[thingOf(name, digest, m.Date, m.Flags)]++
			contents[thing{folder: name, digest: digest}]++
		}
	}
	return here, contents, nil
}

func (r *run) digestOf(ctx context.Context, folder string, uid uint32) (string, error) {
	message, err := r.store.Open(ctx, r.mailbox.Target, folder, uid)
	if err != nil {
		return "", err
	}
	defer message.Close()
	return store.DigestOf(message)
}

// readSource reads a folder of the source.
func (r *run) readSource(ctx context.Context, p pair) ([]Entry, error) {
	state, err := r.source.Examine(p.Name)
	if err != nil {
		return nil, err
	}
	list, err := r.source.Messages()
	if err != nil {
		return nil, err
	}
	byUID, uids := map[uint32]imapx.Message{}, make([]uint32, len(list))
	for i, m := range list {
		byUID[m.UID], uids[i] = m, m.UID
		r.report.Messages++
	}
	var entries []Entry
	add := func(uid uint32, digest string, size int64, outcome string) {
		m := byUID[uid]
		r.report.Bytes += size
		entries = append(entries, Entry{Folder: p.target, SourceFolder: p.Name, UIDValidity: state.UIDValidity, UID: uid, SHA256: digest, Size: size,
			Date: m.Date, Flags: keepable(m.Flags), Outcome: outcome})
	}
	unread, err := r.source.Each(ctx, uids, r.spool, func(uid uint32) error {
		outcome := ""
		if !r.spool.exact {
			outcome = OutcomeSkipped
		}
		add(uid, r.spool.digest(), r.spool.size, outcome)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, uid := range unread {
		add(uid, unreadable(p.Name, state.UIDValidity, uid), 0, OutcomeSkipped)
	}
	return entries, nil
}

// keepManifest leaves the manifest with the mailbox in our store, under a name that its digest makes: the same state of both sides
// gives the same manifest, and another one does not replace it.
func (r *run) keepManifest(ctx context.Context, entries []Entry) error {
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(strings.Compare(a.Folder, b.Folder), cmp.Compare(a.UID, b.UID))
	})
	raw, err := lines(entries)
	if err != nil {
		return err
	}
	r.report.Manifest = store.Digest(raw)
	r.report.Location = fmt.Sprintf("manifest-%s-%s", strings.ReplaceAll(r.plan.Migration, "/", "."), r.report.Manifest[:16])
	if r.plan.DryRun {
		return nil
	}
	return r.store.PutRecord(ctx, r.mailbox.Target, r.report.Location, raw)
}
