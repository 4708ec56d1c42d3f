package stack

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/hostile"
	"github.com/pec-operator/pec-operator/internal/sieve"
	"github.com/pec-operator/pec-operator/internal/store"
)

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// rules places a mailbox's rules where the engine does.
func (p *pod) rules(name string, rules ...admin.Rule) {
	p.t.Helper()
	p.rulesOf(name+"@"+domain, rules...)
}

func (p *pod) rulesOf(address string, rules ...admin.Rule) {
	p.t.Helper()
	script, err := sieve.Render(rules)
	p.must(err)
	path := filepath.Join(p.rulesDir(), sieve.Path(address))
	p.must(os.MkdirAll(filepath.Dir(path), 0o755))
	p.must(os.WriteFile(path, []byte(script), 0o644))
}

func (p *pod) rulesDir() string {
	return filepath.Join(p.volumePath(p.spec, volumeEngine), directoryName, sieve.Dir)
}

// newScripts is a conversation over ManageSieve as a holder.
func newScripts(t *testing.T, name string) *talk {
	t.Helper()
	k := newClearTalk(t, portSieve)
	k.until("OK")
	k.send("STARTTLS\r\n")
	k.until("OK")
	conn := tls.Client(k.conn, unverified())
	k.conn = conn
	k.r.Reset(conn)
	k.until("OK")
	k.send(`AUTHENTICATE "PLAIN" "` + base64Of("\x00"+name+"@"+domain+"\x00"+password) + "\"\r\n")
	k.until("OK")
	return k
}

// put uploads a script, and makes it the active one if it was taken.
func (k *talk) put(script string) string {
	k.t.Helper()
	k.send(fmt.Sprintf("PUTSCRIPT \"mine\" {%d+}\r\n%s\r\n", len(script), script))
	answer := k.until("OK", "NO")
	if strings.HasPrefix(answer, "OK") {
		k.send("SETACTIVE \"mine\"\r\n")
		answer = k.until("OK", "NO")
	}
	return answer
}

// where lists the folders of a mailbox that hold a message of a subject, as its administrator sees them.
func where(t *testing.T, name, subject string) string {
	t.Helper()
	_, body := doveadm(t, "secret-two", fmt.Sprintf(`[["fetch",{"user":%q,"field":["mailbox"],"query":["mailbox","*","subject",%q]},"t"]]`, name+"@"+domain, subject))
	var folders []string
	for _, part := range strings.Split(body, `"mailbox":"`)[1:] {
		folder, _, _ := strings.Cut(part, `"`)
		folders = append(folders, folder)
	}
	return strings.Join(folders, " ")
}

func TestSieve(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPod(t, n)
		p.rules("nobody")
		p.must(os.WriteFile(filepath.Join(p.rulesDir(), sieve.KeptFile), []byte(sieve.Kept), 0o644))
		dovecot := p.started("dovecot")
		defer dovecot.stop()
		t.Cleanup(func() { t.Logf("Dovecot:\n%s", dovecot.output) })
		for name, check := range map[string]func(*testing.T, *pod){
			"rules file by From, To and Subject, the first that matches": checkRules,
			"a changed rule files the next message":                      checkChangedRule,
			"the longest address has rules too":                          checkLongestAddress,
			"rules come before the holder's own script":                  checkRulesFirst,
			"what is suspect is filed as junk":                           checkJunk,
			"no script of a holder loses a message":                      checkNothingLost,
			"what answers, forwards or edits cannot be uploaded":         checkRefusedScripts,
			"only who has full access manages scripts":                   checkScriptAccess,
			"a script files where rules are its holder's":                checkScriptOfNobody,
		} {
			t.Run(name, func(t *testing.T) { check(t, p) })
		}
	})
}

// arrives delivers a message with a header and says where it is.
func arrives(t *testing.T, name, header, subject string) string {
	t.Helper()
	wantError(t, "delivery", deliver(t, name+"@"+domain, header+"Subject: "+subject+"\r\n\r\nx\r\n"), "")
	return where(t, name, subject)
}

func checkRules(t *testing.T, p *pod) {
	p.mailbox("filing", admin.AccessFull)
	p.rules("filing",
		admin.Rule{Name: "a", Header: "From", Contains: "Rossi@PEC", Folder: "Clienti/Rossi"},
		admin.Rule{Name: "b", Header: "Subject", Contains: "Fattura", Folder: "Società è"},
		admin.Rule{Name: "c", Header: "To", Contains: "gare", Folder: "Prot.2026"},
		admin.Rule{Name: "d", Header: "Subject", Contains: `"quoted" \ text`, Folder: "Quoted"},
	)
	for _, c := range []struct{ header, subject, want string }{
		{"From: \"Per conto di: rossi@pec.test\" <posta-certificata@pec.test>\r\n", "POSTA CERTIFICATA: uno", "Clienti/Rossi"},
		{"From: rossi@pec.test\r\n", "Fattura due", "Clienti/Rossi"},
		{"", "POSTA CERTIFICATA: fattura tre", "Società è"},
		{"To: Gare@pec.test\r\n", "quattro", "Prot.2026"},
		{"", `a "quoted" \ text`, "Quoted"},
		{"", "sei", "INBOX"},
	} {
		if got := arrives(t, "filing", c.header, c.subject); got != c.want {
			t.Errorf("%s%s is in %q, want %q", c.header, c.subject, got, c.want)
		}
	}
}

func checkLongestAddress(t *testing.T, p *pod) {
	name, other := strings.Repeat("l", 64), strings.Repeat(strings.Repeat("d", 60)+".", 3)+"it"
	p.must(p.directory.PutDomain(t.Context(), admin.Domain{Name: other, Local: true}))
	p.mailbox(name, admin.AccessFull, func(m *admin.Mailbox) { m.Address, m.Domain = name+"@"+other, other })
	p.rulesOf(name+"@"+other, admin.Rule{Name: "a", Header: "From", Contains: "x", Folder: "Clienti"})
	wantError(t, "delivery", deliver(t, name+"@"+other, "From: x@y\r\nSubject: long\r\n\r\nx\r\n"), "")
	_, body := doveadm(t, "secret-two", fmt.Sprintf(`[["fetch",{"user":%q,"field":["mailbox"],"query":["mailbox","*","subject","long"]},"t"]]`, name+"@"+other))
	if !strings.Contains(body, `"mailbox":"Clienti"`) {
		t.Errorf("the message is in %s", body)
	}
}

func checkChangedRule(t *testing.T, p *pod) {
	p.mailbox("changed", admin.AccessFull)
	for _, folder := range []string{"Una", "Due"} { // equal in size and, but for luck, in their second
		p.rules("changed", admin.Rule{Name: "a", Header: "Subject", Contains: folder, Folder: folder})
		if got := arrives(t, "changed", "", "in "+folder); got != folder {
			t.Errorf("it is in %q, want %q", got, folder)
		}
	}
	p.rules("changed")
	if got := arrives(t, "changed", "", "senza Due"); got != "INBOX" {
		t.Errorf("without rules it is in %q", got)
	}
}

func checkRulesFirst(t *testing.T, p *pod) {
	p.mailbox("both", admin.AccessFull)
	p.rules("both", admin.Rule{Name: "a", Header: "Subject", Contains: "ours", Folder: "Ours"})
	k := newScripts(t, "both")
	if answer := k.put(`require ["fileinto","mailbox"]; fileinto :create "Mine";`); !strings.HasPrefix(answer, "OK") {
		t.Fatal(answer)
	}
	if ours, mine := arrives(t, "both", "", "for ours"), arrives(t, "both", "", "another"); ours != "Ours" || mine != "Mine" {
		t.Errorf("they are in %q and %q", ours, mine)
	}
}

func checkNothingLost(t *testing.T, p *pod) {
	p.mailbox("careless", admin.AccessFull)
	k := newScripts(t, "careless")
	for i, script := range []string{
		"discard;",
		`require "imap4flags"; setflag "\\Deleted"; keep;`,
		`require "fileinto"; fileinto "` + store.Expunged + `";`,
		`require "fileinto"; fileinto "No/../Folder";`,
		`redirect "altrove@ordinaria.test";`,
		`redirect "altrove@ordinaria.test"; discard;`,
		`require ["variables"]; set "x" "${1}"; if not string "${x}" "y" { discard; stop; }`,
	} {
		if answer := k.put(script); !strings.HasPrefix(answer, "OK") {
			t.Logf("%s: %s", script, answer)
			continue
		}
		subject := fmt.Sprintf("careless %d", i)
		if got := arrives(t, "careless", "", subject); got != "INBOX" {
			t.Errorf("after %s it is in %q, want INBOX", script, got)
		}
	}
	if answer := k.put(`require "fileinto"; fileinto "No/Such/Folder";`); !strings.HasPrefix(answer, "OK") {
		t.Fatal(answer)
	}
	if got := arrives(t, "careless", "", "careful"); got != "No/Such/Folder" {
		t.Errorf("a folder that was not there: it is in %q", got)
	}
}

func checkRefusedScripts(t *testing.T, p *pod) {
	p.mailbox("uploader", admin.AccessFull)
	k := newScripts(t, "uploader")
	for _, script := range []string{
		`require "reject"; reject "no";`,
		`require "ereject"; ereject "no";`,
		`require "vacation"; vacation "away";`,
		`require "enotify"; notify "mailto:x@ordinaria.test";`,
		`require "editheader"; deleteheader "Subject";`,
		`require "include"; include "other";`,
		`require "vnd.dovecot.pipe"; pipe "id";`,
		`require "vnd.dovecot.execute"; execute "id";`,
		`require "vnd.dovecot.environment"; keep;`,
		`no script at all`,
	} {
		if answer := k.put(script); !strings.HasPrefix(answer, "NO") {
			t.Errorf("%s is answered %s", script, answer)
		}
	}
	if answer := k.put(`require ["fileinto","envelope","imap4flags","regex","body"]; keep;`); !strings.HasPrefix(answer, "OK") {
		t.Errorf("what files is answered %s", answer)
	}
}

func checkScriptAccess(t *testing.T, p *pod) {
	p.mailbox("moving", admin.AccessFull, func(m *admin.Mailbox) { m.FrozenUntil = time.Now().Add(time.Hour) })
	p.mailbox("moved", admin.AccessFull, func(m *admin.Mailbox) { m.FrozenUntil = time.Now().Add(-time.Second) })
	newScripts(t, "moved")
	p.mailbox("notmine", admin.AccessFull)
	p.give("notmine", admin.ChoicePassword)
	for name, want := range map[string]string{"readonly": "NO", "suspended": "NO", "closed": "NO", "moving": "NO \"rules cannot be changed", "notmine": "NO \"rules cannot be changed"} {
		k := newClearTalk(t, portSieve)
		k.until("OK")
		k.send("STARTTLS\r\n")
		k.until("OK")
		conn := tls.Client(k.conn, unverified())
		k.conn = conn
		k.r.Reset(conn)
		k.until("OK")
		k.send(`AUTHENTICATE "PLAIN" "` + base64Of("\x00"+name+"@"+domain+"\x00"+password) + "\"\r\n")
		if answer := k.until("OK", "NO"); !strings.HasPrefix(answer, want) {
			t.Errorf("%s: %s", name, answer)
		}
	}
	// Between two ends with one address Dovecot takes a password in the clear; these have two.
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp", loopback(portSieve))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	k := &talk{t: t, conn: conn, r: bufio.NewReader(conn)}
	k.until("OK")
	k.send(`AUTHENTICATE "PLAIN" "` + base64Of("\x00full@"+domain+"\x00"+password) + "\"\r\n")
	if answer := k.until("OK", "NO"); !strings.HasPrefix(answer, "NO") {
		t.Errorf("a password in the clear is answered %s", answer)
	}
}

// checkScriptOfNobody: a script that was activated while its holder might change rules does nothing when he may not, nor once the engine
// has deactivated it for whoever has the mailbox next.
func checkScriptOfNobody(t *testing.T, p *pod) {
	p.mailbox("former", admin.AccessFull)
	if answer := newScripts(t, "former").put(`require ["fileinto","mailbox"]; fileinto :create "Mine";`); !strings.HasPrefix(answer, "OK") {
		t.Fatal(answer)
	}
	for _, step := range []struct {
		when string
		do   func()
		want string
	}{
		{"rules are his", func() {}, "Mine"},
		{"they are not", func() { p.give("former", admin.ChoicePassword) }, "INBOX"},
		{"they are again", func() { p.give("former", admin.ChoiceRules) }, "Mine"},
		{"it was deactivated", func() {
			for range 2 {
				if _, body := doveadm(t, "secret-two", `[["sieveDeactivate",{"user":"former@`+domain+`"},"t"]]`); !strings.Contains(body, "doveadmResponse") {
					t.Errorf("deactivating is answered %s", body)
				}
			}
		}, "INBOX"},
	} {
		step.do()
		if got := arrives(t, "former", "", "when "+step.when); got != step.want {
			t.Errorf("when %s it is in %q, want %q", step.when, got, step.want)
		}
	}
	// Also where nobody ever had a script, and where nobody is let in.
	for _, name := range []string{"other", "closed", "suspended"} {
		if _, body := doveadm(t, "secret-two", `[["sieveDeactivate",{"user":"`+name+"@"+domain+`"},"t"]]`); !strings.Contains(body, "doveadmResponse") {
			t.Errorf("deactivating for %s is answered %s", name, body)
		}
	}
}

// give makes settings a holder's to change.
func (p *pod) give(name string, mayChange ...admin.Choice) {
	p.t.Helper()
	outcomes, err := p.directory.Place(p.t.Context(), []admin.Place{{Address: name + "@" + domain, Given: &admin.Given{MayChange: mayChange}}})
	p.must(err)
	p.must(outcomes[0].Err)
}

// A hostile text in a rule is refused, or Pigeonhole reads it as the text it is: the message that has it, and no other, is filed.
func TestHostileRules(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		i := newImage(n)
		i.write("dovecot.conf", "dovecot_config_version = 2.4.1\ndovecot_storage_version = 2.4.1\nmail_driver = mdbox\nmail_uid = vmail\nmail_gid = vmail\nmail_home = /tmp\nmail_path = /tmp/mdbox\n")
		n.must(os.Chmod(i.dir, 0o777)) // sieve-test leaves root
		i.write("other", "From: x@altro.test\r\nSubject: something else\r\n\r\nx\r\n")
		var all []admin.Rule
		outcome := func(rules []admin.Rule, message string) string {
			script, err := sieve.Render(rules)
			n.must(err)
			i.write("rules.sieve", script)
			return i.reads("/usr/bin/sieve-test", "-c", "/etc/pec/dovecot.conf", "/etc/pec/rules.sieve", "/etc/pec/"+message)
		}
		try := func(values map[string]string) (refused []string) {
			for _, name := range slices.Sorted(maps.Keys(values)) {
				rule := admin.Rule{Name: name, Header: "Subject", Contains: values[name], Folder: "Found"}
				if sieve.Check([]admin.Rule{rule}) != nil {
					refused = append(refused, name)
					continue
				}
				if len(all) < 20 {
					all = append(all, rule)
				}
				i.write("mail", "From: x@altro.test\r\nSubject: =?utf-8?b?"+base64Of("before "+rule.Contains+" after")+"?=\r\n\r\nx\r\n")
				if out := outcome([]admin.Rule{rule}, "mail"); !strings.Contains(out, "Found") || strings.Count(out, " * ") != 1 {
					t.Errorf("%s, %q, is not read as it was written: %s", name, rule.Contains, out)
				}
			}
			return refused
		}
		refused := try(hostile.Values)
		if mixed := hostile.Mixed(t, 200); len(try(mixed)) == len(mixed) {
			t.Error("all mixed texts are refused: they try nothing")
		}
		if out := outcome(all, "other"); strings.Contains(out, "Found") {
			t.Errorf("a rule files what it should not: %s", out)
		}
		folders := 0
		for _, name := range slices.Sorted(maps.Keys(hostile.Values)) {
			value := hostile.Values[name]
			rule := admin.Rule{Name: value, Header: "Subject", Contains: "something", Folder: value}
			if sieve.Check([]admin.Rule{rule}) != nil {
				continue
			}
			folders++
			if out := outcome([]admin.Rule{rule}, "other"); !strings.Contains(out, "folder: "+value+"\n") || strings.Count(out, " * ") != 1 {
				t.Errorf("%s as a folder is not read as it was written: %s", name, out)
			}
		}
		if folders < 15 {
			t.Errorf("%d of the values may name a folder: the rest tries nothing", folders)
		}
		const want = "a NUL; a carriage return; a line feed; a line feed and a space; a long value; a tab; a very long value"
		if got := strings.Join(refused, "; "); got != want {
			t.Errorf("refused are %s, want %s", got, want)
		}
	})
}
