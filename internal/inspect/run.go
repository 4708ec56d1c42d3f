// Package inspect is the command that judges one message out of a file, as the incoming point would, and shows all that it
// found. It is for people with a doubt: an operator, a holder, a court's expert.
package inspect

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/pec-operator/pec-operator/internal/exit"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/providers"
)

const usage = `usage: pec-operator inspect FILE [--json] [--index LDIF] [--roots PEM] [--crl FILE]... [--at TIME]

Judges the message in FILE. What is not given is not checked: without --index nobody knows whose signature it is, and nothing is
certified; with --roots the chain of the certificate is part of the judgement, and with --crl whether it was revoked.
Exit status: 0 certified, 1 not certified, 2 unreadable.

`

// Exit statuses.
const (
	notCertified = 1
	unreadable   = 2
)

// Run is the command "inspect" with its arguments. A message that is not certified is an error too, after its report.
func Run(args []string, now time.Time, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return &exit.Error{Status: unreadable, Err: err}
	}
	raw, err := read(o.file)
	if err != nil {
		return &exit.Error{Status: unreadable, Err: err}
	}
	report, err := o.judge(raw, now)
	if err != nil {
		return &exit.Error{Status: unreadable, Err: err}
	}
	if err := report.write(stdout, o.json); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if !report.Certified {
		return &exit.Error{Status: notCertified, Err: errors.New("the message is not certified")}
	}
	return nil
}

type options struct {
	file, index, roots string
	crls               []string
	at                 time.Time // zero if not given
	json               bool
}

// parse reads flags in front of the file's name and behind it.
func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("inspect", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	flags.BoolVar(&o.json, "json", false, "print JSON")
	flags.StringVar(&o.index, "index", "", "the providers' index, `LDIF`")
	flags.StringVar(&o.roots, "roots", "", "certificates that chains may end in, `PEM`")
	flags.Func("crl", "a revocation list, `FILE` in PEM or DER; may be repeated; asked with --roots", func(path string) error {
		o.crls = append(o.crls, path)
		return nil
	})
	flags.Func("at", "judge the chain at this `TIME` (RFC 3339; default: the time that the signature names)", func(s string) (err error) {
		o.at, err = time.Parse(time.RFC3339, s)
		return err
	})
	var files []string
	for len(args) > 0 {
		if err := flags.Parse(args); err != nil {
			return o, err
		}
		if args = flags.Args(); len(args) > 0 {
			files, args = append(files, args[0]), args[1:]
		}
	}
	if len(files) != 1 {
		flags.Usage()
		return o, fmt.Errorf("got %d files, want one", len(files))
	}
	o.file = files[0]
	return o, nil
}

// judge opens the message and asks what the options allow to ask.
func (o options) judge(raw []byte, now time.Time) (Report, error) {
	d, raw, notes := open(raw)
	j := judging{document: d, raw: raw, notes: notes, at: o.at}
	if j.at.IsZero() {
		j.at = d.Signature.Time
	}
	if j.at.IsZero() {
		j.at = now
	}
	if o.index != "" {
		index, err := providers.LoadIndex(o.index)
		if err != nil {
			return Report{}, err
		}
		j.index = index
	}
	if o.roots != "" {
		roots, err := providers.LoadRoots(o.roots)
		if err != nil {
			return Report{}, err
		}
		j.roots = roots
	}
	if len(o.crls) > 0 {
		crls, err := readCRLs(o.crls)
		if err != nil {
			return Report{}, err
		}
		j.crls = crls
	}
	return j.report(), nil
}

func readCRLs(paths []string) (*pec.CRLs, error) {
	var all []*x509.RevocationList
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading a revocation list: %w", err)
		}
		lists, err := pec.ParseCRLs(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, lists...)
	}
	return pec.NewCRLs(all...), nil
}

func (r Report) write(w io.Writer, asJSON bool) error {
	if !asJSON {
		return r.table(w)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
