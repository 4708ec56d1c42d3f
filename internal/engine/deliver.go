package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// delivery is one certified message for one mailbox.
type delivery struct {
	judgement pec.Judgement
	from      string
	rcpt      string
	raw       []byte
	threat    string // the virus in it, "" if there is none
	spam      *spam  // of an anomaly envelope: what the filter holds against the message in it
	offQueue  bool   // Postfix does not have it any more: it waited here for its mailbox, or came back to it
}

func (d delivery) data() deliveryData {
	data := deliveryData{Mailbox: d.rcpt, Type: d.judgement.Type, Provider: d.judgement.Provider.Name, MessageID: d.judgement.MessageID}
	if c := d.judgement.Certification; c != nil {
		transit := recordOf(c.Transit)
		data.Transit = &transit
	}
	return data
}

// identifier is the PEC identifier that the message speaks of.
func (d delivery) identifier() string {
	if d.judgement.Certification == nil {
		return ""
	}
	return d.judgement.Certification.Identifier
}

// deliver is the delivery point (punto di consegna). No certified message reaches a mailbox twice: its key is recorded with
// the outcome, and the sender's notice follows from the outcome's record.
func (e *Engine) deliver(d delivery) error {
	key := deliveryKey(d.judgement.Provider.MailReceipt, d.judgement.MessageID, d.rcpt)
	defer e.locks.lock(key)()
	if d.judgement.Type != pec.TypeEnvelope && e.isProvidersOwn(d.rcpt) {
		return e.readNotice(d, key)
	}
	if found, at, err := e.lookupAt(kindDelivered, key, nil); err != nil || found {
		return errors.Join(err, e.outcome(d, at, nil, found))
	}
	var failed failure
	if found, at, err := e.knownAt(kindUndeliverable, key, &failed); err != nil || found {
		return errors.Join(err, e.outcome(d, at, &failed, found))
	}
	if found, at, err := e.knownAt(kindDelivered, key, nil); err != nil || found {
		return errors.Join(err, e.deliveredThere(d, key, at, found))
	}
	return e.attempt(d, key)
}

// deliveredThere is for a message that the other site delivered, and that its sender's server tries here because it did not get the
// answer. The sender is told what that site told, and nothing else. The sync brings the message while the other site lives; when it
// is silent, and the store here does not have it, it is stored here, or tried again.
func (e *Engine) deliveredThere(d delivery, key string, at time.Time, found bool) error {
	if !found || e.replica.speaks(e.now()) {
		return e.outcome(d, at, nil, found)
	}
	has, err := e.doveadmHTTP.has(d.rcpt, key)
	if err != nil {
		return err
	}
	reply := "found in the store; the other site delivered it"
	if !has {
		var refusal *failure
		if reply, refusal, err = e.storeOnce(d, key); err != nil {
			return err
		}
		if refusal != nil {
			return fmt.Errorf("delivering to %s what the other site delivered: %s %s", d.rcpt, refusal.Status, refusal.Text)
		}
	}
	data := d.data()
	data.Reply = reply
	if _, err := e.record(kindDelivered, key, d.identifier(), &data); err != nil {
		return err
	}
	if err := e.rememberDouble(e.settings.Site, key); err != nil {
		return err
	}
	return e.outcome(d, at, nil, true)
}

// attempt delivers what has no outcome yet.
func (e *Engine) attempt(d delivery, key string) error {
	refusal, err := e.mailboxFailure(d.rcpt)
	if errors.Is(err, errOpenThere) && d.judgement.Type != pec.TypeEnvelope { // for longer, it may be, than Postfix keeps it
		refusal, err = &failure{Recipient: d.rcpt, Status: statusDisabled, Text: err.Error()}, nil
	}
	if err != nil {
		return err
	}
	var reply string
	switch {
	case d.threat != "":
		refusal = &failure{Recipient: d.rcpt, Threat: d.threat}
	case refusal == nil:
		reply, refusal, err = e.storeOnce(d, key)
	}
	if refusal != nil && refusal.Status == statusUnknown && !d.offQueue {
		err = e.requireLocal(d.rcpt)
	}
	if err != nil {
		return err
	}
	if refusal != nil && refusal.waits(d.judgement.Type) {
		return e.hold(d, key, *refusal)
	}
	if refusal != nil {
		return e.undelivered(d, key, refusal)
	}
	return e.stored(d, key, reply)
}

// undelivered records that a mailbox will not get a message, and tells its sender. What nobody is told of is kept.
func (e *Engine) undelivered(d delivery, key string, refusal *failure) error {
	var at time.Time
	var err error
	if d.judgement.Type == pec.TypeEnvelope {
		at, err = e.record(kindUndeliverable, key, d.identifier(), refusal)
	} else {
		data := d.data()
		data.Reply = strings.TrimSpace(refusal.Status + " " + refusal.Text + " " + refusal.Threat)
		err = e.keep(data, key, d.identifier(), d.raw)
	}
	if err != nil {
		return err
	}
	e.held.end(key)
	e.metrics.deliveries.WithLabelValues("refused").Inc()
	return e.outcome(d, at, refusal, true)
}

// keep keeps in custody what a mailbox will not get, with a record that names it.
func (e *Engine) keep(data deliveryData, key, identifier string, raw []byte) (err error) {
	if data.Digest, err = e.custody.Put(raw); err != nil {
		return err
	}
	if _, err = e.record(kindUndeliverable, key, identifier, &data); err != nil {
		return err
	}
	e.log.Warn("mail that nobody is told of could not be delivered after it was taken; it is kept in custody", "mailbox", data.Mailbox, "message", data.MessageID, "custody", data.Digest, "why", data.Reply)
	return nil
}

// stored records that Dovecot has a message, and whether the other site has it too, and tells its sender. reply is Dovecot's.
func (e *Engine) stored(d delivery, key, reply string) error {
	data := d.data()
	data.Reply = reply
	var err error
	if data.Replica, err = e.awaitCopy(d, key); err != nil {
		return err
	}
	at, err := e.record(kindDelivered, key, d.identifier(), &data)
	if err != nil {
		return err
	}
	e.held.end(key) // the other site may hold it
	if data.Replica == replicaPending {
		if err := e.pendCopy(key); err != nil {
			return err
		}
	}
	if err := e.rememberDouble(e.settings.Site, key); err != nil {
		return err
	}
	e.metrics.deliveries.WithLabelValues("stored").Inc()
	e.sync.changed(d.rcpt)
	e.arrivals.add(arrival{mailbox: d.rcpt, key: key, at: at, certified: d.judgement.Type == pec.TypeEnvelope})
	return e.outcome(d, at, nil, true)
}

// Enhanced status codes (RFC 3463 3.2, 3.3) of a mailbox that is not there, takes nothing, is full.
const (
	statusUnknown  = "5.1.1"
	statusDisabled = "5.2.1"
	statusFull     = "5.2.2"
)

// mailboxFailure says why the directory lets nothing into a mailbox, or nil.
func (e *Engine) mailboxFailure(rcpt string) (*failure, error) {
	row, err := e.directory.Mailbox(context.Background(), rcpt)
	if err := e.notYet(context.Background(), rcpt, row, err); err != nil {
		return nil, err
	}
	switch {
	case errors.Is(err, admin.ErrNotFound) || err == nil && row.Access == admin.AccessClosed:
		return &failure{Recipient: rcpt, Status: statusUnknown, Text: "indirizzo non valido"}, nil
	case err != nil:
		return nil, err
	case row.Access != admin.AccessFull:
		return &failure{Recipient: rcpt, Status: statusDisabled, Text: "casella non abilitata alla ricezione"}, nil
	}
	return nil, nil
}

// requireLocal fails where a mailbox's domain is not local. Only of a local one is it ours to say that an address does not exist: a domain may
// leave while its last message is on the way through, and at the next try Postfix takes that where the domain's MX says.
func (e *Engine) requireLocal(rcpt string) error {
	isLocal, err := e.directory.Local(context.Background(), domainOf(rcpt))
	if err == nil && !isLocal {
		err = fmt.Errorf("delivering to %s: the mail of its domain is not delivered here", rcpt)
	}
	return err
}

// storeOnce hands the message to Dovecot between two records. If a crash left only the first, the store itself is asked
// whether it has the message, by the delivery key in the Received field that we put on top.
func (e *Engine) storeOnce(d delivery, key string) (reply string, refusal *failure, err error) {
	if found, err := e.lookup(kindDelivering, key, nil); err != nil {
		return "", nil, err
	} else if found {
		if has, err := e.doveadmHTTP.has(d.rcpt, key); err != nil || has {
			return "found in the store after an interruption", nil, err
		}
	}
	if former, err := e.directory.FormerScript(context.Background(), d.rcpt); err != nil || former != directory.ScriptEnded {
		return "", nil, cmp.Or(err, fmt.Errorf("delivering to %s: a former holder's script is still active there", d.rcpt))
	}
	m := message{from: d.from, to: d.rcpt, top: append(e.trace(key, d.rcpt), d.spam.fields()...), bytes: d.raw}
	if d.spam != nil {
		m.to = junkOf(d.rcpt)
	}
	reply, err = e.lmtp.send(m, func() error { return e.beginDelivery(d, key) })
	var answer *smtp.SMTPError
	if err == nil || !errors.As(err, &answer) || answer.Code < 500 {
		return reply, nil, err
	}
	if refusal, closedErr := e.dovecotRefusal(d.rcpt, answer); refusal != nil || closedErr != nil {
		return "", refusal, closedErr
	}
	return "", nil, err
}

// beginDelivery records, with the custody copy, that Dovecot is about to get the message.
func (e *Engine) beginDelivery(d delivery, key string) error {
	digest, err := e.custody.Put(d.raw)
	if err != nil {
		return err
	}
	data := d.data()
	data.Digest = digest
	_, err = e.record(kindDelivering, key, d.identifier(), &data)
	return err
}

// trace is the Received field of the delivery point.
func (e *Engine) trace(key, rcpt string) []byte {
	return fmt.Appendf(nil, "Received: by %s (pec-operator) with LMTP id %s\r\n\tfor <%s>; %s\r\n", e.settings.Hostname, key, rcpt, e.now().In(pec.Rome()).Format(time.RFC1123Z))
}

// dovecotRefusal is the failure that the sender is told when Dovecot answers 5xx, nil if none. Dovecot's word counts for a full mailbox
// alone; whether one is gone or closed the directory says, which is asked again. Any other 5xx is a fault of ours, and no failure of the
// message: scripts cannot refuse one (stack/sieve.go).
func (e *Engine) dovecotRefusal(rcpt string, answer *smtp.SMTPError) (*failure, error) {
	if answer.Code == 552 || answer.EnhancedCode == (smtp.EnhancedCode{5, 2, 2}) {
		return &failure{Recipient: rcpt, Status: statusFull, Text: "casella piena"}, nil
	}
	return e.mailboxFailure(rcpt)
}

// outcome tells the sender of an envelope how its delivery ended. Notices are never answered.
func (e *Engine) outcome(d delivery, at time.Time, failed *failure, known bool) error {
	if !known || d.judgement.Type != pec.TypeEnvelope {
		return nil
	}
	transit := d.judgement.Certification.Transit
	if failed != nil {
		failed.At = at
		if failed.Threat != "" {
			return e.issueVirusDetection(d, *failed)
		}
		return e.issueDeliveryError(transit, d.from, *failed)
	}
	id := e.provider().NoticeID(transit.Identifier, pec.TypeDelivery, d.rcpt)
	return e.issue(notice{id: id, kind: pec.TypeDelivery, identifier: transit.Identifier, to: d.from, about: d.rcpt, write: func(w io.Writer, signer *pec.Signer) error {
		postacert := d.judgement.Postacert
		if original, err := pec.ParseOriginal(postacert); err == nil && original.CopyOnly(d.rcpt) {
			postacert = nil
		}
		return signer.WriteDelivery(w, e.provider(), transit, id, d.rcpt, postacert, noticeTime(at))
	}})
}

// issueVirusDetection tells the sender's provider that one recipient did not get its user's message (rilevazione virus).
func (e *Engine) issueVirusDetection(d delivery, f failure) error {
	transit, to := d.judgement.Certification.Transit, d.judgement.Provider.MailReceipt
	id := e.provider().NoticeID(transit.Identifier, pec.TypeVirusDetection, f.Recipient)
	return e.issue(notice{id: id, kind: pec.TypeVirusDetection, identifier: transit.Identifier, to: to, about: f.Recipient, write: written(func(signer *pec.Signer) ([]byte, error) {
		return signer.VirusDetection(e.provider(), transit, id, to, f.Recipient, f.Threat, noticeTime(f.At))
	})})
}
