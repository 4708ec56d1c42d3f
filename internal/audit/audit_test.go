package audit

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/exit"
	"github.com/pec-operator/pec-operator/internal/pec"
)

var now = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

// logOf makes a log of n submissions by mario and returns its directory and head.
func logOf(t testing.TB, n int, subject string) (dir, head string) {
	t.Helper()
	dir = t.TempDir()
	l, err := evidence.Open(dir, evidence.DefaultSegmentSize, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		id := fmt.Sprintf("pec%d@pec.uno.test", i)
		transit := map[string]any{"messageID": "<1@x>", "sender": "mario@pec.uno.test", "subject": subject, "recipients": []map[string]any{{"address": "anna@pec.uno.test", "certified": true}}}
		if _, err := l.Append("accepted", id, id, map[string]any{"at": now, "transit": transit, "provider": "Gestore di prova"}); err != nil {
			t.Fatal(err)
		}
	}
	records, hash := l.Head()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, fmt.Sprintf("%d:%s", records, hash)
}

// ran runs the command and returns what it printed, its exit status and its error.
func ran(args ...string) (out string, status int, err error) {
	var stdout, stderr bytes.Buffer
	err = Run(args, now, &stdout, &stderr)
	var chosen *exit.Error
	if errors.As(err, &chosen) {
		status = chosen.Status
	}
	return stdout.String(), status, err
}

func TestExitStatus(t *testing.T) {
	dir, head := logOf(t, 3, "x")
	other, _ := logOf(t, 3, "x")
	broken, _ := logOf(t, 3, "x")
	path := filepath.Join(broken, "00000000000000000001.jsonl")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(raw, []byte("mario"), []byte("maria"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	for sentence, c := range map[string]struct {
		args []string
		want int
	}{
		"an intact log":                      {[]string{"verify", dir}, 0},
		"an intact log, with its head":       {[]string{"verify", "--head", head, dir}, 0},
		"a log that lacks what was kept":     {[]string{"verify", dir, "--head", "9" + head[1:]}, 1},
		"a changed log":                      {[]string{"verify", broken}, 1},
		"an extract of a changed log":        {[]string{"extract", broken, "--holder", "anna@pec.uno.test"}, 1},
		"an extract":                         {[]string{"extract", dir, "--identifier", "<pec1@pec.uno.test>"}, 0},
		"a directory without a log":          {[]string{"verify", t.TempDir()}, 2},
		"a head that is none":                {[]string{"verify", dir, "--head", "3"}, 2},
		"roots that are none":                {[]string{"verify", dir, "--roots", path}, 2},
		"an extract of nobody":               {[]string{"extract", dir}, 2},
		"an extract from a day that is none": {[]string{"extract", dir, "--from", "yesterday", "--to", "2026-11-21"}, 2},
		"a form that is none":                {[]string{"extract", dir, "--identifier", "x", "--format", "pdf"}, 2},
		"no command":                         {nil, 2},
		"two logs":                           {[]string{"verify", dir, other}, 0},
		"two logs, one of them changed":      {[]string{"verify", dir, broken}, 1},
		"a head, and two logs":               {[]string{"verify", dir, other, "--head", head}, 2},
		"help":                               {[]string{"verify", "--help"}, 0},
	} {
		t.Run(sentence, func(t *testing.T) {
			if _, got, err := ran(c.args...); got != c.want || (got != 0) != (err != nil) {
				t.Errorf("status %d, %v; want %d", got, err, c.want)
			}
		})
	}
}

// The log holds the hashes of the passwords that holders chose: it is what both sites derive them from. Nothing that is taken out of it does.
func TestNoHashOfAPasswordLeavesTheLog(t *testing.T) {
	const hash = "{BLF-CRYPT}$2y$12$canarinocanarinocanarino"
	dir := t.TempDir()
	l, err := evidence.Open(dir, evidence.DefaultSegmentSize, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"holder-choice", "credentials-placed"} {
		if _, err := l.Append(kind, "anna@pec.uno.test "+kind, "", map[string]any{"address": "anna@pec.uno.test", "setting": "Password", "at": now, "password": hash}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"text", "csv", "json"} {
		for _, whose := range [][]string{{"--holder", "anna@pec.uno.test"}, {"--from", "2026-11-21", "--to", "2026-11-21"}} {
			out, _, err := ran(append([]string{"extract", dir, "--format", format}, whose...)...)
			if err != nil || strings.Contains(out, "canarino") || whose[0] == "--from" && strings.Count(strings.ToLower(out), "holder-choice") != 1 {
				t.Errorf("extract %v as %s: %v\n%s", whose, format, err, out)
			}
		}
	}
	if out, _, err := ran("verify", dir, "--json"); err != nil || strings.Contains(out, "canarino") {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

func TestSpreadsheetRunsNoSubject(t *testing.T) {
	dir, _ := logOf(t, 1, `=HYPERLINK("http://x.test";"y")`)
	out, _, err := ran("extract", dir, "--holder", "mario@pec.uno.test", "--format", "csv")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(rows) != 2 || rows[0][7] != "subject" || rows[1][7] != `'=HYPERLINK("http://x.test";"y")` || rows[1][1] != "2026-11-21T10:00:00+01:00" {
		t.Errorf("%v %q", err, rows)
	}
}

func TestTextFitsThePages(t *testing.T) {
	dir, _ := logOf(t, 40, strings.Repeat("Città ", 40)+"\x1b[31m\f")
	out, _, err := ran("extract", dir, "--holder", "anna@pec.uno.test")
	if err != nil {
		t.Fatal(err)
	}
	pages := strings.Split(out, "\f")
	if len(pages) < 5 || !strings.Contains(pages[1], "pag. 2") || !strings.Contains(pages[len(pages)-1], "Eventi: 40, registrazioni da 1 a 40.") || strings.Contains(out, "\x1b") {
		t.Errorf("%d pages, the last one:\n%s", len(pages), pages[len(pages)-1])
	}
	for i, page := range pages {
		lines := strings.Split(page, "\n")
		if len(lines) > textLines+1 {
			t.Errorf("page %d has %d lines", i+1, len(lines)-1)
		}
		for _, line := range lines {
			if utf8.RuneCountInString(line) > textWidth {
				t.Errorf("page %d has a line of %d columns: %q", i+1, utf8.RuneCountInString(line), line)
			}
		}
	}
}

// Three days, of which the middle one is asked for; a letter is long, one has a formula for a subject, one went to many.
func logOfThreeDays(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	clock := now.Add(-24 * time.Hour)
	l, err := evidence.Open(dir, evidence.DefaultSegmentSize, func() time.Time { return clock })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Identity("a"); err != nil {
		t.Fatal(err)
	}
	for day := range 3 {
		for i, subject := range []string{"Città di Bari", "=1+1", strings.Repeat("molto lungo ", 12), ""} {
			id := fmt.Sprintf("pec%d.%d@pec.uno.test", day, i)
			recipients := []map[string]any{{"address": "anna@pec.due.test", "certified": true}, {"address": "eva@example.org"}}
			transit := map[string]any{"messageID": "<" + id + ">", "sender": "mario@pec.uno.test", "subject": subject, "recipients": recipients}
			steps := []struct {
				kind string
				data map[string]any
			}{
				{"accepted", map[string]any{"at": clock.Truncate(time.Second), "transit": transit, "provider": "Gestore di prova"}},
				{"injected", map[string]any{"at": clock}},
				{"notice", map[string]any{"at": clock.Truncate(time.Second), "type": "accettazione"}},
				{"bounced", map[string]any{"recipient": "eva@example.org", "status": "5.1.1", "text": "nessuno\tqui"}},
				{"settled", map[string]any{"recipient": "anna@pec.due.test", "type": "avvenuta-consegna"}},
			}
			for _, step := range steps {
				if _, err := l.Append(step.kind, id+" "+step.kind, id, step.data); err != nil {
					t.Fatal(err)
				}
				clock = clock.Add(time.Minute)
			}
		}
		clock = clock.Add(23 * time.Hour)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fromJSON, fromCSV and fromText read an extract back, each as the reader of that format would, into the same rows: the columns of the CSV.
func fromJSON(t *testing.T, out string) (rows [][]string) {
	t.Helper()
	var events []Event
	if err := json.Unmarshal([]byte(out), &events); err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		rows = append(rows, []string{
			fmt.Sprint(e.Record), e.Time.Format(time.RFC3339), e.Event, e.Identifier, e.MessageID, e.Sender, strings.Join(e.Recipients, " "), e.Subject,
			e.Provider, strings.Join(e.Concerned, " "), e.Generated, e.Outcome, e.Hash, e.Site,
		})
	}
	return rows
}

func fromCSV(t *testing.T, out string) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		for i := range row {
			row[i] = strings.TrimPrefix(row[i], "'")
		}
	}
	return rows[1:]
}

var textHead = regexp.MustCompile(`^(\S+ \S+ \S+)  (\S+)  \(registrazione (\d+)\)$`)

func fromText(t *testing.T, out string) (rows [][]string) {
	t.Helper()
	columns := []string{"identificativo", "messaggio", "mittente", "destinatari", "oggetto", "gestore", "riguarda", "generato", "esito", "impronta", "sede"}
	var cell *string
	for page := range strings.SplitSeq(out, "\f") {
		_, body, _ := strings.Cut(page, "\n\n")                        // the title ends with an empty line
		body, _, _ = strings.Cut(body, strings.Repeat("-", textWidth)) // and the events with a rule
		for line := range strings.SplitSeq(body, "\n") {
			if head := textHead.FindStringSubmatch(line); head != nil {
				at, err := time.Parse("02/01/2006 15:04:05 -0700", head[1])
				if err != nil {
					t.Fatal(err)
				}
				rows = append(rows, append([]string{head[3], at.In(pec.Rome()).Format(time.RFC3339), strings.ToLower(head[2])}, make([]string, len(columns))...))
				continue
			}
			if !strings.HasPrefix(line, "  ") {
				continue
			}
			label, value := strings.TrimSpace(line[:18]), line[18:]
			if label != "" {
				cell = &rows[len(rows)-1][3+slices.Index(columns, label)]
			}
			*cell += value
		}
	}
	for _, row := range rows {
		for _, list := range []int{6, 9} {
			row[list] = strings.ReplaceAll(row[list], ", ", " ")
		}
	}
	return rows
}

// What is handed to a court, put into a spreadsheet or read by a program is the same, event by event and field by field.
func TestTheThreeFormatsHoldTheSameEvents(t *testing.T) {
	dir := logOfThreeDays(t)
	read := map[string]func(*testing.T, string) [][]string{"json": fromJSON, "csv": fromCSV, "text": fromText}
	rows := map[string][][]string{}
	for format, parse := range read {
		out, _, err := ran("extract", dir, "--from", "2026-11-21", "--to", "2026-11-21", "--format", format)
		if err != nil {
			t.Fatal(err)
		}
		rows[format] = parse(t, out)
	}
	want := rows["json"]
	if len(want) != 4*4 { // of five steps one is the engine's own
		t.Fatalf("%d events, want 16", len(want))
	}
	for _, row := range want {
		if !strings.HasPrefix(row[1], "2026-11-21T") || !strings.HasPrefix(row[3], "pec1.") || row[13] != "a" {
			t.Errorf("an event of another day: %v", row)
		}
		row[11] = strings.ReplaceAll(row[11], "\t", " ") // a printer gets a blank for what it would take for a command
	}
	for i := range rows["csv"] {
		rows["csv"][i][11] = strings.ReplaceAll(rows["csv"][i][11], "\t", " ")
	}
	for _, format := range []string{"csv", "text"} {
		if diff := cmp.Diff(want, rows[format]); diff != "" {
			t.Errorf("json and %s differ (-json +%s):\n%s", format, format, diff)
		}
	}
}
