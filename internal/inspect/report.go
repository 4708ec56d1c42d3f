package inspect

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// Report is what is known of a message. Its JSON form is described in docs/inspect.md: keys may be added, none goes or changes
// its meaning, and each is always there.
type Report struct {
	Type            pec.Type    `json:"type"`
	Certified       bool        `json:"certified"`
	Signature       Signature   `json:"signature"`
	Provider        string      `json:"provider"`
	Issuer          string      `json:"issuer"`
	Identifier      string      `json:"identifier"`
	MessageID       string      `json:"messageID"`
	ClientMessageID string      `json:"clientMessageID"`
	Subject         string      `json:"subject"`
	Sender          string      `json:"sender"`
	ReplyTo         string      `json:"replyTo"`
	Recipients      []Recipient `json:"recipients"`
	Delivery        string      `json:"delivery"`
	TakenInCharge   []string    `json:"takenInCharge"`
	Receipt         string      `json:"receipt"`
	Failure         Failure     `json:"failure"`
	Times           Times       `json:"times"`
	Original        Original    `json:"original"`
	Errors          []string    `json:"errors"`
	Notes           []string    `json:"notes"`
}

// Signature is the S/MIME signature by itself.
type Signature struct {
	Intact      bool    `json:"intact"`
	Digest      string  `json:"digest"`
	Signer      *Signer `json:"signer"`
	Chain       Chain   `json:"chain"`
	ChainReason string  `json:"chainReason"`
	// Revocation is good, revoked, unknown or not-checked.
	Revocation       string `json:"revocation"`
	RevocationReason string `json:"revocationReason"`
}

// Chain says what became of the way from the certificate to a root.
type Chain string

// The values of Chain.
const (
	ChainTrusted    Chain = "trusted"
	ChainUntrusted  Chain = "untrusted"
	ChainNotChecked Chain = "not-checked"
)

// Signer is the signing certificate.
type Signer struct {
	Subject    string `json:"subject"`
	RFC822Name string `json:"rfc822Name"`
	SHA256     string `json:"sha256"`
	Issuer     string `json:"issuer"`
	NotBefore  string `json:"notBefore"`
	NotAfter   string `json:"notAfter"`
}

// Recipient is one recipient of the original message.
type Recipient struct {
	Address   string `json:"address"`
	Certified bool   `json:"certified"`
}

// Failure is errore and errore-esteso.
type Failure struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// Times are instants in RFC 3339, "" where unknown.
type Times struct {
	Event  string `json:"event"`
	Signed string `json:"signed"`
	Judged string `json:"judged"`
}

// Original is the attached message.
type Original struct {
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// judging is a message and what it is held against.
type judging struct {
	document *pec.Document
	raw      []byte
	notes    []string
	index    pec.Index      // nil if not given
	roots    *x509.CertPool // nil if not given
	crls     *pec.CRLs      // nil if not given
	at       time.Time
}

func (j judging) report() Report {
	found := j.document.JudgeBy(pec.Trust{Index: j.index, Roots: j.roots, CRLs: j.crls}, j.at)
	r := Report{
		Type:      found.Type,
		Certified: found.Type != pec.TypeOrdinary && found.Type != pec.TypeAnomaly,
		Signature: j.signature(found),
		Provider:  found.Provider.Name,
		MessageID: found.MessageID,
		Times:     Times{Signed: instant(j.document.Signature.Time), Judged: instant(j.at)},
		Errors:    append([]string{}, found.Errors...),
		Notes:     append([]string{}, j.notes...),
	}
	if doubt := j.doubt(); doubt != "" {
		r.Certified, r.Errors = false, append(r.Errors, doubt)
	}
	if found.Postacert != nil {
		sum := sha256.Sum256(found.Postacert)
		r.Original = Original{Bytes: len(found.Postacert), SHA256: hex.EncodeToString(sum[:])}
	}
	if found.Certification != nil {
		r.certified(*found.Certification)
	} else {
		r.uncertified(j.raw)
	}
	return r
}

// doubt is why an intact signature proves nothing yet. Anybody can make a certificate and sign a message of the right form with it: only
// the index says whose it is. Without roots its term is still to be asked, because no chain was.
func (j judging) doubt() string {
	signer := j.document.Signature.Signer
	switch {
	case j.document.Fault != "":
		return ""
	case j.index == nil:
		return "gestore sconosciuto: il certificato non e' stato cercato in un indice dei gestori (--index)"
	case j.roots == nil && (j.at.Before(signer.NotBefore) || j.at.After(signer.NotAfter)):
		return "il certificato di firma non era valido il " + instant(j.at)
	}
	return ""
}

func (j judging) signature(found pec.Judgement) Signature {
	s := j.document.Signature
	out := Signature{Intact: j.document.Fault == "", Digest: s.Digest, Chain: ChainNotChecked, Revocation: string(ChainNotChecked)}
	if c := s.Signer; c != nil {
		sum := sha256.Sum256(c.Raw)
		out.Signer = &Signer{
			Subject: c.Subject.String(), RFC822Name: strings.Join(c.EmailAddresses, ", "), SHA256: hex.EncodeToString(sum[:]),
			Issuer: c.Issuer.String(), NotBefore: instant(c.NotBefore), NotAfter: instant(c.NotAfter),
		}
	}
	switch {
	case !out.Intact:
		out.ChainReason = "there is no intact signature"
	case j.roots == nil:
		out.ChainReason = "no roots were given (--roots)"
	default:
		out.Chain, out.ChainReason = ChainTrusted, "it ends in a given root at "+instant(j.at)
		if err := s.VerifyChain(j.roots, j.at); err != nil {
			out.Chain, out.ChainReason = ChainUntrusted, err.Error()
		}
	}
	switch {
	case j.crls == nil:
		out.RevocationReason = "no revocation lists were given (--crl)"
	case found.Standing == "":
		out.RevocationReason = "there is no chain to ask them about"
	default:
		out.Revocation, out.RevocationReason = string(found.Standing), found.StandingReason
	}
	return out
}

// certified takes over what daticert.xml says. In an anomaly the document was signed and yet nothing in it is certified.
func (r *Report) certified(c pec.Certification) {
	r.Issuer, r.Identifier, r.ClientMessageID = c.Provider, c.Identifier, c.MessageID
	r.Subject, r.Sender, r.ReplyTo = c.Subject, c.Sender, c.ReplyTo
	r.Recipients = make([]Recipient, len(c.Recipients))
	for i, to := range c.Recipients {
		r.Recipients[i] = Recipient(to)
	}
	r.Delivery, r.TakenInCharge, r.Receipt = c.Delivery, append([]string{}, c.TakenInCharge...), string(c.Receipt)
	r.Failure = Failure{Kind: string(c.Error), Text: c.ExtendedError}
	r.Times.Event = instant(c.Time)
}

// uncertified takes over what the header says, which anybody may have written.
func (r *Report) uncertified(raw []byte) {
	r.Recipients, r.TakenInCharge = []Recipient{}, []string{}
	o, err := pec.ParseOriginal(raw)
	if err != nil {
		r.Notes = append(r.Notes, err.Error())
		return
	}
	r.Sender, r.ReplyTo, r.Subject = strings.Join(o.From, ", "), o.ReplyTo, o.Subject
	for _, address := range append(o.To[:len(o.To):len(o.To)], o.Cc...) {
		r.Recipients = append(r.Recipients, Recipient{Address: address})
	}
}

// instant is RFC 3339 in the zone of the documents.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(pec.Rome()).Format(time.RFC3339)
}
