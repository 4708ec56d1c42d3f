package engine

import (
	"fmt"
	"io"
	"strings"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// reasonCut is why a submission with a field that Postfix cut is refused.
const reasonCut = "Un campo dell'intestazione, di solito quello dei destinatari, supera i 53.000 byte e non può essere certificato per intero: inviare il messaggio in più parti o senza i nomi dei destinatari."

// access is the access point (punto di accesso). Postfix may split one submission into several transactions with the same
// queue identifier: the first one certifies it for all recipients that the milter recorded, each one sends the same stored
// envelope to its own, and none waits for another.
func (e *Engine) access(m mail) []error {
	received, raw, queueID, err := splitReceived(m.raw, e.settings.Hostname)
	if err != nil {
		return sameAnswer(len(m.rcpts), err)
	}
	identifier := pec.Identifier(e.settings.Site, queueID, e.settings.Provider.MailDomain)
	tx, err := e.transactionOf(m, queueID)
	if err != nil {
		return sameAnswer(len(m.rcpts), err)
	}
	submission, isAccepted, err := e.certify(identifier, tx, received, raw)
	if err != nil || !isAccepted {
		return sameAnswer(len(m.rcpts), err)
	}
	if err := e.issueAcceptance(submission); err != nil {
		return sameAnswer(len(m.rcpts), err)
	}
	envelope, done, err := e.inCustody(submission.Envelope)
	if err != nil {
		return sameAnswer(len(m.rcpts), err)
	}
	defer done()
	answers := make([]error, len(m.rcpts))
	for i, rcpt := range m.rcpts {
		answers[i] = e.sendEnvelope(submission, envelope, rcpt)
	}
	return answers
}

// transactionOf is the transaction by which the milter let a submission in. Whether it may be sent was asked of its sender, who had logged
// in: a message of another one, or from the other port, was not let in by it.
func (e *Engine) transactionOf(m mail, queueID string) (transaction, error) {
	var tx transaction
	found, err := e.lookup(kindTransaction, queueID, &tx)
	switch {
	case err != nil:
		return tx, err
	case !found:
		return tx, fmt.Errorf("certifying submission %s: its transaction was never recorded", queueID)
	case tx.Port != portSubmission || !strings.EqualFold(tx.From, m.from) || !strings.EqualFold(tx.User, m.from):
		return tx, fmt.Errorf("certifying submission %s of %q: the transaction of that identifier is one of %q, port %s, login %q", queueID, m.from, tx.From, tx.Port, tx.User)
	}
	return tx, nil
}

// certify decides a submission once and for all: accepted, with its envelope in custody, or refused, with its notice issued.
func (e *Engine) certify(identifier string, tx transaction, received, raw []byte) (accepted, bool, error) {
	defer e.locks.lock(identifier)()
	var submission accepted
	if found, err := e.lookup(kindAccepted, identifier, &submission); err != nil || found {
		return submission, found, err
	}
	var refusal refused
	found, err := e.lookup(kindRefused, identifier, &refusal)
	if err != nil {
		return submission, false, err
	}
	if found {
		return submission, false, e.issueNonAcceptance(refusal)
	}
	return e.decide(identifier, tx, received, raw)
}

// decide certifies a submission that has no outcome yet.
func (e *Engine) decide(identifier string, tx transaction, received, raw []byte) (accepted, bool, error) {
	at := noticeTime(e.now())
	index, _, err := e.providers()
	if err != nil {
		return accepted{}, false, fmt.Errorf("certifying %s: %w", identifier, err)
	}
	original, err := pec.ParseOriginal(raw)
	if err != nil {
		unread := pec.Transit{Identifier: identifier, Sender: tx.From, Receipt: pec.ReceiptFull}
		for _, rcpt := range tx.Recipients {
			unread.Recipients = append(unread.Recipients, pec.Recipient{Address: rcpt, Certified: index.Certified(domainOf(rcpt))})
		}
		return accepted{}, false, e.refuse(refused{At: at, Transit: recordOf(unread), Reasons: []string{"L'intestazione del messaggio supera ogni limite e non si lascia leggere."}})
	}
	transit := original.Transit(identifier, tx.From, tx.Recipients, index.Certified)
	limits := pec.FormalLimits(e.settings.Limits)
	reasons := pec.CheckFormal(original, tx.From, tx.Recipients, int64(len(raw)), limits)
	if tx.Cut { // what was cut off is gone: it cannot be certified, and what else is wrong may come of it
		reasons = []string{reasonCut}
	}
	if len(reasons) > 0 {
		return accepted{}, false, e.refuse(refused{At: at, Transit: recordOf(transit), Reasons: reasons})
	}
	threat, err := e.scan(raw)
	if err != nil {
		return accepted{}, false, fmt.Errorf("certifying %s: %w", identifier, err)
	}
	if threat != "" {
		infected, err := e.custody.Put(raw)
		if err != nil {
			return accepted{}, false, err
		}
		return accepted{}, false, e.refuse(refused{At: at, Transit: recordOf(transit), Threat: threat, Infected: infected})
	}
	submission, err := e.accept(accepted{At: at, Transit: recordOf(transit), Provider: e.settings.Provider.Name}, original, received)
	return submission, err == nil, err
}

// accept makes the envelope and records that the submission is certified.
func (e *Engine) accept(submission accepted, original *pec.Original, received []byte) (accepted, error) {
	identifier := submission.Transit.Identifier
	signer, err := e.signer.Get()
	if signer == nil {
		return accepted{}, fmt.Errorf("certifying %s: no signing certificate: %w", identifier, err)
	}
	submission.Envelope, err = e.custody.Write(func(w io.Writer) error {
		return signer.WriteEnvelope(w, e.provider(), submission.Transit.transit(), original, received, submission.At.In(pec.Rome()))
	})
	if err != nil {
		return accepted{}, fmt.Errorf("making the envelope of %s: %w", identifier, err)
	}
	at, err := e.record(kindAccepted, identifier, identifier, &submission)
	if err != nil {
		return accepted{}, err
	}
	e.timers.start(submission, e.settings.Site)
	e.senders.add(fold(submission.Transit.Sender), identifier, at, e.now())
	e.metrics.submissions.WithLabelValues("accepted").Inc()
	return submission, nil
}

func (e *Engine) refuse(r refused) error {
	r.Provider = e.settings.Provider.Name
	if _, err := e.record(kindRefused, r.Transit.Identifier, r.Transit.Identifier, &r); err != nil {
		return err
	}
	e.metrics.submissions.WithLabelValues("refused").Inc()
	return e.issueNonAcceptance(r)
}

func (e *Engine) issueAcceptance(s accepted) error {
	id := e.provider().NoticeID(s.Transit.Identifier, pec.TypeAcceptance, "")
	return e.issue(notice{id: id, kind: pec.TypeAcceptance, identifier: s.Transit.Identifier, to: s.Transit.Sender, write: written(func(signer *pec.Signer) ([]byte, error) {
		return signer.Acceptance(e.provider(), s.Transit.transit(), id, s.At.In(pec.Rome()))
	})})
}

func (e *Engine) issueNonAcceptance(r refused) error {
	id := e.provider().NoticeID(r.Transit.Identifier, pec.TypeNonAcceptance, "")
	return e.issue(notice{id: id, kind: pec.TypeNonAcceptance, identifier: r.Transit.Identifier, to: r.Transit.Sender, write: written(func(signer *pec.Signer) ([]byte, error) {
		if r.Threat != "" {
			return signer.NonAcceptanceVirus(e.provider(), r.Transit.transit(), id, r.Threat, r.At.In(pec.Rome()))
		}
		return signer.NonAcceptance(e.provider(), r.Transit.transit(), id, r.At.In(pec.Rome()), r.Reasons)
	})})
}

// sendEnvelope puts the envelope back into Postfix for one recipient, who is one of those that it names. Failure notices are asked for
// under the PEC identifier. An address that Postfix will never take fails like one that its own server refuses.
func (e *Engine) sendEnvelope(s accepted, envelope []byte, rcpt string) error {
	if !s.isFor(rcpt) {
		return fmt.Errorf("sending envelope %s: it is not for %q", s.Transit.Identifier, rcpt)
	}
	done, err := e.inject(s.Transit.Identifier, message{from: s.Transit.Sender, to: rcpt, envid: s.Transit.Identifier, bytes: envelope}, permanentAddress)
	if err != nil || !done.Refused {
		return err
	}
	return e.fail(s, failure{Recipient: fold(rcpt), Status: "5.1.3", Text: done.Reply, At: e.now()})
}
