package pec

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// subjects are the fixed beginnings of Subject (RFC 6109 2 and 3).
var subjects = map[form]string{
	{kind: TypeAcceptance}:                      "ACCETTAZIONE: ",
	{kind: TypeNonAcceptance}:                   "AVVISO DI NON ACCETTAZIONE: ",
	{TypeNonAcceptance, formVirus}:              "AVVISO DI NON ACCETTAZIONE PER VIRUS: ",
	{kind: TypeEnvelope}:                        "POSTA CERTIFICATA: ",
	{kind: TypeTakeCharge}:                      "PRESA IN CARICO: ",
	{kind: TypeDelivery}:                        "CONSEGNA: ",
	{kind: TypeDeliveryError}:                   "AVVISO DI MANCATA CONSEGNA: ",
	{TypeDeliveryError, formVirus}:              "AVVISO DI MANCATA CONSEGNA PER VIRUS: ",
	{TypeVirusDetection, formVirus}:             "PROBLEMA DI SICUREZZA: ",
	{TypeTimeoutWarning, string(FirstDeadline)}: "AVVISO DI MANCATA CONSEGNA PER SUP. TEMPO MASSIMO: ",
	{TypeTimeoutWarning, string(LastDeadline)}:  "AVVISO DI MANCATA CONSEGNA PER SUP. TEMPO MASSIMO: ",
	{kind: TypeAnomaly}:                         "ANOMALIA MESSAGGIO: ",
}

// overdue is errore-esteso of the two warnings, the only thing by which a machine tells them apart (Nota 12 of AgID's
// integrations to the technical rules: enhanced status code, provider, description).
var overdue = map[Deadline]string{
	FirstDeadline: "4.4.1 - %s - nessuna conferma dal gestore del destinatario entro dodici ore dalla spedizione",
	LastDeadline:  "5.4.1 - %s - nessuna ricevuta di consegna entro ventiquattro ore dalla spedizione",
}

// notice is what tells one notice from another.
type notice struct {
	certification Certification
	deadline      Deadline // of a warning, else ""
	messageID     string
	to            string
	reasons       []string    // for the human text
	attached      ReceiptKind // what a delivery receipt says of its attachment
	postacert     io.WriterTo // attached if not nil
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

// NonAcceptanceVirus builds the notice that the access point found a virus (avviso di non accettazione per virus, RFC 6109
// 3.1.4). threat is its name as the antivirus gives it.
func (s *Signer) NonAcceptanceVirus(p Provider, t Transit, messageID string, threat string, at time.Time) ([]byte, error) {
	c := certify(p, t, TypeNonAcceptance, at)
	c.Error, c.ExtendedError = ErrorVirus, virusFound(p, threat)
	return s.notice(p, at, notice{certification: c, messageID: messageID, to: t.Sender, reasons: []string{c.ExtendedError}})
}

// TimeoutWarning builds the access point's notice that a certified recipient's provider was silent for so long (avviso di
// mancata consegna per superamento dei tempi massimi, RFC 6109 3.1.6). The headers of both are the same.
func (s *Signer) TimeoutWarning(p Provider, t Transit, messageID string, rcpt string, d Deadline, at time.Time) ([]byte, error) {
	format, known := overdue[d]
	if !known {
		return nil, fmt.Errorf("building %s for %s: %q is no deadline", TypeTimeoutWarning, t.Identifier, d)
	}
	c := certify(p, t, TypeTimeoutWarning, at)
	c.Delivery, c.ExtendedError = rcpt, fmt.Sprintf(format, p.Name)
	return s.notice(p, at, notice{certification: c, deadline: d, messageID: messageID, to: t.Sender})
}

// VirusDetection builds the incoming point's notice to the sending provider's service mailbox that an envelope carries a virus
// (avviso di rilevazione virus, RFC 6109 3.2.4), one per recipient. threat is its name as the antivirus gives it.
func (s *Signer) VirusDetection(p Provider, t Transit, messageID string, to, rcpt, threat string, at time.Time) ([]byte, error) {
	c := certify(p, t, TypeVirusDetection, at)
	c.Delivery, c.Error, c.ExtendedError = rcpt, ErrorVirus, virusFound(p, threat)
	return s.notice(p, at, notice{certification: c, messageID: messageID, to: to, reasons: []string{c.ExtendedError}})
}

// virusFound is errore-esteso for a virus. The name of a threat is a scanner's output: it is bounded.
func virusFound(p Provider, threat string) string {
	const most = 100
	return fmt.Sprintf("5.5.1 - %s - il messaggio contiene un virus: %s", p.Name, truncate(cleanText(threat), most))
}

// truncate cuts text to at most n bytes, between characters.
func truncate(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// TakeCharge builds the receipt of the incoming point to the sending provider's service mailbox (presa in carico, RFC 6109
// 3.2.1), one for all of our recipients of one SMTP transaction.
func (s *Signer) TakeCharge(p Provider, t Transit, messageID string, to string, rcpts []string, at time.Time) ([]byte, error) {
	c := certify(p, t, TypeTakeCharge, at)
	c.TakenInCharge = rcpts
	return s.notice(p, at, notice{certification: c, messageID: messageID, to: to})
}

// Delivery is [Signer.WriteDelivery] in memory.
func (s *Signer) Delivery(p Provider, t Transit, messageID string, rcpt string, postacert []byte, at time.Time) ([]byte, error) {
	return collect(documentSize+int64(len(postacert)), func(w io.Writer) error {
		return s.WriteDelivery(w, p, t, messageID, rcpt, postacert, at)
	})
}

// WriteDelivery writes the delivery point's receipt for one recipient (avvenuta consegna, RFC 6109 3.3.2). postacert is the
// message out of the envelope, which may be a mapped file: it is attached whole or, if the sender asked for the brief receipt,
// with hashes for its attachments, and copied in neither. nil gives the concise receipt, which recipients in copy always get.
func (s *Signer) WriteDelivery(w io.Writer, p Provider, t Transit, messageID string, rcpt string, postacert []byte, at time.Time) error {
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
		n.postacert = flat(postacert)
	}
	return s.writeNotice(w, p, at, n)
}

// DeliveryError builds the delivery point's notice that a message could not be stored (avviso di mancata consegna, RFC 6109
// 3.3.3). extended is "<enhanced status code> - <provider> - <description>". With [ErrorVirus] it is the sending provider's
// notice to its user that another provider refused the message (3.1.5): extended is then what that provider's notice says.
// It may hold whatever a remote server said: it is cleaned, and cut to 300 bytes between characters.
func (s *Signer) DeliveryError(p Provider, t Transit, messageID string, rcpt string, kind ErrorKind, extended string, at time.Time) ([]byte, error) {
	c := certify(p, t, TypeDeliveryError, at)
	const most = 300
	c.Delivery, c.Error, c.ExtendedError = rcpt, kind, truncate(cleanText(extended), most)
	return s.notice(p, at, notice{certification: c, messageID: messageID, to: t.Sender, reasons: []string{c.ExtendedError}})
}

// certify fills in what all documents about one message share. One instant serves text, XML, Date and signature.
func certify(p Provider, t Transit, kind Type, at time.Time) Certification {
	return Certification{Type: kind, Error: ErrorNone, Transit: t, Provider: p.Name, Time: at.In(rome).Truncate(time.Second)}
}

// form is what readers know the notice by.
func (n notice) form() form {
	f := form{kind: n.certification.Type, variant: string(n.deadline)}
	if n.certification.Error == ErrorVirus {
		f.variant = formVirus
	}
	return f
}

// documentSize is about what a document takes beside the message in it.
const documentSize = 8 << 10

func (s *Signer) notice(p Provider, at time.Time, n notice) ([]byte, error) {
	return collect(documentSize, func(w io.Writer) error { return s.writeNotice(w, p, at, n) })
}

// writeNotice writes a notice and signs it. A notice has a Message-ID of its own; the PEC identifier is in the XML and in the
// text only.
func (s *Signer) writeNotice(w io.Writer, p Provider, at time.Time, n notice) error {
	c := n.certification
	if err := checkTokens(n.messageID, p.ServiceAddress, n.to, c.Sender); err != nil {
		return fmt.Errorf("building %s for %s: %w", c.Type, c.Identifier, err)
	}
	f := n.form()
	h := newHeader()
	h.token("X-Ricevuta", string(c.Type))
	switch {
	case c.Type == TypeVirusDetection:
		h.token("X-Mittente", c.Sender)
	case c.Error == ErrorVirus:
		h.token("X-VerificaSicurezza", "errore")
	}
	h.date(at)
	h.text("Subject", subjects[f], c.Subject)
	h.token("From", p.ServiceAddress)
	h.token("To", n.to)
	h.token("Message-ID", "<"+n.messageID+">")
	if c.MessageID != "" {
		h.text("X-Riferimento-Message-ID", "", c.MessageID)
	}
	parts, err := bodyParts(f, c, n.messageID, n.attached, n.reasons)
	if err != nil {
		return err
	}
	if n.postacert != nil {
		parts = append(parts, messagePart(n.postacert))
	}
	return s.document(w, h, n.messageID, parts, at)
}

// checkTokens refuses what cannot stand in a header as it is.
func checkTokens(messageID string, addresses ...string) error {
	for _, address := range addresses {
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
func bodyParts(f form, c Certification, seed string, attached ReceiptKind, reasons []string) ([]part, error) {
	data, err := c.XML()
	if err != nil {
		return nil, err
	}
	text, err := humanPart(seed, pages(f, c, attached, reasons))
	if err != nil {
		return nil, err
	}
	return []part{text, namedPart("application/xml", "daticert.xml", "base64", inBase64{flat(data)})}, nil
}
