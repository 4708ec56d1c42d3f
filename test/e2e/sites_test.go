package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/pec-operator/pec-operator/internal/stack"
	"github.com/pec-operator/pec-operator/test/road"
)

func TestEachSiteCertifiesAndTheStoresMerge(t *testing.T) {
	for _, site := range road.SiteNames {
		id := send(t, site, municipality, secondOffice)
		eventually(t, time.Minute, func() error {
			for _, reader := range road.SiteNames {
				if err := holds(t, reader, municipality, id, "accettazione", "avvenuta-consegna"); err != nil {
					return err
				}
				if err := holds(t, reader, secondOffice, id, "posta-certificata"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	storesInSync(t)
}

// storesInSync waits until both sites say that the second provider's stores hold the same mail, and checks that both providers' sites have the
// same digests of the Mailbox resources. The first provider's stack holds mailboxes that other tests gave to one site alone: it says so.
func storesInSync(t *testing.T) {
	t.Helper()
	for _, site := range road.SiteNames {
		kubectl(t, site, "wait", "--for=condition=StoresInSync=True", "-n", "gestore-due", "pecdomain/pec.gestore-due.test", "--timeout=300s")
		for namespace, domain := range map[string]string{"gestore-uno": "pec.gestore-uno.test", "gestore-due": "pec.gestore-due.test"} {
			eventually(t, time.Minute, func() error { // what was deleted at both sites a moment ago each tells the other
				digests := strings.Fields(kubectl(t, site, "get", "-n", namespace, "pecdomain/"+domain, "-o", "jsonpath={.status.sites[*].specs.digest}"))
				if len(digests) != 2 || digests[0] != digests[1] {
					return fmt.Errorf("at site %s the sites' mailboxes of %s have the digests %q", site, domain, digests)
				}
				return nil
			})
		}
	}
}

// What one building was told the other knows: the receipt that ends its timer, the holder's password.
func TestWhatOneBuildingLearnsTheOtherKnows(t *testing.T) {
	const resource = "mailbox/ovunque.at.pec.comune-esempio.test"
	for _, site := range road.SiteNames {
		if err := r.Apply(t.Context(), site, newMailbox("ovunque", "password-di-carta")); err != nil {
			t.Fatal(err)
		}
		kubectl(t, site, "wait", "--for=condition=Ready", "-n", "comune-esempio", resource, "--timeout=60s")
		defer kubectl(t, site, "delete", "-n", "comune-esempio", resource)
	}
	holder := func(site, password string) road.Account {
		a := account(t, site, municipality)
		a.Address, a.Password = "ovunque@pec.comune-esempio.test", password
		return a
	}
	if status, answer := ask(t, holder("a", "password-di-carta"), http.MethodPut, "/v1/settings/password", `{"password":"una mia password"}`); status != http.StatusOK {
		t.Fatalf("changing the password: %d %s", status, answer)
	}
	changed := time.Now()
	eventually(t, 30*time.Second, func() error {
		_, err := holder("b", "una mia password").Inbox()
		return err
	})
	t.Logf("the password that was changed at a works at b after %s", time.Since(changed).Round(time.Millisecond))
	if _, err := holder("b", "password-di-carta").Inbox(); err == nil {
		t.Error("the former password still opens the mailbox at b")
	}

	pod := "statefulset/" + stack.NamesFor("pec.gestore-uno.test").StatefulSet
	in := func(site, container, script string) string {
		t.Helper()
		return kubectl(t, site, "exec", "-n", "gestore-uno", pod, "-c", container, "--", "sh", "-c", script)
	}
	id := send(t, "a", municipality, "ovunque@pec.comune-esempio.test")
	eventually(t, time.Minute, func() error { return holds(t, "b", municipality, id, "accettazione", "avvenuta-consegna") })

	id = send(t, "b", municipality, secondOffice) // the MX that others prefer is at a
	eventually(t, time.Minute, func() error { return holds(t, "b", municipality, id, "accettazione", "avvenuta-consegna") })
	identifier := identifierOf(t, in("b", "engine", "cat /var/lib/pec/evidence/*.jsonl"), id)
	if oneLineHas(in("b", "engine", "cat /var/lib/pec/evidence/*.jsonl"), `"kind":"settled"`, identifier) {
		t.Fatal("the receipt came to the site that sent: this shows nothing")
	}
	eventually(t, 30*time.Second, func() error {
		if !oneLineHas(in("b", "engine", "cat /var/lib/pec/mirror/a-*/*.jsonl"), `"kind":"settled"`, identifier) {
			return errors.New("site b does not know of the receipt that came to site a")
		}
		return nil
	})
	delivered := in("a", "engine", "cat /var/lib/pec/evidence/*.jsonl")
	if !oneLineHas(delivered, `"kind":"delivered"`, `"mailbox":"ovunque@pec.comune-esempio.test"`, `"replica":"copied"`) {
		t.Error("the evidence of the delivery at a does not say that the message was in custody at b")
	}
}

// Two clusters, two Secrets: a password that was changed in one is told at both, and put right by the same change in the other.
func secretsDiffer(t *testing.T) {
	t.Parallel()
	const resource = "mailbox/diverse.at.pec.comune-esempio.test"
	give := func(site, password string) {
		t.Helper()
		if err := r.Apply(t.Context(), site, newMailbox("diverse", password)); err != nil {
			t.Fatal(err)
		}
	}
	for _, site := range road.SiteNames {
		give(site, "password-"+site+"-di-prova")
		kubectl(t, site, "wait", "--for=condition=Ready", "-n", "comune-esempio", resource, "--timeout=60s")
		defer kubectl(t, site, "delete", "-n", "comune-esempio", resource)
	}
	for _, site := range road.SiteNames {
		kubectl(t, site, "wait", "--for=condition=SecretsDiffer", "-n", "comune-esempio", resource, "--timeout=120s")
	}
	give("b", "password-a-di-prova")
	mended := time.Now()
	for _, site := range road.SiteNames {
		eventually(t, 30*time.Second, func() error {
			if said := kubectl(t, site, "get", "-n", "comune-esempio", resource, "-o", `jsonpath={.status.conditions[?(@.type=="SecretsDiffer")].message}`); said != "" {
				return errors.New("site " + site + " still says: " + said)
			}
			return nil
		})
	}
	t.Logf("the condition went %s after the Secrets were equal", time.Since(mended).Round(time.Millisecond))
}

// identifierOf finds the PEC identifier of a submission in a log by the client's Message-ID.
func identifierOf(t *testing.T, records, messageID string) string {
	t.Helper()
	for line := range strings.Lines(records) {
		var record struct {
			Kind, Identifier string
			Data             struct{ Transit struct{ MessageID string } }
		}
		if err := json.Unmarshal([]byte(line), &record); err == nil && record.Kind == "accepted" && strings.Trim(record.Data.Transit.MessageID, "<>") == strings.Trim(messageID, "<>") {
			return record.Identifier
		}
	}
	t.Fatalf("no record of %s", messageID)
	return ""
}

// A building is cut off: both halves go on, and when it returns nothing is lost and nothing doubled, not even what came to both.
func TestABuildingIsLostAndReturns(t *testing.T) {
	if err := r.Cut(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	defer r.Restore(t.Context(), "b")

	fromA, fromB := send(t, "a", municipality, secondOffice), send(t, "b", municipality, secondOffice)
	eventually(t, time.Minute, func() error {
		if err := holds(t, "a", municipality, fromA, "accettazione", "avvenuta-consegna"); err != nil {
			return err
		}
		return holds(t, "b", municipality, fromB, "accettazione")
	})
	again(t, "a", "b", secondOffice, fromA)
	eventually(t, time.Minute, func() error { return holds(t, "b", secondOffice, fromA, "posta-certificata") })
	if err := holds(t, "a", municipality, fromB, "accettazione"); err == nil {
		t.Fatal("site a knows what happened at site b: the link was not cut")
	}
	kubectl(t, "a", "wait", "--for=condition=PeerReachable=False", "-n", "gestore-uno", "pecdomain/pec.gestore-uno.test", "--timeout=90s")

	if err := r.Restore(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 4*time.Minute, func() error {
		for _, reader := range road.SiteNames {
			for _, id := range []string{fromA, fromB} {
				if err := holds(t, reader, municipality, id, "accettazione", "avvenuta-consegna"); err != nil {
					return err
				}
				if err := holds(t, reader, secondOffice, id, "posta-certificata"); err != nil {
					return err
				}
			}
		}
		return nil
	})
	kubectl(t, "a", "wait", "--for=condition=PeerReachable=True", "-n", "gestore-uno", "pecdomain/pec.gestore-uno.test", "--timeout=90s")
	storesInSync(t)
}

// again has the envelope that came to a mailbox at one site come to the other site too, as from a sender's server that had no answer.
func again(t *testing.T, here, there, address, id string) {
	t.Helper()
	var envelope []byte
	eventually(t, time.Minute, func() error {
		messages, err := account(t, here, address).Inbox()
		for _, raw := range messages {
			if c, err := road.Open(raw); err == nil && c.Data.MessageID == id && c.Data.Type == "posta-certificata" {
				envelope = trace.ReplaceAll(raw, nil)
			}
		}
		if err == nil && envelope == nil {
			err = fmt.Errorf("%s at site %s has no envelope of %s", address, here, id)
		}
		return err
	})
	client, err := smtp.Dial(net.JoinHostPort(account(t, there, address).Host, "25"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.SendMail(municipality, []string{address}, bytes.NewReader(envelope)); err != nil {
		t.Fatal(err)
	}
}

// trace are the fields that servers put on top of a message.
var trace = regexp.MustCompile(`^((?i:received|return-path|delivered-to):.*\r\n([ \t].*\r\n)*)+`)

// send submits a message at a site and answers the client's Message-ID, in brackets.
func send(t *testing.T, site, from, to string) string {
	t.Helper()
	message := road.Message(from, to, "dal sito "+site)
	if err := account(t, site, from).Send([]string{to}, message); err != nil {
		t.Fatal(err)
	}
	return "<" + road.MessageIDOf(message) + ">"
}

// holds says whether a mailbox, read at a site, has exactly one message of each type about the client's Message-ID.
func holds(t *testing.T, site, address, id string, kinds ...string) error {
	messages, err := account(t, site, address).Inbox()
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, raw := range messages {
		if !strings.Contains(string(raw), id) {
			continue
		}
		if c, err := road.Open(raw); err == nil && c.Data.MessageID == id {
			count[c.Data.Type]++
		}
	}
	for _, kind := range kinds {
		if count[kind] != 1 {
			return fmt.Errorf("%s at site %s holds %d messages of type %s about %s, want 1", address, site, count[kind], kind, id)
		}
	}
	return nil
}

// eventually repeats a check until it holds.
func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", within, err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}
