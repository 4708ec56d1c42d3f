package pec

import (
	"crypto/x509"
	"strings"
	"time"

	_ "time/tzdata" // the engine's image may hold no zone files, and a receipt in the wrong zone is a wrong receipt
)

// Type is the kind of a certified document, as daticert.xml, X-Ricevuta and X-Trasporto spell it.
type Type string

// The types of RFC 6109 4.4, and two of our own: an anomaly is signed by a provider but not in the form of a PEC document,
// ordinary mail is everything that no provider signed.
const (
	TypeAcceptance     Type = "accettazione"
	TypeNonAcceptance  Type = "non-accettazione"
	TypeEnvelope       Type = "posta-certificata"
	TypeTakeCharge     Type = "presa-in-carico"
	TypeDelivery       Type = "avvenuta-consegna"
	TypeDeliveryError  Type = "errore-consegna"
	TypeTimeoutWarning Type = "preavviso-errore-consegna"
	TypeVirusDetection Type = "rilevazione-virus"
	TypeAnomaly        Type = "anomalia"
	TypeOrdinary       Type = "ordinaria"
)

// ErrorKind is the attribute errore of daticert.xml.
type ErrorKind string

// The errors of RFC 6109 4.4.
const (
	ErrorNone        ErrorKind = "nessuno"
	ErrorNoRecipient ErrorKind = "no-dest"
	ErrorNoDomain    ErrorKind = "no-dominio"
	ErrorVirus       ErrorKind = "virus"
	ErrorOther       ErrorKind = "altro"
)

// ReceiptKind is the delivery receipt that the sender asked for with X-TipoRicevuta.
type ReceiptKind string

// The kinds of RFC 6109 3.3.2: with the whole message, with hashes for its attachments, without it.
const (
	ReceiptFull    ReceiptKind = "completa"
	ReceiptBrief   ReceiptKind = "breve"
	ReceiptConcise ReceiptKind = "sintetica"
)

// Deadline is the time since dispatch after which the sender is told that nothing was heard (RFC 6109 3.1.6). It also goes
// into [Provider.NoticeID] as the extra part, because both notices are of one type and about one recipient.
type Deadline string

// The first falls due with neither presa in carico nor delivery receipt, the last without a delivery receipt.
const (
	FirstDeadline Deadline = "12h"
	LastDeadline  Deadline = "24h"
)

// Provider is the provider (gestore) that issues a document.
type Provider struct {
	Name           string // as in daticert.xml, "Example PEC S.p.A."
	MailDomain     string // "pec.example.it"
	ServiceAddress string // posta-certificata@MailDomain: From of all that it issues, and rfc822Name of its certificate
}

// Recipient is one recipient of the SMTP transaction.
type Recipient struct {
	Address   string
	Certified bool // its domain is in the providers' index
}

// Transit holds the facts of one certified message, shared by its envelope and by all its notices.
type Transit struct {
	Identifier string // PEC identifier, without angle brackets
	MessageID  string // the client's Message-ID with angle brackets, "" if it had none
	Sender     string // MAIL FROM
	Recipients []Recipient
	ReplyTo    string // "" means the sender
	Subject    string // decoded
	Receipt    ReceiptKind
}

// Certification is the content of daticert.xml (RFC 6109 4.4).
type Certification struct {
	Type  Type
	Error ErrorKind
	Transit
	Provider      string    // who issues this document
	Time          time.Time // of the event, in Europe/Rome, whole seconds
	Delivery      string    // consegna: the one recipient that this document is about
	TakenInCharge []string  // ricezione: the recipients taken in charge
	ExtendedError string    // errore-esteso
}

// FormalLimits bound what the access point certifies (DM 2/11/2005 art. 12). Zero means no limit. Sizes are bytes.
type FormalLimits struct {
	MaxRecipients          int
	MaxMessageSize         int64
	MaxSizeTimesRecipients int64
}

// Index answers who may sign PEC documents and which domains are certified. [Classify] calls it; internal/providers has it.
type Index interface {
	// Signer finds the provider that holds exactly this certificate.
	Signer(cert *x509.Certificate) (provider IndexEntry, ok bool)
	// Certified says whether a domain belongs to any provider, whatever its case.
	Certified(domain string) bool
}

// IndexEntry is one provider of the index (RFC 6109 4.5).
type IndexEntry struct {
	Name        string
	MailReceipt string   // where its presa-in-carico and virus notices go
	Domains     []string // managedDomains, lower case
}

// Manages says whether an address is in one of the provider's domains. The incoming point asks it of mittente and of MAIL
// FROM: without it one provider could issue messages in the name of another's users.
func (e IndexEntry) Manages(address string) bool {
	domain := domainOf(address)
	for _, d := range e.Domains {
		if strings.EqualFold(d, domain) {
			return true
		}
	}
	return false
}

// Judgement is what [Classify] found.
type Judgement struct {
	Type          Type
	Provider      IndexEntry     // who signed; zero if TypeOrdinary
	MessageID     string         // of the outer message, without brackets; "" if absent or doubled
	Certification *Certification // nil if TypeOrdinary, and in an anomaly without readable daticert.xml
	Postacert     []byte         // the message/rfc822 part, decoded: the sender's message; nil if there is none
	Errors        []string       // Italian, ASCII; why it is ordinary or an anomaly

	Chain          []*x509.Certificate // from the signer to a root; nil if there is none, or none was asked for
	Standing       Standing            // of the certificates in Chain; "" without it
	StandingReason string              // English; why it is not good
}

// Rome is the zone of every time that a document shows.
func Rome() *time.Location { return rome }

var rome = func() *time.Location {
	zone, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		panic("pec: zone data is linked in and yet missing: " + err.Error())
	}
	return zone
}()

func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }
