package stack

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/providers"
)

// Guests of the whole pod that its directory holds and that are not local, by what their MX is.
const (
	formerly  = "ospite.test"   // another provider's server
	byItself  = "arrivo.test"   // an address of this machine
	byFrontal = "frontale.test" // an address that leads to this Postfix, and is not this machine's
)

// frontal stands at an address of the network and hands every connection to the MX port, as the load balancer of a site does.
func frontal(t *testing.T, address string) {
	t.Helper()
	listenAt(t, address, func(conn net.Conn) {
		defer conn.Close()
		behind, err := net.Dial("tcp", loopback(portMX))
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(behind, conn); _ = behind.Close() }()
		_, _ = io.Copy(conn, behind)
	})
}

// checkElsewhere: the mail of a domain that is held here and not local goes where its MX says, and none of it is refused.
func checkElsewhere(t *testing.T, p *pod, postfix *running, index *providers.Index, roots *x509.CertPool) {
	isLocal := func(name string, local bool) {
		t.Helper()
		p.must(p.directory.PutDomain(context.Background(), admin.Domain{Name: name, Local: local}))
	}
	place := func(name string, access admin.Access) {
		t.Helper()
		isLocal(name, false)
		p.mailbox("ufficio", access, func(m *admin.Mailbox) { m.Address, m.Domain = "ufficio@"+name, name })
	}
	queue := func() string {
		t.Helper()
		out, err := p.exec(postfix, p.container("postfix"), "/usr/sbin/postqueue", "-p")
		if err != nil {
			t.Fatalf("postqueue: %v\n%s", err, out)
		}
		return out
	}
	p.must(p.directory.SetWhole(t.Context()))
	r, from := startRemote(t, "127.0.0.33", true), "full@"+domain
	frontal(t, "127.0.0.34")
	for _, name := range []string{formerly, byItself, byFrontal} {
		place(name, admin.AccessFull)
	}
	letter := func(id string, to ...string) error {
		return submit(from, password, from, to, "From: "+from+"\r\nTo: "+strings.Join(to, ", ")+"\r\nSubject: x\r\nMessage-ID: <"+id+"@client.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n\r\nx\r\n")
	}
	arrives := func(what, id string) {
		t.Helper()
		select {
		case <-r.got:
		case <-time.After(time.Minute):
			t.Fatalf("%s: nothing came to the server that its MX names", what)
		}
		if all := r.messages(); !strings.Contains(all[len(all)-1], id+"@client.test") {
			t.Errorf("%s: another message came to the server that its MX names", what)
		}
	}

	to, before := "ufficio@"+formerly, len(inboxOf(t, from))
	p.must(letter("prima", to))
	arrives("a neighbour's message to a domain that is at another provider", "prima")
	if n := len(inboxOf(t, to)); n != 0 {
		t.Errorf("%d messages came to the mailbox that was only prepared", n)
	}
	wantError(t, "what comes in for it", p.send(portMX, "x@remote.test", to, note), "450")
	wantError(t, "what comes in for a domain below it, which is a stranger's", p.send(portMX, "x@remote.test", "ufficio@sotto."+formerly, note), "554")
	wantError(t, "what its holder sends", submit(to, password, to, []string{from}, note), "450")
	wantError(t, "what another sends in its name", submit(from, password, to, []string{from}, note), "553")

	// Around a cut-over the MX is this stack before the operator has seen it: what is sent meanwhile waits and comes.
	p.must(letter("durante", "ufficio@"+byItself, "ufficio@"+byFrontal))
	for end := time.Now().Add(time.Minute); strings.Count(queue(), "loops back to myself") < 2; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("what is for a domain whose MX is this stack already does not wait:\n%s", queue())
		}
	}
	for _, name := range []string{byItself, byFrontal} {
		isLocal(name, true)
		awaitMessages(t, "ufficio@"+name, 1, func(raw []byte) bool { return strings.Contains(string(raw), "durante@client.test") })
		wantError(t, "what comes in for a local domain", p.send(portMX, "x@remote.test", "ufficio@"+name, note), "certified mail (PEC) only")
	}

	// It leaves: of its closed mailboxes nobody is told that they do not exist.
	place(byItself, admin.AccessClosed)
	place(formerly, admin.AccessClosed)
	p.must(letter("dopo", to))
	arrives("a neighbour's message to a domain that has left", "dopo")
	wantError(t, "what still comes in for it", p.send(portMX, "x@remote.test", to, note), "450")
	heard := map[pec.Type]int{}
	for _, raw := range awaitMessages(t, from, before+5, func([]byte) bool { return true })[before:] {
		heard[pec.Classify(raw, index, roots, time.Now()).Type]++
	}
	if heard[pec.TypeAcceptance] != 3 || heard[pec.TypeDelivery] != 2 || len(heard) != 2 {
		t.Errorf("the sender was told %v, want three acceptances and two deliveries", heard)
	}
}
