package retention

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pec-operator/pec-operator/internal/exit"
	"github.com/pec-operator/pec-operator/internal/jobs/worker"
)

func retain(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := Run(t.Context(), args, &out, &out)
	return out.String(), err
}

func TestTheCommandsForPeople(t *testing.T) {
	smallPackages(t, 30)
	dir, box := t.TempDir(), newMailbox(t, 60)
	result := archive(t, box, Directory(dir), task(t, noon))
	one := filepath.Join(dir, result.Packages[0].Name)
	out, err := retain(t, "verify", one, filepath.Join(dir, result.Packages[1].Name))
	if err != nil || strings.Count(out, "whole") != 2 || !strings.Contains(out, result.Packages[0].SHA256) {
		t.Errorf("verify: %v\n%s", err, out)
	}
	out, err = retain(t, "list", "--from", dir, "--mailbox", office)
	if err != nil || strings.Count(out, "\n") != box.count() {
		t.Errorf("list: %v, %d lines for %d messages", err, strings.Count(out, "\n"), box.count())
	}
	to := t.TempDir()
	if out, err = retain(t, "restore", "--from", dir, "--mailbox", office, "--to", to); err != nil {
		t.Errorf("restore: %v\n%s", err, out)
	}
	files := 0
	err = filepath.WalkDir(to, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files++
		}
		return err
	})
	if err != nil || files != box.count() {
		t.Errorf("%d files for %d messages (%v)", files, box.count(), err)
	}
	for name, args := range map[string][]string{
		"a message that is not there": {"restore", "--from", dir, "--mailbox", office, "--sha256", "0", "--to", to},
		"nowhere to restore to":       {"restore", "--from", dir, "--mailbox", office},
		"two places to restore to":    {"restore", "--from", dir, "--mailbox", office, "--to", to, "--to-engine", "https://localhost"},
		"no package":                  {"verify"},
		"no such command":             {"remove"},
		"a mailbox that is a path":    {"list", "--from", dir, "--mailbox", "../x@pec.test"},
	} {
		if _, err := retain(t, args...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	raw, err := os.ReadFile(one)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-2000] ^= 1
	if err := errors.Join(os.Remove(one), os.WriteFile(one, raw, 0o440)); err != nil {
		t.Fatal(err)
	}
	_, err = retain(t, "verify", one)
	if chosen := (*exit.Error)(nil); !errors.As(err, &chosen) || chosen.Status != 2 {
		t.Errorf("verify of a flipped byte: %v", err)
	}
}

func TestAJobThatCannotWorkSaysWhatAPersonMustDo(t *testing.T) {
	claim := t.TempDir()
	good := Plan{Day: noon, Rule: Rule{Before: noon}, Mailboxes: []MailboxPlan{{Address: office, Engine: "https://localhost:1", Host: "comune/pec.test"}}}
	for name, tt := range map[string]struct {
		run    func(context.Context, worker.Job) error // archiveJob when not given
		job    worker.Job
		plan   any
		status int
	}{
		"a plan with a field of the future":   {plan: map[string]any{"remove": true}, status: worker.ExitConfiguration},
		"a plan without a day":                {plan: Plan{Mailboxes: good.Mailboxes}, status: worker.ExitConfiguration},
		"an index that the plan has not":      {job: worker.Job{Index: 1}, plan: good, status: worker.ExitConfiguration},
		"a review of nothing in particular":   {plan: Plan{Day: noon, Rule: good.Rule, Mailboxes: []MailboxPlan{{Address: office, Review: true}}}, status: worker.ExitConfiguration},
		"a restore to no mailbox":             {run: giveBackJob, plan: GiveBackPlan{Into: "Ripristino"}, status: worker.ExitConfiguration},
		"a restore without a certificate":     {run: giveBackJob, plan: GiveBackPlan{Mailbox: good.Mailboxes[0], Into: "Ripristino"}, status: worker.ExitConfiguration},
		"a claim that is not mounted":         {job: worker.Job{ClaimDir: filepath.Join(claim, "absent")}, plan: good, status: worker.ExitConfiguration},
		"a bucket whose keys are not mounted": {plan: Plan{Day: noon, Rule: good.Rule, Mailboxes: good.Mailboxes, S3: &S3{Endpoint: "https://localhost:1", Bucket: "b"}}, status: worker.ExitConfiguration},
		"no certificate of its own":           {plan: good, status: worker.ExitConfiguration},
	} {
		t.Run(name, func(t *testing.T) {
			job := tt.job
			job.PlanDir, job.Log = t.TempDir(), filepath.Join(t.TempDir(), "log")
			if job.ClaimDir == "" {
				job.ClaimDir = claim
			}
			raw, err := json.Marshal(tt.plan)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(job.PlanDir, worker.PlanFile), raw, 0o600); err != nil {
				t.Fatal(err)
			}
			if tt.run == nil {
				tt.run = archiveJob
			}
			err = tt.run(t.Context(), job)
			if chosen := (*exit.Error)(nil); !errors.As(err, &chosen) || chosen.Status != tt.status {
				t.Errorf("it ended with %v", err)
			}
			var last worker.Result
			if raw, err = os.ReadFile(job.Log); err != nil || json.Unmarshal(raw, &last) != nil || last.Reason != "PlanUnusable" {
				t.Errorf("it left %s (%v)", raw, err)
			}
		})
	}
}
