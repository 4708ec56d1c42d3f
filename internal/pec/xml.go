package pec

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Bounds of daticert.xml. A thousand recipients take about 100 KB.
const (
	maxXMLBytes    = 4 << 20
	maxXMLElements = 50000
	maxXMLDepth    = 4
)

const xmlTime = "02/01/2006 15:04:05 -0700"

// XML renders daticert.xml as real providers do: UTF-8, no DOCTYPE, four blanks of indent, LF. An error means that the
// document lacks what its type demands.
func (c Certification) XML() ([]byte, error) {
	if c.Error == "" {
		c.Error = ErrorNone
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("writing daticert.xml of %s: %w", c.Identifier, err)
	}
	w := &xmlWriter{}
	w.Grow(2 << 10) // most are smaller
	w.line(0, `<?xml version="1.0" encoding="UTF-8"?>`)
	w.line(0, `<postacert tipo="%s" errore="%s">`, string(c.Type), string(c.Error))
	w.line(1, "<intestazione>")
	w.line(2, "<mittente>%s</mittente>", c.Sender)
	for _, r := range c.Recipients {
		w.line(2, `<destinatari tipo="%s">%s</destinatari>`, recipientKind(r.Certified), r.Address)
	}
	w.line(2, "<risposte>%s</risposte>", c.replyTo())
	w.optional("oggetto", c.Subject)
	w.line(1, "</intestazione>")
	w.line(1, "<dati>")
	w.line(2, "<gestore-emittente>%s</gestore-emittente>", c.Provider)
	at := c.Time.In(rome)
	w.line(2, `<data zona="%s">`, at.Format("-0700"))
	w.line(3, "<giorno>%s</giorno>", at.Format("02/01/2006"))
	w.line(3, "<ora>%s</ora>", at.Format("15:04:05"))
	w.line(2, "</data>")
	w.line(2, "<identificativo>%s</identificativo>", c.Identifier)
	w.optional("msgid", c.MessageID)
	if demands[c.Type].receipt {
		w.line(2, `<ricevuta tipo="%s"/>`, string(c.Receipt))
	}
	w.optional("consegna", c.Delivery)
	for _, address := range c.TakenInCharge {
		w.line(2, "<ricezione>%s</ricezione>", address)
	}
	w.optional("errore-esteso", c.ExtendedError)
	w.line(1, "</dati>")
	w.line(0, "</postacert>")
	return w.Bytes(), nil
}

func (c Certification) replyTo() string {
	if c.ReplyTo == "" {
		return c.Sender
	}
	return c.ReplyTo
}

func recipientKind(certified bool) string {
	if certified {
		return "certificato"
	}
	return "esterno"
}

type xmlWriter struct{ bytes.Buffer }

// line writes one line; every value is escaped, so that no address or subject can become markup.
func (w *xmlWriter) line(depth int, format string, values ...string) {
	w.WriteString(strings.Repeat("    ", depth))
	for _, v := range values {
		before, after, _ := strings.Cut(format, "%s")
		w.WriteString(before)
		_ = xml.EscapeText(w, []byte(cleanText(v))) // a bytes.Buffer takes every write
		format = after
	}
	w.WriteString(format)
	w.WriteByte('\n')
}

// optional writes an element of the second level if it has a value.
func (w *xmlWriter) optional(name, value string) {
	if value != "" {
		w.line(2, "<"+name+">%s</"+name+">", value)
	}
}

// element is one parsed element: text or children, never both.
type element struct {
	name     string
	attrs    map[string]string
	text     string
	children []*element
}

// ParseCertification reads daticert.xml against the DTD's content model, and checks that a document of its type has what it
// must have. A DOCTYPE is skipped unread; entities other than XML's own five, a second root or unknown elements are errors.
func ParseCertification(raw []byte) (Certification, error) {
	root, err := parseXML(raw)
	if err != nil {
		return Certification{}, fmt.Errorf("reading daticert.xml: %w", err)
	}
	c, err := certificationOf(root)
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return Certification{}, fmt.Errorf("reading daticert.xml: %w", err)
	}
	return c, nil
}

func parseXML(raw []byte) (*element, error) {
	if len(raw) > maxXMLBytes {
		return nil, fmt.Errorf("it exceeds %d bytes", maxXMLBytes)
	}
	dec := xml.NewDecoder(bytes.NewReader(raw))
	var t tree
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) && t.root != nil && len(t.open) == 0 {
			return t.root, nil
		}
		if err == nil {
			err = t.take(token)
		}
		if err != nil {
			return nil, err
		}
	}
}

// tree is an XML document as far as it was read.
type tree struct {
	root  *element
	open  []*element
	count int
}

func (t *tree) take(token xml.Token) error {
	switch token := token.(type) {
	case xml.StartElement:
		return t.start(token)
	case xml.EndElement:
		t.open = t.open[:len(t.open)-1]
	case xml.CharData:
		if len(t.open) > 0 {
			t.open[len(t.open)-1].text += string(token)
		} else if len(bytes.TrimSpace(token)) > 0 {
			return errors.New("it has text outside the root element")
		}
	case xml.Directive:
		if t.root != nil {
			return errors.New("it has a declaration inside the document")
		}
	}
	return nil
}

func (t *tree) start(token xml.StartElement) error {
	if t.count++; t.count > maxXMLElements || len(t.open) == maxXMLDepth {
		return errors.New("it has too many elements or levels")
	}
	if len(t.open) == 0 && t.root != nil {
		return errors.New("it has a second root element")
	}
	e, err := newElement(token)
	if err != nil {
		return err
	}
	if len(t.open) == 0 {
		t.root = e
	} else {
		parent := t.open[len(t.open)-1]
		parent.children = append(parent.children, e)
	}
	t.open = append(t.open, e)
	return nil
}

func newElement(t xml.StartElement) (*element, error) {
	e := &element{name: t.Name.Local, attrs: map[string]string{}}
	for _, a := range t.Attr {
		if _, double := e.attrs[a.Name.Local]; double {
			return nil, fmt.Errorf("attribute %s of %s is doubled", a.Name.Local, e.name)
		}
		e.attrs[a.Name.Local] = a.Value
	}
	return e, nil
}

// model reads an element's children in the order that the DTD gives them; the first mismatch stays as its error.
type model struct {
	parent *element
	next   int
	err    error
}

func (m *model) fail(format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf(format, args...)
	}
}

// many takes the next children of one name, at least and at most so many.
func (m *model) many(name string, atLeast, atMost int) []*element {
	start := m.next
	for m.next < len(m.parent.children) && m.next-start < atMost && m.parent.children[m.next].name == name {
		m.next++
	}
	if m.next-start < atLeast {
		m.fail("element %s is missing in %s", name, m.parent.name)
	}
	return m.parent.children[start:m.next]
}

// leaf is the text of an element that has no children, with control characters made harmless.
func (m *model) leaf(e *element) string {
	if len(e.children) > 0 {
		m.fail("element %s has children", e.name)
	}
	return cleanText(strings.TrimSpace(e.text))
}

func (m *model) text(name string) string {
	if found := m.many(name, 1, 1); len(found) == 1 {
		return m.leaf(found[0])
	}
	return ""
}

func (m *model) optional(name string) string {
	if found := m.many(name, 0, 1); len(found) == 1 {
		return m.leaf(found[0])
	}
	return ""
}

func (m *model) child(name string) *model {
	if found := m.many(name, 1, 1); len(found) == 1 {
		return &model{parent: found[0]}
	}
	return &model{parent: &element{name: name}}
}

// done checks that nothing is left over, and passes the error on.
func (m *model) done(outer *model) {
	if m.next < len(m.parent.children) {
		m.fail("element %s is not expected in %s", m.parent.children[m.next].name, m.parent.name)
	}
	if strings.TrimSpace(m.parent.text) != "" {
		m.fail("element %s has text", m.parent.name)
	}
	if outer != nil && m.err != nil {
		outer.fail("%w", m.err)
	}
}

// choice is an attribute with a default and a list of values.
func choice[T ~string](m *model, e *element, attr string, fallback T, allowed []T) T {
	v, given := e.attrs[attr]
	if !given {
		v = string(fallback)
	}
	if !slices.Contains(allowed, T(v)) {
		m.fail("attribute %s of %s is %q", attr, e.name, v)
	}
	return T(v)
}

func certificationOf(root *element) (Certification, error) {
	if root.name != "postacert" {
		return Certification{}, fmt.Errorf("root element is %s, not postacert", root.name)
	}
	m := &model{parent: root}
	c := Certification{Type: Type(root.attrs["tipo"]), Error: choice(m, root, "errore", ErrorNone, allErrors)}

	head := m.child("intestazione")
	c.Sender = head.text("mittente")
	for _, e := range head.many("destinatari", 1, maxXMLElements) {
		kind := choice(head, e, "tipo", "certificato", []string{"certificato", "esterno"})
		c.Recipients = append(c.Recipients, Recipient{Address: head.leaf(e), Certified: kind == "certificato"})
	}
	c.ReplyTo = head.text("risposte")
	c.Subject = head.optional("oggetto")
	head.done(m)

	data := m.child("dati")
	c.Provider = data.text("gestore-emittente")
	c.Time = eventTime(data)
	c.Identifier = data.text("identificativo")
	c.MessageID = data.optional("msgid")
	for _, e := range data.many("ricevuta", 0, 1) {
		c.Receipt = choice(data, e, "tipo", "", allReceipts)
	}
	c.Delivery = data.optional("consegna")
	for _, e := range data.many("ricezione", 0, maxXMLElements) {
		c.TakenInCharge = append(c.TakenInCharge, data.leaf(e))
	}
	c.ExtendedError = data.optional("errore-esteso")
	data.done(m)
	m.done(nil)
	return c, m.err
}

func eventTime(data *model) time.Time {
	when := data.child("data")
	zone := when.parent.attrs["zona"]
	day, hour := when.text("giorno"), when.text("ora")
	when.done(data)
	at, err := time.Parse(xmlTime, day+" "+hour+" "+zone)
	if err != nil {
		data.fail("data is not a date: %w", err)
	} else if at.Year() < 2000 { // certified mail is not that old, and zones once had seconds, which zona cannot tell
		data.fail("data is not a date of certified mail: %s", day)
	}
	return at.In(rome)
}
