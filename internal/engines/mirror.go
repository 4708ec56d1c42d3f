package engines

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// maxAge is how old the mirror's word may be: what the stack changed by itself is seen after that at the latest.
const maxAge = 2 * time.Second

// Mirror is the directory of one engine as the operator knows it. Passes read it instead of the engine, and hand it what they want
// placed: while one request is under way, those that come meanwhile gather for the next. One small request in a while says whether
// both still hold the same; only buckets that differ are read. It is safe for concurrent use.
type Mirror struct {
	client *admin.Client
	now    func() time.Time
	asking singleflight.Group
	// turn is held by the one request to the directory that is under way, so that no answer overtakes a later one.
	turn sync.Mutex

	mu      sync.Mutex
	placed  map[string]admin.Placed // by address; nil before the first answer
	domains map[string]map[string]bool
	tree    admin.Tree
	known   string // the digest over all
	recall  admin.Recall
	asked   time.Time // when the engine last answered
	failed  error     // why it did not, at refused
	refused time.Time
	retried bool // somebody asks again since it failed
	// unsettled are the addresses whose last place was not carried out to its end.
	unsettled map[string]bool
	changes   []admin.Mailbox
	waiting   []*placing
	flushing  bool
}

// placing is one place that waits for its request.
type placing struct {
	place  admin.Place
	done   chan struct{}
	placed admin.Placed
	err    error
}

func newMirror(c *admin.Client, now func() time.Time) *Mirror {
	return &Mirror{client: c, now: now, domains: map[string]map[string]bool{}, unsettled: map[string]bool{}}
}

// Known is what the stack holds of an address, as far as the operator knows.
type Known struct {
	admin.Placed
	There   bool // it holds something
	Settled bool // nothing that was asked for it is half done
}

// Mailbox is what the stack holds of an address; with an error it is what the stack last answered.
func (m *Mirror) Mailbox(ctx context.Context, address string) (Known, error) {
	err := m.fresh(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	placed, there := m.placed[address]
	return Known{Placed: placed, There: there, Settled: !m.unsettled[address]}, err
}

// Answers says whether the engine answered when it was last asked.
func (m *Mirror) Answers() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.placed != nil && m.failed == nil
}

// Recall is how far the stack is with what it was before its log began. What it says holds for the rows that were read with it.
func (m *Mirror) Recall() admin.Recall {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.recall
}

// Learn asks the engine if it never answered: what it last said stands otherwise.
func (m *Mirror) Learn(ctx context.Context) {
	m.mu.Lock()
	unread := m.placed == nil
	m.mu.Unlock()
	if unread {
		_ = m.fresh(ctx) // an engine that does not answer has no rows to tell
	}
}

// AdmittedIn are the rows of all domains that say that they were admitted in a pool, or do not say where, as they were last answered; the
// engine is not asked. Every guest with a contract of its own wants them: the rows of all others are not copied for it.
func (m *Mirror) AdmittedIn(pool string) []admin.Mailbox {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []admin.Mailbox
	for _, p := range m.placed {
		if p.Mailbox.AdmittedIn == pool || p.Mailbox.AdmittedIn == "" {
			rows = append(rows, p.Mailbox)
		}
	}
	return rows
}

// Rows are the rows of a domain, sorted by address. With an error they are those of the last answer, and nil if there was none.
func (m *Mirror) Rows(ctx context.Context, domain string) ([]admin.Mailbox, error) {
	err := m.fresh(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.placed == nil {
		return nil, err
	}
	rows := make([]admin.Mailbox, 0, len(m.domains[domain]))
	for address := range m.domains[domain] {
		rows = append(rows, m.placed[address].Mailbox)
	}
	slices.SortFunc(rows, func(a, b admin.Mailbox) int { return cmp.Compare(a.Address, b.Address) })
	return rows, err
}

// fresh asks the engine unless it was asked a moment ago. Those who come together share one answer, also when it is none: a dead
// engine costs one timeout, and not one for each of its mailboxes. While it is asked again after that, one waits for it, and nobody else.
func (m *Mirror) fresh(ctx context.Context) error {
	m.mu.Lock()
	now, err := m.now(), m.failed
	isFresh, isDead := m.placed != nil && now.Sub(m.asked) < maxAge, err != nil && (m.retried || now.Sub(m.refused) < maxAge/2)
	retry := err != nil && !isDead && !isFresh
	m.retried = m.retried || retry
	m.mu.Unlock()
	switch {
	case isFresh:
		return nil
	case isDead:
		return err
	case retry:
		defer func() {
			m.mu.Lock()
			m.retried = false
			m.mu.Unlock()
		}()
	}
	return m.Compare(ctx)
}

// Compare asks whether the directory is as it was, and reads what is not.
func (m *Mirror) Compare(ctx context.Context) error {
	asked := m.asking.DoChan("", func() (any, error) { return nil, m.compare() })
	select {
	case r := <-asked:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *Mirror) compare() error {
	m.turn.Lock()
	defer m.turn.Unlock()
	err := m.read(context.Background()) // for all who wait; the client bounds it
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed = err; err != nil {
		m.refused = m.now()
		return err
	}
	m.asked = m.now()
	return nil
}

func (m *Mirror) read(ctx context.Context) error {
	m.mu.Lock()
	known, first := m.known, m.placed == nil
	m.mu.Unlock()
	theirs, err := m.client.Digests(ctx, known)
	if err != nil {
		return err
	}
	if theirs.All == known && !first {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.recall = theirs.Recall
		return nil
	}
	if len(theirs.Buckets) != admin.Buckets {
		return fmt.Errorf("the engine answered %d digests of %d", len(theirs.Buckets), admin.Buckets)
	}
	m.mu.Lock()
	var other []int
	for b, digest := range m.tree.Digests().Buckets {
		if digest != theirs.Buckets[b] {
			other = append(other, b)
		}
	}
	m.mu.Unlock()
	var read []admin.Placed
	if len(other) > 0 {
		if read, err = m.client.Placed(ctx, other...); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if first {
		m.placed = map[string]admin.Placed{}
	}
	m.take(other, read, !first)
	m.recall = theirs.Recall // after the rows that it speaks of
	return nil
}

// take makes the mirror hold what was read of some buckets.
func (m *Mirror) take(buckets []int, read []admin.Placed, tell bool) {
	there := make(map[string]bool, len(read))
	for _, p := range read {
		there[p.Mailbox.Address] = true
		if was := m.placed[p.Mailbox.Address]; was.Digest != p.Digest {
			m.set(p)
			if tell {
				m.changes = append(m.changes, p.Mailbox)
			}
		}
	}
	for _, b := range buckets {
		for _, address := range m.tree.Of(b) {
			if there[address] {
				continue
			}
			gone := m.placed[address].Mailbox
			delete(m.placed, address)
			delete(m.domains[gone.Domain], address)
			m.tree.Set(address, "")
			m.changes = append(m.changes, gone)
		}
	}
	m.known = m.tree.Digests().All
}

func (m *Mirror) set(p admin.Placed) {
	address, domain := p.Mailbox.Address, p.Mailbox.Domain
	m.placed[address] = p
	if m.domains[domain] == nil {
		m.domains[domain] = map[string]bool{}
	}
	m.domains[domain][address] = true
	m.tree.Set(address, p.Digest)
}

var (
	// ErrRefused marks a place that the engine does not take as it is. To ask the same again cannot help.
	ErrRefused = errors.New("the engine refuses")
	// ErrUnfinished marks a place that the engine began, and answers that it did not come to the end.
	ErrUnfinished = errors.New("the engine could not place it")
)

// ErrChanged is answered for a place whose row is not the one that was judged any more: who asked looks again.
var ErrChanged = errors.New("the row has become another since it was judged")

// Changes are the rows that became others without their Mailbox's asking since the last call: as they are now, or as they were when they
// are gone. What is placed on a condition, which is a row's end, is among them: the Mailbox may be there again.
func (m *Mirror) Changes() []admin.Mailbox {
	m.mu.Lock()
	defer m.mu.Unlock()
	changes := m.changes
	m.changes = nil
	return changes
}

// Place asks for one mailbox, together with those that others ask for. When it returns without an error, the place is durable and
// acts, and the mailbox is as it answers.
func (m *Mirror) Place(ctx context.Context, place admin.Place) (admin.Placed, error) {
	w := &placing{place: place, done: make(chan struct{})}
	m.mu.Lock()
	m.waiting = append(m.waiting, w)
	begin := !m.flushing
	m.flushing = true
	m.mu.Unlock()
	if begin {
		go m.flush()
	}
	select {
	case <-w.done:
		return w.placed, w.err
	case <-ctx.Done():
		return w.placed, ctx.Err()
	}
}

// flush makes the requests, until nothing waits.
func (m *Mirror) flush() {
	for {
		m.turn.Lock()
		m.mu.Lock()
		n := min(len(m.waiting), admin.MaxPlaces)
		batch := slices.Clone(m.waiting[:n])
		m.waiting = slices.Delete(m.waiting, 0, n)
		m.flushing = n > 0
		m.mu.Unlock()
		if n > 0 {
			m.send(batch)
		}
		m.turn.Unlock()
		if n == 0 {
			return
		}
	}
}

// settle takes over an answer.
func (m *Mirror) settle(w *placing, a admin.Answer) {
	if a.Changed {
		w.err = ErrChanged
		return
	}
	delete(m.unsettled, w.place.Address)
	if a.Refused != "" {
		w.err = fmt.Errorf("%w: %s", ErrRefused, a.Refused)
	}
	if a.Placed != nil {
		w.placed = *a.Placed
		if m.placed != nil {
			m.set(w.placed)
		}
		if w.place.If != nil {
			m.changes = append(m.changes, w.placed.Mailbox)
		}
	}
}

func (m *Mirror) send(batch []*placing) {
	places := make([]admin.Place, len(batch))
	for i, w := range batch {
		places[i] = w.place
	}
	answers, err := m.client.Place(context.Background(), places) // for all who wait; the client bounds it
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, w := range batch {
		address := w.place.Address
		switch {
		case err != nil:
			w.err = err
			m.unsettled[address] = true
		case answers[i].Failed != "":
			w.err = fmt.Errorf("%w: %s", ErrUnfinished, answers[i].Failed)
			m.unsettled[address] = true
		default:
			m.settle(w, answers[i])
		}
		close(w.done)
	}
	m.known = m.tree.Digests().All
}
