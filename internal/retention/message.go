package retention

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/store"
)

// Class is what a rule can ask for.
type Class string

// The classes, as a RetentionPolicy spells them.
const (
	Certified Class = "Certified"
	Receipt   Class = "Receipt"
	Ordinary  Class = "Ordinary"
)

// Message is one message of a mailbox: where it lies, and what its bytes are. It is also a line of a package's index.
type Message struct {
	File   string    `json:"file,omitempty"` // in the package
	Folder string    `json:"folder"`
	GUID   string    `json:"guid"` // of this copy; equal at both sites
	Date   time.Time `json:"date"` // INTERNALDATE, UTC
	Size   int64     `json:"size"`
	Flags  []string  `json:"flags,omitempty"` // sorted
	SHA256 string    `json:"sha256"`
	Class  Class     `json:"class"`
	Type   pec.Type  `json:"type"`
	// Identifier is the one in daticert.xml; Refers is the sender's own Message-ID there, by which the copy in the sender's folder
	// is known. Both without brackets.
	Identifier string `json:"identifier,omitempty"`
	Refers     string `json:"refers,omitempty"`
	MessageID  string `json:"messageID,omitempty"`
}

const (
	// maxHead is what is looked at of a message to see what it may be, in bytes.
	maxHead = 64 << 10
	// maxOpened bounds what is taken apart to find an identifier, in bytes; of larger documents the header is believed.
	maxOpened = 32 << 20
)

// describe reads a message once: its hash, and what it says that it is. Whether the provider that signed it is to be believed is
// not asked: a certificate ends long before an archive does, and a lie here only moves a message beside another.
func describe(folder string, listed store.Message, body io.Reader) (Message, error) {
	m := Message{Folder: folder, GUID: listed.GUID, Date: listed.Date.UTC(), Flags: slices.Sorted(slices.Values(listed.Flags)), Class: Ordinary, Type: pec.TypeOrdinary}
	sum := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(body, sum), maxHead)
	head, err := in.Peek(maxHead)
	if err != nil && !errors.Is(err, io.EOF) {
		return m, fmt.Errorf("reading message %s: %w", listed.GUID, err)
	}
	claimed := m.claim(head)
	var document bytes.Buffer
	if claimed && listed.Size <= maxOpened {
		m.Size, err = io.Copy(&document, in)
	} else {
		m.Size, err = io.Copy(io.Discard, in)
	}
	if err != nil {
		return m, fmt.Errorf("reading message %s: %w", listed.GUID, err)
	}
	m.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if document.Len() > 0 {
		m.open(document.Bytes())
	}
	return m, nil
}

// claim reads the header, and says whether the message claims to be a provider's.
func (m *Message) claim(head []byte) bool {
	if end := bytes.Index(head, []byte("\r\n\r\n")); end >= 0 {
		head = head[:end+2]
	}
	m.MessageID = bare(head, "Message-Id")
	receipt, isReceipt := field(head, "X-Ricevuta")
	_, isEnvelope := field(head, "X-Trasporto")
	switch {
	case isReceipt:
		m.Class, m.Type, m.Refers = Receipt, pec.Type(receipt), bare(head, "X-Riferimento-Message-Id")
	case isEnvelope:
		m.Class, m.Type, m.Identifier = Certified, pec.TypeEnvelope, m.MessageID
	}
	return isReceipt || isEnvelope
}

// open takes a document apart: what its daticert.xml says counts, where it can be read.
func (m *Message) open(raw []byte) {
	judged := pec.Open(raw).Judge(nil, nil, m.Date)
	m.Class, m.Type, m.Identifier, m.Refers = Ordinary, judged.Type, "", ""
	if judged.Certification == nil || judged.Type == pec.TypeAnomaly {
		return
	}
	m.Class = Receipt
	if judged.Type == pec.TypeEnvelope {
		m.Class = Certified
	}
	m.Identifier, m.Refers = judged.Certification.Identifier, strings.Trim(judged.Certification.MessageID, "<>")
}

// bare is an identifier in a header section, without brackets; "" if there is none.
func bare(header []byte, canonical string) string {
	id, _ := field(header, canonical)
	return strings.Trim(id, "<>")
}

// field is the first line of a header's field.
func field(header []byte, canonical string) (value string, ok bool) {
	for line := range bytes.Lines(header) {
		name, rest, found := bytes.Cut(line, []byte(":"))
		if found && textproto.CanonicalMIMEHeaderKey(string(name)) == textproto.CanonicalMIMEHeaderKey(canonical) {
			return strings.ToValidUTF8(string(bytes.TrimSpace(rest)), "?"), true
		}
	}
	return "", false
}
