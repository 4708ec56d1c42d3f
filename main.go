// Command pec-operator is every role of the project in one binary; the first argument picks the role.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pec-operator/pec-operator/internal/audit"
	"github.com/pec-operator/pec-operator/internal/engine"
	"github.com/pec-operator/pec-operator/internal/exit"
	"github.com/pec-operator/pec-operator/internal/inspect"
	"github.com/pec-operator/pec-operator/internal/manager"
	"github.com/pec-operator/pec-operator/internal/migration"
	"github.com/pec-operator/pec-operator/internal/retention"
)

const usage = `usage: pec-operator ROLE [flags]

  manager   the operator: reconciles the four kinds at one site
  engine    the PEC engine: certifies messages between Postfix and Dovecot in a mail pod
  migrate   copies or verifies one mailbox of a MailboxMigration, in a pod of its Job
  retain    archives mailboxes in Jobs; verifies, lists and restores archives
  inspect   judges one message in a file: is it certified mail, by whom, about what
  index     prints the provider's own record for the providers' index
  evidence  verifies the engine's event log, and extracts what a holder or a court asks for

pec-operator ROLE --help lists the flags of a role.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err := run(ctx, os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "pec-operator %s: %v\n", os.Args[1], err)
		os.Exit(status(err))
	}
}

// status is the exit status that an error asks for.
func status(err error) int {
	if chosen := (*exit.Error)(nil); errors.As(err, &chosen) {
		return chosen.Status
	}
	return 1
}

// run does what a role is asked for. Help that was asked for is no error.
func run(ctx context.Context, role string, args []string) error {
	if err := dispatch(ctx, role, args); !errors.Is(err, flag.ErrHelp) {
		return err
	}
	return nil
}

func dispatch(ctx context.Context, role string, args []string) error {
	switch role {
	case "manager":
		return manager.Run(ctx, args)
	case "engine":
		return engine.Run(ctx, args, os.Stdout, os.Stderr)
	case "index":
		return engine.RunIndex(ctx, args, time.Now(), os.Stdout, os.Stderr)
	case "migrate":
		return migration.Run(ctx, args, os.Stderr)
	case "retain":
		return retention.Run(ctx, args, os.Stdout, os.Stderr)
	case "evidence":
		return audit.Run(args, time.Now(), os.Stdout, os.Stderr)
	case "inspect":
		return inspect.Run(args, time.Now(), os.Stdout, os.Stderr)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(os.Stderr, usage)
		return nil
	}
	fmt.Fprint(os.Stderr, usage)
	return fmt.Errorf("no such role")
}
