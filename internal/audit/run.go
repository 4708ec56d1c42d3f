// Package audit is the command that judges the engine's event log and takes out of it what a holder, an auditor or a court asks for. It
// reads a directory, of a running engine or a copy, and needs neither cluster nor key.
package audit

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/exit"
	"github.com/pec-operator/pec-operator/internal/providers"
)

const usage = `usage: pec-operator evidence verify DIR... [--roots PEM] [--provider ADDRESS] [--head RECORDS:HASH] [--json]
       pec-operator evidence extract DIR... (--holder ADDRESS | --identifier ID | --from DAY --to DAY) [--format csv|json|text]

DIR is the engine's state, with this site's log in "evidence" and the other's in "mirror": all are read as one; or the directory of one log; or a
copy of either. Of several all are read.
Exit status: 0 every log is intact, 1 one was tampered with, 2 one cannot be read.

`

// Exit statuses.
const (
	tampered   = 1
	unreadable = 2
)

// Run is the command "evidence" with its arguments.
func Run(args []string, now time.Time, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	var faults []string
	if err == nil && o.command == "verify" {
		faults, err = o.verify(now, stdout)
	} else if err == nil {
		faults, err = o.extract(stdout)
	}
	switch {
	case err != nil:
		return &exit.Error{Status: unreadable, Err: err}
	case len(faults) > 0:
		return &exit.Error{Status: tampered, Err: fmt.Errorf("the log is not as it was written:\n  %s", strings.Join(faults, "\n  "))}
	}
	return nil
}

type options struct {
	command string
	logs    []evidence.Source
	// of verify
	roots, provider, head string
	json                  bool
	// of extract
	selection
	format string
}

// parse reads flags in front of the directory and behind it.
func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("evidence", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage); flags.PrintDefaults() }
	if len(args) > 0 && (args[0] == "verify" || args[0] == "extract") {
		o.command, args = args[0], args[1:]
	}
	switch o.command {
	case "verify":
		flags.StringVar(&o.roots, "roots", "", "certificates that the chains of seals and time-stamps may end in, `PEM`")
		flags.StringVar(&o.provider, "provider", "", "the `ADDRESS` in the certificate of every seal")
		flags.StringVar(&o.head, "head", "", "a head kept elsewhere, as `RECORDS:HASH`")
		flags.BoolVar(&o.json, "json", false, "print JSON")
	case "extract":
		flags.StringVar(&o.holder, "holder", "", "what concerns the mailbox of this `ADDRESS`")
		flags.StringVar(&o.identifier, "identifier", "", "what concerns the message with this PEC `ID`, or client's Message-ID")
		flags.StringVar(&o.from, "from", "", "from this `DAY` on, as 2026-11-21")
		flags.StringVar(&o.to, "to", "", "up to this `DAY`, itself included")
		flags.StringVar(&o.format, "format", "text", "`csv`, json or text")
	}
	var dirs []string
	for {
		if err := flags.Parse(args); err != nil {
			return o, err
		}
		if args = flags.Args(); len(args) == 0 {
			break
		}
		dirs, args = append(dirs, args[0]), args[1:]
	}
	if o.command == "" || len(dirs) == 0 {
		flags.Usage()
		return o, fmt.Errorf("say verify or extract, and a directory")
	}
	if o.command == "extract" {
		err = errors.Join(o.check(), checkFormat(o.format))
	}
	for _, dir := range dirs {
		logs, unreadable := evidence.Sources(dir)
		err = errors.Join(err, unreadable)
		o.logs = append(o.logs, slices.DeleteFunc(logs, func(log evidence.Source) bool { return slices.Contains(o.logs, log) })...)
	}
	return o, err
}

func (o options) verify(now time.Time, w io.Writer) ([]string, error) {
	expect := evidence.Expect{Provider: o.provider, Now: now}
	if o.roots != "" {
		roots, err := providers.LoadRoots(o.roots)
		if err != nil {
			return nil, err
		}
		expect.Roots = roots
	}
	if o.head != "" {
		records, hash, found := strings.Cut(o.head, ":")
		n, err := strconv.ParseUint(records, 10, 64)
		if err != nil || !found || n == 0 || len(hash) != 64 {
			return nil, fmt.Errorf("--head %q: give it as the status shows it, RECORDS:HASH", o.head)
		}
		if len(o.logs) != 1 {
			return nil, fmt.Errorf("--head %q is of one log, and there are %d: give the directory of that one", o.head, len(o.logs))
		}
		expect.Records, expect.Head = n, strings.ToLower(hash)
	}
	var reports []evidence.Report
	var faults []string
	for _, log := range o.logs {
		report, err := evidence.Verify(log.Dir, expect)
		if err != nil {
			return nil, err
		}
		reports = append(reports, report)
		for _, fault := range report.Faults {
			faults = append(faults, o.naming(log, fault))
		}
	}
	return faults, o.writeReports(w, reports)
}

// naming says of which log a fault is, where there are several.
func (o options) naming(log evidence.Source, fault string) string {
	if len(o.logs) == 1 {
		return fault
	}
	return log.Name + ": " + fault
}

// writeReports writes one report as itself, several as a list.
func (o options) writeReports(w io.Writer, reports []evidence.Report) (err error) {
	if o.json {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if len(reports) == 1 {
			return e.Encode(reports[0])
		}
		return e.Encode(reports)
	}
	for i, r := range reports {
		if i > 0 {
			_, err = io.WriteString(w, "\n")
		}
		err = errors.Join(err, writeReport(w, r, o))
	}
	return err
}

// writeReport writes the report for people. The faults follow on standard error.
func writeReport(w io.Writer, r evidence.Report, o options) error {
	var b strings.Builder
	fmt.Fprintf(&b, "log        %s, of %s at site %s\n", r.Log, orUnknown(r.Domain), orUnknown(r.Site))
	fmt.Fprintf(&b, "records    %d to %d, head %s\n", r.First, r.Records, r.Head)
	for _, s := range r.Seals {
		stamped := "not time-stamped"
		if !s.Stamped.IsZero() {
			stamped = "time-stamped " + s.Stamped.UTC().Format(time.RFC3339) + " by " + s.By
		}
		fmt.Fprintf(&b, "sealed     %s  %d to %d  chain %s, %s, signed by %s (sha256 %s)\n", s.Day, s.First, s.Last, s.Chains, stamped, s.Signer, s.SHA256)
	}
	fmt.Fprintf(&b, "unsealed   %d records\n", r.Unsealed)
	for _, name := range r.Removable {
		fmt.Fprintf(&b, "removable  %s is older than the law asks for\n", name)
	}
	if o.roots == "" {
		fmt.Fprintln(&b, "note       no roots were given (--roots): who made seals and time-stamps was not checked")
	}
	if o.head == "" {
		fmt.Fprintln(&b, "note       no kept head was given (--head): that nothing is missing after the last seal was not checked")
	}
	for _, n := range r.Notes {
		fmt.Fprintln(&b, "note       "+n)
	}
	fmt.Fprintf(&b, "result     %s\n", map[bool]string{true: "intact", false: "NOT INTACT"}[len(r.Faults) == 0])
	_, err := io.WriteString(w, b.String())
	return err
}

func orUnknown(s string) string {
	if s == "" {
		return "(no seal says)"
	}
	return s
}
