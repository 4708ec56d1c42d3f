package e2e

import (
	"bytes"
	"strings"
	"testing"
	"time"

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
