package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/store"
)

// Mailbox access by the doveadm protocol. The HTTP API cannot carry it: JSON holds no bytes that are not UTF-8.
//
//	client: \t<user>\t<command>\t<argument>...     then, for save, the message with dots stuffed, ended by a line with a dot
//	server: <field>\t<field>\t...\n                fields in Dovecot's tab escapes
//	server: +                                      or -<reason>
const (
	doveadmIdle     = 30 * time.Second // Dovecot ends idle connections after a minute
	doveadmMaxIdle  = 4
	doveadmTimeout  = 5 * time.Minute
	doveadmBuffer   = 64 << 10
	maxDoveadmField = 1 << 20 // a folder's name or a message's flags, of which Dovecot bounds the length and not the number
)

// doveadmTCP keeps connections to Dovecot's doveadm port: Dovecot starts a process for each.
type doveadmTCP struct {
	address  string
	password func() (string, error)

	mu   sync.Mutex
	idle []*doveadmConn
}

type doveadmConn struct {
	net.Conn
	r    *bufio.Reader
	used time.Time // by the machine's clock: Dovecot's own timeout is
}

// doveadmRefusal is a reason that doveadm gave.
type doveadmRefusal string

func (r doveadmRefusal) Error() string { return "Dovecot refused: " + string(r) }

// with runs f on a connection. f's first command must be one that can be asked again: a kept connection may be dead, and then f
// runs again on a new one.
func (d *doveadmTCP) with(ctx context.Context, f func(*doveadmConn) error) error {
	for {
		c, kept, err := d.take(ctx)
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(doveadmTimeout))
		first := &firstAnswer{Conn: c.Conn}
		c.r.Reset(first)
		err = f(c)
		reason := doveadmRefusal("")
		if stop() && (err == nil || errors.As(err, &reason)) {
			d.give(c)
			return err
		}
		_ = c.Close()
		if !kept || first.came || ctx.Err() != nil {
			return err
		}
	}
}

// firstAnswer notes whether anything came.
type firstAnswer struct {
	net.Conn
	came bool
}

func (f *firstAnswer) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	f.came = f.came || n > 0
	return n, err
}

func (d *doveadmTCP) take(ctx context.Context) (c *doveadmConn, kept bool, err error) {
	d.mu.Lock()
	for len(d.idle) > 0 && c == nil {
		last := d.idle[len(d.idle)-1]
		d.idle = d.idle[:len(d.idle)-1]
		if c = last; time.Since(last.used) > doveadmIdle {
			_ = last.Close()
			c = nil
		}
	}
	d.mu.Unlock()
	if c != nil {
		return c, true, nil
	}
	c, err = d.dial(ctx)
	return c, false, err
}

func (d *doveadmTCP) give(c *doveadmConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.idle) >= doveadmMaxIdle {
		_ = c.Close()
		return
	}
	c.used = time.Now()
	d.idle = append(d.idle, c)
}

// close ends the kept connections: Dovecot waits half a minute for them when it stops.
func (d *doveadmTCP) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.idle {
		_ = c.Close()
	}
	d.idle = nil
}

func (d *doveadmTCP) dial(ctx context.Context) (*doveadmConn, error) {
	password, err := d.password()
	if password == "" {
		return nil, err
	}
	dialer := net.Dialer{Timeout: peerDialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, fmt.Errorf("reaching dovecot: %w", err)
	}
	_ = conn.SetDeadline(time.Now().Add(wireHandshake))
	w := newWire(conn)
	if err := doveadmLogin(w, password); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("logging in to dovecot: %w", err)
	}
	return &doveadmConn{Conn: conn, r: bufio.NewReaderSize(conn, doveadmBuffer)}, nil
}

var escaper = strings.NewReplacer("\x01", "\x011", "\t", "\x01t", "\n", "\x01n", "\r", "\x01r", "\x00", "\x010")

// send writes a command for a user.
func (c *doveadmConn) send(user string, command string, arguments ...string) error {
	var b strings.Builder
	b.WriteString("\t" + escaper.Replace(user) + "\t" + command + "\t-u\t" + escaper.Replace(user))
	for _, a := range arguments {
		b.WriteString("\t" + escaper.Replace(a))
	}
	_, err := io.WriteString(c.Conn, b.String()+"\n")
	return err
}

// run sends a command and calls row for each group of fields that it prints.
func (c *doveadmConn) run(fields int, row func([]string) error, user, command string, arguments ...string) error {
	if err := c.send(user, command, arguments...); err != nil {
		return err
	}
	var refused error // of row; the answer is read to its end all the same
	values := make([]string, 0, fields)
	for {
		value, more, err := c.field()
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if values = append(values, value); len(values) == fields {
			if refused == nil {
				refused = row(values)
			}
			values = values[:0]
		}
	}
	if err := c.end(); err != nil {
		return err
	}
	return refused
}

// field reads one field; more is false at the end of the line, before which there is none.
func (c *doveadmConn) field() (value string, more bool, err error) {
	var b strings.Builder
	for b.Len() <= maxDoveadmField {
		char, err := c.r.ReadByte()
		switch {
		case err != nil:
			return "", false, err
		case char == '\n':
			return "", false, nil
		case char == '\t':
			return b.String(), true, nil
		case char == 1:
			if char, err = c.escaped(); err != nil {
				return "", false, err
			}
		}
		b.WriteByte(char)
	}
	return "", false, fmt.Errorf("%w: a field of more than %d bytes", errWire, maxDoveadmField)
}

func (c *doveadmConn) escaped() (byte, error) {
	char, err := c.r.ReadByte()
	if err != nil {
		return 0, err
	}
	if i := strings.IndexByte("01tnr", char); i >= 0 {
		return "\x00\x01\t\n\r"[i], nil
	}
	return 0, fmt.Errorf("%w: escape %q", errWire, char)
}

// end reads how a command ended.
func (c *doveadmConn) end() error {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return err
	}
	switch said := strings.TrimSuffix(string(line), "\n"); {
	case said == "+":
		return nil
	case strings.HasPrefix(said, "-NOTFOUND"), strings.HasPrefix(said, "-NOUSER"):
		return fmt.Errorf("%w (%w)", store.ErrNotFound, doveadmRefusal(said[1:]))
	case strings.HasPrefix(said, "-"):
		return doveadmRefusal(said[1:])
	default:
		return fmt.Errorf("%w: %q", errWire, said)
	}
}

// text copies the one long field that fetching a message prints, with CRLF at each line's end: Dovecot stores LF. begin is
// called before the first byte; a message that is not there is store.ErrNotFound, and begin is not called.
func (c *doveadmConn) text(w io.Writer, begin func()) error {
	if next, err := c.r.Peek(1); err != nil {
		return err
	} else if next[0] == '\n' {
		_, _ = c.r.ReadByte()
		if err := c.end(); err != nil {
			return err
		}
		return fmt.Errorf("%w: no such message", store.ErrNotFound)
	}
	begin()
	out := bufio.NewWriterSize(w, doveadmBuffer)
	last := byte(0)
	for {
		char, err := c.r.ReadByte()
		if err == nil && char == '\t' {
			break
		}
		if err == nil && char == 1 {
			char, err = c.escaped()
		}
		if err == nil && char == '\n' && last != '\r' {
			err = out.WriteByte('\r')
		}
		if err == nil {
			err = out.WriteByte(char)
		}
		if err != nil {
			return err
		}
		last = char
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if _, more, err := c.field(); err != nil || more {
		return errors.Join(err, errWire)
	}
	return c.end()
}

// stuff sends a message as the input of a command, without its end: a connection that is cut there leaves nothing in the mailbox.
func (c *doveadmConn) stuff(message io.Reader) error {
	in, out := bufio.NewReaderSize(message, doveadmBuffer), bufio.NewWriterSize(c.Conn, doveadmBuffer)
	lineStart := true
	for {
		char, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			return out.Flush()
		}
		if err == nil && char == '.' && lineStart {
			err = out.WriteByte('.')
		}
		if err == nil {
			err = out.WriteByte(char)
		}
		if err != nil {
			return err
		}
		lineStart = char == '\n'
	}
}

// lastingFlags are the flags that Dovecot prints of a message, without \Recent, which is a session's.
func lastingFlags(field string) []string {
	return slices.DeleteFunc(strings.Fields(field), func(flag string) bool { return flag == `\Recent` })
}

// finish ends the input and reads how the command ended.
func (c *doveadmConn) finish() error {
	if _, err := io.WriteString(c.Conn, "\r\n.\r\n"); err != nil {
		return err
	}
	if _, more, err := c.field(); err != nil || more {
		return errors.Join(err, errWire)
	}
	return c.end()
}
