package retention

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/pec-operator/pec-operator/internal/jobs/worker"
)

// Plan is the work of one run on many mailboxes, as the operator hands it to a Job: one index of the Job is one mailbox. It holds
// no secret.
type Plan struct {
	// Day is the time of the run, however late a Job comes to it: names and ages follow from it.
	Day       time.Time     `json:"day"`
	Rule      Rule          `json:"rule"`
	Mailboxes []MailboxPlan `json:"mailboxes"`
	// ArchivedBefore counts as due what was archived before; zero counts nothing.
	ArchivedBefore time.Time `json:"archivedBefore,omitzero"`
	// S3 is where packages go; the Job's volume claim when not given.
	S3 *S3 `json:"s3,omitempty"`
}

// MailboxPlan is the work on one mailbox.
type MailboxPlan struct {
	Address string `json:"address"`
	// Engine is the base URL of the engine whose store holds it.
	Engine string `json:"engine"`
	// Host is namespace/name of the domain whose engine that is.
	Host string `json:"host"`
	// Held says that nothing of it is due.
	Held bool `json:"held,omitempty"`
	// Review says that the other site archives it: what is due is listed, and nothing written.
	Review bool `json:"review,omitempty"`
}

// Files of a Job's sources.
const (
	KeyIDFile  = "accessKeyID"
	SecretFile = "secretAccessKey"
	RootsFile  = "ca.crt"
)

// errConfiguration is a fault that no other try, of any mailbox, gets past.
var errConfiguration = errors.New("the run cannot be done as it was planned")

// loadPlan reads the plan of a Job and finds its own part of it.
func loadPlan(job worker.Job) (p Plan, m MailboxPlan, err error) {
	err = job.Plan(&p)
	switch {
	case err != nil:
	case p.Day.IsZero() || p.Rule.Before.IsZero():
		err = errors.New("the plan names no day, or no age of messages")
	case job.Index >= len(p.Mailboxes):
		err = fmt.Errorf("the plan has no mailbox of index %d", job.Index)
	case p.Mailboxes[job.Index].Review && p.ArchivedBefore.IsZero():
		err = errors.New("the plan asks for a list of what is due, and does not say since when")
	default:
		return p, p.Mailboxes[job.Index], nil
	}
	return p, m, fmt.Errorf("%w: %w", errConfiguration, err)
}

// task is the work on a mailbox of the plan.
func (p Plan) task(m MailboxPlan, work string) Task {
	t := Task{Address: m.Address, Rule: p.Rule, Day: p.Day, Work: work}
	if !p.ArchivedBefore.IsZero() {
		t.Removal = &Removal{ArchivedBefore: p.ArchivedBefore, Held: m.Held}
	}
	return t
}

// openPlace opens where packages are, a bucket or else the Job's claim, and says where a journal is safest: on the claim it outlives
// the pod.
func openPlace(ctx context.Context, job worker.Job, bucket *S3) (to Place, work string, err error) {
	if bucket == nil {
		if info, err := os.Stat(job.ClaimDir); err != nil || !info.IsDir() {
			return nil, "", fmt.Errorf("%w: %s is no directory", errConfiguration, job.ClaimDir)
		}
		return Directory(job.ClaimDir), filepath.Join(job.ClaimDir, ".journal"), nil
	}
	id, idErr := job.Source(KeyIDFile)
	secret, secretErr := job.Source(SecretFile)
	if err := errors.Join(idErr, secretErr); err != nil {
		return nil, "", fmt.Errorf("%w: %w", errConfiguration, err)
	}
	var roots *x509.CertPool
	switch pem, err := job.Source(RootsFile); {
	case errors.Is(err, os.ErrNotExist): // the system's
	case err != nil:
		return nil, "", fmt.Errorf("%w: %w", errConfiguration, err)
	default:
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
			return nil, "", fmt.Errorf("%w: there is no certificate in %s", errConfiguration, RootsFile)
		}
	}
	b, err := OpenBucket(ctx, *bucket, Keys{ID: string(bytes.TrimSpace(id)), Secret: string(bytes.TrimSpace(secret))}, roots)
	if errors.Is(err, errNoLock) {
		err = fmt.Errorf("%w: %w", errConfiguration, err)
	}
	return b, os.TempDir(), err
}
