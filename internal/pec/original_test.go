package pec

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// submitted is a message of a client as the access point gets it.
var submitted = lines(
	"From: Mario Rossi <mario@PEC.example.it>",
	"To: \"Ufficio, protocollo\" <protocollo@pec.comune.example.it>,",
	"\tbob@pec.other.example.it",
	"Cc: Carla <carla@pec.example.it>",
	"Message-Id:",
	" <client-1@mario.example.it>",
	"Subject: Delibera n. 12",
	"X-TipoRicevuta: breve",
	"MIME-Version: 1.0",
	"Content-Type: text/plain; charset=us-ascii",
	"",
	"Buongiorno.",
	".a line with a dot",
)

func parsed(t testing.TB, raw []byte) *Original {
	t.Helper()
	o, err := ParseOriginal(raw)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// certified is the message as it goes into the envelope.
func certified(o *Original) []byte {
	return must(collect(o.Size(), func(w io.Writer) error {
		_, err := o.certified(testID).WriteTo(w)
		return err
	}))
}

func TestOriginalIsRead(t *testing.T) {
	o := parsed(t, submitted)
	got := []any{o.From, o.To, o.Cc, o.Bcc, o.Subject, o.MessageID, o.ReplyTo, o.Receipt}
	want := []any{
		[]string{"mario@pec.example.it"}, []string{"protocollo@pec.comune.example.it", "bob@pec.other.example.it"},
		[]string{"carla@pec.example.it"}, []string(nil), "Delibera n. 12", "<client-1@mario.example.it>", "", ReceiptBrief,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !o.CopyOnly("Carla@pec.example.it") || o.CopyOnly("bob@pec.other.example.it") {
		t.Error("CopyOnly does not tell Cc from To")
	}
}

func TestCopyOnly(t *testing.T) {
	for sentence, c := range map[string]struct {
		fields []string
		want   bool
	}{
		"in Cc":                             {[]string{"To: a@x.it", "Cc: c@x.it"}, true},
		"in Cc with another case":           {[]string{"To: a@x.it", "cc: Carla <C@X.it>"}, true},
		"in Cc, in a group":                 {[]string{"To: a@x.it", "Cc: all: b@x.it, c@x.it;"}, true},
		"in Cc without any To":              {[]string{"Cc: c@x.it"}, true},
		"in To":                             {[]string{"To: c@x.it"}, false},
		"in To and Cc":                      {[]string{"To: c@x.it", "Cc: c@x.it"}, false},
		"in neither":                        {[]string{"To: a@x.it", "Cc: b@x.it"}, false},
		"in Cc beside an unreadable To":     {[]string{"To: what is this", "Cc: c@x.it"}, false},
		"in Cc beside an empty group":       {[]string{"To: undisclosed-recipients:;", "Cc: c@x.it"}, false},
		"in Cc beside two To":               {[]string{"To: a@x.it", "To: c@x.it", "Cc: c@x.it"}, false},
		"in one of two Cc":                  {[]string{"To: a@x.it", "Cc: c@x.it", "Cc: d@x.it"}, false},
		"in an unreadable Cc":               {[]string{"To: a@x.it", "Cc: c@x.it, what"}, false},
		"only as a part of another address": {[]string{"To: a@x.it", "Cc: cc@x.it"}, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := parsed(t, lines(append(c.fields, "", "x")...)).CopyOnly("c@x.it"); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestSubjectIsDecodedAndHarmless(t *testing.T) {
	for sentence, c := range map[string]struct{ raw, want string }{
		"plain":                              {"Delibera", "Delibera"},
		"folded":                             {"Delibera\r\n n. 12", "Delibera n. 12"},
		"RFC 2047 in UTF-8":                  {"=?utf-8?q?Citt=C3=A0?=", "Città"},
		"two words with the blank between":   {"=?utf-8?q?Citt=C3=A0_?=\r\n =?utf-8?q?di_Bari?=", "Città di Bari"},
		"RFC 2047 in an old charset":         {"=?iso-8859-15?q?100_=A4?=", "100 €"},
		"RFC 2047 in an unknown charset":     {"=?x-nowhere?q?citt=E0?=", "città"},
		"raw UTF-8":                          {"Città", "Città"},
		"raw Latin-1":                        {"Citt\xe0", "Città"},
		"a line end hidden in RFC 2047":      {"=?utf-8?q?x=0D=0ABcc:_eve@example.org?=", "x  Bcc: eve@example.org"},
		"a line separator hidden in Unicode": {"=?utf-8?b?eOKAqHk=?=", "x y"},
	} {
		t.Run(sentence, func(t *testing.T) {
			o := parsed(t, lines("From: a@example.it", "Subject: "+c.raw, "", "x"))
			if o.Subject != c.want {
				t.Errorf("got %q, want %q", o.Subject, c.want)
			}
		})
	}
}

func TestFormalChecks(t *testing.T) {
	small := FormalLimits{MaxRecipients: 2, MaxMessageSize: 1000, MaxSizeTimesRecipients: 1500}
	head := func(fields ...string) []byte { return lines(append(fields, "", "x")...) }
	for sentence, c := range map[string]struct {
		raw   []byte
		from  string
		rcpts []string
		size  int64
		want  []string // a piece of each sentence
	}{
		"a good message passes":             {raw: head("From: a@x.it", "To: b@y.it", "Cc: c@z.it"), rcpts: []string{"b@y.it", "c@z.it"}},
		"case makes no difference":          {raw: head("From: A@X.it", "To: B@y.IT"), from: "a@x.IT", rcpts: []string{"b@Y.it"}},
		"an empty Bcc has no value":         {raw: head("From: a@x.it", "To: b@y.it", "Bcc:"), rcpts: []string{"b@y.it"}},
		"From is missing":                   {raw: head("To: b@y.it"), rcpts: []string{"b@y.it"}, want: []string{"From manca"}},
		"From is no address":                {raw: head("From: nobody", "To: b@y.it"), rcpts: []string{"b@y.it"}, want: []string{"From contiene un indirizzo non valido", "From manca"}},
		"two addresses in From":             {raw: head("From: a@x.it, d@x.it", "To: b@y.it"), rcpts: []string{"b@y.it"}, want: []string{"più di un indirizzo"}},
		"two From fields":                   {raw: head("From: a@x.it", "From: d@x.it", "To: b@y.it"), rcpts: []string{"b@y.it"}, want: []string{"From compare più di una volta"}},
		"From is not MAIL FROM":             {raw: head("From: eve@x.it", "To: b@y.it"), rcpts: []string{"b@y.it"}, want: []string{"diverso dal mittente"}},
		"MAIL FROM is null":                 {raw: head("From: a@x.it", "To: b@y.it"), from: "<>", rcpts: []string{"b@y.it"}, want: []string{"diverso dal mittente"}},
		"Cc only":                           {raw: head("From: a@x.it", "Cc: b@y.it"), rcpts: []string{"b@y.it"}, want: []string{"To manca"}},
		"an empty group in To":              {raw: head("From: a@x.it", "To: undisclosed-recipients:;"), rcpts: []string{"b@y.it"}, want: []string{"To", "nascosti"}},
		"a hidden recipient":                {raw: head("From: a@x.it", "To: b@y.it"), rcpts: []string{"b@y.it", "c@z.it"}, want: []string{"nascosti non sono ammessi: nei campi To e Cc non compare c@z.it"}},
		"Bcc has a value":                   {raw: head("From: a@x.it", "To: b@y.it", "Bcc: c@z.it"), rcpts: []string{"b@y.it"}, want: []string{"Bcc contiene un valore"}},
		"too many recipients":               {raw: head("From: a@x.it", "To: b@y.it, c@y.it, d@y.it"), rcpts: []string{"b@y.it", "c@y.it", "d@y.it"}, want: []string{"I destinatari sono 3"}},
		"too big":                           {raw: head("From: a@x.it", "To: b@y.it"), rcpts: []string{"b@y.it"}, size: 1001, want: []string{"1001 byte"}},
		"too big for so many":               {raw: head("From: a@x.it", "To: b@y.it, c@y.it"), rcpts: []string{"b@y.it", "c@y.it"}, size: 800, want: []string{"1600 byte"}},
		"a line that is no field":           {raw: head("From: a@x.it", "To: b@y.it", "what is this"), rcpts: []string{"b@y.it"}, want: []string{"righe o caratteri non ammessi"}},
		"a lone line feed in the header":    {raw: head("From: a@x.it", "To: b@y.it\nBcc: c@z.it"), rcpts: []string{"b@y.it"}, want: []string{"righe o caratteri", "To contiene", "To manca", "nascosti"}},
		"an address that hides another one": {raw: head("From: a@x.it", `To: "b@y.it, c"@z.it`), rcpts: []string{"b@y.it"}, want: []string{"To contiene", "To manca", "nascosti"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			from := c.from
			if from == "" {
				from = "a@x.it"
			}
			got := CheckFormal(parsed(t, c.raw), strings.Trim(from, "<>"), c.rcpts, c.size, small)
			if len(got) != len(c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("got %q, want %q", got[i], c.want[i])
				}
			}
		})
	}
}

func TestOriginalMustComeOverSMTP(t *testing.T) {
	for sentence, raw := range map[string][]byte{
		"no line end":            []byte("From: a@x.it"),
		"a header without end":   bytes.Repeat([]byte("X-Filler: nothing\r\n"), 40000),
		"a thousand and one":     append(bytes.Repeat([]byte("A: b\r\n"), 1001), "\r\nx\r\n"...),
		"nothing":                nil,
		"line feeds, not CRLF":   []byte("From: a@x.it\n\nx\n"),
		"a long lone first line": append(bytes.Repeat([]byte("x"), 600<<10), "\r\n"...),
	} {
		t.Run(sentence, func(t *testing.T) {
			if _, err := ParseOriginal(raw); err == nil {
				t.Error("got no error")
			}
		})
	}
}

// restore undoes Certified with nothing but its result and what the original's header had.
func restore(certified []byte, hadID bool) []byte {
	end := headerEnd(certified)
	fields, _, _ := parseHeader(certified)
	last := fields[len(fields)-1]
	if !hadID {
		return append(certified[:last.start:last.start], certified[end:]...)
	}
	id := fields.all("Message-ID")[0]
	out := append([]byte(nil), certified[:id.start+id.colon+1]...)
	out = append(out, last.rawValue()...)
	out = append(out, certified[id.start+len(id.raw):last.start]...)
	return append(out, certified[end:]...)
}

const testID = "pecabcdefgh234567@pec.example.it"

func TestCertifiedChangesOnlyTheIdentifier(t *testing.T) {
	want := lines(
		"From: Mario Rossi <mario@PEC.example.it>",
		"To: \"Ufficio, protocollo\" <protocollo@pec.comune.example.it>,",
		"\tbob@pec.other.example.it",
		"Cc: Carla <carla@pec.example.it>",
		"Message-Id: <"+testID+">",
		"Subject: Delibera n. 12",
		"X-TipoRicevuta: breve",
		"MIME-Version: 1.0",
		"Content-Type: text/plain; charset=us-ascii",
		"X-Riferimento-Message-ID:",
		" <client-1@mario.example.it>",
		"",
		"Buongiorno.",
		".a line with a dot",
	)
	if diff := cmp.Diff(string(want), string(certified(parsed(t, submitted)))); diff != "" {
		t.Error(diff)
	}
	bare := parsed(t, lines("From: a@x.it", "To: b@y.it"))
	if got, want := string(certified(bare)), "From: a@x.it\r\nTo: b@y.it\r\nMessage-ID: <"+testID+">\r\n"; got != want {
		t.Errorf("message without identifier and body: got %q, want %q", got, want)
	}
}

func FuzzCertified(f *testing.F) {
	f.Add(submitted)
	f.Add(lines("Message-ID:", "Message-ID: <x@y>", "", ""))
	f.Add(lines("", "body only"))
	f.Add([]byte("From: a@x.it\r\n\r\nno line end"))
	f.Add(lines("X: y", " folded", "no field", "message-id : <a@b>", "", "x\n\ny\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := ParseOriginal(raw)
		if err != nil {
			t.Skip()
		}
		certified := certified(o)
		if back := restore(certified, len(o.header.all("Message-ID")) > 0); !bytes.Equal(back, raw) {
			t.Fatalf("original %q\ncertified %q\nback %q", raw, certified, back)
		}
		again, err := ParseOriginal(certified)
		if err != nil {
			t.Skip() // it was at a limit
		}
		if again.MessageID != "<"+testID+">" {
			t.Fatalf("identifier is %q", again.MessageID)
		}
	})
}
