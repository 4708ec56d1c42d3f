// Package worker is the inside of a Job's pod: which mailbox it works on, where what it was given lies, and how it says what came
// of it. The pod holds no Kubernetes token, so its last words are its termination message, which the operator reads.
package worker

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pec-operator/pec-operator/internal/exit"
	"github.com/pec-operator/pec-operator/internal/store"
)

// What a pod finds where.
const (
	PlanDir   = "/etc/pec/job"    // plan.json, tls.crt, tls.key, ca.crt
	SourceDir = "/etc/pec/source" // credentials, by the names that the plan gives them
	ClaimDir  = "/var/lib/pec/archive"
	PlanFile  = "plan.json"
	// indexVariable is set by Kubernetes in each pod of an Indexed Job.
	indexVariable = "JOB_COMPLETION_INDEX"
	// terminationLog is where Kubernetes reads a pod's last words, up to maxResult bytes.
	terminationLog = "/dev/termination-log"
	maxResult      = 4096
)

// Exit statuses of a pod, as the Job's failure policy knows them.
const (
	ExitDone          = 0
	ExitAgain         = 1  // may succeed if tried again: the index is
	ExitCredentials   = 42 // the mailbox's credentials are no good: the index fails
	ExitConfiguration = 43 // the plan is no good: the Job fails
	ExitPerson        = 44 // a person must decide about this mailbox: the index fails
)

// Result is what a pod says of its index.
type Result struct {
	Index int `json:"index"`
	// Reason is one word for people; "" when all is well.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Data is the work's own, and small.
	Data json.RawMessage `json:"data,omitempty"`
}

// Job is what a pod was given. The paths are fields so that a test can lay them elsewhere.
type Job struct {
	PlanDir, SourceDir, ClaimDir, Log string
	Index                             int
}

// Find reads from the environment which index this pod works on.
func Find() (Job, error) {
	index, err := strconv.Atoi(os.Getenv(indexVariable))
	if err != nil || index < 0 {
		return Job{}, fmt.Errorf("reading %s: %q is no index of a Job", indexVariable, os.Getenv(indexVariable))
	}
	return Job{PlanDir: PlanDir, SourceDir: SourceDir, ClaimDir: ClaimDir, Log: terminationLog, Index: index}, nil
}

// Plan decodes the plan strictly.
func (j Job) Plan(plan any) error {
	raw, err := os.ReadFile(filepath.Join(j.PlanDir, PlanFile))
	if err != nil {
		return fmt.Errorf("reading the plan: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(plan); err != nil {
		return fmt.Errorf("reading the plan: %w", err)
	}
	return nil
}

// Source reads credentials by their name in the plan.
func (j Job) Source(name string) ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(j.SourceDir, filepath.Base(name)))
	if err != nil {
		return nil, fmt.Errorf("reading the source's %s: %w", name, err)
	}
	return raw, nil
}

// Store is a client of the engine at a URL, as this Job.
func (j Job) Store(url string) (*store.Client, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(j.PlanDir, "tls.crt"), filepath.Join(j.PlanDir, "tls.key"))
	if err != nil {
		return nil, fmt.Errorf("reading the job's certificate: %w", err)
	}
	ca, err := os.ReadFile(filepath.Join(j.PlanDir, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("reading the site's authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("reading the site's authority: no certificate in it")
	}
	return store.NewClient(url, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: roots}), nil
}

// Finish leaves the last words of this pod: data if the work went well, and else what err says, besides the data that there is.
// It answers err, so that it can be the work's last line.
func (j Job) Finish(data any, err error) error {
	r := Result{Index: j.Index}
	if err != nil {
		r.Reason, r.Message = "Failed", err.Error()
		if chosen := (*exit.Error)(nil); errors.As(err, &chosen) && chosen.Reason != "" {
			r.Reason = chosen.Reason
		}
	}
	raw, encodeErr := encode(r, data)
	if encodeErr != nil {
		return errors.Join(err, encodeErr)
	}
	if writeErr := os.WriteFile(j.Log, raw, 0o600); writeErr != nil {
		return errors.Join(err, fmt.Errorf("leaving the job's result: %w", writeErr))
	}
	return err
}

// encode keeps the result below what Kubernetes takes: a cut one would be no JSON.
func encode(r Result, data any) ([]byte, error) {
	var err error
	if data != nil {
		if r.Data, err = json.Marshal(data); err != nil {
			return nil, fmt.Errorf("encoding the job's result: %w", err)
		}
	}
	for {
		raw, err := json.Marshal(r)
		switch {
		case err != nil:
			return nil, fmt.Errorf("encoding the job's result: %w", err)
		case len(raw) <= maxResult:
			return raw, nil
		case len(r.Message) > 0:
			r.Message = strings.ToValidUTF8(r.Message[:len(r.Message)/2], "") // between characters
		default:
			return nil, fmt.Errorf("encoding the job's result: %d bytes are more than %d", len(raw), maxResult)
		}
	}
}
