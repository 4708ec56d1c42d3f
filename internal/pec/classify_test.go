package pec

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// signedBy makes a document of any header and parts, to try forms that the builders never make.
func signedBy(t testing.TB, id identity, header []string, parts ...part) []byte {
	t.Helper()
	h := newHeader()
	h.Write(lines(header...))
	raw, err := collect(documentSize, func(w io.Writer) error { return id.document(w, h, "test", parts, at) })
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// stranger has a certificate of the same authority that is in no index; impostor one that leads to no root.
var stranger = sync.OnceValue(func() identity {
	return testCA().identity(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), provider.ServiceAddress, func(*x509.Certificate) {})
})

var impostor = sync.OnceValue(func() identity {
	return newAuthority().identity(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), provider.ServiceAddress, func(*x509.Certificate) {})
})

var webServer = sync.OnceValue(func() identity {
	return testCA().identity(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), provider.ServiceAddress, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
})

func TestJudgement(t *testing.T) {
	id := ecdsaIdentity()
	docs := documents(t, id)
	envelope, receipt := docs["posta-certificata"], docs["accettazione"]
	xml := func(kind Type) part {
		data, err := samples()[kind].XML()
		if err != nil {
			t.Fatal(err)
		}
		return namedPart("application/xml", "daticert.xml", "base64", inBase64{flat(data)})
	}
	text := textPart("text/plain", []byte("testo"))
	original := messagePart(parsed(t, submitted).certified(testID))
	head := func(mark, messageID string) []string {
		return []string{mark, "From: " + provider.ServiceAddress, "Message-ID: <" + messageID + ">"}
	}
	asEnvelope, asReceipt := head("X-Trasporto: posta-certificata", testID), head("X-Ricevuta: accettazione", noticeID)
	for sentence, c := range map[string]struct {
		raw  []byte
		want Type
		why  string // a piece of the first error
	}{
		"an envelope":                               {raw: envelope, want: TypeEnvelope},
		"a receipt":                                 {raw: receipt, want: TypeAcceptance},
		"a preamble is passed over":                 {raw: replaced(envelope, "\r\n\r\n--pec", "\r\n\r\nThis is an S/MIME signed message\r\n\r\n--pec"), want: TypeEnvelope},
		"the original before the XML":               {raw: signedBy(t, id, asEnvelope, text, original, xml(TypeEnvelope)), want: TypeEnvelope},
		"a part that we do not know":                {raw: signedBy(t, id, asReceipt, text, xml(TypeAcceptance), namedPart("application/pdf", "x.pdf", "base64", flat("QQ=="))), want: TypeAcceptance},
		"plain mail":                                {raw: submitted, want: TypeOrdinary, why: "non porta una firma"},
		"nothing":                                   {raw: nil, want: TypeOrdinary, why: "non porta una firma"},
		"a changed byte in the original":            {raw: replaced(envelope, "Buongiorno.", "Buongiorni."), want: TypeOrdinary, why: "firma non valida"},
		"a blank at a line's end":                   {raw: replaced(envelope, "Buongiorno.", "Buongiorno. "), want: TypeOrdinary, why: "firma non valida"},
		"a part slipped in before the signed one":   {raw: insertPart(envelope), want: TypeOrdinary, why: "parte con la firma"},
		"a part behind the signature":               {raw: appendPart(envelope), want: TypeAnomaly, why: "non sono coperte"},
		"text behind the last boundary":             {raw: append(envelope[:len(envelope):len(envelope)], "more\r\n"...), want: TypeAnomaly, why: "non sono coperte"},
		"a signer in no index":                      {raw: documents(t, stranger())["accettazione"], want: TypeOrdinary, why: "dell'indice"},
		"a signer of another root":                  {raw: documents(t, impostor())["accettazione"], want: TypeOrdinary, why: "catena"},
		"a certificate for web servers":             {raw: documents(t, webServer())["accettazione"], want: TypeOrdinary, why: "catena"},
		"another provider's address in From":        {raw: replaced(receipt, "From: posta-certificata@pec.example.it", "From: posta-certificata@pec.other.it"), want: TypeAnomaly, why: "non e' l'indirizzo nel certificato"},
		"two From fields":                           {raw: replaced(receipt, "From: ", "From: eve@example.org\r\nFrom: "), want: TypeAnomaly, why: "From manca, e' doppio"},
		"two addresses in From":                     {raw: replaced(receipt, "From: ", "From: eve@example.org, "), want: TypeAnomaly, why: "From manca, e' doppio"},
		"two X-Ricevuta fields":                     {raw: replaced(receipt, "X-Ricevuta: ", "X-Ricevuta: avvenuta-consegna\r\nX-Ricevuta: "), want: TypeAnomaly, why: "piu' di una volta"},
		"X-Ricevuta and X-Trasporto":                {raw: replaced(receipt, "X-Ricevuta: ", "X-Trasporto: posta-certificata\r\nX-Ricevuta: "), want: TypeAnomaly, why: "piu' di una volta"},
		"neither of them":                           {raw: replaced(receipt, "X-Ricevuta: accettazione\r\n", ""), want: TypeAnomaly, why: "mancano"},
		"a type that only contains another":         {raw: replaced(receipt, "X-Ricevuta: accettazione", "X-Ricevuta: non-accettazione"), want: TypeAnomaly, why: "di tipo accettazione, l'intestazione di tipo non-accettazione"},
		"a type in capitals":                        {raw: replaced(receipt, "X-Ricevuta: accettazione", "X-Ricevuta: Accettazione"), want: TypeAnomaly, why: "valore sconosciuto"},
		"an envelope that says it is a receipt":     {raw: replaced(envelope, "X-Trasporto: posta-certificata", "X-Ricevuta: posta-certificata"), want: TypeAnomaly, why: "valore sconosciuto"},
		"an anomaly envelope":                       {raw: signedBy(t, id, head("X-Trasporto: errore", "x@y"), text, original), want: TypeAnomaly, why: "busta di anomalia"},
		"two Message-IDs":                           {raw: replaced(receipt, "Message-ID: ", "Message-ID: <x@y>\r\nMessage-ID: "), want: TypeAnomaly, why: "Message-ID"},
		"another Message-ID on an envelope":         {raw: replaced(envelope, "\nMessage-ID: <"+testID, "\nMessage-ID: <x@y"), want: TypeAnomaly, why: "Message-ID della busta"},
		"two subjects":                              {raw: replaced(receipt, "Subject: ", "Subject: x\r\nSubject: "), want: TypeAnomaly, why: "Subject e' doppio"},
		"an original with another identifier":       {raw: signedBy(t, id, asEnvelope, text, xml(TypeEnvelope), messagePart(flat(submitted))), want: TypeAnomaly, why: "messaggio originale non e' l'identificativo"},
		"an envelope without the original":          {raw: signedBy(t, id, asEnvelope, text, xml(TypeEnvelope)), want: TypeAnomaly, why: "manca il messaggio originale"},
		"an envelope with two originals":            {raw: signedBy(t, id, asEnvelope, text, xml(TypeEnvelope), original, original), want: TypeAnomaly, why: "piu' di una volta"},
		"no XML":                                    {raw: signedBy(t, id, asReceipt, text), want: TypeAnomaly, why: "daticert.xml manca"},
		"two XML":                                   {raw: signedBy(t, id, asReceipt, text, xml(TypeAcceptance), xml(TypeAcceptance)), want: TypeAnomaly, why: "daticert.xml manca, e' doppio"},
		"XML of another type":                       {raw: signedBy(t, id, asReceipt, text, xml(TypeDelivery)), want: TypeAnomaly, why: "di tipo avvenuta-consegna"},
		"XML that is none":                          {raw: signedBy(t, id, asReceipt, text, namedPart("application/xml", "daticert.xml", "7bit", flat("hello"))), want: TypeAnomaly, why: "non e' valido"},
		"XML as text":                               {raw: signedBy(t, id, asReceipt, text, namedPart("text/plain", "daticert.xml", "7bit", flat("hello"))), want: TypeAnomaly, why: "non e' XML"},
		"XML in an unknown encoding":                {raw: signedBy(t, id, asReceipt, text, namedPart("application/xml", "daticert.xml", "x-uuencode", flat("hello"))), want: TypeAnomaly, why: "encoding"},
		"the XML only inside the attached envelope": {raw: signedBy(t, id, asEnvelope, text, messagePart(flat(envelope))), want: TypeAnomaly, why: "daticert.xml manca"},
		"a signed part that is not multipart":       {raw: signSingle(t, id), want: TypeAnomaly, why: "non e' multipart/mixed"},
		"a lone line feed in the header":            {raw: replaced(receipt, "To: ", "To: x\nBcc: "), want: TypeOrdinary, why: "intestazione non leggibile"},
		"two Content-Type fields":                   {raw: replaced(receipt, "MIME-Version", "Content-Type: text/plain\r\nMIME-Version"), want: TypeOrdinary, why: "non porta una firma"},
		"an OpenPGP signature":                      {raw: replaced(receipt, `protocol="application/pkcs7-signature"`, `protocol="application/pgp-signature"`), want: TypeOrdinary, why: "non e' S/MIME"},
		"a boundary given twice":                    {raw: replaced(receipt, "boundary=", "boundary=\"x\"; boundary="), want: TypeOrdinary, why: "non porta una firma"},
		"a boundary in pieces":                      {raw: replaced(receipt, "boundary=\""+outerEdge(receipt), "boundary*0=\"pec-\"; boundary*1=\""+strings.TrimPrefix(outerEdge(receipt), "pec-")), want: TypeAcceptance},
		"the XML under one of its two names":        {raw: signedBy(t, id, asReceipt, text, renamed(xml(TypeAcceptance), "filename=\"altro.xml\"")), want: TypeAcceptance},
		"a second XML under the other name":         {raw: signedBy(t, id, asReceipt, text, xml(TypeAcceptance), renamed(xml(TypeAcceptance), "filename=\"altro.xml\"")), want: TypeAnomaly, why: "daticert.xml manca, e' doppio"},
		"XML with two encodings":                    {raw: signedBy(t, id, asReceipt, text, twiceEncoded(xml(TypeAcceptance))), want: TypeAnomaly, why: "encoding twice"},
		"more parts than anybody sends":             {raw: signedBy(t, id, asReceipt, slices.Repeat([]part{text}, maxParts+1)...), want: TypeAnomaly, why: "struttura della parte firmata"},
		"an original nested deeper than any reader": {raw: signedBy(t, id, asEnvelope, text, xml(TypeEnvelope), messagePart(flat(nested(t, 10_000)))), want: TypeEnvelope},
		"cut short":                                 {raw: envelope[:len(envelope)-100], want: TypeOrdinary, why: "struttura"},
		"too many header fields":                    {raw: append(bytes.Repeat([]byte("X: y\r\n"), 1001), receipt...), want: TypeOrdinary, why: "exceeds"},
	} {
		t.Run(sentence, func(t *testing.T) {
			j := Classify(c.raw, index(id, impostor(), webServer()), testCA().roots, at)
			if j.Type != c.want {
				t.Fatalf("judged %s: %q", j.Type, j.Errors)
			}
			if (c.why == "") != (len(j.Errors) == 0) || (c.why != "" && !strings.Contains(j.Errors[0], c.why)) {
				t.Errorf("errors %q, want %q", j.Errors, c.why)
			}
			if (j.Type == TypeOrdinary) != (j.Provider.Name == "") {
				t.Errorf("provider is %q", j.Provider.Name)
			}
		})
	}
}

// renamed is a part with another name in Content-Disposition.
func renamed(p part, fileName string) part {
	p.header = strings.Replace(p.header, "filename=\"daticert.xml\"", fileName, 1)
	return p
}

func twiceEncoded(p part) part {
	p.header = "Content-Transfer-Encoding: 7bit\r\n" + p.header
	return p
}

// nested is the original with so many multiparts in one another.
func nested(t *testing.T, depth int) []byte {
	t.Helper()
	raw := []byte("Message-ID: <" + testID + ">\r\n")
	for i := range depth {
		raw = fmt.Appendf(raw, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	return raw
}

// insertPart puts an unsigned part in front, as if it were what the signature is about.
func insertPart(envelope []byte) []byte {
	edge := outerEdge(envelope)
	return replaced(envelope, "\r\n\r\n--"+edge, "\r\n\r\n--"+edge+"\r\nContent-Type: text/plain\r\n\r\nfalse\r\n--"+edge)
}

func appendPart(envelope []byte) []byte {
	edge := outerEdge(envelope)
	return replaced(envelope, "\r\n--"+edge+"--", "\r\n--"+edge+"\r\nContent-Type: text/plain\r\n\r\nfalse\r\n--"+edge+"--")
}

func outerEdge(envelope []byte) string {
	e := must(parseEntity(envelope))
	return e.params["boundary"]
}

// signSingle is a good signature over a body that is no PEC body.
func signSingle(t *testing.T, id identity) []byte {
	t.Helper()
	content := "Content-Type: text/plain\r\n\r\nhello"
	cms, err := id.sign(sum(content), at)
	if err != nil {
		t.Fatal(err)
	}
	return []byte("X-Ricevuta: accettazione\r\nFrom: " + provider.ServiceAddress + "\r\nMessage-ID: <a@b>\r\nContent-Type: multipart/signed; " +
		"protocol=\"application/x-pkcs7-signature\"; micalg=\"sha256\"; boundary=b\r\n\r\n--b\r\n" + content +
		"\r\n--b\r\nContent-Type: application/x-pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\n" + string(encodeBase64(cms)) + "\r\n--b--\r\n")
}

func TestCertificatesCountAtTheTimeOfArrival(t *testing.T) {
	raw := documents(t, ecdsaIdentity())["accettazione"]
	for sentence, c := range map[string]struct {
		at   time.Time
		want Type
	}{
		"while the certificate is valid": {at.AddDate(0, 6, 0), TypeAcceptance},
		"after its end":                  {at.AddDate(2, 0, 0), TypeOrdinary},
		"before its beginning":           {at.AddDate(-2, 0, 0), TypeOrdinary},
	} {
		t.Run(sentence, func(t *testing.T) {
			if j := Classify(raw, index(ecdsaIdentity()), testCA().roots, c.at); j.Type != c.want {
				t.Errorf("judged %s: %q", j.Type, j.Errors)
			}
		})
	}
	if j := Classify(raw, index(ecdsaIdentity()), nil, at); j.Type != TypeOrdinary {
		t.Errorf("without roots judged %s", j.Type)
	}
}

// opensslSigns lets OpenSSL sign what we would have signed, as other providers' engines do.
func opensslSigns(t *testing.T, id identity, options ...string) []byte {
	t.Helper()
	raw := documents(t, id)["accettazione"]
	e := must(parseEntity(raw))
	c, err := cutMultipart(e.body, e.params["boundary"])
	if err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(id.key))})
	leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.chain[0].Raw})
	middle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.chain[1].Raw})
	out := writeFile(t, "s.p7s", nil)
	args := append([]string{"cms", "-sign", "-binary", "-in", writeFile(t, "content", c.parts[0]), "-signer", writeFile(t, "leaf.pem", leaf),
		"-inkey", writeFile(t, "key.pem", key), "-certfile", writeFile(t, "middle.pem", middle), "-outform", "DER", "-out", out}, options...)
	if text, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, text)
	}
	cms, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	start := bytes.LastIndex(raw, []byte("\r\n\r\n")) + 4
	end := bytes.LastIndex(raw, []byte("\r\n--"))
	return append(append(raw[:start:start], encodeBase64(cms)...), raw[end:]...)
}

func TestSignaturesOfOtherProviders(t *testing.T) {
	for sentence, c := range map[string]struct {
		id      identity
		options []string
		want    Type
	}{
		"SHA-256":                         {rsaIdentity(), []string{"-md", "sha256"}, TypeAcceptance},
		"SHA-1, still sent":               {rsaIdentity(), []string{"-md", "sha1"}, TypeAcceptance},
		"SHA-1 with ECDSA":                {ecdsaIdentity(), []string{"-md", "sha1"}, TypeAcceptance},
		"BER with the content inside":     {rsaIdentity(), []string{"-md", "sha256", "-nodetach", "-stream"}, TypeOrdinary},
		"the content inside":              {rsaIdentity(), []string{"-md", "sha256", "-nodetach"}, TypeOrdinary},
		"no signed attributes":            {rsaIdentity(), []string{"-md", "sha256", "-noattr"}, TypeOrdinary},
		"no certificates":                 {rsaIdentity(), []string{"-md", "sha256", "-nocerts"}, TypeOrdinary},
		"MD5":                             {rsaIdentity(), []string{"-md", "md5"}, TypeOrdinary},
		"the signer by its key, not name": {rsaIdentity(), []string{"-md", "sha256", "-keyid"}, TypeOrdinary},
	} {
		t.Run(sentence, func(t *testing.T) {
			if j := Classify(opensslSigns(t, c.id, c.options...), index(c.id), testCA().roots, at); j.Type != c.want {
				t.Errorf("judged %s: %q", j.Type, j.Errors)
			}
		})
	}
}

// An old message is still intact when its certificate is one that nobody would believe today: RSA-1024, signed with SHA-1, expired.
func TestSignatureIsIntactWhateverTheCertificate(t *testing.T) {
	old := testCA().identity(must(rsa.GenerateKey(rand.Reader, 1024)), provider.ServiceAddress, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = at.AddDate(-6, 0, 0), at.AddDate(-4, 0, 0)
	})
	d := Open(opensslSigns(t, old, "-md", "sha1"))
	if d.Fault != "" || d.Signature.Digest != "sha1" || !d.Signature.Signer.Equal(old.chain[0]) || d.Signature.Signer.NotAfter.After(at) {
		t.Errorf("%s: %+v", d.Fault, d.Signature)
	}
	if err := d.Signature.VerifyChain(testCA().roots, at.AddDate(-5, 0, 0)); err == nil || !strings.Contains(err.Error(), "outside of the certificate's validity") {
		t.Errorf("signed after its end, and yet: %v", err)
	}
	if j := d.Judge(index(old), testCA().roots, at); j.Type != TypeOrdinary {
		t.Errorf("judged %s", j.Type)
	}
	if j := d.Judge(nil, nil, at); j.Type != TypeAcceptance || j.Provider.Name != "" {
		t.Errorf("by its form judged %s: %q", j.Type, j.Errors)
	}
}

func TestDigestsHaveNames(t *testing.T) {
	for _, digest := range []string{"sha1", "sha256", "sha384", "sha512"} {
		if d := Open(opensslSigns(t, rsaIdentity(), "-md", digest)); d.Fault != "" || d.Signature.Digest != digest {
			t.Errorf("%s: %s %s", digest, d.Fault, d.Signature.Digest)
		}
	}
	if d := Open(opensslSigns(t, rsaIdentity(), "-md", "md5")); d.Fault == "" || d.Signature.Digest != "md5" || d.Signature.Signer == nil {
		t.Errorf("md5: %q %+v", d.Fault, d.Signature)
	}
}

// indefinite re-writes every constructed element of DER with an indefinite length, as some real providers send it.
func indefinite(t testing.TB, der []byte) []byte {
	t.Helper()
	var out []byte
	for len(der) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			t.Fatal(err)
		}
		if der = rest; !v.IsCompound {
			out = append(out, v.FullBytes...)
			continue
		}
		out = append(append(append(out, v.FullBytes[0], 0x80), indefinite(t, v.Bytes)...), 0, 0)
	}
	return out
}

func TestIndefiniteLengthsAreRead(t *testing.T) {
	der, err := rsaIdentity().sign(sum("content"), at)
	if err != nil {
		t.Fatal(err)
	}
	ber := indefinite(t, der)
	if base64.StdEncoding.EncodeToString(ber)[:4] != "MIAG" {
		t.Fatal("this is not what the real ones look like")
	}
	signer, err := readSignature([]byte("content"), ber)
	if err != nil || !signer.Signer.Equal(rsaIdentity().chain[0]) {
		t.Errorf("got %v", err)
	}
	if _, err := readSignature([]byte("Content"), ber); err == nil {
		t.Error("another content passes")
	}
}

func TestBERIsBounded(t *testing.T) {
	for sentence, ber := range map[string][]byte{
		"nesting without end":      bytes.Repeat([]byte{0x30, 0x80}, 100000),
		"nesting beyond the bound": append(bytes.Repeat([]byte{0x30, 0x80}, 40), bytes.Repeat([]byte{0, 0}, 40)...),
		"too big":                  make([]byte, maxCMSBytes+1),
		"a length beyond the end":  {0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0},
		"a length of many bytes":   {0x30, 0x88, 0, 0, 0, 0, 0, 0, 0, 1, 0},
		"an open primitive":        {0x04, 0x80, 0, 0},
		"an open end":              {0x30, 0x80, 0x02, 0x01, 0x01},
		"a long tag":               {0x1f, 0x81, 0x01, 0x00},
		"something behind":         {0x30, 0x00, 0x30, 0x00},
		"an odd piece of octets":   {0x24, 0x80, 0x02, 0x01, 0x01, 0, 0},
		"nothing":                  nil,
	} {
		t.Run(sentence, func(t *testing.T) {
			if der, err := toDER(ber); err == nil {
				t.Errorf("got %x", der)
			}
		})
	}
	got, err := toDER([]byte{0x30, 0x80, 0x24, 0x80, 0x04, 0x01, 'a', 0x04, 0x02, 'b', 'c', 0, 0, 0, 0})
	if want := []byte{0x30, 0x05, 0x04, 0x03, 'a', 'b', 'c'}; err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
}

func TestSignerIsReadFromPEM(t *testing.T) {
	rsaID, ecID := rsaIdentity(), ecdsaIdentity()
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	chain := func(id identity) []byte {
		return append(block("CERTIFICATE", id.chain[0].Raw), block("CERTIFICATE", id.chain[1].Raw)...)
	}
	pkcs8 := func(id identity) []byte { return block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(id.key))) }
	noMail := issue("Senza indirizzo", nil, testCA().middle, testCA().middleKey, ecID.key.Public(), func(*x509.Certificate) {})
	noSign := issue("Senza firma", []string{"a@b.it"}, testCA().middle, testCA().middleKey, ecID.key.Public(), func(c *x509.Certificate) { c.IsCA = true })
	for sentence, c := range map[string]struct {
		certs, key []byte
		want       string
	}{
		"RSA in PKCS#8":                 {chain(rsaID), pkcs8(rsaID), ""},
		"ECDSA in PKCS#8":               {chain(ecID), pkcs8(ecID), ""},
		"ECDSA in SEC 1":                {chain(ecID), block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecID.key.(*ecdsa.PrivateKey)))), ""},
		"the key of another":            {chain(rsaID), pkcs8(ecID), "not that of the first certificate"},
		"no certificate":                {nil, pkcs8(ecID), "no certificate"},
		"no key":                        {chain(ecID), nil, "not PEM"},
		"a key that is none":            {chain(ecID), block("PRIVATE KEY", []byte("x")), "neither"},
		"a certificate that is none":    {block("CERTIFICATE", []byte("x")), pkcs8(ecID), "certificate 1"},
		"a certificate without mail":    {block("CERTIFICATE", noMail.Raw), pkcs8(ecID), "rfc822Name"},
		"a certificate not for signing": {block("CERTIFICATE", noSign.Raw), pkcs8(ecID), "not for digital signatures"},
	} {
		t.Run(sentence, func(t *testing.T) {
			_, err := NewSigner(c.certs, c.key)
			if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got error %v, want %q", err, c.want)
			}
		})
	}
}

func TestProviderManagesAddress(t *testing.T) {
	e := IndexEntry{Domains: []string{"pec.example.it"}}
	if !e.Manages("Mario@PEC.example.it") || e.Manages("mario@notpec.example.it") || e.Manages("pec.example.it@evil.org") || e.Manages("") {
		t.Error("Manages does not compare whole domains")
	}
}

// FuzzClassify signs what it makes up: behind a signature that does not verify nothing would be reached.
func FuzzClassify(f *testing.F) {
	id := ecdsaIdentity()
	for _, raw := range documents(f, id) {
		e := must(parseEntity(raw))
		c := must(cutMultipart(e.body, e.params["boundary"]))
		f.Add(raw[:bytes.Index(raw, []byte("Content-Type:"))], c.parts[0])
	}
	f.Add([]byte(nil), submitted)
	f.Fuzz(func(t *testing.T, head, content []byte) {
		cms, err := id.sign(sum(string(content)), at)
		if err != nil {
			t.Fatal(err)
		}
		signed := slices.Concat(head, []byte("Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=fuzz\r\n\r\n--fuzz\r\n"), content,
			[]byte("\r\n--fuzz\r\nContent-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\n"), encodeBase64(cms), []byte("\r\n--fuzz--\r\n"))
		for _, raw := range [][]byte{signed, head, content} {
			j := Classify(raw, index(id), testCA().roots, at)
			certified := j.Type != TypeAnomaly && j.Type != TypeOrdinary
			if certified != (len(j.Errors) == 0) || (certified && (j.Certification == nil || j.Certification.Type != j.Type)) {
				t.Fatalf("%+v", j)
			}
			brief(raw)
		}
	})
}

// FuzzSignature: whatever stands in the signature part is read within bounds.
func FuzzSignature(f *testing.F) {
	id, content := ecdsaIdentity(), []byte("content")
	der := must(id.sign(sum(string(content)), at))
	f.Add(der)
	f.Add(indefinite(f, der))
	f.Add([]byte{0x30, 0x80, 0x24, 0x80, 0x04, 0x01, 'a', 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, cms []byte) {
		der, err := toDER(cms)
		if err != nil {
			t.Skip()
		}
		if again, err := toDER(der); err != nil || !bytes.Equal(again, der) {
			t.Fatalf("%x is not DER: %v, %x", der, err, again)
		}
		if s, err := readSignature(content, cms); err == nil && (s.Signer == nil || s.Digest == "") {
			t.Fatalf("verified without a signer or a digest: %+v", s)
		}
	})
}
