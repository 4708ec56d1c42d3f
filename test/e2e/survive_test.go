package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Last on purpose (Go runs the tests of a package in the order of its files): it takes everything down.
func TestClaimsSurviveTheDeletionOfEveryResourceAndOfTheChart(t *testing.T) {
	id := send(t, "a", municipality, secondOffice)
	eventually(t, time.Minute, func() error { return holds(t, "a", secondOffice, id, "posta-certificata") })
	before := claims(t)
	if len(before) != 7 {
		t.Fatalf("%d claims at site a, want mail, queue and engine of two stacks and an archive: %v", len(before), before)
	}

	kubectl(t, "a", "delete", "mailboxes.pec-operator.dev", "-A", "--all", "--timeout=60s")
	eventually(t, time.Minute, func() error { // a policy refuses to delete a domain that counts mailboxes
		counts := kubectl(t, "a", "get", "pecdomains.pec-operator.dev", "-A", "-o", "jsonpath={.items[*].status.mailboxes.total}")
		if strings.Trim(counts, "0 ") != "" {
			return fmt.Errorf("the domains still count mailboxes: %s", counts)
		}
		return nil
	})
	kubectl(t, "a", "delete", "pecdomains.pec-operator.dev", "-A", "--all", "--timeout=60s")
	if err := r.Helm(t.Context(), "a", "uninstall", "pec-operator", "--wait"); err != nil {
		t.Fatal(err)
	}
	if after := claims(t); strings.Join(after, " ") != strings.Join(before, " ") {
		t.Fatalf("claims after the deletion: %v, before: %v", after, before)
	}

	for _, step := range []func() error{
		func() error { return r.Install(t.Context()) },
		func() error { return r.ApplySamples(t.Context()) },
		func() error { return r.WaitReady(t.Context(), 3*time.Minute) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if after := claims(t); strings.Join(after, " ") != strings.Join(before, " ") {
		t.Errorf("claims after the return: %v, before: %v", after, before)
	}
	eventually(t, time.Minute, func() error { return holds(t, "a", secondOffice, id, "posta-certificata") })
	reason := kubectl(t, "a", "get", "mailboxes.pec-operator.dev", "-n", "gestore-due", "ufficio.at.pec.gestore-due.test", "-o",
		`jsonpath={.status.conditions[?(@.type=="Provisioned")].reason}`)
	if reason != "Readopted" {
		t.Errorf("the mailbox with its old mail is said to be %s, want Readopted", reason)
	}
}

// claims answers name, identity and volume of every claim at site a: a claim that was made anew would have another identity.
func claims(t *testing.T) []string {
	return strings.Fields(kubectl(t, "a", "get", "persistentvolumeclaims", "-A", "-o",
		`jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}={.metadata.uid}={.spec.volumeName}{"\n"}{end}`))
}
