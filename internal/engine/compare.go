package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/store"
)

// Whether the sites' stores hold the same mail is told by digests that each makes of its own, never by what a sync says of itself: after
// the commonest partition a sync that merged nothing says that it is done. A mailbox is compared after each of its syncs.
const (
	verbDigest    = "digest "
	digestRefused = "-"
	compareStale  = 30 * time.Minute // three full passes
	compareSoon   = 5 * time.Second  // the shortest pause before a mailbox that differs is synced again
	compareLater  = 5 * time.Minute  // the longest
	totalEvery    = time.Hour        // a digest over all mailboxes moves with each delivery; the status must not
	tellEvery     = 10 * time.Second
	maxAddresses  = 10
)

var (
	// errUnsupported is answered by an engine of a release that makes no digests: nothing is known then, and nothing differs.
	errUnsupported = errors.New("the other site's engine makes no digests yet")
	// errAbsent is answered by one that was reached and has no such mailbox, or cannot read it.
	errAbsent = errors.New("the other site has no digest of it")
)

// comparisons are what is known of each mailbox at both sites. It is derived: after a start every mailbox is compared anew.
type comparisons struct {
	now    func() time.Time
	own    func(ctx context.Context, mailbox string) (string, error)
	theirs func(ctx context.Context, mailbox string) (string, error)
	again  func(mailbox string, due time.Time) // has a mailbox synced

	mu              sync.Mutex
	boxes           map[string]comparison
	reached, failed time.Time
	total           total

	// telling guards told and toldAt: what was told, and when. Every hosted domain's pass asks, and each answer counts all mailboxes.
	telling sync.Mutex
	told    admin.Stores
	toldAt  time.Time
}

// comparison is a mailbox's last one.
type comparison struct {
	own, theirs string
	at, since   time.Time // since is when a difference was first seen, zero without one
}

// total are digests over all mailboxes.
type total struct {
	own, theirs string
	at          time.Time
	agreed      bool
}

// syncAndCompare syncs a mailbox and then looks at what both sites hold of it, whatever the sync said.
func (e *Engine) syncAndCompare(ctx context.Context, mailbox string) error {
	err := e.syncMailbox(ctx, mailbox)
	equal, compareErr := e.comparisons.compare(ctx, mailbox)
	if compareErr != nil && err == nil && !errors.Is(compareErr, errUnsupported) {
		e.log.Warn("comparing a mailbox with the other site's", "mailbox", mailbox, "error", compareErr)
	}
	if equal {
		if err := e.unite(ctx, mailbox); err != nil {
			e.log.Warn("leaving one copy of what both sites delivered", "mailbox", mailbox, "error", err)
		}
	}
	return err
}

// compare compares a mailbox, and says whether both sites hold the same. A difference counts when two looks in a row see the same one: mail
// that arrives between the digests is none, and brings about a sync of its own.
func (s *comparisons) compare(ctx context.Context, mailbox string) (equal bool, err error) {
	var last comparison
	for look := range 2 {
		theirs, err := s.theirs(ctx, mailbox)
		if err != nil && !errors.Is(err, errAbsent) {
			s.unreached(err)
			return false, err
		}
		own, err := s.own(ctx, mailbox)
		if err != nil {
			s.unread(ctx, mailbox, err)
			return false, err
		}
		seen := comparison{own: own, theirs: theirs}
		if own == theirs || (look > 0 && seen == last) {
			s.enter(mailbox, seen)
			return own == theirs, nil
		}
		last = seen
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reached = s.now()
	if !s.boxes[mailbox].since.IsZero() {
		s.again(mailbox, s.now().Add(compareSoon))
	}
	return false, nil
}

func (s *comparisons) unreached(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !errors.Is(err, errUnsupported) {
		s.failed = s.now()
	}
}

// unread notes a mailbox of which Dovecot gives no digest: what nobody can compare is not the same. One that is not asked says nothing of it.
func (s *comparisons) unread(ctx context.Context, mailbox string, err error) {
	if ctx.Err() != nil || unreachable(err) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.boxes[mailbox]
	c.since = cmp.Or(c.since, s.now())
	s.boxes[mailbox] = c
}

func (s *comparisons) enter(mailbox string, c comparison) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.reached, c.at = now, now
	if c.own != c.theirs {
		c.since = cmp.Or(s.boxes[mailbox].since, now)
		s.again(mailbox, now.Add(min(compareLater, max(compareSoon, now.Sub(c.since)/2))))
	}
	s.boxes[mailbox] = c
}

// state is what the operator sees of the mailboxes that the directory holds.
func (s *comparisons) state(mailboxes []string) admin.Stores {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	out := admin.Stores{Mailboxes: len(mailboxes), Reached: s.reached, Failed: s.failed}
	var diverged []string
	for _, mailbox := range mailboxes {
		c, ok := s.boxes[mailbox]
		if ok && now.Sub(c.at) < compareStale {
			out.Compared++
		}
		if c.since.IsZero() {
			continue
		}
		out.Differing++
		if out.Since.IsZero() || c.since.Before(out.Since) {
			out.Since = c.since
		}
		if now.Sub(c.since) >= admin.DivergedAfter {
			diverged = append(diverged, mailbox)
		}
	}
	slices.Sort(diverged)
	out.Diverged, out.Addresses = len(diverged), diverged[:min(len(diverged), maxAddresses)]
	if out.Compared == out.Mailboxes && out.Mailboxes > 0 {
		s.sum(mailboxes, out.Diverged == 0, now)
	}
	out.Own, out.Theirs = s.total.own, s.total.theirs
	return out
}

// sum makes the digests over all mailboxes when they are due.
func (s *comparisons) sum(mailboxes []string, agreed bool, now time.Time) {
	if s.total.own != "" && s.total.agreed == agreed && now.Sub(s.total.at) < totalEvery {
		return
	}
	own, theirs := sha256.New(), sha256.New()
	for _, mailbox := range slices.Sorted(slices.Values(mailboxes)) {
		c := s.boxes[mailbox]
		other := c.theirs
		if agreed {
			other = c.own // what differs for a moment is no difference of the stores
		}
		fmt.Fprintf(own, "%s %s\n", mailbox, c.own)
		fmt.Fprintf(theirs, "%s %s\n", mailbox, other)
	}
	s.total = total{own: hex.EncodeToString(own.Sum(nil)[:8]), theirs: hex.EncodeToString(theirs.Sum(nil)[:8]), at: now, agreed: agreed}
}

// storesState is the state over the mailboxes of the directory; nil without a peer.
func (e *Engine) storesState(ctx context.Context, configured bool) (*admin.Stores, error) {
	if !configured {
		return nil, nil
	}
	e.comparisons.telling.Lock()
	defer e.comparisons.telling.Unlock()
	if now := e.now(); now.Sub(e.comparisons.toldAt) >= tellEvery || now.Before(e.comparisons.toldAt) {
		mailboxes, err := e.sync.mailboxes(ctx)
		if err != nil {
			return nil, err
		}
		e.comparisons.told, e.comparisons.toldAt = e.comparisons.state(mailboxes), now
	}
	told := e.comparisons.told
	return &told, nil
}

// digest is a hash of what a mailbox holds: folder, GUID and flags of every message. It does not depend on the order, nor on the UIDs,
// which a merge renumbers. The bodies are not read.
func (e *Engine) digest(ctx context.Context, mailbox string) (string, error) {
	var sum [4]uint64
	count := 0
	err := e.doveadmTCP.with(ctx, func(c *doveadmConn) error {
		sum, count = [4]uint64{}, 0
		return c.run(3, func(f []string) error {
			if f[2] != store.Expunged {
				addHash(&sum, messageHash(f[2], f[0], f[1]))
				count++
			}
			return nil
		}, mailbox, "fetch", "guid flags mailbox", "mailbox", "*")
	})
	if err != nil {
		return "", fmt.Errorf("reading what %s holds: %w", mailbox, err)
	}
	var raw [40]byte
	for i, word := range sum {
		binary.BigEndian.PutUint64(raw[8*i:], word)
	}
	binary.BigEndian.PutUint64(raw[32:], uint64(count)) //nolint:gosec // a count
	whole := sha256.Sum256(raw[:])
	return hex.EncodeToString(whole[:16]), nil
}

// messageHash is that of one message.
func messageHash(folder, guid, flags string) [sha256.Size]byte {
	kept := lastingFlags(flags)
	slices.Sort(kept)
	return sha256.Sum256([]byte(folder + "\x00" + guid + "\x00" + strings.Join(kept, " ")))
}

// addHash adds a hash modulo 2^256: a sum needs no order, and unlike an exclusive or does not lose what is there twice.
func addHash(sum *[4]uint64, hash [sha256.Size]byte) {
	carry := uint64(0)
	for i := 3; i >= 0; i-- {
		sum[i], carry = bits.Add64(sum[i], binary.BigEndian.Uint64(hash[8*i:]), carry)
	}
}

// answerDigest answers the other site's engine what our store holds of a mailbox: the digest, or "-" and why there is none.
func (e *Engine) answerDigest(ctx context.Context, remote *wire, mailbox string) error {
	if err := remote.writeLine(peerOK); err != nil {
		return err
	}
	_ = remote.SetDeadline(time.Now().Add(doveadmTimeout))
	row, err := e.directory.Mailbox(ctx, mailbox)
	digest := ""
	if err == nil {
		digest, err = e.digest(ctx, row.Address)
	}
	if err != nil {
		return errors.Join(err, remote.writeLine(digestRefused+err.Error()))
	}
	return remote.writeLine(digest)
}

// peerDigest asks the other site's engine what its store holds of a mailbox.
func (e *Engine) peerDigest(ctx context.Context, mailbox string) (string, error) {
	w, _, err := e.dialPeer(ctx, verbDigest+mailbox)
	if err != nil {
		if strings.Contains(err.Error(), errUnknownRequest.Error()) {
			return "", errUnsupported
		}
		return "", err
	}
	defer func() { _ = w.Close() }()
	_ = w.SetDeadline(time.Now().Add(doveadmTimeout))
	answer, err := w.readLine()
	if err != nil {
		return "", fmt.Errorf("asking the peer for the digest of %s: %w", mailbox, err)
	}
	if why, refused := strings.CutPrefix(answer, digestRefused); refused {
		return "", fmt.Errorf("%w: %s", errAbsent, why)
	}
	return answer, nil
}
