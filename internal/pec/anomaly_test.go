package pec

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stray is ordinary mail as the incoming point gets it.
var stray = lines(
	"Received: from far.example.org",
	"From: Eve <eve@example.org>",
	"To: bob@pec.example.it",
	"Cc: carla@pec.example.it",
	"Message-ID: <stray-1@example.org>",
	"Subject: =?utf-8?q?Citt=C3=A0?=",
	"",
	"Hello.",
)

func anomaly(t testing.TB, raw []byte, mailFrom string, rcpts ...string) []byte {
	t.Helper()
	if rcpts == nil {
		rcpts = []string{"bob@pec.example.it"}
	}
	out, err := ecdsaIdentity().Anomaly(provider, parsed(t, raw), received, mailFrom, rcpts, []string{"firma non valida"}, at)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnomalyEnvelope(t *testing.T) {
	raw := anomaly(t, stray, "eve@example.org")
	if again := anomaly(t, stray, "eve@example.org"); !bytes.Equal(raw, again) {
		t.Error("the same event made other bytes the second time")
	}
	openssl(t, raw)
	wantHead := string(received) + "Received: from far.example.org\r\nX-Trasporto: errore\r\nDate: Sat, 21 Nov 2026 21:14:03 +0100\r\n" +
		"Subject: ANOMALIA MESSAGGIO:\r\n =?UTF-8?B?Q2l0dMOg?=\r\n" +
		"From: \"Per conto di: eve@example.org\" <posta-certificata@pec.example.it>\r\nReply-To: eve@example.org\r\n" +
		"To: bob@pec.example.it\r\nCc: carla@pec.example.it\r\nMessage-ID: <stray-1@example.org>\r\n"
	head, _, _ := strings.Cut(string(raw), "MIME-Version: ")
	if diff := cmp.Diff(wantHead, head); diff != "" {
		t.Error(diff)
	}
	const wantParts = `multipart/signed    
  multipart/mixed    
    multipart/alternative    
      text/plain iso-8859-1 quoted-printable inline 
      text/html iso-8859-1 quoted-printable inline 
    message/rfc822  7bit inline postacert.eml
  application/pkcs7-signature  base64 attachment smime.p7s
`
	if diff := cmp.Diff(wantParts, skeleton(t, must(parseEntity(raw)), "")); diff != "" {
		t.Error(diff)
	}
	for media, text := range texts(t, raw) {
		for _, datum := range []string{"21/11/2026", "21:14:03 (+0100)", "Citt\xe0", "eve@example.org", "bob@pec.example.it", "firma non valida", "postacert.eml"} {
			if strings.Count(text, datum) < 2 {
				t.Errorf("%s does not hold %q in both languages:\n%s", media, datum, text)
			}
		}
		if !strings.Contains(text, "non sono certificati") || strings.Contains(text, "posta ordinaria") {
			t.Errorf("%s says something of certified data:\n%s", media, text)
		}
	}
	j := Classify(raw, index(ecdsaIdentity()), testCA().roots, at)
	if j.Type != TypeAnomaly || !bytes.Equal(j.Postacert, stray) || j.Certification != nil || j.MessageID != "stray-1@example.org" {
		t.Errorf("judged %s %q with %q", j.Type, j.Errors, j.Postacert)
	}
}

func TestAnomalySizeIsALittleMoreThanTheEnvelope(t *testing.T) {
	bob := []string{"bob@pec.example.it"}
	crowd := slices.Repeat(bob, 1000)
	for name, raw := range map[string][]byte{
		"a short one":             stray,
		"a whole old envelope":    documents(t, ecdsaIdentity())["posta-certificata"],
		"7 bit":                   append(slices.Clone(stray), bytes.Repeat([]byte("riga\r\n"), 20_000)...),
		"8 bit":                   append(slices.Clone(stray), bytes.Repeat([]byte("citt\xe0\r\n"), 20_000)...),
		"one line":                append(slices.Clone(stray), bytes.Repeat([]byte("x"), 120_000)...),
		"to many":                 lines("To: "+strings.Repeat("bob@pec.example.it,\r\n ", 1000)+"eve@example.org", "", "x"),
		"a long subject":          lines("Subject: "+strings.Repeat("àèìòù ", 100), "", "x"),
		"many servers on its way": append(bytes.Repeat([]byte("Received: from far.example.org by near.example.org; Sat, 21 Nov 2026 21:14:03 +0100\r\n"), 49), stray...),
	} {
		for _, rcpts := range [][]string{bob, crowd} {
			size, err := AnomalySize(raw, rcpts)
			if err != nil {
				t.Fatal(err)
			}
			most := int64(16<<10 + 2*headerEnd(raw) + 10*len(rcpts))
			if spare := size - int64(len(anomaly(t, raw, "eve@example.org", rcpts...))); spare < 4<<10 || spare > most {
				t.Errorf("%s: for %d recipients it is %d bytes more than the envelope, want 4 KiB at least and %d at most", name, len(rcpts), spare, most)
			}
		}
	}
}

func TestAnomalyOfOddMail(t *testing.T) {
	for sentence, c := range map[string]struct {
		raw      []byte
		mailFrom string
		want     string // in the header
		never    string // not in the header
	}{
		"a bounce is on behalf of its From": {lines("From: MAILER-DAEMON@example.org", "To: bob@pec.example.it", "", "x"), "", "Per conto di: MAILER-DAEMON@example.org\"", "MIME-Version: 2"},
		"a bounce of nobody":                {lines("To: bob@pec.example.it", "", "x"), "", "Per conto di: mittente non indicato\"", "Reply-To"},
		"a sender that is no address":       {lines("To: bob@pec.example.it", "", "x"), "a b\r\nBcc: c@d.it", "mittente non indicato", "Bcc"},
		"a Reply-To stays":                  {lines("Reply-To: other@example.org", "", "x"), "eve@example.org", "\r\nReply-To: other@example.org\r\n", "Reply-To: eve"},
		"no Message-ID":                     {lines("To: bob@pec.example.it", "", "x"), "eve@example.org", "X-Trasporto: errore", "Message-ID"},
		"two Message-IDs":                   {lines("Message-ID: <a@b>", "Message-ID: <c@d>", "", "x"), "eve@example.org", "X-Trasporto: errore", "Message-ID"},
		"a Message-ID with raw bytes":       {lines("Message-ID: <citt\xe0@b>", "", "x"), "eve@example.org", "X-Trasporto: errore", "Message-ID"},
		"a header that is broken":           {lines("To: bob@pec.example.it", "what is this", "", "x"), "eve@example.org", "To: bob@pec.example.it", "what"},
		"a whole old envelope in it":        {documents(t, ecdsaIdentity())["posta-certificata"], "mario@pec.example.it", "X-Trasporto: errore", "X-Trasporto: posta-certificata"},
	} {
		t.Run(sentence, func(t *testing.T) {
			raw := anomaly(t, c.raw, c.mailFrom)
			openssl(t, raw)
			head := string(raw[:headerEnd(raw)])
			if !strings.Contains(head, c.want) || strings.Contains(head, c.never) || !wireSafe(raw) {
				t.Errorf("header is\n%s", head)
			}
			j := Classify(raw, index(ecdsaIdentity()), testCA().roots, at)
			if j.Type != TypeAnomaly || !bytes.Equal(j.Postacert, c.raw) || j.Certification != nil {
				t.Errorf("judged %s %q", j.Type, j.Errors)
			}
		})
	}
	if raw, err := ecdsaIdentity().Anomaly(Provider{}, parsed(t, stray), nil, "", nil, nil, at); err == nil {
		t.Errorf("a provider without address made %s", raw)
	}
}
