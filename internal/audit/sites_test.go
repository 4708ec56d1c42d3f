package audit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/evidence"
)

// happening is an event at a site, so many minutes after the beginning.
type happening struct {
	site    string
	minutes int
	kind    string
	data    map[string]any
}

// statesOf are the states of the engines of two sites after this: each has its own log and a mirror of the other's. The mirror at site a of b's log was
// set aside once, and begun anew.
func statesOf(t *testing.T, id string, all []happening) map[string]string {
	t.Helper()
	states, logs, names := map[string]string{}, map[string]*evidence.Log{}, map[string]string{}
	clock := now
	for _, site := range []string{"a", "b"} {
		states[site] = t.TempDir()
		l, err := evidence.Open(filepath.Join(states[site], evidence.OwnDir), evidence.DefaultSegmentSize, func() time.Time { return clock })
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if names[site], err = l.Identity(site); err != nil {
			t.Fatal(err)
		}
		logs[site] = l
	}
	mirror := func(at, of, name string) {
		t.Helper()
		m, err := evidence.OpenMirror(filepath.Join(states[at], evidence.MirrorsDir, name), evidence.Position{}, func() time.Time { return clock })
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		r, err := logs[of].After(evidence.Position{})
		if err != nil {
			t.Fatal(err)
		}
		lines, err := r.Next(1 << 20)
		if err == nil && len(lines) > 0 {
			_, err = m.Extend(lines)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, h := range all {
		clock = now.Add(time.Duration(h.minutes) * time.Minute)
		if h.data["at"] = clock; h.kind == "notice" {
			h.data["type"] = h.data["is"]
		}
		if _, err := logs[h.site].Append(h.kind, fmt.Sprint(id, i), id, h.data); err != nil {
			t.Fatal(err)
		}
		if i == len(all)/2 {
			mirror("a", "b", names["b"]+"@2-0123456789abcdef")
		}
	}
	mirror("a", "b", names["b"])
	mirror("b", "a", names["a"])
	return states
}

func theStory() (id string, all []happening) {
	transit := map[string]any{"messageID": "<1@x>", "sender": "mario@pec.uno.test", "subject": "Prova", "recipients": []map[string]any{{"address": "anna@pec.uno.test", "certified": true}}}
	return "pec1@pec.uno.test", []happening{
		{"a", 0, "accepted", map[string]any{"transit": transit, "provider": "Gestore di prova"}},
		{"a", 1, "notice", map[string]any{"is": "accettazione"}},
		{"b", 2, "taken-in-charge", map[string]any{"recipients": []string{"anna@pec.uno.test"}}},
		{"b", 3, "notice", map[string]any{"is": "presa-in-carico"}},
		{"b", 5, "delivered", map[string]any{"mailbox": "anna@pec.uno.test", "is": "", "type": "posta-certificata"}},
		{"a", 4, "acknowledged", map[string]any{"recipient": "anna@pec.uno.test"}},
		{"b", 6, "notice", map[string]any{"is": "avvenuta-consegna", "about": "anna@pec.uno.test"}},
		{"a", 7, "settled", map[string]any{"recipient": "anna@pec.uno.test"}},
	}
}

// A message that was accepted in one building and delivered in the other has one story, in either building and in every format.
func TestOneExtractTellsWhatHappenedAtBothSites(t *testing.T) {
	id, all := theStory()
	states := statesOf(t, id, all)
	want := []string{"a busta-di-trasporto", "a accettazione", "b ricezione", "b presa-in-carico", "a presa-in-carico-ricevuta", "b consegna", "b avvenuta-consegna", "a esito-ricevuto"}
	for name, args := range map[string][]string{
		"by the identifier, at site a":       {states["a"], "--identifier", id},
		"by the identifier, at site b":       {states["b"], "--identifier", id},
		"by the client's Message-ID":         {states["b"], "--identifier", "1@x"},
		"by the sender":                      {states["a"], "--holder", "mario@pec.uno.test"},
		"by the day":                         {states["b"], "--from", "2026-11-21", "--to", "2026-11-21"},
		"from copies of both states":         {states["a"], states["b"], "--identifier", id},
		"from copies of the two logs":        {filepath.Join(states["a"], "evidence"), filepath.Join(states["b"], "evidence"), "--identifier", id},
		"from one log twice, and the others": {filepath.Join(states["a"], "evidence"), states["a"], "--identifier", id},
	} {
		t.Run(name, func(t *testing.T) {
			rows := map[string][][]string{}
			for format, parse := range map[string]func(*testing.T, string) [][]string{"json": fromJSON, "csv": fromCSV, "text": fromText} {
				out, _, err := ran(append([]string{"extract", "--format", format}, args...)...)
				if err != nil {
					t.Fatal(err)
				}
				rows[format] = parse(t, out)
			}
			var got []string
			for _, row := range rows["json"] {
				got = append(got, row[13]+" "+row[2])
				if row[5] != "mario@pec.uno.test" || row[8] != "Gestore di prova" {
					t.Errorf("%s does not know the message: %v", row[2], row)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(rows["json"], rows["csv"]) + cmp.Diff(rows["json"], rows["text"]); diff != "" {
				t.Errorf("the formats differ: %s", diff)
			}
		})
	}
}

// One log of several that is not as it was written makes the whole unsure, and is named.
func TestAFaultNamesItsLog(t *testing.T) {
	id, all := theStory()
	state := statesOf(t, id, all)["a"]
	out, status, err := ran("verify", state, "--json")
	var reports []evidence.Report
	if jsonErr := json.Unmarshal([]byte(out), &reports); err != nil || status != 0 || jsonErr != nil || len(reports) != 3 || reports[0].Site != "a" || reports[2].Site != "b" {
		t.Fatalf("%v, %v, %d: %+v", err, jsonErr, status, reports)
	}
	path := filepath.Join(state, evidence.MirrorsDir, reports[1].Log, "00000000000000000001.jsonl")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(raw), "anna", "anno", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", state}, {"extract", state, "--identifier", id}} {
		out, status, err := ran(args...)
		if status != 1 || err == nil || !strings.Contains(err.Error(), reports[1].Log+": 000") {
			t.Errorf("%s: status %d, %v", args[0], status, err)
		}
		if args[0] == "verify" && (strings.Count(out, "result     intact") != 2 || strings.Count(out, "NOT INTACT") != 1) {
			t.Errorf("%s", out)
		}
	}
}
