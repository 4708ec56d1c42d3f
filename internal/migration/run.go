package migration

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pec-operator/pec-operator/internal/exit"
	"github.com/pec-operator/pec-operator/internal/imapx"
	"github.com/pec-operator/pec-operator/internal/jobs/worker"
	"github.com/pec-operator/pec-operator/internal/reach"
	"github.com/pec-operator/pec-operator/internal/store"
)

// Reasons that a mailbox's run ends with, besides those of the pod itself.
const (
	ReasonPlanUnusable       = "PlanUnusable"
	ReasonCredentialsMissing = "CredentialsMissing"
	ReasonLoginRefused       = "LoginRefused"
	ReasonSourceUnreachable  = "SourceUnreachable"
	ReasonSourceRefuses      = "SourceRefuses"
	ReasonSourceInside       = "SourceInside"
	ReasonNotGranted         = "NotGranted"
	ReasonMessagesSkipped    = "MessagesSkipped"
	ReasonCopyDiffers        = "CopyDiffers"
	ReasonInterrupted        = "Interrupted"
)

// Run is the role "migrate" in a Job's pod: one mailbox, and its last words.
func Run(ctx context.Context, args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("migrate", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: pec-operator migrate   (in a pod of a MailboxMigration's Job, which has its plan and its index; there are no flags)")
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		flags.Usage()
		return fmt.Errorf("%q is too much", flags.Args())
	}
	job, err := worker.Find()
	if err != nil {
		return &exit.Error{Status: worker.ExitConfiguration, Reason: ReasonPlanUnusable, Err: err}
	}
	report, err := Work(ctx, job)
	_, _ = fmt.Fprintf(stderr, "%+v\n", report)
	return job.Finish(report, err)
}

// Work does one index of a plan.
func Work(ctx context.Context, job worker.Job) (Report, error) {
	var plan Plan
	if err := job.Plan(&plan); err != nil {
		return Report{}, unusable(err)
	}
	if job.Index >= len(plan.Mailboxes) || !slices.Contains([]Kind{KindCopy, KindVerify, KindCopyVerify}, plan.Kind) {
		return Report{}, unusable(fmt.Errorf("index %d, kind %q of %d mailboxes", job.Index, plan.Kind, len(plan.Mailboxes)))
	}
	r := &run{plan: plan, mailbox: plan.Mailboxes[job.Index], spool: &spool{}}
	defer r.spool.drop()
	var err error
	if r.store, err = job.Store(plan.Store); err != nil {
		return r.report, unusable(err)
	}
	if r.source, err = dial(ctx, job, plan, r.mailbox); err != nil {
		return r.report, err
	}
	defer r.source.Close()
	if plan.Kind != KindVerify {
		err = r.copyWithJournal(ctx)
	}
	if plan.Kind != KindCopy && err == nil {
		r.report = Report{Saved: r.report.Saved, Flagged: r.report.Flagged}
		err = r.verify(ctx)
		r.report.Old = openOld(ctx, job, plan, r.mailbox)
	}
	return r.report, r.verdict(ctx, err)
}

// openOld opens the mailbox where the letter says that the old one can be read, and says how it was found.
func openOld(ctx context.Context, job worker.Job, plan Plan, m Mailbox) string {
	if plan.Old == "" {
		return ""
	}
	plan.Source, plan.SourceName = plan.Old, plan.OldName
	client, err := dial(ctx, job, plan, m)
	if refused := (*exit.Error)(nil); errors.As(err, &refused) {
		return refused.Reason
	}
	defer client.Close()
	switch writable, err := client.Writable("INBOX"); {
	case err != nil:
		return ReasonSourceUnreachable
	case writable:
		return OldWritable
	}
	return OldReadOnly
}

// verdict is how the pod should end.
func (r *run) verdict(ctx context.Context, err error) error {
	reason := ""
	switch {
	case err == nil && r.report.Differences > 0:
		return &exit.Error{Status: worker.ExitPerson, Reason: ReasonCopyDiffers,
			Err: fmt.Errorf("%d messages of %s are not in the copy as they are at the source", r.report.Differences, r.mailbox.Address)}
	case err == nil && r.report.undecided() > 0 && !r.plan.DryRun:
		return &exit.Error{Status: worker.ExitPerson, Reason: ReasonMessagesSkipped, Err: fmt.Errorf(
			"%d messages of %s cannot be copied as they are; add their digests to spec.approveSkipped to leave them behind: %s",
			r.report.undecided(), r.mailbox.Address, strings.Join(r.report.Pending, " "))}
	case err == nil:
		return nil
	case ctx.Err() != nil:
		reason = ReasonInterrupted
	case errors.Is(err, store.ErrDenied):
		reason = ReasonNotGranted
	default:
		return fmt.Errorf("copying %s: %w", r.mailbox.Address, err)
	}
	return &exit.Error{Status: worker.ExitAgain, Reason: reason, Err: err}
}

func unusable(err error) error {
	return &exit.Error{Status: worker.ExitConfiguration, Reason: ReasonPlanUnusable, Err: err}
}

// sourceRoots are what the source's certificate is verified with; nil for the system's.
func sourceRoots(job worker.Job, plan Plan) (*x509.CertPool, error) {
	roots := []byte(plan.SourceRoots)
	if plan.SourceCA != "" {
		var err error
		if roots, err = job.Source(plan.SourceCA); err != nil {
			return nil, err
		}
	}
	if len(roots) == 0 && plan.SourceCA == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		return nil, errors.New("the source's authority holds no certificate")
	}
	return pool, nil
}

// dial logs in to the source.
func dial(ctx context.Context, job worker.Job, plan Plan, m Mailbox) (*imapx.Client, error) {
	options := imapx.Options{Address: plan.Source, Name: plan.SourceName, User: m.Address, PerSecond: plan.PerSecond, Own: plan.Source == plan.Own, Networks: plan.Networks}
	password, err := job.Source(m.Password)
	if err != nil {
		return nil, &exit.Error{Status: worker.ExitCredentials, Reason: ReasonCredentialsMissing, Err: err}
	}
	options.Password = string(password)
	if options.Roots, err = sourceRoots(job, plan); err != nil {
		return nil, unusable(err)
	}
	client, err := imapx.Dial(ctx, options)
	switch {
	case errors.Is(err, imapx.ErrCredentials):
		return nil, &exit.Error{Status: worker.ExitCredentials, Reason: ReasonLoginRefused, Err: err}
	case errors.Is(err, reach.ErrInside):
		return nil, &exit.Error{Status: worker.ExitConfiguration, Reason: ReasonSourceInside, Err: err}
	case errors.Is(err, imapx.ErrRefused):
		return nil, &exit.Error{Status: worker.ExitAgain, Reason: ReasonSourceRefuses, Err: err}
	case err != nil:
		return nil, &exit.Error{Status: worker.ExitAgain, Reason: ReasonSourceUnreachable, Err: err}
	}
	return client, nil
}
