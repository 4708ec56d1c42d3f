package pec

import (
	"bytes"
	"fmt"
	"html"
	"strings"
	"unicode"
)

// wording is what a document says to people in one language: its name, what happened, and what to know about it. %s in
// opening is the provider's name.
type wording struct {
	title, opening string
	notes          []string
}

// bilingual is Italian, the language that counts, and an English copy.
type bilingual struct{ italian, english wording }

var wordings = map[Type]bilingual{
	TypeAcceptance: {
		wording{"Ricevuta di accettazione", "%s ha accettato il messaggio descritto qui sotto e provvede a inoltrarlo ai destinatari.",
			[]string{"Solo i destinatari di posta certificata danno luogo a una ricevuta di avvenuta consegna."}},
		wording{"Acceptance receipt", "%s has accepted the message described below and forwards it to its recipients.",
			[]string{"Only recipients of certified mail give rise to a delivery receipt."}},
	},
	TypeNonAcceptance: {
		wording{"Avviso di non accettazione", "%s non ha accettato il messaggio descritto qui sotto, che non è stato inoltrato ad alcun destinatario.",
			[]string{"Per spedire il messaggio correggere quanto indicato e inviarlo di nuovo."}},
		wording{"Notice of non-acceptance", "%s has refused the message described below; it was forwarded to no recipient. The reasons are given in Italian.",
			[]string{"To send the message, correct what is named above and submit it again."}},
	},
	TypeEnvelope: {
		wording{"Messaggio di posta certificata", "%s trasmette in allegato il messaggio descritto qui sotto.",
			[]string{"Il messaggio originale è nell'allegato postacert.eml; i dati di certificazione sono nell'allegato daticert.xml."}},
		wording{"Certified mail message", "%s transmits the attached message, described below.",
			[]string{"The original message is in the attachment postacert.eml; the certification data are in the attachment daticert.xml."}},
	},
	TypeTakeCharge: {
		wording{"Ricevuta di presa in carico", "%s ha preso in carico il messaggio descritto qui sotto per i destinatari elencati.", nil},
		wording{"Take-charge receipt", "%s has taken charge of the message described below for the recipients listed.", nil},
	},
	TypeDelivery: {
		wording{"Ricevuta di avvenuta consegna", "%s ha depositato il messaggio descritto qui sotto nella casella del destinatario.", nil},
		wording{"Delivery receipt", "%s has stored the message described below in the recipient's mailbox.", nil},
	},
	TypeDeliveryError: {
		wording{"Avviso di mancata consegna", "%s comunica che il messaggio descritto qui sotto è stato rifiutato: non è stato consegnato al destinatario.", nil},
		wording{"Notice of non-delivery", "%s announces that the message described below was refused: it was not delivered to the recipient.", nil},
	},
}

// receiptNotes say what a delivery receipt carries.
var receiptNotes = map[ReceiptKind]bilingual{
	ReceiptFull: {
		wording{notes: []string{"Ricevuta completa: il messaggio consegnato è nell'allegato postacert.eml."}},
		wording{notes: []string{"Complete receipt: the delivered message is in the attachment postacert.eml."}},
	},
	ReceiptBrief: {
		wording{notes: []string{"Ricevuta breve: nell'allegato postacert.eml ogni allegato del messaggio è sostituito dalla sua impronta (SHA-1)."}},
		wording{notes: []string{"Brief receipt: in the attachment postacert.eml each attachment of the message is replaced by its hash (SHA-1)."}},
	},
	ReceiptConcise: {
		wording{notes: []string{"Ricevuta sintetica: il messaggio consegnato non è allegato."}},
		wording{notes: []string{"Concise receipt: the delivered message is not attached."}},
	},
}

// labels name the data that every document must show (RFC 6109 2).
type labels struct {
	date, hour, subject, sender, recipients, recipient, identifier, reason string
	certified, ordinary                                                    string
}

var (
	italianLabels = labels{"Data", "Ora", "Oggetto", "Mittente", "Destinatari", "Destinatario", "Identificativo del messaggio", "Motivo",
		"posta certificata", "posta ordinaria"}
	englishLabels = labels{"Date", "Time", "Subject", "Sender", "Recipients", "Recipient", "Message identifier", "Reason",
		"certified mail", "ordinary mail"}
)

// row is one labelled datum of a document.
type row struct {
	label  string
	values []string
}

// page is the text of a document in one language.
type page struct {
	title, opening string
	rows           []row
	notes          []string
}

// pages writes the texts of a document; reasons replace errore-esteso where there is more than one.
func pages(c Certification, attached ReceiptKind, reasons []string) []page {
	w, notes := wordings[c.Type], receiptNotes[attached]
	return []page{
		newPage(c, w.italian, italianLabels, notes.italian.notes, reasons),
		newPage(c, w.english, englishLabels, notes.english.notes, reasons),
	}
}

func newPage(c Certification, w wording, l labels, notes, reasons []string) page {
	at := c.Time.In(rome)
	p := page{title: w.title, opening: fmt.Sprintf(w.opening, cleanText(c.Provider)), notes: append(notes[:len(notes):len(notes)], w.notes...)}
	add := func(label string, values ...string) {
		if len(values) > 0 && values[0] != "" {
			p.rows = append(p.rows, row{label, values})
		}
	}
	add(l.date, at.Format("02/01/2006"))
	add(l.hour, at.Format("15:04:05 (-0700)"))
	add(l.subject, `"`+c.Subject+`"`)
	add(l.sender, c.Sender)
	switch {
	case len(c.TakenInCharge) > 0:
		add(l.recipients, c.TakenInCharge...)
	case c.Delivery != "":
		add(l.recipient, c.Delivery)
	default:
		var all []string
		for _, r := range c.Recipients {
			kind := l.ordinary
			if r.Certified {
				kind = l.certified
			}
			all = append(all, fmt.Sprintf("%s (%s)", r.Address, kind))
		}
		add(l.recipients, all...)
	}
	add(l.identifier, c.Identifier)
	add(l.reason, reasons...)
	return p
}

// plainText renders pages as ISO-8859-1 with CRLF; a character outside it becomes a question mark (daticert.xml has it whole).
func plainText(pages []page) []byte {
	var b strings.Builder
	for i, p := range pages {
		if i > 0 {
			b.WriteString("\r\n----------\r\n\r\n")
		}
		fmt.Fprintf(&b, "%s\r\n\r\n%s\r\n\r\n", p.title, p.opening)
		for _, r := range p.rows {
			if len(r.values) == 1 {
				fmt.Fprintf(&b, "%s: %s\r\n", r.label, cleanText(r.values[0]))
				continue
			}
			fmt.Fprintf(&b, "%s:\r\n", r.label)
			for _, v := range r.values {
				fmt.Fprintf(&b, "- %s\r\n", cleanText(v))
			}
		}
		for _, n := range p.notes {
			fmt.Fprintf(&b, "\r\n%s\r\n", n)
		}
	}
	return latin1(b.String(), func(rune) string { return "?" })
}

// htmlText renders the same as HTML without images, styles or anything active (RFC 6109 4.3.1).
func htmlText(pages []page) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n", html.EscapeString(pages[0].title))
	for i, p := range pages {
		if i > 0 {
			b.WriteString("<hr>\r\n")
		}
		fmt.Fprintf(&b, "<h3>%s</h3>\r\n<p>%s</p>\r\n<ul>\r\n", html.EscapeString(p.title), html.EscapeString(p.opening))
		for _, r := range p.rows {
			fmt.Fprintf(&b, "<li>%s:", html.EscapeString(r.label))
			for i, v := range r.values {
				if i > 0 {
					b.WriteString("<br>")
				}
				fmt.Fprintf(&b, "\r\n%s", html.EscapeString(cleanText(v)))
			}
			b.WriteString("</li>\r\n")
		}
		b.WriteString("</ul>\r\n")
		for _, n := range p.notes {
			fmt.Fprintf(&b, "<p>%s</p>\r\n", html.EscapeString(n))
		}
	}
	b.WriteString("</body>\r\n</html>\r\n")
	return latin1(b.String(), func(r rune) string { return fmt.Sprintf("&#%d;", r) })
}

func latin1(s string, other func(rune) string) []byte {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		if r <= unicode.MaxLatin1 {
			out = append(out, byte(r))
		} else {
			out = append(out, other(r)...)
		}
	}
	return out
}

// humanPart is the first part of every document: plain text and HTML that say the same.
func humanPart(seed string, pages []page) part {
	alternatives := []part{textPart("text/plain", plainText(pages)), textPart("text/html", htmlText(pages))}
	var b bytes.Buffer
	multipart(&b, "alternative", seed+" text", alternatives)
	header, body, _ := bytes.Cut(b.Bytes(), []byte("\r\n\r\n"))
	return part{header: string(header) + "\r\n", body: body}
}
