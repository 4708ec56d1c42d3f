package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"slices"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// What is not certified is refused at the end of DATA or never: its sender is a stranger, and nobody here writes a bounce to a
// stranger. Each refusal is therefore an answer of the milter, and the recipients of one ordinary transaction must all have the
// same answer, because the end of DATA has only one.
const (
	answerUncertified = "550 5.7.1 this mailbox takes certified mail (PEC) only; questa casella accetta solo posta elettronica certificata"
	answerUnknown     = "550 5.1.1 no such mailbox; la casella non esiste"
	answerDisabled    = "550 5.2.1 this mailbox takes no mail; la casella non e' abilitata alla ricezione"
	answerFull        = "552 5.2.2 this mailbox is full; la casella e' piena"
	answerTooLarge    = "552 5.2.3 this message in its envelope is larger than the whole mailbox; il messaggio nella sua busta e' piu' grande dell'intera casella"
	answerLoop        = "554 5.4.6 this message was forwarded by this mailbox before; il messaggio e' in un ciclo di inoltri"
	answerSpam        = "550 5.7.1 this message looks like spam; il messaggio sembra posta indesiderata"
	answerUnreadable  = "550 5.6.0 the header cannot be read; l'intestazione del messaggio non e' leggibile"
	answerVirus       = "550 5.7.1 the message holds a virus; il messaggio contiene un virus"
	answerApart       = "452 4.5.3 send to this recipient in a transaction of its own; inviare a questo destinatario separatamente"
	answerTemporary   = "451 4.3.0 the certified mail engine cannot judge this message now, please try again"
)

// deliveredTo marks what a mailbox forwarded, by which it is known again.
const deliveredTo = "Delivered-To"

// recipient is a mailbox as ordinary mail for it is judged.
type recipient struct {
	row     admin.Mailbox
	inForce admin.InForce
}

func (r recipient) policy() admin.OrdinaryMail { return r.inForce.OrdinaryMail.Policy }
func (r recipient) wantsJudged() bool          { return r.inForce.Antispam == admin.AntispamEnabled }

// recipientOf fails, and does not guess, where what the holder is given cannot be read: a guess may be a 550.
func (e *Engine) recipientOf(ctx context.Context, address string) (recipient, error) {
	row, err := e.directory.Mailbox(ctx, address)
	if err != nil {
		return recipient{}, err
	}
	h, err := e.holder(ctx, row)
	return recipient{row: row, inForce: h.InForce}, err
}

// refusalOf is a recipient with the answer to ordinary mail for it, "" if it takes it. What a provider signed in a wrong form is no
// ordinary mail: no policy keeps it out. size is that of the message in its anomaly envelope, in which what is sent on may come back too; 0
// while it is unknown.
func (e *Engine) refusalOf(rcpt string, t pec.Type, size int64) (r recipient, answer string, err error) {
	if e.isProvidersOwn(rcpt) {
		return r, answerUncertified, nil
	}
	r, err = e.recipientOf(context.Background(), rcpt)
	if err := e.notYet(context.Background(), rcpt, r.row, err); err != nil {
		return r, "", err
	}
	switch {
	case errors.Is(err, admin.ErrNotFound) || err == nil && r.row.Access == admin.AccessClosed:
		if err := e.requireLocal(rcpt); err != nil {
			return r, "", err
		}
		return r, answerUnknown, nil
	case err != nil:
		return r, "", err
	case r.row.Access != admin.AccessFull:
		return r, answerDisabled, nil
	case r.policy() != admin.OrdinaryDeliver && t == pec.TypeOrdinary:
		answer, err = e.refusalOfOther(r, size)
		return r, answer, err
	}
	used, err := e.doveadmHTTP.usage(context.Background(), r.row.Address)
	if err != nil {
		return r, "", err
	}
	return r, fullBy(r.row, used.Bytes, size), nil
}

// fullBy is the answer for a message of a size, "" if there is room for it beside what is there. What no deletion makes room for is never
// taken: it would wait for ever. Pure.
func fullBy(row admin.Mailbox, used, size int64) (answer string) {
	switch {
	case size >= row.QuotaBytes:
		return answerTooLarge
	case used+size >= row.QuotaBytes:
		return answerFull
	}
	return ""
}

// refusalOfOther is refusalOf for ordinary mail that is not delivered: it is not wanted, or sent on.
func (e *Engine) refusalOfOther(r recipient, size int64) (answer string, err error) {
	switch {
	case e.isIncomplete():
		return "", fmt.Errorf("what the holder of %s chose may not be here yet: this site was built anew", r.row.Address)
	case r.policy() != admin.OrdinaryForward:
		return answerUncertified, nil
	}
	// checkPlace has seen to it; but a domain may be certified since.
	problem, err := e.notOrdinary(context.Background(), r.inForce.OrdinaryMail.ForwardTo)
	if err != nil || problem != "" {
		return answerUncertified, err
	}
	return fullBy(r.row, e.forwards.bytes(r.row.Address, e.now()), size), nil
}

// judgeOrdinary answers "" if the transaction's mail can be taken for every recipient. The message was judged no certified one. What only
// the whole message shows of one recipient, that it has no room for it or sent it on before, keeps it from no other one: it is refused if
// nobody takes it, and ends otherwise at that recipient's mailbox (ordinary). One that can never hold it keeps it from all: its sender must be
// told, and the end of DATA has one answer.
func (e *Engine) judgeOrdinary(tx *transaction, raw []byte) (string, error) {
	if tx.Cut {
		return answerFieldTooBig, nil
	}
	size, err := pec.AnomalySize(raw, tx.Recipients)
	if err != nil {
		return answerUnreadable, nil //nolint:nilerr // the fault is the message's
	}
	var recipients []recipient // who takes it, and whom it reaches otherwise: what one has judged is judged for all
	takers, late := 0, ""
	for _, rcpt := range tx.Recipients {
		r, answer, err := e.refusalOf(rcpt, tx.Type, size)
		if err != nil {
			return "", err
		}
		if answer == "" && wasForwarded(raw, rcpt) {
			answer = answerLoop
		}
		switch answer {
		case "":
			takers++
		case answerFull, answerLoop:
			late = cmp.Or(late, answer)
		default:
			return answer, nil
		}
		recipients = append(recipients, r)
	}
	if takers == 0 {
		return late, nil
	}
	threat, err := e.scan(raw)
	if err != nil {
		return "", err
	}
	if threat != "" {
		return answerVirus + ": " + printable(threat), nil
	}
	return e.judgeSpam(tx, raw, recipients), nil
}

// printable is a scanner's word as an SMTP answer can carry it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s[:min(len(s), 100)])
}

// wasForwarded says whether a mailbox forwarded this message before.
func wasForwarded(raw []byte, rcpt string) bool {
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	return err == nil && slices.ContainsFunc(m.Header[deliveredTo], func(v string) bool { return strings.EqualFold(strings.TrimSpace(v), rcpt) })
}

// ordinary handles, for one mailbox, mail that is not certified: it is forwarded where the holder wants it, or delivered in an
// anomaly envelope. Its key is (site, queue identifier, mailbox), and no notice follows from it. Since the milter took it the mailbox may
// have changed: then it waits as a receipt would, or, where nobody waits for it any more, is kept.
func (e *Engine) ordinary(o uncertified, rcpt string) error {
	key := deliveryKey(o.site, o.queueID, rcpt)
	defer e.locks.lock("ordinary " + key)()
	if over, err := e.hasEnd(key); err != nil || over {
		return err
	}
	// What an engine that died had begun goes on as it began, whatever the policy is now.
	var f forwarding
	id := e.provider().NoticeID(o.queueID, "inoltro", rcpt, e.settings.Site)
	if sent, err := e.lookup(kindForwarding, id, &f); err != nil {
		return err
	} else if sent {
		return e.sendOn(f, id, o.raw)
	}
	begun, err := e.lookup(kindDelivering, key, nil)
	if err != nil {
		return err
	}
	size, err := pec.AnomalySize(o.rest, o.rcpts)
	if err != nil {
		return fmt.Errorf("judging %s: %w", o.queueID, err)
	}
	r, refusal, err := e.refusalOf(rcpt, o.judgement.Type, size)
	if errors.Is(err, errOpenThere) { // it waits until the mailbox is here too
		refusal, err = answerDisabled, nil
	}
	if err != nil {
		return err
	}
	if !r.wantsJudged() {
		o.spam = nil
	}
	sendsOn := r.policy() == admin.OrdinaryForward && o.judgement.Type == pec.TypeOrdinary && !wasForwarded(o.raw, rcpt)
	switch {
	case begun:
	case isUnwanted(r, refusal): // nobody is told, but nothing is gone
		return e.keepUndelivered(o, rcpt, refusal)
	case refusal == "" && sendsOn:
		return e.forward(o, rcpt, r.inForce.OrdinaryMail.ForwardTo, id)
	}
	return e.deliverAnomaly(o, rcpt)
}

// isUnwanted says whether there is no mailbox any more for what was taken, or one that does not take it. One that is full or takes nothing
// now is waited for, and what cannot be sent on any more is for the mailbox itself. Pure.
func isUnwanted(r recipient, refusal string) bool {
	return refusal == answerUnknown || refusal == answerUncertified && r.policy() != admin.OrdinaryForward
}

// hasEnd says whether what is not certified has its end here, under its key: what is held is delivered when its mailbox takes it.
func (e *Engine) hasEnd(key string) (found bool, err error) {
	for _, kind := range []string{kindDelivered, kindUndeliverable, kindHeld} {
		if found, err = e.known(kind, key, nil); err != nil || found {
			break
		}
	}
	return found, err
}

// uncertified is a message that is not certified, on its way to the mailboxes of one transaction.
type uncertified struct {
	judgement pec.Judgement
	site      string // that took it
	queueID   string
	from      string
	rcpts     []string
	received  []byte // the Received field that our Postfix put on top of rest
	rest      []byte
	raw       []byte // both
	at        time.Time
	spam      *spam // nil when nothing is held against it, or nobody asked
	offQueue  bool  // Postfix does not have it any more: it was sent on and came back
}

func (e *Engine) deliverAnomaly(o uncertified, rcpt string) error {
	raw, done, err := e.anomaly(o, deliveryKey(o.site, o.queueID, rcpt))
	if err != nil {
		return fmt.Errorf("wrapping %s: %w", o.queueID, err)
	}
	defer done()
	anomaly := pec.Judgement{Type: pec.TypeAnomaly, Provider: pec.IndexEntry{MailReceipt: o.site}, MessageID: o.queueID}
	return e.deliver(delivery{judgement: anomaly, from: o.from, rcpt: rcpt, raw: raw, spam: o.spam, offQueue: o.offQueue})
}

// anomaly shows the anomaly envelope that a mailbox gets under a key, until done is called. An HSM may sign it otherwise at each try: the one
// whose delivery was begun is in custody and stays the one, and before that none goes there. It would be there for good, and no record name it.
func (e *Engine) anomaly(o uncertified, key string) (raw []byte, done func(), err error) {
	var begun deliveryData
	if found, err := e.lookup(kindDelivering, key, &begun); err != nil {
		return nil, nil, err
	} else if found && e.custody.Has(begun.Digest) {
		return e.inCustody(begun.Digest)
	}
	original, err := pec.ParseOriginal(o.rest)
	if err != nil {
		return nil, nil, err
	}
	signer, err := e.signer.Get()
	if signer == nil {
		return nil, nil, fmt.Errorf("no signing certificate: %w", err)
	}
	var made spool
	err = signer.WriteAnomaly(&made, e.provider(), original, o.received, o.from, o.rcpts, o.judgement.Errors, noticeTime(o.at))
	if err == nil {
		raw, err = made.bytes()
	}
	if err != nil {
		made.close()
		return nil, nil, err
	}
	return raw, made.close, nil
}

func (e *Engine) keepUndelivered(o uncertified, rcpt, why string) error {
	data := deliveryData{Mailbox: rcpt, Type: o.judgement.Type, Provider: o.judgement.Provider.Name, MessageID: o.judgement.MessageID, Reply: why}
	return e.keep(data, deliveryKey(o.site, o.queueID, rcpt), "", o.raw)
}
