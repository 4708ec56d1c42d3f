package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/mailtest"
	"github.com/pec-operator/pec-operator/internal/store"
)

const anna = "anna@" + ours

// mailTwin is a twin with a real Dovecot.
type mailTwin struct {
	*twin
	dovecot *mailtest.Stack
	t       *testing.T // the case's; what starts again belongs to the whole test
}

// newMailTwins are the two sites of a domain with their Dovecots. What the syncer does in the background a test does itself.
func newMailTwins(t *testing.T) (a, b *mailTwin) {
	t.Helper()
	atA, atB := mailtest.StartTwins(t, ours, hashed(t, first), anna)
	x, y := newTwins(t)
	a, b = &mailTwin{x, atA, t}, &mailTwin{y, atB, t}
	for _, m := range []*mailTwin{a, b} {
		m.door.leadTo("")
		m.between(func() {
			w := m.world
			w.dovecot = m.dovecot.Host
			w.settings.Next.Doveadm, w.settings.Next.LMTP = m.dovecot.Host+":24245", m.dovecot.Host+":2424"
			w.settings.Listen.SyncDestination = m.carrySyncs()
			if err := os.WriteFile(w.settings.Files.DoveadmPassword, []byte(mailtest.DoveadmPassword), 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
	return a, b
}

// carrySyncs is where the site's Dovecot syncs to, whichever engine runs there.
func (m *mailTwin) carrySyncs() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_ = m.engine.carrySync(context.Background(), newWire(conn)) // the sync's own answer tells
			}()
		}
	}()
	return l.Addr().String()
}

// mail is what a mailbox holds: folder, UID, GUID, flags and more, one message a line, in order.
func (m *mailTwin) fetch(fields ...string) []string {
	m.t.Helper()
	lines := []string{}
	err := m.engine.doveadmTCP.with(m.t.Context(), func(c *doveadmConn) error {
		lines = lines[:0]
		return c.run(len(fields), func(f []string) error { lines = append(lines, strings.Join(f, " ")); return nil }, anna, "fetch", strings.Join(fields, " "), "mailbox", "*")
	})
	if err != nil {
		m.t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

// holder is a session of anna's at the site. Its mailbox is the one in which she finds the message.
func (m *mailTwin) holder(do func(c *imapclient.Client) error) {
	m.t.Helper()
	c, err := imapclient.DialTLS(m.dovecot.Host+":10993", &imapclient.Options{TLSConfig: &tls.Config{InsecureSkipVerify: true}})
	if err == nil {
		defer c.Close()
		if err = c.Login(anna, first).Wait(); err == nil {
			_, err = c.Select("INBOX", nil).Wait()
		}
	}
	if err == nil {
		err = do(c)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

var newest = imap.SeqSetNum(1) // each case begins with an empty mailbox

func (m *mailTwin) reads(flags ...imap.Flag) {
	m.holder(func(c *imapclient.Client) error {
		return c.Store(newest, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: flags, Silent: true}, nil).Close()
	})
}

func (m *mailTwin) files(folder string) {
	m.holder(func(c *imapclient.Client) error {
		_ = c.Create(folder, nil).Wait() // it may be there
		_, err := c.Move(newest, folder).Wait()
		return err
	})
}

func (m *mailTwin) copies(folder string) {
	m.holder(func(c *imapclient.Client) error {
		_ = c.Create(folder, nil).Wait()
		_, err := c.Copy(newest, folder).Wait()
		return err
	})
}

func (m *mailTwin) deletes() {
	m.reads(imap.FlagDeleted)
	m.holder(func(c *imapclient.Client) error { return c.Expunge().Close() })
}

// held is what a holder sees, one message a line: folder and flags.
func (m *mailTwin) held() (lines []string) {
	for _, line := range m.fetch("mailbox", "flags") {
		words := slices.DeleteFunc(strings.Fields(line), func(word string) bool { return word == `\Recent` })
		if words[0] != store.Expunged {
			lines = append(lines, strings.Join(words, " "))
		}
	}
	slices.Sort(lines)
	return lines
}

// empty takes all that a mailbox holds out of it, the deleted too.
func (m *mailTwin) empty() {
	for range 2 {
		if err := m.engine.doveadmTCP.with(m.t.Context(), func(c *doveadmConn) error { return c.run(1, ignoreRow, anna, "expunge", "mailbox", "*", "all") }); err != nil {
			m.t.Fatal(err)
		}
	}
}

// settle has both sites sync and compare until their stores are equal and nothing is undecided.
func settle(t *testing.T, a, b *mailTwin) {
	t.Helper()
	eventually(t, func() string {
		for _, m := range []*mailTwin{a, b} {
			if err := m.engine.syncAndCompare(t.Context(), anna); err != nil {
				t.Fatal(err)
			}
		}
		one, err := a.engine.digest(t.Context(), anna)
		two, errToo := b.engine.digest(t.Context(), anna)
		if open := len(a.engine.doubles.of(anna)) + len(b.engine.doubles.of(anna)); err != nil || errToo != nil || one != two || open > 0 {
			return fmt.Sprintf("the digests are %s and %s, %d undecided", one, two, open)
		}
		return ""
	})
}

// die has an engine killed at its n-th record from now on, before or after it is written, while it syncs.
func (m *mailTwin) die(n int, after bool) {
	m.t.Helper()
	m.engine.journal = &crashing{journal: m.engine.journal, left: n, after: after}
	if survived(func() { _ = m.engine.syncAndCompare(m.t.Context(), anna) }) {
		m.t.Error("it lived")
	}
	m.kill()
}

func TestWhatBothSitesDeliveredIsThereOnce(t *testing.T) {
	mailtest.Inside(t, func(t *testing.T) {
		a, b := newMailTwins(t)
		b.queues = 1000 // another Postfix, other queue identifiers
		for i, c := range []struct {
			name  string
			apart func()   // what happens while the sites are apart
			after func()   // and when the stores were merged, before anything else
			other bool     // whether the document that b gets has another content
			want  []string // folder and flags
			text  string   // of the evidence
		}{
			{name: "one of two stays", want: []string{"INBOX"}, text: textUnited},
			{name: "with the flags of both", apart: func() { a.reads(imap.FlagFlagged, "lavoro"); b.reads(imap.FlagSeen) }, want: []string{`INBOX \Flagged \Seen lavoro`}, text: textUnited},
			{name: "the one that the holder filed, not the first", apart: func() { b.files("Prot") }, want: []string{"Prot"}, text: textUnited},
			{name: "the one that the holder filed, and the first", apart: func() { a.files("Prot") }, want: []string{"Prot"}, text: textUnited},
			{name: "when one was deleted the other stays", apart: func() { b.deletes() }, want: []string{"INBOX"}, text: textDeleted},
			{name: "also the later one", after: func() { a.deletes() }, want: []string{"INBOX"}, text: textDeleted},
			{name: "what is marked as deleted is", apart: func() { a.reads(imap.FlagDeleted) }, want: []string{"INBOX", `INBOX \Deleted`}, text: textDeleted},
			{name: "a copy in the same folder keeps all", apart: func() { b.copies("INBOX") }, want: []string{"INBOX", "INBOX", "INBOX"}, text: textCopied},
			{name: "a copy in another folder keeps all", apart: func() { a.copies("Prot") }, want: []string{"INBOX", "INBOX", "Prot"}, text: textCopied},
			{name: "two that were filed apart stay", apart: func() { a.files("Prot"); b.files("Altra") }, want: []string{"Altra", "Prot"}, text: textFiled},
			{name: "two documents of one name stay", other: true, want: []string{"INBOX", "INBOX"}, text: textOther},
			{name: "an engine that dies before it wrote down what it will do", after: func() { a.die(1, false) }, want: []string{"INBOX"}, text: textUnited},
			{name: "before it did it", after: func() { a.die(1, true) }, want: []string{"INBOX"}, text: textUnited},
			{name: "before it wrote down that it did it", after: func() { a.die(2, false) }, want: []string{"INBOX"}, text: textUnited},
			{name: "with its last record", after: func() { a.die(2, true) }, want: []string{"INBOX"}, text: textUnited},
		} {
			t.Run(c.name, func(t *testing.T) {
				a.t, b.t = t, t
				a.kill() // links that were cut again and again are tried ever more seldom
				b.kill()
				a.empty()
				b.empty()
				agree(t, a.twin, b.twin)
				settle(t, a, b)
				cut(a.twin, b.twin)
				_, raw := foreignEnvelope(t, colleague, anna, fmt.Sprint("q", i))
				for _, m := range []*mailTwin{a, b} {
					if answer := m.arrive(colleague, []string{anna}, raw); answer != "" {
						t.Fatal(answer)
					}
					m.world.run(enoughRounds)
					later(time.Minute, a.twin, b.twin)
					if c.other {
						_, raw = foreignEnvelopeOf(t, colleague, anna, fmt.Sprint("q", i), letter(colleague, anna, "X-Altro: si\r\n"))
					}
				}
				if c.apart != nil {
					c.apart()
				}
				heal(a.twin, b.twin)
				agree(t, a.twin, b.twin)
				if c.after != nil {
					for range 3 {
						if err := a.engine.syncMailbox(t.Context(), anna); err != nil {
							t.Fatal(err)
						}
					}
					c.after()
					agree(t, a.twin, b.twin)
				}
				settle(t, a, b)
				for _, m := range []*mailTwin{a, b} {
					if diff := cmp.Diff(c.want, m.held()); diff != "" {
						t.Errorf("at site %s (-want +got):\n%s", m.settings.Site, diff)
					}
				}
				ends := append(evidenceOf(t, a.twin, kindUnited), evidenceOf(t, b.twin, kindUnited)...)
				if len(ends) != i+1 {
					t.Fatalf("%d records of an end, want %d", len(ends), i+1)
				}
				var end union
				if err := ends[i].Decode(&end); err != nil || end.Text != c.text {
					t.Errorf("the record says %+v, %v", end, err)
				}
			})
		}
		a.t, b.t = t, t
		// What was decided stays decided, whatever there is after a start.
		held, records := a.held(), len(recordsOf(t, a.engine.evidence))
		a.kill()
		b.kill()
		agree(t, a.twin, b.twin)
		settle(t, a, b)
		if diff := cmp.Diff(held, b.held()); diff != "" || len(recordsOf(t, a.engine.evidence)) != records {
			t.Errorf("after a start something was done (-before +after):\n%s", diff)
		}
	})
}

// A merge renumbers by copy and expunge, and between the two it needs the folder of the deleted: both sites have it before theirs
// begins, whoever begins, and no merge begins where it cannot be made.
func TestTheFolderOfTheDeletedIsThereBeforeAMerge(t *testing.T) {
	mailtest.Inside(t, func(t *testing.T) {
		a, b := newMailTwins(t)
		agree(t, a.twin, b.twin)
		for _, m := range []*mailTwin{a, b} {
			if folders := m.folders(); slices.Contains(folders, store.Expunged) {
				t.Fatalf("before any merge site %s has %q", m.settings.Site, folders)
			}
		}
		begun := make(chan [2][]string, 1)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		go func() { // where a's Dovecot begins its dsync; the other end is ready when b's engine has answered
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			atA := a.folders()
			remote, _, err := a.engine.dialPeer(context.Background(), verbSync+anna)
			if err != nil {
				begun <- [2][]string{atA, {err.Error()}}
				return
			}
			_ = remote.Close()
			begun <- [2][]string{atA, b.folders()}
		}()
		a.engine.settings.Listen.SyncDestination = l.Addr().String()
		if err := a.engine.syncMailbox(t.Context(), anna); err == nil {
			t.Error("a merge that was cut at its beginning is done")
		}
		for i, folders := range <-begun {
			if !slices.Contains(folders, store.Expunged) {
				t.Errorf("when the merge began, site %d had the folders %q", i, folders)
			}
		}
		refused := errors.New("no")
		a.engine.mergeable.Clear()
		a.engine.doveadmTCP.password = func() (string, error) { return "", refused }
		a.engine.doveadmTCP.close()
		if err := a.engine.syncMailbox(t.Context(), anna); !errors.Is(err, refused) {
			t.Errorf("without the folder the merge ends with %v", err)
		}
	})
}

func (m *mailTwin) folders() (names []string) {
	if err := m.engine.doveadmTCP.with(m.t.Context(), func(c *doveadmConn) error {
		names = names[:0]
		return c.run(1, func(f []string) error { names = append(names, f[0]); return nil }, anna, "mailbox list")
	}); err != nil {
		m.t.Error(err)
	}
	return names
}

// The mailbox may have been synced before either site knew that both delivered the message, before both copies were here, or before the other
// site was heard. Nothing else happens in it, and the two would stand there until all mailboxes have their turn. Where none of that happens,
// the mailbox waits for its turn.
func TestAMessageThatBothSitesDeliveredAsksForASync(t *testing.T) {
	a, b := newTwins(t)
	b.queues = 1000
	cut(a, b)
	_, raw := foreignEnvelope(t, colleague, anna, "q")
	for _, x := range []*twin{a, b} {
		if answer := x.arrive(colleague, []string{anna}, raw); answer != "" {
			t.Fatal(answer)
		}
		x.world.run(enoughRounds)
		later(time.Minute, a, b)
	}
	listed := func(x *twin, forget bool) bool {
		x.engine.sync.mu.Lock()
		defer x.engine.sync.mu.Unlock()
		_, is := x.engine.sync.pending[anna]
		if forget {
			clear(x.engine.sync.pending)
		}
		return is
	}
	waits := func(why string) {
		t.Helper()
		listed(a, true)
		if err := a.engine.unite(t.Context(), anna); err != nil || listed(a, false) {
			t.Errorf("%s, and the mailbox is synced again: %v", why, err)
		}
	}
	asks := func(x *twin, why string) {
		t.Helper()
		eventually(t, func() string {
			if !listed(x, true) {
				return "at site " + x.settings.Site + " " + why + ", and nothing is synced"
			}
			return ""
		})
	}
	var ofB deliveryData
	if err := evidenceOf(t, b, kindDelivering)[0].Decode(&ofB); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(b.settings.Files.State, custodyDir, ofB.Digest[:2], ofB.Digest)
	moved := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	moved(kept, kept+".away")
	listed(a, true)
	listed(b, true)
	heal(a, b)
	agree(t, a, b)
	asks(a, "both deliveries are known")
	asks(b, "both deliveries are known")
	waits("the other site's copy cannot be had")
	cut(a, b)
	moved(kept+".away", kept)
	heal(a, b)
	asks(a, "the copy has come")
	cut(a, b)
	later(2*silentAfter, a, b)
	waits("the other site is not heard")
	heal(a, b)
	asks(a, "the other site is heard again")
}
