package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/password"
)

// mailboxStanding is how a mailbox stands at a site since an instant, as the log has it: open or closed, whose it is, and what its contract
// counts. The directory says the same of now; a directory that was lost is made again from these.
type mailboxStanding struct {
	Address    string      `json:"address"`
	Domain     string      `json:"domain"`
	At         time.Time   `json:"at"`
	Closed     bool        `json:"closed"`
	ClosedAt   time.Time   `json:"closedAt,omitzero"` // when it was last closed, as the row says it
	Owner      admin.Owner `json:"owner,omitzero"`
	AdmittedAs string      `json:"admittedAs,omitempty"`
	AdmittedIn string      `json:"admittedIn,omitempty"`
	QuotaBytes int64       `json:"quotaBytes"`
	// Since is since when an open one is open at this site; zero is At.
	Since time.Time `json:"since,omitzero"`
}

func standingOf(row admin.Mailbox, at time.Time) mailboxStanding {
	return mailboxStanding{
		Address: row.Address, Domain: row.Domain, At: at, Closed: row.Access == admin.AccessClosed, ClosedAt: row.ClosedAt, Owner: row.Owner,
		AdmittedAs: row.AdmittedAs, AdmittedIn: row.AdmittedIn, QuotaBytes: row.QuotaBytes,
	}
}

func (s mailboxStanding) key() string { return s.Address + " " + s.At.UTC().Format(time.RFC3339Nano) }

// same says whether a mailbox stood the same at two instants.
func (s mailboxStanding) same(other mailboxStanding) bool {
	if !s.ClosedAt.Equal(other.ClosedAt) {
		return false
	}
	s.At, s.ClosedAt, s.Since = time.Time{}, time.Time{}, time.Time{}
	other.At, other.ClosedAt, other.Since = time.Time{}, time.Time{}, time.Time{}
	return s == other
}

func (s mailboxStanding) since() time.Time {
	if s.Since.IsZero() {
		return s.At
	}
	return s.Since
}

// formerUntil is until when what a holder chose is a former holder's.
func (s mailboxStanding) formerUntil() time.Time {
	if s.Closed {
		return latest(s.At, s.ClosedAt)
	}
	return s.ClosedAt
}

// turn is one change of a mailbox at a site: opened or closed, and until when choices made before it are a former holder's.
type turn struct {
	at, formerUntil time.Time
	closed          bool
}

// formerBy says until when choices are a former holder's as one site's turns, in their order, tell it. before: by the closings that an opening
// followed; who has the mailbox there now came after them. since: by the closings after the last opening, zero while it is open. Pure.
func formerBy(turns []turn) (before, since time.Time) {
	for i, t := range turns {
		if !t.closed && i > 0 && turns[i-1].closed {
			before, since = latest(before, since), time.Time{}
		}
		if t.closed {
			since = latest(since, t.formerUntil)
		} else {
			before = latest(before, t.formerUntil)
		}
	}
	return before, since
}

// standings are what the logs say of mailboxes: the last word of each site.
type standings struct {
	mu   sync.Mutex
	last map[string]map[string]mailboxStanding // by address and site
	// turns are all words of each site, in their order.
	turns map[string]map[string][]turn
	// unrestored are the addresses that a log told of since their rows were last looked for (restoreRows).
	unrestored map[string]bool
}

func newStandings() *standings {
	return &standings{last: map[string]map[string]mailboxStanding{}, turns: map[string]map[string][]turn{}, unrestored: map[string]bool{}}
}

// take adds a standing of a site. Any order comes to the same.
func (l *standings) take(site string, s mailboxStanding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.last[s.Address]
	if of == nil {
		of = map[string]mailboxStanding{}
		l.last[s.Address], l.turns[s.Address] = of, map[string][]turn{}
	}
	turns := l.turns[s.Address][site]
	if i, known := slices.BinarySearchFunc(turns, s.At, func(t turn, at time.Time) int { return t.at.Compare(at) }); !known {
		l.turns[s.Address][site] = slices.Insert(turns, i, turn{at: s.At, formerUntil: s.formerUntil(), closed: s.Closed})
	}
	if last, ok := of[site]; !ok || s.At.After(last.At) {
		of[site] = s
	}
	l.unrestored[s.Address] = true
}

// of is the last standing that a site recorded of a mailbox, and whether s says the same as that one or, where the site recorded none,
// as any other site's.
func (l *standings) of(site string, s mailboxStanding) (last mailboxStanding, said bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, own := l.last[s.Address][site]; own {
		return last, last.same(s)
	}
	for _, other := range l.last[s.Address] {
		said = said || other.same(s)
	}
	return last, said
}

// formerUntil is until when what was chosen for a mailbox is a former holder's, at a site. The other site's closing ends it too, or the next
// holder would get it from there; but not its last one, while this site has had the mailbox open since before: that the other one has deleted
// it is no order, and its holder is still here.
func (l *standings) formerUntil(site, address string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	own, known := l.last[address][site]
	var until time.Time
	for of, turns := range l.turns[address] {
		before, since := formerBy(turns)
		until = latest(until, before)
		if stays := known && !own.Closed && own.since().Before(since); of == site || !stays {
			until = latest(until, since)
		}
	}
	return until
}

// lost is how the row of an address stood that this site's directory should have: its own last word; or that it is closed at the other
// site, where the mail is. What is open over there comes here by its resource.
func (l *standings) lost(site, address string) (s mailboxStanding, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok = l.last[address][site]; ok {
		return s, true
	}
	for _, other := range l.last[address] {
		if other.Closed && (!ok || other.At.After(s.At)) {
			s, ok = other, true
		}
	}
	return s, ok
}

// openThere is the other site that has a mailbox open since it was last closed at this one, whose row says when that was too; "" if none has.
func (l *standings) openThere(own string, others func(site string) bool, address string, closedAt time.Time) (site string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.last[address]
	closed := latest(closedAt, last[own].formerUntil())
	for other, s := range last {
		if others(other) && !s.Closed && s.since().After(closed) && s.At.After(last[site].At) {
			site = other
		}
	}
	return site
}

// restoreLater notes that the row of an address is to be looked for.
func (l *standings) restoreLater(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unrestored[address] = true
}

func (l *standings) takeUnrestored() (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for address := range l.unrestored {
		list = append(list, address)
	}
	clear(l.unrestored)
	return list
}

// noteStanding records how a mailbox's row stands, unless that is what the log says. wasClosed says that it was closed before it was placed
// as it is. The row is read under the lock: of two that were placed one after the other the later one is recorded last.
func (e *Engine) noteStanding(ctx context.Context, address string, wasClosed bool) error {
	defer e.locks.lock("standing " + address)()
	row, err := e.directory.Mailbox(ctx, address)
	if err != nil {
		return err
	}
	return e.noteRow(row, wasClosed)
}

// noteRow is noteStanding of a row that nobody else notes now. What holders chose before a mailbox was closed just now is not the next
// holder's, whatever the clocks say. Nor is it where the closing could not be recorded when it was done: that is recorded now, also of a
// mailbox that is open again.
func (e *Engine) noteRow(row admin.Mailbox, wasClosed bool) error {
	s := standingOf(row, e.now())
	last, said := e.standings.of(e.settings.Site, s)
	isOpen := last.Address != "" && !last.Closed // as the log has it
	if isOpen && !s.Closed && (wasClosed || row.ClosedAt.After(latest(last.since(), last.ClosedAt))) {
		last.At = e.holders.instant(row.Address, s.At, row.ClosedAt, last.At)
		last.Closed, last.ClosedAt, last.Since = true, row.ClosedAt, time.Time{}
		if err := e.recordStanding(last); err != nil {
			return err
		}
		isOpen, said = false, false
	}
	switch {
	case said:
		return nil
	case s.Closed && wasClosed && !isOpen: // nobody chose anything since
		s.At = latest(row.ClosedAt, last.At.Add(time.Nanosecond))
	default:
		s.At = e.holders.instant(row.Address, s.At, row.ClosedAt, last.At)
	}
	if !s.Closed && isOpen {
		s.Since = last.since()
	}
	return e.recordStanding(s)
}

func (e *Engine) recordStanding(s mailboxStanding) error {
	_, err := e.record(kindStanding, s.key(), "", &s)
	if err == nil {
		e.standings.take(e.settings.Site, s)
	}
	return err
}

// noteStandings records how the rows stand of which the log says something else: those of a release that recorded nothing of it, and
// one whose record a crash prevented. Nobody places any yet.
func (e *Engine) noteStandings(rows []admin.Mailbox) error {
	errs := make([]error, len(rows))
	eachOf(rows, func(i int) { errs[i] = e.noteRow(rows[i], rows[i].Access == admin.AccessClosed) })
	return errors.Join(errs...)
}

// noteLate records how the row of an address stands where that could not be done when it was placed, and again in a minute if it still fails:
// the operator has no reason to place a row once more that is as he wants it.
func (e *Engine) noteLate(ctx context.Context, address string) {
	unlock := e.locks.lock("standing " + address)
	row, err := e.directory.Mailbox(ctx, address)
	if err == nil {
		err = e.noteRow(row, row.Access == admin.AccessClosed)
	}
	unlock()
	if err != nil && !errors.Is(err, admin.ErrNotFound) {
		e.later.add(address)
		e.log.Error("recording how a mailbox stands; it is tried again", "mailbox", address, "error", err)
	}
}

// restoreRows gives the directory the rows back that the logs know and it does not hold. It is called when the logs are whole as far as
// they are here: a row that is made from half a log would stand as it did long ago.
func (e *Engine) restoreRows(ctx context.Context) error {
	var errs error
	for _, address := range e.standings.takeUnrestored() {
		if err := e.restoreRow(ctx, address); err != nil {
			e.standings.restoreLater(address) // or nobody would look for it before the next start
			errs = errors.Join(errs, err)
		}
	}
	return errs
}

// restoreRow makes a row Closed, or Suspended if it was open: nobody gets in, and its mail waits where it is (notYet), before the operator
// says what its resource says. Of what is open at the other site only it holds the domain, which may be that of a guest: Postfix would refuse
// its mail for good before the operator has come to it.
func (e *Engine) restoreRow(ctx context.Context, address string) error {
	s, ok := e.standings.lost(e.settings.Site, address)
	if !ok {
		if err := e.openThere(ctx, address, time.Time{}); !errors.Is(err, errOpenThere) {
			return err
		}
		return e.directory.HoldDomain(ctx, domainOf(address))
	}
	if _, err := e.directory.Mailbox(ctx, address); !errors.Is(err, admin.ErrNotFound) {
		return err
	}
	row := admin.Mailbox{
		Address: s.Address, Domain: s.Domain, QuotaBytes: s.QuotaBytes, Access: admin.AccessSuspended, Restored: !s.Closed,
		Owner: s.Owner, AdmittedAs: s.AdmittedAs, AdmittedIn: s.AdmittedIn, ClosedAt: s.ClosedAt,
	}
	if s.Closed {
		row.Access = admin.AccessClosed
	}
	secret := e.holders.secret(address, e.settings.Site)
	if row.Password, row.CredentialsVersion = secret.Password, secret.Version; row.Password == "" {
		hash, err := password.Hash([]byte(rand.Text()), bcrypt.MinCost) // nobody knows it, and the next Secret replaces it
		if err != nil {
			return fmt.Errorf("making a password for %s: %w", address, err)
		}
		row.Password = hash
	}
	if err := e.directory.Restore(ctx, row); err != nil {
		return err
	}
	e.log.Info("a row that the directory had lost was made again from the log", "mailbox", address, "access", string(row.Access))
	e.sync.changed(address)
	e.deriveSoon(ctx, address)
	return nil
}

// recall takes in what the logs of both sites say of mailboxes and holders, once all of them are here: what a site was before it was
// rebuilt comes back as a whole. Half of it would give the next holder of an address what the former one chose.
func (e *Engine) recall(ctx context.Context) error {
	if e.recalled.Load() {
		return e.restoreRows(ctx)
	}
	defer e.replica.takingIn()()
	for _, kind := range keptBack { // who holds a mailbox before what holders chose
		for _, m := range e.mirrors.all() {
			err := m.Each(func(r evidence.Record) error {
				if r.Kind != kind {
					return nil
				}
				return e.takeIn(m.name, r)
			})
			if err != nil {
				return fmt.Errorf("reading the mirror %s: %w", m.name, err)
			}
		}
	}
	if err := e.restoreRows(ctx); err != nil {
		return err
	}
	rows, err := e.directory.Mailboxes(ctx, "")
	if err == nil {
		for _, row := range rows {
			e.deriveSoon(ctx, row.Address)
		}
		err = e.setWhole(ctx)
	}
	if err == nil {
		_, err = e.record(kindRecalled, e.logName, "", &struct{}{})
	}
	if err == nil {
		e.recalled.Store(true)
	}
	return err
}

// keptBack are the kinds of records of other logs that do not act before all of them are here.
var keptBack = []string{kindStanding, kindChoice}

// recallState is what the operator is told of it.
func (e *Engine) recallState() admin.Recall {
	switch {
	case e.recalled.Load():
		return admin.RecallDone
	case e.replica.isPulling(e.now()):
		return admin.RecallUnderWay
	}
	return admin.RecallSilent
}

// notYet is why what the directory says of an address is not to be told to anybody yet, nil if it is. A site with a new log knows no mailbox
// before the other one has told it, or the operator has placed all: nor does a row that was made again from the log say more than that
// the mailbox was there. "No such mailbox" would be a lie, and for a message that was taken in charge the last word.
func (e *Engine) notYet(ctx context.Context, address string, row admin.Mailbox, err error) error {
	isUnknown := errors.Is(err, admin.ErrNotFound)
	switch {
	case isUnknown && e.isIncomplete():
		return errors.New("this site was built anew and does not know all its mailboxes yet")
	case err == nil && row.Restored:
		return fmt.Errorf("the row of %s was made again from the log, and the operator has not said yet how the mailbox stands", row.Address)
	case isUnknown, err == nil && row.Access == admin.AccessClosed:
		return e.openThere(ctx, address, row.ClosedAt)
	}
	return nil
}

// errOpenThere is of a mailbox that only this site lacks.
var errOpenThere = errors.New("the mailbox is open at the other site, and this site's operator has not placed it yet")

// openThere is errOpenThere for a mailbox that the other site has open since it was closed here, or was never here.
func (e *Engine) openThere(ctx context.Context, address string, closedAt time.Time) error {
	others, err := e.otherSites(ctx)
	if err != nil {
		return err
	}
	if e.standings.openThere(e.settings.Site, others, address, closedAt) != "" {
		return fmt.Errorf("%s: %w", address, errOpenThere)
	}
	return nil
}

// otherSites says of a site whether what it has open counts here. A site that was given up closes nothing any more, and does not count: mail
// would wait for ever. A directory that was lost does not know who the other site is, nor that it was given up: until it is told, any counts.
func (e *Engine) otherSites(ctx context.Context) (counts func(site string) bool, err error) {
	peer, isTold, err := e.directory.Peer(ctx)
	return func(site string) bool { return site != e.settings.Site && (!isTold || site == peer.Site) }, err
}

// isIncomplete says whether the directory may lack mailboxes (admin.Status.Incomplete).
func (e *Engine) isIncomplete() bool { return !e.recalled.Load() && !e.whole.Load() }

func (e *Engine) putWhole(r *http.Request) (any, error) {
	return nil, e.setWhole(r.Context())
}

// setWhole notes that the directory has every mailbox that it should have, for a later start and for now.
func (e *Engine) setWhole(ctx context.Context) error {
	if err := e.directory.SetWhole(ctx); err != nil {
		return err
	}
	e.whole.Store(true)
	return nil
}

// noteBegun notes at the beginning of a log that it is new: what this site was before, if it was, is at the other one.
func (e *Engine) noteBegun() error {
	if records, _ := e.evidence.Head(); records > 0 {
		return nil
	}
	_, err := e.record(kindBegun, e.logName, "", &struct{}{})
	return err
}
