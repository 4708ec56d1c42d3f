package engine

import (
	"bytes"
	"slices"
	"testing"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// What was taken for a domain that leaves while it is on the way through is left to Postfix, which takes it where the MX says. Of a domain
// that stays, a closed mailbox is a wrong address.
func TestADomainThatLeavesMakesNobodyUnknown(t *testing.T) {
	const domain, to, from = "pec.ospite.test", "ufficio@pec.ospite.test", "anna@" + theirs
	for name, leaves := range map[string]bool{"it leaves": true, "it stays": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			place := func(local bool, access admin.Access) {
				t.Helper()
				if err := w.engine.directory.PutDomain(t.Context(), admin.Domain{Name: domain, Local: local}); err != nil {
					t.Fatal(err)
				}
				w.place(admin.Place{Address: to, Mailbox: &admin.Mailbox{Address: to, Domain: domain, Password: "{BLF-CRYPT}$2y$05$x",
					CredentialsVersion: "1", QuotaBytes: 1 << 20, Access: access, OrdinaryMail: admin.OrdinaryDeliver}})
			}
			place(true, admin.AccessFull)
			_, raw := foreignEnvelope(t, from, to, "q1")
			for sender, message := range map[string][]byte{from: raw, "x@ordinaria.test": []byte(letter("x@ordinaria.test", to, ""))} {
				if answer := w.arrive(sender, []string{to}, message); answer != "" {
					t.Fatalf("a message from %s was answered %q", sender, answer)
				}
			}
			place(!leaves, admin.AccessClosed)
			if !leaves {
				w.run(enoughRounds)
			} else {
				for _, q := range w.queue {
					if answers := w.engine.incoming(q.mail); answers[0] == nil {
						t.Errorf("a message from %s was taken from Postfix", q.from)
					}
				}
			}
			wasTold := slices.ContainsFunc(w.outside, func(m message) bool { return bytes.Contains(m.bytes, []byte("X-Ricevuta: errore-consegna")) })
			if wasTold == leaves || len(w.store[to]) > 0 {
				t.Errorf("the sender was told of a wrong address: %t; the mailbox holds %d", wasTold, len(w.store[to]))
			}
			if answer := w.arrive("x@ordinaria.test", []string{to}, []byte(letter("x@ordinaria.test", to, ""))); (answer == answerTemporary) != leaves || answer == "" {
				t.Errorf("what comes in now is answered %q", answer)
			}
		})
	}
}
