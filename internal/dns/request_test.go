package dns

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What the request prints for nsupdate, nsupdate carries out; and no longer once the name has changed.
func TestNsupdateTakesTheRequest(t *testing.T) {
	servers(t, "nsupdate")
	w := realWorld(t, false)
	b := w.backend("site-a")
	ask := Ask{Verdict: classified(t, b, want()), Want: want(), Deadline: noon}
	nsupdate := func() (string, error) {
		host, port, _ := net.SplitHostPort(w.addresses[primaryAddress])
		key := w.write("third.key", fmt.Sprintf("key %q { algorithm hmac-sha256; secret %q; };\n", "third.", w.keys["third"].secret))
		cmd := exec.Command("nsupdate", "-v", "-k", key)
		cmd.Stdin = strings.NewReader("server " + host + " " + port + "\n" + strings.Join(ask.commands(), "\n") + "\n")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := nsupdate(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if v := classified(t, b, want()); v.State != Ours {
		t.Errorf("after the request was carried out: %s: %s", v.State, v.Sentence)
	}
	w.set(zone, domain, foreignSet)
	if out, err := nsupdate(); err == nil || !strings.Contains(out, "YXRRSET") {
		t.Errorf("carried out again over a foreign set: %v: %s", err, out)
	}
}

func TestRequests(t *testing.T) {
	rome := time.FixedZone("CET", 3600)
	approval := Takeover{Expected: foreignSet, ApprovedBy: "dott.ssa Rossi, prot. 1234/2026"}
	apex := both()
	apex.Zone = domain
	for name, c := range map[string]struct {
		seen     Observation
		takeover Takeover
		golden   string
		records  bool
	}{
		"a free name in the parent's zone":         {seen: both(), golden: "none", records: true},
		"a free name that is its own zone":         {seen: apex, golden: "apex", records: true},
		"our hosts, but not exactly the set":       {seen: both(holds(oursSet[:1])), golden: "drifted", records: true},
		"a foreign set":                            {seen: both(holds(foreignSet)), golden: "foreign"},
		"a foreign set, approved":                  {seen: both(holds(foreignSet)), takeover: approval, golden: "approved", records: true},
		"ours and a foreign one":                   {seen: both(holds(NewSet(oursSet[0], foreignSet[0]))), golden: "hybrid"},
		"another operator's":                       {seen: both(owned("v=1;op=x;a/b;epoch=1;h=0")), golden: "conflict"},
		"an alias":                                 {seen: both(aliased), golden: "alias"},
		"a lame server":                            {seen: both(faults(Lame)), golden: "lame"},
		"a silent server":                          {seen: both(faults(Timeout)), golden: "unverifiable"},
		"a silent server and an approved takeover": {seen: recorded(view("ns1.gestore.it.", holds(foreignSet)), view("ns2.gestore.it.", faults(Timeout))), takeover: approval, golden: "foreign-half-seen"},
		"nothing to do":                            {seen: both(holds(oursSet)), golden: ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := Request(Ask{Verdict: Classify(want(), c.seen), Want: want(), Takeover: c.takeover,
				Deadline: time.Date(2026, 12, 5, 0, 0, 0, 0, rome), Contact: "dns@gestore.it"})
			if recordLine(text) != c.records {
				t.Errorf("record lines: %t, want %t", !c.records, c.records)
			}
			if c.golden == "" {
				if text != (Text{}) {
					t.Errorf("got a request: %s", text.English)
				}
				return
			}
			golden(t, c.golden, text.Italian+"\n---\n\n"+text.English)
		})
	}
}

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// golden compares with testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "requests", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
