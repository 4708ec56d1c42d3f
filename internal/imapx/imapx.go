// Package imapx reads mailboxes of other providers over IMAPS. It opens folders with EXAMINE and fetches with PEEK, so that nothing
// changes at the source, not even \Seen.
package imapx

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"golang.org/x/time/rate"

	"github.com/pec-operator/pec-operator/internal/reach"
)

const (
	dialTimeout = 30 * time.Second
	// batch is how many messages one FETCH asks for: what is lost when a connection breaks, and what a server must hold ready.
	batch = 100
)

// Options say whose mailbox is read, and where.
type Options struct {
	Address string         // host:port
	Name    string         // that the certificate must bear; "" is the host
	Roots   *x509.CertPool // nil for the system's
	User    string
	// Password is never printed: no error of this package repeats it.
	Password string
	// PerSecond bounds how many messages are fetched; 0 is no bound.
	PerSecond float64
	// Own says that the server is a stack of ours, wherever it is. Any other one is on the internet, or in one of the Networks.
	Own      bool
	Networks []netip.Prefix
	// Connect makes the connection, in tests; nil is the network's.
	Connect func(ctx context.Context, network, address string) (net.Conn, error)

	maxBytes int64 // that are read; 0 is no bound
}

// ErrCredentials is a refusal of user and password. Trying again can lock the account at the source.
var ErrCredentials = errors.New("the source refuses the user or the password")

// Folder is a folder of the source that can hold messages.
type Folder struct {
	// Name is the source's, in UTF-8.
	Name string
	// Levels are its parts, cut at the source's own separator.
	Levels []string
}

// State is what EXAMINE says of a folder.
type State struct {
	UIDValidity, UIDNext, Messages uint32
}

// Message is what the source knows of a message besides its bytes.
type Message struct {
	UID   uint32
	Date  time.Time
	Size  int64
	Flags []string // system flags and keywords, sorted, without \Recent
}

// Client is a connection to one mailbox.
type Client struct {
	client  *imapclient.Client
	conn    *counted
	limiter *rate.Limiter
	stop    func() bool
}

// Dial connects and logs in; the connection ends with ctx.
func Dial(ctx context.Context, o Options) (*Client, error) {
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil {
		return nil, fmt.Errorf("reaching %s: %w", o.Address, err)
	}
	conn, counted, err := connect(ctx, o, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cmp.Or(o.Name, host), RootCAs: o.Roots})
	if err != nil {
		return nil, fmt.Errorf("reaching %s: %w", o.Address, err)
	}
	limit := rate.Inf
	if o.PerSecond > 0 {
		limit = rate.Limit(o.PerSecond)
	}
	c := &Client{client: imapclient.New(conn, nil), conn: counted, limiter: rate.NewLimiter(limit, 1)}
	c.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err = c.greeted(); err == nil {
		err = c.client.Login(o.User, o.Password).Wait()
	}
	if err != nil {
		c.Close()
		if refusal := (*imap.Error)(nil); errors.As(err, &refusal) && refusal.Type == imap.StatusResponseTypeNo && !slices.Contains(passing, refusal.Code) {
			return nil, fmt.Errorf("logging in to %s as %s: %w", o.Address, o.User, ErrCredentials)
		}
		return nil, fmt.Errorf("logging in to %s as %s: %w", o.Address, o.User, kinded(err))
	}
	return c, nil
}

// connect makes the connection and shakes hands.
func connect(ctx context.Context, o Options, config *tls.Config) (net.Conn, *counted, error) {
	switch {
	case o.Connect != nil:
	case o.Own:
		o.Connect = (&net.Dialer{}).DialContext
	default:
		o.Connect = reach.Dialer(o.Networks).DialContext
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	plain, err := o.Connect(ctx, "tcp", o.Address)
	if err != nil {
		return nil, nil, err
	}
	count := &counted{Conn: plain, limit: o.maxBytes}
	conn := tls.Client(count, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = plain.Close()
		return nil, nil, err
	}
	return conn, count, nil
}

// greeted waits for the server's greeting. The library chooses at random what it answers of a greeting that was a refusal with the end
// of the connection behind it, hence a few times.
func (c *Client) greeted() (err error) {
	refusal := (*imap.Error)(nil)
	for range 16 {
		if err = c.client.WaitGreeting(); err == nil || errors.As(err, &refusal) {
			return err
		}
	}
	return err
}

// passing are the refusals of a login that say nothing of user and password. CONTACTADMIN is what Dovecot says of a mailbox that is
// suspended, after it has found the password right.
var passing = []imap.ResponseCode{
	imap.ResponseCodeUnavailable, imap.ResponseCodeInUse, imap.ResponseCodeLimit, imap.ResponseCodeContactAdmin, imap.ResponseCodeServerBug,
}

// Close ends the connection.
func (c *Client) Close() {
	c.stop()
	_ = c.client.Close()
}

// Folders lists the folders that can hold messages, by name.
func (c *Client) Folders() ([]Folder, error) {
	list, err := c.client.List("", "*", nil).Collect()
	if err != nil {
		return nil, fmt.Errorf("listing the source's folders: %w", err)
	}
	var folders []Folder
	for _, l := range list {
		if slices.Contains(l.Attrs, imap.MailboxAttrNoSelect) || slices.Contains(l.Attrs, imap.MailboxAttrNonExistent) {
			continue
		}
		levels := []string{l.Mailbox}
		if l.Delim != 0 {
			levels = strings.Split(l.Mailbox, string(l.Delim))
		}
		folders = append(folders, Folder{Name: l.Mailbox, Levels: levels})
	}
	slices.SortFunc(folders, func(a, b Folder) int { return strings.Compare(a.Name, b.Name) })
	return folders, nil
}

// Examine opens a folder to be read.
func (c *Client) Examine(folder string) (State, error) {
	data, err := c.client.Select(folder, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		return State{}, fmt.Errorf("opening the source's folder %q: %w", folder, err)
	}
	return State{UIDValidity: data.UIDValidity, UIDNext: uint32(data.UIDNext), Messages: data.NumMessages}, nil
}

// Writable says whether the server offers to change a folder: only SELECT tells. It marks messages as no longer \Recent, which no
// client shows, and changes nothing else as long as the folder is never closed: closing would expunge. It ends the use of the client.
func (c *Client) Writable(folder string) (bool, error) {
	data, err := c.client.Select(folder, nil).Wait()
	if err != nil {
		return false, fmt.Errorf("opening the folder %q: %w", folder, err)
	}
	return len(data.PermanentFlags) > 0, nil
}

// Messages lists the open folder, by UID.
func (c *Client) Messages() ([]Message, error) {
	all := imap.UIDSet{imap.UIDRange{Start: 1, Stop: 0}}
	cmd := c.client.Fetch(all, &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true})
	list := []Message{}
	for data := cmd.Next(); data != nil; data = cmd.Next() {
		buffer, err := data.Collect()
		if err != nil {
			_ = cmd.Close()
			return nil, fmt.Errorf("listing the source's messages: %w", err)
		}
		m := Message{UID: uint32(buffer.UID), Date: buffer.InternalDate.UTC(), Size: buffer.RFC822Size}
		for _, f := range buffer.Flags {
			if f != `\Recent` {
				m.Flags = append(m.Flags, string(f))
			}
		}
		slices.Sort(m.Flags)
		list = append(list, m)
	}
	if err := cmd.Close(); err != nil {
		return nil, fmt.Errorf("listing the source's messages: %w", err)
	}
	slices.SortFunc(list, func(a, b Message) int { return int(int64(a.UID) - int64(b.UID)) })
	return list, nil
}

// Sink takes the bytes of one message after another.
type Sink interface {
	io.Writer
	Reset()
}

// Each reads messages of the open folder in the order in which the source answers, each into an empty sink, and then calls f. The
// source answers nothing for a UID that is gone, and may answer a message without its bytes if it cannot read it: such UIDs are
// answered as unread.
func (c *Client) Each(ctx context.Context, uids []uint32, into Sink, f func(uid uint32) error) (unread []uint32, err error) {
	for part := range slices.Chunk(uids, batch) {
		if err := c.wait(ctx, len(part)); err != nil {
			return nil, err
		}
		read, err := c.fetch(part, into, f)
		if err != nil {
			return nil, err
		}
		for _, uid := range part {
			if !read[uid] {
				unread = append(unread, uid)
			}
		}
	}
	return unread, nil
}

// wait keeps to the rate before a batch, one message at a time: a burst would be the batch itself.
func (c *Client) wait(ctx context.Context, n int) error {
	for range n {
		if err := c.limiter.Wait(ctx); err != nil {
			return fmt.Errorf("waiting for the source's rate: %w", err)
		}
	}
	return nil
}

func (c *Client) fetch(uids []uint32, into Sink, f func(uint32) error) (read map[uint32]bool, err error) {
	set := imap.UIDSet{}
	for _, uid := range uids {
		set.AddNum(imap.UID(uid))
	}
	cmd := c.client.Fetch(set, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
	read = map[uint32]bool{}
	for data := cmd.Next(); data != nil && err == nil; data = cmd.Next() {
		var uid uint32
		if uid, err = takeMessage(data, into); err == nil && uid != 0 {
			err = f(uid)
			read[uid] = true
		}
	}
	if closeErr := cmd.Close(); err == nil && closeErr != nil {
		if refusal := (*imap.Error)(nil); errors.As(closeErr, &refusal) && refusal.Type == imap.StatusResponseTypeNo {
			return read, nil // what it could read it has answered
		}
		err = fmt.Errorf("fetching from the source: %w", closeErr)
	}
	return read, err
}

// takeMessage reads one message's data; a server may say the UID after the bytes. The UID is 0 if the bytes are not there.
func takeMessage(data *imapclient.FetchMessageData, into Sink) (uid uint32, err error) {
	into.Reset()
	whole := false
	for item := data.Next(); item != nil; item = data.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			uid = uint32(item.UID)
		case imapclient.FetchItemDataBodySection:
			if item.Literal == nil {
				continue
			}
			if _, err := io.Copy(into, item.Literal); err != nil {
				return 0, fmt.Errorf("reading a message of the source: %w", err)
			}
			whole = true
		}
	}
	if !whole {
		return 0, nil
	}
	return uid, nil
}
