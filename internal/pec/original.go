package pec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Original is the message as a client submitted it. It holds the header in memory; the rest is read where it is, as often as
// it is needed, and must not change meanwhile.
type Original struct {
	// From, To, Cc and Bcc are bare addresses with lower-case domains; empty if absent or unreadable.
	From, To, Cc, Bcc []string
	Subject           string      // decoded
	MessageID         string      // with angle brackets, as the client wrote it; "" if none
	ReplyTo           string      // bare addresses, comma between; "" if none
	Receipt           ReceiptKind // of X-TipoRicevuta; whole if absent or unknown

	whole   *io.SectionReader
	head    []byte // the header section, without the empty line that ends it
	header  header
	defects []string // Italian; what keeps the header from being read in one way only
}

var errNoLineEnd = errors.New("reading the original: its header does not end with CRLF")

// ParseOriginal is [ReadOriginal] in memory.
func ParseOriginal(raw []byte) (*Original, error) { return ReadOriginal(sectionOf(raw)) }

// ReadOriginal reads the message as the access point received it, CRLF line ends, without the Received field that our own
// Postfix put on top. A badly formed header is not an error here but a finding of [CheckFormal], because the sender must be
// told by a notice; an error is a header beyond all bounds, or bytes that did not come over SMTP. It also reads the message out
// of a received envelope (for [Original.CopyOnly]), whose last line may lack its end.
func ReadOriginal(whole *io.SectionReader) (*Original, error) {
	section, err := readHeaderSection(whole)
	if err != nil {
		return nil, fmt.Errorf("reading the original: %w", err)
	}
	if headerEnd(section) == len(section) && !bytes.HasSuffix(section, crlf) {
		return nil, errNoLineEnd
	}
	h, _, err := parseHeader(section)
	if errors.Is(err, errHeaderSize) {
		return nil, fmt.Errorf("reading the original: %w", err)
	}
	o := &Original{whole: whole, head: section[:headerEnd(section)], header: h}
	if err != nil {
		o.defects = append(o.defects, "L'intestazione del messaggio contiene righe o caratteri non ammessi.")
	}
	for _, name := range []string{"From", "To", "Cc", "Bcc", "Reply-To", "Subject", "Message-ID", "Date"} {
		if len(h.all(name)) > 1 {
			o.defects = append(o.defects, fmt.Sprintf("Il campo %s compare più di una volta.", name))
		}
	}
	o.From, o.To = o.addresses("From"), o.addresses("To")
	o.Cc, o.Bcc = o.addresses("Cc"), o.addresses("Bcc")
	o.ReplyTo = strings.Join(o.addresses("Reply-To"), ", ")
	o.Subject = decodeText(h.get("Subject"))
	o.MessageID = cleanText(toUTF8(h.get("Message-ID")))
	o.Receipt = receiptKind(h.get("X-TipoRicevuta"))
	return o, nil
}

// addresses reads the address field of that name; what cannot be read is a defect.
func (o *Original) addresses(name string) []string {
	value := o.header.get(name)
	if value == "" {
		return nil
	}
	list, err := parseAddresses(value)
	if err != nil {
		o.defects = append(o.defects, fmt.Sprintf("Il campo %s contiene un indirizzo non valido.", name))
	}
	return list
}

func receiptKind(value string) ReceiptKind {
	kind := ReceiptKind(strings.ToLower(value))
	if slices.Contains(allReceipts, kind) {
		return kind
	}
	return ReceiptFull
}

// readHeaderSection reads as far as the empty line that ends the header, piece by piece; the message may be large.
func readHeaderSection(r *io.SectionReader) ([]byte, error) {
	const piece = pieceSize / 4
	var read []byte
	for {
		start := len(read)
		read = append(read, make([]byte, min(piece, r.Size()-int64(start)))...)
		if n, err := r.ReadAt(read[start:], int64(start)); n < len(read)-start {
			return nil, err
		}
		if end := headerEnd(read); end < len(read) {
			return read[:min(end+len(crlf), len(read))], nil
		}
		if int64(len(read)) == r.Size() {
			return read, nil
		}
		if len(read) > maxHeaderBytes {
			return nil, errHeaderSize
		}
	}
}

// Size is that of the message in bytes.
func (o *Original) Size() int64 { return o.whole.Size() }

// Transit gathers the facts of the certified message. Sender and recipients are those of the SMTP transaction (RFC 6109 2.1);
// certified answers whether a domain is in the providers' index.
func (o *Original) Transit(identifier, mailFrom string, rcpts []string, certified func(domain string) bool) Transit {
	t := Transit{
		Identifier: identifier, MessageID: o.MessageID, Sender: mailFrom,
		ReplyTo: o.ReplyTo, Subject: o.Subject, Receipt: o.Receipt,
	}
	for _, r := range rcpts {
		t.Recipients = append(t.Recipients, Recipient{Address: r, Certified: certified(domainOf(r))})
	}
	return t
}

// CopyOnly says that an address is in Cc and not in To: such a recipient always gets the concise delivery receipt. In doubt a
// recipient is a primary one (RFC 6109 3.3.2), so also where a field is doubled or cannot be read.
func (o *Original) CopyOnly(address string) bool {
	to, cc := o.header.all("To"), o.header.all("Cc")
	unclear := len(to) > 1 || len(cc) > 1 || (len(o.To) == 0 && o.header.get("To") != "")
	return !unclear && containsAddress(o.Cc, address) && !containsAddress(o.To, address)
}

func containsAddress(list []string, address string) bool {
	return slices.ContainsFunc(list, func(a string) bool { return strings.EqualFold(a, address) })
}

// certified is the message as it goes into the envelope (postacert.eml): Message-ID is the PEC identifier, in the place of the
// client's own or as a new last field; the client's own value, byte for byte, is in X-Riferimento-Message-ID, the last field.
// Nothing else differs, neither folding nor line ends, so that the original can be had back whole.
func (o *Original) certified(identifier string) io.WriterTo {
	out := bytes.NewBuffer(make([]byte, 0, len(o.head)+len(identifier)+256))
	ids := o.header.all("Message-ID")
	if len(ids) == 0 {
		out.Write(o.head)
		fmt.Fprintf(out, "Message-ID: <%s>\r\n", identifier)
	} else {
		client := ids[0]
		out.Write(o.head[:client.start+client.colon])
		fmt.Fprintf(out, ": <%s>\r\n", identifier)
		out.Write(o.head[client.start+len(client.raw):])
		out.WriteString("X-Riferimento-Message-ID:")
		out.Write(client.rawValue())
	}
	start := int64(len(o.head))
	return joined{flat(out.Bytes()), section{io.NewSectionReader(o.whole, start, o.whole.Size()-start)}}
}
