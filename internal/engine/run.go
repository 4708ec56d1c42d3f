package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/directory"
	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/settings"
)

const runUsage = `usage: pec-operator engine run --settings FILE       serve until SIGTERM
       pec-operator engine prepare --settings FILE   make the state's directories and the mailbox directory, and end`

// Run is the command "engine" with its arguments. It returns when the context ends.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("engine", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprintln(stderr, runUsage); flags.PrintDefaults() }
	path := flags.String("settings", "", "engine.json, as the operator renders it")
	command := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if command != "run" && command != "prepare" {
		flags.Usage()
		return errors.New("say run or prepare")
	}
	s, err := settings.Load(*path)
	if err != nil {
		return err
	}
	if command == "run" {
		return run(ctx, s, slog.New(slog.NewJSONHandler(stderr, nil)))
	}
	if err := prepare(ctx, s); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, "prepared", s.Files.State)
	return err
}

func run(ctx context.Context, s settings.Engine, log *slog.Logger) error {
	if err := prepare(ctx, s); err != nil {
		return err
	}
	e, err := New(ctx, s, time.Now, log)
	if err != nil {
		return err
	}
	return errors.Join(e.Serve(ctx), e.Close())
}

// prepare makes what Postfix and Dovecot need to find when they start: the directory with its schema, and in it the domains
// that are the stack's own. What is there already stays. The provider's mail domain is always delivered here: its receipts come to it, the
// index has it by the provider's certificate, and no PECDomain need be there that its MX could be asked of.
func prepare(ctx context.Context, s settings.Engine) error {
	if _, err := evidence.OpenCustody(filepath.Join(s.Files.State, custodyDir)); err != nil {
		return err
	}
	d, err := directory.Open(ctx, filepath.Join(s.Files.State, directoryDir))
	if err != nil {
		return err
	}
	return errors.Join(d.HoldDomain(ctx, s.Domain), d.HoldReceipts(ctx, s.Provider.MailDomain), d.Close())
}
