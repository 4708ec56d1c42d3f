package migration

import (
	"context"
	"slices"
	"time"

	"github.com/pec-operator/pec-operator/internal/imapx"
	"github.com/pec-operator/pec-operator/internal/store"
)

// run is one run over one mailbox.
type run struct {
	plan    Plan
	mailbox Mailbox
	source  *imapx.Client
	store   *store.Client
	spool   *spool
	journal *journal
	report  Report
	// there are the folders of our store, by name.
	there map[string]store.Folder
}

// pair is a folder of the source and the one that it becomes.
type pair struct {
	imapx.Folder
	target string
}

// folders pairs the source's folders with ours.
func (r *run) folders(ctx context.Context) ([]pair, error) {
	sources, err := r.source.Folders()
	if err != nil {
		return nil, err
	}
	ours, err := r.store.Folders(ctx, r.mailbox.Target)
	if err != nil {
		return nil, err
	}
	r.there = map[string]store.Folder{}
	for _, f := range ours {
		r.there[f.Name] = f
	}
	r.report.Folders = len(sources)
	taken, pairs := map[string]bool{}, make([]pair, len(sources))
	for i, f := range sources {
		pairs[i] = pair{f, targetName(f, taken)}
	}
	return pairs, nil
}

// copy adds to our store what it lacks of every folder.
func (r *run) copy(ctx context.Context) error {
	folders, err := r.folders(ctx)
	for _, f := range folders {
		if err == nil {
			err = r.copyFolder(ctx, f)
		}
	}
	return err
}

// folderCopy is the copy of one folder.
type folderCopy struct {
	*run
	pair
	validity uint32
	messages map[uint32]imapx.Message
	known    *folderJournal
	ours     map[string]store.Message // by GUID
	seen     uint32                   // the highest UID among ours
	copies   map[string]int           // of each digest, so far
	wanted   map[uint32]string        // GUIDs of known messages that our store lacks
}

func (r *run) copyFolder(ctx context.Context, p pair) error {
	state, err := r.source.Examine(p.Name)
	if err != nil {
		return err
	}
	list, err := r.source.Messages()
	if err != nil {
		return err
	}
	c := &folderCopy{run: r, pair: p, validity: state.UIDValidity, messages: map[uint32]imapx.Message{}, known: r.journal.of(p.Name, state.UIDValidity),
		ours: map[string]store.Message{}, copies: map[string]int{}, wanted: map[uint32]string{}}
	if err := c.open(ctx); err != nil {
		return err
	}
	fetch, err := c.sort(ctx, list)
	if err != nil {
		return err
	}
	unread, err := r.source.Each(ctx, fetch, r.spool, func(uid uint32) error { return c.take(ctx, uid) })
	if err != nil {
		return err
	}
	for _, uid := range unread {
		r.report.skip(unreadable(p.Name, state.UIDValidity, uid), r.plan.ApproveSkipped)
	}
	return r.journal.save(ctx, r.store, r.plan, r.mailbox.Target)
}

// open makes the folder unless it is there, and lists what is in it.
func (c *folderCopy) open(ctx context.Context) error {
	if _, ok := c.there[c.target]; !ok {
		if c.plan.DryRun {
			return nil
		}
		return c.store.MakeFolder(ctx, c.mailbox.Target, c.target)
	}
	list, err := c.store.Messages(ctx, c.mailbox.Target, c.target, 0)
	for _, m := range list {
		c.ours[m.GUID], c.seen = m, max(c.seen, m.UID)
	}
	return err
}

// sort settles the messages whose bytes the journal knows, and answers the UIDs that must be fetched.
func (c *folderCopy) sort(ctx context.Context, list []imapx.Message) (fetch []uint32, err error) {
	for _, m := range list {
		c.messages[m.UID] = m
		c.report.Messages++
		c.report.Bytes += m.Size
		digest, ok := c.known.Digests[m.UID]
		if !ok {
			fetch = append(fetch, m.UID)
			continue
		}
		if c.known.Inexact[m.UID] {
			c.report.skip(digest, c.plan.ApproveSkipped)
			continue
		}
		id := c.next(digest)
		ours, ok := c.ours[id]
		if !ok {
			c.wanted[m.UID] = id
			fetch = append(fetch, m.UID)
			continue
		}
		if err := c.align(ctx, ours, m); err != nil {
			return nil, err
		}
	}
	return fetch, nil
}

// next is the GUID of one more copy of a message in this folder.
func (c *folderCopy) next(digest string) string {
	n := c.copies[digest]
	c.copies[digest]++
	return guid(digest, n)
}

// take settles the fetched message that the spool holds.
func (c *folderCopy) take(ctx context.Context, uid uint32) error {
	m, digest := c.messages[uid], c.spool.digest()
	if !c.spool.exact {
		c.report.skip(digest, c.plan.ApproveSkipped)
		return c.note(ctx, uid, digest, true)
	}
	id := c.wanted[uid]
	if id == "" || c.known.Digests[uid] != digest {
		id = c.next(digest)
	}
	if ours, ok := c.ours[id]; ok {
		if err := c.align(ctx, ours, m); err != nil {
			return err
		}
		return c.note(ctx, uid, digest, false)
	}
	if c.plan.DryRun {
		c.report.Saved++
		return nil
	}
	saved, err := c.store.Save(ctx, c.mailbox.Target, store.New{
		Folder: c.target, GUID: id, UID: uid, Date: m.Date, Flags: keepable(m.Flags), SHA256: digest, Seen: c.seen,
	}, c.spool.reader())
	if err != nil {
		return err
	}
	c.seen = max(c.seen, saved.UID)
	if !saved.Existed {
		c.report.Saved++
	}
	return c.note(ctx, uid, digest, false)
}

// note remembers a message that is settled.
func (c *folderCopy) note(ctx context.Context, uid uint32, digest string, inexact bool) error {
	c.known.Digests[uid] = digest
	if inexact {
		c.known.Inexact[uid] = true
	}
	if c.journal.unsaved++; c.journal.unsaved < journalEvery {
		return nil
	}
	return c.journal.save(ctx, c.store, c.plan, c.mailbox.Target)
}

// align makes the flags of a copy those of the source.
func (c *folderCopy) align(ctx context.Context, ours store.Message, source imapx.Message) error {
	slices.Sort(ours.Flags)
	want := keepable(source.Flags)
	if !c.plan.AlignFlags || slices.Equal(ours.Flags, want) {
		return nil
	}
	c.report.Flagged++
	if c.plan.DryRun {
		return nil
	}
	return c.store.SetFlags(ctx, c.mailbox.Target, c.target, ours.GUID, want)
}

// keepable are the flags that a message in our store can have, sorted.
func keepable(flags []string) []string {
	kept := []string{}
	for _, f := range flags {
		if store.ValidFlag(f) {
			kept = append(kept, f)
		}
	}
	slices.Sort(kept)
	return kept
}

// lastWordsTime bounds what a run still does when it was told to end.
const lastWordsTime = 5 * time.Second

// copyWithJournal is copy, from the journal that an earlier run left, and leaving one to the next even when it is told to end.
func (r *run) copyWithJournal(ctx context.Context) (err error) {
	if r.journal, err = readJournal(ctx, r.store, r.plan, r.mailbox.Target); err != nil {
		return err
	}
	if err = r.copy(ctx); err == nil {
		return nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWordsTime)
	defer cancel()
	_ = r.journal.save(last, r.store, r.plan, r.mailbox.Target) // it only saves time
	return err
}
