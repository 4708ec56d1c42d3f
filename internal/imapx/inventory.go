package imapx

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/pec-operator/pec-operator/internal/mailage"
	"github.com/pec-operator/pec-operator/internal/reach"
)

const (
	// maxSizes is how many messages an inventory asks the size of: some two megabytes of answers.
	maxSizes = 20000
	// maxInventory is how many bytes an inventory reads before it takes the server for one that means harm.
	maxInventory = 32 << 20
)

// ErrRefused is a server that answers and does not serve now: too many connections, closed for some time, or this mailbox suspended.
var ErrRefused = errors.New("the server refuses")

// Inventory is how full a mailbox is.
type Inventory struct {
	// Bytes of all messages; mailage.Unknown when the server tells neither a quota nor sizes and there are too many messages to add up.
	Bytes    int64
	Messages int64
	// Limit is what the quota allows, in bytes; 0 when the server tells none.
	Limit int64
	// Ages is nil when there are too many messages of the last month to ask for.
	Ages *mailage.Ages
}

// Take logs in, takes the inventory of a mailbox and leaves. It asks for QUOTA (RFC 9208) and for STATUS=SIZE (RFC 8438) where they are
// offered, and for the sizes of the messages of the last year, as far as they are few enough.
func Take(ctx context.Context, o Options, now time.Time) (Inventory, error) {
	o.maxBytes = maxInventory
	i, err := take(ctx, o, now, maxSizes)
	if err != nil && ctx.Err() != nil {
		return i, fmt.Errorf("%w: %w", ctx.Err(), err) // a connection that we cut says something else
	}
	return i, err
}

func take(ctx context.Context, o Options, now time.Time, most int) (Inventory, error) {
	c, err := Dial(ctx, o)
	if err != nil {
		return Inventory{}, err
	}
	defer c.Close()
	i, err := c.inventory(now, most)
	if c.conn.tooMuch() {
		return Inventory{}, fmt.Errorf("looking at %s: %w", o.Address, errTooMuch)
	}
	if err != nil {
		return Inventory{}, kinded(err)
	}
	_ = c.client.Logout().Wait() // all was read
	return i, nil
}

func (c *Client) inventory(now time.Time, most int) (Inventory, error) {
	caps := c.client.Caps()
	used, limit := int64(mailage.Unknown), int64(0)
	if caps.Has(imap.CapQuota) {
		var err error
		if used, limit, err = c.quota(); err != nil {
			return Inventory{}, err
		}
	}
	folders, err := c.Folders()
	if err != nil {
		return Inventory{}, err
	}
	sums := sums{now: now, budget: most, sized: caps.Has(imap.CapStatusSize), whole: used != mailage.Unknown}
	for _, f := range folders {
		if err := c.sum(&sums, f.Name); err != nil {
			return Inventory{}, err
		}
	}
	i := Inventory{Bytes: sums.bytes, Messages: sums.messages, Limit: limit, Ages: &sums.ages}
	if used != mailage.Unknown {
		i.Bytes = used
	}
	if sums.tooMany {
		i.Ages = nil
	}
	return i, nil
}

// quota is how much of the INBOX's quota is used, and how much there is, in bytes. A server that has no quota for it says none.
func (c *Client) quota() (used, limit int64, err error) {
	roots, err := c.client.GetQuotaRoot("INBOX").Wait()
	if refusal := (*imap.Error)(nil); errors.As(err, &refusal) && refusal.Type != imap.StatusResponseTypeBye {
		return mailage.Unknown, 0, nil // it announces what it does not offer to this user
	}
	if err != nil {
		return 0, 0, fmt.Errorf("asking for the quota: %w", err)
	}
	used = mailage.Unknown
	for _, root := range roots {
		if storage, ok := root.Resources[imap.QuotaResourceStorage]; ok && (limit == 0 || storage.Limit<<10 < limit) {
			used, limit = sane(storage.Usage)<<10, sane(storage.Limit)<<10 // the tightest counts
		}
	}
	return used, limit, nil
}

// sums are what an inventory adds up over the folders.
type sums struct {
	now             time.Time
	budget          int  // of messages that may still be asked for
	sized           bool // the server adds up the bytes of a folder itself
	whole           bool // the bytes of all are known without
	bytes, messages int64
	ages            mailage.Ages
	tooMany         bool // not all of the last month was asked for
}

// sum adds a folder.
func (c *Client) sum(s *sums, folder string) error {
	status, err := c.client.Status(folder, &imap.StatusOptions{NumMessages: true, Size: s.sized}).Wait()
	if err != nil {
		return fmt.Errorf("asking for the size of folder %q: %w", folder, err)
	}
	if status.NumMessages == nil || *status.NumMessages == 0 {
		return nil
	}
	s.messages += int64(*status.NumMessages)
	counted := s.sized && status.Size != nil
	if counted && s.bytes != mailage.Unknown {
		s.bytes += sane(*status.Size)
	}
	if _, err := c.Examine(folder); err != nil {
		return err
	}
	if !counted && !s.whole {
		// Nobody tells how large the folder is: its messages are added up, if they are few enough.
		if int(*status.NumMessages) > s.budget {
			s.bytes = mailage.Unknown
		} else {
			return c.sizes(s, nil)
		}
	}
	return c.recent(s)
}

// recent asks for the messages of the last year in the open folder, or of the last month if those are too many.
func (c *Client) recent(s *sums) error {
	for _, days := range []int{mailage.YearDays, mailage.MonthDays} {
		// A day more: IMAP searches by the day, on the server's own clock.
		found, err := c.client.UIDSearch(&imap.SearchCriteria{Since: s.now.AddDate(0, 0, -days-1)}, nil).Wait()
		if err != nil {
			return fmt.Errorf("searching for the messages of the last %d days: %w", days, err)
		}
		switch uids := found.AllUIDs(); {
		case len(uids) == 0:
			return nil
		case len(uids) <= s.budget:
			return c.sizes(s, uids)
		}
		if days == mailage.YearDays {
			s.ages.Year = mailage.Unknown
		}
	}
	s.tooMany = true
	return nil
}

// sizes adds up messages of the open folder: all for nil, and then their bytes too.
func (c *Client) sizes(s *sums, uids []imap.UID) error {
	all := uids == nil
	sets := []imap.UIDSet{{imap.UIDRange{Start: 1, Stop: 0}}}
	if !all {
		sets = nil
		for part := range slices.Chunk(uids, 1000) { // a command line is not for ever
			sets = append(sets, imap.UIDSetNum(part...))
		}
	}
	for _, set := range sets {
		messages, err := c.client.Fetch(set, &imap.FetchOptions{UID: true, InternalDate: true, RFC822Size: true}).Collect()
		if err != nil {
			return fmt.Errorf("asking for the sizes of messages: %w", err)
		}
		s.budget -= len(messages)
		for _, m := range messages {
			size := sane(m.RFC822Size)
			s.ages.Add(m.InternalDate, size, s.now)
			if all && s.bytes != mailage.Unknown {
				s.bytes += size
			}
		}
	}
	return nil
}

// sane keeps what a server says within what can be added up: a lie must not become an overflow.
func sane(n int64) int64 { return max(0, min(n, 1<<44)) }

// kinded marks the refusal of a server that answers.
func kinded(err error) error {
	if refusal := (*imap.Error)(nil); errors.As(err, &refusal) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// Why says in a few words why an inventory failed, without addresses, ports and a server's own text: they differ on every try, and the
// words stand in a status.
func Why(err error) string {
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var name *net.DNSError
	var network net.Error
	switch {
	case errors.Is(err, reach.ErrInside):
		return reach.ErrInside.Error()
	case errors.As(err, &unknown):
		return "its certificate is of no authority that is known here"
	case errors.As(err, &hostname):
		return "its certificate is for another name"
	case errors.As(err, &invalid):
		return "its certificate has expired, or is not for a server"
	case errors.As(err, &name) && name.IsNotFound:
		return "its name does not exist"
	case errors.Is(err, errTooMuch):
		return "it answers more than any mailbox holds"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "it did not answer in time"
	case errors.As(err, &network) && !strings.Contains(err.Error(), "closed network connection"):
		return "it does not take the connection"
	}
	return "it broke the connection, or answers what is not IMAP"
}

var errTooMuch = errors.New("too many bytes")

// counted is a connection that ends after so many bytes were read.
type counted struct {
	net.Conn
	limit int64 // 0 is none
	read  atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	if c.tooMuch() {
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

func (c *counted) tooMuch() bool { return c.limit > 0 && c.read.Load() >= c.limit }
