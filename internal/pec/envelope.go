package pec

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Envelope is [Signer.WriteEnvelope] in memory.
func (s *Signer) Envelope(p Provider, t Transit, o *Original, received []byte, at time.Time) ([]byte, error) {
	return collect(documentSize+o.Size(), func(w io.Writer) error { return s.WriteEnvelope(w, p, t, o, received, at) })
}

// WriteEnvelope writes the busta di trasporto (RFC 6109 3.1.5): a header of ours, the text, daticert.xml and the whole original
// with the PEC identifier. received is the block of Received fields that our Postfix put on top; it, To, Cc and Reply-To are
// inherited byte for byte. Return-Path is not: it is the last hop's to write. It takes no more memory for a larger original.
func (s *Signer) WriteEnvelope(w io.Writer, p Provider, t Transit, o *Original, received []byte, at time.Time) error {
	if err := checkTokens(t.Identifier, p.ServiceAddress, t.Sender); err != nil {
		return fmt.Errorf("building %s for %s: %w", TypeEnvelope, t.Identifier, err)
	}
	if t.Receipt == "" {
		t.Receipt = ReceiptFull
	}
	h := newHeader()
	inheritTrace(h, received, o)
	h.token("X-Trasporto", string(TypeEnvelope))
	h.date(at)
	h.text("Subject", subjects[form{kind: TypeEnvelope}], t.Subject)
	h.token("From", fmt.Sprintf("\"Per conto di: %s\" <%s>", t.Sender, p.ServiceAddress))
	if !inheritAddresses(h, o, "Reply-To") {
		h.token("Reply-To", t.Sender)
	}
	inheritAddresses(h, o, "To")
	inheritAddresses(h, o, "Cc")
	h.token("Message-ID", "<"+t.Identifier+">")
	if t.MessageID != "" {
		h.text("X-Riferimento-Message-ID", "", t.MessageID)
	}
	h.token("X-TipoRicevuta", string(t.Receipt))
	parts, err := bodyParts(form{kind: TypeEnvelope}, certify(p, t, TypeEnvelope, at), t.Identifier, "", nil)
	if err != nil {
		return err
	}
	return s.document(w, h, t.Identifier, append(parts, messagePart(o.certified(t.Identifier))), at)
}

// inheritTrace copies the Received fields, ours first. One that is not safe on the wire is left out: it cannot be carried
// unchanged, a changed one would be a trace that nobody wrote, and the original inside still has it.
func inheritTrace(h *headerWriter, received []byte, o *Original) {
	ours, _, _ := parseHeader(received) // what it could read; Postfix wrote it
	for _, fields := range []header{ours.all("Received"), o.header.all("Received")} {
		for _, f := range fields {
			if wireSafe(f.raw) {
				h.raw(f)
			}
		}
	}
}

// inheritAddresses copies the original's address field of that name and says whether there was one. A field with raw bytes
// above 127 or with lines too long cannot go into a 7-bit header as it is: it is written again with its names in RFC 2047,
// or bare if they cannot be read.
func inheritAddresses(h *headerWriter, o *Original, name string) bool {
	fields := o.header.all(name)
	if len(fields) == 0 || fields[0].value() == "" {
		return false
	}
	if wireSafe(fields[0].raw) {
		h.raw(fields[0])
		return true
	}
	list, err := mailboxes(fields[0].value())
	if err != nil || len(list) == 0 {
		return false
	}
	written := make([]string, len(list))
	for i, a := range list {
		if written[i] = a.String(); !shortLines([]byte(foldWords(written[i], 0))) {
			written[i] = "<" + a.Address + ">"
		}
	}
	h.WriteString(foldWords(name+": "+strings.Join(written, ", "), len(name)+1) + "\r\n")
	return true
}
