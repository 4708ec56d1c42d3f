package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/pec-operator/pec-operator/test/road"
)

// What is not certified, and what is infected, end as the rules say, between two providers with a real ClamAV each.
func TestAnomalyAndVirus(t *testing.T) {
	sender := account(t, "a", municipality)
	cases := map[string]struct{ virus, recipient, kind, errore string }{
		"a virus that both providers know is refused at access":                    {road.Virus("everybody"), secondOffice, "non-accettazione", "virus"},
		"a virus that only the recipient's provider knows comes back as a failure": {road.Virus("pec.gestore-due.test"), secondOffice, "errore-consegna", "virus"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			message := append(road.Message(municipality, c.recipient, "prova"), c.virus+"\r\n"...)
			if err := sender.Send([]string{c.recipient}, message); err != nil {
				t.Fatal(err)
			}
			answer, err := r.Await(t.Context(), sender, "<"+road.MessageIDOf(message)+">", c.kind)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Verify(t.Context(), answer); err != nil {
				t.Error(err)
			}
			if answer.Data.Error != c.errore || bytes.Contains(answer.Raw, []byte(c.virus)) {
				t.Errorf("errore is %q; the virus came back: %v", answer.Data.Error, bytes.Contains(answer.Raw, []byte(c.virus)))
			}
			t.Logf("%s: %s", answer.Header.Get("Subject"), answer.Data.Extended)
			if c.kind == "errore-consegna" {
				recorded(t, answer.Data.Identifier, map[string]map[string]int{
					"gestore-due": {"virus": 1, "rilevazione-virus": 1, "consegna": 0, "presa-in-carico": 0},
					"gestore-uno": {"accettazione": 1, "errore-consegna": 1, "esito-ricevuto": 1, "avvenuta-consegna": 0},
				})
			}
		})
	}
	t.Run("ordinary mail is delivered in an anomaly envelope where the holder wants it", ordinaryMailInAnAnomalyEnvelope)
}

// gtube is what every spam filter takes for spam, by agreement.
const gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

func ordinaryMailInAnAnomalyEnvelope(t *testing.T) {
	const address = "aperta@pec.comune-esempio.test"
	manifest := newMailbox("aperta", "password-aperta-1") + "  ordinaryMail: {policy: Deliver}\n  antispam: Enabled\n"
	for _, site := range road.SiteNames {
		if err := r.Apply(t.Context(), site, manifest); err != nil {
			t.Fatal(err)
		}
	}
	kubectl(t, "a", "wait", "--for=condition=Ready", "-n", "comune-esempio", "mailbox/aperta.at.pec.comune-esempio.test", "--timeout=60s")
	box := account(t, "a", address)
	box.Password = "password-aperta-1"
	send := func(to, text string) error {
		client, err := smtp.Dial(net.JoinHostPort(box.Host, "25"))
		if err != nil {
			return err
		}
		defer client.Close()
		return client.SendMail("someone@ordinary.test", []string{to}, strings.NewReader(text))
	}
	message := string(road.Message("someone@ordinary.test", address, "hello"))
	if err := send(address, message); err != nil {
		t.Fatal(err)
	}
	for _, refused := range []struct{ to, text, why string }{
		{"nessuno@pec.comune-esempio.test", message, "no such mailbox"},
		{address, message + road.Virus("everybody") + "\r\n", "holds a virus"},
		{address, strings.Replace(message, "Si trasmette", gtube+"\r\nSi trasmette", 1), "looks like spam"},
	} {
		var answer *smtp.SMTPError
		if err := send(refused.to, refused.text); !errors.As(err, &answer) || answer.Code != 550 || !strings.Contains(answer.Message, refused.why) {
			t.Errorf("what cannot be taken was answered %v, want 550: %s", err, refused.why)
		}
	}
	var inbox [][]byte
	eventually(t, time.Minute, func() (err error) {
		if inbox, err = box.Inbox(); err == nil && len(inbox) != 1 {
			err = fmt.Errorf("%d messages in the mailbox", len(inbox))
		}
		return err
	})
	for _, want := range []string{"X-Trasporto: errore\r\n", "Subject: ANOMALIA MESSAGGIO: hello\r\n", "Message-ID: <" + road.MessageIDOf([]byte(message)) + ">", message} {
		if !bytes.Contains(inbox[0], []byte(want)) {
			t.Errorf("the anomaly envelope has no %q", want)
		}
	}
}
