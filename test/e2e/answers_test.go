package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/pec-operator/pec-operator/test/road"
)

func TestWhatCannotBeDeliveredEndsInACertifiedAnswer(t *testing.T) {
	cases := map[string]struct {
		recipient, kind, errore, extended string
		change                            func([]byte) []byte
	}{
		"an unknown mailbox of another provider": {
			recipient: "nessuno@pec.gestore-due.test", kind: "errore-consegna", extended: "5.1.1",
		},
		"an unknown mailbox of the own provider": {
			recipient: "nessuno@pec.comune-esempio.test", kind: "errore-consegna", extended: "5.1.1",
		},
		"a mailbox that is full": {
			recipient: "colma@pec.comune-esempio.test", kind: "errore-consegna", errore: "altro", extended: "5.2.2",
			change: func(m []byte) []byte { return append(m, bytes.Repeat([]byte("una riga\r\n"), 120_000)...) }, // more than it ever holds
		},
		"a domain that does not exist": {
			recipient: "chiunque@dominio-che-non-esiste.test", kind: "errore-consegna", errore: "no-dominio",
		},
		"a Bcc header": {
			recipient: secondOffice, kind: "non-accettazione", errore: "altro",
			change: func(m []byte) []byte { return append([]byte("Bcc: altro@pec.gestore-due.test\r\n"), m...) },
		},
		// Where a milter listens Postfix cuts it without a word, and what is certified would not be what was sent.
		"a header field of 63,000 bytes": {
			recipient: secondOffice, kind: "non-accettazione", errore: "altro",
			change: func(m []byte) []byte {
				return append([]byte("X-Lungo: "+strings.Repeat(strings.Repeat("z", 900)+"\r\n ", 70)+"fine\r\n"), m...)
			},
		},
	}
	sender := account(t, "a", municipality)
	const full = "mailbox/colma.at.pec.comune-esempio.test"
	if err := r.Apply(t.Context(), "a", strings.Replace(newMailbox("colma", "password-lunga"), "quota: 100Mi", "quota: 1M", 1)); err != nil {
		t.Fatal(err)
	}
	defer kubectl(t, "a", "delete", "-n", "comune-esempio", full)
	kubectl(t, "a", "wait", "--for=condition=Ready", "-n", "comune-esempio", full, "--timeout=60s")
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			message := road.Message(municipality, c.recipient, "prova: "+name)
			if c.change != nil {
				message = c.change(message)
			}
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
			if c.errore != "" && answer.Data.Error != c.errore {
				t.Errorf("errore is %q, want %q", answer.Data.Error, c.errore)
			}
			if !strings.HasPrefix(answer.Data.Extended, c.extended) {
				t.Errorf("errore-esteso is %q, want it to begin with %q", answer.Data.Extended, c.extended)
			}
			t.Logf("%s: %s", answer.Header.Get("Subject"), answer.Data.Extended)
		})
	}
}

func TestAWrongPasswordIsRefused(t *testing.T) {
	sender := account(t, "a", municipality)
	sender.Password += "x"
	var answer *smtp.SMTPError
	if err := sender.Send([]string{secondOffice}, road.Message(municipality, secondOffice, "no")); !errors.As(err, &answer) || answer.Code != 535 {
		t.Errorf("submission answered %v, want 535", err)
	}
	if _, err := sender.Inbox(); err == nil {
		t.Error("IMAP let a wrong password in")
	}
}

func TestASenderThatIsNotTheLoginIsRefused(t *testing.T) {
	sender := account(t, "a", municipality)
	client := sender
	client.Address = firstOffice
	client.Login = municipality
	var answer *smtp.SMTPError
	err := client.Send([]string{secondOffice}, road.Message(firstOffice, secondOffice, "no"))
	if !errors.As(err, &answer) || answer.Code != 553 {
		t.Errorf("a message in another's name was answered %v, want 553", err)
	}
}

func TestUncertifiedMailIsRefusedAtTheDoor(t *testing.T) {
	box := account(t, "a", secondOffice)
	client, err := smtp.Dial(net.JoinHostPort(box.Host, "25"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	err = client.SendMail("someone@ordinary.test", []string{secondOffice}, bytes.NewReader(road.Message("someone@ordinary.test", secondOffice, "hello")))
	var answer *smtp.SMTPError
	if !errors.As(err, &answer) || answer.Code != 550 {
		t.Errorf("ordinary mail was answered %v, want 550 with a reason", err)
	}
	t.Logf("ordinary mail: %v", err)
}

func TestAWrongManifestIsRefusedWithASentence(t *testing.T) {
	cases := map[string]struct{ manifest, sentence string }{
		"a mailbox whose name is not its address": {
			strings.Replace(newMailbox("scritta-male", "password-lunga"), "name: scritta-male.at.", "name: altro.at.", 1), "metadata.name",
		},
		"a reserved local part": {newMailbox("postmaster", "password-lunga"), "postmaster"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := r.Apply(t.Context(), "a", c.manifest)
			if err == nil || !strings.Contains(err.Error(), c.sentence) {
				t.Errorf("kubectl apply said %v, want a sentence about %s", err, c.sentence)
			}
		})
	}
}

func TestAMailboxWithoutItsSecretSaysSo(t *testing.T) {
	_, mailbox, _ := strings.Cut(newMailbox("senza-segreto", "x"), "---\n")
	_, mailbox, _ = strings.Cut(mailbox, "---\n")
	if err := r.Apply(t.Context(), "a", mailbox); err != nil {
		t.Fatal(err)
	}
	name := "mailbox/senza-segreto.at.pec.comune-esempio.test"
	kubectl(t, "a", "wait", "--for=condition=CredentialsValid=False", "-n", "comune-esempio", name, "--timeout=30s")
	t.Log(kubectl(t, "a", "get", "-n", "comune-esempio", name, "-o", `jsonpath={.status.conditions[?(@.type=="CredentialsValid")].message}`))
	kubectl(t, "a", "delete", "-n", "comune-esempio", name)
}

// newMailbox is a Secret and a Mailbox of the municipality.
func newMailbox(localPart, password string) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Secret
metadata: {name: %[1]s-password, namespace: comune-esempio}
stringData: {password: %[2]s}
---
apiVersion: pec-operator.dev/v1alpha1
kind: Mailbox
metadata: {name: %[1]s.at.pec.comune-esempio.test, namespace: comune-esempio}
spec:
  domainRef: {name: pec.comune-esempio.test}
  localPart: %[1]s
  holder: {name: Ufficio di prova, role: Responsabile}
  type: Standard
  quota: 100Mi
  access: Full
  credentials: {secretRef: {name: %[1]s-password, key: password}}
  requestedAt: "2026-11-01T08:00:00Z"
`, localPart, password)
}
