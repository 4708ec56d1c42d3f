package pec

import (
	"fmt"
	"html"
	"strings"
	"unicode"
	"unicode/utf8"
)

// wording is what a document says to people in one language: its name, what happened, and what to know about it. %s in
// opening is the provider's name.
type wording struct {
	title, opening string
	notes          []string
}

// bilingual is Italian, the language that counts, and an English copy.
type bilingual struct{ italian, english wording }

// form is a document as readers know it: the same type has other words for a virus and for each deadline.
type form struct {
	kind    Type
	variant string // "", formVirus or a Deadline
}

const formVirus = "virus"

var wordings = map[form]bilingual{
	{kind: TypeAcceptance}: {
		wording{"Ricevuta di accettazione", "%s ha accettato il messaggio descritto qui sotto e provvede a inoltrarlo ai destinatari.",
			[]string{"Solo i destinatari di posta certificata danno luogo a una ricevuta di avvenuta consegna."}},
		wording{"Acceptance receipt", "%s has accepted the message described below and forwards it to its recipients.",
			[]string{"Only recipients of certified mail give rise to a delivery receipt."}},
	},
	{kind: TypeNonAcceptance}: {
		wording{"Avviso di non accettazione", "%s non ha accettato il messaggio descritto qui sotto, che non è stato inoltrato ad alcun destinatario.",
			[]string{"Per spedire il messaggio correggere quanto indicato e inviarlo di nuovo."}},
		wording{"Notice of non-acceptance", "%s has refused the message described below; it was forwarded to no recipient. The reasons are given in Italian.",
			[]string{"To send the message, correct what is named above and submit it again."}},
	},
	{kind: TypeEnvelope}: {
		wording{"Messaggio di posta certificata", "%s trasmette in allegato il messaggio descritto qui sotto.",
			[]string{"Il messaggio originale è nell'allegato postacert.eml; i dati di certificazione sono nell'allegato daticert.xml."}},
		wording{"Certified mail message", "%s transmits the attached message, described below.",
			[]string{"The original message is in the attachment postacert.eml; the certification data are in the attachment daticert.xml."}},
	},
	{kind: TypeTakeCharge}: {
		wording{"Ricevuta di presa in carico", "%s ha preso in carico il messaggio descritto qui sotto per i destinatari elencati.", nil},
		wording{"Take-charge receipt", "%s has taken charge of the message described below for the recipients listed.", nil},
	},
	{kind: TypeDelivery}: {
		wording{"Ricevuta di avvenuta consegna", "%s ha depositato il messaggio descritto qui sotto nella casella del destinatario.", nil},
		wording{"Delivery receipt", "%s has stored the message described below in the recipient's mailbox.", nil},
	},
	{kind: TypeDeliveryError}: {
		wording{"Avviso di mancata consegna", "%s comunica che il messaggio descritto qui sotto è stato rifiutato: non è stato consegnato al destinatario.", nil},
		wording{"Notice of non-delivery", "%s announces that the message described below was refused: it was not delivered to the recipient.", nil},
	},
	{TypeNonAcceptance, formVirus}: {
		wording{"Avviso di non accettazione per virus", "%s ha rifiutato il messaggio descritto qui sotto, che contiene un virus e non è stato inoltrato ad alcun destinatario.",
			[]string{"Il messaggio è conservato dal gestore come prescrivono le norme. Prima di spedire di nuovo, verificare la propria postazione con un antivirus aggiornato."}},
		wording{"Notice of non-acceptance for a virus", "%s has refused the message described below: it contains a virus and was forwarded to no recipient.",
			[]string{"The provider keeps the message as the rules ask. Before sending again, check your computer with an up-to-date antivirus."}},
	},
	{TypeDeliveryError, formVirus}: {
		wording{"Avviso di mancata consegna per virus", "%s comunica che il messaggio descritto qui sotto è stato rifiutato dal gestore del destinatario perché contiene un virus: non è stato consegnato.", nil},
		wording{"Notice of non-delivery for a virus", "%s announces that the recipient's provider refused the message described below because it contains a virus: it was not delivered.", nil},
	},
	{TypeVirusDetection, formVirus}: {
		wording{"Avviso di rilevazione virus", "%s ha rilevato un virus nella busta di trasporto del messaggio descritto qui sotto, che non è stato inoltrato al destinatario.",
			[]string{"Al gestore del mittente spetta avvisare il mittente della mancata consegna."}},
		wording{"Notice of virus detection", "%s has found a virus in the transport envelope of the message described below, which was not forwarded to the recipient.",
			[]string{"It falls to the sender's provider to tell the sender of the non-delivery."}},
	},
	{TypeTimeoutWarning, string(FirstDeadline)}: {
		wording{"Avviso di mancata consegna: dodici ore", "%s comunica che nelle prime dodici ore dalla spedizione del messaggio descritto qui sotto il gestore del destinatario non ne ha né confermato la presa in carico né la consegna.",
			[]string{"Il messaggio può ancora essere consegnato. Se entro ventiquattro ore dalla spedizione non arriva la ricevuta di consegna, seguirà un secondo avviso."}},
		wording{"Notice of non-delivery: twelve hours", "%s announces that in the first twelve hours after the message described below was sent, the recipient's provider has confirmed neither that it took charge of it nor its delivery.",
			[]string{"The message may still be delivered. If no delivery receipt arrives within twenty-four hours from sending, a second notice follows."}},
	},
	{TypeTimeoutWarning, string(LastDeadline)}: {
		wording{"Avviso di mancata consegna: ventiquattro ore", "%s comunica che entro ventiquattro ore dalla spedizione del messaggio descritto qui sotto non è arrivata la ricevuta di consegna per il destinatario.",
			[]string{"La spedizione a questo destinatario si considera chiusa con esito negativo: questo gestore non ne attende più la ricevuta."}},
		wording{"Notice of non-delivery: twenty-four hours", "%s announces that within twenty-four hours after the message described below was sent no delivery receipt has arrived for the recipient.",
			[]string{"The transmission to this recipient is closed as failed: this provider waits for its receipt no longer."}},
	},
	{kind: TypeAnomaly}: {
		wording{"Anomalia nel messaggio", "%s ha ricevuto il messaggio descritto qui sotto, che non è un messaggio di posta certificata corretto, e lo trasmette in allegato.",
			[]string{"I dati qui sopra non sono certificati: provenienza e contenuto del messaggio allegato (postacert.eml) non sono garantiti da alcun gestore."}},
		wording{"Message anomaly", "%s has received the message described below, which is not a correct certified-mail message, and transmits it attached. The reasons are given in Italian.",
			[]string{"The data above are not certified: no provider vouches for the origin and the content of the attached message (postacert.eml)."}},
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
	date, hour, subject, sender, recipients, recipientOne, identifier, reason string
	certified, ordinary                                                       string
}

// recipient names one recipient and says of which kind it is; in an anomaly nothing is certified, so nothing is said.
func (l labels) recipient(kind Type, r Recipient) string {
	switch {
	case kind == TypeAnomaly:
		return r.Address
	case r.Certified:
		return fmt.Sprintf("%s (%s)", r.Address, l.certified)
	}
	return fmt.Sprintf("%s (%s)", r.Address, l.ordinary)
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
func pages(f form, c Certification, attached ReceiptKind, reasons []string) []page {
	w, notes := wordings[f], receiptNotes[attached]
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
		add(l.recipientOne, c.Delivery)
	default:
		var all []string
		for _, r := range c.Recipients {
			all = append(all, l.recipient(c.Type, r))
		}
		add(l.recipients, all...)
	}
	add(l.identifier, c.Identifier)
	add(l.reason, reasons...)
	return p
}

// textSize is more than most texts take.
const textSize = 2 << 10

// plainText renders pages as ISO-8859-1 with CRLF; a character outside it becomes a question mark (daticert.xml has it whole).
func plainText(pages []page) []byte {
	var b strings.Builder
	b.Grow(textSize)
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
	b.Grow(textSize)
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
	for i, r := range s {
		if r < utf8.RuneSelf {
			out = append(out, s[i])
		} else if r <= unicode.MaxLatin1 {
			out = append(out, byte(r))
		} else {
			out = append(out, other(r)...)
		}
	}
	return out
}

// humanPart is the first part of every document: plain text and HTML that say the same.
func humanPart(seed string, pages []page) (part, error) {
	edges, alternatives, err := layout([]part{textPart("text/plain", plainText(pages)), textPart("text/html", htmlText(pages))}, seed+" text")
	if err != nil {
		return part{}, err
	}
	return multipart("alternative", edges[0], alternatives), nil
}
