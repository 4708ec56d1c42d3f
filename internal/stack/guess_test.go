package stack

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// door is a port where holders log in: what is said, each time after a line that begins so, and how a login is answered.
type door struct {
	port    int
	clear   bool // it begins without TLS
	say     func(address, pass string) [][2]string
	answers []string
	good    string // the beginnings of answers
	wrong   string
	refused string
}

const tooMany = "too many wrong passwords"

var doors = map[string]door{
	"imap": {port: portIMAPS, answers: []string{"a "}, good: "a OK", wrong: "a NO [AUTHENTICATIONFAILED]", refused: "a NO [UNAVAILABLE] " + tooMany, say: func(address, pass string) [][2]string {
		return [][2]string{{"* OK", fmt.Sprintf("a LOGIN %s %q", address, pass)}}
	}},
	"pop3": {port: portPOP3S, answers: []string{"+OK Logged", "-ERR"}, good: "+OK", wrong: "-ERR [AUTH] Authentication failed", refused: "-ERR [AUTH] " + tooMany, say: func(address, pass string) [][2]string {
		return [][2]string{{"+OK", "USER " + address}, {"+OK", "PASS " + pass}}
	}},
	"smtp": {port: portSubmissions, answers: []string{"2", "4", "5"}, good: "235", wrong: "535 5.7.8", refused: "535 5.7.8 Error: authentication failed: " + tooMany, say: func(address, pass string) [][2]string {
		return [][2]string{{"220", "EHLO client.test"}, {"250 ", "AUTH PLAIN " + base64Of("\x00"+address+"\x00"+pass)}}
	}},
	"sieve": {port: portSieve, clear: true, answers: []string{"OK", "NO"}, good: "OK", wrong: `NO "Authentication failed`, refused: `NO "` + tooMany, say: func(address, pass string) [][2]string {
		return [][2]string{{"OK", startTLS}, {"OK", ""}, {"OK", `AUTHENTICATE "PLAIN" "` + base64Of("\x00"+address+"\x00"+pass) + `"`}}
	}},
}

// forAnother is a login by which an address would act for somebody else, of which Dovecot tells the engine without having asked it.
var forAnother = door{port: portIMAPS, answers: []string{"a "}, say: func(address, pass string) [][2]string {
	return [][2]string{{"* OK", "a AUTHENTICATE PLAIN " + base64Of("altri\x00"+address+"\x00"+pass)}}
}}

const startTLS = "STARTTLS"

// login is a door's answer to a login from an address.
func (d door) login(from, address, pass string) (string, error) {
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}).Dial("tcp", net.JoinHostPort(hostFor(from), fmt.Sprint(d.port)))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if !d.clear {
		conn = tls.Client(conn, unverified())
	}
	r := bufio.NewReader(conn)
	for _, step := range d.say(address, pass) {
		if line, err := await(r, step[0]); err != nil {
			return line, err
		}
		if step[1] == "" { // TLS begins now
			conn = tls.Client(conn, unverified())
			r.Reset(conn)
			continue
		}
		if _, err := io.WriteString(conn, step[1]+"\r\n"); err != nil {
			return "", err
		}
	}
	return await(r, d.answers...)
}

// hostFor is where a client of an address finds the pod.
func hostFor(from string) string {
	if strings.Contains(from, ":") {
		return "::1"
	}
	return "127.0.0.1"
}

// await reads lines up to one that begins so.
func await(r *bufio.Reader, prefixes ...string) (string, error) {
	for said := ""; ; {
		line, err := r.ReadString('\n')
		if said += line; err != nil {
			return "", fmt.Errorf("waiting for %q: %w after %q", prefixes, err, said)
		}
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(line, p) }) {
			return strings.TrimRight(line, "\r\n"), nil
		}
	}
}

// wantLogin fails unless a login from an address is answered so.
func wantLogin(t *testing.T, what, at, from, address, pass, want string) {
	t.Helper()
	if answer, err := doors[at].login(from, address, pass); err != nil || !strings.HasPrefix(answer, want) {
		t.Errorf("%s, at %s from %s: answered %q, %v, want %q", what, at, from, answer, err, want)
	}
}

// wantLogins is wantLogin at several doors at once: an answer of no takes two seconds.
func wantLogins(t *testing.T, what string, at []string, from, address, pass string, want func(door) string) {
	t.Helper()
	var all sync.WaitGroup
	for _, name := range at {
		all.Go(func() { wantLogin(t, what, name, from, address, pass, want(doors[name])) })
	}
	all.Wait()
}

func good(d door) string { return d.good }

func wrong(d door) string { return d.wrong }

func refused(d door) string { return d.refused }

// guess gives wrong passwords to a mailbox at once, each from an address and at a door, and counts the answers that one was wrong.
func guess(t *testing.T, address string, froms, at []string) (wrong int) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for i, from := range froms {
		all.Go(func() {
			d := doors[at[i%len(at)]]
			answer, err := d.login(from, address, fmt.Sprintf("a guess, the %dth", i))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && strings.HasPrefix(answer, d.refused):
			case err == nil && strings.HasPrefix(answer, d.wrong):
				wrong++
			default:
				t.Errorf("a guess at %s is answered %q, %v", at[i%len(at)], answer, err)
			}
		})
	}
	all.Wait()
	return wrong
}

// asksAPI is the status of a request to the API from an address.
func asksAPI(t *testing.T, from, address, pass string) int {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: unverified(), DisableKeepAlives: true, DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+loopback(portHolder)+"/v1/settings", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(address, pass)
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// Whoever guesses passwords is bounded at every port, by what Dovecot asks the engine; whoever has the right one gets in.
func TestGuessingIsBounded(t *testing.T) {
	inNamespaces(t, func(t *testing.T, n *node) {
		p := newPodAlone(t, n)
		for i := range 20 {
			n.run("ip", "addr", "add", fmt.Sprintf("192.0.2.%d/32", i+1), "dev", "lo")
		}
		for _, address := range []string{"2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:3::1"} {
			n.run("ip", "-6", "addr", "add", address+"/128", "dev", "lo", "nodad")
		}
		dovecot := p.started("dovecot")
		defer dovecot.stop()
		t.Cleanup(func() { t.Logf("Dovecot:\n%s", dovecot.output) })
		p.runEngine(t)
		n.must(waitPort(portLoginPolicy, nil))
		n.must(waitPort(portHolder, nil))
		postfix := p.started("postfix")
		defer postfix.stop()
		every := []string{"imap", "pop3", "smtp", "sieve"}
		ten := func(from string) []string { return slices.Repeat([]string{from}, 10) }
		const address, guesser, holder = "full@" + domain, "192.0.2.1", "192.0.2.2"
		p.mailbox("cercata", admin.AccessFull)
		p.mailbox("nominata", admin.AccessFull)
		wantLogin(t, "the first of all", "imap", "192.0.2.3", "readonly@"+domain, password, doors["imap"].good) // only then does Dovecot know how many it may check at once

		t.Run("at once", func(t *testing.T) {
			t.Run("what one client guesses at any port counts at all, and for him alone", func(t *testing.T) {
				t.Parallel()
				if wrong := guess(t, address, ten(guesser), every); wrong != 10 {
					t.Fatalf("%d guesses were looked at, want 10", wrong)
				}
				wantLogins(t, "the right password beyond the bound", every, guesser, address, password, refused)
				if status := asksAPI(t, guesser, address, password); status != http.StatusTooManyRequests {
					t.Errorf("the API answers %d beyond the bound", status)
				}
				wantLogins(t, "another client", every, holder, address, password, good)
				if status := asksAPI(t, holder, address, password); status != http.StatusOK {
					t.Errorf("the API answers %d to another client", status)
				}
			})
			t.Run("a right password where the mailbox lets nobody in counts for nothing", func(t *testing.T) {
				t.Parallel()
				const sends = "192.0.2.4"
				for _, address := range []string{"readonly@" + domain, "suspended@" + domain} {
					wantLogins(t, "a program that goes on", slices.Repeat([]string{"smtp", "sieve"}, 13), sends, address, password, wrong)
				}
				wantLogins(t, "a program that is told so", slices.Repeat([]string{"imap"}, 13), sends, "suspended@"+domain, password, func(door) string { return "a NO [CONTACTADMIN]" })
				wantLogins(t, "the mailbox, where it lets in", []string{"imap", "pop3"}, sends, "readonly@"+domain, password, good)
				wantLogins(t, "another mailbox", every, sends, "other@"+domain, password, good)
			})
			t.Run("a login whose password nobody looks at counts for nothing", func(t *testing.T) {
				t.Parallel()
				const address, stranger, anew = "nominata@" + domain, "192.0.2.17", "192.0.2.18"
				var all sync.WaitGroup
				for range 60 {
					all.Go(func() {
						if answer, err := forAnother.login(stranger, address, "a guess"); err != nil || !strings.HasPrefix(answer, "a NO") {
							t.Errorf("a login for somebody else is answered %q, %v", answer, err)
						}
					})
				}
				all.Wait()
				wantLogins(t, "the holder, from a new place", every, anew, address, password, good)
				wantLogins(t, "the holder, from behind the same address", every, stranger, address, password, good)
			})
			t.Run("a client of IPv6 is its /64", func(t *testing.T) {
				t.Parallel()
				address, two := "other@"+domain, []string{"imap", "smtp"}
				guess(t, address, ten("2001:db8:1:2::1"), two)
				wantLogins(t, "another address of it", two, "2001:db8:1:2::2", address, password, refused)
				wantLogins(t, "another network", two, "2001:db8:1:3::1", address, password, good)
			})
			t.Run("a guess from everywhere keeps out who is new, and not who is known", func(t *testing.T) {
				t.Parallel()
				const address, known, anew = "cercata@" + domain, "192.0.2.20", "192.0.2.19"
				wantLogin(t, "the holder, before", "pop3", known, address, password, doors["pop3"].good)
				var froms []string
				for i := range 60 {
					froms = append(froms, fmt.Sprintf("192.0.2.%d", 5+i%10))
				}
				if wrong := guess(t, address, froms, []string{"imap"}); wrong != 50 {
					t.Errorf("%d guesses were looked at, want 50", wrong)
				}
				wantLogins(t, "one who is new", every, anew, address, password, refused)
				wantLogins(t, "the holder", every, known, address, password, good)
			})
		})
		t.Run("when a try came back, the right password gets in", func(t *testing.T) {
			p.ahead.Add(int64(61 * time.Second))
			wantLogin(t, "a minute later", "imap", guesser, address, password, doors["imap"].good)
		})
		t.Run("what is refused is counted by protocol", func(t *testing.T) {
			response, err := http.Get("http://" + loopback(portHealth) + "/metrics")
			p.must(err)
			defer response.Body.Close()
			raw, err := io.ReadAll(response.Body)
			p.must(err)
			for _, protocol := range append(every, "api") {
				if !strings.Contains(string(raw), fmt.Sprintf("pec_engine_logins_refused_total{protocol=%q} ", protocol)) {
					t.Errorf("no refusal at %s is counted:\n%s", protocol, raw)
				}
			}
		})
		p.stopEngine()
		t.Run("without the engine the right password gets in", func(t *testing.T) {
			for _, at := range []string{"imap", "pop3", "sieve"} { // Postfix takes nothing without its milter
				began := time.Now()
				wantLogin(t, "the engine is dead", at, guesser, address, password, doors[at].good)
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("without the engine a login at %s takes %v", at, took)
				}
			}
		})
		t.Run("what is asked holds nothing of a password, and what is inside the pod asks nothing", func(t *testing.T) { checkPolicyRequests(t, p, dovecot) })
	})
}

// standInForPolicy listens where the engine does, hears what Dovecot says, and lets everybody in; or answers nothing.
func standInForPolicy(t *testing.T, answers bool) (heard chan string, server *http.Server) {
	t.Helper()
	heard = make(chan string, 1000)
	server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		select {
		case heard <- fmt.Sprintf("%s %s %s", r.URL, r.Header.Get("X-API-Key"), raw):
		default: // nobody listens
		}
		if answers {
			_, _ = io.WriteString(w, `{"status":0,"msg":""}`)
			return
		}
		<-r.Context().Done()
	})}
	l, err := net.Listen("tcp", loopback(portLoginPolicy))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(l) }()
	return heard, server
}

// checkPolicyRequests ends an engine that does not answer, with logins under way, and begins one that does.
func checkPolicyRequests(t *testing.T, p *pod, dovecot *running) {
	const address = "full@" + domain
	heard, server := standInForPolicy(t, false)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			wantLogin(t, "an engine that does not answer", "imap", "192.0.2.1", address, password, doors["imap"].good)
		})
	}
	<-heard
	p.must(server.Close())
	all.Wait()
	heard, _ = standInForPolicy(t, true)
	for end := time.Now().Add(10 * time.Second); len(heard) == 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("Dovecot says nothing to an engine that is back")
		}
		wantLogin(t, "an engine that is back", "pop3", "192.0.2.1", address, password, doors["pop3"].good)
	}
	next := func() string {
		select {
		case said := <-heard:
			return said
		case <-time.After(patience):
			t.Fatal("Dovecot says nothing")
			return ""
		}
	}
	wantLogin(t, "the last before", "pop3", "192.0.2.1", "readonly@"+domain, password, doors["pop3"].good)
	for said := ""; !strings.Contains(said, "command=report") || !strings.Contains(said, "readonly"); {
		said = next()
	}

	wantError(t, "a delivery", deliver(t, address, note), "")
	for _, command := range []string{
		`[["quotaGet",{"user":"` + address + `"},"t"]]`, `[["search",{"user":"` + address + `","query":["all"]},"t"]]`, `[["kick",{"mask":["` + address + `"]},"t"]]`,
	} {
		if _, body := doveadm(t, "secret-two", command); !strings.Contains(body, "doveadmResponse") {
			t.Errorf("%s is answered %s", command, body)
		}
	}
	out, err := p.exec(dovecot, p.container("dovecot"), "/usr/bin/doveadm", "-c", dovecotDir+"/"+fileDovecot, "mailbox", "status", "-S", loopback(portDoveadm), "-u", address, "messages", "INBOX")
	if err != nil {
		t.Errorf("doveadm over its own port: %v\n%s", err, out)
	}
	wantLogin(t, "the next", "imap", "192.0.2.1", address, password, doors["imap"].good)
	for _, want := range []string{
		`/?command=allow secret-two {"device_id":"","fail_type":"","login":"` + address + `","protocol":"imap","pwhash":"","remote":"192.0.2.1","session_id":"","tls":true}`,
		`/?command=report secret-two {"device_id":"","fail_type":"","login":"` + address + `","protocol":"imap","pwhash":"","remote":"192.0.2.1","session_id":"","success":true,"policy_reject":false,"tls":true}`,
	} {
		if got := next(); got != want {
			t.Errorf("Dovecot says %s, want %s", got, want)
		}
	}
}
