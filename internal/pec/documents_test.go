package pec

import (
	"bytes"
	"fmt"
	"mime"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/smallstep/pkcs7"
)

const noticeID = "pecnotice2345@pec.example.it"

var received = lines(
	"Received: from client.example.it (client.example.it [192.0.2.1])",
	"\tby mx.pec.example.it (Postfix) with ESMTPSA id 4abc",
	"\tfor <bob@pec.other.example.it>; Sat, 21 Nov 2026 21:14:03 +0100 (CET)",
)

// documents builds one document of each kind.
func documents(t testing.TB, s identity) map[string][]byte {
	t.Helper()
	o := parsed(t, submitted)
	tr := transit()
	as := func(kind ReceiptKind) Transit { tr := transit(); tr.Receipt = kind; return tr }
	certified := certified(o)
	docs := map[string][]byte{}
	add := func(name string, raw []byte, err error) {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		docs[name] = raw
	}
	raw, err := s.Acceptance(provider, tr, noticeID, at)
	add("accettazione", raw, err)
	raw, err = s.NonAcceptance(provider, tr, noticeID, at, []string{"Il campo To manca.", "È così."})
	add("non-accettazione", raw, err)
	raw, err = s.Envelope(provider, tr, o, received, at)
	add("posta-certificata", raw, err)
	raw, err = s.TakeCharge(provider, tr, noticeID, "servizio@pec.other.example.it", []string{"bob@pec.other.example.it"}, at)
	add("presa-in-carico", raw, err)
	raw, err = s.Delivery(provider, as(ReceiptFull), noticeID, "bob@pec.other.example.it", certified, at)
	add("avvenuta-consegna completa", raw, err)
	raw, err = s.Delivery(provider, as(ReceiptBrief), noticeID, "bob@pec.other.example.it", certified, at)
	add("avvenuta-consegna breve", raw, err)
	raw, err = s.Delivery(provider, as(ReceiptConcise), noticeID, "bob@pec.other.example.it", certified, at)
	add("avvenuta-consegna sintetica", raw, err)
	raw, err = s.Delivery(provider, as(ReceiptFull), noticeID, "bob@pec.other.example.it", nil, at)
	add("avvenuta-consegna in copia", raw, err)
	raw, err = s.DeliveryError(provider, tr, noticeID, "bob@pec.other.example.it", ErrorNoRecipient, "5.1.1 - X - indirizzo non valido", at)
	add("errore-consegna", raw, err)
	raw, err = s.DeliveryError(provider, tr, noticeID, "bob@pec.other.example.it", ErrorVirus, "5.5.1 - X - virus", at)
	add("errore-consegna virus", raw, err)
	raw, err = s.NonAcceptanceVirus(provider, tr, noticeID, "Eicar-Test", at)
	add("non-accettazione virus", raw, err)
	raw, err = s.VirusDetection(provider, tr, noticeID, "servizio@pec.other.example.it", "bob@pec.other.example.it", "Eicar-Test", at)
	add("rilevazione-virus", raw, err)
	for _, d := range []Deadline{FirstDeadline, LastDeadline} {
		raw, err = s.TimeoutWarning(provider, tr, noticeID, "bob@pec.other.example.it", d, at)
		add("preavviso-errore-consegna "+string(d), raw, err)
	}
	return docs
}

// openssl verifies a document as a stranger would, and returns what the signature covers.
func openssl(t *testing.T, raw []byte) []byte {
	t.Helper()
	out := writeFile(t, "content", nil)
	cmd := exec.Command("openssl", "cms", "-verify", "-inform", "SMIME", "-in", writeFile(t, "document.eml", raw),
		"-CAfile", writeFile(t, "root.pem", testCA().rootPEM), "-attime", fmt.Sprint(at.Unix()), "-out", out)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl cms -verify: %v\n%s", err, text)
	}
	content, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestEveryDocument(t *testing.T) {
	for keys, id := range map[string]identity{"RSA": rsaIdentity(), "ECDSA": ecdsaIdentity()} {
		docs, again := documents(t, id), documents(t, id)
		for name, raw := range docs {
			t.Run(keys+" "+name, func(t *testing.T) {
				if !wireSafe(raw) || !bytes.HasSuffix(raw, crlf) {
					t.Error("not 7 bit with clean, short lines")
				}
				if !bytes.Equal(raw, again[name]) {
					t.Error("the same event made other bytes the second time")
				}
				openssl(t, raw)
				j := Classify(raw, index(id), testCA().roots, at)
				kind, _, _ := strings.Cut(name, " ")
				if len(j.Errors) > 0 || string(j.Type) != kind || j.Provider.Name != provider.Name {
					t.Fatalf("judged %s by %q: %q", j.Type, j.Provider.Name, j.Errors)
				}
				checkCertification(t, *j.Certification)
			})
		}
	}
}

func checkCertification(t *testing.T, c Certification) {
	t.Helper()
	data, err := c.XML()
	if err != nil {
		t.Fatal(err)
	}
	validate(t, data)
	want := transit()
	want.Receipt = c.Receipt
	if diff := cmp.Diff(want, c.Transit); diff != "" {
		t.Error(diff)
	}
	if !c.Time.Equal(at.Truncate(time.Second)) || c.Time.Format("-0700") != "+0100" {
		t.Errorf("time is %s", c.Time)
	}
}

func TestHeadersOfDocuments(t *testing.T) {
	const subject = "\r\n =?UTF-8?B?Q2l0dMOgICYgIkJhcmkiIDwxPiDigqw=?=\r\n"
	const tail = "X-Riferimento-Message-ID: <client-1@mario.example.it>\r\n"
	notice := func(marks, prefix, to string) string {
		return marks + "Date: Sat, 21 Nov 2026 21:14:03 +0100\r\nSubject: " + prefix + subject +
			"From: posta-certificata@pec.example.it\r\nTo: " + to + "\r\nMessage-ID: <" + noticeID + ">\r\n" + tail
	}
	const sender = "mario@pec.example.it"
	want := map[string]string{
		"accettazione":                  notice("X-Ricevuta: accettazione\r\n", "ACCETTAZIONE:", sender),
		"non-accettazione":              notice("X-Ricevuta: non-accettazione\r\n", "AVVISO DI NON ACCETTAZIONE:", sender),
		"presa-in-carico":               notice("X-Ricevuta: presa-in-carico\r\n", "PRESA IN CARICO:", "servizio@pec.other.example.it"),
		"avvenuta-consegna completa":    notice("X-Ricevuta: avvenuta-consegna\r\n", "CONSEGNA:", sender),
		"avvenuta-consegna breve":       notice("X-Ricevuta: avvenuta-consegna\r\n", "CONSEGNA:", sender),
		"avvenuta-consegna sintetica":   notice("X-Ricevuta: avvenuta-consegna\r\n", "CONSEGNA:", sender),
		"avvenuta-consegna in copia":    notice("X-Ricevuta: avvenuta-consegna\r\n", "CONSEGNA:", sender),
		"errore-consegna":               notice("X-Ricevuta: errore-consegna\r\n", "AVVISO DI MANCATA CONSEGNA:", sender),
		"errore-consegna virus":         notice("X-Ricevuta: errore-consegna\r\nX-VerificaSicurezza: errore\r\n", "AVVISO DI MANCATA CONSEGNA PER VIRUS:", sender),
		"non-accettazione virus":        notice("X-Ricevuta: non-accettazione\r\nX-VerificaSicurezza: errore\r\n", "AVVISO DI NON ACCETTAZIONE PER VIRUS:", sender),
		"rilevazione-virus":             notice("X-Ricevuta: rilevazione-virus\r\nX-Mittente: "+sender+"\r\n", "PROBLEMA DI SICUREZZA:", "servizio@pec.other.example.it"),
		"preavviso-errore-consegna 12h": notice("X-Ricevuta: preavviso-errore-consegna\r\n", "AVVISO DI MANCATA CONSEGNA PER SUP. TEMPO MASSIMO:", sender),
		"preavviso-errore-consegna 24h": notice("X-Ricevuta: preavviso-errore-consegna\r\n", "AVVISO DI MANCATA CONSEGNA PER SUP. TEMPO MASSIMO:", sender),
		"posta-certificata": string(received) + "X-Trasporto: posta-certificata\r\n" +
			"Date: Sat, 21 Nov 2026 21:14:03 +0100\r\nSubject: POSTA CERTIFICATA:" + subject +
			"From: \"Per conto di: mario@pec.example.it\" <posta-certificata@pec.example.it>\r\nReply-To: mario@pec.example.it\r\n" +
			"To: \"Ufficio, protocollo\" <protocollo@pec.comune.example.it>,\r\n\tbob@pec.other.example.it\r\n" +
			"Cc: Carla <carla@pec.example.it>\r\nMessage-ID: <" + testID + ">\r\n" + tail + "X-TipoRicevuta: completa\r\n",
	}
	const mimePart = "MIME-Version: 1.0\r\nContent-Type: multipart/signed; protocol=\"application/pkcs7-signature\";\r\n micalg=sha-256; boundary=\"pec-"
	for name, raw := range documents(t, rsaIdentity()) {
		t.Run(name, func(t *testing.T) {
			head, rest, ok := strings.Cut(string(raw), mimePart)
			if !ok || strings.Index(rest, "\"\r\n\r\n--pec-") != 26 {
				t.Errorf("MIME header is not as it should be: %.200q", rest)
			}
			if diff := cmp.Diff(want[name], head); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// skeleton is the MIME tree of an entity: types, encodings and dispositions, without boundaries.
func skeleton(t *testing.T, e entity, indent string) string {
	t.Helper()
	name := e.header.fileName()
	disposition, _, _ := mime.ParseMediaType(e.header.get("Content-Disposition"))
	out := fmt.Sprintf("%s%s %s %s %s %s\n", indent, e.media, e.params["charset"], e.header.get("Content-Transfer-Encoding"), disposition, name)
	if strings.HasPrefix(e.media, "multipart/") {
		parts, _, err := e.entities()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			out += skeleton(t, p, indent+"  ")
		}
	}
	return strings.Join(strings.FieldsFunc(out, func(r rune) bool { return r == '\n' }), "\n") + "\n"
}

// The original, or its copy with hashes, is the third part of what must carry it (RFC 6109 3.1.5 and 3.3.2), and of nothing else.
func TestStructureOfDocuments(t *testing.T) {
	const (
		head = `multipart/signed    
  multipart/mixed    
    multipart/alternative    
      text/plain iso-8859-1 quoted-printable inline 
      text/html iso-8859-1 quoted-printable inline 
    application/xml  base64 inline daticert.xml
`
		original = "    message/rfc822  7bit inline postacert.eml\n"
		tail     = "  application/pkcs7-signature  base64 attachment smime.p7s\n"
	)
	carries := []string{"posta-certificata", "avvenuta-consegna completa", "avvenuta-consegna breve"}
	docs := documents(t, rsaIdentity())
	for name, raw := range docs {
		t.Run(name, func(t *testing.T) {
			want := head + tail
			if slices.Contains(carries, name) {
				want = head + original + tail
			}
			e, err := parseEntity(raw)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, skeleton(t, e, "")); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, name := range carries {
		if docs[name] == nil {
			t.Errorf("there is no document %q", name)
		}
	}
}

// texts are the human texts of a document, decoded, by media type.
func texts(t *testing.T, raw []byte) map[string]string {
	t.Helper()
	e, _ := parseEntity(raw)
	signed, _, _ := e.entities()
	mixed, _, _ := signed[0].entities()
	alternatives, _, err := mixed[0].entities()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, text := range alternatives {
		decoded, err := text.content(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		found[text.media] = string(decoded)
	}
	return found
}

func TestTextSaysWhatTheRulesAsk(t *testing.T) {
	const refused = "rifiutato"
	special := map[string][]string{ // beyond what all say, in Italian
		"accettazione":                  {"bob@pec.other.example.it (posta certificata)", "eve@example.org (posta ordinaria)"},
		"non-accettazione":              {"Il campo To manca."},
		"non-accettazione virus":        {refused, "virus", "Eicar-Test"},
		"posta-certificata":             {"allegato postacert.eml"},
		"preavviso-errore-consegna 12h": {"dodici ore", "secondo avviso"},
		"preavviso-errore-consegna 24h": {"ventiquattro ore", "chiusa con esito negativo"},
		"rilevazione-virus":             {"virus", "Eicar-Test"},
		"errore-consegna":               {refused, "5.1.1 - X - indirizzo non valido"},
		"errore-consegna virus":         {refused, "virus", "5.5.1 - X - virus"},
	}
	for name, raw := range documents(t, rsaIdentity()) {
		t.Run(name, func(t *testing.T) {
			for media, text := range texts(t, raw) {
				subject := "\"Citt\xe0 & \"Bari\" <1> ?\""
				if media == "text/html" {
					subject = "&#34;Citt\xe0 &amp; &#34;Bari&#34; &lt;1&gt; &#8364;&#34;"
				}
				for _, datum := range []string{"21/11/2026", "21:14:03 (+0100)", subject, "mario@pec.example.it", "bob@pec.other.example.it", testID} {
					if strings.Count(text, datum) < 2 {
						t.Errorf("%s does not hold %q in both languages:\n%s", media, datum, text)
					}
				}
				for _, datum := range special[name] {
					if !strings.Contains(text, datum) {
						t.Errorf("%s does not hold %q:\n%s", media, datum, text)
					}
				}
			}
		})
	}
}

func TestEveryFormHasSubjectAndWords(t *testing.T) {
	if len(subjects) != len(wordings) {
		t.Errorf("%d subjects, %d wordings", len(subjects), len(wordings))
	}
	for f := range subjects {
		for language, w := range map[string]wording{"Italian": wordings[f].italian, "English": wordings[f].english} {
			if w.title == "" || strings.Count(w.opening, "%s") != 1 {
				t.Errorf("%v has no %s words", f, language)
			}
		}
	}
}

func TestWarningsAreToldApart(t *testing.T) {
	docs := documents(t, ecdsaIdentity())
	for name, code := range map[string]string{"preavviso-errore-consegna 12h": "4.4.1 - " + provider.Name, "preavviso-errore-consegna 24h": "5.4.1 - " + provider.Name} {
		j := Classify(docs[name], index(ecdsaIdentity()), testCA().roots, at)
		if c := j.Certification; c == nil || !strings.HasPrefix(c.ExtendedError, code) || c.Error != ErrorNone || c.Delivery != "bob@pec.other.example.it" {
			t.Errorf("%s holds %+v", name, c)
		}
	}
	if raw, err := ecdsaIdentity().TimeoutWarning(provider, transit(), noticeID, "bob@pec.other.example.it", "36h", at); err == nil {
		t.Errorf("a third deadline made %s", raw)
	}
	first := provider.NoticeID(testID, TypeTimeoutWarning, "bob@pec.other.example.it", string(FirstDeadline))
	if first == provider.NoticeID(testID, TypeTimeoutWarning, "bob@pec.other.example.it", string(LastDeadline)) {
		t.Error("both notices have one Message-ID")
	}
}

func TestNameOfAThreatIsBounded(t *testing.T) {
	raw, err := ecdsaIdentity().NonAcceptanceVirus(provider, transit(), noticeID, strings.Repeat("è\r\n", 500), at)
	if err != nil {
		t.Fatal(err)
	}
	c := Classify(raw, index(ecdsaIdentity()), testCA().roots, at).Certification
	if c == nil || len(c.ExtendedError) > 200 || !strings.Contains(c.ExtendedError, "è") || c.Error != ErrorVirus {
		t.Errorf("holds %+v", c)
	}
}

func TestWhatARemoteServerSaidIsBounded(t *testing.T) {
	cases := map[string]string{
		"a letter over the edge":        strings.Repeat("x", 299) + "è",
		"text of another character set": "casella \xe8 piena",
		"lines and controls":            "a\r\nX-Ricevuta: b\x00\x1b[0m",
	}
	for sentence, said := range cases {
		t.Run(sentence, func(t *testing.T) {
			raw, err := ecdsaIdentity().DeliveryError(provider, transit(), noticeID, "bob@pec.other.example.it", ErrorOther, said, at)
			if err != nil {
				t.Fatal(err)
			}
			c := Classify(raw, index(ecdsaIdentity()), testCA().roots, at).Certification
			if c == nil || len(c.ExtendedError) > 300 || strings.ContainsAny(c.ExtendedError, "\ufffd\r\n\x00\x1b") {
				t.Errorf("holds %+v", c)
			}
		})
	}
}

func TestOriginalComesOutByteForByte(t *testing.T) {
	head := lines("From: mario@pec.example.it", "To: bob@pec.other.example.it", "Message-ID: <a@b>", "")
	for sentence, c := range map[string]struct {
		body     string
		encoding string
	}{
		"plain":                      {"hello\r\n", "7bit"},
		"no body":                    {"", "7bit"},
		"empty lines at the end":     {"hello\r\n\r\n\r\n", "7bit"},
		"a line of 998":              {strings.Repeat("x", 998) + "\r\n", "7bit"},
		"a line of 2000":             {strings.Repeat("x", 2000) + "\r\n", "base64"},
		"bytes above 127":            {"Citt\xe0 \xf0\x9f\x90\x98\r\n", "base64"},
		"a NUL":                      {"a\x00b\r\n", "base64"},
		"a lone line feed":           {"a\nb\r\n", "base64"},
		"a lone carriage return":     {"a\rb\r\n", "base64"},
		"an end of data in disguise": {"a\n.\r\nb\r\n", "base64"},
	} {
		t.Run(sentence, func(t *testing.T) {
			o := parsed(t, append(head[:len(head):len(head)], c.body...))
			raw, err := ecdsaIdentity().Envelope(provider, transit(), o, received, at)
			if err != nil {
				t.Fatal(err)
			}
			openssl(t, raw)
			j := Classify(raw, index(ecdsaIdentity()), testCA().roots, at)
			if j.Type != TypeEnvelope || !bytes.Equal(j.Postacert, certified(o)) {
				t.Errorf("%s %q: %q", j.Type, j.Errors, j.Postacert)
			}
			if !bytes.Contains(raw, []byte("postacert.eml\"\r\nContent-Transfer-Encoding: "+c.encoding)) {
				t.Errorf("encoding is not %s", c.encoding)
			}
			if !wireSafe(raw) {
				t.Error("not 7 bit with clean, short lines")
			}
		})
	}
}

func TestEnvelopeInheritsWhatIsSafe(t *testing.T) {
	long := strings.Repeat("Ufficio molto lungo ", 60)
	for sentence, c := range map[string]struct {
		fields []string
		want   string // in the outer header
	}{
		"folding stays":                 {[]string{"tO:  a@x.it,", "\t b@y.it"}, "\r\ntO:  a@x.it,\r\n\t b@y.it\r\n"},
		"RFC 2047 stays":                {[]string{"To: =?iso-8859-15?q?Citt=E0?= <a@x.it>"}, "\r\nTo: =?iso-8859-15?q?Citt=E0?= <a@x.it>\r\n"},
		"Reply-To stays":                {[]string{"To: a@x.it", "Reply-To: Un Altro <altro@x.it>"}, "\r\nReply-To: Un Altro <altro@x.it>\r\n"},
		"an empty Reply-To is replaced": {[]string{"To: a@x.it", "Reply-To: "}, "\r\nReply-To: mario@pec.example.it\r\n"},
		"raw UTF-8 becomes RFC 2047":    {[]string{"To: Città <a@x.it>, b@y.it"}, "\r\nTo: =?utf-8?q?Citt=C3=A0?= <a@x.it>, <b@y.it>\r\n"},
		"raw Latin-1 becomes RFC 2047":  {[]string{"To: Citt\xe0 <a@x.it>"}, "\r\nTo: =?utf-8?q?Citt=C3=A0?= <a@x.it>\r\n"},
		"a line too long is folded":     {[]string{"To: \"" + long + "\" <a@x.it>"}, "\r\nTo: \"Ufficio molto lungo"},
		"a name without blanks is left": {[]string{"To: \"" + strings.Repeat("x", 1200) + "\" <a@x.it>"}, "\r\nTo: <a@x.it>\r\n"},
		"an unsafe Received is left":    {[]string{"To: a@x.it", "Received: from citt\xe0"}, "\r\nTo: a@x.it\r\n"},
	} {
		t.Run(sentence, func(t *testing.T) {
			o := parsed(t, lines(append(append([]string{"From: mario@pec.example.it"}, c.fields...), "", "x")...))
			raw, err := ecdsaIdentity().Envelope(provider, transit(), o, received, at)
			if err != nil {
				t.Fatal(err)
			}
			head := raw[:headerEnd(raw)]
			if !bytes.Contains(head, []byte(c.want)) || !wireSafe(raw) {
				t.Errorf("header is\n%s", head)
			}
			if j := Classify(raw, index(ecdsaIdentity()), testCA().roots, at); j.Type != TypeEnvelope {
				t.Errorf("judged %s: %q", j.Type, j.Errors)
			}
		})
	}
}

func TestNothingCanInjectAHeader(t *testing.T) {
	evil := transit()
	evil.Subject = "x\r\nBcc: eve@example.org\r\n\r\nbody \u2028 =?utf-8?q?y?="
	evil.MessageID = "<x>\r\nX-Trasporto: errore"
	raw, err := ecdsaIdentity().Acceptance(provider, evil, noticeID, at)
	if err != nil {
		t.Fatal(err)
	}
	e, err := parseEntity(raw)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.header) != 9 || len(e.header.all("Bcc"))+len(e.header.all("X-Trasporto")) > 0 {
		t.Errorf("header has %d fields:\n%s", len(e.header), raw[:headerEnd(raw)])
	}
	if got, want := decodeText(e.header.get("Subject")), "ACCETTAZIONE: "+cleanText(evil.Subject); got != want {
		t.Errorf("subject reads %q, want %q", got, want)
	}
	for sentence, call := range map[string]func() ([]byte, error){
		"a sender that is no address": func() ([]byte, error) {
			evil.Sender = "a@x.it\r\nBcc: b@y.it"
			return ecdsaIdentity().Acceptance(provider, evil, noticeID, at)
		},
		"a service mailbox that is no address": func() ([]byte, error) {
			return ecdsaIdentity().TakeCharge(provider, transit(), noticeID, "x\r\n@y", []string{"a@b.it"}, at)
		},
		"an identifier that is none": func() ([]byte, error) {
			return ecdsaIdentity().Acceptance(provider, transit(), "a b@c>", at)
		},
		"an envelope with such an identifier": func() ([]byte, error) {
			evil := transit()
			evil.Identifier = "x>\r\ny@z"
			return ecdsaIdentity().Envelope(provider, evil, parsed(t, submitted), nil, at)
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			if raw, err := call(); err == nil {
				t.Errorf("got %s", raw)
			}
		})
	}
}

func FuzzHeaderText(f *testing.F) {
	f.Add("Delibera n. 12")
	f.Add("Città " + strings.Repeat("è", 200))
	f.Add(strings.Repeat("x", 3000))
	f.Add(strings.Repeat("word  ", 300))
	f.Add("=?utf-8?q?x?= \x00\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		w := &headerWriter{}
		w.text("Subject", "CONSEGNA: ", text)
		h, _, err := parseHeader(w.Bytes())
		if err != nil || len(h) != 1 || !wireSafe(w.Bytes()) {
			t.Fatalf("%v: %q", err, w.Bytes())
		}
		want := strings.TrimRight("CONSEGNA: "+cleanText(text), " ")
		if got := strings.TrimRight(decodeText(h.get("Subject")), " "); got != want {
			t.Fatalf("got %q, want %q, from %q", got, want, w.Bytes())
		}
	})
}

func TestSignatureCoversWhatItSays(t *testing.T) {
	for keys, id := range map[string]identity{"RSA": rsaIdentity(), "ECDSA": ecdsaIdentity()} {
		t.Run(keys, func(t *testing.T) {
			cms, err := id.sign(sum("content"), at)
			if err != nil {
				t.Fatal(err)
			}
			p7, err := pkcs7.Parse(cms)
			if err != nil {
				t.Fatal(err)
			}
			var when time.Time
			if err := p7.UnmarshalSignedAttribute(oidSigningTime, &when); err != nil || !when.Equal(at.Truncate(time.Second)) {
				t.Errorf("signing time %s, %v", when, err)
			}
			if len(p7.Certificates) != 2 || len(p7.Content) != 0 {
				t.Errorf("%d certificates, %d bytes of content", len(p7.Certificates), len(p7.Content))
			}
			// OpenSSL checks signingCertificateV2 against the certificate when asked for CAdES.
			cmd := exec.Command("openssl", "cms", "-verify", "-cades", "-inform", "DER", "-in", writeFile(t, "s.p7s", cms),
				"-content", writeFile(t, "content", []byte("content")), "-binary", "-out", writeFile(t, "out", nil),
				"-CAfile", writeFile(t, "root.pem", testCA().rootPEM), "-attime", fmt.Sprint(at.Unix()))
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("openssl cms -verify -cades: %v\n%s", err, text)
			}
		})
	}
}

func TestIdentifiersAreDerived(t *testing.T) {
	first := Identifier("a", "4abcXYZ", "PEC.example.it")
	if first != Identifier("a", "4abcXYZ", "pec.example.it") && !strings.HasSuffix(first, "@pec.example.it") {
		t.Errorf("identifier is %s", first)
	}
	if !isMessageID(first) || first == Identifier("b", "4abcXYZ", "pec.example.it") || first == Identifier("a4", "abcXYZ", "pec.example.it") {
		t.Error("two submissions share an identifier")
	}
	issuer, other := Provider{MailDomain: "PEC.example.it"}, Provider{MailDomain: "pec.example.it.example.net"}
	seen := map[string]bool{other.NoticeID(first, TypeDelivery, "a@x.it"): true}
	for _, id := range []string{
		issuer.NoticeID(first, TypeDelivery, "a@x.it"), issuer.NoticeID(first, TypeDelivery, "b@x.it"), issuer.NoticeID(first, TypeDeliveryError, "a@x.it"),
		issuer.NoticeID(first, TypeTakeCharge, "", "q1"), issuer.NoticeID(first, TypeTakeCharge, "", "q2"), issuer.NoticeID(first, TypeTakeCharge, "q1"),
	} {
		if seen[id] || !isMessageID(id) || !strings.HasSuffix(id, "@pec.example.it") {
			t.Errorf("notice identifier %s", id)
		}
		seen[id] = true
	}
	if issuer.NoticeID(first, TypeDelivery, "A@x.it") != issuer.NoticeID(first, TypeDelivery, "a@X.it") {
		t.Error("case makes another notice")
	}
}
