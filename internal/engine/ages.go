package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/mailage"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/store"
)

const (
	// agesEvery is how often a mailbox is searched for the age of what it holds: it changes by the day.
	agesEvery = 24 * time.Hour
	// agesRetry is how soon one is searched again that Dovecot would not open.
	agesRetry = time.Hour
	// agesNew is how soon one is searched that was just made: there is nothing in it yet, and ten thousand made at once are in nobody's way.
	agesNew = time.Hour
	// agesRound is how often somebody looks whether a search is due, and agesPause is between two of them: ten thousand mailboxes
	// after a start must not take the disks from the mail.
	agesRound = time.Minute
	agesPause = 20 * time.Millisecond
)

// ages are what the last searches found, by mailbox. They are a view of the mailboxes themselves: a restart searches again, and a
// directory or a site that was lost takes no history with it.
type ages struct {
	mu    sync.Mutex
	found map[string]aged
}

type aged struct {
	ages *mailage.Ages
	next time.Time // when it is searched again
}

// of is what is known of a mailbox; nil before its first search.
func (a *ages) of(address string) *mailage.Ages {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.found[address].ages
}

func (a *ages) due(address string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !now.Before(a.found[address].next)
}

// put keeps what was found until the next search.
func (a *ages) put(address string, found *mailage.Ages, next time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.found[address] = aged{found, next}
}

// keep forgets the mailboxes that are no more.
func (a *ages) keep(addresses map[string]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for address := range a.found {
		if !addresses[address] {
			delete(a.found, address)
		}
	}
}

// runAges searches each mailbox once a day, one after the other, until the context ends.
func (e *Engine) runAges(ctx context.Context) error {
	tick := time.NewTicker(agesRound)
	defer tick.Stop()
	for {
		if err := e.searchAges(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("searching mailboxes for the age of their mail", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// searchAges searches the mailboxes that are due. One that Dovecot refuses does not hold up the others; a Dovecot that does not answer
// ends the round, and the next one begins where it ended.
func (e *Engine) searchAges(ctx context.Context) error {
	rows, err := e.directory.Mailboxes(ctx, "")
	if err != nil {
		return err
	}
	open := map[string]bool{}
	for _, row := range rows {
		if row.Access != admin.AccessClosed {
			open[row.Address] = true
		}
	}
	e.ages.keep(open)
	for _, row := range rows {
		if !open[row.Address] || !e.ages.due(row.Address, e.now()) {
			continue
		}
		found, err := e.doveadmTCP.ages(ctx, row.Address, e.now())
		switch refused := doveadmRefusal(""); {
		case errors.As(err, &refused):
			e.ages.put(row.Address, e.ages.of(row.Address), e.now().Add(agesRetry))
			e.log.Warn("searching a mailbox for the age of its mail", "mailbox", row.Address, "error", err)
		case err != nil:
			return err
		default:
			e.ages.put(row.Address, &found, e.now().Add(agesEvery))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(agesPause):
		}
	}
	return nil
}

// ages searches a mailbox for what arrived in the last year. What a migration brought has the date that it had at its source.
func (d *doveadmTCP) ages(ctx context.Context, user string, now time.Time) (mailage.Ages, error) {
	var found mailage.Ages
	err := d.with(ctx, func(c *doveadmConn) error {
		found = mailage.Ages{}
		return c.run(3, func(f []string) error {
			at, err := strconv.ParseInt(f[0], 10, 64)
			size, sizeErr := strconv.ParseInt(f[1], 10, 64)
			if err != nil || sizeErr != nil {
				return fmt.Errorf("%w: message %q", errWire, f)
			}
			if f[2] != store.Expunged {
				found.Add(time.Unix(at, 0), size, now)
			}
			return nil
		}, user, "fetch", "date.received.unixtime size.virtual mailbox", "mailbox", "*", "since", now.AddDate(0, 0, -mailage.YearDays-1).UTC().Format("2-Jan-2006"))
	})
	if err != nil {
		return found, fmt.Errorf("searching %s: %w", user, err)
	}
	return found, nil
}

// senders count, by mailbox, what was accepted for sending on each of the last days, at either site. They are a view of the logs, read
// at start.
type senders struct {
	mu sync.Mutex
	by map[string]*sentDays
	// counted are the days on which submissions were counted, by the hash of their identifier: a mirror that was set aside and the one
	// that was begun after it hold the same records. Eight bytes of each identifier are enough, and so is a month of them.
	counted map[uint64]int
	newest  int // of the days in counted
	seed    maphash.Seed
}

func newSenders() *senders {
	return &senders{by: map[string]*sentDays{}, counted: map[uint64]int{}, seed: maphash.MakeSeed()}
}

// sentDays are counts by day, the day's number modulo their length; last is the newest day that was counted.
type sentDays struct {
	last   int
	counts [mailage.MonthDays]int32
}

// dayNumber counts days on the calendar of Rome.
func dayNumber(t time.Time) int {
	year, month, day := t.In(pec.Rome()).Date()
	return int(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / (24 * 60 * 60))
}

// add counts a message that was accepted at a time, once, however many logs tell of it; one of before the month is nobody's concern.
func (s *senders) add(address, identifier string, at, now time.Time) {
	if now.Sub(at) > (mailage.MonthDays+1)*24*time.Hour { // a start reads years of them
		return
	}
	day, today := dayNumber(at), dayNumber(now)
	if day <= today-mailage.MonthDays || day > today {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest < today {
		s.newest = today
		maps.DeleteFunc(s.counted, func(_ uint64, day int) bool { return day <= today-mailage.MonthDays })
	}
	key := maphash.String(s.seed, identifier)
	if _, known := s.counted[key]; known {
		return
	}
	s.counted[key] = day
	d := s.by[address]
	if d == nil {
		d = &sentDays{last: today}
		s.by[address] = d
	}
	d.turn(today)
	d.counts[day%mailage.MonthDays]++
}

// turn forgets what is older than a month of days before today.
func (d *sentDays) turn(today int) {
	for d.last < today {
		d.last++
		d.counts[d.last%mailage.MonthDays] = 0
		if today-d.last > mailage.MonthDays {
			d.last = today - mailage.MonthDays
		}
	}
}

// month is how many messages of a mailbox were accepted in the last days, today among them.
func (s *senders) month(address string, now time.Time) (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.by[address]
	if d == nil {
		return 0
	}
	d.turn(dayNumber(now))
	for _, count := range d.counts {
		n += int64(count)
	}
	return n
}
