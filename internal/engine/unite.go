package engine

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/store"
)

// A certified message that both sites delivered while they did not hear each other (its sender's server had no answer and tried the
// other one) stands in the mailbox twice once the stores are merged: two deliveries have two GUIDs. One of the copies goes, into the
// folder of the deleted, like whatever is expunged.
//
// Both sites know both deliveries from the logs, and so which was first; the site that was first does it, when it hears the other and
// their stores of the mailbox are equal. It writes down what it is about to do, so that another engine after it does the same and
// nothing else, and then how it ended: each double is decided once. Both deliveries stay in evidence, as they were.
//
// It touches nothing but two messages that are, byte for byte, what each engine gave to its Dovecot, and the same document. Whatever
// the holder did counts for more: of what he copied nothing goes, of what he filed the copy that he did not file goes, and when he
// deleted one the other stays: he may have meant one of two, and a message too many is the lesser harm.

// Why both copies stay, or whatever is there, in words that the evidence keeps.
const (
	textUnited  = "consegnato da entrambi i siti: una copia sola nella casella"
	textOther   = "consegnato da entrambi i siti con contenuti diversi: nulla è tolto"
	textDeleted = "consegnato da entrambi i siti: non sono più due copie nella casella"
	textCopied  = "consegnato da entrambi i siti: il titolare ne ha fatto copie, nulla è tolto"
	textFiled   = "consegnato da entrambi i siti: il titolare le ha archiviate in cartelle diverse, nulla è tolto"
)

// union is what becomes of two copies of one message.
type union struct {
	Mailbox   string      `json:"mailbox"`
	Type      pec.Type    `json:"type"`
	MessageID string      `json:"messageID"`
	Kept      *storedCopy `json:"kept,omitempty"`
	Removed   *storedCopy `json:"removed,omitempty"`
	Text      string      `json:"text"`
}

// storedCopy is one of a mailbox's messages that came under a delivery key.
type storedCopy struct {
	GUID   string   `json:"guid"`
	Folder string   `json:"folder"`
	Flags  []string `json:"flags,omitempty"`
	Digest string   `json:"digest"` // of what our engine gave to Dovecot, without the Received field on top
	uid    string
}

func (s storedCopy) has(flag string) bool { return slices.Contains(s.Flags, flag) }

// doubles are the keys that both sites delivered, by mailbox, until it is decided what becomes of the copies, and for each the copy that was
// last looked for in custody. They are a view of the logs.
type doubles struct {
	mu sync.Mutex
	by map[string]map[string]string
}

func (d *doubles) add(mailbox, key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.by == nil {
		d.by = map[string]map[string]string{}
	}
	if d.by[mailbox] == nil {
		d.by[mailbox] = map[string]string{}
	}
	d.by[mailbox][key] = ""
}

// look notes that a double needs a copy. It is called before that is looked for: the copy may come in between.
func (d *doubles) look(mailbox, key, digest string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.by[mailbox][key]; ok {
		d.by[mailbox][key] = digest
	}
}

// waiting are the mailboxes with a double that may wait for a copy; with any double, for "".
func (d *doubles) waiting(digest string) (mailboxes []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for mailbox, keys := range d.by {
		if digest == "" || slices.Contains(slices.Collect(maps.Values(keys)), digest) {
			mailboxes = append(mailboxes, mailbox)
		}
	}
	return mailboxes
}

func (d *doubles) end(mailbox, key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if delete(d.by[mailbox], key); len(d.by[mailbox]) == 0 {
		delete(d.by, mailbox)
	}
}

func (d *doubles) of(mailbox string) (keys []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key := range d.by[mailbox] {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// siteDelivery is one site's delivery under a key.
type siteDelivery struct {
	deliveryData
	site, identifier string
	at               time.Time
}

// deliveryOf finds in the logs of this site, or of the other one, the delivery under a key that gave Dovecot a message.
func (e *Engine) deliveryOf(ours bool, key string) (d siteDelivery, found bool, err error) {
	var logs []journalReader
	var sites []string
	if ours {
		logs, sites = append(logs, e.journal), append(sites, e.settings.Site)
	}
	for _, m := range e.mirrors.all() {
		if site := evidence.SiteOf(m.name); (site == e.settings.Site) == ours {
			logs, sites = append(logs, m), append(sites, site)
		}
	}
	for i, log := range logs {
		ended, found, err := log.Get(kindDelivered, key)
		if err != nil {
			return d, false, err
		}
		if !found { // of nearly every key: it is asked at each delivery
			continue
		}
		begun, found, err := log.Get(kindDelivering, key)
		if err != nil {
			return d, false, err
		}
		if found {
			d = siteDelivery{site: sites[i], identifier: ended.Identifier, at: ended.Time}
			return d, true, begun.Decode(&d.deliveryData)
		}
	}
	return d, false, nil
}

// rememberDouble puts a delivery of which one site's log has just told on the list, if the other site made it too.
func (e *Engine) rememberDouble(site, key string) error {
	if _, found, err := e.deliveryOf(site != e.settings.Site, key); err != nil || !found {
		return err
	}
	d, found, err := e.deliveryOf(site == e.settings.Site, key)
	if err != nil || !found {
		return err
	}
	if ended, err := e.known(kindUnited, key, nil); err != nil || ended {
		return err
	}
	e.doubles.add(d.Mailbox, key)
	e.sync.changed(d.Mailbox) // the stores may have become equal before this was known
	return nil
}

// syncDoubles has the mailboxes synced whose doubles can be decided now that a copy has come, or ("") that the other site is heard again.
// Nothing else would before all mailboxes have their turn, and to sync them meanwhile would be in vain.
func (e *Engine) syncDoubles(digest string) {
	for _, mailbox := range e.doubles.waiting(digest) {
		e.sync.changed(mailbox)
	}
}

// before says whether a delivery was first; both sites say the same.
func (d siteDelivery) before(other siteDelivery) bool {
	return cmp.Or(d.at.Compare(other.at), strings.Compare(d.site, other.site)) < 0
}

// unite leaves one copy of each message that both sites delivered into a mailbox. The stores were just found equal.
func (e *Engine) unite(ctx context.Context, mailbox string) error {
	var errs error
	for _, key := range e.doubles.of(mailbox) {
		if !e.replica.speaks(e.now()) {
			break
		}
		ended, err := e.uniteOne(ctx, mailbox, key)
		if ended {
			e.doubles.end(mailbox, key)
		}
		errs = errors.Join(errs, err)
	}
	return errs
}

// uniteOne says whether it is decided, and done, what becomes of the copies that were delivered under a key.
func (e *Engine) uniteOne(ctx context.Context, mailbox, key string) (ended bool, err error) {
	if ended, err = e.known(kindUnited, key, nil); ended || err != nil {
		return ended, err
	}
	first, found, err := e.deliveryOf(true, key)
	second, foundToo, errToo := e.deliveryOf(false, key)
	if err = errors.Join(err, errToo); err != nil || !found || !foundToo {
		return false, err
	}
	if second.before(first) {
		return false, nil // the other site does it, and says so in its log
	}
	for _, digest := range []string{first.Digest, second.Digest} {
		if e.doubles.look(mailbox, key, digest); !e.custody.Has(digest) {
			return false, nil // it is being copied
		}
	}
	end := union{Mailbox: mailbox, Type: first.Type, MessageID: first.MessageID, Text: textOther}
	same, err := e.sameDocument(first.Digest, second.Digest)
	if err != nil {
		return false, err
	}
	if same {
		if end, err = e.uniteCopies(ctx, end, key, first, second); err != nil {
			return false, err
		}
	}
	_, err = e.record(kindUnited, key, first.identifier, &end)
	return err == nil, err
}

// uniteCopies does it, unless the holder did something else, and says what was done.
func (e *Engine) uniteCopies(ctx context.Context, end union, key string, first, second siteDelivery) (union, error) {
	copies, err := e.doveadmTCP.duplicates(ctx, end.Mailbox, key)
	if err != nil {
		return end, err
	}
	var plan union
	planned, err := e.lookup(kindUniting, key, &plan)
	if err != nil {
		return end, err
	}
	end.Kept, end.Removed, end.Text = pickCopy(copies, first.Digest, second.Digest)
	if end.Removed == nil {
		if planned && end.Text == textDeleted { // an engine that died did it
			return plan, nil
		}
		return end, nil
	}
	if !planned {
		plan = end
		if _, err := e.record(kindUniting, key, first.identifier, &plan); err != nil {
			return end, err
		}
	}
	if plan.Kept.GUID != end.Kept.GUID || plan.Removed.GUID != end.Removed.GUID {
		end.Kept, end.Removed, end.Text = nil, nil, textFiled
		return end, nil
	}
	if err := e.doveadmTCP.dropDuplicate(ctx, end.Mailbox, *end.Removed, *end.Kept); err != nil {
		return end, err
	}
	e.sync.changed(end.Mailbox)
	return end, nil
}

// pickCopy says which of the copies in a mailbox stays and which goes, or why none goes. first and second are the digests of what the
// two engines gave to Dovecot, that of the earlier delivery first.
func pickCopy(copies []storedCopy, first, second string) (kept, removed *storedCopy, text string) {
	var one, two *storedCopy
	there := 0
	for i, c := range copies {
		if c.Folder == store.Expunged || c.has(`\Deleted`) {
			continue
		}
		there++
		switch c.Digest {
		case first:
			one = &copies[i]
		case second:
			two = &copies[i]
		}
	}
	switch {
	case there > 2 || there == 2 && (one == nil || two == nil):
		return nil, nil, textCopied
	case there < 2:
		return nil, nil, textDeleted
	case one.Folder == two.Folder || two.Folder == inbox:
		return one, two, textUnited
	case one.Folder == inbox:
		return two, one, textUnited
	}
	return nil, nil, textFiled
}

// inbox is where a message lies that nobody filed.
const inbox = "INBOX"

// sameDocument says whether two messages in custody are one document under what the servers on their way put on top.
func (e *Engine) sameDocument(one, two string) (bool, error) {
	a, done, err := e.inCustody(one)
	if err != nil {
		return false, err
	}
	defer done()
	b, doneToo, err := e.inCustody(two)
	if err != nil {
		return false, err
	}
	defer doneToo()
	return bytes.Equal(underTrace(a), underTrace(b)), nil
}

// underTrace is a message without the Received fields on top.
func underTrace(raw []byte) []byte {
	const field = "received:"
	for len(raw) >= len(field) && bytes.EqualFold(raw[:len(field)], []byte(field)) {
		raw = raw[fieldEnd(raw):]
	}
	return raw
}

// duplicates are the messages of a mailbox, in whatever folder, that came under a delivery key.
func (d *doveadmTCP) duplicates(ctx context.Context, mailbox, key string) (copies []storedCopy, err error) {
	err = d.with(ctx, func(c *doveadmConn) error {
		copies = copies[:0]
		err := c.run(4, func(f []string) error {
			copies = append(copies, storedCopy{GUID: f[0], uid: f[1], Flags: lastingFlags(f[2]), Folder: f[3]})
			return nil
		}, mailbox, "fetch", "guid uid flags mailbox", "mailbox", "*", "header", "received", key)
		for i := 0; err == nil && i < len(copies); i++ {
			if copies[i].Folder == store.Expunged {
				continue
			}
			given := newStoredText(key)
			if err = c.send(mailbox, "fetch", "text", "mailbox", copies[i].Folder, "uid", copies[i].uid, "guid", copies[i].GUID); err == nil {
				err = c.text(given, func() {})
			}
			copies[i].Digest = given.digest()
		}
		return err
	})
	return copies, err
}

// storedText hashes of a stored message what the engine gave to Dovecot under its own Received field.
type storedText struct {
	trace []byte
	head  []byte // until that field is found
	hash  hash.Hash
	found bool
}

func newStoredText(key string) *storedText {
	return &storedText{trace: []byte("with LMTP id " + key), hash: sha256.New()}
}

// maxTrace is how far down that field is looked for: what Dovecot puts above it is less.
const maxTrace = 16 << 10

func (g *storedText) Write(b []byte) (int, error) {
	if g.found {
		return g.hash.Write(b)
	}
	if len(g.head) > maxTrace {
		return len(b), nil
	}
	g.head = append(g.head, b...)
	at := bytes.Index(g.head, g.trace)
	if at < 0 {
		return len(b), nil
	}
	if end := at + fieldEnd(g.head[at:]); end < len(g.head) { // the field is whole
		g.found = true
		_, _ = g.hash.Write(g.head[end:])
		g.head = nil
	}
	return len(b), nil
}

// digest is "" if the message is not as an engine gave it.
func (g *storedText) digest() string {
	if !g.found {
		return ""
	}
	return hex.EncodeToString(g.hash.Sum(nil))
}

// errMoved is a copy that is not where it just was: the next look finds it.
var errMoved = errors.New("a copy changed its place")

// dropDuplicate gives the flags of a message to another one and expunges it, if both are where they were seen.
func (d *doveadmTCP) dropDuplicate(ctx context.Context, mailbox string, gone, kept storedCopy) error {
	this := func(s storedCopy) []string { return []string{"mailbox", s.Folder, "uid", s.uid, "guid", s.GUID} }
	return d.with(ctx, func(c *doveadmConn) error {
		if uid, err := c.find(mailbox, kept.Folder, kept.GUID, 0); err != nil || strconv.FormatUint(uint64(uid), 10) != kept.uid {
			return cmp.Or(err, errMoved)
		}
		if missing := slices.DeleteFunc(slices.Clone(gone.Flags), kept.has); len(missing) > 0 {
			if err := c.run(1, ignoreRow, mailbox, "flags add", append([]string{strings.Join(missing, " ")}, this(kept)...)...); err != nil {
				return err
			}
		}
		if err := c.run(1, ignoreRow, mailbox, "expunge", this(gone)...); err != nil {
			return err
		}
		if uid, err := c.find(mailbox, gone.Folder, gone.GUID, 0); err != nil || uid > 0 {
			return cmp.Or(err, errMoved)
		}
		return nil
	})
}
