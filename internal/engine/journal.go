package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// journal is the evidence log as the engine's steps use it.
type journal interface {
	journalReader
	Append(kind, key, identifier string, data any) (evidence.Record, error)
}

// journalReader is what a mirror of the other site's log can do too.
type journalReader interface {
	Get(kind, key string) (evidence.Record, bool, error)
}

// The kinds of records, with what their key derives from.
const (
	kindTransaction    = "transaction"     // queue identifier
	kindAccepted       = "accepted"        // PEC identifier
	kindRefused        = "refused"         // PEC identifier
	kindNotice         = "notice"          // Message-ID of the notice
	kindInjected       = "injected"        // Message-ID of the notice or envelope, recipient
	kindTaken          = "taken-in-charge" // PEC identifier, queue identifier
	kindDelivering     = "delivering"      // deliveryKey
	kindDelivered      = "delivered"       // deliveryKey
	kindUndeliverable  = "undeliverable"   // deliveryKey
	kindHeld           = "held"            // deliveryKey
	kindForwarding     = "forwarding"      // Message-ID, as a notice would have, of queue identifier, mailbox and site
	kindReceivedNotice = "received-notice" // deliveryKey
	kindBounced        = "bounced"         // queue identifier of the bounce, recipient that failed; or "reinject", identifier of what was sent on
	kindReport         = "report"          // queue identifier of a bounce about nothing of ours
	kindInfected       = "infected"        // PEC identifier, queue identifier
	kindAcknowledged   = "acknowledged"    // PEC identifier, recipient that another provider took in charge
	kindSettled        = "settled"         // PEC identifier, recipient whose outcome is known
	kindReplicated     = "replicated"      // deliveryKey
	kindUniting        = "uniting"         // deliveryKey
	kindUnited         = "united"          // deliveryKey
)

// The kinds of what a site knows of mailboxes, and of itself.
const (
	kindStanding = "mailbox-standing" // mailboxStanding.key
	kindBegun    = "log-begun"        // the log's name
	kindRecalled = "recalled"         // the log's name
)

// kindManifest is the proof of a copy into a mailbox: mailbox, name of the proof.
const kindManifest = "manifest"

// The kinds of the holder's half.
const (
	kindPlacement = "credentials-placed" // placementKey
	kindCompared  = "secrets-compared"   // address, the pair, site
	kindChoice    = "holder-choice"      // choice.key
	kindLogin     = "holder-login"       // address, client, time, count
	kindNotified  = "notified"           // arrival, or mailbox and day of a digest; address
)

// transaction is one SMTP transaction as a milter saw it end.
type transaction struct {
	Port       string   `json:"port"` // mx or submission
	Client     string   `json:"client"`
	ClientPort string   `json:"clientPort"`
	User       string   `json:"user,omitempty"` // who logged in
	From       string   `json:"from"`
	Recipients []string `json:"recipients"` // case-folded, in order, each once
	Type       pec.Type `json:"type,omitempty"`
	Provider   string   `json:"provider,omitempty"`
	// MailReceipt is where the signer wants what concerns it; the index may lose it while the message waits.
	MailReceipt string `json:"mailReceipt,omitempty"`
	MessageID   string `json:"messageID,omitempty"`
	// Transit is what an envelope says of the message in it.
	Transit *transitRecord `json:"transit,omitempty"`
	Reasons []string       `json:"reasons,omitempty"` // why it is ordinary mail or an anomaly
	Spam    *spam          `json:"spam,omitempty"`    // what the filter holds against it
	Scanned bool           `json:"scanned,omitempty"` // for viruses; what was found is a record of its own
	// Cut is that Postfix cut a header field off. What a provider signed is whole all the same: no signature covers the outer header.
	Cut bool `json:"cut,omitempty"`
	// Standing is what was known of the revocation of the signer's certificates.
	Standing       pec.Standing `json:"standing,omitempty"`
	StandingReason string       `json:"standingReason,omitempty"`
}

// judged takes over what a milter found.
func (t *transaction) judged(j pec.Judgement) {
	t.Standing, t.StandingReason = j.Standing, j.StandingReason
	t.Type, t.Provider, t.MailReceipt, t.MessageID, t.Reasons = j.Type, j.Provider.Name, j.Provider.MailReceipt, j.MessageID, j.Errors
	if j.Type == pec.TypeEnvelope {
		transit := recordOf(j.Certification.Transit)
		t.Transit = &transit
	}
}

// signer is the provider that signed, as far as it matters after the verdict.
func (t transaction) signer() pec.IndexEntry {
	return pec.IndexEntry{Name: t.Provider, MailReceipt: t.MailReceipt}
}

// accepted is a certified submission: all that its notices need, whenever they are made.
type accepted struct {
	At       time.Time     `json:"at"` // of the event; the one time of acceptance and envelope
	Transit  transitRecord `json:"transit"`
	Envelope string        `json:"envelope"` // custody
	Provider string        `json:"provider,omitempty"`
}

// refused is a submission that failed the formal checks, or holds a virus.
type refused struct {
	At      time.Time     `json:"at"`
	Transit transitRecord `json:"transit"`
	Reasons []string      `json:"reasons,omitempty"`
	// Provider, like that of accepted, is who we are: a record is read by people who do not know whose log it was in.
	Provider string `json:"provider,omitempty"`
	// Threat is the virus, and Infected the custody copy of the message that holds it, kept as long as the log.
	Threat   string `json:"threat,omitempty"`
	Infected string `json:"infected,omitempty"`
}

// transitRecord is pec.Transit in the form that the log keeps, whatever becomes of the Go type.
type transitRecord struct {
	Identifier string            `json:"identifier"`
	MessageID  string            `json:"messageID"`
	Sender     string            `json:"sender"`
	Recipients []recipientRecord `json:"recipients"`
	ReplyTo    string            `json:"replyTo"`
	Subject    string            `json:"subject"`
	Receipt    pec.ReceiptKind   `json:"receipt"`
}

type recipientRecord struct {
	Address   string `json:"address"`
	Certified bool   `json:"certified"`
}

func recordOf(t pec.Transit) transitRecord {
	r := transitRecord{Identifier: t.Identifier, MessageID: t.MessageID, Sender: t.Sender, ReplyTo: t.ReplyTo, Subject: t.Subject, Receipt: t.Receipt}
	for _, rcpt := range t.Recipients {
		r.Recipients = append(r.Recipients, recipientRecord(rcpt))
	}
	return r
}

func (r transitRecord) transit() pec.Transit {
	t := pec.Transit{Identifier: r.Identifier, MessageID: r.MessageID, Sender: r.Sender, ReplyTo: r.ReplyTo, Subject: r.Subject, Receipt: r.Receipt}
	for _, rcpt := range r.Recipients {
		t.Recipients = append(t.Recipients, pec.Recipient(rcpt))
	}
	return t
}

// noticeData is a notice that was made; its bytes are in custody.
type noticeData struct {
	Type   pec.Type `json:"type"`
	To     string   `json:"to"`
	About  string   `json:"about,omitempty"` // the recipient concerned
	Digest string   `json:"digest"`
}

// injected is a message that Postfix answered for.
type injected struct {
	To      string `json:"to"`
	Reply   string `json:"reply"`             // of Postfix, with its queue identifier
	Refused bool   `json:"refused,omitempty"` // Postfix will never take this address
}

// deliveryData is the outcome, or the beginning, of one delivery to one mailbox.
type deliveryData struct {
	Mailbox   string   `json:"mailbox"`
	Type      pec.Type `json:"type"`
	Provider  string   `json:"provider"`
	MessageID string   `json:"messageID"`
	Digest    string   `json:"digest,omitempty"` // custody of the message as it arrived
	Reply     string   `json:"reply,omitempty"`  // of Dovecot, or why not
	// Replica says, of a delivery that a receipt follows, whether the other site had the message in custody by then: copied or pending.
	Replica string `json:"replica,omitempty"`
	// Transit is what the document says of the original message, so that the record speaks for itself.
	Transit *transitRecord `json:"transit,omitempty"`
}

// deliveryKey is the same for every arrival of one message at one mailbox. The signer is part of it, or another provider
// could pre-empt a message by sending something with its Message-ID first.
func deliveryKey(provider, messageID, mailbox string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{strings.ToLower(provider), messageID, fold(mailbox)}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// record appends a record and reads the one that counts, which is the first of its key, back into data.
func (e *Engine) record(kind, key, identifier string, data any) (time.Time, error) {
	r, err := e.journal.Append(kind, key, identifier, data)
	if err != nil {
		return time.Time{}, fmt.Errorf("recording %s of %s: %w", kind, key, err)
	}
	return r.Time, r.Decode(data)
}
