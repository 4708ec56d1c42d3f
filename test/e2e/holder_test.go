package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-smtp"

	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/stack"
	"github.com/pec-operator/pec-operator/test/road"
)

// ask is a holder's request to the stack of a site, at the address that mail clients use.
func ask(t *testing.T, a road.Account, method, path, body string) (status int, answer string) {
	t.Helper()
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{ServerName: a.ServerName, RootCAs: a.Roots}}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), method, "https://"+net.JoinHostPort(a.Host, "443")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(a.Address, a.Password)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(raw)
}

// A holder's first days: the first password sends nothing, he changes it himself, files his mail, and when he leaves, his open
// session ends within two seconds of the change in Git.
func TestAHolderFromTheFirstLoginToTheLast(t *testing.T) {
	const resource = "mailbox/titolare.at.pec.comune-esempio.test"
	manifest := strings.Replace(newMailbox("titolare", "password-di-carta"), "credentials: {", "sending: {messagesPerDay: 1}\n  credentials: {firstLogin: MustChange, ", 1)
	if err := r.Apply(t.Context(), "a", manifest); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "a", "wait", "--for=condition=Ready", "-n", "comune-esempio", resource, "--timeout=60s")
	holder := account(t, "a", municipality)
	holder.Address, holder.Password = "titolare@pec.comune-esempio.test", "password-di-carta"

	note := func() error {
		return holder.Send([]string{secondOffice}, road.Message(holder.Address, secondOffice, "prova"))
	}
	refused := func(what string, err error, code int) {
		t.Helper()
		var answer *smtp.SMTPError
		if !errors.As(err, &answer) || answer.Code != code {
			t.Errorf("%s was answered %v, want %d", what, err, code)
		}
		t.Logf("%s: %v", what, err)
	}
	refused("a message before the password was changed", note(), 550)

	if status, answer := ask(t, holder, http.MethodPut, "/v1/settings/password", `{"password":"una mia password"}`); status != http.StatusOK {
		t.Fatalf("changing the password: %d %s", status, answer)
	}
	if _, err := holder.Inbox(); err == nil {
		t.Error("the former password still opens the mailbox")
	}
	holder.Password = "una mia password"
	day := func() string { return calendar.InRome(time.Now()).Format(time.DateOnly) }
	today := day()
	eventually(t, 90*time.Second, note)
	second := note()
	if second == nil && day() != today { // it was the first of the next day
		second = note()
	}
	refused("a second message on that day", second, 450)

	rules := fmt.Sprintf(`{"rules":[{"name":"dal gestore due","header":"From","contains":%q,"folder":"Gestore Due"}]}`, secondOffice)
	if status, answer := ask(t, holder, http.MethodPut, "/v1/settings/rules", rules); status != http.StatusOK {
		t.Fatalf("changing the rules: %d %s", status, answer)
	}
	if err := account(t, "a", secondOffice).Send([]string{holder.Address}, road.Message(secondOffice, holder.Address, "da archiviare")); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() error { return filed(holder, "Gestore Due", 1) })

	holder.Password = changesActAtOnce(t, holder, resource)
	entersElsewhere(t, holder)
	endsAtOnce(t, holder, "the access", "patch", "-n", "comune-esempio", resource, "--type=merge", "-p", `{"spec":{"access":"Suspended"}}`)
	if _, err := holder.Inbox(); err == nil {
		t.Error("a suspended mailbox lets its holder in")
	}
	t.Log(kubectl(t, "a", "get", "-n", "comune-esempio", resource, "-o", "jsonpath={.status.holder}"))
	clientsAreKnown(t, holder)
	kubectl(t, "a", "delete", "-n", "comune-esempio", resource)
}

// effective is how soon what is changed in Git has to act, once the API server has it.
const effective = 2 * time.Second

// endsAtOnce changes rights of a holder with kubectl, and wants his open session ended.
func endsAtOnce(t *testing.T, holder road.Account, what string, change ...string) {
	t.Helper()
	client, ended, err := idle(holder)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	called := time.Now()
	kubectl(t, "a", change...)
	begun := time.Now() // kubectl's own start takes longer than what is measured
	select {
	case <-ended:
		t.Logf("%s: the open session ended %v after kubectl was called, %v after it was done", what, time.Since(called), time.Since(begun))
		if time.Since(begun) > effective {
			t.Errorf("%s: the open session ended only after %v", what, time.Since(begun))
		}
	case <-time.After(30 * time.Second):
		t.Errorf("%s: the open session goes on", what)
	}
}

// changesActAtOnce edits the Secret, the quota and the policy for ordinary mail of a mailbox, and answers the password that it has then.
func changesActAtOnce(t *testing.T, holder road.Account, resource string) (password string) {
	t.Helper()
	patch := []string{"patch", "-n", "comune-esempio", resource, "--type=merge", "-p"}
	endsAtOnce(t, holder, "the quota", append(patch, `{"spec":{"quota":"70Mi"}}`)...)
	if limit, err := quotaOf(holder); limit != 70<<10 || err != nil {
		t.Errorf("a new session has a quota of %d KiB, %v", limit, err)
	}

	endsAtOnce(t, holder, "the Secret", "patch", "-n", "comune-esempio", "secret/titolare-password", "--type=merge", "-p", `{"stringData":{"password":"per chi viene dopo"}}`)
	if _, err := holder.Inbox(); err == nil {
		t.Error("the password that the holder chose still opens the mailbox")
	}
	holder.Password = "per chi viene dopo"
	if _, err := holder.Inbox(); err != nil {
		t.Errorf("the Secret's password does not open the mailbox: %v", err)
	}

	if err := ordinary(holder, "prima"); err == nil {
		t.Error("ordinary mail is taken before it is asked for")
	}
	kubectl(t, "a", append(patch, `{"spec":{"ordinaryMail":{"policy":"Deliver"}}}`)...)
	begun := time.Now()
	for tries := 0; ; tries++ {
		err := ordinary(holder, fmt.Sprint("poi ", tries))
		if took := time.Since(begun); err == nil && took <= effective {
			t.Logf("ordinary mail was taken %v after kubectl was done", took)
			break
		} else if took > effective {
			t.Errorf("ordinary mail is not taken, or only after %v: %v", took, err)
			break
		}
	}
	kubectl(t, "a", "wait", "--for=jsonpath={.status.holder.ordinaryMail}=Deliver", "-n", "comune-esempio", resource, "--timeout=60s")
	return holder.Password
}

// quotaOf is the limit of a mailbox in KiB, as its holder's mail program sees it.
func quotaOf(a road.Account) (int64, error) {
	client, err := session(a, &imapclient.Options{})
	if err != nil {
		return 0, err
	}
	defer client.Close()
	roots, err := client.GetQuotaRoot("INBOX").Wait()
	if err != nil || len(roots) != 1 {
		return 0, fmt.Errorf("%d quotas: %w", len(roots), err)
	}
	return roots[0].Resources[imap.QuotaResourceStorage].Limit, nil
}

// stranger is nobody's holder.
const stranger = "qualcuno@ordinaria.test"

// ordinary sends a stranger's message to a mailbox.
func ordinary(to road.Account, subject string) error {
	client, err := smtp.Dial(net.JoinHostPort(to.Host, "25"))
	if err != nil {
		return err
	}
	defer client.Close()
	return client.SendMail(stranger, []string{to.Address}, strings.NewReader("Subject: "+subject+"\r\n\r\nx\r\n"))
}

// entersElsewhere logs a holder in over POP3 and ManageSieve.
func entersElsewhere(t *testing.T, a road.Account) {
	t.Helper()
	config := &tls.Config{ServerName: a.ServerName, RootCAs: a.Roots}
	dial := func(port string) net.Conn {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(a.Host, port), 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		return conn
	}
	talks := func(conn net.Conn, prefix string, commands ...string) {
		t.Helper()
		lines := bufio.NewReader(conn)
		for _, command := range commands {
			_, err := io.WriteString(conn, command) // the first is empty: the server speaks first
			for answer := ""; err == nil && !strings.HasPrefix(answer, prefix); {
				if answer, err = lines.ReadString('\n'); strings.HasPrefix(answer, "-ERR") || strings.HasPrefix(answer, "NO") {
					t.Fatalf("a login is answered %q", answer)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	talks(tls.Client(dial("995"), config), "+OK", "", "USER "+a.Address+"\r\n", "PASS "+a.Password+"\r\n", "QUIT\r\n")
	scripts := dial("4190")
	talks(scripts, "OK", "", "STARTTLS\r\n")
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + a.Address + "\x00" + a.Password))
	talks(tls.Client(scripts, config), "OK", "", `AUTHENTICATE "PLAIN" "`+plain+"\"\r\n", "LOGOUT\r\n")
}

// clientsAreKnown looks for this client's own address where Postfix, Dovecot and the engine write down whom they served: behind a
// balancer that hides it, all would be one.
func clientsAreKnown(t *testing.T, a road.Account) {
	t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort(a.Host, "993"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	own, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	pod := "statefulset/" + stack.NamesFor("pec.gestore-uno.test").StatefulSet
	records := kubectl(t, "a", "exec", "-n", "gestore-uno", pod, "-c", "engine", "--", "sh", "-c", "cat /var/lib/pec/evidence/*.jsonl")
	logins := kubectl(t, "a", "logs", "-n", "gestore-uno", pod, "-c", "dovecot")
	for what, found := range map[string]bool{
		"port 25":        oneLineHas(records, `"kind":"transaction"`, `"port":"mx"`, `"from":"`+stranger+`"`, `"`+a.Address+`"`, `"client":"`+own+`"`),
		"the submission": oneLineHas(records, `"kind":"transaction"`, `"from":"`+a.Address+`"`, `"client":"`+own+`"`),
		"the API":        oneLineHas(records, `"kind":"holder-login"`, `"address":"`+a.Address+`"`, `"client":"`+own+`"`),
		"IMAP":           oneLineHas(logins, "imap-login", "Logged in: ", a.Address, "rip="+own),
		"POP3":           oneLineHas(logins, "pop3-login", "Logged in: ", a.Address, "rip="+own),
		"ManageSieve":    oneLineHas(logins, "managesieve-login", "Logged in: ", a.Address, "rip="+own),
	} {
		if !found {
			t.Errorf("%s did not see the client's address %s", what, own)
		}
	}
}

func oneLineHas(text string, parts ...string) bool {
	for line := range strings.Lines(text) {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			return true
		}
	}
	return false
}

func session(a road.Account, options *imapclient.Options) (*imapclient.Client, error) {
	options.TLSConfig = &tls.Config{ServerName: a.ServerName, RootCAs: a.Roots}
	client, err := imapclient.DialTLS(net.JoinHostPort(a.Host, "993"), options)
	if err != nil {
		return nil, err
	}
	if err := client.Login(a.Address, a.Password).Wait(); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

// filed says whether a folder holds so many messages.
func filed(a road.Account, folder string, want uint32) error {
	client, err := session(a, &imapclient.Options{})
	if err != nil {
		return err
	}
	defer client.Close()
	box, err := client.Select(folder, nil).Wait()
	if err == nil && box.NumMessages != want {
		err = fmt.Errorf("%s holds %d messages, want %d", folder, box.NumMessages, want)
	}
	return err
}

// idle opens a session; ended is closed when the server ends it.
func idle(a road.Account) (client *imapclient.Client, ended <-chan struct{}, err error) {
	client, err = session(a, &imapclient.Options{})
	if err != nil {
		return nil, nil, err
	}
	if _, err := client.Select("INBOX", nil).Wait(); err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, client.Closed(), nil
}
