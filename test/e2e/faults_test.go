package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/stack"
	"github.com/pec-operator/pec-operator/test/road"
)

const messages = 200

// ledger holds what the clients were promised: the Message-ID of each message that was answered 250.
type ledger struct {
	sync.Mutex
	promised map[string]bool // client Message-ID -> has a Bcc, so that it must be refused with a notice
	refused  int             // submissions that got no 250; the client tried again with a new message
}

// Nothing that was answered 250 is lost or doubled while the engine, Postfix, the operator and an API server are killed.
func TestKillsLoseNothingThatWasAnswered250(t *testing.T) {
	sender := account(t, "a", municipality)
	book := &ledger{promised: map[string]bool{}}
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() {
			for i := client; i < messages; i += 4 {
				book.submit(t, sender, i)
			}
		})
	}
	sending := make(chan struct{})
	go func() { clients.Wait(); close(sending) }()
	kills := []func() error{
		func() error {
			return killContainer(t, "a", "gestore-uno", stack.NamesFor("pec.gestore-uno.test").StatefulSet+"-0", "engine")
		},
		func() error {
			return killContainer(t, "a", "gestore-due", stack.NamesFor("pec.gestore-due.test").StatefulSet+"-0", "postfix")
		},
		func() error { return killOperator(t, "a") },
		func() error { return killServer(t, "a", "kube-apiserver") },
		func() error {
			return killContainer(t, "a", "gestore-due", stack.NamesFor("pec.gestore-due.test").StatefulSet+"-0", "engine")
		},
		func() error {
			return killContainer(t, "a", "gestore-uno", stack.NamesFor("pec.gestore-uno.test").StatefulSet+"-0", "postfix")
		},
	}
	for _, kill := range kills {
		book.waitFor(t, len(kills), sending)
		if err := kill(); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-sending:
		t.Error("the last kill came after the sending: it says nothing of what it does to a message")
	default:
	}
	<-sending
	t.Logf("%d messages were answered 250, %d submissions were not", len(book.promised), book.refused)
	book.settle(t, atBothSites(t, "", municipality), atBothSites(t, "", secondOffice))
}

// submit sends message i until it is answered 250; each try is a new message, as the client's retry is for SMTP.
func (b *ledger) submit(t *testing.T, sender road.Account, i int) {
	for range 60 {
		message := road.Message(municipality, secondOffice, fmt.Sprintf("messaggio %d", i))
		bcc := i%20 == 7
		switch {
		case bcc:
			message = append([]byte("Bcc: altro@pec.gestore-due.test\r\n"), message...)
		case i%20 == 11:
			message = append(message, strings.Repeat("y", 2000)+"\r\n"...)
		case i%20 == 13:
			message = append(message, "citt\xe0\r\n"...)
		}
		err := sender.Send([]string{secondOffice}, message)
		b.Lock()
		if err == nil {
			b.promised["<"+road.MessageIDOf(message)+">"] = bcc
		} else {
			b.refused++
		}
		b.Unlock()
		if err == nil {
			return
		}
		time.Sleep(time.Second)
	}
	t.Errorf("message %d was not accepted in 60 tries", i)
}

// waitFor waits until the next share of the messages is promised, so that every kill falls into the sending.
func (b *ledger) waitFor(t *testing.T, kills int, sending <-chan struct{}) {
	b.Lock()
	goal := len(b.promised) + messages/(kills+2)
	b.Unlock()
	eventually(t, 3*time.Minute, func() error {
		b.Lock()
		defer b.Unlock()
		select {
		case <-sending:
			return nil
		default:
		}
		if len(b.promised) < goal {
			return fmt.Errorf("%d of %d messages promised", len(b.promised), goal)
		}
		return nil
	})
}

// settle waits until every promise is kept, and then checks that none was kept twice. While it waits it asks the senders at one site
// alone, which has all in the end: each login costs a quarter of a second of a core, and the receipts come last.
func (b *ledger) settle(t *testing.T, senders, recipients boxes) {
	t.Helper()
	first := boxes{road.SiteNames[0]: senders[road.SiteNames[0]]}
	eventually(t, 6*time.Minute, func() error {
		time.Sleep(2 * time.Second)
		sent, err := take(first)
		if err != nil {
			return err
		}
		missing := 0
		for id, bcc := range b.promised {
			if bcc && len(sent.union(id, "non-accettazione")) == 0 ||
				!bcc && (len(sent.union(id, "accettazione")) == 0 || len(sent.union(id, "avvenuta-consegna")) == 0) {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d promises are not kept yet", missing, len(b.promised))
		}
		return nil
	})
	sent, err := take(senders)
	if err != nil {
		t.Fatal(err)
	}
	received, err := take(recipients)
	if err != nil {
		t.Fatal(err)
	}
	for id, bcc := range b.promised {
		kinds := []string{"accettazione", "avvenuta-consegna"}
		if bcc {
			kinds = []string{"non-accettazione"}
		}
		for _, kind := range kinds {
			if ids := sent.union(id, kind); len(ids) != 1 {
				t.Errorf("%s has %d different receipts of type %s: %v", id, len(ids), kind, ids)
			}
		}
		if envelopes := received.union(id, "posta-certificata"); !bcc && len(envelopes) != 1 || bcc && len(envelopes) != 0 {
			t.Errorf("%s has %d different envelopes", id, len(envelopes))
		}
	}
	sent.checkOncePerSite(t)
	received.checkOncePerSite(t)
}

// copyOf is one stored copy of a certified message: which message, and the host whose engine delivered it.
type copyOf struct{ clientID, kind, messageID, deliveredBy string }

// boxes are mailboxes as their holders meet them at each site.
type boxes map[string][]road.Account

// atBothSites are mailboxes at both sites, with a password, or their own where they are of the samples.
func atBothSites(t *testing.T, password string, addresses ...string) boxes {
	t.Helper()
	all := boxes{}
	for _, site := range road.SiteNames {
		for _, address := range addresses {
			a := account(t, site, address)
			a.Password = cmp.Or(password, a.Password)
			all[site] = append(all[site], a)
		}
	}
	return all
}

// census counts the copies in mailboxes at each site.
type census map[string]map[copyOf]int

// take reads headers: what a message says it is, and of which message.
func take(from boxes) (census, error) {
	all := census{}
	for site, accounts := range from {
		all[site] = map[copyOf]int{}
		for _, a := range accounts {
			headers, err := a.Headers()
			if err != nil {
				return nil, err
			}
			for _, raw := range headers {
				message, err := mail.ReadMessage(bytes.NewReader(raw))
				if err != nil {
					return nil, fmt.Errorf("reading a header of %s: %w", a.Address, err)
				}
				h := message.Header
				all[site][copyOf{h.Get("X-Riferimento-Message-Id"), cmp.Or(h.Get("X-Ricevuta"), h.Get("X-Trasporto")), h.Get("Message-Id"), deliveredBy(raw)}]++
			}
		}
	}
	return all, nil
}

// union answers the distinct Message-IDs, over both sites, of a type about a client's Message-ID.
func (c census) union(clientID, kind string) map[string]bool {
	found := map[string]bool{}
	for _, copies := range c {
		for one := range copies {
			if one.clientID == clientID && one.kind == kind {
				found[one.messageID] = true
			}
		}
	}
	return found
}

// checkOncePerSite: no site's engine put a certified message into a mailbox twice, wherever the copy is read.
func (c census) checkOncePerSite(t *testing.T) {
	for reader, copies := range c {
		for one, count := range copies {
			if count > 1 {
				t.Errorf("read at site %s: %s delivered %s %s %d times", reader, one.deliveredBy, one.kind, one.messageID, count)
			}
		}
	}
}

var delivery = regexp.MustCompile(`(?m)^Received: by (\S+) \(pec-operator\)`)

// deliveredBy answers the host of the engine that put this copy into its site's store.
func deliveredBy(raw []byte) string {
	if found := delivery.FindSubmatch(raw); found != nil {
		return string(found[1])
	}
	return "unknown"
}

func killOperator(t *testing.T, site string) error {
	pods := kubectl(t, site, "get", "pods", "-n", road.SystemNamespace, "-o", "jsonpath={.items[0].metadata.name}")
	return killContainer(t, site, road.SystemNamespace, pods, "manager")
}

// killContainer ends the first process of a container as a crash would: kill -9, from outside.
func killContainer(t *testing.T, site, namespace, pod, container string) error {
	var status struct {
		Status struct {
			ContainerStatuses []struct{ Name, ContainerID string }
		}
	}
	eventually(t, time.Minute, func() error { // the API server may have been killed a moment ago
		out, err := r.Kubectl(t.Context(), site, "get", "pod", pod, "-n", namespace, "-o", "json")
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(out), &status)
	})
	for _, c := range status.Status.ContainerStatuses {
		if c.Name != container {
			continue
		}
		_, id, _ := strings.Cut(c.ContainerID, "containerd://")
		pid, err := firstProcess(id)
		if err != nil {
			return err
		}
		t.Logf("kill -9 %s of %s at site %s", container, pod, site)
		return syscall.Kill(pid, syscall.SIGKILL)
	}
	return fmt.Errorf("pod %s has no container %s", pod, container)
}

// killServer ends one of a site's own servers, found by its name and its network namespace; the supervisor starts it again.
func killServer(t *testing.T, site, name string) error {
	namespace, err := os.Stat(filepath.Join("/run/netns", r.Netns(site)))
	if err != nil {
		return err
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, process := range processes {
		comm, err := os.ReadFile(filepath.Join(process, "comm"))
		if err != nil || strings.TrimSpace(string(comm)) != name {
			continue
		}
		if own, err := os.Stat(filepath.Join(process, "ns/net")); err == nil && os.SameFile(own, namespace) {
			pid, err := strconv.Atoi(filepath.Base(process))
			if err != nil {
				return err
			}
			t.Logf("kill -9 %s of site %s", name, site)
			return syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return fmt.Errorf("no %s runs at site %s", name, site)
}

// firstProcess answers the process of a container that has number 1 in the container's own namespace.
func firstProcess(containerID string) (int, error) {
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return 0, err
	}
	for _, group := range groups {
		raw, err := os.ReadFile(group)
		if err != nil || !bytes.Contains(raw, []byte(containerID)) {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(group), "status"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			if numbers := strings.Fields(line); numbers[0] == "NSpid:" && numbers[len(numbers)-1] == "1" {
				return strconv.Atoi(filepath.Base(filepath.Dir(group)))
			}
		}
	}
	return 0, fmt.Errorf("no process of container %s", containerID)
}
