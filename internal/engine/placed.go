package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
)

// rowDigests are those of the directory's rows, kept so that an operator who asks every other second learns for one look at it that nothing
// changed. A change by somebody else than this engine (a person with a SQL shell) has all of it read again.
type rowDigests struct {
	mu      sync.Mutex
	tree    *admin.Tree // nil before it was first read
	version int64       // of the directory, for who else changes it
	touched map[string]bool
}

// touch has an address looked at again. Who changed the directory or a holder's settings says so when that is done.
func (d *rowDigests) touch(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.touched == nil {
		d.touched = map[string]bool{}
	}
	d.touched[address] = true
}

// upToDate makes the tree say what the directory says now; the lock is held.
func (d *rowDigests) upToDate(ctx context.Context, e *Engine) error {
	version, err := e.directory.Version(ctx)
	if err != nil {
		return err
	}
	if d.tree == nil || version != d.version {
		all, err := e.directory.Entries(ctx)
		if err != nil {
			return err
		}
		tree := &admin.Tree{}
		for _, entry := range all {
			placed, err := e.placedOf(entry)
			if err != nil {
				return err
			}
			tree.Set(entry.Address, placed.Digest)
		}
		d.tree, d.version, d.touched = tree, version, nil
	}
	for address := range d.touched {
		if _, err := d.look(ctx, e, address); err != nil && !errors.Is(err, admin.ErrNotFound) {
			return err
		}
	}
	return nil
}

// look reads a mailbox, and makes the tree say what it is. The lock is held: what changes meanwhile is touched after that.
func (d *rowDigests) look(ctx context.Context, e *Engine, address string) (admin.Placed, error) {
	var placed admin.Placed
	entry, err := e.directory.Entry(ctx, address)
	if err == nil {
		placed, err = e.placedOf(entry)
	}
	if err != nil && !errors.Is(err, admin.ErrNotFound) {
		return placed, err
	}
	if d.tree != nil { // else it is read with all others
		d.tree.Set(address, placed.Digest) // none when there is no such mailbox
	}
	delete(d.touched, address)
	return placed, err
}

func (e *Engine) placedOf(entry directory.Entry) (admin.Placed, error) {
	p := admin.Placed{Mailbox: entry.Mailbox, Holder: e.holderOf(entry.Mailbox, entry.Given)}
	return p, p.Seal(entry.Password)
}

func (e *Engine) getDigests(r *http.Request) (any, error) {
	e.rowDigests.mu.Lock()
	defer e.rowDigests.mu.Unlock()
	if err := e.rowDigests.upToDate(r.Context(), e); err != nil {
		return nil, err
	}
	d := e.rowDigests.tree.Digests()
	d.Recall, d.Log = e.recallState(), e.logName
	if d.All == r.URL.Query().Get("known") {
		d.Buckets = nil
	}
	return d, nil
}

// getPlaced answers the mailboxes of some buckets.
func (e *Engine) getPlaced(r *http.Request) (any, error) {
	var asked [admin.Buckets]bool
	for _, text := range r.URL.Query()["bucket"] {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n >= admin.Buckets {
			return nil, fmt.Errorf("bucket %q: %w: there is no such bucket", text, directory.ErrInvalid)
		}
		asked[n] = true
	}
	all, err := e.directory.Entries(r.Context())
	if err != nil {
		return nil, err
	}
	answer := []admin.Placed{}
	for _, entry := range all {
		if !asked[admin.Bucket(entry.Address)] {
			continue
		}
		placed, err := e.placedOf(entry)
		if err != nil {
			return nil, err
		}
		answer = append(answer, placed)
	}
	return answer, nil
}

// mailboxesAtOnce bounds what is done for the mailboxes of one request at the same time. Those that wait for the log share its writes.
const mailboxesAtOnce = 16

// putPlaced carries out what is asked for many mailboxes. What is refused for one, or fails for it, holds up no other.
func (e *Engine) putPlaced(r *http.Request) (any, error) {
	ctx := r.Context()
	places, err := readRequest[[]admin.Place](r)
	if err != nil {
		return nil, err
	}
	if len(places) > admin.MaxPlaces {
		return nil, fmt.Errorf("%d places: %w: at most %d at once", len(places), directory.ErrInvalid, admin.MaxPlaces)
	}
	answers := make([]admin.Answer, len(places))
	var good []int
	var asked []admin.Place
	for i := range places {
		if answers[i].Refused = e.checkPlace(ctx, &places[i]); places[i].Mailbox != nil || places[i].Given != nil || places[i].Compared != nil {
			good, asked = append(good, i), append(asked, places[i])
		}
	}
	outcomes, err := e.storePlaced(ctx, asked)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(asked))
	eachOf(asked, func(i int) {
		if errs[i] = outcomes[i].Err; errs[i] == nil {
			errs[i] = e.actOn(ctx, asked[i], outcomes[i])
		}
	})
	ending, cancel := context.WithTimeout(ctx, endPromptly)
	defer cancel()
	unended := e.endSessions(ending, addressesOf(asked)...)
	e.rowDigests.mu.Lock()
	defer e.rowDigests.mu.Unlock()
	for i := range asked {
		answer := &answers[good[i]]
		if err := outcomes[i].Err; err != nil {
			answer.Refused, answer.Changed = err.Error(), errors.Is(err, admin.ErrChanged)
			continue
		}
		placed, err := e.rowDigests.look(ctx, e, asked[i].Address)
		if err = errors.Join(errs[i], unended[asked[i].Address], err); err != nil {
			answer.Failed = err.Error()
			continue
		}
		answer.Placed = &placed
	}
	return answers, nil
}

// storePlaced records the Secrets that rows come from, and stores the rows. Nobody chooses in between: he would still be in with the
// password of before, and his choice would be newer than the Secret.
func (e *Engine) storePlaced(ctx context.Context, places []admin.Place) ([]directory.Outcome, error) {
	// In one order: two requests for the same mailboxes would wait for each other.
	for _, address := range slices.Compact(slices.Sorted(slices.Values(addressesOf(places)))) {
		defer e.choosing(address)()
	}
	if err := e.noteSecrets(places); err != nil {
		return nil, err
	}
	others, err := e.otherSites(ctx)
	if err != nil {
		return nil, err
	}
	return e.directory.PlaceAfter(ctx, places, func(before admin.Mailbox) bool {
		return e.standings.deactivatedThere(e.settings.Site, others, before.Address, before.ClosedAt)
	})
}

func addressesOf(places []admin.Place) []string {
	addresses := make([]string, len(places))
	for i, p := range places {
		addresses[i] = p.Address
	}
	return addresses
}

// noteSecrets records the Secrets that rows come from before the rows are there, and how they stand to the other site's.
func (e *Engine) noteSecrets(places []admin.Place) error {
	errs := make([]error, len(places))
	eachOf(places, func(i int) {
		if m := places[i].Mailbox; m != nil {
			errs[i] = e.noteSecret(*m)
		}
		if c := places[i].Compared; c != nil {
			errs[i] = errors.Join(errs[i], e.noteCompared(places[i].Address, *c))
		}
	})
	return errors.Join(errs...)
}

// eachOf calls f for each of a list, a few at once.
func eachOf[T any](list []T, f func(i int)) {
	var group errgroup.Group
	group.SetLimit(mailboxesAtOnce)
	for i := range list {
		group.Go(func() error { f(i); return nil })
	}
	_ = group.Wait() // nothing answers an error
}

// checkPlace takes out of a place what cannot be carried out and only the engine can judge, and says what that was: a rule that is wrong must
// not keep an access from being withdrawn. The operator asks again for what was taken out, so the answer does not get lost.
func (e *Engine) checkPlace(ctx context.Context, p *admin.Place) (wrong string) {
	p.Address = fold(p.Address)
	// The provider may have taken the address of a mailbox that is there: then that can be closed, or its row would stay open for good.
	closes := p.Mailbox != nil && p.Mailbox.Access == admin.AccessClosed && p.Given == nil && p.Compared == nil
	switch {
	case e.isProvidersOwn(p.Address) && !closes:
		p.Mailbox, p.Given, p.Compared = nil, nil, nil
		return "it is the provider's own address, which the engine reads itself"
	case p.Mailbox != nil && fold(p.Mailbox.Address) != p.Address:
		p.Mailbox, p.Given, p.Compared = nil, nil, nil
		return "the row is another address's"
	}
	var problems []string
	if p.Mailbox != nil && p.Mailbox.OrdinaryMail == admin.OrdinaryForward {
		if problem := e.notOrdinaryNow(ctx, p.Mailbox.ForwardTo); problem != "" {
			p.Mailbox.OrdinaryMail, p.Mailbox.ForwardTo = admin.OrdinaryDiscard, ""
			problems = append(problems, "ordinary mail is refused, and not sent on to "+problem)
		}
	}
	if p.Given == nil {
		return strings.Join(problems, "; ")
	}
	if err := checkGiven(*p.Given); err != nil {
		p.Given = nil
		return strings.Join(append(problems, "what its holder is given: "+err.Error()), "; ")
	}
	p.Given.Notifications.Addresses = slices.DeleteFunc(p.Given.Notifications.Addresses, func(address string) bool {
		problem := e.notOrdinaryNow(ctx, address)
		if problem != "" {
			problems = append(problems, "nobody is told of mail at "+problem)
		}
		return problem != ""
	})
	return strings.Join(problems, "; ")
}

// notOrdinaryNow is an address of a spec with why nothing is sent there (notOrdinary), "" if something is. Of one that cannot be judged
// it is not said: it is judged again when there is mail.
func (e *Engine) notOrdinaryNow(ctx context.Context, address string) (problem string) {
	if problem, err := e.notOrdinary(ctx, address); err == nil && problem != "" {
		return address + ": " + problem
	}
	return ""
}

// actOn has the log say how the mailbox stands now, and makes what was placed act, but for the end of the sessions that have the rights
// of before. The row is there, and so it is done also when nobody waits for the answer any more.
func (e *Engine) actOn(ctx context.Context, p admin.Place, o directory.Outcome) error {
	ctx = context.WithoutCancel(ctx)
	if p.Mailbox != nil {
		if err := e.noteStanding(ctx, p.Address, o.Before.Access == admin.AccessClosed); err != nil {
			e.later.add(p.Address)
			return err
		}
	}
	if o.Before.Access == admin.AccessClosed { // which script acts may be the other site's word (deactivatedThere)
		e.sync.changed(p.Address)
	}
	switch {
	case p.Mailbox == nil:
	case o.Before.Address == "":
		e.sync.changed(p.Address)
		e.ages.put(p.Address, nil, e.now().Add(agesNew))
	case p.Mailbox.Password != "":
		e.logins.change(p.Address)
	}
	return e.deriveOrLater(ctx, p.Address)
}
