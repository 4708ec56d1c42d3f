package pec

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the rules name SHA-1
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func hashOf(encoded string) string { return fmt.Sprintf("%x", sha1.Sum([]byte(encoded))) } //nolint:gosec // as above

func hashPart(name, encoded string) string {
	return "Content-Type: text/plain;\r\n charset=us-ascii;\r\n name=" + name + "\r\nContent-Transfer-Encoding: 7bit\r\n" +
		"Content-Disposition: attachment;\r\n filename=" + name + "\r\n\r\n" + hashOf(encoded)
}

func briefly(message []byte) []byte {
	return must(collect(int64(len(message)), func(w io.Writer) error {
		_, err := brief(message).WriteTo(w)
		return err
	}))
}

func TestBriefReplacesAttachmentsByHashes(t *testing.T) {
	const head = "From: a@x.it\r\nTo: b@y.it\r\n"
	multi := func(kind string, parts ...string) string {
		out := "Content-Type: multipart/" + kind + "; boundary=\"b\"\r\n\r\npreamble\r\n"
		for _, p := range parts {
			out += "--b\r\n" + p + "\r\n"
		}
		return out + "--b--\r\nepilogue\r\n"
	}
	const text = "Content-Type: text/plain\r\n\r\nBuongiorno.\r\n"
	const pdf = "Content-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\nREVG"
	const byDisposition = "Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"b c.pdf\"\r\n\r\nxyz"
	const signature = "Content-Type: application/pkcs7-signature; name=\"smime.p7s\"\r\n\r\nMIIG"
	nested := strings.NewReplacer("\"b\"", "\"n\"", "--b", "--n").Replace(multi("related", text, pdf))
	alike := strings.NewReplacer("\"n\"", "\"bb\"", "--n", "--bb").Replace(nested) // its boundary begins as the one around it
	hashed := func(s string) string { return strings.Replace(s, pdf, hashPart("a.pdf.hash", "QUJD\r\nREVG"), 1) }
	for sentence, c := range map[string]struct{ in, want string }{
		"text alone stays":                     {head + text, head + text},
		"a named part":                         {head + multi("mixed", text, pdf), head + multi("mixed", text, hashPart("a.pdf.hash", "QUJD\r\nREVG"))},
		"a part named by disposition":          {head + multi("mixed", byDisposition), head + multi("mixed", hashPart("\"b c.pdf.hash\"", "xyz"))},
		"a part in a nested multipart":         {head + multi("mixed", nested), head + multi("mixed", hashed(nested))},
		"a message goes whole":                 {head + multi("mixed", "Content-Type: message/rfc822\r\n\r\n"+text), head + multi("mixed", hashPart("messaggio.eml.hash", text))},
		"a message that is one file":           {head + pdf, head + hashPart("a.pdf.hash", "QUJD\r\nREVG")},
		"a signed message's first part":        {head + multi("signed", pdf, signature), head + multi("signed", hashPart("a.pdf.hash", "QUJD\r\nREVG"), signature)},
		"an encrypted message stays":           {head + "Content-Type: application/pkcs7-mime; name=\"smime.p7m\"\r\n\r\nMIIG", head + "Content-Type: application/pkcs7-mime; name=\"smime.p7m\"\r\n\r\nMIIG"},
		"an encrypted message of the old type": {head + "Content-Type: application/x-pkcs7-mime; name=\"smime.p7m\"\r\n\r\nMIIG", head + "Content-Type: application/x-pkcs7-mime; name=\"smime.p7m\"\r\n\r\nMIIG"},
		"a signed file as an attachment":       {head + multi("mixed", text, "Content-Type: application/pkcs7-mime; name=\"atto.pdf.p7m\"\r\n\r\nMIIG"), head + multi("mixed", text, hashPart("atto.pdf.p7m.hash", "MIIG"))},
		"a name in RFC 2231":                   {head + multi("mixed", "Content-Type: application/pdf\r\nContent-Disposition: attachment; filename*=utf-8''citt%C3%A0.pdf\r\n\r\nxyz"), head + multi("mixed", strings.Replace(hashPart("X", "xyz"), "name=X", "name*=utf-8''citt%C3%A0.pdf.hash", 2))},
		"a name in RFC 2047":                   {head + multi("mixed", "Content-Type: application/pdf; name=\"=?utf-8?q?citt=C3=A0.pdf?=\"\r\n\r\nxyz"), head + multi("mixed", strings.Replace(hashPart("X", "xyz"), "name=X", "name*=utf-8''citt%C3%A0.pdf.hash", 2))},
		"a name and an inline text":            {head + multi("mixed", "Content-Type: text/plain; name=\"n.txt\"\r\nContent-Disposition: inline\r\n\r\nx\r\n"), head + multi("mixed", hashPart("n.txt.hash", "x\r\n"))},
		"the two names differ":                 {head + multi("mixed", "Content-Type: text/plain; name=\"n.txt\"\r\nContent-Disposition: attachment; filename=\"d.txt\"\r\n\r\nx"), head + multi("mixed", hashPart("d.txt.hash", "x"))},
		"a named message keeps its name":       {head + multi("mixed", "Content-Type: message/rfc822; name=\"m.eml\"\r\n\r\n"+head+nested), head + multi("mixed", hashPart("m.eml.hash", head+nested))},
		"the hash is of the encoded part":      {head + multi("mixed", "Content-Type: application/pdf; name=\"q.pdf\"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=41=42"), head + multi("mixed", hashPart("q.pdf.hash", "=41=42"))},
		"an empty attachment":                  {head + multi("mixed", "Content-Type: application/pdf; name=\"e.pdf\"\r\n\r\n"), head + multi("mixed", hashPart("e.pdf.hash", ""))},
		"alternatives without names":           {head + multi("alternative", text, "Content-Type: text/html\r\n\r\n<p>x</p>"), head + multi("alternative", text, "Content-Type: text/html\r\n\r\n<p>x</p>")},
		"other fields of a part stay":          {head + multi("mixed", "Content-ID: <x>\r\nX-Own: y\r\n"+pdf), head + multi("mixed", "X-Own: y\r\n"+hashPart("a.pdf.hash", "QUJD\r\nREVG"))},
		"a boundary that begins as another":    {head + multi("mixed", alike), head + multi("mixed", hashed(alike))},
		"deeper than anybody nests stays":      {head + deep(maxNesting+2, pdf), head + deep(maxNesting+2, pdf)},
		"as deep as is looked":                 {head + deep(maxNesting, pdf), head + hashed(deep(maxNesting, pdf))},
		"a broken multipart stays":             {head + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + pdf, head + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + pdf},
	} {
		t.Run(sentence, func(t *testing.T) {
			if diff := cmp.Diff(c.want, string(briefly([]byte(c.in)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// deep is a part inside so many multiparts.
func deep(levels int, part string) string {
	for i := range levels {
		part = fmt.Sprintf("Content-Type: multipart/mixed; boundary=%[1]d-\r\n\r\n--%[1]d-\r\n%[2]s\r\n--%[1]d---\r\n", i, part)
	}
	return part
}

func TestBriefReceiptCarriesTheBriefMessage(t *testing.T) {
	raw := documents(t, ecdsaIdentity())
	whole := certified(parsed(t, submitted))
	for name, want := range map[string][]byte{
		"avvenuta-consegna completa": whole, "avvenuta-consegna breve": briefly(whole),
		"avvenuta-consegna sintetica": nil, "avvenuta-consegna in copia": nil,
		"accettazione": nil, "non-accettazione": nil, "presa-in-carico": nil, "errore-consegna": nil,
	} {
		t.Run(name, func(t *testing.T) {
			if j := Classify(raw[name], index(ecdsaIdentity()), testCA().roots, at); !bytes.Equal(j.Postacert, want) {
				t.Errorf("carries %q", j.Postacert)
			}
		})
	}
}
