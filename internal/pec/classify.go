package pec

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxDocument bounds what Classify takes apart, bytes: an envelope of the largest original in base64 stays far below.
const maxDocument = 256 << 20

// Classify judges a received message, whole and with CRLF line ends, at the time of its arrival (RFC 6109 3.2 and 7). Three
// questions make a message one of a provider's: is there a signature over the whole body, is its certificate in the index,
// does it lead to a root? If not, it is ordinary mail. If so, anything wrong in its form makes it an anomaly.
// It judges header fields, MIME and XML strictly: the header is not signed, so what it says counts only where the signed
// daticert.xml says the same. It never judges by subject, nor by an XML deeper than the first level: a bounced envelope
// inside an anomaly holds both. nil roots mean that no chain is believed.
func Classify(raw []byte, index Index, roots *x509.CertPool, at time.Time) Judgement {
	if roots == nil {
		roots = x509.NewCertPool()
	}
	return Open(raw).Judge(index, roots, at)
}

// Document is a received message taken apart, its signature checked and not yet believed.
type Document struct {
	MessageID string    // of the outer message, without brackets; "" if absent or doubled
	Signature Signature // as far as it could be read
	Fault     string    // Italian, ASCII; why there is no intact signature, "" if there is one

	header header
	signed signedMessage
}

// Open takes a message apart that is whole and has CRLF line ends.
func Open(raw []byte) *Document {
	d := &Document{}
	if len(raw) > maxDocument {
		d.Fault = "messaggio troppo grande"
		return d
	}
	message, err := parseEntity(raw)
	if err != nil {
		d.Fault = toASCII(fmt.Sprintf("intestazione non leggibile: %v", err))
		return d
	}
	d.header, d.MessageID = message.header, messageID(message.header)
	if d.signed, d.Fault = openSigned(message); d.Fault != "" {
		return d
	}
	if d.Signature, err = readSignature(d.signed.content, d.signed.cms); err != nil {
		d.Fault = toASCII(fmt.Sprintf("firma non valida: %v", err))
	}
	return d
}

// Judge is [Classify] for those who may lack the index or the roots, as a person with a file does: what is nil is not asked,
// and the judgement is worth that much less.
func (d *Document) Judge(index Index, roots *x509.CertPool, at time.Time) Judgement {
	return d.JudgeBy(Trust{Index: index, Roots: roots}, at)
}

// Trust is by what a signature is believed. What is nil is not asked; without lists the standing of the certificates is unknown.
type Trust struct {
	Index Index
	Roots *x509.CertPool
	CRLs  *CRLs
}

// JudgeBy judges at the time of arrival. A signer whose certificate was revoked is nobody's signer: the message is ordinary mail, as
// with any other certificate that is not valid (RFC 6109 2.2.2).
func (d *Document) JudgeBy(t Trust, at time.Time) Judgement {
	j := Judgement{Type: TypeOrdinary, MessageID: d.MessageID}
	if d.Fault != "" {
		return j.because("%s", d.Fault)
	}
	var provider IndexEntry
	if t.Index != nil {
		var ok bool
		if provider, ok = t.Index.Signer(d.Signature.Signer); !ok {
			return j.because("il certificato di firma non appartiene a un gestore dell'indice")
		}
	}
	if t.Roots != nil {
		var err error
		if j.Chain, err = d.Signature.chainTo(t.Roots, at, x509.ExtKeyUsageEmailProtection); err != nil {
			return j.because("catena di certificazione non valida: %v", err)
		}
		if j.Standing, j.StandingReason = t.CRLs.Standing(j.Chain, d.Signature.Time, at); j.Standing == StandingRevoked {
			return j.because("certificato di firma revocato: %s", j.StandingReason)
		}
	}
	j.Provider = provider
	j.Type, j.Errors = documentType(d.header)
	j.checkOuter(d.header, d.Signature.Signer, d.signed)
	j.checkInner(d.signed.content)
	if len(j.Errors) > 0 {
		j.Type = TypeAnomaly
	}
	return j
}

// Judged is the judgement of a document that was judged before, as this type, under this identifier and signed by this provider: neither
// trust nor the outer header is asked again. If what was signed cannot be read here it is an anomaly.
func (d *Document) Judged(as Type, messageID string, by IndexEntry) Judgement {
	j := Judgement{Type: as, Provider: by, MessageID: messageID}
	if d.Fault != "" {
		j.Type = TypeAnomaly
		return j.because("%s", d.Fault)
	}
	if j.checkInner(d.signed.content); len(j.Errors) > 0 {
		j.Type = TypeAnomaly
	}
	return j
}

// because adds a reason in Italian, ASCII because it also goes into SMTP replies.
func (j Judgement) because(format string, args ...any) Judgement {
	j.Errors = append(j.Errors, toASCII(fmt.Sprintf(format, args...)))
	return j
}

func (j *Judgement) fault(format string, args ...any) { *j = j.because(format, args...) }

// toASCII replaces what an SMTP reply cannot hold; a reason may quote the message.
func toASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, cleanText(s))
}

func messageID(h header) string {
	id, ok := h.only("Message-ID")
	if !ok || !strings.HasPrefix(id, "<") || !strings.HasSuffix(id, ">") {
		return ""
	}
	return cleanText(toUTF8(id[1 : len(id)-1]))
}

// signedMessage is a multipart/signed taken apart.
type signedMessage struct {
	content  []byte // the signed part, its header included, as its raw bytes
	cms      []byte
	whole    bool // nothing follows the signature
	twoParts bool
}

// openSigned takes a message apart; why says in Italian what makes it no signed message at all.
func openSigned(message entity) (s signedMessage, why string) {
	protocol := strings.ToLower(message.params["protocol"])
	if message.media != "multipart/signed" {
		return s, "il messaggio non porta una firma S/MIME"
	}
	if protocol != "application/pkcs7-signature" && protocol != "application/x-pkcs7-signature" {
		return s, "la firma non e' S/MIME"
	}
	c, err := cutMultipart(message.body, message.params["boundary"])
	if err != nil || message.params["boundary"] == "" || len(c.parts) < 2 {
		return s, "la struttura del messaggio firmato non e' leggibile"
	}
	part, err := parseEntity(c.parts[1])
	if err != nil || (part.media != "application/pkcs7-signature" && part.media != "application/x-pkcs7-signature") {
		return s, "la parte con la firma manca"
	}
	if s.cms, err = part.content(maxCMSBytes); err != nil {
		return s, "la parte con la firma non e' leggibile"
	}
	s.content, s.twoParts = c.parts[0], len(c.parts) == 2
	s.whole = len(strings.Trim(string(c.epilogue[:min(len(c.epilogue), 4096)]), " \t\r\n")) == 0 && len(c.epilogue) <= 4096
	return s, ""
}

// documentType reads X-Ricevuta, else X-Trasporto, by exact match.
func documentType(h header) (Type, []string) {
	receipts, transports := h.all("X-Ricevuta"), h.all("X-Trasporto")
	switch {
	case len(receipts)+len(transports) == 0:
		return TypeAnomaly, []string{"mancano X-Ricevuta e X-Trasporto"}
	case len(receipts)+len(transports) > 1:
		return TypeAnomaly, []string{"X-Ricevuta e X-Trasporto compaiono piu' di una volta"}
	case len(transports) == 1 && transports[0].value() == string(TypeEnvelope):
		return TypeEnvelope, nil
	case len(transports) == 1 && transports[0].value() == "errore":
		return TypeAnomaly, []string{"il messaggio e' una busta di anomalia"}
	case len(receipts) == 1:
		kind := Type(receipts[0].value())
		if _, known := demands[kind]; known && kind != TypeEnvelope {
			return kind, nil
		}
	}
	return TypeAnomaly, []string{"X-Ricevuta o X-Trasporto hanno un valore sconosciuto"}
}

// checkOuter judges what the signature does not cover.
func (j *Judgement) checkOuter(h header, leaf *x509.Certificate, s signedMessage) {
	if !s.twoParts || !s.whole {
		j.fault("parti del messaggio non sono coperte dalla firma")
	}
	from, ok := h.only("From")
	addresses, err := parseAddresses(from)
	if !ok || err != nil || len(addresses) != 1 {
		j.fault("il campo From manca, e' doppio o non e' leggibile")
	} else if !containsAddress(leaf.EmailAddresses, addresses[0]) {
		j.fault("il campo From non e' l'indirizzo nel certificato di firma")
	}
	if !isMessageID(j.MessageID) {
		j.fault("il campo Message-ID manca, e' doppio o non e' valido")
	}
	for _, name := range []string{"Date", "Subject", "To", "Cc", "Reply-To", "X-TipoRicevuta", "MIME-Version"} {
		if len(h.all(name)) > 1 {
			j.fault("il campo %s e' doppio", name)
		}
	}
}

// checkInner opens the signed part and holds daticert.xml against the header.
func (j *Judgement) checkInner(content []byte) {
	body, err := parseEntity(content)
	if err != nil || body.media != "multipart/mixed" {
		j.fault("la parte firmata non e' multipart/mixed")
		return
	}
	parts, _, err := body.entities()
	if err != nil {
		j.fault("la struttura della parte firmata non e' leggibile")
		return
	}
	var data, messages []entity
	for _, p := range parts {
		switch {
		case p.media == "message/rfc822":
			messages = append(messages, p)
		case isCertification(p.header):
			data = append(data, p)
		}
	}
	j.openPostacert(messages)
	if j.Type != TypeAnomaly {
		j.openCertification(data)
	}
}

// isCertification says that a part is daticert.xml by either of its names: a second one under the name that we would not read could be
// what another reader shows.
func isCertification(h header) bool {
	names := h.fileNames()
	return strings.EqualFold(names[0], "daticert.xml") || strings.EqualFold(names[1], "daticert.xml")
}

func (j *Judgement) openPostacert(messages []entity) {
	if len(messages) > 1 {
		j.fault("il messaggio originale e' allegato piu' di una volta")
		return
	}
	if len(messages) == 0 {
		if j.Type == TypeEnvelope {
			j.fault("manca il messaggio originale (postacert.eml)")
		}
		return
	}
	message, err := messages[0].content(maxDocument)
	if err != nil {
		j.fault("il messaggio originale non e' leggibile: %v", err)
		return
	}
	j.Postacert = message
}

func (j *Judgement) openCertification(data []entity) {
	if len(data) != 1 || !slices.Contains([]string{"application/xml", "text/xml"}, data[0].media) {
		j.fault("daticert.xml manca, e' doppio o non e' XML")
		return
	}
	raw, err := data[0].content(maxXMLBytes)
	if err != nil {
		j.fault("daticert.xml non e' leggibile: %v", err)
		return
	}
	c, err := ParseCertification(raw)
	if err != nil {
		j.fault("daticert.xml non e' valido: %v", err)
		return
	}
	j.Certification = &c
	if c.Type != j.Type {
		j.fault("daticert.xml e' di tipo %s, l'intestazione di tipo %s", c.Type, j.Type)
	}
	if !isMessageID(c.Identifier) || !IsAddress(c.Sender) {
		j.fault("identificativo o mittente in daticert.xml non sono validi")
	}
	if c.Type != TypeEnvelope {
		return
	}
	if c.Identifier != j.MessageID {
		j.fault("il Message-ID della busta non e' l'identificativo in daticert.xml")
	}
	// Other providers may let a header pass that we refuse at submission; only its identifier matters here.
	if inner, _, _ := parseHeader(j.Postacert); messageID(inner) != c.Identifier {
		j.fault("il Message-ID del messaggio originale non e' l'identificativo in daticert.xml")
	}
}
