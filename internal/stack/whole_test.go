package stack

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/miekg/dns"

	"github.com/pec-operator/pec-operator/internal/admin"
	pecengine "github.com/pec-operator/pec-operator/internal/engine"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/providers"
	"github.com/pec-operator/pec-operator/internal/settings"
)

// The whole pod: Postfix, Dovecot, ClamAV, rspamd and the engine, with other servers around it that do as they like.
func TestWholePod(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		n.data["antivirus-definitions"] = map[string]string{"test.ndb": definition("Test.Pec", testVirus)}
		n.resolver = "nameserver 127.0.0.53\n"
		p := newPodAlone(t, n)
		n.must(p.directory.SetWhole(context.Background())) // as the operator does when all mailboxes are placed
		serveZones(t, map[string]string{
			"rifiuta.test": "127.0.0.21", "pieno.test": "127.0.0.22", "maligno.test": "127.0.0.23", "muto.test": "127.0.0.24", "ordinaria.test": "127.0.0.25",
			"tace.test": "127.0.0.26", "avvisi.test": "127.0.0.28", "senza-avvisi.test": "127.0.0.29", "inoltri.test": "127.0.0.30", "senza-inoltri.test": "127.0.0.31",
			"ogni-giorno.test": "127.0.0.32", "falsario.test": "127.0.0.35", formerly: "127.0.0.33", byFrontal: "127.0.0.34", byItself: "127.0.0.1",
		})
		dovecot, clamav, rspamd := p.started("dovecot"), p.start(p.spec, p.container("antivirus")), p.start(p.spec, p.container("antispam"))
		defer dovecot.stop()
		defer clamav.stop()
		defer rspamd.stop()
		n.must(waitPort(portClamd, clamav.done))
		n.must(waitPort(portRspamd, rspamd.done))
		index, roots, signer, restart := p.runEngine(t)
		usual := p.setsPostfix(map[string]string{"smtp_helo_timeout": "2s", "queue_run_delay": "1s", "minimal_backoff_time": "1s", "maximal_backoff_time": "1s"})
		postfix := p.started("postfix")
		defer func() { postfix.stop() }()
		full, waiting := "full@"+domain, "waiting@"+domain
		silent, err := net.Listen("tcp", "127.0.0.24:25") // takes connections and never says a word
		n.must(err)
		defer silent.Close()

		t.Run("what other servers answer becomes a certified failure", func(t *testing.T) {
			peer(t, "127.0.0.21", func(stage, _ string) string {
				return map[bool]string{true: "550 5.1.1 no such user here"}[stage == "RCPT"]
			})
			peer(t, "127.0.0.22", func(stage, _ string) string {
				return map[bool]string{true: "552 5.2.2 mailbox full"}[stage == "end"]
			})
			peer(t, "127.0.0.23", func(stage, _ string) string {
				return map[bool]string{true: strings.Repeat("554-5.7.1 \x1b[2J</errore-esteso><!-- \xff\xfe "+strings.Repeat("A", 400)+"\r\n", 50) + "554 5.7.1 no"}[stage == "RCPT"]
			})
			to := []string{"a@rifiuta.test", "b@pieno.test", "c@maligno.test", "d@muto.test", "e@inesistente.test"}
			if err := submit(full, password, full, to, "From: "+full+"\r\nTo: "+strings.Join(to, ", ")+"\r\nSubject: x\r\nMessage-ID: <1@client.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n\r\nx\r\n"); err != nil {
				t.Fatal(err)
			}
			want := map[string]struct {
				kind   pec.ErrorKind
				status string
			}{
				"a@rifiuta.test": {pec.ErrorNoRecipient, "5.1.1"}, "b@pieno.test": {pec.ErrorOther, "5.2.2"}, "c@maligno.test": {pec.ErrorOther, "5.7.1"}, "e@inesistente.test": {pec.ErrorNoDomain, "5.4.4"},
			}
			for _, raw := range awaitMessages(t, full, 5, func([]byte) bool { return true }) {
				j := pec.Classify(raw, index, roots, time.Now())
				if j.Type == pec.TypeAcceptance {
					continue
				}
				c := j.Certification
				if w, ok := want[c.Delivery]; j.Type != pec.TypeDeliveryError || !ok || c.Error != w.kind || !strings.HasPrefix(c.ExtendedError, w.status+" - ") || len(c.ExtendedError) > 300 {
					t.Errorf("%s about %s: %s, %s", j.Type, c.Delivery, c.Error, c.ExtendedError)
				}
				delete(want, c.Delivery)
			}
			if len(want) > 0 {
				t.Errorf("nothing was heard of %v", want)
			}
		})
		t.Run("what expires in the queue becomes a certified failure", func(t *testing.T) {
			before := len(inboxOf(t, full))
			postfix.stop()
			p.setsPostfix(map[string]string{"maximal_queue_lifetime": "2s"})
			postfix = p.started("postfix")
			all := awaitMessages(t, full, before+1, func([]byte) bool { return true })
			c := pec.Classify(all[before], index, roots, time.Now()).Certification
			if c == nil || c.Type != pec.TypeDeliveryError || c.Delivery != "d@muto.test" || !strings.HasPrefix(c.ExtendedError, "5.4.1 - ") {
				t.Errorf("the sender is told %+v", c)
			}
			p.awaitEmptyQueue(t, postfix)
			postfix.stop()
			usual()
			postfix = p.started("postfix")
		})
		t.Run("mail of a domain that is not local goes where its MX says", func(t *testing.T) {
			postfix.stop()
			restore := p.setsPostfix(map[string]string{"queue_run_delay": "1s", "minimal_backoff_time": "1s", "maximal_backoff_time": "1s"})
			postfix = p.started("postfix")
			checkElsewhere(t, p, postfix, index, roots)
			p.awaitEmptyQueue(t, postfix)
			postfix.stop()
			restore()
			postfix = p.started("postfix")
		})
		t.Run("one submission with 900 recipients is accepted once", func(t *testing.T) {
			r := startRemote(t, "127.0.0.25", false)
			arrived := make(chan int)
			go func() {
				n := 0
				for range r.got {
					if n++; n == 900 {
						arrived <- n
					}
				}
			}()
			var to []string
			for i := range 900 {
				to = append(to, fmt.Sprintf("r%03d@ordinaria.test", i))
			}
			before := len(inboxOf(t, "other@"+domain))
			other := "other@" + domain
			if err := submit(other, password, other, to, "From: "+other+"\r\nTo: "+strings.Join(to, ",\r\n ")+"\r\nSubject: x\r\nMessage-ID: <2@client.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n\r\nx\r\n"); err != nil {
				t.Fatal(err)
			}
			select {
			case <-arrived:
			case <-time.After(2 * time.Minute):
				t.Fatal("not all 900 recipients got the envelope")
			}
			awaitMessages(t, other, before+1, func([]byte) bool { return true })
			p.awaitEmptyQueue(t, postfix)
			messages := inboxOf(t, other)
			j := pec.Classify(messages[len(messages)-1], index, roots, time.Now())
			if len(messages) != before+1 || j.Type != pec.TypeAcceptance || len(j.Certification.Recipients) != 900 {
				t.Errorf("%d messages; the last is %s", len(messages)-before, j.Type)
			}
		})
		t.Run("what Postfix cut is answered with a notice", func(t *testing.T) {
			other := "other@" + domain
			before := len(inboxOf(t, other))
			var to, named []string
			for i := range 900 {
				to = append(to, fmt.Sprintf("r%03d@ordinaria.test", i))
				named = append(named, fmt.Sprintf("%q <%s>", "Ufficio "+strings.Repeat("x", 60), to[i]))
			}
			if err := submit(other, password, other, to, "From: "+other+"\r\nTo: "+strings.Join(named, ",\r\n ")+"\r\nSubject: x\r\nMessage-ID: <4@client.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n\r\nx\r\n"); err != nil {
				t.Fatal(err)
			}
			c := pec.Classify(awaitMessages(t, other, before+1, func([]byte) bool { return true })[before], index, roots, time.Now()).Certification
			if c == nil || c.Type != pec.TypeNonAcceptance || !strings.Contains(c.ExtendedError, "53.000 byte") || len(c.Recipients) != 900 {
				t.Errorf("the sender is told %+v", c)
			}
		})
		t.Run("a stranger's infected message is refused at the door", func(t *testing.T) {
			row, err := p.directory.Mailbox(context.Background(), full)
			if err != nil {
				t.Fatal(err)
			}
			row.OrdinaryMail = "Deliver"
			if _, err := p.directory.PutMailbox(context.Background(), row); err != nil {
				t.Fatal(err)
			}
			wantError(t, "infected", p.send(portMX, "x@remote.test", full, "Subject: x\r\n\r\n"+testVirus+"\r\n"), "Test.Pec")
			wantError(t, "too large for the mailbox", p.send(portMX, "x@remote.test", full, "Subject: x\r\n\r\n"+strings.Repeat("una riga\r\n", 120_000)), "larger than the whole mailbox")
			wantError(t, "clean", p.send(portMX, "x@remote.test", full, note), "")
			awaitMessages(t, full, 7, func(raw []byte) bool { return strings.Contains(string(raw), "X-Trasporto: errore") })
		})
		t.Run("a recipient is who Postfix takes him for, however he is written", func(t *testing.T) { checkWritten(t, p) })
		t.Run("nobody chooses the transaction by which he is certified", func(t *testing.T) { checkForgery(t, p, postfix) })
		t.Run("nothing is smuggled past the end of a message", func(t *testing.T) {
			before := len(inboxOf(t, "other@"+domain))
			taken := 0
			for _, name := range []string{"LF . LF", "LF . CRLF", "CRLF . LF"} {
				for port, sender := range map[int]string{portMX: "x@remote.test", portSubmissions: full} {
					head := "From: " + sender + "\r\nTo: " + full + "\r\nSubject: " + name + "\r\nMessage-ID: <3@client.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100"
					if answer := smuggle(t, port, sender, head, ends[name]); strings.HasPrefix(answer, "250") {
						taken++
					}
				}
			}
			p.awaitEmptyQueue(t, postfix)
			if after := len(inboxOf(t, "other@"+domain)); taken == 0 || after != before {
				t.Errorf("%d messages were taken, and %d came to the mailbox that none of them was for", taken, after-before)
			}
		})
		digests := toldDaily(t, p)
		t.Run("a mailbox's own limits are answered at the end of a message", func(t *testing.T) { checkOwnLimits(t, p) })
		t.Run("ordinary mail is sent on once, and a failure of that ends quietly", func(t *testing.T) { checkForward(t, p, postfix, index, roots, restart) })
		p.mailbox("waiting", admin.AccessFull)
		n.must(submit(waiting, password, waiting, []string{silentOffice}, "From: "+waiting+"\r\nTo: "+silentOffice+"\r\nSubject: x\r\nMessage-ID: <0@client.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n\r\nx\r\n"))
		t.Run("a stranger's spam is refused or filed, and certified mail never", func(t *testing.T) { checkSpam(t, p) })
		t.Run("a notification that comes back, or cannot go, has no other after it", func(t *testing.T) { checkNotifications(t, p, postfix) })
		t.Run("a full mailbox is answered 5.2.2, and the receipts of its holder wait for room", func(t *testing.T) {
			checkFull(t, p, index, roots, restart)
		})
		t.Run("a provider's receipt is scanned before it is taken", func(t *testing.T) {
			own := EngineSettings(makeDomain(), makeSettings()).Provider
			provider := pec.Provider{Name: own.Name, MailDomain: own.MailDomain, ServiceAddress: own.ServiceAddress}
			receipt := func(id, text string) string {
				transit := pec.Transit{Identifier: "prova@" + domain, Sender: full, Subject: "x", Receipt: pec.ReceiptFull, Recipients: []pec.Recipient{{Address: "other@" + domain, Certified: true}}}
				raw, err := signer.Delivery(provider, transit, id+"@"+domain, "other@"+domain, []byte(text), time.Now())
				if err != nil {
					t.Fatal(err)
				}
				return string(raw)
			}
			before := len(inboxOf(t, full))
			wantError(t, "infected", p.send(portMX, provider.ServiceAddress, full, receipt("infetta", attached(testVirus))), "")
			wantError(t, "clean", p.send(portMX, provider.ServiceAddress, full, receipt("pulita", attached("niente"))), "")
			awaitMessages(t, full, before+1, func(raw []byte) bool { return strings.Contains(string(raw), "<pulita@") })
			if log := p.evidence(t); !strings.Contains(log, `"kind":"infected"`) || !strings.Contains(log, "Test.Pec") || len(inboxOf(t, full)) != before+1 {
				t.Error("the infected receipt was delivered, or nothing says that it was not")
			}
			clamav.stop()
			wantError(t, "with no scanner", p.send(portMX, provider.ServiceAddress, full, receipt("dopo", "Subject: x\r\n\r\n")), "451")
		})
		if n := len(digests.messages()); n != 0 {
			t.Errorf("%d notifications to a holder who is told once a day", n)
		}
		// Only the engine's clock moves: each start is at another hour of the same two days, and reads its timers from the log.
		t.Run("a certified recipient's silence is told after 12 hours and after 24", func(t *testing.T) {
			own := EngineSettings(makeDomain(), makeSettings()).Provider
			provider := pec.Provider{Name: own.Name, MailDomain: own.MailDomain, ServiceAddress: own.ServiceAddress}
			awaitMessages(t, waiting, 1, func([]byte) bool { return true }) // the acceptance
			for i, notice := range []struct {
				early, due time.Duration
				which      pec.Deadline
			}{{11 * time.Hour, 12*time.Hour + time.Minute, pec.FirstDeadline}, {22 * time.Hour, 24 * time.Hour, pec.LastDeadline}} {
				restart(notice.early)
				restart(notice.due)
				due, all := time.Now().Add(notice.due), awaitMessages(t, waiting, i+2, func([]byte) bool { return true })
				j := pec.Classify(all[len(all)-1], index, roots, due)
				if len(all) != i+2 || j.Type != pec.TypeTimeoutWarning {
					t.Fatalf("%d messages, the last is %s: %v", len(all), j.Type, j.Errors)
				}
				c := j.Certification
				if c.Delivery != silentOffice || j.MessageID != provider.NoticeID(c.Identifier, c.Type, silentOffice, string(notice.which)) || due.Sub(c.Time).Abs() > 30*time.Minute {
					t.Errorf("the notice of %s is about %s, dated %s, as %s", notice.which, c.Delivery, c.Time, j.MessageID)
				}
			}
		})
		t.Run("a holder who is told once a day is told of all that came", func(t *testing.T) {
			restart(25 * time.Hour)
			checkDigest(t, p, digests)
		})
	})
}

// setsPostfix changes parameters of main.cf on the pod's volume, for the next start, and returns what puts them back.
func (p *pod) setsPostfix(parameters map[string]string) (restore func()) {
	p.t.Helper()
	path := filepath.Join(p.volumePath(p.spec, volumePostfix), fileMain)
	before, err := os.ReadFile(path)
	p.must(err)
	lines := strings.Split(strings.TrimRight(string(before), "\n"), "\n")
	for name, value := range parameters {
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, name+" =") })
		lines = append(lines, name+" = "+value)
	}
	p.must(os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return func() { p.must(os.WriteFile(path, before, 0o600)) }
}

// awaitEmptyQueue waits until Postfix holds nothing.
func (p *pod) awaitEmptyQueue(t *testing.T, postfix *running) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		out, err := p.exec(postfix, p.container("postfix"), "/usr/sbin/postqueue", "-p")
		if err == nil && strings.Contains(out, "Mail queue is empty") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the queue is not empty: %v\n%s", err, out)
		}
	}
}

// silentOffice is of a provider that is in the index and whose server nobody reaches.
const silentOffice = "ufficio@tace.test"

// peer is another provider's server: what answer gives at a stage is said instead of yes.
func peer(t *testing.T, address string, answer func(stage, line string) string) {
	t.Helper()
	listenAt(t, address, func(conn net.Conn) { speak(conn, answer) })
}

// listenAt serves each connection to the mail port of an address.
func listenAt(t *testing.T, address string, serve func(net.Conn)) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "25"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
}

func speak(conn net.Conn, answer func(stage, line string) string) {
	defer conn.Close()
	say := func(text string) { _, _ = io.WriteString(conn, text+"\r\n") }
	read := func() (string, bool) {
		var line []byte
		one := make([]byte, 1)
		for {
			if _, err := conn.Read(one); err != nil {
				return "", false
			}
			if line = append(line, one[0]); one[0] == '\n' {
				return strings.TrimRight(string(line), "\r\n"), true
			}
		}
	}
	say("220 peer.test")
	for {
		line, ok := read()
		if !ok {
			return
		}
		stage, _, _ := strings.Cut(line, " ")
		if said := answer(stage, line); said != "" {
			say(said)
			continue
		}
		if stage == "DATA" {
			say("354 go on")
			for text := ""; text != "." && ok; {
				text, ok = read()
			}
			if said := answer("end", ""); said != "" {
				say(said)
				continue
			}
		}
		say("250 2.0.0 fine")
	}
}

// serveZones answers for domains whose mail goes to an address, and that no other exists.
func serveZones(t *testing.T, addresses map[string]string) {
	t.Helper()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg)
		a.SetReply(q)
		name := strings.ToLower(strings.TrimSuffix(q.Question[0].Name, "."))
		host, isHost := strings.CutPrefix(name, "mx.")
		address, known := addresses[host]
		header := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: 60}
		switch {
		case !known:
			a.Rcode = dns.RcodeNameError
		case isHost && q.Question[0].Qtype == dns.TypeA:
			a.Answer = []dns.RR{&dns.A{Hdr: header, A: net.ParseIP(address)}}
		case !isHost && q.Question[0].Qtype == dns.TypeMX:
			a.Answer = []dns.RR{&dns.MX{Hdr: header, Preference: 10, Mx: "mx." + name + "."}}
		}
		_ = w.WriteMsg(a)
	})
	conn, err := net.ListenPacket("udp", "127.0.0.53:53")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: handler}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
}

// runEngine runs the engine itself in this process, with the pod's own state. restart starts it anew, on a clock that is ahead.
func (p *pod) runEngine(t *testing.T) (index *providers.Index, roots *x509.CertPool, signer *pec.Signer, restart func(ahead time.Duration)) {
	t.Helper()
	dir := p.temporary("engine")
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		p.must(os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	s := EngineSettings(makeDomain(), makeSettings())
	root, leaf, key := signingCertificate(t, s.Provider)
	_, silent, _ := signingCertificate(t, settings.Provider{Name: "Gestore che tace", ServiceAddress: "posta-certificata@tace.test"})
	listed := providers.Format([]providers.Entry{
		{IndexEntry: pec.IndexEntry{Name: s.Provider.Name, MailReceipt: s.Provider.MailReceipt, Domains: []string{domain, byItself, byFrontal}}, Certificates: []*x509.Certificate{leaf}},
		{IndexEntry: pec.IndexEntry{Name: "Gestore che tace", MailReceipt: "ricevute@tace.test", Domains: []string{"tace.test"}}, Certificates: []*x509.Certificate{silent}},
	})
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	s.Limits.MaxRecipients = 900
	s.Antivirus.Definitions = p.volumePath(p.spec, volumeDefinitions)
	cert, private := selfSigned(t)
	s.Files = settings.Files{
		HolderCert: file("mail.crt", cert), HolderKey: file("mail.key", private),
		State: p.volumePath(p.spec, volumeEngine), SigningCert: file("tls.crt", block("CERTIFICATE", leaf.Raw)), SigningKey: file("tls.key", block("RSA PRIVATE KEY", key)),
		ProvidersIndex: file("index.ldif", string(listed)), ProvidersRoots: file("roots.pem", block("CERTIFICATE", root.Raw)), DoveadmAPIKey: file("apikey", "secret-two\n"),
	}
	p.serveEngine(s)
	t.Cleanup(func() { p.stopEngine() })
	index, roots, err := providers.Load(s.Files.ProvidersIndex, s.Files.ProvidersRoots)
	p.must(err)
	signer, err = pec.NewSigner([]byte(block("CERTIFICATE", leaf.Raw)), []byte(block("RSA PRIVATE KEY", key)))
	p.must(err)
	return index, roots, signer, func(ahead time.Duration) { p.stopEngine(); p.ahead.Store(int64(ahead)); p.serveEngine(s) }
}

// serveEngine starts an engine on a clock that is ahead.
func (p *pod) serveEngine(s settings.Engine) {
	e, err := pecengine.New(context.Background(), s, func() time.Time { return time.Now().Add(time.Duration(p.ahead.Load())) }, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	p.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx) }()
	p.must(waitPort(portMilterSubmit, nil))
	p.must(waitPort(portAccess, nil))
	p.stopEngine = sync.OnceFunc(func() { cancel(); <-done; _ = e.Close() })
}

// checkFull fills a mailbox to the last byte: who writes to it is told, and what is told to its holder waits until there is room.
func checkFull(t *testing.T, p *pod, index *providers.Index, roots *x509.CertPool, restart func(ahead time.Duration)) {
	to, from := "piena@"+domain, "other@"+domain
	quota := func(bytes int64) func(*admin.Mailbox) { return func(m *admin.Mailbox) { m.QuotaBytes = bytes } }
	p.mailbox("piena", admin.AccessFull, quota(100))
	letter := func(from, to, id string) string {
		return "From: " + from + "\r\nTo: " + to + "\r\nSubject: x\r\nMessage-ID: <" + id + "@client.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n\r\nx\r\n"
	}
	about := func(kind pec.Type, id string) func(raw []byte) bool {
		return func(raw []byte) bool {
			j := pec.Classify(raw, index, roots, time.Now())
			return j.Type == kind && j.Certification.MessageID == "<"+id+"@client.test>"
		}
	}
	before := len(inboxOf(t, from))
	p.must(submit(from, password, from, []string{to}, letter(from, to, "piena-1")))
	answers := awaitMessages(t, from, before+2, about(pec.TypeDeliveryError, "piena-1"))
	last := pec.Classify(answers[len(answers)-1], index, roots, time.Now())
	if c := last.Certification; c.Delivery != to || !strings.HasPrefix(c.ExtendedError, "5.2.2 - ") || !strings.Contains(c.ExtendedError, "casella piena") {
		t.Errorf("the sender is told %q of %s", c.ExtendedError, c.Delivery)
	}
	p.must(submit(to, password, to, []string{from}, letter(to, from, "piena-2")))
	awaitMessages(t, from, before+3, about(pec.TypeEnvelope, "piena-2"))
	for end := time.Now().Add(time.Minute); strings.Count(p.evidence(t), `"kind":"held"`) < 2; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the receipts of the full sender are not held")
		}
	}
	if n := len(inboxOf(t, to)); n != 0 {
		t.Fatalf("the full mailbox holds %d messages", n)
	}
	p.mailbox("piena", admin.AccessFull, quota(1<<20))
	restart(0)
	awaitMessages(t, to, 1, about(pec.TypeAcceptance, "piena-2"))
	inbox := awaitMessages(t, to, 2, about(pec.TypeDelivery, "piena-2"))
	if n := len(inboxOf(t, from)); len(inbox) != 2 || n != before+3 {
		t.Errorf("the holder has %d messages, want the two receipts; whom he wrote to has %d more than three", len(inbox), n-before-3)
	}
}

// evidence is the engine's log as it lies on disk.
func (p *pod) evidence(t *testing.T) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(p.volumePath(p.spec, volumeEngine), "evidence", "*.jsonl"))
	p.must(err)
	var all strings.Builder
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		p.must(err)
		all.Write(raw)
	}
	return all.String()
}

func signingCertificate(t *testing.T, p settings.Provider) (root, leaf *x509.Certificate, key []byte) {
	t.Helper()
	make := func(template, parent *x509.Certificate, public, signer any) *x509.Certificate {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(48*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	root = make(ca, ca, k.Public(), k)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: p.Name}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}, EmailAddresses: []string{p.ServiceAddress}}
	return root, make(template, root, k.Public(), k), x509.MarshalPKCS1PrivateKey(k)
}

// inboxOf is what a mailbox holds, in order.
func inboxOf(t *testing.T, address string) (all [][]byte) {
	t.Helper()
	return folderOf(t, address, "INBOX")
}

func folderOf(t *testing.T, address, folder string) (all [][]byte) {
	t.Helper()
	c, err := loginIMAP(t, address, password)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	box, err := c.Select(folder, nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	if box.NumMessages == 0 {
		return nil
	}
	var every imap.SeqSet
	every.AddRange(1, 0)
	section := &imap.FetchItemBodySection{Peek: true}
	messages, err := c.Fetch(every, &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		all = append(all, m.FindBodySection(section))
	}
	return all
}

// awaitMessages waits until a mailbox holds n messages, of which the last is as wanted.
func awaitMessages(t *testing.T, address string, n int, last func([]byte) bool) [][]byte {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		all := inboxOf(t, address)
		if len(all) >= n && slices.ContainsFunc(all[n-1:], last) {
			return all
		}
		if time.Now().After(end) {
			t.Fatalf("%s holds %d messages, want %d", address, len(all), n)
		}
	}
}
