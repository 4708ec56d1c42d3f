package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-smtp"

	"github.com/pec-operator/pec-operator/test/road"
)

// sessions are how many a sender keeps open, as the programs of registries do. A login is a bcrypt check, a quarter of a second of a
// core: twenty a second would be a test of nothing else.
const sessions = 12

// The API server and the operator of a site are gone, and mail and logins go on as if nothing were. What was asked for meanwhile is
// done when they return: in Git while the operator alone was dead, by a holder while nobody listened, in Git when nothing answered.
func TestMailGoesOnWithoutOperatorAndAPIServer(t *testing.T) {
	begun := time.Now()
	senders, recipients := boxesForLoad(t)
	changed := changingMailbox(t)
	s := newStream(t, senders["a"], recipients["a"])
	t.Logf("mailboxes and sessions are there after %v", time.Since(begun).Round(time.Second))
	s.start(t)

	comeBack := keepOperatorAway(t, "a")
	defer comeBack()
	changed.change(t, "access: ReadOnly\n  quota: 200Mi", "seconda-password")
	for _, site := range road.SiteNames {
		if err := r.Apply(t.Context(), site, changed.manifest); err != nil {
			t.Fatal(err)
		}
	}
	hold(t, "a", "kube-apiserver")
	released := false
	release := func() {
		if !released {
			released = true
			if err := r.Release(context.WithoutCancel(t.Context()), "a", "kube-apiserver"); err != nil {
				t.Error(err)
			}
		}
	}
	defer release()
	gone := time.Now()
	changed.is(t, "with nobody to act", "prima-password", 100<<20, true)
	if status, answer := ask(t, changed.holder("prima-password"), http.MethodPut, "/v1/settings/rules", `{"rules":[{"name":"una","header":"From","contains":"x","folder":"X"}]}`); status != http.StatusOK {
		t.Errorf("a holder's rule without API server: %d %s", status, answer)
	}
	late := newMailbox("tardi", parola)
	if err := r.Apply(t.Context(), "b", late); err != nil {
		t.Error(err)
	}
	for time.Since(gone) < away {
		if err := r.Apply(t.Context(), "a", late); err == nil {
			t.Fatal("the API server took a change: it was not away")
		}
		time.Sleep(time.Second)
	}
	s.stop(t)
	t.Logf("%d messages and %d logins while API server and operator were away for %v", len(s.book.promised), s.logins, time.Since(gone).Round(time.Second))

	release()
	comeBack()
	returned := time.Now()
	eventually(t, time.Minute, func() error { return r.Apply(t.Context(), "a", late) })
	t.Logf("the API server takes changes after %v", time.Since(returned).Round(time.Second))
	kubectl(t, "a", "wait", "--for=condition=Ready", "-n", office, "mailbox/tardi.at."+newDomain, "--timeout=120s")
	kubectl(t, "a", "wait", "--for=jsonpath={.status.effectiveAccess.access}=ReadOnly", "-n", office, changed.resource, "--timeout=120s")
	eventually(t, time.Minute, func() error { // whether the node lives is found out anew, and until then nothing is led to it
		_, err := changed.holder("seconda-password").Inbox()
		return err
	})
	changed.is(t, "after the return", "seconda-password", 200<<20, false)
	if _, err := changed.holder("prima-password").Inbox(); err == nil {
		t.Error("the password that Git replaced still opens the mailbox")
	}
	kubectl(t, "a", "wait", "--for=jsonpath={.status.holder.rules}=1", "-n", office, changed.resource, "--timeout=60s")
	tardy := changed.holder(parola)
	tardy.Address = "tardi@" + newDomain
	if _, err := tardy.Inbox(); err != nil {
		t.Error(err)
	}
	t.Logf("what changed meanwhile is applied after %v", time.Since(returned).Round(time.Second))
	settling := time.Now()
	s.book.settle(t, senders, recipients)
	t.Logf("every promise is kept %v later", time.Since(settling).Round(time.Second))
	for _, site := range road.SiteNames {
		kubectl(t, site, "delete", "-n", office, "mailbox/tardi.at."+newDomain)
	}
}

// boxesForLoad makes the mailboxes that write to each other, at both sites.
func boxesForLoad(t *testing.T) (senders, recipients boxes) {
	t.Helper()
	const pairs = 2
	var manifests strings.Builder
	var from, to []string
	for i := range pairs {
		sender, recipient := fmt.Sprintf("mittente-%d", i), fmt.Sprintf("destinatario-%d", i)
		from, to = append(from, sender+"@"+newDomain), append(to, recipient+"@pec.gestore-due.test")
		manifests.WriteString(newMailbox(sender, parola))
		manifests.WriteString(strings.NewReplacer("namespace: comune-esempio", "namespace: gestore-due", newDomain, "pec.gestore-due.test").Replace(newMailbox(recipient, parola)))
	}
	makeAtBothSites(t, strings.ReplaceAll(manifests.String(), "quota: 100Mi", "quota: 2Gi"))
	return atBothSites(t, parola, from...), atBothSites(t, parola, to...)
}

// makeAtBothSites applies mailboxes, waits until they serve, and takes them away after the test.
func makeAtBothSites(t *testing.T, manifests string) {
	t.Helper()
	for _, site := range road.SiteNames {
		if err := r.Apply(t.Context(), site, manifests); err != nil {
			t.Fatal(err)
		}
	}
	for document := range strings.SplitSeq(manifests, "---\n") {
		if !strings.Contains(document, "kind: Mailbox") {
			continue
		}
		_, rest, _ := strings.Cut(document, "metadata: {name: ")
		name, rest, _ := strings.Cut(rest, ", namespace: ")
		namespace, _, _ := strings.Cut(rest, "}")
		for _, site := range road.SiteNames {
			kubectl(t, site, "wait", "--for=condition=Ready", "-n", namespace, "mailbox/"+name, "--timeout=120s")
			t.Cleanup(func() {
				if _, err := r.Kubectl(context.Background(), site, "delete", "-n", namespace, "mailbox/"+name); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// changing is a mailbox that others change while nobody can act on it.
type changing struct {
	resource, manifest string
	base               road.Account
}

func changingMailbox(t *testing.T) *changing {
	t.Helper()
	c := &changing{resource: "mailbox/mutevole.at." + newDomain, manifest: newMailbox("mutevole", "prima-password"), base: account(t, "a", municipality)}
	c.base.Address = "mutevole@" + newDomain
	makeAtBothSites(t, c.manifest)
	c.is(t, "at first", "prima-password", 100<<20, true)
	return c
}

func (c *changing) holder(password string) road.Account {
	a := c.base
	a.Password = password
	return a
}

// change is what Git says from now on.
func (c *changing) change(t *testing.T, spec, password string) {
	t.Helper()
	changed := strings.NewReplacer("quota: 100Mi\n  access: Full", spec, "prima-password", password).Replace(c.manifest)
	if !strings.Contains(changed, spec) || !strings.Contains(changed, password) {
		t.Fatalf("the manifest was not changed:\n%s", changed)
	}
	c.manifest = changed
}

// is checks what the holder meets over IMAP: whether the password is right, the quota, and whether he may write.
func (c *changing) is(t *testing.T, when, password string, quota int64, writes bool) {
	t.Helper()
	client, err := session(c.holder(password), &imapclient.Options{})
	if err != nil {
		t.Errorf("%s: %v", when, err)
		return
	}
	defer client.Close()
	roots, err := client.GetQuotaRoot("INBOX").Wait()
	if err != nil || len(roots) != 1 {
		t.Errorf("%s: quota roots %v, %v", when, roots, err)
		return
	}
	for _, resource := range roots[0].Resources {
		if resource.Limit<<10 != quota {
			t.Errorf("%s the quota is %d KiB, want %d bytes", when, resource.Limit, quota)
		}
	}
	upload := client.Append("INBOX", 1, nil)
	_, _ = upload.Write([]byte("x"))
	_ = upload.Close()
	if _, err := upload.Wait(); (err == nil) != writes {
		t.Errorf("%s an APPEND is answered %v", when, err)
	}
}

// hold ends a server of a site and keeps it away.
func hold(t *testing.T, site, server string) {
	t.Helper()
	if err := errors.Join(r.Hold(t.Context(), site, server), killServer(t, site, server)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() error {
		conn, err := net.DialTimeout("tcp", r.APIServer(site), time.Second)
		if err == nil {
			return errors.Join(fmt.Errorf("%s still listens", server), conn.Close())
		}
		return nil
	})
}

// keepOperatorAway kills a site's operator, and again whenever the kubelet starts it, until the answer is called. Before it could do
// anything: a new one first waits until the Lease of the killed one has ended.
func keepOperatorAway(t *testing.T, site string) (comeBack func()) {
	t.Helper()
	stop, stopped := make(chan struct{}), make(chan int)
	kill := func() (killed int) {
		for _, pid := range operatorsOf(site) {
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				killed++
			}
		}
		return killed
	}
	if kill() != 1 {
		t.Fatalf("site %s does not run one operator", site)
	}
	go func() {
		count := 1
		for {
			select {
			case <-stop:
				stopped <- count
				return
			case <-time.After(300 * time.Millisecond):
				count += kill()
			}
		}
	}()
	return sync.OnceFunc(func() { close(stop); t.Logf("the operator of site %s was killed %d times", site, <-stopped) })
}

// operatorsOf are the processes of a site's operator: in a group of this instance, with the site's name on the command line.
func operatorsOf(site string) (pids []int) {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		raw, err := os.ReadFile(filepath.Join(process, "cmdline"))
		args := strings.Split(string(raw), "\x00")
		if err != nil || len(args) < 3 || args[1] != "manager" || !slices.Contains(args, "--site="+site) {
			continue
		}
		if group, err := os.ReadFile(filepath.Join(process, "cgroup")); err == nil && bytes.Contains(group, []byte("/pec."+r.Instance+"/")) {
			if pid, err := strconv.Atoi(filepath.Base(process)); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// stream is mail at a rate, whatever the answers take, and a login each second.
type stream struct {
	from, to []road.Account
	open     []chan *smtp.Client // by sender: the sessions that are free
	book     *ledger
	halt     chan struct{}
	done     sync.WaitGroup

	begun   time.Time
	last    time.Time
	waits   []time.Duration // from the moment that a message was due to its 250
	logins  int
	slowest time.Duration // login
}

func newStream(t *testing.T, from, to []road.Account) *stream {
	t.Helper()
	s := &stream{from: from, to: to, book: &ledger{promised: map[string]bool{}}, halt: make(chan struct{})}
	for _, a := range from {
		free := make(chan *smtp.Client, sessions)
		for range sessions {
			client, err := a.Submission()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			free <- client
		}
		s.open = append(s.open, free)
	}
	return s
}

func (s *stream) start(t *testing.T) {
	s.begun = time.Now()
	s.done.Go(func() {
		s.each(time.Second/perSecond, func(i int, due time.Time) { s.done.Go(func() { s.submit(t, i, due) }) })
	})
	s.done.Go(func() {
		s.each(time.Second, func(i int, due time.Time) { s.done.Go(func() { s.login(t, i, due) }) })
	})
}

// each calls do at every tick until the stream stops; no tick waits for another.
func (s *stream) each(every time.Duration, do func(i int, due time.Time)) {
	for i := 0; ; i++ {
		due := s.begun.Add(time.Duration(i) * every)
		select {
		case <-s.halt:
			return
		case <-time.After(time.Until(due)):
			do(i, due)
		}
	}
}

func (s *stream) submit(t *testing.T, i int, due time.Time) {
	sender, free := s.from[i%len(s.from)], s.open[i%len(s.from)]
	recipient := s.to[i/len(s.from)%len(s.to)].Address
	client := <-free
	defer func() { free <- client }()
	message := road.Message(sender.Address, recipient, fmt.Sprintf("messaggio %d", i))
	err := client.SendMail(sender.Address, []string{recipient}, bytes.NewReader(message))
	s.book.Lock()
	defer s.book.Unlock()
	if err != nil {
		s.book.refused++
		t.Errorf("message %d, %v after the beginning: %v", i, time.Since(s.begun).Round(time.Second), err)
		return
	}
	s.book.promised["<"+road.MessageIDOf(message)+">"] = false
	s.last = time.Now()
	s.waits = append(s.waits, time.Since(due))
}

func (s *stream) login(t *testing.T, i int, due time.Time) {
	everybody := slices.Concat(s.from, s.to)
	a := everybody[i%len(everybody)]
	client, _, err := idle(a)
	if err != nil {
		t.Errorf("login %d, of %s: %v", i, a.Address, err)
		return
	}
	defer client.Close()
	s.book.Lock()
	defer s.book.Unlock()
	s.logins++
	s.slowest = max(s.slowest, time.Since(due))
}

// standstill is longer than anybody waits while all goes on: on two cores with four other builds beside it was 13 s.
const standstill = 45 * time.Second

// stop ends the stream and says how fast it was: on a machine with other work the rate is that machine's, and only what no such work
// explains fails. Refusals fail where they happen.
func (s *stream) stop(t *testing.T) {
	t.Helper()
	close(s.halt)
	offered := time.Since(s.begun)
	s.done.Wait()
	slices.Sort(s.waits)
	if len(s.waits) == 0 {
		t.Fatal("no message was taken")
	}
	rate := float64(len(s.waits)) / s.last.Sub(s.begun).Seconds()
	t.Logf("%.1f messages a second of %d for %v; to the 250 p50 %v, p99 %v, most %v; %d refused; %d logins, the slowest %v", rate, perSecond, offered.Round(time.Second),
		s.waits[len(s.waits)/2], s.waits[len(s.waits)*99/100], s.waits[len(s.waits)-1], s.book.refused, s.logins, s.slowest)
	if half := int(perSecond * away.Seconds() / 2); len(s.waits) < half {
		t.Errorf("%d messages were taken, want %d at the very least", len(s.waits), half)
	}
	if longest := max(s.slowest, s.waits[len(s.waits)-1]); longest > standstill {
		t.Errorf("somebody waited %v for a login or a 250, want %v at most", longest, standstill)
	}
}
