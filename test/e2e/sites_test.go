package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

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

// storesInSync waits until both sites say of both providers that their stores hold the same mail, and say so by the same digests of the
// Mailbox resources.
func storesInSync(t *testing.T) {
	t.Helper()
	for _, site := range road.SiteNames {
		for namespace, domain := range map[string]string{"gestore-uno": "pec.gestore-uno.test", "gestore-due": "pec.gestore-due.test"} {
			kubectl(t, site, "wait", "--for=condition=StoresInSync=True", "-n", namespace, "pecdomain/"+domain, "--timeout=120s")
			digests := strings.Fields(kubectl(t, site, "get", "-n", namespace, "pecdomain/"+domain, "-o", "jsonpath={.status.sites[*].specs.digest}"))
			if len(digests) != 2 || digests[0] != digests[1] {
				t.Errorf("at site %s the sites' mailboxes of %s have the digests %q", site, domain, digests)
			}
		}
	}
}

// A building is cut off: both halves go on, and when it returns nothing is lost and nothing doubled.
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
