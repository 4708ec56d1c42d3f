//go:build soak

package stack

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// One submission to 900 certified mailboxes: an acceptance, and for each mailbox its envelope and its receipt, each once.
func TestNineHundredCertifiedRecipients(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		const recipients = 900
		n.data["antivirus-definitions"] = map[string]string{"test.ndb": definition("Test.Pec", testVirus)}
		p := newPodAlone(t, n)
		var to []string
		for i := range recipients {
			name := fmt.Sprintf("r%03d", i)
			p.mailbox(name, admin.AccessFull)
			to = append(to, name+"@"+domain)
		}
		sender := "mittente@" + domain
		p.mailbox("mittente", admin.AccessFull, func(m *admin.Mailbox) { m.QuotaBytes = 1 << 30 })
		dovecot, clamav := p.started("dovecot"), p.start(p.spec, p.container("antivirus"))
		defer dovecot.stop()
		defer clamav.stop()
		n.must(waitPort(portClamd, clamav.done))
		index, roots, _, _ := p.runEngine(t)
		postfix := p.started("postfix")
		defer postfix.stop()
		begun := time.Now()
		if err := submit(sender, password, sender, to, "From: "+sender+"\r\nTo: "+strings.Join(to, ",\r\n ")+"\r\nSubject: x\r\nMessage-ID: <1@client.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n\r\nx\r\n"); err != nil {
			t.Fatal(err)
		}
		for end := begun.Add(15 * time.Minute); len(inboxOf(t, sender)) < recipients+1 && time.Now().Before(end); {
			time.Sleep(2 * time.Second)
		}
		p.awaitEmptyQueue(t, postfix)
		t.Logf("%d certified recipients took %s", recipients, time.Since(begun).Round(time.Second))
		told := map[string]int{}
		for _, raw := range inboxOf(t, sender) {
			j := pec.Classify(raw, index, roots, time.Now())
			if j.Certification == nil || j.Type != pec.TypeAcceptance && j.Type != pec.TypeDelivery {
				t.Fatalf("the sender got %s", j.Type)
			}
			told[string(j.Type)+" "+j.Certification.Delivery]++
		}
		for _, rcpt := range to {
			if n := told[string(pec.TypeDelivery)+" "+rcpt]; n != 1 {
				t.Errorf("%d receipts for %s", n, rcpt)
			}
		}
		if len(told) != recipients+1 || told[string(pec.TypeAcceptance)+" "] != 1 {
			t.Errorf("%d kinds of notices, want an acceptance and %d receipts", len(told), recipients)
		}
		if held := inboxOf(t, to[recipients-1]); len(held) != 1 {
			t.Errorf("the last mailbox holds %d messages", len(held))
		}
	})
}
