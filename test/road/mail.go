package road

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Account is a mailbox's holder at the keyboard: address, password, and where the stack listens at one site.
type Account struct {
	Address, Password string
	Login             string // the SASL user, where it is not the address
	Host              string // the stack's address at a site
	ServerName        string // what its certificate must be for
	Roots             *x509.CertPool
}

func (a Account) tls() *tls.Config { return &tls.Config{ServerName: a.ServerName, RootCAs: a.Roots} }

// Send submits a message over SMTPS with SASL; nil means that it was answered 250.
func (a Account) Send(to []string, message []byte) error {
	client, err := a.Submission()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.SendMail(a.Address, to, bytes.NewReader(message)); err != nil {
		return fmt.Errorf("sending from %s: %w", a.Address, err)
	}
	return client.Quit()
}

// Submission opens a session on the submission port, logged in.
func (a Account) Submission() (*smtp.Client, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", net.JoinHostPort(a.Host, "465"), a.tls())
	if err != nil {
		return nil, fmt.Errorf("connecting to the submission port: %w", err)
	}
	client := smtp.NewClient(conn)
	client.CommandTimeout, client.SubmissionTimeout = 30*time.Second, time.Minute
	if err := client.Auth(sasl.NewPlainClient("", cmp.Or(a.Login, a.Address), a.Password)); err != nil {
		client.Close()
		return nil, fmt.Errorf("logging in as %s: %w", a.Address, err)
	}
	return client, nil
}

// Inbox reads every message of the mailbox's INBOX, whole, over IMAPS, and leaves no trace.
func (a Account) Inbox() ([][]byte, error) { return a.inbox(imap.PartSpecifierNone) }

// Headers reads the header of every message of the mailbox's INBOX, and leaves no trace.
func (a Account) Headers() ([][]byte, error) { return a.inbox(imap.PartSpecifierHeader) }

func (a Account) inbox(part imap.PartSpecifier) ([][]byte, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", net.JoinHostPort(a.Host, "993"), a.tls())
	if err != nil {
		return nil, fmt.Errorf("connecting to the IMAP port: %w", err)
	}
	// Bounds the whole visit: a server that is killed in mid-answer must not hold the reader for ever.
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	client := imapclient.New(conn, nil)
	defer client.Close()
	if err := client.Login(a.Address, a.Password).Wait(); err != nil {
		return nil, fmt.Errorf("logging in as %s: %w", a.Address, err)
	}
	box, err := client.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		return nil, fmt.Errorf("opening INBOX of %s: %w", a.Address, err)
	}
	if box.NumMessages == 0 {
		return nil, nil
	}
	var all imap.SeqSet
	all.AddRange(1, 0)
	section := &imap.FetchItemBodySection{Specifier: part, Peek: true}
	fetch := client.Fetch(all, &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{section}})
	defer fetch.Close()
	var messages [][]byte
	for message := fetch.Next(); message != nil; message = fetch.Next() {
		raw, err := wholeBody(message)
		if err != nil {
			return nil, fmt.Errorf("reading INBOX of %s: %w", a.Address, err)
		}
		messages = append(messages, raw)
	}
	return messages, fetch.Close()
}

func wholeBody(message *imapclient.FetchMessageData) ([]byte, error) {
	var raw []byte
	for item := message.Next(); item != nil; item = message.Next() {
		body, ok := item.(imapclient.FetchItemDataBodySection)
		if !ok || body.Literal == nil {
			continue
		}
		read, err := io.ReadAll(body.Literal)
		if err != nil {
			return nil, err
		}
		raw = read
	}
	if raw == nil {
		return nil, errors.New("a message without a body")
	}
	return raw, nil
}
