package pec

import (
	"crypto"
	"crypto/x509"
	"errors"
	"time"
)

var errDraft = errors.New("being written")

// XML renders daticert.xml.
func (c Certification) XML() ([]byte, error) { return nil, errDraft }

// ParseCertification reads daticert.xml.
func ParseCertification(raw []byte) (Certification, error) { return Certification{}, errDraft }

// Original is the message as the client submitted it.
type Original struct {
	From, To, Cc, Bcc []string
	Subject           string
	MessageID         string
	ReplyTo           string
	Receipt           ReceiptKind
}

// ParseOriginal reads it.
func ParseOriginal(raw []byte) (*Original, error) { return nil, errDraft }

// Bytes is the message as received.
func (o *Original) Bytes() []byte { return nil }

// Transit gathers the facts of the certified message; certified answers for a domain.
func (o *Original) Transit(identifier, mailFrom string, rcpts []string, certified func(domain string) bool) Transit {
	return Transit{}
}

// CopyOnly says that an address is in Cc and not in To: such a recipient always gets the concise delivery receipt.
func (o *Original) CopyOnly(address string) bool { return false }

// Certified is the message with the PEC identifier.
func (o *Original) Certified(identifier string) []byte { return nil }

// CheckFormal says what is formally wrong.
func CheckFormal(o *Original, mailFrom string, rcpts []string, size int64, l FormalLimits) []string {
	return nil
}

// Signer signs.
type Signer struct{}

// NewSigner reads PEM.
func NewSigner(certsPEM, keyPEM []byte) (*Signer, error) { return nil, errDraft }

// NewSignerWithKey takes a key that lives elsewhere.
func NewSignerWithKey(chain []*x509.Certificate, key crypto.Signer) (*Signer, error) {
	return nil, errDraft
}

// Certificate is the leaf.
func (s *Signer) Certificate() *x509.Certificate { return nil }

// Acceptance builds accettazione.
func (s *Signer) Acceptance(p Provider, t Transit, messageID string, at time.Time) ([]byte, error) {
	return nil, errDraft
}

// NonAcceptance builds non-accettazione.
func (s *Signer) NonAcceptance(p Provider, t Transit, messageID string, at time.Time, reasons []string) ([]byte, error) {
	return nil, errDraft
}

// Envelope builds the busta di trasporto.
func (s *Signer) Envelope(p Provider, t Transit, o *Original, received []byte, at time.Time) ([]byte, error) {
	return nil, errDraft
}

// TakeCharge builds presa-in-carico.
func (s *Signer) TakeCharge(p Provider, t Transit, messageID string, to string, rcpts []string, at time.Time) ([]byte, error) {
	return nil, errDraft
}

// Delivery builds avvenuta-consegna; postacert nil for the concise form.
func (s *Signer) Delivery(p Provider, t Transit, messageID string, rcpt string, postacert []byte, at time.Time) ([]byte, error) {
	return nil, errDraft
}

// DeliveryError builds errore-consegna.
func (s *Signer) DeliveryError(p Provider, t Transit, messageID string, rcpt string, kind ErrorKind, extended string, at time.Time) ([]byte, error) {
	return nil, errDraft
}

// Classify judges a received message.
func Classify(raw []byte, index Index, roots *x509.CertPool, at time.Time) Judgement {
	return Judgement{}
}

// NoticeID derives a notice's Message-ID.
func NoticeID(identifier string, t Type, recipient string, extra ...string) string { return "" }

// Identifier derives the PEC identifier of a submission.
func Identifier(site, queueID, mailDomain string) string { return "" }
