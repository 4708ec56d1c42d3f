package pec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
)

// Bounds of one header section. A header of a hundred thousand addresses has kept mail servers busy for minutes; a real one
// with a thousand recipients stays below a tenth of these.
const (
	maxHeaderBytes  = 512 << 10
	maxHeaderFields = 1000
	maxLine         = 998 // RFC 5322 2.1.1, without CRLF
)

var crlf = []byte("\r\n")

// field is one header field as it came: its own slice of the message, folding and final CRLF included.
type field struct {
	raw   []byte
	start int // of raw in the message
	colon int // in raw
}

func (f field) name() string     { return strings.TrimRight(string(f.raw[:f.colon]), " \t") }
func (f field) rawValue() []byte { return f.raw[f.colon+1:] } // with its CRLF
func (f field) is(name string) bool {
	return strings.EqualFold(f.name(), name)
}

// value is the unfolded value without surrounding blanks; bytes stay as they are.
func (f field) value() string {
	v := bytes.ReplaceAll(f.rawValue(), crlf, nil)
	return string(bytes.Trim(v, " \t"))
}

// header is a message's or a part's header section.
type header []field

var (
	errHeaderSize  = fmt.Errorf("header section exceeds %d bytes or %d fields", maxHeaderBytes, maxHeaderFields)
	errHeaderShape = errors.New("header section holds a line that is neither a field nor a continuation")
	errHeaderBytes = errors.New("header section holds a NUL, a lone CR or a lone LF")
)

// parseHeader cuts a header section off raw: its fields and the offset of the body, behind the empty line. Lines end with
// CRLF and with nothing else: readers that disagree on where a line ends see two different messages.
// With an error the fields read so far are still returned.
func parseHeader(raw []byte) (h header, body int, err error) {
	end := headerEnd(raw)
	if end > maxHeaderBytes {
		return nil, 0, errHeaderSize
	}
	body = min(end+len(crlf), len(raw))
	for start, n := 0, 0; start < end; start += n {
		n = fieldLength(raw[start:end])
		line := raw[start : start+n]
		colon := bytes.IndexByte(line, ':')
		if colon < 0 || !isFieldName(line[:colon]) {
			err = errHeaderShape
			continue
		}
		if len(h) == maxHeaderFields {
			return h, body, errHeaderSize
		}
		h = append(h, field{raw: line, start: start, colon: colon})
	}
	if err == nil && !cleanLines(raw[:end]) {
		err = errHeaderBytes
	}
	return h, body, err
}

// headerEnd is the offset of the empty line that ends the header section, len(raw) if there is none.
func headerEnd(raw []byte) int {
	if bytes.HasPrefix(raw, crlf) {
		return 0
	}
	if i := bytes.Index(raw, []byte("\r\n\r\n")); i >= 0 {
		return i + len(crlf)
	}
	return len(raw)
}

// fieldLength is the length of the first line of section and its continuations.
func fieldLength(section []byte) int {
	for n := 0; ; {
		i := bytes.Index(section[n:], crlf)
		if i < 0 {
			return len(section)
		}
		n += i + len(crlf)
		if n == len(section) || (section[n] != ' ' && section[n] != '\t') {
			return n
		}
	}
}

func isFieldName(b []byte) bool {
	b = bytes.TrimRight(b, " \t")
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(b) > 0
}

// cleanLines says that CR and LF occur only together, and NUL not at all.
func cleanLines(b []byte) bool {
	pairs := bytes.Count(b, crlf)
	return bytes.Count(b, crlf[:1]) == pairs && bytes.Count(b, crlf[1:]) == pairs && bytes.IndexByte(b, 0) < 0
}

// shortLines says that no line is longer than RFC 5322 allows.
func shortLines(b []byte) bool {
	for {
		i := bytes.Index(b, crlf)
		if i < 0 {
			return len(b) <= maxLine
		}
		if i > maxLine {
			return false
		}
		b = b[i+len(crlf):]
	}
}

func isASCII(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.NativeEndian.Uint64(b)&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func (h header) all(name string) []field {
	var found []field
	for _, f := range h {
		if f.is(name) {
			found = append(found, f)
		}
	}
	return found
}

// get is the value of the first field of that name, "" if there is none.
func (h header) get(name string) string {
	for _, f := range h {
		if f.is(name) {
			return f.value()
		}
	}
	return ""
}

// only is the value of the single field of that name; ok is false if there is none or more than one.
func (h header) only(name string) (value string, ok bool) {
	found := h.all(name)
	if len(found) != 1 {
		return "", false
	}
	return found[0].value(), true
}

// mediaType is the content type of a part; text/plain if there is none, "" if it is doubled or unreadable, because what one
// reader takes for an attachment must not be text for another.
func (h header) mediaType() (media string, params map[string]string) {
	switch found := h.all("Content-Type"); len(found) {
	case 0:
		return "text/plain", nil
	case 1:
		media, params, err := mime.ParseMediaType(found[0].value())
		if err != nil {
			return "", nil
		}
		return media, params
	}
	return "", nil
}

// fileName is the name that a part's header gives its content, decoded, "" if none.
func (h header) fileName() string {
	for _, name := range h.fileNames() {
		if name != "" {
			return name
		}
	}
	return ""
}

// fileNames are the name in Content-Disposition and the one in Content-Type: readers differ in which they show.
func (h header) fileNames() [2]string {
	var disposition map[string]string
	if _, params, err := mime.ParseMediaType(h.get("Content-Disposition")); err == nil {
		disposition = params
	}
	_, params := h.mediaType()
	return [2]string{decodeText(disposition["filename"]), decodeText(params["name"])}
}

// words decodes RFC 2047 in every charset that browsers know; an unknown one is read as Windows-1252 and not refused, because
// net/mail would refuse a whole address list for one such name.
var words = mime.WordDecoder{CharsetReader: func(charset string, input io.Reader) (io.Reader, error) {
	enc, err := htmlindex.Get(charset)
	if err != nil {
		enc = charmap.Windows1252
	}
	return enc.NewDecoder().Reader(input), nil
}}

// decodeText decodes an unstructured header value: RFC 2047 words, and raw bytes above 127 as UTF-8 or else Windows-1252.
// Nothing in the result can end a line: a subject that decodes to CR LF must not become a header of ours.
func decodeText(value string) string {
	value = toUTF8(value)
	if decoded, err := words.DecodeHeader(value); err == nil {
		value = decoded
	}
	return cleanText(value)
}

func toUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	decoded, err := charmap.Windows1252.NewDecoder().String(s)
	if err != nil {
		return strings.ToValidUTF8(s, "?")
	}
	return decoded
}

// cleanText makes each control character, line separator and byte that is no UTF-8 harmless.
func cleanText(s string) string {
	if isPrintable(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		}
		return r
	}, s)
}

// isPrintable says that text is printable ASCII, as most is.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// parseAddresses reads an address list (RFC 5322 3.4) to bare addresses with lower-case domains. Only the form that PEC
// knows is accepted, dot-atom at domain name: all else could smuggle syntax into the headers that we write.
func parseAddresses(value string) ([]string, error) {
	list, err := mailboxes(value)
	if err != nil {
		return nil, err
	}
	bare := make([]string, 0, len(list))
	for _, a := range list {
		bare = append(bare, lowerDomain(a.Address))
	}
	return bare, nil
}

// mailboxes are the addresses of a list with their names.
func mailboxes(value string) ([]*mail.Address, error) {
	parser := mail.AddressParser{WordDecoder: &words}
	list, err := parser.ParseList(cleanText(toUTF8(value)))
	if err != nil {
		return nil, fmt.Errorf("reading an address list: %w", err)
	}
	for _, a := range list {
		if !IsAddress(a.Address) {
			return nil, fmt.Errorf("reading an address list: %q is not a mail address", a.Address)
		}
		a.Name = cleanText(a.Name)
	}
	return list, nil
}

func lowerDomain(address string) string {
	at := strings.LastIndexByte(address, '@')
	return address[:at+1] + strings.ToLower(address[at+1:])
}

// isMessageID says that s, without brackets, can stand in a header as a Message-ID: dot-atoms around an @.
func isMessageID(s string) bool {
	left, right, ok := strings.Cut(s, "@")
	return ok && len(s) <= 254 && dotted(left, isAtomByte) && dotted(right, isAtomByte)
}

// IsAddress says that s is a dot-atom, an @ and a domain name, at most 254 bytes (RFC 5321 4.5.3.1).
func IsAddress(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return ok && len(s) <= 254 && dotted(local, isAtomByte) && dotted(domain, isDomainByte)
}

func dotted(s string, allowed func(byte) bool) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return false
		}
		for i := range len(label) {
			if !allowed(label[i]) {
				return false
			}
		}
	}
	return true
}

func isAtomByte(c byte) bool {
	return isDomainByte(c) || strings.IndexByte("!#$%&'*+/=?^_`{|}~", c) >= 0
}

func isDomainByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-'
}
