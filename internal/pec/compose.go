package pec

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"time"
	"unicode/utf8"
)

// foldAt is the line length that headers are folded at (RFC 5322 2.1.1).
const foldAt = 76

// headerWriter writes a header section. Every value passes through raw (checked by its caller to be safe on the wire), token
// (ours or validated) or text (anything): no fourth way exists for a CR or LF to come in.
type headerWriter struct{ bytes.Buffer }

func (w *headerWriter) raw(f field) { w.Write(f.raw) }

// token writes a value that cannot need folding or encoding.
func (w *headerWriter) token(name, value string) {
	fmt.Fprintf(w, "%s: %s\r\n", name, cleanText(value))
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

// part is one body part: the header lines that describe it and its encoded bytes.
type part struct {
	header string
	body   []byte
}

// namedPart describes an attachment as real providers do: the name twice, shown inline.
func namedPart(media, name, encoding string, body []byte) part {
	return part{header: fmt.Sprintf("Content-Type: %s; name=\"%s\"\r\nContent-Transfer-Encoding: %s\r\nContent-Disposition: inline; filename=\"%s\"\r\n",
		media, name, encoding, name), body: body}
}

// messagePart carries a whole message. One that could be changed on its way (bytes above 127, NUL, lone CR or LF, or lines
// that the next hop may break at 998) goes in base64, though RFC 2046 5.2.1 wants message/rfc822 unencoded: a changed byte
// would break the signature, and re-coding the message itself would no longer be the sender's message.
func messagePart(message []byte) part {
	encoding := "7bit"
	if !wireSafe(message) {
		encoding, message = "base64", encodeBase64(message)
	}
	return namedPart("message/rfc822", "postacert.eml", encoding, message)
}

// textPart is text that is already ISO-8859-1 bytes.
func textPart(media string, latin1 []byte) part {
	var b bytes.Buffer
	q := quotedprintable.NewWriter(&b)
	q.Write(latin1) //nolint:errcheck // a bytes.Buffer takes every write
	q.Close()       //nolint:errcheck // as above
	return part{header: fmt.Sprintf("Content-Type: %s; charset=\"iso-8859-1\"\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Disposition: inline\r\n", media),
		body: b.Bytes()}
}

// encodeBase64 encodes in lines of 76, without a final line end.
func encodeBase64(raw []byte) []byte {
	const perLine = 57
	out := make([]byte, 0, base64.StdEncoding.EncodedLen(len(raw))+2*(len(raw)/perLine+1))
	for len(raw) > perLine {
		out = base64.StdEncoding.AppendEncode(out, raw[:perLine])
		out = append(out, crlf...)
		raw = raw[perLine:]
	}
	return base64.StdEncoding.AppendEncode(out, raw)
}

// multipart writes the entity: parts between boundaries, the last without a line end behind it. No transfer encoding is
// declared, though real providers write "binary": everything inside is 7 bit, and a relay that believes "binary" re-codes
// what it hands to a server without 8BITMIME, and breaks the signature.
func multipart(w io.Writer, subtype, seed string, parts []part) {
	edge := boundary(seed, parts)
	fmt.Fprintf(w, "Content-Type: multipart/%s; boundary=\"%s\"\r\n", subtype, edge)
	for _, p := range parts {
		fmt.Fprintf(w, "\r\n--%s\r\n%s\r\n", edge, p.header)
		w.Write(p.body) //nolint:errcheck // every caller hands in a bytes.Buffer
	}
	fmt.Fprintf(w, "\r\n--%s--", edge)
}

// boundary derives from what the document is about, so that the same event makes the same bytes; a part that holds it by
// chance or on purpose only makes it choose the next.
func boundary(seed string, parts []part) string {
	for n := 0; ; n++ {
		b := "pec-" + digest("boundary", seed, fmt.Sprint(n))
		taken := false
		for _, p := range parts {
			taken = taken || bytes.Contains(p.body, []byte(b))
		}
		if !taken {
			return b
		}
	}
}

// document signs parts under a header that has everything but the MIME fields: multipart/signed around multipart/mixed.
func (s *Signer) document(h *headerWriter, seed string, parts []part, at time.Time) ([]byte, error) {
	size := h.Len() + 16<<10
	for _, p := range parts {
		size += len(p.body) + len(p.header) + 128
	}
	out := bytes.NewBuffer(make([]byte, 0, size))
	edge := boundary(seed+" signed", parts)
	out.Write(h.Bytes())
	fmt.Fprintf(out, "MIME-Version: 1.0\r\nContent-Type: multipart/signed; protocol=\"application/pkcs7-signature\";\r\n micalg=sha-256; boundary=\"%s\"\r\n\r\n--%s\r\n", edge, edge)
	start := out.Len()
	multipart(out, "mixed", seed+" mixed", parts)
	signature, err := s.sign(out.Bytes()[start:], at)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "\r\n--%s\r\nContent-Type: application/pkcs7-signature; name=\"smime.p7s\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"smime.p7s\"\r\n\r\n", edge)
	out.Write(encodeBase64(signature))
	fmt.Fprintf(out, "\r\n--%s--\r\n", edge)
	return out.Bytes(), nil
}
