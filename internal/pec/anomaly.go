package pec

import (
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"time"
)

// Anomaly is [Signer.WriteAnomaly] in memory.
func (s *Signer) Anomaly(p Provider, o *Original, received []byte, mailFrom string, rcpts []string, reasons []string, at time.Time) ([]byte, error) {
	return collect(documentSize+o.Size(), func(w io.Writer) error { return s.WriteAnomaly(w, p, o, received, mailFrom, rcpts, reasons, at) })
}

// WriteAnomaly writes the busta di anomalia (RFC 6109 3.2.2): what arrived and is no correct certified message, wrapped so that
// the reader sees that nobody certifies it. It has no daticert.xml and no part but the text and the message; Message-ID, To and
// Cc are those of the message. received is the block of Received fields that our Postfix put on top, reasons are those of
// [Judgement.Errors]. mailFrom may be empty: then it came as a bounce. It takes no more memory for a larger message.
func (s *Signer) WriteAnomaly(w io.Writer, p Provider, o *Original, received []byte, mailFrom string, rcpts []string, reasons []string, at time.Time) error {
	if !IsAddress(p.ServiceAddress) {
		return fmt.Errorf("building %s: %q is not a mail address", TypeAnomaly, p.ServiceAddress)
	}
	sender := anomalySender(mailFrom, o)
	h := newHeader()
	inheritTrace(h, received, o)
	h.token("X-Trasporto", "errore")
	h.date(at)
	f := form{kind: TypeAnomaly}
	h.text("Subject", subjects[f], o.Subject)
	h.token("From", fmt.Sprintf("\"Per conto di: %s\" <%s>", orUnknown(sender), p.ServiceAddress))
	if !inheritAddresses(h, o, "Reply-To") && sender != "" {
		h.token("Reply-To", sender)
	}
	inheritAddresses(h, o, "To")
	inheritAddresses(h, o, "Cc")
	if id := o.header.all("Message-ID"); len(id) == 1 && wireSafe(id[0].raw) {
		h.raw(id[0])
	}
	c := certify(p, Transit{Sender: orUnknown(sender), Subject: o.Subject}, TypeAnomaly, at)
	for _, r := range rcpts {
		c.Recipients = append(c.Recipients, Recipient{Address: r})
	}
	seed := fmt.Sprint("anomaly ", o.MessageID, mailFrom, at.Unix())
	text, err := humanPart(seed, pages(f, c, "", reasons))
	if err != nil {
		return err
	}
	return s.document(w, h, seed, []part{text, messagePart(section{o.whole})}, at)
}

// AnomalySize is more, by some kilobytes, than the busta di anomalia around a message takes in a mailbox: what could be changed on its way
// goes in base64 there. What the envelope copies of the header, and shows of it in its texts, is taken to be no more than twice the header.
// Each recipient of the transaction stands four times in the texts, whether the header names him or not.
func AnomalySize(raw []byte, rcpts []string) (int64, error) {
	o, err := ParseOriginal(raw)
	if err != nil {
		return 0, err
	}
	size := o.Size()
	if !wireSafe(raw) {
		size = (size/base64Line + 1) * int64(base64.StdEncoding.EncodedLen(base64Line)+len(crlf))
	}
	for _, r := range rcpts {
		size += 4*int64(len(html.EscapeString(r))) + 24
	}
	return size + 2*int64(len(o.head)) + 2*documentSize, nil
}

// anomalySender is who the message says it is from, "" if it says nothing that can stand in a header.
func anomalySender(mailFrom string, o *Original) string {
	for _, address := range append([]string{mailFrom}, o.From...) {
		if IsAddress(address) {
			return address
		}
	}
	return ""
}

func orUnknown(sender string) string {
	if sender == "" {
		return "mittente non indicato"
	}
	return sender
}
