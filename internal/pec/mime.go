package pec

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
)

// Bounds of a MIME structure that we take apart.
const (
	maxParts   = 1000
	maxNesting = 50
)

// cut is a multipart body in its own raw bytes.
type cut struct {
	parts    [][]byte // without the line end that belongs to the next boundary
	starts   []int    // where each begins in the body
	epilogue []byte   // behind the closing boundary, nil if that is missing
}

var errMultipart = errors.New("a multipart body is not closed, or has no or too many parts")

// cutMultipart cuts a multipart body at its boundary lines (RFC 2046 5.1.1). It never decodes or re-joins: a signature covers
// the raw bytes, and a reader that decodes on the way (as mime/multipart does) judges other bytes than the signer signed.
func cutMultipart(body []byte, edge string) (cut, error) {
	var c cut
	open := -1
	for at := 0; at < len(body); {
		i := bytes.Index(body[at:], []byte("--"+edge))
		if i < 0 {
			break
		}
		line := at + i
		next, final, ok := boundaryLine(body, line, len(edge)+2)
		at = next
		if !ok {
			continue
		}
		if open >= 0 {
			c.parts = append(c.parts, body[open:max(open, line-len(crlf))])
			c.starts = append(c.starts, open)
		}
		if final && open >= 0 {
			c.epilogue = body[next:]
			return c, nil
		}
		if open = next; len(c.parts) == maxParts || final {
			break
		}
	}
	return c, errMultipart
}

// boundaryLine judges "--edge" at offset line: it must begin a line, and only "--" and blanks may follow. next is where to go
// on reading.
func boundaryLine(body []byte, line, length int) (next int, final, ok bool) {
	rest := body[line+length:]
	next = line + length
	if line > 0 && !bytes.HasSuffix(body[:line], crlf) {
		return next, false, false
	}
	if bytes.HasPrefix(rest, []byte("--")) {
		final, rest = true, rest[2:]
	}
	end := bytes.Index(rest, crlf)
	if end < 0 {
		end = len(rest)
	}
	if len(bytes.Trim(rest[:end], " \t")) > 0 || (end == len(rest) && !final) {
		return next, false, false
	}
	return min(len(body)-len(rest)+end+len(crlf), len(body)), final, true
}

// entity is a part with its header read.
type entity struct {
	header header
	body   []byte // still encoded
	media  string
	params map[string]string
}

func parseEntity(raw []byte) (entity, error) {
	h, body, err := parseHeader(raw)
	if err != nil {
		return entity{}, fmt.Errorf("reading a part: %w", err)
	}
	e := entity{header: h, body: raw[body:]}
	e.media, e.params = h.mediaType()
	return e, nil
}

// entities are the parts of a multipart entity, one level deep.
func (e entity) entities() ([]entity, cut, error) {
	c, err := cutMultipart(e.body, e.params["boundary"])
	if err != nil || e.params["boundary"] == "" {
		return nil, c, errMultipart
	}
	list := make([]entity, len(c.parts))
	for i, raw := range c.parts {
		if list[i], err = parseEntity(raw); err != nil {
			return nil, c, err
		}
	}
	return list, c, nil
}

// content is the body decoded; at most limit bytes.
func (e entity) content(limit int) ([]byte, error) {
	if len(e.body) > 2*limit {
		return nil, fmt.Errorf("a part exceeds %d bytes", limit)
	}
	if len(e.header.all("Content-Transfer-Encoding")) > 1 {
		return nil, errors.New("a part names its encoding twice")
	}
	switch encoding := strings.ToLower(e.header.get("Content-Transfer-Encoding")); encoding {
	case "", "7bit", "8bit", "binary":
		return e.body, nil
	case "base64":
		return decodeBase64(e.body)
	case "quoted-printable":
		return io.ReadAll(quotedprintable.NewReader(bytes.NewReader(e.body)))
	default:
		return nil, fmt.Errorf("a part has the unknown encoding %q", encoding)
	}
}

// decodeBase64 skips line ends and blanks, and nothing else.
func decodeBase64(encoded []byte) ([]byte, error) {
	packed := make([]byte, 0, len(encoded))
	for _, c := range encoded {
		if c != '\r' && c != '\n' && c != ' ' && c != '\t' {
			packed = append(packed, c)
		}
	}
	n, err := base64.StdEncoding.Decode(packed, packed)
	if err != nil {
		return nil, fmt.Errorf("decoding base64: %w", err)
	}
	return packed[:n], nil
}
