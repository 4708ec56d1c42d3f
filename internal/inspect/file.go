package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// maxFile bounds what is read: an envelope around the largest message that any provider takes stays far below.
const maxFile = 256 << 20

// read reads the file and refuses what is no mail message at all.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the message: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the message: %w", err)
	}
	var raw []byte
	if info.Size() <= maxFile {
		raw, err = io.ReadAll(io.LimitReader(f, maxFile+1)) // a pipe has no size
	}
	if err != nil {
		return nil, fmt.Errorf("reading the message: %w", err)
	}
	if info.Size() > maxFile || len(raw) > maxFile {
		return nil, fmt.Errorf("reading the message: %s exceeds %d bytes", path, maxFile)
	}
	if _, message := cutMailboxLine(raw); !startsWithField(message) {
		return nil, fmt.Errorf("reading the message: %w", errNoMessage)
	}
	return raw, nil
}

var errNoMessage = errors.New("the file does not begin with a header field")

// cutMailboxLine cuts the line "From ..." off that mail clients with mbox files put in front of a message.
func cutMailboxLine(raw []byte) (line, message []byte) {
	if end := bytes.IndexByte(raw, '\n'); end >= 0 && bytes.HasPrefix(raw, []byte("From ")) {
		return raw[:end+1], raw[end+1:]
	}
	return nil, raw
}

func startsWithField(raw []byte) bool {
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	name, _, found := bytes.Cut(line, []byte(":"))
	for _, c := range name {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return found && len(name) > 0
}

// open opens a message as it is and, if its signature does not hold so, with every line ended by CRLF: that is how it was
// signed, and many clients save it with LF alone. It returns the bytes that the document is about.
func open(raw []byte) (d *pec.Document, message []byte, notes []string) {
	line, message := cutMailboxLine(raw)
	if line != nil {
		notes = append(notes, "the line of an mbox file in front of the message was passed over")
	}
	d = pec.Open(message)
	if d.Fault == "" {
		return d, message, notes
	}
	clean := withCRLF(message)
	if len(clean) == len(message) {
		return d, message, notes
	}
	return pec.Open(clean), clean, append(notes, "the file's line ends are not all CRLF: judged as if they were")
}

// withCRLF ends every line with CRLF.
func withCRLF(raw []byte) []byte {
	missing := bytes.Count(raw, []byte("\n")) - bytes.Count(raw, []byte("\r\n"))
	if missing == 0 {
		return raw
	}
	out := make([]byte, 0, len(raw)+missing)
	for line := range bytes.Lines(raw) {
		if text, ok := bytes.CutSuffix(line, []byte("\n")); ok {
			out = append(append(out, bytes.TrimSuffix(text, []byte("\r"))...), "\r\n"...)
		} else {
			out = append(out, line...)
		}
	}
	return out
}
