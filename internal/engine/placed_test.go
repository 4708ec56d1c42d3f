package engine

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
	"github.com/pec-operator/pec-operator/internal/engines"
)

// host is the engine under test.
var host = engines.First(types.NamespacedName{Namespace: "gestore", Name: ours})

// operated is an engine and what an operator knows of its directory.
type operated struct {
	*site
	*engines.Directory
	clock  time.Time // the operator's
	server *http.Server
}

func newOperated(t *testing.T) *operated {
	t.Helper()
	m := &operated{site: newSite(t, "a", admin.EngineURI("a", ours))}
	m.clock, m.server = m.now, m.engine.adminServer()
	address := m.listen(serveHTTP(m.server))
	_, port, _ := net.SplitHostPort(address)
	pool := engines.NewPool("a", m.authority, func() time.Time { return m.clock }, func(engines.Key) string { return "localhost:" + port })
	m.Directory = pool.Directory(host)
	return m
}

func (m *operated) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// row is a row of the n-th mailbox.
func (m *operated) row(n int) admin.Mailbox {
	return admin.Mailbox{
		Address: fmt.Sprintf("casella.%d@%s", n, ours), Domain: ours, Password: "{BLF-CRYPT}$2y$05$x", CredentialsVersion: "1", QuotaBytes: 5,
		Access: admin.AccessFull, OrdinaryMail: admin.OrdinaryDiscard, Owner: admin.Owner{Namespace: "comune", UID: "u"},
	}
}

func (m *operated) placeRow(row admin.Mailbox) error {
	_, err := m.Place(context.Background(), admin.Place{Address: row.Address, Mailbox: &row})
	return err
}

// shell runs a statement as a person would who opens the database in the pod.
func (w *world) shell(statement string, args ...any) {
	w.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(w.settings.Files.State, directoryDir, directory.FileName))
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement, args...); err != nil {
		w.t.Fatal(err)
	}
}

// changes are the addresses that a comparison finds changed.
func (m *operated) changes() (addresses []string) {
	m.t.Helper()
	m.must(m.Compare(context.Background()))
	for _, row := range m.Changes() {
		addresses = append(addresses, row.Address)
	}
	slices.Sort(addresses)
	return addresses
}

func TestTheOperatorKnowsWhatTheDirectoryHolds(t *testing.T) {
	m := newOperated(t)
	if got := m.changes(); got != nil {
		t.Fatalf("what is read first passes for changed: %v", got)
	}
	const many = 300
	var group errgroup.Group
	for n := range many {
		group.Go(func() error { return m.placeRow(m.row(n)) })
	}
	m.must(group.Wait())
	if got := m.changes(); got != nil {
		t.Fatalf("what was asked for passes for changed by somebody else: %v", got)
	}
	held, err := m.Mailbox(t.Context(), m.row(7).Address)
	if err != nil || !held.There || !held.Settled || !held.Mailbox.Same(m.row(7)) || held.Mailbox.Password != "" {
		t.Fatalf("placed %+v, %v", held, err)
	}
	rows, err := m.Rows(t.Context(), ours)
	if err != nil || len(rows) < many {
		t.Fatalf("%d rows, %v", len(rows), err)
	}

	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"nothing", func() {}, nil},
		{"a quota, by a person with a shell", func() { m.shell("UPDATE mailbox SET quota_bytes = 9 WHERE address = ?", m.row(3).Address) }, []string{m.row(3).Address}},
		{"a password, by a person with a shell", func() {
			m.shell("UPDATE mailbox SET password = '{BLF-CRYPT}$2y$05$y' WHERE address = ?", m.row(4).Address)
		}, []string{m.row(4).Address}},
		{"what a holder is given, made unreadable", func() { m.shell("UPDATE mailbox SET given = '{' WHERE address = ?", m.row(5).Address) }, nil},
		{"two rows, taken out", func() { m.shell("DELETE FROM mailbox WHERE address IN (?, ?)", m.row(1).Address, m.row(2).Address) }, []string{m.row(1).Address, m.row(2).Address}},
		{"a holder's choice", func() {
			m.must(m.engine.choose(t.Context(), choice{Address: m.row(6).Address, Setting: admin.ChoiceRules, Rules: []admin.Rule{{Name: "a", Header: "From", Contains: "b", Folder: "C"}}}, anybody))
		}, nil}, // it is not left to him
		{"the same choice, once it is", func() {
			_, err := m.Place(t.Context(), admin.Place{Address: m.row(6).Address, Given: &admin.Given{MayChange: []admin.Choice{admin.ChoiceRules}}})
			m.must(err)
			m.must(m.engine.choose(t.Context(), choice{Address: m.row(6).Address, Setting: admin.ChoiceRules, Rules: []admin.Rule{{Name: "a", Header: "From", Contains: "b", Folder: "D"}}}, anybody))
		}, []string{m.row(6).Address}},
	} {
		step.do()
		if diff := cmp.Diff(step.want, m.changes()); diff != "" {
			t.Errorf("after %s (-want +changed):\n%s", step.name, diff)
		}
	}
	if gone, err := m.Mailbox(t.Context(), m.row(1).Address); gone.There || err != nil {
		t.Errorf("a row that was taken out is there: %v", err)
	}

	m.must(m.server.Close())
	if _, err := m.Mailbox(t.Context(), m.row(7).Address); err != nil {
		t.Errorf("an answer of just now is not good enough: %v", err)
	}
	m.clock = m.clock.Add(time.Minute)
	if _, err := m.Mailbox(t.Context(), m.row(7).Address); err == nil {
		t.Error("an engine that does not answer is taken at its word of a minute ago")
	}
	if rows, err := m.Rows(t.Context(), ours); err == nil || len(rows) < many-2 {
		t.Errorf("of an engine that does not answer %d rows are known, %v", len(rows), err)
	}
}

func TestOnePlaceHoldsUpNoOther(t *testing.T) {
	m := newOperated(t)
	m.must(m.Compare(t.Context()))
	foreign, own, ruled := m.row(1), m.row(2), m.row(3)
	foreign.Address, foreign.Domain = "x@altro.test", "altro.test"
	own.Address = "ricevute@" + ours
	ruled.Access = admin.AccessSuspended
	unruly := admin.Given{Rules: []admin.Rule{{Name: "a", Header: "Bcc", Contains: "b", Folder: "C"}}}
	var good, bad errgroup.Group
	for n := 10; n < 60; n++ {
		good.Go(func() error { return m.placeRow(m.row(n)) })
	}
	for _, row := range []admin.Mailbox{foreign, own} {
		bad.Go(func() error {
			if err := m.placeRow(row); err == nil || !strings.Contains(err.Error(), "the engine refuses") {
				return fmt.Errorf("%s: %w", row.Address, err)
			}
			return nil
		})
	}
	bad.Go(func() error {
		if _, err := m.Place(t.Context(), admin.Place{Address: ruled.Address, Mailbox: &ruled, Given: &unruly}); err == nil {
			return fmt.Errorf("rules that cannot be followed were taken")
		}
		return nil
	})
	m.must(good.Wait())
	m.must(bad.Wait())
	if held, err := m.Mailbox(t.Context(), ruled.Address); err != nil || !held.There || !held.Settled || held.Mailbox.Access != admin.AccessSuspended {
		t.Errorf("bad rules kept an access from being withdrawn: %+v, %v", held.Mailbox, err)
	}
	if got := m.changes(); got != nil {
		t.Errorf("the operator knows something else than the directory holds: %v", got)
	}
}

// What an engine of an earlier release does not know, it refuses with all that came with it: nobody else is told that it was his.
func TestAnUnknownFieldHoldsUpNoOther(t *testing.T) {
	m := newOperated(t)
	m.must(m.Compare(t.Context()))
	newer := m.row(1)
	newer.AdmittedIn = "gestore/nuovo.example"
	handler := m.server.Handler
	m.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		raw = bytes.ReplaceAll(raw, []byte(`"admittedIn":`), []byte(`"admittedByALaterRelease":`))
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
		handler.ServeHTTP(w, r)
	})
	var group errgroup.Group
	for n := 10; n < 60; n++ {
		group.Go(func() error { return m.placeRow(m.row(n)) })
		if n != 30 { // in the midst of the others, so that it goes with some of them
			continue
		}
		group.Go(func() error {
			if err := m.placeRow(newer); !errors.Is(err, admin.ErrRefused) || !strings.Contains(err.Error(), "admittedByALaterRelease") {
				return fmt.Errorf("of what the engine does not know it says: %w", err)
			}
			return nil
		})
	}
	m.must(group.Wait())
	if held, err := m.Mailbox(t.Context(), newer.Address); held.There || err != nil {
		t.Errorf("it is there: %v, %v", held.There, err)
	}
}

// A Dovecot that says nothing of one mailbox's sessions costs the mailboxes that are placed with it a wait, and no answer.
func TestSessionsThatDoNotEndHoldUpNoOther(t *testing.T) {
	m := newOperated(t)
	c := m.client(admin.OperatorURI("a"), m.authority)
	first, second := m.row(1), m.row(2)
	m.must(m.placeRow(first))
	m.must(m.placeRow(second))
	m.kicks.hangs = first.Address
	for _, row := range []*admin.Mailbox{&first, &second} {
		row.Password, row.Access = "", admin.AccessSuspended
	}
	answers, err := c.Place(t.Context(), []admin.Place{{Address: first.Address, Mailbox: &first}, {Address: second.Address, Mailbox: &second}})
	m.must(err)
	if answers[0].Failed == "" || answers[1].Failed != "" || answers[1].Placed.Mailbox.Access != admin.AccessSuspended {
		t.Errorf("answered %+v", answers)
	}
}

// Whoever judged a row and lingered (a pass over a thousand, a leader that was paused) finds it another's, and closes nothing. Every other
// end of a row is told to who may have made its Mailbox again.
func TestARowEndsOnlyAsItWasJudged(t *testing.T) {
	m := newOperated(t)
	m.must(m.Compare(t.Context()))
	judged := m.row(1)
	m.must(m.placeRow(judged))
	closed := judged
	closed.Password, closed.Access, closed.ClosedAt = "", admin.AccessClosed, m.now.Truncate(time.Second)
	end := admin.Place{Address: judged.Address, Mailbox: &closed, If: &judged}

	again := judged
	again.Password, again.Owner.UID = "", "made again"
	m.must(m.placeRow(again))
	if _, err := m.Place(t.Context(), end); !errors.Is(err, admin.ErrChanged) {
		t.Errorf("a row of another Mailbox than was judged: %v", err)
	}
	held, err := m.Mailbox(t.Context(), judged.Address)
	if err != nil || !held.Settled || !held.Mailbox.Same(again) {
		t.Errorf("it is %+v, settled %v, %v", held.Mailbox, held.Settled, err)
	}
	if last, _ := m.engine.standings.of("a", mailboxStanding{Address: judged.Address}); last.Closed || last.Owner != again.Owner {
		t.Errorf("the log says %+v", last)
	}
	end.If = &held.Mailbox
	if _, err := m.Place(t.Context(), end); err != nil {
		t.Errorf("as it was judged: %v", err)
	}
	if got := m.changes(); !slices.Equal(got, []string{judged.Address}) {
		t.Errorf("its end is told of %v", got)
	}
	missing := m.row(2)
	if _, err := m.Place(t.Context(), admin.Place{Address: missing.Address, Mailbox: &missing, If: &missing}); !errors.Is(err, admin.ErrChanged) {
		t.Errorf("a row that is not there: %v", err)
	}
}

// The rights of before end with the sessions, also when Dovecot did not answer at first.
func TestSessionsEndWithTheirRights(t *testing.T) {
	m := newOperated(t)
	row := m.row(1)
	m.must(m.placeRow(row))
	row.Password = ""
	kicked := func() []string {
		m.kicks.Lock()
		defer m.kicks.Unlock()
		of := m.kicks.of
		m.kicks.of = nil
		return of
	}
	if got := kicked(); got != nil {
		t.Errorf("a new mailbox had sessions: %v", got)
	}
	for _, step := range []struct {
		name   string
		change func()
		want   []string
	}{
		{"nothing", func() {}, nil},
		{"a quota", func() { row.QuotaBytes = 6 }, []string{row.Address}},
		{"an access", func() { row.Access = admin.AccessReadOnly }, []string{row.Address}},
		{"a password", func() { row.Password, row.CredentialsVersion = "{BLF-CRYPT}$2y$05$z", "2" }, []string{row.Address}},
		{"ordinary mail", func() { row.Password, row.OrdinaryMail = "", admin.OrdinaryDeliver }, nil},
		{"the beginning of a Freeze", func() { row.FrozenUntil = m.now.Add(time.Hour) }, []string{row.Address}},
		{"its end", func() { row.FrozenUntil = time.Time{} }, nil},
	} {
		step.change()
		m.must(m.placeRow(row))
		if diff := cmp.Diff(step.want, kicked()); diff != "" {
			t.Errorf("a change of %s ended sessions (-want +got):\n%s", step.name, diff)
		}
	}
	m.kicks.fail = true
	row.QuotaBytes = 7
	if err := m.placeRow(row); err == nil {
		t.Fatal("the sessions live on, and nobody says so")
	}
	if half, err := m.Mailbox(t.Context(), row.Address); half.Settled || err != nil {
		t.Errorf("what is half done passes for done: %v", err)
	}
	m.kicks.fail = false
	m.must(m.placeRow(row))
	if got := kicked(); !slices.Equal(got, []string{row.Address}) {
		t.Errorf("the second time ended %v", got)
	}
	if whole, err := m.Mailbox(t.Context(), row.Address); !whole.Settled || err != nil {
		t.Errorf("what is done passes for half done: %v", err)
	}
}

// Scripts are managed in sessions too: who may not change rules any more has none that is open.
func TestSessionsEndWhenRulesAreNotTheHoldersAnyMore(t *testing.T) {
	w := givenWorld(t)
	for _, step := range []struct {
		may  []admin.Choice
		want int
	}{{[]admin.Choice{admin.ChoiceRules}, 0}, {[]admin.Choice{admin.ChoicePassword}, 1}, {nil, 0}, {allChoices, 0}} {
		before := len(w.kicked())
		w.give(sender, admin.Given{MayChange: step.may})
		if got := w.kicked()[before:]; len(got) != step.want {
			t.Errorf("that he may change %v ended %v, want %d", step.may, got, step.want)
		}
	}
}

// A former holder's script does nothing for whoever gets the address next, also when Dovecot did not answer until then: nobody asks a
// second time for a row that is open already. It is he who ends it, and not the closing: a script's end goes to the other site, where
// the holder may still be. Until then mail for the next one waits.
func TestAMailboxThatIsOpenedAgainHasNoActiveScript(t *testing.T) {
	for name, c := range map[string]struct {
		deaf    bool
		between func(*world)
	}{
		"Dovecot answers":               {},
		"it answers later":              {deaf: true},
		"and the engine died meanwhile": {deaf: true, between: (*world).crash},
		"and something else was changed meanwhile": {deaf: true, between: func(w *world) {
			m := admin.Mailbox{Address: sender, Domain: ours, CredentialsVersion: "s/2", QuotaBytes: 1 << 20, Access: admin.AccessFull, OrdinaryMail: admin.OrdinaryDeliver}
			w.placing(admin.Place{Address: sender, Mailbox: &m})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := givenWorld(t)
			w.close(admin.Mailbox{Address: sender, Domain: ours, CredentialsVersion: "s/1", QuotaBytes: 1})
			for _, again := range endAgain {
				w.later(again)
				w.engine.endSessions(t.Context())
			}
			if got := w.deactivated(); len(got) > 0 {
				t.Errorf("the scripts of %v were deactivated when it was closed", got)
			}
			w.deafDovecot(c.deaf)
			next := admin.Mailbox{Address: sender, Domain: ours, CredentialsVersion: "s/2", QuotaBytes: 2 << 20, Access: admin.AccessFull, OrdinaryMail: admin.OrdinaryDeliver}
			if a := w.placing(admin.Place{Address: sender, Mailbox: &next}); c.deaf != strings.Contains(a.Failed, "does not answer") {
				t.Errorf("the operator hears %+v", a)
			}
			if c.between != nil {
				c.between(w)
			}
			_, envelope := foreignEnvelope(t, colleague, sender, "q1")
			w.arrive(colleague, []string{sender}, envelope)
			w.arrive(stranger, []string{sender}, []byte(letter(stranger, sender, "")))
			for _, q := range slices.Clone(w.queue) {
				for _, err := range w.engine.incoming(q.mail) {
					if (err != nil) != c.deaf {
						t.Errorf("mail from %s: %v", q.from, err)
					}
				}
			}
			if got := w.titles(sender); c.deaf && len(got) > 0 {
				t.Errorf("the former holder's script has filed %v", got)
			}
			w.deafDovecot(false)
			if failed := w.engine.endSessions(t.Context()); len(failed) > 0 || !slices.Equal(w.deactivated(), []string{sender}) {
				t.Errorf("%v; the scripts of %v were deactivated", failed, w.deactivated())
			}
			w.run(enoughRounds)
			if got := w.titles(sender); len(got) != 2 {
				t.Errorf("the next holder has %v", got)
			}
			for _, again := range endAgain {
				w.later(again)
				w.put(sender, "s/4", first, admin.AccessFull)
				w.engine.endSessions(t.Context())
			}
			if got := w.deactivated(); len(got) != 1 {
				t.Errorf("the next holder's script is deactivated: %v", got)
			}
		})
	}
}

// The sync takes the newest word on which script is active to both sites: a site that opens a mailbox after the other one leaves the script
// that its next holder activated there meanwhile.
func TestASiteThatOpensAMailboxLaterLeavesTheNextHoldersScript(t *testing.T) {
	open := func(x *twin) {
		row := former(t, "nuova", admin.AccessFull, 1<<20)
		if before, err := x.engine.directory.Mailbox(t.Context(), row.Address); err == nil {
			row.ClosedAt = before.ClosedAt // as the operator does
		}
		x.place(admin.Place{Address: row.Address, Mailbox: &row})
	}
	closed := func(sites ...*twin) {
		for _, x := range sites {
			open(x)
		}
		for _, x := range sites {
			x.close(former(t, "nuova", admin.AccessFull, 1<<20))
		}
	}
	told := func(t *testing.T, a, b *twin) { agree(t, a, b); later(time.Minute, a, b) }
	for name, c := range map[string]struct {
		before func(t *testing.T, a, b *twin)
		a, b   int // how often each site put a script aside
	}{
		"the other site opened it again": {func(t *testing.T, a, b *twin) {
			closed(a, b)
			told(t, a, b)
			open(a)
			told(t, a, b)
		}, 1, 0},
		"the other site opened it again, and this one was built anew since": {func(t *testing.T, a, b *twin) {
			closed(a, b)
			told(t, a, b)
			open(a)
			told(t, a, b)
			b.rebuild(a)
			told(t, a, b)
		}, 1, 0},
		"the other site did so before it was closed here": {func(t *testing.T, a, b *twin) {
			closed(a)
			told(t, a, b)
			open(a)
			told(t, a, b)
			closed(b)
		}, 1, 1},
		"the other site has it closed": {func(t *testing.T, a, b *twin) {
			closed(a, b)
			told(t, a, b)
		}, 0, 1},
		"this site does not know that the other one opened it again": {func(t *testing.T, a, b *twin) {
			closed(a, b)
			told(t, a, b)
			cut(a, b)
			open(a)
		}, 1, 1},
		"the other site has it for the first time, and put nothing aside": {func(t *testing.T, a, b *twin) {
			cut(a, b)
			closed(b)
			later(time.Minute, a, b)
			open(a)
			heal(a, b)
			told(t, a, b)
		}, 0, 1},
		"the other site opened it again, and was given up": {func(t *testing.T, a, b *twin) {
			closed(a, b)
			told(t, a, b)
			open(a)
			told(t, a, b)
			a.stop()
			if err := b.engine.directory.PutPeer(t.Context(), admin.Peer{}); err != nil {
				t.Fatal(err)
			}
		}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newTwins(t)
			c.before(t, a, b)
			b.engine.sync.mu.Lock()
			clear(b.engine.sync.pending)
			b.engine.sync.mu.Unlock()
			open(b)
			if b.engine.sync.mu.Lock(); len(b.engine.sync.pending) != 1 {
				t.Errorf("to be synced: %v", b.engine.sync.pending)
			}
			b.engine.sync.mu.Unlock()
			b.engine.mergeable.Store("nuova@"+ours, true)
			if err := b.engine.syncMailbox(t.Context(), "nuova@"+ours); err != nil {
				t.Error(err)
			}
			for _, again := range endAgain {
				later(again, a, b)
				a.engine.endSessions(t.Context())
				b.engine.endSessions(t.Context())
			}
			if gotA, gotB := len(a.deactivated()), len(b.deactivated()); gotA != c.a || gotB != c.b {
				t.Errorf("site a put the script aside %d times and site b %d times, want %d and %d", gotA, gotB, c.a, c.b)
			}
		})
	}
}

// Until the word of the site that deactivates the former holder's script is here, mail waits; where it does not come, not for ever.
func TestMailWaitsForTheOtherSitesWordOnAFormerHoldersScript(t *testing.T) {
	for name, c := range map[string]struct {
		comes bool
		here  int // how often this site deactivated it
	}{"a sync brings it": {true, 0}, "none comes": {false, 1}} {
		t.Run(name, func(t *testing.T) {
			a, b := newTwins(t)
			row := former(t, "nuova", admin.AccessFull, 1<<20)
			for _, x := range []*twin{a, b} {
				x.engine.mergeable.Store(row.Address, true)
				x.place(admin.Place{Address: row.Address, Mailbox: &row})
			}
			closed := map[*twin]admin.Mailbox{a: a.close(row), b: b.close(row)}
			open := func(x *twin) admin.Answer {
				next := row
				next.ClosedAt, next.Owner.UID = closed[x].ClosedAt, "u-2"
				return x.placing(admin.Place{Address: row.Address, Mailbox: &next})
			}
			agree(t, a, b)
			later(time.Minute, a, b)
			b.merges = a.engine.readyToMerge // what the other site asks before its Dovecot begins
			a.deafDovecot(true)
			open(a)
			agree(t, a, b)
			if answer := open(b); answer.Failed != "" {
				t.Fatal(answer.Failed)
			}
			_, envelope := foreignEnvelope(t, colleague, row.Address, "q1")
			b.arrive(colleague, []string{row.Address}, envelope)
			comes := func(when string, want bool) {
				t.Helper()
				for _, err := range b.engine.incoming(b.queue[0].mail) {
					if (err == nil) != want {
						t.Errorf("%s: %v", when, err)
					}
				}
				if got := b.titles(row.Address); (len(got) > 0) != want {
					t.Errorf("%s the mailbox holds %v", when, got)
				}
			}
			comes("before the other site has deactivated it", false)
			if err := b.engine.syncMailbox(t.Context(), row.Address); err == nil {
				t.Error("a sync brings the script as it was")
			}
			comes("after a sync that failed", false)
			if c.comes {
				a.deafDovecot(false)
				a.engine.sync.mu.Lock()
				clear(a.engine.sync.pending)
				a.engine.sync.mu.Unlock()
				a.engine.endSessions(t.Context())
				a.engine.sync.mu.Lock()
				if len(a.engine.sync.pending) != 1 {
					t.Error("the word does not leave the site that says it")
				}
				a.engine.sync.mu.Unlock()
				if err := b.engine.syncMailbox(t.Context(), row.Address); err != nil {
					t.Error(err)
				}
				comes("when a sync brought that", true)
			}
			for _, again := range endAgain {
				later(again, a, b)
				b.engine.endSessions(t.Context())
			}
			comes("at the end", true)
			if got := len(b.deactivated()); got != c.here {
				t.Errorf("this site deactivated it %d times, want %d", got, c.here)
			}
		})
	}
}
