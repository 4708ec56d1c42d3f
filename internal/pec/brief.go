package pec

import (
	"crypto/sha1" //nolint:gosec // the rules name SHA-1 for the hashes of a brief receipt
	"fmt"
	"io"
	"mime"
	"strings"
)

// brief makes the copy of a message that a brief receipt carries (RFC 6109 3.3.2.2): each attachment, a part with a name or
// of type message/rfc822, is replaced by a text part with the SHA-1 of its encoded bytes, in hexadecimal, named after it with
// ".hash" added. Of a signed message only the first part is treated; a message that is one CMS object (encrypted, or signed
// with its content inside) is left whole, while a part of that type is an attachment like any other.
// What cannot be taken apart stays as it is: too much in a receipt is harmless, a lost part is not.
// The copy is made of pieces of the message itself, and holds none of its bytes a second time.
func brief(message []byte) io.WriterTo {
	var out joined
	briefEntity(&out, message, 0)
	return out
}

func briefEntity(out *joined, raw []byte, depth int) {
	e, err := parseEntity(raw)
	switch {
	case err != nil, depth > maxNesting, depth == 0 && isCMS(e.media):
		out.add(raw)
	case strings.HasPrefix(e.media, "multipart/"):
		briefMultipart(out, raw, e, depth)
	case e.header.fileName() != "" || e.media == "message/rfc822":
		briefAttachment(out, e)
	default:
		out.add(raw)
	}
}

func isCMS(media string) bool {
	return media == "application/pkcs7-mime" || media == "application/x-pkcs7-mime"
}

// briefMultipart copies everything between the parts as it is.
func briefMultipart(out *joined, raw []byte, e entity, depth int) {
	c, err := cutMultipart(e.body, e.params["boundary"])
	if err != nil || e.params["boundary"] == "" {
		out.add(raw)
		return
	}
	out.add(raw[:len(raw)-len(e.body)])
	copied := 0
	for i, p := range c.parts {
		if e.media == "multipart/signed" && i > 0 {
			break
		}
		out.add(e.body[copied:c.starts[i]])
		briefEntity(out, p, depth+1)
		copied = c.starts[i] + len(p)
	}
	out.add(e.body[copied:])
}

// briefAttachment keeps the fields of a part that do not describe its content: at the top they are the message's own header.
func briefAttachment(out *joined, e entity) {
	name := e.header.fileName()
	if name == "" {
		name = "messaggio.eml"
	}
	name += ".hash"
	for _, f := range e.header {
		if !strings.HasPrefix(strings.ToLower(f.name()), "content-") {
			out.add(f.raw)
		}
	}
	out.add(fmt.Appendf(nil, "Content-Type: %s\r\nContent-Transfer-Encoding: 7bit\r\nContent-Disposition: %s\r\n\r\n",
		foldParameters("text/plain", map[string]string{"charset": "us-ascii", "name": name}),
		foldParameters("attachment", map[string]string{"filename": name})))
	out.add(fmt.Appendf(nil, "%x", sha1.Sum(e.body))) //nolint:gosec // as above
}

// foldParameters writes parameters, RFC 2231 for what is not ASCII, each on its own line.
func foldParameters(media string, params map[string]string) string {
	return strings.ReplaceAll(mime.FormatMediaType(media, params), "; ", ";\r\n ")
}
