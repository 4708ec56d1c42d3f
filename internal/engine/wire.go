package engine

import (
	"bufio"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// The doveadm protocol of Dovecot 2.4 in the one form that dsync needs. Both ends say their version; we say minor version 0,
// with which there is no multiplexing and no log channel, and what follows the command's "+" is the bare dsync stream.
//
//	client: VERSION\tdoveadm-server\t1\t<minor>     (each names the other's role)
//	server: VERSION\tdoveadm-client\t1\t0           (only to clients of minor version 1 and above)
//	server: -                                       authentication needed
//	client: PLAIN\t<base64 of NUL doveadm NUL password>
//	server: +
//	client: <flags>\t<user>\tdsync-server\t-u<user>
//	server: <empty line> +                          or  <empty line> -<reason>
const (
	wireClientVersion = "VERSION\tdoveadm-server\t1\t0"
	wireServerVersion = "VERSION\tdoveadm-client\t1\t0"
	wireCommand       = "dsync-server"
	wireHandshake     = 10 * time.Second
	wireLineLimit     = 4096
)

// wire is a connection whose lines are read with a bound, and whose rest is a stream.
type wire struct {
	net.Conn
	r *bufio.Reader
}

func newWire(conn net.Conn) *wire {
	return &wire{Conn: conn, r: bufio.NewReaderSize(conn, wireLineLimit)}
}

func (w *wire) Read(b []byte) (int, error) { return w.r.Read(b) }

func (w *wire) readLine() (string, error) {
	line, err := w.r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	return string(line[:len(line)-1]), nil
}

func (w *wire) writeLine(line string) error {
	_, err := io.WriteString(w.Conn, line+"\n")
	return err
}

// exchange sends each line in turn and expects the answer after it.
func (w *wire) exchange(lines ...string) error {
	for i := 0; i < len(lines); i += 2 {
		if err := w.writeLine(lines[i]); err != nil {
			return err
		}
		answer, err := w.readLine()
		if err != nil {
			return err
		}
		if answer != lines[i+1] {
			return fmt.Errorf("%w: got %q", errWire, answer)
		}
	}
	return nil
}

// closeWrite ends our direction and leaves the other one open.
func (w *wire) closeWrite() {
	if half, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// doveadmPlain is the answer to "-".
func doveadmPlain(password string) string {
	return "PLAIN\t" + base64.StdEncoding.EncodeToString([]byte("\x00doveadm\x00"+password))
}

var errWire = errors.New("not the doveadm protocol as Dovecot 2.4 speaks it")

// acceptDsync is the server's side of the handshake, towards our own Dovecot. It returns the user whose mailbox is to be synced.
func acceptDsync(w *wire, password string) (user string, err error) {
	version, err := w.readLine()
	if err != nil {
		return "", err
	}
	minor, ok := strings.CutPrefix(version, "VERSION\tdoveadm-server\t1\t")
	if !ok {
		return "", fmt.Errorf("%w: %q", errWire, version)
	}
	greeting := "-"
	if minor != "0" {
		greeting = wireServerVersion + "\n-"
	}
	if err := w.writeLine(greeting); err != nil {
		return "", err
	}
	login, err := w.readLine()
	if err != nil {
		return "", err
	}
	if subtle.ConstantTimeCompare([]byte(login), []byte(doveadmPlain(password))) != 1 {
		_ = w.writeLine("-")
		return "", fmt.Errorf("%w: wrong password", errWire)
	}
	if err := w.writeLine("+"); err != nil {
		return "", err
	}
	command, err := w.readLine()
	if err != nil {
		return "", err
	}
	fields := strings.Split(command, "\t")
	if len(fields) != 4 || fields[2] != wireCommand || fields[3] != "-u"+fields[1] || fields[1] == "" {
		return "", fmt.Errorf("%w: command %q", errWire, command)
	}
	return fields[1], nil
}

// doveadmLogin is the client's side of the handshake, towards our own Dovecot: it ends where commands begin.
func doveadmLogin(w *wire, password string) error {
	return w.exchange(wireClientVersion, "-", doveadmPlain(password), "+")
}

// startDsync logs in and goes on to where the dsync stream begins.
func startDsync(w *wire, password, user string) error {
	if err := doveadmLogin(w, password); err != nil {
		return err
	}
	if err := w.exchange("\t"+user+"\t"+wireCommand+"\t-u"+user, ""); err != nil {
		return err
	}
	answer, err := w.readLine()
	if err != nil {
		return err
	}
	if answer != "+" {
		return fmt.Errorf("dovecot refused to sync: %s", answer)
	}
	return nil
}

// splice carries both directions until both have ended.
func splice(a, b *wire) {
	var both sync.WaitGroup
	carry := func(to, from *wire) {
		_, err := io.Copy(to.Conn, from)
		if to.closeWrite(); err != nil { // one side broke: the other must not wait for it
			_ = a.Close()
			_ = b.Close()
		}
	}
	both.Go(func() { carry(a, b) })
	both.Go(func() { carry(b, a) })
	both.Wait()
}
