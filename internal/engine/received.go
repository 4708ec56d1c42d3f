package engine

import (
	"bytes"
	"fmt"
	"regexp"
)

// fieldEnd finds the end of the header field that raw begins with: the CRLF that no folded line follows.
func fieldEnd(raw []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(raw[at:], '\n')
		if i < 0 {
			return len(raw)
		}
		at += i + 1
		if at == len(raw) || (raw[at] != ' ' && raw[at] != '\t') {
			return at
		}
	}
}

// queueIDForm finds "by <host> (Postfix)" with its "id <queue id>"; between them are only the folding and the protocol.
var queueIDForm = regexp.MustCompile(`\sby (\S+) \([^()]*\)(?:\s+with \S+)?\s+id ([0-9A-Za-z]+)`)

// splitReceived takes apart a message that our Postfix handed over: the Received field that it put on top, the rest, and
// the queue identifier in that field. Only a field at the very top that names our host counts, and in it what stands first:
// Postfix puts question marks for brackets and blanks in what a client says of itself, but behind its own words it names a
// lone recipient as the client wrote it. So a client cannot choose the identifier.
func splitReceived(raw []byte, hostname string) (received, rest []byte, queueID string, err error) {
	end := fieldEnd(raw)
	received, rest = raw[:end], raw[end:]
	if len(received) < 9 || !bytes.EqualFold(received[:9], []byte("Received:")) {
		return nil, nil, "", fmt.Errorf("reading the queue identifier: the message does not begin with a Received field")
	}
	m := queueIDForm.FindSubmatch(received)
	if m == nil || !bytes.EqualFold(m[1], []byte(hostname)) {
		return nil, nil, "", fmt.Errorf("reading the queue identifier: the top Received field is not of %s", hostname)
	}
	return received, rest, string(m[2]), nil
}

// wroteItself says whether a message with that Received field on top is one of Postfix' own. Of one that a client sent it says from whom,
// also when the log lost the transaction: what a stranger calls a report must not end a submission.
func wroteItself(received []byte) bool { return bytes.HasPrefix(received, []byte("Received: by ")) }
