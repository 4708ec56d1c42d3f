package pec

import (
	"fmt"
	"html"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// This file reads daticert.xml a second time, with nothing of the product's reader and not with encoding/xml either: a scanner
// of its own, and the content models and attribute lists out of the DTD.

// grammar is the DTD: for each element the sequence of its children, and for each attribute its values.
type grammar struct {
	models     map[string]*regexp.Regexp    // over the children's names, each followed by a blank; nil for text
	attributes map[string]map[string]string // element, attribute: "a|b" or "CDATA", with "!" in front if required
}

var readDTD = sync.OnceValue(func() grammar {
	raw := string(must(os.ReadFile("testdata/daticert.dtd")))
	raw = regexp.MustCompile(`(?s)<!--.*?-->`).ReplaceAllString(raw, "")
	g := grammar{map[string]*regexp.Regexp{}, map[string]map[string]string{}}
	for _, m := range regexp.MustCompile(`<!ELEMENT\s+(\S+)\s+([^>]+)>`).FindAllStringSubmatch(raw, -1) {
		switch model := strings.TrimSpace(m[2]); model {
		case "(#PCDATA)":
			g.models[m[1]] = nil
		case "EMPTY":
			g.models[m[1]] = regexp.MustCompile(`^$`)
		default:
			sequence := strings.ReplaceAll(strings.Trim(model, "()"), ",", "")
			sequence = regexp.MustCompile(`([a-z-]+)([+*?]?)\s*`).ReplaceAllString(sequence, "(?:$1 )$2")
			g.models[m[1]] = regexp.MustCompile("^" + sequence + "$")
		}
	}
	attribute := regexp.MustCompile(`(?s)([a-z]+)\s+(CDATA|\([^)]*\))\s+(#REQUIRED|"[^"]*")`)
	for _, m := range regexp.MustCompile(`(?s)<!ATTLIST\s+(\S+)\s+([^>]+)>`).FindAllStringSubmatch(raw, -1) {
		g.attributes[m[1]] = map[string]string{}
		for _, a := range attribute.FindAllStringSubmatch(m[2], -1) {
			values := strings.Join(strings.FieldsFunc(a[2], func(r rune) bool { return strings.ContainsRune("()| \n\t", r) }), "|")
			if a[3] == "#REQUIRED" {
				values = "!" + values
			}
			g.attributes[m[1]][a[1]] = values
		}
	}
	return g
})

// node is one element with all that is in it.
type node struct {
	name     string
	attrs    map[string]string
	text     string
	children []*node
}

var xmlToken = regexp.MustCompile(`^(?:<\?[^>]*\?>|<(/?)([a-z-]+)((?:\s+[a-z]+="[^"<]*")*)\s*(/?)>|([^<]+))`)

func scan(raw string) (*node, error) {
	top := &node{}
	open := []*node{top}
	for raw != "" {
		m := xmlToken.FindStringSubmatch(raw)
		if m == nil {
			return nil, fmt.Errorf("no token at %.40q", raw)
		}
		raw = raw[len(m[0]):]
		last := open[len(open)-1]
		switch {
		case m[5] != "":
			last.text += html.UnescapeString(m[5])
		case m[1] != "":
			if last.name != m[2] {
				return nil, fmt.Errorf("%s is closed by %s", last.name, m[2])
			}
			open = open[:len(open)-1]
		case m[2] != "":
			n := &node{name: m[2], attrs: map[string]string{}}
			for _, a := range regexp.MustCompile(`([a-z]+)="([^"]*)"`).FindAllStringSubmatch(m[3], -1) {
				n.attrs[a[1]] = html.UnescapeString(a[2])
			}
			last.children = append(last.children, n)
			if m[4] == "" {
				open = append(open, n)
			}
		}
	}
	if len(open) != 1 || len(top.children) != 1 || strings.TrimSpace(top.text) != "" {
		return nil, fmt.Errorf("%d elements are open, %d roots", len(open)-1, len(top.children))
	}
	return top.children[0], nil
}

// valid holds an element against the DTD and adds what it says to facts, by the path of names.
func (g grammar) valid(n *node, path string, facts map[string][]string) error {
	model, known := g.models[n.name]
	if !known {
		return fmt.Errorf("%s is not in the DTD", n.name)
	}
	sequence := ""
	for _, c := range n.children {
		sequence += c.name + " "
	}
	path += "/" + n.name
	if model == nil {
		if sequence != "" {
			return fmt.Errorf("%s has children", path)
		}
		facts[path] = append(facts[path], strings.TrimSpace(n.text))
	} else if !model.MatchString(sequence) || strings.TrimSpace(n.text) != "" {
		return fmt.Errorf("%s holds %q and the text %q", path, sequence, n.text)
	}
	for name := range n.attrs {
		if _, known := g.attributes[n.name][name]; !known {
			return fmt.Errorf("%s has the attribute %s", path, name)
		}
	}
	for name, values := range g.attributes[n.name] {
		value, given := n.attrs[name]
		wanted, required := strings.CutPrefix(values, "!")
		if !given && required || given && wanted != "CDATA" && !strings.Contains("|"+wanted+"|", "|"+value+"|") {
			return fmt.Errorf("%s has the attribute %s=%q", path, name, value)
		}
		facts[path+"@"+name] = append(facts[path+"@"+name], value)
	}
	for _, c := range n.children {
		if err := g.valid(c, path, facts); err != nil {
			return err
		}
	}
	return nil
}

// agree reads daticert.xml the second way and holds it against what the product read.
func agree(t testing.TB, data []byte, c Certification) {
	t.Helper()
	root, err := scan(string(data))
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	facts := map[string][]string{}
	if err := readDTD().valid(root, "", facts); err != nil || root.name != "postacert" {
		t.Fatalf("%v\n%s", err, data)
	}
	const head, body = "/postacert/intestazione/", "/postacert/dati/"
	want := map[string][]string{
		"/postacert@tipo": {string(c.Type)}, "/postacert@errore": {string(c.Error)},
		head + "mittente": {c.Sender}, head + "risposte": {c.replyTo()},
		body + "gestore-emittente": {c.Provider}, body + "identificativo": {c.Identifier},
		body + "data@zona": {c.Time.Format("-0700")}, body + "data/giorno": {c.Time.Format("02/01/2006")}, body + "data/ora": {c.Time.Format(time.TimeOnly)},
	}
	for _, r := range c.Recipients {
		want[head+"destinatari"] = append(want[head+"destinatari"], r.Address)
		want[head+"destinatari@tipo"] = append(want[head+"destinatari@tipo"], map[bool]string{true: "certificato", false: "esterno"}[r.Certified])
	}
	for path, value := range map[string]string{
		head + "oggetto": c.Subject, body + "msgid": c.MessageID, body + "ricevuta@tipo": string(c.Receipt),
		body + "consegna": c.Delivery, body + "errore-esteso": c.ExtendedError,
	} {
		if value != "" {
			want[path] = []string{value}
		}
	}
	if len(c.TakenInCharge) > 0 {
		want[body+"ricezione"] = c.TakenInCharge
	}
	if diff := cmp.Diff(want, facts); diff != "" {
		t.Errorf("the two readers disagree (- product, + test):\n%s\n%s", diff, data)
	}
}

func TestTwoReadersAgreeOnEveryDocument(t *testing.T) {
	for name, raw := range documents(t, ecdsaIdentity()) {
		t.Run(name, func(t *testing.T) {
			signed, _, _ := must(parseEntity(raw)).entities()
			mixed, _, _ := signed[0].entities()
			data, err := mixed[1].content(maxXMLBytes)
			if err != nil || mixed[1].header.fileName() != "daticert.xml" {
				t.Fatalf("the second part is %s: %v", mixed[1].header.fileName(), err)
			}
			agree(t, data, *Classify(raw, index(ecdsaIdentity()), testCA().roots, at).Certification)
		})
	}
}

func TestSecondReaderIsStrict(t *testing.T) {
	good, err := samples()[TypeDelivery].XML()
	if err != nil {
		t.Fatal(err)
	}
	for sentence, change := range map[string][2]string{
		"an element too many":  {"<consegna>", "<consegna>x</consegna><consegna>"},
		"an element unknown":   {"<consegna>", "<altro>x</altro><consegna>"},
		"another order":        {"<mittente>mario@pec.example.it</mittente>", ""},
		"a value unknown":      {`tipo="sintetica"`, `tipo="lunga"`},
		"an attribute missing": {` zona="+0100"`, ""},
		"an attribute unknown": {`<dati>`, `<dati x="y">`},
		"text between":         {"<dati>", "<dati>x"},
		"an element unclosed":  {"</dati>", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			root, err := scan(string(replaced(good, change[0], change[1])))
			if err == nil {
				err = readDTD().valid(root, "", map[string][]string{})
			}
			if err == nil {
				t.Error("passes")
			}
		})
	}
}
