package e2e

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the rules name SHA-1 for the hashes of a brief receipt
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/pec-operator/pec-operator/internal/stack"
	"github.com/pec-operator/pec-operator/test/road"
)

func TestOneCertifiedMessageFromTheMunicipalityToTheOtherProvider(t *testing.T) {
	walk, err := r.Walk(t.Context(), municipality, secondOffice)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("acceptance after %s, envelope after %s, delivery receipt after %s", walk.Accepted, walk.Transported, walk.Delivered)
	if walk.Acceptance.Data.Provider == walk.Delivery.Data.Provider {
		t.Errorf("acceptance and delivery receipt both name %q; the delivery receipt is the recipient's provider's", walk.Delivery.Data.Provider)
	}
	if got := walk.Envelope.Header.Get("X-Trasporto"); got != "posta-certificata" {
		t.Errorf("the envelope's X-Trasporto is %q", got)
	}
	t.Run("the evidence of both providers tells one story", func(t *testing.T) {
		// Neither taking in charge nor its receipt reaches a mailbox: only the logs of the two providers show them.
		recorded(t, walk.Envelope.Data.Identifier, map[string]map[string]int{
			"gestore-uno": {"busta-di-trasporto": 1, "accettazione": 1, "presa-in-carico-ricevuta": 1, "esito-ricevuto": 1, "deposito-di-ricevuta": 2},
			"gestore-due": {"ricezione": 1, "presa-in-carico": 1, "consegna": 1, "avvenuta-consegna": 1},
		})
	})
	t.Run("an envelope whose form is wrong is an anomaly, whoever signed it", func(t *testing.T) { wrongForm(t, walk.Envelope.Raw) })
}

// recorded waits until the engines of each provider, at either site, tell of so many events of each name about an identifier, asked as an
// auditor asks: each has its own log and mirrors the other's.
func recorded(t *testing.T, identifier string, want map[string]map[string]int) {
	t.Helper()
	for provider, events := range want {
		for _, site := range road.SiteNames {
			eventually(t, time.Minute, func() error { return tells(t, site, provider, identifier, events) })
		}
	}
}

func tells(t *testing.T, site, provider, identifier string, want map[string]int) error {
	t.Helper()
	raw := kubectl(t, site, "exec", "-n", provider, "statefulset/"+stack.NamesFor("pec."+provider+".test").StatefulSet, "-c", "engine", "--",
		"pec-operator", "evidence", "extract", "/var/lib/pec", "--identifier", identifier, "--format", "json")
	var extract []struct{ Event, Identifier, Site string }
	if err := json.Unmarshal([]byte(raw), &extract); err != nil {
		return fmt.Errorf("reading the extract of %s: %w", provider, err)
	}
	count := map[string]int{}
	for _, e := range extract {
		if e.Identifier != identifier || e.Site == "" {
			t.Fatalf("the extract about %s holds an event about %s of site %q", identifier, e.Identifier, e.Site)
		}
		count[e.Event]++
	}
	for event, n := range want {
		if count[event] != n {
			return fmt.Errorf("at site %s %s tells of %v, want %v", site, provider, count, want)
		}
	}
	return nil
}

// wrongForm brings an envelope of the first provider to the second one's port 25 without the field that says what it is. That field is
// not signed: the signature holds, and the form does not.
func wrongForm(t *testing.T, envelope []byte) {
	altered := bytes.Replace(envelope, []byte("X-Trasporto: posta-certificata\r\n"), []byte("X-Prova: forma\r\n"), 1)
	if bytes.Equal(altered, envelope) {
		t.Fatal("the envelope has no X-Trasporto to take away")
	}
	altered = bytes.ReplaceAll(altered, []byte("Delivered-To: "), []byte("X-Delivered-To: ")) // by which the first delivery would be taken for a loop
	box := account(t, "a", secondOffice)
	client, err := smtp.Dial(net.JoinHostPort(box.Host, "25"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.SendMail(municipality, []string{secondOffice}, bytes.NewReader(altered)); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() error {
		inbox, err := box.Inbox()
		for _, raw := range inbox {
			if bytes.Contains(raw, []byte("X-Trasporto: errore\r\n")) && bytes.Contains(raw, []byte("X-Prova: forma\r\n")) && bytes.Contains(raw, []byte("mancano X-Ricevuta e X-Trasporto")) {
				return nil
			}
		}
		return fmt.Errorf("no anomaly envelope among %d messages: %w", len(inbox), err)
	})
}

// What the sender asks of the delivery receipt, he gets; who is in copy gives a receipt without the message, whatever was asked.
func TestAReceiptIsOfTheKindThatTheSenderAsked(t *testing.T) {
	cases := map[string]struct {
		field, about, kind string
		attached           func(original []byte) []string // what the receipt's copy of the message must hold; nil: it has no copy
	}{
		"breve: the attachment's hash in its place": {
			"X-TipoRicevuta: breve", secondOffice, "breve", func(original []byte) []string {
				_, rest, _ := bytes.Cut(original, []byte("Content-Transfer-Encoding: base64\r\n\r\n"))
				encoded, _, _ := bytes.Cut(rest, []byte("\r\n--"))
				return []string{fmt.Sprintf("\r\n\r\n%x\r\n--", sha1.Sum(encoded)), "atto.bin.hash"} //nolint:gosec // as above
			},
		},
		"sintetica: without the message":                          {"X-TipoRicevuta: sintetica", secondOffice, "sintetica", nil},
		"completa: the main recipient's has the message":          {"Cc: " + firstOffice, secondOffice, "completa", func([]byte) []string { return []string{"atto.bin", "cGVjLW9wZXJhdG9y"} }},
		"a recipient in copy gives a receipt without the message": {"Cc: " + firstOffice, firstOffice, "completa", nil},
	}
	sender := account(t, "a", municipality)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			original := append([]byte(c.field+"\r\n"), road.Message(municipality, secondOffice, "prova: "+name)...)
			to := []string{secondOffice}
			if strings.HasPrefix(c.field, "Cc: ") {
				to = append(to, firstOffice)
			}
			if err := sender.Send(to, original); err != nil {
				t.Fatal(err)
			}
			receipt, err := r.AwaitAbout(t.Context(), sender, "<"+road.MessageIDOf(original)+">", "avvenuta-consegna", c.about)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Verify(t.Context(), receipt); err != nil {
				t.Error(err)
			}
			if receipt.Data.Receipt.Kind != c.kind {
				t.Errorf("ricevuta tipo is %q, want %q", receipt.Data.Receipt.Kind, c.kind)
			}
			if c.attached == nil {
				if receipt.Postacert != nil || bytes.Contains(receipt.Raw, []byte("atto.bin")) {
					t.Error("the receipt carries the message")
				}
				return
			}
			for _, part := range c.attached(original) {
				if !bytes.Contains(receipt.Postacert, []byte(part)) {
					t.Errorf("the receipt's copy of the message has no %q:\n%s", part, receipt.Postacert)
				}
			}
			if c.kind == "breve" && bytes.Contains(receipt.Postacert, []byte("cGVjLW9wZXJhdG9y")) {
				t.Error("the brief receipt holds the attachment")
			}
		})
	}
}

func TestAMailboxOfTheSameProviderIsCertifiedTheSameWay(t *testing.T) {
	if _, err := r.Walk(t.Context(), municipality, firstOffice); err != nil {
		t.Fatal(err)
	}
}

// awkward originals must come out as they went in.
func TestAwkwardOriginalsComeOutByteForByte(t *testing.T) {
	sender, recipient := account(t, "a", municipality), account(t, "a", secondOffice)
	cases := map[string]func([]byte) []byte{
		"a line of 2,000 characters": func(m []byte) []byte { return append(m, strings.Repeat("x", 2000)+"\r\n"...) },
		"8-bit text": func(m []byte) []byte {
			return append(m, "perch\xe9 la citt\xe0 \xe8 cos\xec\r\n"...)
		},
		"a folded, non-ASCII subject": func(m []byte) []byte {
			return bytes.Replace(m, []byte("Subject: "), []byte("Subject: =?utf-8?q?Perch=C3=A9?=\r\n =?utf-8?q?_no?= "), 1)
		},
		"trailing blanks and empty lines": func(m []byte) []byte { return append(m, " \t\r\n\r\n \r\n\r\n"...) },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			original := change(road.Message(municipality, secondOffice, "prova"))
			if err := sender.Send([]string{secondOffice}, original); err != nil {
				t.Fatal(err)
			}
			envelope, err := r.Await(t.Context(), recipient, "<"+road.MessageIDOf(original)+">", "posta-certificata")
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Verify(t.Context(), envelope); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(envelope.Original(), original) {
				t.Errorf("the original changed on the way:\n%q\nwant\n%q", envelope.Original(), original)
			}
		})
	}
}

func TestANewMailboxLogsInAsSoonAsItIsReady(t *testing.T) {
	const address = "nuova@pec.comune-esempio.test"
	begun := time.Now()
	for _, site := range road.SiteNames {
		if err := r.Apply(t.Context(), site, newMailbox("nuova", "password-nuova-1")); err != nil {
			t.Fatal(err)
		}
	}
	kubectl(t, "a", "wait", "--for=condition=Ready", "-n", "comune-esempio", "mailbox/nuova.at.pec.comune-esempio.test", "--timeout=60s")
	box := account(t, "a", address)
	box.Password = "password-nuova-1"
	if _, err := box.Inbox(); err != nil {
		t.Fatalf("Ready, but the first login fails: %v", err)
	}
	t.Logf("from kubectl apply at both sites to the first login: %s", time.Since(begun))
}
