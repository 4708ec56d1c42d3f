package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"net/textproto"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// failure is why a message did not reach a recipient.
type failure struct {
	Recipient string    `json:"recipient"`
	Status    string    `json:"status"` // enhanced status code
	Text      string    `json:"text"`
	Threat    string    `json:"threat,omitempty"` // the virus, if that is why
	At        time.Time `json:"-"`                // of the record that holds it
}

// kind is the failure as daticert.xml classes it.
func (f failure) kind() pec.ErrorKind {
	if f.Threat != "" {
		return pec.ErrorVirus
	}
	switch f.Status {
	case "5.1.1", "5.1.3", "5.1.6":
		return pec.ErrorNoRecipient
	case "5.1.2", "5.1.10", "5.4.4":
		return pec.ErrorNoDomain
	}
	return pec.ErrorOther
}

// issueDeliveryError makes the errore-consegna of one recipient.
func (e *Engine) issueDeliveryError(t pec.Transit, to string, f failure) error {
	id := e.provider().NoticeID(t.Identifier, pec.TypeDeliveryError, f.Recipient)
	return e.issue(notice{id: id, kind: pec.TypeDeliveryError, identifier: t.Identifier, to: to, about: f.Recipient, write: written(func(signer *pec.Signer) ([]byte, error) {
		extended := f.Text // of another provider's notice, whole
		if f.Threat == "" {
			extended = fmt.Sprintf("%s - %s - %s", f.Status, e.settings.Provider.Name, f.Text)
		}
		return signer.DeliveryError(e.provider(), t, id, f.Recipient, f.kind(), extended, f.At.In(pec.Rome()).Truncate(time.Second))
	})})
}

// bounce reads a failure notice that Postfix wrote about something that we put back. One about an envelope becomes an
// errore-consegna per recipient; one about a notice is recorded and goes no further, because notices are never answered.
// One about neither is about a submission that never reached the access point: its sender gets it as it is.
func (e *Engine) bounce(m mail, queueID string) []error {
	r, err := parseReport(m.raw)
	if err != nil {
		return all(len(m.rcpts), fmt.Errorf("reading bounce %s: %w", queueID, err))
	}
	if r.envelopeID == "" {
		return e.uncertifiedReport(m, queueID)
	}
	var submission accepted
	isEnvelope, _, err := e.lookup(kindAccepted, r.envelopeID, &submission)
	if err != nil {
		return all(len(m.rcpts), err)
	}
	for _, f := range r.failures {
		at, err := e.record(kindBounced, queueID+" "+f.Recipient, r.envelopeID, &f)
		if err != nil {
			return all(len(m.rcpts), err)
		}
		if f.At = at; !isEnvelope {
			e.log.Warn("something of ours could not be delivered", "message", r.envelopeID, "recipient", f.Recipient, "status", f.Status, "text", f.Text)
			continue
		}
		if err := e.issueDeliveryError(submission.Transit.transit(), submission.Transit.Sender, f); err != nil {
			return all(len(m.rcpts), err)
		}
	}
	return all(len(m.rcpts), nil)
}

// uncertifiedReport keeps a bounce that is no business of certification: of a submission that never reached the access point,
// or of a message from outside that never reached the incoming point. The one is for a mailbox of ours and is stored there, once
// per (site, queue identifier, mailbox). The other would go to a stranger: Postfix brings it here instead, and it stays in
// custody, with the whole message that it is about.
func (e *Engine) uncertifiedReport(m mail, queueID string) []error {
	answers := make([]error, len(m.rcpts))
	for i, rcpt := range m.rcpts {
		if isLocal, err := e.directory.Serves(context.Background(), domainOf(rcpt)); err != nil || !isLocal {
			answers[i] = errors.Join(err, e.keepReport(m, queueID, rcpt))
			continue
		}
		local := pec.Judgement{Type: pec.TypeOrdinary, Provider: pec.IndexEntry{MailReceipt: e.settings.Site}, MessageID: queueID}
		answers[i] = e.deliver(delivery{judgement: local, rcpt: fold(rcpt), raw: m.raw})
	}
	return answers
}

func (e *Engine) keepReport(m mail, queueID, rcpt string) error {
	digest, err := e.custody.Put(m.raw)
	if err != nil {
		return err
	}
	kept := struct{ To, Digest string }{rcpt, digest}
	if _, err := e.record(kindReport, queueID+" "+fold(rcpt), "", &kept); err != nil {
		return err
	}
	e.log.Error("a message from outside could not be worked on in time; its bounce is kept in custody with it", "queue", queueID, "custody", digest)
	return nil
}

// report is a delivery status notification (RFC 3464).
type report struct {
	envelopeID string
	failures   []failure // recipients whose Action is failed
}

var errNoReport = errors.New("neither certified nor a delivery report")

// parseReport finds the message/delivery-status part and reads it.
func parseReport(raw []byte) (report, error) {
	msg, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return report{}, fmt.Errorf("%w: %w", errNoReport, err)
	}
	media, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || media != "multipart/report" {
		return report{}, errNoReport
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if err != nil {
			return report{}, fmt.Errorf("%w: %w", errNoReport, err)
		}
		if media, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type")); media == "message/delivery-status" {
			return parseStatus(part)
		}
	}
}

// parseStatus reads the groups of fields: the first is about the message, each other about one recipient.
func parseStatus(part io.Reader) (report, error) {
	fields := textproto.NewReader(bufio.NewReader(part))
	group, err := fields.ReadMIMEHeader()
	if err != nil {
		return report{}, fmt.Errorf("%w: %w", errNoReport, err)
	}
	r := report{envelopeID: group.Get("Original-Envelope-Id")}
	for {
		group, err := fields.ReadMIMEHeader()
		if len(group) > 0 && strings.EqualFold(group.Get("Action"), "failed") {
			r.failures = append(r.failures, failureOf(group))
		}
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return report{}, fmt.Errorf("%w: %w", errNoReport, err)
		}
	}
}

func failureOf(group textproto.MIMEHeader) failure {
	f := failure{Recipient: fold(afterSemicolon(group.Get("Final-Recipient"))), Status: strings.TrimSpace(group.Get("Status")), Text: oneLine(afterSemicolon(group.Get("Diagnostic-Code")))}
	if strings.HasPrefix(f.Status, "4.") { // it failed for good because it stayed temporary for too long
		f.Status, f.Text = "5.4.1", "il messaggio non è stato consegnato nelle prime ventiquattro ore dal suo invio: "+f.Text
	}
	return f
}

// afterSemicolon is the value of a typed field ("rfc822; a@b").
func afterSemicolon(value string) string {
	if _, after, found := strings.Cut(value, ";"); found {
		value = after
	}
	return strings.TrimSpace(value)
}
