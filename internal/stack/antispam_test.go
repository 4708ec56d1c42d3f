package stack

import (
	"bytes"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/antispam"
)

// gtube is what every spam filter takes for spam, by agreement (the Generic Test for Unsolicited Bulk Email).
const gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

// bill is ordinary mail of the kind that a municipality waits for.
const bill = "From: Energia <servizio@energia.test>\r\nTo: full@" + domain + "\r\nSubject: Bolletta di novembre\r\nMessage-ID: <1.2@energia.test>\r\n" +
	"Date: Sat, 21 Nov 2026 22:00:00 +0100\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
	"Gentile cliente, la bolletta è disponibile su https://www.energia.test/bollette\r\n"

// doubtful is what a careless program sends, with a program in disguise.
const doubtful = "From: <servizio@energia.test>\r\nTo: undisclosed-recipients:;\r\nSubject: Fattura\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n" +
	"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nVedi allegato\r\n--b\r\n" +
	"Content-Type: application/pdf; name=fattura.pdf.exe\r\nContent-Disposition: attachment; filename=fattura.pdf.exe\r\nContent-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAA=\r\n--b--\r\n"

// The rendered rspamd, for real: it reads its file whole, judges by the message alone, and asks nobody.
func TestAntispam(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPod(t, n)
		asked := listenForQuestions(t)
		c := p.container("antispam")
		r := p.start(p.spec, c)
		defer r.stop()
		n.must(waitPort(portRspamd, r.done))
		if out, err := n.exec(r, c, "/usr/bin/rspamadm", "configtest", "--config", filepath.Join(antispamDir, fileRspamd)); err != nil || !strings.Contains(out, "syntax OK") {
			t.Errorf("configtest: %v\n%s", err, out)
		}
		f := antispam.Filter{Address: loopback(portRspamd)}
		if err := f.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		for name, test := range map[string]struct {
			text string
			want antispam.Class
			rule string
		}{
			"a bill":                      {bill, antispam.Clean, ""},
			"a note without any header":   {"\r\nciao\r\n", antispam.Certain, "MISSING_FROM"},
			"a program called an invoice": {doubtful, antispam.Suspect, "MIME_DOUBLE_BAD_EXTENSION"},
			"the agreed test":             {bill + gtube + "\r\n", antispam.Certain, ""},
			"1.9 MiB":                     {bill + strings.Repeat("Una riga di testo del tutto innocua.\r\n", 1_900<<10/38), antispam.Clean, ""},
		} {
			begun := time.Now()
			v, err := f.Judge(t.Context(), []byte(test.text))
			if err != nil || v.Class != test.want || test.rule != "" && !slices.Contains(v.Rules, test.rule) {
				t.Errorf("%s: %+v, %v, want %s by %s", name, v, err, test.want, test.rule)
			}
			t.Logf("%s: %s, %.1f %v in %s", name, v.Class, v.Score, v.Rules, time.Since(begun))
		}
		if _, err := f.Judge(t.Context(), make([]byte, 3<<20)); err == nil {
			t.Error("a message above its limit was judged")
		}
		select {
		case who := <-asked:
			t.Errorf("it asked a name server: %q", who)
		default:
		}
		r.stop()
		if _, err := f.Judge(t.Context(), []byte(bill)); err == nil {
			t.Error("a filter that is gone judged something")
		}
		if strings.Contains(r.output.String(), "energia.test") {
			t.Errorf("its log names correspondents:\n%s", r.output)
		}
	})
}

// listenForQuestions stands where rspamd's file says that the name server is.
func listenForQuestions(t *testing.T) <-chan string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:11334")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	asked := make(chan string, 1)
	go func() {
		question := make([]byte, 512)
		for {
			n, _, err := conn.ReadFrom(question)
			if err != nil {
				return
			}
			select {
			case asked <- string(question[:n]):
			default:
			}
		}
	}()
	return asked
}

// What the engine delivers to <mailbox>+Junk is in Junk, unless the holder's own rules or script say where it belongs.
func checkJunk(t *testing.T, p *pod) {
	p.mailbox("spam", admin.AccessFull)
	if got := arrives(t, "spam+"+antispam.Folder, "", "uno"); got != "" {
		t.Errorf("there is a mailbox spam+Junk, with %q", got)
	}
	check := func(subject, want string) {
		t.Helper()
		wantError(t, "delivery", deliver(t, "spam+"+antispam.Folder+"@"+domain, "Subject: "+subject+"\r\n\r\nx\r\n"), "")
		if got := where(t, "spam", subject); got != want {
			t.Errorf("%s is in %q, want %q", subject, got, want)
		}
	}
	if got := where(t, "spam", "uno"); got != antispam.Folder {
		t.Errorf("it is in %q", got)
	}
	c, err := loginIMAP(t, "spam@"+domain, password)
	p.must(err)
	folders, err := c.List("", antispam.Folder, &imap.ListOptions{ReturnSpecialUse: true, SelectSubscribed: true}).Collect()
	if err != nil || len(folders) != 1 || !slices.Contains(folders[0].Attrs, imap.MailboxAttrJunk) {
		t.Errorf("mail programs do not know the folder for what it is: %+v, %v", folders, err)
	}
	p.rules("spam", admin.Rule{Name: "a", Header: "Subject", Contains: "fattura", Folder: "Fatture"})
	check("due", antispam.Folder)
	check("fattura tre", "Fatture")
	k := newScripts(t, "spam")
	if answer := k.put("discard;"); !strings.HasPrefix(answer, "OK") {
		t.Fatal(answer)
	}
	check("quattro", antispam.Folder)
	if got := arrives(t, "spam", "X-Spam-Flag: YES\r\n", "cinque"); got != "INBOX" {
		t.Errorf("a message that says of itself that it is spam is in %q", got)
	}
}

// checkSpam sends spam to a mailbox that has its ordinary mail judged, as a stranger and as a certified sender.
func checkSpam(t *testing.T, p *pod) {
	p.mailbox("judged", admin.AccessFull, func(m *admin.Mailbox) { m.OrdinaryMail = admin.OrdinaryDeliver })
	to, from := "judged@"+domain, "other@"+domain
	p.must(p.directory.PutGiven(t.Context(), to, admin.Given{Antispam: admin.AntispamEnabled}))
	wantError(t, "certain", p.send(portMX, "x@remote.test", to, bill+gtube+"\r\n"), "looks like spam")
	wantError(t, "suspect", p.send(portMX, "x@remote.test", to, doubtful), "")
	wantError(t, "clean", p.send(portMX, "x@remote.test", to, bill), "")
	certified := "From: " + from + "\r\nTo: " + to + "\r\nSubject: " + gtube + "\r\nMessage-ID: <3@client.test>\r\nDate: Sat, 21 Nov 2026 22:00:00 +0100\r\n\r\n" + gtube + "\r\n"
	p.must(submit(from, password, from, []string{to}, certified))
	inbox := awaitMessages(t, to, 2, func([]byte) bool { return true })
	for _, raw := range inbox {
		if bytes.Contains(raw, []byte("X-Spam-Flag")) || bytes.Contains(raw, []byte("fattura.pdf.exe")) {
			t.Errorf("in the inbox:\n%s", raw)
		}
	}
	if len(inbox) != 2 || !slices.ContainsFunc(inbox, func(raw []byte) bool { return bytes.Contains(raw, []byte("X-Trasporto: posta-certificata")) }) {
		t.Errorf("the inbox holds %d messages, want the bill and the certified one", len(inbox))
	}
	filed := folderOf(t, to, antispam.Folder)
	if len(filed) != 1 {
		t.Fatalf("%d messages in Junk", len(filed))
	}
	head, envelope, _ := bytes.Cut(filed[0], []byte("\r\n\r\n"))
	if !bytes.Contains(head, []byte("X-Spam-Flag: YES")) || !bytes.Contains(head, []byte("MIME_DOUBLE_BAD_EXTENSION")) || !bytes.Contains(head, []byte("X-Trasporto: errore")) {
		t.Errorf("its header is\n%s", head)
	}
	if !bytes.Contains(envelope, []byte(doubtful)) {
		t.Error("the message in the envelope is not what was sent")
	}
}
