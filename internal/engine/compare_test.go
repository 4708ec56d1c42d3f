package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/mailtest"
)

// pair are two sites' stores as one site's engine sees them.
type pair struct {
	*comparisons
	clock    time.Time
	own      map[string]string
	theirs   map[string]string
	away     error  // the other site's answer
	arriving string // the mailbox in which mail arrives all the time
	unread   error  // why there is no digest of "a" here
	again    map[string]time.Time
}

func newPair() *pair {
	p := &pair{clock: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), own: map[string]string{}, theirs: map[string]string{}, again: map[string]time.Time{}}
	p.comparisons = &comparisons{
		now: func() time.Time { return p.clock }, boxes: map[string]comparison{},
		own: func(_ context.Context, mailbox string) (string, error) {
			if mailbox == "a" && p.unread != nil {
				return "", p.unread
			}
			if mailbox == p.arriving {
				p.own[mailbox] += "+"
			}
			return p.own[mailbox], nil
		},
		theirs: func(_ context.Context, mailbox string) (string, error) {
			if p.theirs[mailbox] == "" && p.away == nil {
				return "", errAbsent
			}
			return p.theirs[mailbox], p.away
		},
		again: func(mailbox string, due time.Time) { p.again[mailbox] = due },
	}
	return p
}

func (p *pair) look(after time.Duration, mailboxes ...string) {
	p.clock = p.clock.Add(after)
	for _, mailbox := range mailboxes {
		_, _ = p.compare(context.Background(), mailbox) // the state tells
	}
}

func TestStoresAreComparedByDigests(t *testing.T) {
	for name, c := range map[string]struct {
		run            func(*pair)
		want           admin.Stores // but for the digests and the times
		agree, unknown bool         // whether the digests over all agree, or there is none yet
		again          bool         // whether "a" is to be synced again
	}{
		"equal digests are in sync":                           {run: func(p *pair) { p.look(0, "a", "b") }, want: admin.Stores{Mailboxes: 2, Compared: 2}, agree: true},
		"before all are compared there is no digest over all": {run: func(p *pair) { p.look(0, "a") }, want: admin.Stores{Mailboxes: 2, Compared: 1}, unknown: true},
		"a difference of a moment is one, and is tried again": {run: func(p *pair) { p.theirs["a"] = "2"; p.look(0, "a", "b") }, want: admin.Stores{Mailboxes: 2, Compared: 2, Differing: 1}, agree: true, again: true},
		"one that lasts has diverged, and is named": {run: func(p *pair) {
			p.theirs["a"] = "2"
			p.look(0, "a", "b")
			p.look(admin.DivergedAfter, "a", "b")
		}, want: admin.Stores{Mailboxes: 2, Compared: 2, Differing: 1, Diverged: 1, Addresses: []string{"a"}}, again: true},
		"one that was mended is none": {run: func(p *pair) {
			p.theirs["a"] = "2"
			p.look(0, "a", "b")
			p.theirs["a"] = "1"
			delete(p.again, "a")
			p.look(admin.DivergedAfter, "a", "b")
		}, want: admin.Stores{Mailboxes: 2, Compared: 2}, agree: true},
		"a mailbox that the other site does not have differs":        {run: func(p *pair) { delete(p.theirs, "a"); p.look(0, "a", "b") }, want: admin.Stores{Mailboxes: 2, Compared: 2, Differing: 1}, agree: true, again: true},
		"mail that arrives between the digests voids the comparison": {run: func(p *pair) { p.arriving = "a"; p.look(0, "a", "b") }, want: admin.Stores{Mailboxes: 2, Compared: 1}, unknown: true},
		"an engine that makes no digests tells nothing":              {run: func(p *pair) { p.away = errUnsupported; p.look(0, "a", "b") }, want: admin.Stores{Mailboxes: 2}, unknown: true},
		"one that cannot be read here differs, and is named": {run: func(p *pair) {
			p.look(0, "a", "b")
			p.unread = errWire
			p.look(0, "a")
			p.look(admin.DivergedAfter-time.Second, "b")
			p.look(time.Second, "a")
		}, want: admin.Stores{Mailboxes: 2, Compared: 1, Differing: 1, Diverged: 1, Addresses: []string{"a"}}, unknown: true},
		"one that can be read again does not": {run: func(p *pair) {
			p.unread = doveadmRefusal("no such thing")
			p.look(0, "a", "b")
			p.unread = nil
			p.look(time.Second, "a")
		}, want: admin.Stores{Mailboxes: 2, Compared: 2}, agree: true},
		"a Dovecot that is not there says nothing of a mailbox": {run: func(p *pair) {
			p.look(0, "a", "b")
			p.unread = &net.OpError{Op: "dial", Err: errors.New("refused")}
			p.look(admin.DivergedAfter-time.Second, "a", "b")
		}, want: admin.Stores{Mailboxes: 2, Compared: 2}, agree: true},
		"what was compared long ago is not known any more": {run: func(p *pair) {
			p.look(0, "a", "b")
			p.state([]string{"a", "b"})
			p.look(compareStale, "a")
		}, want: admin.Stores{Mailboxes: 2, Compared: 1}, agree: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair()
			p.own["a"], p.theirs["a"], p.own["b"], p.theirs["b"] = "1", "1", "1", "1"
			c.run(p)
			got := p.state([]string{"a", "b"})
			if (got.Own == got.Theirs) != (c.agree || c.unknown) || (got.Own == "") != c.unknown {
				t.Errorf("the digests over all are %q and %q", got.Own, got.Theirs)
			}
			if got.Since.IsZero() != (c.want.Differing == 0) {
				t.Errorf("the oldest difference is of %s", got.Since)
			}
			got.Own, got.Theirs, got.Since, got.Reached, got.Failed = "", "", time.Time{}, time.Time{}, time.Time{}
			if len(got.Addresses) == 0 {
				got.Addresses = nil
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, again := p.again["a"]; again != c.again {
				t.Errorf("it is synced again: %v", again)
			}
		})
	}
}

func TestWhetherTheOtherSiteIsReached(t *testing.T) {
	p := newPair()
	p.own["a"], p.theirs["a"] = "1", "1"
	p.look(0, "a")
	reached := p.clock
	p.away = errors.New("no route")
	p.look(time.Minute, "a")
	if got := p.state([]string{"a"}); !got.Reached.Equal(reached) || !got.Failed.Equal(p.clock) || got.Differing != 0 {
		t.Errorf("%+v", got)
	}
}

func TestADigestOverAllMovesOnceAnHour(t *testing.T) {
	p := newPair()
	p.own["a"], p.theirs["a"] = "1", "1"
	p.look(0, "a")
	first := p.state([]string{"a"}).Own
	p.own["a"], p.theirs["a"] = "2", "2"
	p.look(time.Minute, "a")
	if got := p.state([]string{"a"}).Own; got != first {
		t.Error("it moves with a delivery")
	}
	p.look(totalEvery, "a")
	if got := p.state([]string{"a"}).Own; got == first {
		t.Error("after an hour it does not tell of what is new")
	}
}

func TestDigestOfAMailbox(t *testing.T) {
	mailtest.Inside(t, func(t *testing.T) {
		s, _, job := withDovecot(t)
		ctx := t.Context()
		digest := func() string {
			t.Helper()
			d, err := s.engine.digest(ctx, sender)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		save := func(folder string, n int) {
			t.Helper()
			if err := job.MakeFolder(ctx, sender, folder); err != nil {
				t.Fatal(err)
			}
			if _, err := job.Save(ctx, sender, newMessage(folder, n, hostile), bytes.NewReader(hostile)); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[string]string{digest(): "an empty mailbox"}
		changed := func(what string) {
			t.Helper()
			d := digest()
			if was, ok := seen[d]; ok {
				t.Errorf("%s has the digest of %s", what, was)
			}
			seen[d] = what
		}
		save("INBOX", 1)
		changed("one message")
		save("Prot. 2021/Società", 2)
		changed("one in another folder")
		if err := job.SetFlags(ctx, sender, "INBOX", fmt.Sprintf("%032x", 1), []string{`\Seen`}); err != nil {
			t.Fatal(err)
		}
		changed("one that was read")
		keywords := make([]string, 300)
		for i := range keywords {
			keywords[i] = fmt.Sprintf("pratica-%036d", i)
		}
		if err := job.SetFlags(ctx, sender, "INBOX", fmt.Sprintf("%032x", 1), keywords); err != nil {
			t.Fatal(err)
		}
		changed("one with 300 keywords")
		list, err := job.Messages(ctx, sender, "INBOX", 0)
		if err != nil || len(list) != 1 || len(list[0].Flags) != len(keywords) {
			t.Errorf("listed with its keywords: %d messages, %v", len(list), err)
		}
		last := digest()
		save("EXPUNGED", 3)
		if digest() != last {
			t.Error("what the holder deleted counts")
		}

		other := newSite(t, "b", admin.EngineURI("b", ours))
		s.link = s.listen(s.engine.servePeer)
		other.knows(s)
		s.knows(other)
		if got, err := other.engine.peerDigest(ctx, sender); err != nil || got != last {
			t.Errorf("over the link it answers %q, %v; its store has %q", got, err, last)
		}
		if got, err := other.engine.peerDigest(ctx, "nessuno@"+ours); !errors.Is(err, errAbsent) {
			t.Errorf("of a mailbox that it does not hold it answers %q, %v", got, err)
		}
	})
}
