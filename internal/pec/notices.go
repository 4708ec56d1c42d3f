package pec

import (
	"fmt"
	"strings"
	"time"
)

// subjects are the fixed beginnings of Subject (RFC 6109 2 and 3).
var subjects = map[Type]string{
	TypeAcceptance:    "ACCETTAZIONE: ",
	TypeNonAcceptance: "AVVISO DI NON ACCETTAZIONE: ",
	TypeEnvelope:      "POSTA CERTIFICATA: ",
	TypeTakeCharge:    "PRESA IN CARICO: ",
	TypeDelivery:      "CONSEGNA: ",
	TypeDeliveryError: "AVVISO DI MANCATA CONSEGNA: ",
}

const virusErrorSubject = "AVVISO DI MANCATA CONSEGNA PER VIRUS: "

// notice is what tells one notice from another.
type notice struct {
	certification Certification
	messageID     string
	to            string
	reasons       []string    // for the human text
	attached      ReceiptKind // what a delivery receipt says of its attachment
	postacert     []byte      // attached if not nil
}

// Acceptance builds the access point's receipt to the sender (ricevuta di accettazione, RFC 6109 3.1.3).
func (s *Signer) Acceptance(p Provider, t Transit, messageID string, at time.Time) ([]byte, error) {
	return s.notice(p, at, notice{certification: certify(p, t, TypeAcceptance, at), messageID: messageID, to: t.Sender})
}

// NonAcceptance builds the notice that a message failed the formal checks (RFC 6109 3.1.2). reasons are the sentences of
// [CheckFormal]. The original is never attached.
func (s *Signer) NonAcceptance(p Provider, t Transit, messageID string, at time.Time, reasons []string) ([]byte, error) {
	c := certify(p, t, TypeNonAcceptance, at)
	c.Error, c.ExtendedError = ErrorOther, strings.Join(reasons, " ")
	return s.notice(p, at, notice{certification: c, messageID: messageID, to: t.Sender, reasons: reasons})
}

// TakeCharge builds the receipt of the incoming point to the sending provider's service mailbox (presa in carico, RFC 6109
// 3.2.1), one for all of our recipients of one SMTP transaction.
func (s *Signer) TakeCharge(p Provider, t Transit, messageID string, to string, rcpts []string, at time.Time) ([]byte, error) {
	c := certify(p, t, TypeTakeCharge, at)
	c.TakenInCharge = rcpts
	return s.notice(p, at, notice{certification: c, messageID: messageID, to: to})
}

// Delivery builds the delivery point's receipt for one recipient (avvenuta consegna, RFC 6109 3.3.2). postacert is the message
// out of the envelope: it is attached whole or, if the sender asked for the brief receipt, with hashes for its attachments.
// nil gives the concise receipt, which recipients in copy always get.
func (s *Signer) Delivery(p Provider, t Transit, messageID string, rcpt string, postacert []byte, at time.Time) ([]byte, error) {
	if t.Receipt == "" {
		t.Receipt = ReceiptFull
	}
	n := notice{certification: certify(p, t, TypeDelivery, at), messageID: messageID, to: t.Sender, attached: t.Receipt}
	n.certification.Delivery = rcpt
	switch {
	case postacert == nil || t.Receipt == ReceiptConcise:
		n.attached = ReceiptConcise
	case t.Receipt == ReceiptBrief:
		n.postacert = brief(postacert)
	default:
		n.postacert = postacert
	}
	return s.notice(p, at, n)
}

// DeliveryError builds the delivery point's notice that a message could not be stored (avviso di mancata consegna, RFC 6109
// 3.3.3). extended is "<enhanced status code> - <provider> - <description>".
func (s *Signer) DeliveryError(p Provider, t Transit, messageID string, rcpt string, kind ErrorKind, extended string, at time.Time) ([]byte, error) {
	c := certify(p, t, TypeDeliveryError, at)
	c.Delivery, c.Error, c.ExtendedError = rcpt, kind, extended
	return s.notice(p, at, notice{certification: c, messageID: messageID, to: t.Sender, reasons: []string{extended}})
}

// certify fills in what all documents about one message share. One instant serves text, XML, Date and signature.
func certify(p Provider, t Transit, kind Type, at time.Time) Certification {
	return Certification{Type: kind, Error: ErrorNone, Transit: t, Provider: p.Name, Time: at.In(rome).Truncate(time.Second)}
}

// notice writes the header of a notice and signs it. A notice has a Message-ID of its own; the PEC identifier is in the XML
// and in the text only.
func (s *Signer) notice(p Provider, at time.Time, n notice) ([]byte, error) {
	c := n.certification
	if err := checkTokens(p.ServiceAddress, n.to, n.messageID); err != nil {
		return nil, fmt.Errorf("building %s for %s: %w", c.Type, c.Identifier, err)
	}
	subject := subjects[c.Type]
	h := &headerWriter{}
	h.token("X-Ricevuta", string(c.Type))
	if c.Error == ErrorVirus {
		subject = virusErrorSubject
		h.token("X-VerificaSicurezza", "errore")
	}
	h.date(at)
	h.text("Subject", subject, c.Subject)
	h.token("From", p.ServiceAddress)
	h.token("To", n.to)
	h.token("Message-ID", "<"+n.messageID+">")
	if c.MessageID != "" {
		h.text("X-Riferimento-Message-ID", "", c.MessageID)
	}
	parts, err := bodyParts(c, n.messageID, n.attached, n.reasons)
	if err != nil {
		return nil, err
	}
	if n.postacert != nil {
		parts = append(parts, messagePart(n.postacert))
	}
	return s.document(h, n.messageID, parts, at)
}

// checkTokens refuses what cannot stand in a header as it is.
func checkTokens(from, to, messageID string) error {
	for _, address := range []string{from, to} {
		if !IsAddress(address) {
			return fmt.Errorf("%q is not a mail address", address)
		}
	}
	if !isMessageID(messageID) {
		return fmt.Errorf("%q is not a message identifier", messageID)
	}
	return nil
}

// bodyParts are the human text and daticert.xml, in the order that readers know.
func bodyParts(c Certification, seed string, attached ReceiptKind, reasons []string) ([]part, error) {
	data, err := c.XML()
	if err != nil {
		return nil, err
	}
	return []part{
		humanPart(seed, pages(c, attached, reasons)),
		namedPart("application/xml", "daticert.xml", "base64", encodeBase64(data)),
	}, nil
}
