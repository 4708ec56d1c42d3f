package pec

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func transit() Transit {
	return Transit{
		Identifier: testID, MessageID: "<client-1@mario.example.it>", Sender: "mario@pec.example.it",
		Recipients: []Recipient{{"bob@pec.other.example.it", true}, {"eve@example.org", false}},
		ReplyTo:    "mario@pec.example.it", Subject: `Città & "Bari" <1> €`, Receipt: ReceiptFull,
	}
}

// samples holds one certification of each type.
func samples() map[Type]Certification {
	of := func(kind Type, change func(*Certification)) Certification {
		c := certify(provider, transit(), kind, at)
		c.Receipt = ""
		change(&c)
		return c
	}
	return map[Type]Certification{
		TypeAcceptance:    of(TypeAcceptance, func(*Certification) {}),
		TypeNonAcceptance: of(TypeNonAcceptance, func(c *Certification) { c.Error, c.ExtendedError = ErrorOther, "Il campo To manca." }),
		TypeEnvelope:      of(TypeEnvelope, func(c *Certification) { c.Receipt = ReceiptBrief; c.MessageID = "" }),
		TypeTakeCharge: of(TypeTakeCharge, func(c *Certification) {
			c.TakenInCharge = []string{"bob@pec.other.example.it", "b2@pec.other.example.it"}
		}),
		TypeDelivery: of(TypeDelivery, func(c *Certification) { c.Receipt, c.Delivery = ReceiptConcise, "bob@pec.other.example.it" }),
		TypeDeliveryError: of(TypeDeliveryError, func(c *Certification) {
			c.Delivery, c.Error, c.ExtendedError = "b@y.it", ErrorNoRecipient, "5.1.1 - X - y"
		}),
		TypeTimeoutWarning: of(TypeTimeoutWarning, func(c *Certification) { c.Delivery = "b@y.it" }),
		TypeVirusDetection: of(TypeVirusDetection, func(c *Certification) { c.Delivery, c.Error, c.ExtendedError = "b@y.it", ErrorVirus, "5.5.1" }),
	}
}

// validate holds daticert.xml against the DTD with libxml2.
func validate(t *testing.T, data []byte) {
	t.Helper()
	if _, err := exec.LookPath("xmllint"); err != nil {
		t.Fatal("xmllint is not installed: install the Debian package libxml2-utils")
	}
	dtd, err := filepath.Abs("testdata/daticert.dtd")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("xmllint", "--nonet", "--noout", "--dtdvalid", dtd, writeFile(t, "daticert.xml", data)).CombinedOutput(); err != nil {
		t.Errorf("xmllint: %v\n%s\n%s", err, out, data)
	}
}

func TestEveryTypeIsValidAndReadsBack(t *testing.T) {
	for kind, c := range samples() {
		t.Run(string(kind), func(t *testing.T) {
			data, err := c.XML()
			if err != nil {
				t.Fatal(err)
			}
			validate(t, data)
			agree(t, data, c)
			back, err := ParseCertification(data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c, back); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestXMLIsWhatProvidersWrite(t *testing.T) {
	want := `<?xml version="1.0" encoding="UTF-8"?>
<postacert tipo="avvenuta-consegna" errore="nessuno">
    <intestazione>
        <mittente>mario@pec.example.it</mittente>
        <destinatari tipo="certificato">bob@pec.other.example.it</destinatari>
        <destinatari tipo="esterno">eve@example.org</destinatari>
        <risposte>mario@pec.example.it</risposte>
        <oggetto>Città &amp; &#34;Bari&#34; &lt;1&gt; €</oggetto>
    </intestazione>
    <dati>
        <gestore-emittente>Gestore di Prova S.p.A.</gestore-emittente>
        <data zona="+0100">
            <giorno>21/11/2026</giorno>
            <ora>21:14:03</ora>
        </data>
        <identificativo>` + testID + `</identificativo>
        <msgid>&lt;client-1@mario.example.it&gt;</msgid>
        <ricevuta tipo="sintetica"/>
        <consegna>bob@pec.other.example.it</consegna>
    </dati>
</postacert>
`
	got, err := samples()[TypeDelivery].XML()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestReaderOfXML(t *testing.T) {
	good, err := samples()[TypeDelivery].XML()
	if err != nil {
		t.Fatal(err)
	}
	with := func(old, new string) string { return string(replaced(good, old, new)) }
	for sentence, c := range map[string]struct {
		raw  string
		want string // a piece of the error, "" for none
	}{
		"a DOCTYPE is skipped":          {raw: with("<postacert", "<!DOCTYPE postacert SYSTEM \"daticert.dtd\">\n<postacert")},
		"a final CRLF is skipped":       {raw: string(good) + "\r\n"},
		"errore may be left out":        {raw: with(` errore="nessuno"`, "")},
		"summer time has another zone":  {raw: with("+0100", "+0200")},
		"an entity that nobody uses":    {raw: with("<postacert", "<!DOCTYPE postacert [<!ENTITY x \"y\">]>\n<postacert")},
		"an own entity is refused":      {raw: with("Città", "&x;"), want: "entity"},
		"an external entity is refused": {raw: strings.Replace(with("Città", "&x;"), "<postacert", "<!DOCTYPE p [<!ENTITY x SYSTEM \"file:///etc/hostname\">]>\n<postacert", 1), want: "entity"},
		"an unknown type":               {raw: with("avvenuta-consegna", "avvenuta-lettura"), want: "no type"},
		"an unknown error":              {raw: with("nessuno", "boh"), want: "errore"},
		"an unknown receipt":            {raw: with("sintetica", "lunga"), want: "tipo"},
		"an error that does not fit":    {raw: with("nessuno", "virus"), want: "does not fit"},
		"no recipient concerned":        {raw: with("        <consegna>bob@pec.other.example.it</consegna>\n", ""), want: "consegna is missing"},
		"the identifier is missing":     {raw: with("        <identificativo>"+testID+"</identificativo>\n", ""), want: "identificativo"},
		"the identifier twice":          {raw: with("<identificativo>", "<identificativo>x</identificativo><identificativo>"), want: "not expected"},
		"an element nobody knows":       {raw: with("<consegna>", "<altro/><consegna>"), want: "not expected"},
		"an element in an element":      {raw: with("mario@pec", "<b/>mario@pec"), want: "has children"},
		"a date that is none":           {raw: with("21/11/2026", "31/02/2026"), want: "not a date"},
		"a date before certified mail":  {raw: with("21/11/2026", "21/11/1926"), want: "of certified mail"},
		"no zone":                       {raw: with(` zona="+0100"`, ""), want: "not a date"},
		"two roots":                     {raw: string(good) + "<postacert/>", want: "second root"},
		"an attribute twice":            {raw: with(`zona="+0100"`, `zona="+0100" zona="+0200"`), want: "doubled"},
		"text between elements":         {raw: with("<dati>", "<dati>hello"), want: "has text"},
		"cut short":                     {raw: string(good[:len(good)-20]), want: "syntax"},
		"not XML":                       {raw: "hello", want: "outside"},
		"nothing":                       {raw: "", want: "EOF"},
		"too deep":                      {raw: strings.Repeat("<a>", 10), want: "levels"},
	} {
		t.Run(sentence, func(t *testing.T) {
			_, err := ParseCertification([]byte(c.raw))
			if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got error %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzParseCertification(f *testing.F) {
	for _, c := range samples() {
		data, err := c.XML()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := ParseCertification(raw)
		if err != nil {
			t.Skip()
		}
		data, err := c.XML()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v\n%+v", err, c)
		}
		back, err := ParseCertification(data)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, data)
		}
		if !demands[c.Type].receipt {
			c.Receipt = "" // old documents have it where it says nothing; we do not write it
		}
		c.ReplyTo = c.replyTo() // an empty one means the sender
		agree(t, data, back)
		if diff := cmp.Diff(c, back); diff != "" {
			t.Fatal(diff)
		}
	})
}
