package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// The engines of a domain each keep a log of their own, and each a mirror of the other's, byte for byte (replicate.go). What an
// engine knows is the union: timers, settings, passwords and limits are views of all the logs that are here, by rules that do not
// depend on the order in which records came. So both sites come to the same, and a site that returns forgets nothing.
//
// A log is named <site>-<16 hex digits>, drawn when it is begun. A site that was rebuilt empty therefore begins another log, and
// gets its former one from the mirror that the other site holds of it. A log that lost its end, because its disk was put back to an
// earlier state, is known by a record that it does not hold any more: the mirror is set aside as <name>@<records>-<16 digits of
// the last hash>, is read like any other from then on, and the log as it is now is mirrored from its beginning.

// maxMirrors bounds how often a log may begin anew before a person must look at it.
const maxMirrors = 16

// mirror is a log of which this engine holds a copy.
type mirror struct {
	name string
	*evidence.Mirror
}

// mirrors are all of them, by name. One that is set aside changes its name and stays.
type mirrors struct {
	dir string
	now func() time.Time

	mu   sync.RWMutex
	list []*mirror
}

// openMirrors opens the mirrors on the disk. One that is damaged is set aside: the other site has the log itself, and sends it again.
// A mirror never keeps an engine from starting.
func openMirrors(dir string, now func() time.Time, damaged func(name string, err error)) (*mirrors, error) {
	all := &mirrors{dir: dir, now: now}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listing the mirrors: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if segments, _ := filepath.Glob(filepath.Join(dir, name, "*.jsonl")); evidence.SiteOf(name) == "" || len(segments) == 0 {
			continue
		}
		if _, err := all.open(name, evidence.Position{}); err != nil {
			aside := fmt.Sprintf("%s.damaged-%d", name, now().Unix())
			damaged(name, errors.Join(err, os.Rename(filepath.Join(dir, name), filepath.Join(dir, aside))))
		}
	}
	return all, nil
}

// open opens a mirror that is not open yet, or begins it.
func (a *mirrors) open(name string, base evidence.Position) (*mirror, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.list) >= maxMirrors {
		return nil, fmt.Errorf("mirroring %s: there are %d mirrors: the other site's log begins anew again and again", name, maxMirrors)
	}
	m, err := evidence.OpenMirror(filepath.Join(a.dir, name), base, a.now)
	if err != nil {
		return nil, fmt.Errorf("mirroring %s: %w", name, err)
	}
	one := &mirror{name: name, Mirror: m}
	a.list = append(a.list, one)
	slices.SortFunc(a.list, func(x, y *mirror) int { return strings.Compare(x.name, y.name) })
	return one, nil
}

// all are the mirrors, sorted by name.
func (a *mirrors) all() []*mirror {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Clone(a.list)
}

func (a *mirrors) of(name string) *mirror {
	for _, m := range a.all() {
		if m.name == name {
			return m
		}
	}
	return nil
}

// setAside renames a mirror whose log does not hold its last record any more. It stays in the list, under its new name.
func (a *mirrors) setAside(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, m := range a.list {
		if m.name != name {
			continue
		}
		head := m.Head()
		aside := fmt.Sprintf("%s@%d-%.16s", name, head.Seq, head.Head)
		if err := m.Rename(filepath.Join(a.dir, aside)); err != nil {
			return err
		}
		a.list[i] = &mirror{name: aside, Mirror: m.Mirror}
	}
	return nil
}

func (a *mirrors) close() (err error) {
	for _, m := range a.all() {
		err = errors.Join(err, m.Close())
	}
	return err
}

// lookup reads the record of (kind, key) that this site wrote into data, if there is one: in the engine's log, or in a former one
// of this site.
func (e *Engine) lookup(kind, key string, data any) (found bool, err error) {
	found, _, err = e.lookupAt(kind, key, data)
	return found, err
}

// lookupAt is lookup, and when the record was written.
func (e *Engine) lookupAt(kind, key string, data any) (found bool, at time.Time, err error) {
	return e.find(kind, key, data, func(m *mirror) bool { return evidence.SiteOf(m.name) == e.settings.Site })
}

// known is lookup in the logs of both sites. This site's come first.
func (e *Engine) known(kind, key string, data any) (found bool, err error) {
	found, _, err = e.knownAt(kind, key, data)
	return found, err
}

// knownAt is known, and when the record was written.
func (e *Engine) knownAt(kind, key string, data any) (found bool, at time.Time, err error) {
	if found, at, err = e.lookupAt(kind, key, data); found || err != nil {
		return found, at, err
	}
	return e.find(kind, key, data, func(*mirror) bool { return true })
}

func (e *Engine) find(kind, key string, data any, among func(*mirror) bool) (found bool, at time.Time, err error) {
	r, found, err := e.journal.Get(kind, key)
	for _, m := range e.mirrors.all() {
		if found || err != nil {
			break
		}
		if among(m) {
			r, found, err = m.Get(kind, key)
		}
	}
	if err != nil || !found {
		return false, time.Time{}, err
	}
	if data == nil {
		return true, r.Time, nil
	}
	return true, r.Time, r.Decode(data)
}

// load reads all logs into the views, and makes directory and rules say what they say. It runs before anything is served.
func (e *Engine) load(ctx context.Context) error {
	isWhole, err := e.directory.Whole(ctx)
	if err != nil {
		return err
	}
	e.whole.Store(isWhole)
	if err := e.readLogs(); err != nil {
		return err
	}
	if err := e.prepareRules(); err != nil {
		return err
	}
	rows, err := e.prepareRows(ctx, isWhole)
	if err != nil {
		return err
	}
	for _, row := range rows { // one that fails must not keep the others from their mail
		e.deriveSoon(ctx, row.Address)
	}
	return errors.Join(ctx.Err(), e.removeFlatRules())
}

// readLogs reads the engine's own log and then the mirrors.
func (e *Engine) readLogs() error {
	e.recalled.Store(true) // unless the log says that it is new
	if err := e.noteBegun(); err != nil {
		return err
	}
	own := func(r evidence.Record) error { return errors.Join(e.takeInOrKeepBack(e.logName, r), e.rememberOwn(r)) }
	if err := e.evidence.Each(own); err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	for _, m := range e.mirrors.all() {
		if err := m.Each(func(r evidence.Record) error { return e.takeInOrKeepBack(m.name, r) }); err != nil {
			return fmt.Errorf("reading the mirror %s: %w", m.name, err)
		}
	}
	return nil
}

// prepareRows brings rows and log to say the same, and answers the rows.
func (e *Engine) prepareRows(ctx context.Context, isWhole bool) ([]admin.Mailbox, error) {
	if e.recalled.Load() || len(e.mirrors.all()) == 0 {
		if err := e.restoreRows(ctx); err != nil {
			return nil, err
		}
	}
	rows, err := e.directory.Mailboxes(ctx, "")
	if err == nil {
		err = e.noteStandings(rows)
	}
	if err == nil && e.recalled.Load() && !isWhole {
		err = e.setWhole(ctx) // it may be another directory than the one that was
	}
	return rows, err
}

// takeInOrKeepBack takes a record of either site into the views. Any order of two logs comes to the same. What a site that was rebuilt hears
// of its former self waits until it has heard all of it (recall).
func (e *Engine) takeInOrKeepBack(logName string, r evidence.Record) error {
	if logName != e.logName && !e.recalled.Load() && slices.Contains(keptBack, r.Kind) {
		return nil
	}
	return e.takeIn(logName, r)
}

func (e *Engine) takeIn(logName string, r evidence.Record) error {
	switch r.Kind {
	case kindAccepted:
		return e.rememberAccepted(evidence.SiteOf(logName), r)
	case kindSettled:
		if identifier, rcpt, ok := strings.Cut(r.Key, " "); ok {
			e.timers.end(timerKey{identifier, rcpt})
		}
	case kindChoice:
		var c choice
		if err := r.Decode(&c); err != nil {
			return err
		}
		e.holders.addChoice(c)
	case kindStanding:
		var s mailboxStanding
		if err := r.Decode(&s); err != nil {
			return err
		}
		e.standings.take(evidence.SiteOf(logName), s)
	case kindPlacement:
		var p placement
		if err := r.Decode(&p); err != nil {
			return err
		}
		e.holders.addPlacement(evidence.SiteOf(logName), p)
	case kindCompared:
		var c compared
		if err := r.Decode(&c); err != nil {
			return err
		}
		e.holders.addCompared(c)
	case kindHeld:
		return e.rememberHeld(evidence.SiteOf(logName), r)
	case kindForwarding, kindBounced:
		return e.rememberForwards(logName, r)
	case kindTransaction:
		return e.rememberSubmission(r)
	case kindUndeliverable:
		e.held.end(r.Key)
	case kindDelivered:
		e.held.end(r.Key)
		if logName != e.logName { // the other site's logs tell of it
			return e.rememberDouble(evidence.SiteOf(logName), r.Key)
		}
	}
	return nil
}

func (e *Engine) rememberAccepted(site string, r evidence.Record) error {
	var submission accepted
	if err := r.Decode(&submission); err != nil {
		return err
	}
	e.timers.start(submission, site)
	e.senders.add(fold(submission.Transit.Sender), submission.Transit.Identifier, r.Time, e.now())
	for _, rcpt := range submission.Transit.Recipients {
		if err := e.endTimer(timerKey{submission.Transit.Identifier, fold(rcpt.Address)}, submission); err != nil {
			return err
		}
	}
	return nil
}

// rememberSubmission counts what a mailbox sent today, at either site.
func (e *Engine) rememberSubmission(r evidence.Record) error {
	today := dayOf(e.now())
	if dayOf(r.Time) != today {
		return nil
	}
	var tx transaction
	if err := r.Decode(&tx); err != nil || tx.Port != portSubmission {
		return err
	}
	e.sentToday.addRecord(fold(tx.From), today, r.Hash)
	return nil
}

// rememberOwn is what only this site's own log tells: of arrivals at the other site its engine tells the holders.
func (e *Engine) rememberOwn(r evidence.Record) error {
	switch r.Kind {
	case kindDelivered:
		if err := e.rememberPending(r); err != nil {
			return err
		}
		return e.arrivals.remember(r, e.now())
	case kindReplicated:
		e.replica.repaired(r.Key)
	case kindBegun, kindRecalled:
		e.recalled.Store(r.Kind == kindRecalled)
	}
	return nil
}

// dayOf is the day in Rome, on which the daily limits are counted.
func dayOf(t time.Time) string { return t.In(pec.Rome()).Format(time.DateOnly) }
