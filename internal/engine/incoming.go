package engine

import (
	"fmt"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// incoming is the incoming point (punto di ricezione) for all that Postfix has for local mailboxes: what other providers
// sent, what we put back ourselves, and Postfix' own bounces.
func (e *Engine) incoming(m mail) []error {
	received, rest, queueID, err := splitReceived(m.raw, e.settings.Hostname)
	if err != nil {
		return sameAnswer(len(m.rcpts), err)
	}
	var tx transaction
	recorded, at, err := e.lookupAt(kindTransaction, queueID, &tx)
	if err != nil {
		return sameAnswer(len(m.rcpts), err)
	}
	if recorded && tx.Port != portMX {
		return sameAnswer(len(m.rcpts), fmt.Errorf("judging %s: the transaction of that identifier is one of port %s", queueID, tx.Port))
	}
	if !recorded && m.from == "" && wroteItself(received) { // no milter saw it come in
		return e.bounce(m, queueID)
	}
	if !recorded {
		at = e.now()
		for _, rcpt := range m.rcpts {
			tx.Recipients = append(tx.Recipients, fold(rcpt))
		}
	}
	j, err := e.judgementOf(m, tx, recorded, at)
	if err != nil {
		return sameAnswer(len(m.rcpts), fmt.Errorf("judging %s: %w", queueID, err))
	}
	answers := make([]error, len(m.rcpts))
	if isUncertified(j.Type) {
		o := uncertified{judgement: j, site: e.settings.Site, queueID: queueID, from: m.from, rcpts: tx.Recipients, received: received, rest: rest, raw: m.raw, at: at, spam: tx.Spam}
		for i, rcpt := range m.rcpts {
			answers[i] = e.ordinary(o, fold(rcpt))
		}
		return answers
	}
	threat, err := e.receive(certified{judgement: j, queueID: queueID, tx: tx, recorded: recorded}, m.raw)
	if err != nil {
		return sameAnswer(len(m.rcpts), err)
	}
	for i, rcpt := range m.rcpts {
		answers[i] = e.deliver(delivery{judgement: j, from: m.from, rcpt: fold(rcpt), raw: m.raw, threat: threat})
	}
	return answers
}

func isUncertified(t pec.Type) bool { return t == pec.TypeOrdinary || t == pec.TypeAnomaly }

// certified is a certified message with the transaction that brought it.
type certified struct {
	judgement pec.Judgement
	queueID   string
	tx        transaction
	recorded  bool // by a milter: it came in from outside
}

// receive does what a certified message asks of the incoming point before any mailbox gets it. A clean envelope is taken in charge. What
// a notice says about our own messages counts even if it holds a virus: it is signed, and the virus is in what it carries.
func (e *Engine) receive(c certified, raw []byte) (threat string, err error) {
	if threat, err = e.verdictOf(c, raw); err != nil {
		return "", err
	}
	switch {
	case c.judgement.Type != pec.TypeEnvelope:
		err = e.settle(c.judgement)
	case threat == "":
		err = e.takeInCharge(c.judgement, c.queueID, c.tx.Recipients)
	}
	return threat, err
}

// judgementOf is what the milter found, for what came in from outside: 250 was said to that, and neither an index nor a list of revoked
// certificates that changed since may make something else of it. What we put back ourselves is judged here, and what a milter of an
// earlier release took, which did not note whose signature it was.
func (e *Engine) judgementOf(m mail, tx transaction, recorded bool, at time.Time) (pec.Judgement, error) {
	switch {
	case !recorded, !isUncertified(tx.Type) && tx.MailReceipt == "":
		index, roots, err := e.providers()
		if err != nil {
			return pec.Judgement{}, err
		}
		return judge(m.raw, m.from, pec.Trust{Index: index, Roots: roots}, at), nil
	case isUncertified(tx.Type):
		return pec.Judgement{Type: tx.Type, Provider: tx.signer(), MessageID: tx.MessageID, Errors: tx.Reasons}, nil
	}
	return pec.Open(m.raw).Judged(tx.Type, tx.MessageID, tx.signer()), nil
}

// judge is pec.Document.JudgeBy and what only the SMTP transaction can tell: an envelope comes from a user of the provider that
// signed it, or one provider could issue messages in the name of another's users, and a notice from one who may issue it.
func judge(raw []byte, from string, trust pec.Trust, at time.Time) pec.Judgement {
	j := pec.Open(raw).JudgeBy(trust, at)
	why := ""
	switch {
	case isUncertified(j.Type):
		return j
	case j.Type == pec.TypeEnvelope && (!j.Provider.Manages(j.Certification.Sender) || !strings.EqualFold(from, j.Certification.Sender)):
		why = "Il mittente non appartiene ai domini del gestore che ha firmato la busta."
	case j.Type != pec.TypeEnvelope:
		why = mayNotSay(j)
	}
	if why != "" {
		j.Type, j.Errors = pec.TypeAnomaly, append(j.Errors, why)
	}
	return j
}

// takeInCharge tells the sender's provider, once per transaction, that we have the envelope (presa in carico).
func (e *Engine) takeInCharge(j pec.Judgement, queueID string, rcpts []string) error {
	identifier := j.Certification.Identifier
	taken := struct {
		At         time.Time     `json:"at"`
		Recipients []string      `json:"recipients"`
		Provider   string        `json:"provider"`
		Transit    transitRecord `json:"transit"`
	}{noticeTime(e.now()), rcpts, j.Provider.Name, recordOf(j.Certification.Transit)}
	if _, err := e.record(kindTaken, identifier+" "+queueID, identifier, &taken); err != nil {
		return err
	}
	id := e.provider().NoticeID(identifier, pec.TypeTakeCharge, "", queueID)
	return e.issue(notice{id: id, kind: pec.TypeTakeCharge, identifier: identifier, to: j.Provider.MailReceipt, write: written(func(signer *pec.Signer) ([]byte, error) {
		return signer.TakeCharge(e.provider(), j.Certification.Transit, id, j.Provider.MailReceipt, taken.Recipients, taken.At.In(pec.Rome()))
	})})
}

// isProvidersOwn says whether an address is the provider's own: what it gets is read by the engine and stored nowhere else.
func (e *Engine) isProvidersOwn(address string) bool {
	return strings.EqualFold(address, e.settings.Provider.ServiceAddress) || strings.EqualFold(address, e.settings.Provider.MailReceipt)
}
