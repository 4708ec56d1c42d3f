package migration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/exit"
	"github.com/pec-operator/pec-operator/internal/jobs/worker"
	"github.com/pec-operator/pec-operator/internal/mailtest"
	"github.com/pec-operator/pec-operator/internal/mailtest/site"
	"github.com/pec-operator/pec-operator/internal/pki"
	"github.com/pec-operator/pec-operator/internal/store"
)

const (
	domain = "pec.rupar.test"
	mario  = "mario@" + domain
	anna   = "anna@" + domain
	luigi  = "luigi@" + domain // who did not ask to be moved
	parola = "una parola lunga"
)

// Each mailbox at the source has perMailbox messages (see the files with the build tag soak), and a copier lives firstKill before it
// is killed, and laterKill longer each time.

// childVariable makes this test's program a copier that can be killed: it holds the directory of its pod.
const childVariable = "PEC_MIGRATION_TEST_CHILD"

func TestMain(m *testing.M) {
	dir := os.Getenv(childVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	job := podIn(dir, 0)
	report, err := Work(context.Background(), job)
	if job.Finish(report, err) != nil {
		os.Exit(1)
	}
}

// podIn is a pod whose volumes lie below dir.
func podIn(dir string, index int) worker.Job {
	return worker.Job{PlanDir: filepath.Join(dir, "plan"), SourceDir: filepath.Join(dir, "source"), Log: filepath.Join(dir, fmt.Sprintf("log-%d", index)), Index: index}
}

// old is the provider that the mailboxes come from.
type old struct {
	t        *testing.T
	provider *mailtest.Dovecot
	ca       string
}

func (o *old) holder(address string) mailtest.Holder {
	return mailtest.Holder{Server: fmt.Sprintf("127.0.0.1:%d", mailtest.ProviderPort), Address: address, Password: parola}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// login, fill and snapshot are those of a holder at the source.
func (o *old) login(address string) *imapclient.Client {
	o.t.Helper()
	return o.holder(address).Login(o.t)
}

func (o *old) fill(address string, from, to int) {
	o.t.Helper()
	o.holder(address).Fill(o.t, from, to)
}

func (o *old) snapshot(address string) map[string]int {
	o.t.Helper()
	return o.holder(address).Snapshot(o.t, mailtest.Copied)
}

// copied is the same of our store, read with a certificate that may only read.
func copied(t *testing.T, s *site.Site, address string) map[string]int {
	t.Helper()
	dir := t.TempDir()
	s.Certificate(t, dir, pki.Leaf{URI: admin.JobURI(site.Name, "prova", "lettore")})
	must(t, s.Operator.PutGrant(t.Context(), "prova", "lettore", admin.Grant{Addresses: []string{address}, Until: time.Now().Add(time.Hour)}))
	c, err := worker.Job{PlanDir: dir}.Store(s.URL)
	must(t, err)
	folders, err := c.Folders(t.Context(), address)
	must(t, err)
	all := map[string]int{}
	for _, f := range folders {
		list, err := c.Messages(t.Context(), address, f.Name, 0)
		must(t, err)
		for _, m := range list {
			r, err := c.Open(t.Context(), address, f.Name, m.UID)
			must(t, err)
			digest, err := store.DigestOf(r)
			must(t, errors.Join(err, r.Close()))
			all[mailtest.Line(f.Name, digest, m.Date, m.Flags)]++
		}
	}
	return all
}

// world is an old provider, our site, and the volumes of a Job's pods.
type world struct {
	*old
	site *site.Site
	dir  string
	plan Plan
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{old: &old{t: t}, dir: t.TempDir()}
	w.provider, w.ca = mailtest.StartProvider(t, map[string]string{mario: parola, anna: parola, luigi: parola})
	w.site = site.Start(t, domain, "{BLF-CRYPT}$2y$05$x", mario, anna, luigi)
	for _, d := range []string{"plan", "source"} {
		must(t, os.MkdirAll(filepath.Join(w.dir, d), 0o755))
	}
	w.site.Certificate(t, filepath.Join(w.dir, "plan"), pki.Leaf{URI: admin.JobURI(site.Name, "prova", "copia")})
	must(t, w.site.Operator.PutGrant(t.Context(), "prova", "copia", admin.Grant{Addresses: []string{mario, anna}, Write: true, Until: time.Now().Add(time.Hour)}))
	for name, content := range map[string]string{"0": parola, "1": parola, "ca": w.ca} {
		must(t, os.WriteFile(filepath.Join(w.dir, "source", name), []byte(content), 0o600))
	}
	w.plan = Plan{
		Migration: "prova/trasloco", Kind: KindCopy, AlignFlags: true, Store: w.site.URL, Source: fmt.Sprintf("localhost:%d", mailtest.ProviderPort), Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, SourceCA: "ca",
		Mailboxes: []Mailbox{{Address: mario, Target: mario, Password: "0"}, {Address: anna, Target: anna, Password: "1"}},
	}
	return w
}

// write writes the plan that the next pods find.
func (w *world) write(change func(*Plan)) {
	w.t.Helper()
	plan := w.plan
	if change != nil {
		change(&plan)
	}
	raw, err := json.Marshal(plan)
	must(w.t, err)
	must(w.t, os.WriteFile(filepath.Join(w.dir, "plan", worker.PlanFile), raw, 0o600))
}

// run runs the pods of all indexes, and fails on any error.
func (w *world) run(change func(*Plan)) []Report {
	w.t.Helper()
	w.write(change)
	reports := make([]Report, len(w.plan.Mailboxes))
	for i := range reports {
		var err error
		reports[i], err = Work(w.t.Context(), podIn(w.dir, i))
		must(w.t, err)
	}
	return reports
}

func verify(p *Plan) { p.Kind = KindVerify }

func total(m map[string]int) (n int) {
	for v := range maps.Values(m) {
		n += v
	}
	return n
}

func TestMigration(t *testing.T) {
	mailtest.Inside(t, func(t *testing.T) {
		w := newWorld(t)
		var filling sync.WaitGroup
		for i, address := range []string{mario, anna, luigi} {
			filling.Go(func() { w.fill(address, i*perMailbox, (i+1)*perMailbox) })
		}
		filling.Wait()
		before := map[string]map[string]int{mario: w.snapshot(mario), anna: w.snapshot(anna), luigi: w.snapshot(luigi)}
		if n := total(before[mario]); n != perMailbox {
			t.Fatalf("the source has %d messages", n)
		}
		for _, step := range []struct {
			name  string
			check func(*testing.T, *world, map[string]map[string]int)
		}{
			{"a dry run counts and writes nothing", checkDryRun},
			{"a copier that is killed again and again ends with the same copy", checkKilled},
			{"both mailboxes are equal as multisets, the third is not touched, and the source is as it was", checkEqual},
			{"a second run changes nothing", checkSecondRun},
			{"a verification proves it, with the same manifest each time", checkVerify},
			{"a verification says whether the old mailbox can still be written to", checkOld},
			{"a delta carries new mail and new flags, and leaves what came here alone", checkDelta},
			{"a message that is not the same is found", checkDifference},
			{"a mailbox that is suspended there is tried again", checkSuspended},
			{"a wrong password fails its mailbox only, at once", checkCredentials},
		} {
			if !t.Run(step.name, func(t *testing.T) { w.t = t; step.check(t, w, before) }) {
				return
			}
		}
	})
}

func checkDryRun(t *testing.T, w *world, _ map[string]map[string]int) {
	reports := w.run(func(p *Plan) { p.DryRun = true })
	if reports[0].Messages != perMailbox || reports[0].Saved != perMailbox || reports[0].Folders != len(mailtest.AdverseFolders) {
		t.Errorf("reported %+v", reports[0])
	}
	if got := copied(t, w.site, mario); len(got) > 0 {
		t.Errorf("it copied %d messages", total(got))
	}
}

// checkKilled copies the first mailbox with a copier that gets a little further each time.
func checkKilled(t *testing.T, w *world, before map[string]map[string]int) {
	w.write(nil)
	kills := 0
	for done := false; !done; {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+w.dir)
		must(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			must(t, err)
			done = true
		case <-time.After(firstKill + time.Duration(kills)*laterKill):
			must(t, cmd.Process.Kill())
			<-ended
			kills++
		}
	}
	if kills == 0 {
		t.Fatal("the copier was never killed")
	}
	t.Logf("killed %d times", kills)
	if diff := cmp.Diff(before[mario], copied(t, w.site, mario)); diff != "" {
		t.Errorf("-source +copy:\n%.2000s", diff)
	}
}

func checkEqual(t *testing.T, w *world, before map[string]map[string]int) {
	began := time.Now()
	reports := w.run(nil)
	took := time.Since(began)
	t.Logf("%d messages in %s: %.0f/s", reports[1].Saved, took, float64(reports[1].Saved)/took.Seconds())
	if reports[0].Saved != 0 || reports[1].Saved != perMailbox {
		t.Errorf("reported %+v", reports)
	}
	for _, address := range []string{mario, anna} {
		if diff := cmp.Diff(before[address], copied(t, w.site, address)); diff != "" {
			t.Errorf("%s: -source +copy:\n%.2000s", address, diff)
		}
		if diff := cmp.Diff(before[address], w.snapshot(address)); diff != "" {
			t.Errorf("the source of %s changed:\n%.2000s", address, diff)
		}
	}
	if got := copied(t, w.site, luigi); len(got) > 0 {
		t.Errorf("%s has %d messages", luigi, total(got))
	}
}

func checkSecondRun(t *testing.T, w *world, before map[string]map[string]int) {
	for name, forget := range map[string]bool{"with its journal": false, "without it": true} {
		if forget {
			must(t, os.Remove(filepath.Join(w.site.State, "records", mario, "journal-prova.trasloco")))
		}
		began := time.Now()
		for _, r := range w.run(nil) {
			if r.Saved != 0 || r.Flagged != 0 || r.Messages != perMailbox {
				t.Errorf("%s: %+v", name, r)
			}
		}
		t.Logf("%s: %s", name, time.Since(began))
	}
	if diff := cmp.Diff(before[mario], copied(t, w.site, mario)); diff != "" {
		t.Errorf("-source +copy:\n%.2000s", diff)
	}
}

func checkVerify(t *testing.T, w *world, _ map[string]map[string]int) {
	first, second := w.run(verify), w.run(verify)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("-first +second:\n%s", diff)
	}
	raw, err := os.ReadFile(filepath.Join(w.site.State, "records", mario, first[0].Location))
	must(t, err)
	if store.Digest(raw) != first[0].Manifest || bytes.Count(raw, []byte{'\n'}) != perMailbox || first[0].Differences+first[0].Extra != 0 {
		t.Errorf("%d lines for %+v", bytes.Count(raw, []byte{'\n'}), first[0])
	}
}

func checkOld(t *testing.T, w *world, before map[string]map[string]int) {
	for name, c := range map[string]struct{ old, want string }{
		"it can":                 {w.plan.Source, OldWritable},
		"nobody answers there":   {"localhost:1", ReasonSourceUnreachable},
		"it is a private place":  {"10.1.2.3:993", ReasonSourceInside},
		"it is not looked there": {"", ""},
	} {
		report := w.run(func(p *Plan) { p.Kind, p.Old = KindVerify, c.old })[0]
		if report.Old != c.want || report.Differences != 0 {
			t.Errorf("%s: %+v", name, report)
		}
	}
	if diff := cmp.Diff(before[mario], w.snapshot(mario)); diff != "" {
		t.Errorf("the source changed:\n%.2000s", diff)
	}
}

func checkDelta(t *testing.T, w *world, _ map[string]map[string]int) {
	own := []byte("Subject: arrivata qui\r\n\r\nx\r\n")
	client, err := podIn(w.dir, 0).Store(w.site.URL)
	must(t, err)
	_, err = client.Save(t.Context(), mario, store.New{Folder: "INBOX", GUID: fmt.Sprintf("%032x", 1), Date: time.Unix(1650000000, 0), SHA256: store.Digest(own)}, bytes.NewReader(own))
	must(t, err)
	w.fill(mario, 9000, 9030)
	c := w.login(mario)
	_, err = c.Select("INBOX", nil).Wait()
	must(t, err)
	must(t, c.Store(imap.SeqSetNum(1, 2), &imap.StoreFlags{Op: imap.StoreFlagsSet, Flags: []imap.Flag{"nuova"}}, nil).Close())
	must(t, c.Store(imap.SeqSetNum(3), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	must(t, c.Expunge().Close())
	must(t, c.Close())
	r := w.run(nil)[0]
	if r.Saved != 30 || r.Flagged != 2 {
		t.Errorf("reported %+v", r)
	}
	source, ours := w.snapshot(mario), copied(t, w.site, mario)
	extra := 0
	for k, n := range ours {
		extra += n - source[k]
		if source[k] > n {
			t.Errorf("%d of %s are missing", source[k]-n, k)
		}
	}
	if extra != 2 { // what came here, and what was deleted there
		t.Errorf("%d messages are here alone", extra)
	}
	if r := w.run(verify)[0]; r.Differences != 0 || r.Extra != 2 {
		t.Errorf("verified %+v", r)
	}
}

func checkDifference(t *testing.T, w *world, _ map[string]map[string]int) {
	w.fill(anna, 9100, 9101)
	w.write(verify)
	r, err := Work(t.Context(), podIn(w.dir, 1))
	chosen := (*exit.Error)(nil)
	if !errors.As(err, &chosen) || chosen.Status != worker.ExitPerson || chosen.Reason != ReasonCopyDiffers || r.Differences != 1 {
		t.Errorf("reported %+v, %v", r, err)
	}
}

func checkSuspended(t *testing.T, w *world, _ map[string]map[string]int) {
	w.provider.Suspend(t)
	w.write(nil)
	_, err := Work(t.Context(), podIn(w.dir, 0))
	chosen := (*exit.Error)(nil)
	if !errors.As(err, &chosen) || chosen.Status != worker.ExitAgain || chosen.Reason != ReasonSourceRefuses {
		t.Errorf("got %v", err)
	}
	w.provider.Resume(t)
	w.run(nil)
}

func checkCredentials(t *testing.T, w *world, _ map[string]map[string]int) {
	must(t, os.WriteFile(filepath.Join(w.dir, "source", "1"), []byte("un'altra"), 0o600))
	w.write(nil)
	_, err := Work(t.Context(), podIn(w.dir, 1))
	chosen := (*exit.Error)(nil)
	if !errors.As(err, &chosen) || chosen.Status != worker.ExitCredentials || chosen.Reason != ReasonLoginRefused {
		t.Errorf("got %v", err)
	}
	if _, err := Work(t.Context(), podIn(w.dir, 0)); err != nil {
		t.Errorf("the other mailbox: %v", err)
	}
}
