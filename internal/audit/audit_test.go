package audit

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/exit"
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
		"two directories":                    {[]string{"verify", dir, dir}, 2},
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
