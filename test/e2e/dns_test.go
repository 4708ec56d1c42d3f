package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/test/road"
)

const (
	ownZone = "pec.gestore-uno.test" // whose MX the operator writes
	newcome = "pec.nuovo.test"       // hosted on the first provider, its zone run by others
)

var ownMX = []string{"10 mx-a.gestore-uno.test.", "20 mx-b.gestore-uno.test."}

func TestTheOperatorKeepsTheMXOfOneDomainAndVerifiesTheOthers(t *testing.T) {
	for _, site := range road.SiteNames {
		table := kubectl(t, site, "get", "pecd", "-A")
		if strings.Count(table, "Ours") != 3 {
			t.Errorf("site %s does not show three domains as Ours:\n%s", site, table)
		}
		owned := kubectl(t, site, "get", "pecd", "-n", "gestore-uno", ownZone, "-o", `jsonpath={.status.conditions[?(@.type=="DNSOwned")].reason}`)
		if owned != v1alpha1.ReasonMarkOurs {
			t.Errorf("site %s: DNSOwned is %s", site, owned)
		}
	}
	if got, err := r.MX(t.Context(), ownZone); err != nil || !slices.Equal(got, ownMX) {
		t.Errorf("the MX set is %q (%v)", got, err)
	}
}

// Somebody sets another provider's MX. It is never touched; once it is gone, and not before, ours is put back.
func TestAForeignMXIsNotTouchedAndOursReturnsAfterIt(t *testing.T) {
	foreign := []string{"10 mx.altro.test."}
	if err := r.SetMX(t.Context(), ownZone, foreign...); err != nil {
		t.Fatal(err)
	}
	for _, site := range road.SiteNames {
		awaitState(t, site, "gestore-uno", ownZone, "Foreign", 3*time.Minute)
		kubectl(t, site, "wait", "--for=condition=Stalled", "-n", "gestore-uno", "pecd/"+ownZone, "--timeout=30s")
	}
	if d := domain(t, "a", "gestore-uno", ownZone); !strings.Contains(request(d), "ATTENZIONE") || strings.Contains(request(d), "IN MX") {
		t.Errorf("the request is not a warning alone: %q", request(d))
	}
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		if got, err := r.MX(t.Context(), ownZone); err != nil || !slices.Equal(got, foreign) {
			t.Fatalf("the foreign MX was touched: %q (%v)", got, err)
		}
	}
	if err := r.SetMX(t.Context(), ownZone); err != nil {
		t.Fatal(err)
	}
	eventually(t, 3*time.Minute, func() error {
		got, err := r.MX(t.Context(), ownZone)
		if err == nil && !slices.Equal(got, ownMX) {
			err = fmt.Errorf("the MX set is %q", got)
		}
		return err
	})
	for _, site := range road.SiteNames {
		awaitState(t, site, "gestore-uno", ownZone, "Ours", 3*time.Minute)
		kubectl(t, site, "wait", "--for=condition=Ready", "-n", "gestore-uno", "pecd/"+ownZone, "--timeout=60s")
	}
}

// A domain whose zone others run: nothing there, then another provider's MX, then what was asked for.
func TestTheRecordsOfADomainAreAskedForInWords(t *testing.T) {
	publish := func(records ...string) {
		t.Helper()
		if err := r.PublishZones(t.Context(), map[string][]string{"nuovo.test": records}); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	for _, site := range road.SiteNames {
		if err := r.Apply(t.Context(), site, fmt.Sprintf(`
apiVersion: pec-operator.dev/v1alpha1
kind: PECDomain
metadata: {name: %s, namespace: comune-esempio}
spec:
  holder: {name: Comune Nuovo}
  preferredSite: a
  provider: {type: Hosted, hosted: {host: {name: %s, namespace: gestore-uno}}}
`, newcome, ownZone)); err != nil {
			t.Fatal(err)
		}
		defer kubectl(t, site, "delete", "pecd", "-n", "comune-esempio", newcome)
	}
	awaitState(t, "a", "comune-esempio", newcome, "None", 2*time.Minute)
	kubectl(t, "a", "wait", "--for=condition=AwaitingExternal", "-n", "comune-esempio", "pecd/"+newcome, "--timeout=30s")
	text := request(domain(t, "a", "comune-esempio", newcome))
	for _, line := range []string{"Dominio: pec.nuovo.test", "pec 3600 IN MX 10 mx-a.gestore-uno.test.", "update add pec.nuovo.test. 3600 MX 20 mx-b.gestore-uno.test."} {
		if !strings.Contains(text, line) {
			t.Errorf("the request lacks %q:\n%s", line, text)
		}
	}

	time.Sleep(time.Second) // serials are seconds
	publish("pec.nuovo.test. 60 IN MX 10 mx.altro.test.")
	awaitState(t, "a", "comune-esempio", newcome, "Foreign", 2*time.Minute)
	if text := request(domain(t, "a", "comune-esempio", newcome)); !strings.Contains(text, "ATTENZIONE") || strings.Contains(text, "IN MX") {
		t.Errorf("the request is not a warning alone:\n%s", text)
	}

	publish("pec.nuovo.test. 60 IN MX 10 mx-a.gestore-uno.test.", "pec.nuovo.test. 60 IN MX 20 mx-b.gestore-uno.test.")
	for _, site := range road.SiteNames {
		awaitState(t, site, "comune-esempio", newcome, "Ours", 2*time.Minute)
		kubectl(t, site, "wait", "--for=condition=Ready", "-n", "comune-esempio", "pecd/"+newcome, "--timeout=60s")
	}
}

func domain(t *testing.T, site, namespace, name string) *v1alpha1.PECDomain {
	t.Helper()
	d := &v1alpha1.PECDomain{}
	if err := json.Unmarshal([]byte(kubectl(t, site, "get", "pecd", "-n", namespace, name, "-o", "json")), d); err != nil {
		t.Fatal(err)
	}
	return d
}

func request(d *v1alpha1.PECDomain) string {
	if d.Status.DNS == nil || d.Status.DNS.RecordRequest == nil {
		return ""
	}
	return d.Status.DNS.RecordRequest.Italian
}

func awaitState(t *testing.T, site, namespace, name string, want v1alpha1.DNSState, within time.Duration) {
	t.Helper()
	eventually(t, within, func() error {
		d := domain(t, site, namespace, name)
		if d.Status.DNS == nil || d.Status.DNS.State != want {
			return fmt.Errorf("site %s: %s is not %s: %+v", site, name, want, d.Status.DNS)
		}
		return nil
	})
}
