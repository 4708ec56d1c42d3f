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

// fail tells the sender of a submission of ours that a recipient did not get it, unless that recipient's outcome is known. The first
// outcome counts: after a delivery receipt, or after the last notice, which says that the transmission is closed, Postfix may still give up,
// and what it says then stays in the log. What another provider says of a virus always becomes a notice: to each there must be one.
func (e *Engine) fail(s accepted, f failure) error {
	k := timerKey{s.Transit.Identifier, fold(f.Recipient)}
	defer e.locks.lock("outcome " + k.key())()
	outcome := outcomeData{Recipient: k.rcpt, Type: pec.TypeDeliveryError, Provider: e.settings.Provider.Name}
	if f.Threat == "" {
		told, err := e.outcomeTold(k, s)
		if err != nil {
			return err
		}
		if told {
			e.log.Info("a failure after the outcome was told is not told", "identifier", k.identifier, "recipient", k.rcpt, "status", f.Status, "text", f.Text)
			return nil
		}
	}
	if _, err := e.record(kindSettled, k.key(), k.identifier, &outcome); err != nil {
		return err
	}
	e.timers.end(k)
	return e.issueDeliveryError(s.Transit.transit(), s.Transit.Sender, f)
}

// outcomeTold says whether the sender was told an outcome for a recipient that a failure found here must not contradict. A failure of ours
// is none: it may have been recorded by a crash before it was told.
func (e *Engine) outcomeTold(k timerKey, s accepted) (bool, error) {
	var outcome outcomeData
	settled, err := e.known(kindSettled, k.key(), &outcome)
	if err != nil || settled {
		return settled && (outcome.Type != pec.TypeDeliveryError || outcome.Provider != e.settings.Provider.Name), err
	}
	warned, err := e.known(kindNotice, e.warningID(k, pec.LastDeadline), nil)
	return warned, err
}

// issueDeliveryError makes the errore-consegna of one recipient.
func (e *Engine) issueDeliveryError(t pec.Transit, to string, f failure) error {
	id := e.provider().NoticeID(t.Identifier, pec.TypeDeliveryError, f.Recipient)
	return e.issue(notice{id: id, kind: pec.TypeDeliveryError, identifier: t.Identifier, to: to, about: f.Recipient, write: written(func(signer *pec.Signer) ([]byte, error) {
		extended := f.Text // of another provider's notice, whole
		if f.Threat == "" {
			extended = fmt.Sprintf("%s - %s - %s", f.Status, e.settings.Provider.Name, f.Text)
		}
		return signer.DeliveryError(e.provider(), t, id, f.Recipient, f.kind(), extended, noticeTime(f.At))
	})})
}

// bounce reads a failure notice that Postfix wrote. One about an envelope that we put back becomes an errore-consegna per recipient; one
// about a notice is recorded and goes no further, because notices are never answered. One without an identifier of ours is about
// what Postfix itself took: a submission, or a message from outside, that the engine could not work on for a day.
func (e *Engine) bounce(m mail, queueID string) []error {
	r, err := parseReport(m.raw)
	if err != nil {
		return sameAnswer(len(m.rcpts), fmt.Errorf("reading bounce %s: %w", queueID, err))
	}
	if r.envelopeID == "" {
		return e.expired(m, queueID, r)
	}
	return sameAnswer(len(m.rcpts), e.envelopeBounced(r, queueID))
}

// envelopeBounced records that something which we put back came back, and tells the sender where it was an envelope. What a mailbox had
// sent on is for that mailbox, and since the record of it owed: Postfix drops a bounce after a day, and need not come again. All that we put
// back is in a log before it leaves: a bounce about something else is about what a log tells that was lost, and Postfix keeps it meanwhile.
func (e *Engine) envelopeBounced(r report, queueID string) error {
	var submission accepted
	isEnvelope, err := e.lookup(kindAccepted, r.envelopeID, &submission)
	if err != nil {
		return err
	}
	isForwarded, err := e.lookup(kindForwarding, r.envelopeID, nil)
	if err != nil {
		return err
	}
	isNotice, err := e.known(kindNotice, r.envelopeID, nil)
	if err != nil {
		return err
	}
	for _, f := range r.failures {
		if f.At, err = e.record(kindBounced, queueID+" "+f.Recipient, r.envelopeID, &f); err != nil {
			return err
		}
		switch {
		case isForwarded:
			e.forwards.owe(r.envelopeID, owed{why: f})
			e.giveBack(r.envelopeID, owed{why: f})
		case isEnvelope:
			err = e.fail(submission, f)
		case isNotice:
			e.log.Warn("something of ours could not be delivered", "message", r.envelopeID, "recipient", f.Recipient, "status", f.Status, "text", f.Text)
		default:
			err = fmt.Errorf("passing on the bounce %s, that %s did not reach %s: %w", queueID, r.envelopeID, f.Recipient, errUnrecorded)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// expired is for what Postfix took and the engine answered 4xx for a day. Without any promise in the logs it was never certified, and the
// report goes as it is.
func (e *Engine) expired(m mail, queueID string, r report) []error {
	if told, err := e.tellExpired(queueID, r); err != nil || told {
		return sameAnswer(len(m.rcpts), err)
	}
	return e.uncertifiedReport(m, queueID, r.queueID)
}

// tellExpired keeps the promises that the log holds by then: to whom an acceptance or a refusal was promised gets that and a certified
// outcome, and then is told all; the sender of an envelope that was taken with 250 gets an outcome, and the report is kept besides.
func (e *Engine) tellExpired(queueID string, r report) (told bool, err error) {
	identifier := pec.Identifier(e.settings.Site, r.queueID, e.settings.Provider.MailDomain)
	var submission accepted
	if found, err := e.lookup(kindAccepted, identifier, &submission); err != nil {
		return false, err
	} else if found {
		return true, e.submissionExpired(submission, queueID, r)
	}
	var refusal refused
	if found, err := e.lookup(kindRefused, identifier, &refusal); err != nil {
		return false, err
	} else if found {
		return true, e.issueNonAcceptance(refusal)
	}
	var tx transaction
	found, err := e.lookup(kindTransaction, r.queueID, &tx)
	switch {
	case err != nil:
	case !found && e.lacksFormerLog():
		err = fmt.Errorf("passing on the bounce %s, that %s was not worked on: %w", queueID, r.queueID, errUnrecorded)
	case tx.Type == pec.TypeEnvelope && tx.Transit != nil: // an earlier release did not record it
		err = e.envelopeExpired(tx, r)
	}
	return false, err
}

// lacksFormerLog says whether what the other site holds of a log that this one lost may not be here yet.
func (e *Engine) lacksFormerLog() bool {
	return e.isIncomplete() || e.hasPeer(context.Background()) && e.hearing().caughtUpAt.IsZero()
}

// submissionExpired ends an accepted submission for the recipients whose envelope never left the access point. One that left has a fate
// of its own.
func (e *Engine) submissionExpired(s accepted, queueID string, r report) error {
	if err := e.issueAcceptance(s); err != nil {
		return err
	}
	for _, f := range r.failures {
		left, err := e.lookup(kindInjected, injectionKey(s.Transit.Identifier, f.Recipient), nil)
		if err != nil {
			return err
		}
		if left {
			continue
		}
		if f.At, err = e.record(kindBounced, queueID+" "+f.Recipient, s.Transit.Identifier, &f); err != nil {
			return err
		}
		if err := e.fail(s, f); err != nil {
			return err
		}
	}
	return nil
}

// envelopeExpired tells another provider's user of the recipients that have no outcome. Those that have one keep it.
func (e *Engine) envelopeExpired(tx transaction, r report) error {
	j := pec.Judgement{Type: tx.Type, Provider: tx.signer(), MessageID: tx.MessageID, Certification: &pec.Certification{Type: tx.Type, Transit: tx.Transit.transit()}}
	for _, f := range r.failures {
		d := delivery{judgement: j, from: tx.From, rcpt: f.Recipient}
		if err := e.undeliverable(d, r.queueID, f); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) undeliverable(d delivery, queueID string, f failure) error {
	key := deliveryKey(d.judgement.Provider.MailReceipt, d.judgement.MessageID, d.rcpt)
	defer e.locks.lock(key)()
	if found, err := e.known(kindDelivered, key, nil); err != nil || found {
		return err
	}
	var virus infected
	if found, err := e.lookup(kindInfected, d.identifier()+" "+queueID, &virus); err != nil {
		return err
	} else if found {
		f = failure{Recipient: f.Recipient, Threat: virus.Threat}
	}
	at, err := e.record(kindUndeliverable, key, d.identifier(), &f)
	if err != nil {
		return err
	}
	return e.outcome(d, at, &f, true)
}

// uncertifiedReport keeps a bounce that is no business of certification: of a submission that never reached the access point,
// or of a message from outside that never reached the incoming point. The one is for a mailbox of ours and is stored there, once
// per (site, queue identifier, mailbox). The other would go to a stranger: Postfix brings it here instead, and it stays in
// custody, with the whole message that it is about. It does so too where the stranger wrote a mailbox of ours as his sender, who did not
// send it and may not want it. about is the queue identifier of what failed.
func (e *Engine) uncertifiedReport(m mail, queueID, about string) []error {
	var tx transaction
	if _, err := e.lookup(kindTransaction, about, &tx); err != nil {
		return sameAnswer(len(m.rcpts), err)
	}
	answers := make([]error, len(m.rcpts))
	for i, rcpt := range m.rcpts {
		if isLocal, err := e.directory.Local(context.Background(), domainOf(rcpt)); err != nil || !isLocal || tx.Port == portMX {
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
	queueID    string    // of the message that it is about
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
	r := report{envelopeID: group.Get("Original-Envelope-Id"), queueID: group.Get("X-Postfix-Queue-ID")}
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
