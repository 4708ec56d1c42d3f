package retention

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/pec-operator/pec-operator/internal/exit"
	"github.com/pec-operator/pec-operator/internal/jobs/worker"
	"github.com/pec-operator/pec-operator/internal/store"
)

const usage = `usage: pec-operator retain archive                       in a Job: archive the mailbox of this pod's index
       pec-operator retain give-back                     in a Job: restore into a mailbox what a policy's spec.restore asks for
       pec-operator retain list --from DIRECTORY --mailbox ADDRESS
       pec-operator retain restore --from DIRECTORY --mailbox ADDRESS [which] --to DIRECTORY
       pec-operator retain restore --from DIRECTORY --mailbox ADDRESS [which] --to-engine URL
       pec-operator retain verify PACKAGE...

list prints what the archive of a mailbox holds, a JSON object a line. restore puts messages into files, or back into the mailbox
(with the certificate of a Job that was granted to write there); which is one of --sha256, --identifier (a message with its
receipts) and --message-id, or everything. It adds only what is not there. verify says whether every byte is as it was written.
DIRECTORY is where packages are: the policy's volume claim, or a copy of its bucket.
Exit status: 0 done, 1 try again, 2 damaged; of archive also 43 the run needs a person, 44 this mailbox does.`

// statusDamaged is the exit status for a package that is not as it was written, from the commands for people.
const statusDamaged = 2

// Run is the command "retain" with its arguments.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := options{stdout: stdout}
	flags := flag.NewFlagSet("retain", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprintln(stderr, usage); flags.PrintDefaults() }
	o.register(flags)
	command := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch command {
	case "archive":
		job, err := worker.Find()
		if err != nil {
			return err
		}
		return archiveJob(ctx, job)
	case "give-back":
		job, err := worker.Find()
		if err != nil {
			return err
		}
		return giveBackJob(ctx, job)
	case "list":
		return damaged(o.list(ctx))
	case "restore":
		return damaged(o.restore(ctx))
	case "verify":
		return damaged(verifyFiles(flags.Args(), stdout))
	}
	flags.Usage()
	return errors.New("say archive, give-back, list, restore or verify")
}

// archiveJob does the work of one pod and leaves its result.
func archiveJob(ctx context.Context, job worker.Job) error {
	result, err := archiveIndex(ctx, job)
	result.Packages = nil // the archive has their names, and the result must be small
	return job.Finish(result, mapped(err))
}

func archiveIndex(ctx context.Context, job worker.Job) (Result, error) {
	plan, mailbox, err := loadPlan(job)
	if err != nil {
		return Result{}, err
	}
	place, work, err := openPlace(ctx, job, plan.S3)
	if err != nil {
		return Result{Address: mailbox.Address}, err
	}
	client, err := job.Store(mailbox.Engine)
	if err != nil {
		return Result{Address: mailbox.Address}, fmt.Errorf("%w: %w", errConfiguration, err)
	}
	if mailbox.Review {
		return Review(ctx, client, place, plan.task(mailbox, work))
	}
	return Archive(ctx, client, place, plan.task(mailbox, work))
}

// mapped gives an error the exit status by which the Job's failure policy decides. What is not known to need a person is tried
// again.
func mapped(err error) error {
	switch {
	case errors.Is(err, errConfiguration):
		return &exit.Error{Status: worker.ExitConfiguration, Reason: "PlanUnusable", Err: err}
	case errors.Is(err, ErrCorrupt), errors.Is(err, errNotLocked):
		return &exit.Error{Status: worker.ExitPerson, Reason: "ArchiveDamaged", Err: err}
	case errors.Is(err, store.ErrNotFound):
		return &exit.Error{Status: worker.ExitAgain, Reason: "MailboxChanged", Err: err}
	}
	return err
}

type options struct {
	from, mailbox, to, engine string
	wanted                    Wanted
	stdout                    io.Writer
}

func (o *options) register(flags *flag.FlagSet) {
	flags.StringVar(&o.from, "from", "", "directory with packages")
	flags.StringVar(&o.mailbox, "mailbox", "", "address of the mailbox")
	flags.StringVar(&o.to, "to", "", "directory for the restored messages")
	flags.StringVar(&o.engine, "to-engine", "", "base URL of the engine whose store takes the restored messages")
	flags.StringVar(&o.wanted.SHA256, "sha256", "", "restore the message with this hash only")
	flags.StringVar(&o.wanted.Identifier, "identifier", "", "restore the message with this PEC identifier, and its receipts, only")
	flags.StringVar(&o.wanted.MessageID, "message-id", "", "restore the message with this Message-ID only")
}

func (o options) list(ctx context.Context) error {
	archived, err := Catalogue(ctx, Directory(o.from), o.mailbox)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(o.stdout)
	encoder.SetEscapeHTML(false)
	for _, a := range archived {
		line := struct {
			Package string `json:"package"`
			Message
		}{a.Package, a.Message}
		if err := encoder.Encode(line); err != nil {
			return fmt.Errorf("listing the archive of %s: %w", o.mailbox, err)
		}
	}
	return nil
}

func (o options) restore(ctx context.Context) error {
	var to Sink = DirectorySink(o.to)
	switch {
	case (o.to == "") == (o.engine == ""):
		return errors.New("restoring: say where, with --to or with --to-engine")
	case o.engine != "":
		client, err := worker.Job{PlanDir: worker.PlanDir}.Store(o.engine)
		if err != nil {
			return err
		}
		to = &StoreSink{Store: client, Address: o.mailbox}
	}
	done, err := Restore(ctx, Directory(o.from), o.mailbox, o.wanted, to)
	if err != nil {
		return err
	}
	if done == (Restored{}) {
		return fmt.Errorf("restoring: the archive of %s in %s holds no such message", o.mailbox, o.from)
	}
	_, err = fmt.Fprintf(o.stdout, "%d messages restored, %d were there\n", done.Added, done.Existed)
	return err
}

// verifyFiles checks packages against themselves and, where there is one, against the seal beside them.
func verifyFiles(files []string, out io.Writer) error {
	if len(files) == 0 {
		return errors.New("verifying: name a package")
	}
	var errs []error
	for _, file := range files {
		found, sealed, err := verifyFile(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
			continue
		}
		_, err = fmt.Fprintf(out, "%s: whole, %d messages of %s, sha256 %s, %s\n", file, len(found.Messages), found.Mailbox, found.SHA256, sealed)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func verifyFile(file string) (found Verified, sealed string, err error) {
	dir, name := Directory(filepath.Dir(file)), filepath.Base(file)
	r, err := dir.Open(context.Background(), name)
	if err != nil {
		return found, "", err
	}
	defer r.Close() //nolint:errcheck // it was only read
	if found, err = Verify(r); err != nil {
		return found, "", err
	}
	sum, err := readSeal(context.Background(), dir, name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return found, "no seal beside it", nil
	case err != nil:
		return found, "", err
	case sum != found.SHA256:
		return found, "", corrupt("its seal names another SHA-256, %s", sum)
	}
	return found, "as its seal says", nil
}

func damaged(err error) error {
	if errors.Is(err, ErrCorrupt) {
		return &exit.Error{Status: statusDamaged, Err: err}
	}
	return err
}
