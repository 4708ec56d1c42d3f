package retention

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/pec-operator/pec-operator/internal/exit"
	"github.com/pec-operator/pec-operator/internal/jobs/worker"
	"github.com/pec-operator/pec-operator/internal/store"
)

// GiveBackPlan is a restore into a mailbox, as the operator hands it to a Job of one index. It holds no secret.
type GiveBackPlan struct {
	Mailbox MailboxPlan `json:"mailbox"`
	Wanted  Wanted      `json:"wanted"`
	// Into is the folder below which the messages come.
	Into string `json:"into"`
	// S3 is where the packages are; the Job's volume claim when not given.
	S3 *S3 `json:"s3,omitempty"`
}

// GivenBack is what became of a restore into a mailbox.
type GivenBack struct {
	Added   int `json:"added"`
	Existed int `json:"existed"`
	// Digest is the SHA-256 of the list of what was wanted, which the engine keeps with the mailbox under the name Manifest.
	Digest   string `json:"digest,omitempty"`
	Manifest string `json:"manifest,omitempty"`
}

// errNothingArchived is the fault of a restore that asks for what no package holds.
var errNothingArchived = errors.New("the archive of this mailbox holds no such message")

func giveBackJob(ctx context.Context, job worker.Job) error {
	done, err := giveBack(ctx, job)
	mappedErr := mapped(err)
	if errors.Is(err, errNothingArchived) {
		mappedErr = &exit.Error{Status: worker.ExitPerson, Reason: "NothingArchived", Err: err}
	}
	return job.Finish(done, mappedErr)
}

func giveBack(ctx context.Context, job worker.Job) (done GivenBack, err error) {
	var plan GiveBackPlan
	if err := job.Plan(&plan); err != nil {
		return done, fmt.Errorf("%w: %w", errConfiguration, err)
	}
	if plan.Into == "" || plan.Mailbox.Address == "" {
		return done, fmt.Errorf("%w: the plan names no mailbox, or no folder", errConfiguration)
	}
	place, _, err := openPlace(ctx, job, plan.S3)
	if err != nil {
		return done, err
	}
	client, err := job.Store(plan.Mailbox.Engine)
	if err != nil {
		return done, fmt.Errorf("%w: %w", errConfiguration, err)
	}
	return GiveBack(ctx, place, client, plan)
}

// keeper is what is asked of a store besides taking messages; *store.Client is one.
type keeper interface {
	sink
	PutRecord(ctx context.Context, address, name string, raw []byte) error
}

// GiveBack restores messages of sealed packages below a folder of their mailbox, and leaves the list of them with the mailbox. It writes
// nothing into the archive, adds only what the folder does not hold, and ended at any point and begun again does what is left.
func GiveBack(ctx context.Context, from Place, to keeper, plan GiveBackPlan) (done GivenBack, err error) {
	address := plan.Mailbox.Address
	archived, err := catalogue(ctx, from, address, nil)
	if err != nil {
		return done, err
	}
	list := &listing{Sink: &StoreSink{Store: to, Address: address, Below: plan.Into}}
	counted, err := restore(ctx, from, archived, plan.Wanted, list)
	done.Added, done.Existed = counted.Added, counted.Existed
	if err != nil {
		return done, err
	}
	if counted == (Restored{}) {
		return done, errNothingArchived
	}
	done.Digest = store.Digest(list.lines.Bytes())
	done.Manifest = "manifest-restore-" + done.Digest[:16]
	if err := to.PutRecord(ctx, address, done.Manifest, list.lines.Bytes()); err != nil {
		return done, fmt.Errorf("keeping the list of what was restored into %s: %w", address, err)
	}
	return done, nil
}

// listing is a sink that remembers what it was given, a JSON object a line.
type listing struct {
	Sink
	lines bytes.Buffer
}

// Put implements Sink.
func (l *listing) Put(ctx context.Context, m Message, copyOf int, body io.Reader) (bool, error) {
	existed, err := l.Sink.Put(ctx, m, copyOf, body)
	if err != nil {
		return existed, err
	}
	return existed, json.NewEncoder(&l.lines).Encode(m)
}
