package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/emersion/go-smtp"
)

// relay sends messages to a neighbour in the pod over SMTP or LMTP and keeps a few connections open.
type relay struct {
	address  string
	hostname string
	lmtp     bool
	idle     chan *smtp.Client
}

const (
	idleConnections = 8
	connectTimeout  = 10 * time.Second
	commandTimeout  = 30 * time.Second
	messageTimeout  = 5 * time.Minute // Dovecot waits for a mailbox lock, Postfix for a disk
	idleTries       = 2               // an idle connection may have been closed by the other end
)

func newRelay(address, hostname string, lmtp bool) *relay {
	return &relay{address: address, hostname: hostname, lmtp: lmtp, idle: make(chan *smtp.Client, idleConnections)}
}

func (r *relay) dial() (*smtp.Client, error) {
	conn, err := net.DialTimeout("tcp", r.address, connectTimeout)
	if err != nil {
		return nil, err
	}
	client := smtp.NewClient(conn)
	if r.lmtp {
		client = smtp.NewClientLMTP(conn)
	}
	client.CommandTimeout, client.SubmissionTimeout = commandTimeout, messageTimeout
	if err := client.Hello(r.hostname); err != nil {
		_ = client.Close()
		return nil, err
	}
	return client, nil
}

// message is one message for one recipient: one reply is then one outcome.
type message struct {
	from, to string
	envid    string // of failure notices; "" asks for none
	top      []byte // goes before bytes
	bytes    []byte
}

// send delivers m and returns the reply. ready, if not nil, is called when the neighbour has taken the recipient and before
// it gets the message. The error wraps *smtp.SMTPError if the neighbour answered.
func (r *relay) send(m message, ready func() error) (reply string, err error) {
	client, err := r.open(m)
	if err != nil {
		return "", fmt.Errorf("sending to %s: %w", r.address, err)
	}
	defer func() { r.release(client, err) }()
	if ready != nil {
		if err = ready(); err != nil {
			return "", err
		}
	}
	if reply, err = transfer(client, m, r.lmtp); err != nil {
		err = fmt.Errorf("sending to %s: %w", r.address, err)
	}
	return reply, err
}

// open brings a connection to where it wants DATA. A connection that was idle may be dead; then nothing was sent, and a new
// one is tried.
func (r *relay) open(m message) (*smtp.Client, error) {
	for range idleTries {
		var client *smtp.Client
		select {
		case client = <-r.idle:
		default:
			return r.openNew(m)
		}
		err := mailAndRcpt(client, m)
		if err == nil {
			return client, nil
		}
		r.release(client, err)
		var answer *smtp.SMTPError
		if errors.As(err, &answer) && answer.Code != 421 {
			return nil, err
		}
	}
	return r.openNew(m)
}

func (r *relay) openNew(m message) (*smtp.Client, error) {
	client, err := r.dial()
	if err != nil {
		return nil, err
	}
	if err := mailAndRcpt(client, m); err != nil {
		r.release(client, err)
		return nil, err
	}
	return client, nil
}

func mailAndRcpt(client *smtp.Client, m message) error {
	mailOptions, rcptOptions := &smtp.MailOptions{}, &smtp.RcptOptions{}
	if m.envid != "" {
		mailOptions.EnvelopeID = m.envid
		mailOptions.Return = smtp.DSNReturnHeaders
		rcptOptions.Notify = []smtp.DSNNotify{smtp.DSNNotifyFailure}
		rcptOptions.OriginalRecipientType, rcptOptions.OriginalRecipient = smtp.DSNAddressTypeRFC822, m.to
	}
	if err := client.Mail(m.from, mailOptions); err != nil {
		return err
	}
	return client.Rcpt(m.to, rcptOptions)
}

func transfer(client *smtp.Client, m message, lmtp bool) (string, error) {
	data, err := client.Data()
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(data, io.MultiReader(bytes.NewReader(m.top), bytes.NewReader(m.bytes))); err != nil {
		return "", err
	}
	if !lmtp {
		response, err := data.CloseWithResponse()
		if err != nil {
			return "", err
		}
		return oneLine(response.StatusText), nil
	}
	responses, err := data.CloseWithLMTPResponse()
	var refused smtp.LMTPDataError
	if errors.As(err, &refused) && refused[m.to] != nil {
		return "", refused[m.to]
	}
	if err != nil {
		return "", err
	}
	return oneLine(responses[m.to].StatusText), nil
}

// release keeps a connection that is in a known state: after a reply, and after a RSET.
func (r *relay) release(client *smtp.Client, err error) {
	var answer *smtp.SMTPError
	if err != nil && (!errors.As(err, &answer) || answer.Code == 421 || client.Reset() != nil) {
		_ = client.Close()
		return
	}
	select {
	case r.idle <- client:
	default:
		_ = client.Quit()
	}
}

// reachable says whether the neighbour takes connections.
func (r *relay) reachable() error {
	conn, err := net.DialTimeout("tcp", r.address, time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}
