package pec

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// foldAt is the line length that headers are folded at (RFC 5322 2.1.1).
const foldAt = 76

// headerWriter writes a header section. Every value passes through raw (checked by its caller to be safe on the wire), token
// (ours or validated) or text (anything): no fourth way exists for a CR or LF to come in.
type headerWriter struct{ bytes.Buffer }

func newHeader() *headerWriter {
	w := &headerWriter{}
	w.Grow(2 << 10) // most are smaller
	return w
}

func (w *headerWriter) raw(f field) { w.Write(f.raw) }

// token writes a value that cannot need folding or encoding.
func (w *headerWriter) token(name, value string) {
	for _, s := range []string{name, ": ", cleanText(value), "\r\n"} {
		w.WriteString(s)
	}
}

func (w *headerWriter) date(at time.Time) {
	w.token("Date", at.In(rome).Format(time.RFC1123Z))
}

// text writes unstructured text behind a prefix of ours: as it is if that is ASCII and can be folded, in RFC 2047 words if not.
func (w *headerWriter) text(name, prefix, text string) {
	text = cleanText(text)
	if folded := foldWords(name+": "+prefix+text, len(name)+1); isPlain(text) && shortLines([]byte(folded)) {
		w.WriteString(folded + "\r\n")
		return
	}
	w.WriteString(strings.TrimSuffix(name+": "+prefix, " "))
	for i, word := range encodeWords(text) {
		if i > 0 || prefix != "" {
			w.WriteString("\r\n")
		}
		w.WriteString(" " + word)
	}
	w.WriteString("\r\n")
}

// isPlain says that a reader shows the text as it is: printable ASCII, and nothing that looks like an RFC 2047 word.
func isPlain(text string) bool {
	return isASCII([]byte(text)) && !strings.Contains(text, "=?")
}

// foldWords folds in front of blanks, behind the first `from` bytes; a line never holds blanks only.
func foldWords(line string, from int) string {
	var b strings.Builder
	width := 0
	for i, word := range strings.Split(line, " ") {
		if i > 0 {
			if word != "" && b.Len() > from && width+1+len(word) > foldAt {
				b.WriteString("\r\n")
				width = 0
			}
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += len(word)
	}
	return b.String()
}

// encodeWords encodes text as RFC 2047 words of at most 75 bytes that never cut a character.
func encodeWords(text string) []string {
	const most = 45 // bytes: 60 in base64, 72 with the frame
	var out []string
	for len(text) > 0 {
		n := min(most, len(text))
		for n < len(text) && !utf8.RuneStart(text[n]) {
			n--
		}
		out = append(out, "=?UTF-8?B?"+base64.StdEncoding.EncodeToString([]byte(text[:n]))+"?=")
		text = text[n:]
	}
	return out
}

// part is one body part: the header lines that describe it, and its encoded content.
type part struct {
	header  string
	body    io.WriterTo
	message bool // a whole message: header and encoding are chosen when it has been looked at
}

// namedPart describes an attachment as real providers do: the name twice, shown inline.
func namedPart(media, name, encoding string, body io.WriterTo) part {
	return part{header: fmt.Sprintf("Content-Type: %s; name=\"%s\"\r\nContent-Transfer-Encoding: %s\r\nContent-Disposition: inline; filename=\"%s\"\r\n",
		media, name, encoding, name), body: body}
}

// messagePart carries a whole message.
func messagePart(message io.WriterTo) part { return part{body: message, message: true} }

// encoded chooses how a message is carried. One that could be changed on its way (bytes above 127, NUL, lone CR or LF, or lines
// that the next hop may break at 998) goes in base64, though RFC 2046 5.2.1 wants message/rfc822 unencoded: a changed byte
// would break the signature, and re-coding the message itself would no longer be the sender's message.
func (p part) encoded(safe bool) part {
	if safe {
		return namedPart("message/rfc822", "postacert.eml", "7bit", p.body)
	}
	return namedPart("message/rfc822", "postacert.eml", "base64", inBase64{p.body})
}

// textPart is text that is already ISO-8859-1 bytes.
func textPart(media string, latin1 []byte) part {
	var b bytes.Buffer
	b.Grow(len(latin1) * 5 / 4)
	q := quotedprintable.NewWriter(&b)
	q.Write(latin1) //nolint:errcheck // a bytes.Buffer takes every write
	q.Close()       //nolint:errcheck // as above
	return part{header: fmt.Sprintf("Content-Type: %s; charset=\"iso-8859-1\"\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Disposition: inline\r\n", media),
		body: flat(b.Bytes())}
}

// layout looks at all parts once, encodes the messages among them and finds a boundary for each seed that occurs in none.
// Boundaries derive from what the document is about, so that the same event makes the same bytes; a part that holds one by
// chance or on purpose only makes it choose the next.
func layout(parts []part, seeds ...string) (edges []string, ready []part, err error) {
	edges, ready = make([]string, len(seeds)), make([]part, len(parts))
	for n := 0; ; n++ {
		for i, seed := range seeds {
			edges[i] = "pec-" + digest("boundary", seed, strconv.Itoa(n))
		}
		taken := false
		for i, p := range parts {
			s := &scanner{edges: edges}
			if _, err := p.body.WriteTo(s); err != nil {
				return nil, nil, err
			}
			if ready[i] = p; p.message {
				ready[i] = p.encoded(s.safe())
			}
			taken = taken || s.found && (s.safe() || !p.message) // base64 holds none
		}
		if !taken {
			return edges, ready, nil
		}
	}
}

// multipart is the entity of parts between boundaries, the last without a line end behind it. No transfer encoding is
// declared, though real providers write "binary": everything inside is 7 bit, and a relay that believes "binary" re-codes
// what it hands to a server without 8BITMIME, and breaks the signature.
func multipart(subtype, edge string, parts []part) part {
	body := make(joined, 0, 2*len(parts)+1)
	before := "--"
	for _, p := range parts {
		body = append(body, flat(before+edge+"\r\n"+p.header+"\r\n"), p.body)
		before = "\r\n--"
	}
	return part{header: "Content-Type: multipart/" + subtype + "; boundary=\"" + edge + "\"\r\n", body: append(body, flat("\r\n--"+edge+"--"))}
}

// writers are the buffers of documents: a notice is smaller than its buffer, which would be most of what it asks of the heap.
var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, pieceSize) }}

// document writes and signs parts under a header that has everything but the MIME fields: multipart/signed around
// multipart/mixed. It hashes what it writes, so that its memory does not grow with the parts. After an error what was written
// is no document.
func (s *Signer) document(w io.Writer, h *headerWriter, seed string, parts []part, at time.Time) error {
	edges, parts, err := layout(parts, seed+" signed", seed+" mixed")
	if err != nil {
		return err
	}
	signed, mixed := edges[0], edges[1]
	out := writers.Get().(*bufio.Writer) // keeps the first error, and Flush gives it back
	defer writers.Put(out)
	out.Reset(w)
	out.Write(h.Bytes()) //nolint:errcheck // as above
	fmt.Fprintf(out, "MIME-Version: 1.0\r\nContent-Type: multipart/signed; protocol=\"application/pkcs7-signature\";\r\n micalg=sha-256; boundary=\"%s\"\r\n\r\n--%s\r\n", signed, signed)
	hash := sha256.New()
	content := multipart("mixed", mixed, parts)
	if _, err := (joined{flat(content.header + "\r\n"), content.body}).WriteTo(io.MultiWriter(out, hash)); err != nil {
		return err
	}
	signature, err := s.sign(hash.Sum(nil), at)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\r\n--%s\r\nContent-Type: application/pkcs7-signature; name=\"smime.p7s\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"smime.p7s\"\r\n\r\n", signed)
	if _, err := (inBase64{flat(signature)}).WriteTo(out); err != nil {
		return err
	}
	fmt.Fprintf(out, "\r\n--%s--\r\n", signed)
	return out.Flush()
}
