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

const (
	// maxAge is how old the copy's word may be: what the stack changed by itself is seen after that at the latest.
	maxAge = 2 * time.Second
	// gather is how long a request waits for more places after one that had several: a transaction and a write of the log cost the same
	// for one mailbox as for sixty-four. A place that comes alone waits for nobody.
	gather = 25 * time.Millisecond
)

// Directory is the operator's copy of the directory of one engine. Passes read it instead of the engine, and hand it what they want
// placed: while one request is under way, those that come meanwhile gather for the next. One small request in a while says whether
// both still hold the same; only buckets that differ are read. It is safe for concurrent use.
type Directory struct {
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
	// answered is when the engine last did, and failed why it did not, at failedAt.
	answered, failedAt time.Time
	failed             error
	retrying           bool // somebody asks again since it failed
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

func newDirectory(c *admin.Client, now func() time.Time) *Directory {
	return &Directory{client: c, now: now, domains: map[string]map[string]bool{}, unsettled: map[string]bool{}}
}

// Known is what the stack holds of an address, as far as the operator knows.
type Known struct {
	admin.Placed
	There   bool // it holds something
	Settled bool // nothing that was asked for it is half done
}

// Mailbox is what the stack holds of an address; with an error it is what the stack last answered.
func (d *Directory) Mailbox(ctx context.Context, address string) (Known, error) {
	err := d.fresh(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	placed, there := d.placed[address]
	return Known{Placed: placed, There: there, Settled: !d.unsettled[address]}, err
}

// Answers says whether the engine answered when it was last asked.
func (d *Directory) Answers() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.placed != nil && d.failed == nil
}

// Recall is how far the stack is with what it was before its log began. What it says holds for the rows that were read with it.
func (d *Directory) Recall() admin.Recall {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.recall
}

// Learn asks the engine if it never answered: what it last said stands otherwise.
func (d *Directory) Learn(ctx context.Context) {
	d.mu.Lock()
	unread := d.placed == nil
	d.mu.Unlock()
	if unread {
		_ = d.fresh(ctx) // an engine that does not answer has no rows to tell
	}
}

// AdmittedIn are the rows of all domains that say that they were admitted in a pool, or do not say where, as they were last answered; the
// engine is not asked. Every guest with a contract of its own wants them: the rows of all others are not copied for it.
func (d *Directory) AdmittedIn(pool string) []admin.Mailbox {
	d.mu.Lock()
	defer d.mu.Unlock()
	var rows []admin.Mailbox
	for _, p := range d.placed {
		if p.Mailbox.AdmittedIn == pool || p.Mailbox.AdmittedIn == "" {
			rows = append(rows, p.Mailbox)
		}
	}
	return rows
}

// Rows are the rows of a domain, sorted by address. With an error they are those of the last answer, and nil if there was none.
func (d *Directory) Rows(ctx context.Context, domain string) ([]admin.Mailbox, error) {
	err := d.fresh(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.placed == nil {
		return nil, err
	}
	rows := make([]admin.Mailbox, 0, len(d.domains[domain]))
	for address := range d.domains[domain] {
		rows = append(rows, d.placed[address].Mailbox)
	}
	slices.SortFunc(rows, func(a, b admin.Mailbox) int { return cmp.Compare(a.Address, b.Address) })
	return rows, err
}

// fresh asks the engine unless it was asked a moment ago. Those who come together share one answer, also when it is none: a dead
// engine costs one timeout, and not one for each of its mailboxes. While it is asked again after that, one waits for it, and nobody else.
func (d *Directory) fresh(ctx context.Context) error {
	d.mu.Lock()
	now, err := d.now(), d.failed
	isFresh := d.placed != nil && now.Sub(d.answered) < maxAge
	isDead := err != nil && (d.retrying || now.Sub(d.failedAt) < maxAge/2)
	retry := err != nil && !isDead && !isFresh
	d.retrying = d.retrying || retry
	d.mu.Unlock()
	switch {
	case isFresh:
		return nil
	case isDead:
		return err
	case retry:
		defer func() {
			d.mu.Lock()
			d.retrying = false
			d.mu.Unlock()
		}()
	}
	return d.Compare(ctx)
}

// Compare asks whether the directory is as it was, and reads what is not.
func (d *Directory) Compare(ctx context.Context) error {
	asked := d.asking.DoChan("", func() (any, error) { return nil, d.compare() })
	select {
	case r := <-asked:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *Directory) compare() error {
	d.turn.Lock()
	defer d.turn.Unlock()
	err := d.read(context.Background()) // for all who wait; the client bounds it
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed = err; err != nil {
		d.failedAt = d.now()
		return err
	}
	d.answered = d.now()
	return nil
}

func (d *Directory) read(ctx context.Context) error {
	d.mu.Lock()
	known, first := d.known, d.placed == nil
	d.mu.Unlock()
	theirs, err := d.client.Digests(ctx, known)
	if err != nil {
		return err
	}
	if theirs.All == known && !first {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.recall = theirs.Recall
		return nil
	}
	if len(theirs.Buckets) != admin.Buckets {
		return fmt.Errorf("the engine answered %d digests of %d", len(theirs.Buckets), admin.Buckets)
	}
	d.mu.Lock()
	var other []int
	for b, digest := range d.tree.Digests().Buckets {
		if digest != theirs.Buckets[b] {
			other = append(other, b)
		}
	}
	d.mu.Unlock()
	var read []admin.Placed
	if len(other) > 0 {
		if read, err = d.client.Placed(ctx, other...); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if first {
		d.placed = map[string]admin.Placed{}
	}
	d.take(other, read, !first)
	d.recall = theirs.Recall // after the rows that it speaks of
	return nil
}

// take makes the copy hold what was read of some buckets.
func (d *Directory) take(buckets []int, read []admin.Placed, tell bool) {
	there := make(map[string]bool, len(read))
	for _, p := range read {
		there[p.Mailbox.Address] = true
		if was := d.placed[p.Mailbox.Address]; was.Digest != p.Digest {
			d.set(p)
			if tell {
				d.changes = append(d.changes, p.Mailbox)
			}
		}
	}
	for _, b := range buckets {
		for _, address := range d.tree.Of(b) {
			if there[address] {
				continue
			}
			gone := d.placed[address].Mailbox
			delete(d.placed, address)
			delete(d.domains[gone.Domain], address)
			d.tree.Set(address, "")
			d.changes = append(d.changes, gone)
		}
	}
	d.known = d.tree.Digests().All
}

func (d *Directory) set(p admin.Placed) {
	address, domain := p.Mailbox.Address, p.Mailbox.Domain
	d.placed[address] = p
	if d.domains[domain] == nil {
		d.domains[domain] = map[string]bool{}
	}
	d.domains[domain][address] = true
	d.tree.Set(address, p.Digest)
}

// ErrUnfinished marks a place that the engine began, and answers that it did not come to the end.
var ErrUnfinished = errors.New("the engine could not place it")

// Changes are the rows that became others without their Mailbox's asking since the last call: as they are now, or as they were when they
// are gone. A row's end is among them: the Mailbox may be there again.
func (d *Directory) Changes() []admin.Mailbox {
	d.mu.Lock()
	defer d.mu.Unlock()
	changes := d.changes
	d.changes = nil
	return changes
}

// Place asks for one mailbox, together with those that others ask for. When it returns without an error, the place is durable and
// acts, and the mailbox is as it answers. admin.ErrRefused, admin.ErrChanged and ErrUnfinished mark what the engine answers instead.
func (d *Directory) Place(ctx context.Context, place admin.Place) (admin.Placed, error) {
	w := &placing{place: place, done: make(chan struct{})}
	d.mu.Lock()
	d.waiting = append(d.waiting, w)
	begin := !d.flushing
	d.flushing = true
	d.mu.Unlock()
	if begin {
		go d.flush()
	}
	select {
	case <-w.done:
		return w.placed, w.err
	case <-ctx.Done():
		return w.placed, ctx.Err()
	}
}

// flush makes the requests, until nothing waits.
func (d *Directory) flush() {
	for {
		d.turn.Lock()
		d.mu.Lock()
		n := min(len(d.waiting), admin.MaxPlaces)
		batch := slices.Clone(d.waiting[:n])
		d.waiting = slices.Delete(d.waiting, 0, n)
		d.flushing = n > 0
		d.mu.Unlock()
		if n > 0 {
			d.send(batch)
		}
		d.turn.Unlock()
		if n == 0 {
			return
		}
		if n > 1 {
			time.Sleep(gather)
		}
	}
}

// settle takes over an answer.
func (d *Directory) settle(w *placing, a admin.Answer) {
	if a.Changed {
		w.err, d.answered = admin.ErrChanged, time.Time{} // what it has become is read before anybody goes by what it was
		return
	}
	delete(d.unsettled, w.place.Address)
	if a.Refused != "" {
		w.err = fmt.Errorf("%w: %s", admin.ErrRefused, a.Refused)
	}
	if a.Placed != nil {
		w.placed = *a.Placed
		if d.placed != nil {
			d.set(w.placed)
		}
		if row := w.place.Mailbox; row != nil && row.Access == admin.AccessClosed {
			d.changes = append(d.changes, w.placed.Mailbox)
		}
	}
}

func (d *Directory) send(batch []*placing) {
	places := make([]admin.Place, len(batch))
	for i, w := range batch {
		places[i] = w.place
	}
	answers, err := d.client.Place(context.Background(), places) // for all who wait; the client bounds it
	if errors.Is(err, admin.ErrRefused) && len(batch) > 1 {
		// Nothing says which of them it does not know, as one of an earlier release: each is asked for by itself.
		for i := range batch {
			d.send(batch[i : i+1])
		}
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, w := range batch {
		address := w.place.Address
		switch {
		case err != nil:
			w.err = err
			d.unsettled[address] = true
		case answers[i].Failed != "":
			w.err = fmt.Errorf("%w: %s", ErrUnfinished, answers[i].Failed)
			d.unsettled[address] = true
		default:
			d.settle(w, answers[i])
		}
		close(w.done)
	}
	d.known = d.tree.Digests().All
}
