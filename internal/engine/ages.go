package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/mailage"
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
