package audit

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/pec-operator/pec-operator/internal/evidence"
)

// format writes events as they come.
type format interface {
	event(Event) error
	end(faults []string) error
}

func checkFormat(name string) error {
	switch name {
	case "csv", "json", "text":
		return nil
	}
	return fmt.Errorf("--format %q: it is csv, json or text", name)
}

// asCSV has one line for each event, lists separated by blanks.
type asCSV struct{ w *csv.Writer }

func newCSV(w io.Writer) format {
	c := asCSV{csv.NewWriter(w)}
	c.w.UseCRLF = true
	_ = c.w.Write([]string{"record", "time", "event", "identifier", "messageID", "sender", "recipients", "subject", "provider", "concerned", "generated", "outcome", "hash", "site"})
	return c
}

func (c asCSV) event(e Event) error {
	row := []string{strconv.FormatUint(e.Record, 10), e.Time.Format(time.RFC3339), e.Event, e.Identifier, e.MessageID, e.Sender, strings.Join(e.Recipients, " "),
		e.Subject, e.Provider, strings.Join(e.Concerned, " "), e.Generated, e.Outcome, e.Hash, e.Site}
	for i, cell := range row {
		// A spreadsheet would run it: a subject is written by anybody.
		if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
			row[i] = "'" + cell
		}
	}
	return c.w.Write(row)
}

func (c asCSV) end([]string) error {
	c.w.Flush()
	return c.w.Error()
}

// asJSON is one array.
type asJSON struct {
	w     io.Writer
	wrote bool
}

func newJSON(w io.Writer) format { return &asJSON{w: w} }

func (j *asJSON) event(e Event) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	open := "[\n"
	if j.wrote {
		open = ",\n"
	}
	j.wrote = true
	_, err = fmt.Fprintf(j.w, "%s%s", open, raw)
	return err
}

func (j *asJSON) end([]string) error {
	closing := "\n]\n"
	if !j.wrote {
		closing = "[]\n"
	}
	_, err := io.WriteString(j.w, closing)
	return err
}

// asText is for a printer, or any program that makes a PDF of plain text: A4 pages of 78 columns with a form feed between them. It is in
// Italian, because it is handed to holders and courts.
type asText struct {
	w          io.Writer
	title      string
	logs       []evidence.Source
	line, page int
	events     int
	low, high  uint64 // numbers of records
	err        error
}

const (
	textWidth = 78
	textLines = 58
)

func newText(w io.Writer, s selection, logs []evidence.Source) format {
	title := "Estratto del registro degli eventi di posta elettronica certificata"
	for _, part := range [][2]string{{"casella ", s.holder}, {"messaggio ", s.identifier}, {"dal ", s.from}, {"al ", s.to}} {
		if part[1] != "" {
			title += "\n" + part[0] + part[1]
		}
	}
	return &asText{w: w, title: title, logs: logs}
}

func (t *asText) print(s string) {
	if t.err == nil {
		_, t.err = io.WriteString(t.w, s)
	}
}

// room begins a page when fewer than n lines are left on this one.
func (t *asText) room(n int) {
	if t.page > 0 && t.line+n <= textLines {
		return
	}
	if t.page > 0 {
		t.print("\f")
	}
	t.page, t.line = t.page+1, 0
	for i, line := range strings.Split(t.title, "\n") {
		if i == 0 {
			line = fmt.Sprintf("%-*s%*s", textWidth-8, line, 8, fmt.Sprintf("pag. %d", t.page))
		}
		t.put(line)
	}
	t.put("")
}

func (t *asText) put(line string) {
	t.print(line + "\n")
	t.line++
}

func (t *asText) event(e Event) error {
	if t.events++; t.events == 1 {
		t.low = e.Record
	}
	t.low, t.high = min(t.low, e.Record), max(t.high, e.Record)
	lines := []string{fmt.Sprintf("%s  %s  (registrazione %d)", e.Time.Format("02/01/2006 15:04:05 -0700"), strings.ToUpper(e.Event), e.Record)}
	for _, row := range [][2]string{
		{"identificativo", e.Identifier}, {"messaggio", e.MessageID}, {"mittente", e.Sender}, {"destinatari", strings.Join(e.Recipients, ", ")},
		{"oggetto", e.Subject}, {"gestore", e.Provider}, {"riguarda", strings.Join(e.Concerned, ", ")}, {"generato", e.Generated}, {"esito", e.Outcome}, {"sede", e.Site}, {"impronta", e.Hash},
	} {
		if row[1] != "" {
			lines = append(lines, wrap(row[0], row[1])...)
		}
	}
	t.room(min(len(lines), textLines/2))
	for _, line := range lines {
		t.room(1)
		t.put(line)
	}
	t.put("")
	return t.err
}

func (t *asText) end(faults []string) error {
	t.room(6 + len(faults) + len(t.logs))
	t.put(strings.Repeat("-", textWidth))
	switch {
	case t.events == 0:
		t.put("Nessun evento.")
	case len(t.logs) == 1:
		t.put(fmt.Sprintf("Eventi: %d, registrazioni da %d a %d.", t.events, t.low, t.high))
	default:
		t.put(fmt.Sprintf("Eventi: %d, ciascuno una volta, da %d registri:", t.events, len(t.logs)))
		for _, log := range t.logs {
			for _, line := range wrap("registro", log.Name) {
				t.put(line)
			}
		}
	}
	if len(faults) == 0 && len(t.logs) == 1 {
		t.put("La catena delle impronte del registro letto e' integra.")
	} else if len(faults) == 0 {
		t.put("La catena delle impronte di ogni registro letto e' integra.")
	}
	for _, f := range faults {
		for _, line := range wrap("NON INTEGRO", f) {
			t.put(line)
		}
	}
	return t.err
}

// wrap is a labelled value in lines that fit the page, without what a printer would take for a command.
func wrap(label, value string) []string {
	const indent = 18
	clean := []rune(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, value))
	var lines []string
	for head := fmt.Sprintf("  %-*s", indent-2, label); len(clean) > 0; head = strings.Repeat(" ", indent) {
		n := min(len(clean), textWidth-indent)
		lines, clean = append(lines, head+string(clean[:n])), clean[n:]
	}
	return lines
}
