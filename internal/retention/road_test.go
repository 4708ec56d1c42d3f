package retention

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/jobs/worker"
	"github.com/pec-operator/pec-operator/internal/mailtest"
	"github.com/pec-operator/pec-operator/internal/mailtest/site"
	"github.com/pec-operator/pec-operator/internal/pki"
	"github.com/pec-operator/pec-operator/internal/store"
)

// TestFromDovecotToTheArchiveAndBack goes the whole road of a Job: its certificate and its grant, the engine, a real Dovecot.
func TestFromDovecotToTheArchiveAndBack(t *testing.T) {
	mailtest.Inside(t, func(t *testing.T) {
		const other = "copia@pec.test"
		s := site.Start(t, "pec.test", "{BLF-CRYPT}$2y$05$x", office, other)
		job := worker.Job{PlanDir: t.TempDir(), ClaimDir: t.TempDir(), Log: filepath.Join(t.TempDir(), "log")}
		s.Certificate(t, job.PlanDir, pki.Leaf{URI: admin.JobURI(site.Name, "comune", "archivio")})
		grant := func(write bool) {
			t.Helper()
			g := admin.Grant{Addresses: []string{office, other}, Write: write, Until: time.Now().Add(time.Hour)}
			if err := s.Operator.PutGrant(t.Context(), "comune", "archivio", g); err != nil {
				t.Fatal(err)
			}
		}
		grant(true)
		client, err := job.Store(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		box := newMailbox(t, roadMessages)
		fill(t, client, box)
		lap(t, &began, "filled %d messages", box.count())
		if diff := cmp.Diff(box.all(), held(t, client, office)); diff != "" {
			t.Fatalf("the mailbox was not filled as it should be: %s", diff)
		}
		lap(t, &began, "read them")

		grant(false) // a run reads only
		result := runJob(t, job, s.URL)
		lap(t, &began, "archived %d messages", result.Archived)
		if result.Archived != int64(box.count()) || result.Due.Count != 0 {
			t.Errorf("the Job says %+v", result)
		}
		if again := runJob(t, job, s.URL); again.Archived != 0 || again.Messages != result.Messages {
			t.Errorf("a second Job says %+v", again)
		}
		lap(t, &began, "saw that nothing is left")

		grant(true)
		place := Directory(job.ClaimDir)
		done, err := Restore(t.Context(), place, office, Wanted{}, &StoreSink{Store: client, Address: other})
		if err != nil || done.Added != box.count() {
			t.Fatalf("restored %+v, %v", done, err)
		}
		lap(t, &began, "restored %d messages", done.Added)
		if diff := cmp.Diff(held(t, client, office), held(t, client, other)); diff != "" {
			t.Errorf("what was restored is not what was archived: %s", diff)
		}
		if done, err = Restore(t.Context(), place, office, Wanted{}, &StoreSink{Store: client, Address: office}); err != nil || done.Added != 0 {
			t.Errorf("restored to where everything still is: %+v, %v", done, err)
		}
	})
}

func lap(t *testing.T, began *time.Time, format string, args ...any) {
	t.Logf("%6.2fs "+format, append([]any{time.Since(*began).Seconds()}, args...)...)
	*began = time.Now()
}

// fill saves a mailbox in memory into a real one.
func fill(t *testing.T, client *store.Client, box *mailbox) {
	t.Helper()
	var folders errgroup.Group
	for folder, messages := range box.folders {
		folders.Go(func() error {
			if err := client.MakeFolder(t.Context(), office, folder); err != nil {
				return err
			}
			for i, m := range messages {
				_, err := client.Save(t.Context(), office, store.New{
					Folder: folder, GUID: m.GUID, Date: m.Date, Flags: m.Flags, SHA256: store.Digest(m.raw), Seen: uint32(i),
				}, bytes.NewReader(m.raw))
				if err != nil {
					return fmt.Errorf("message %d of %s: %w", i, folder, err)
				}
			}
			return nil
		})
	}
	if err := folders.Wait(); err != nil {
		t.Fatal(err)
	}
}

// held is a real mailbox as [mailbox.all] shows one.
func held(t *testing.T, client *store.Client, address string) (lines []string) {
	t.Helper()
	folders, err := client.Folders(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		messages, err := client.Messages(t.Context(), address, folder.Name, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			body, err := client.Open(t.Context(), address, folder.Name, m.UID)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(body)
			if err != nil {
				t.Fatal(err)
			}
			_ = body.Close()
			lines = append(lines, fmt.Sprint(folder.Name, " ", m.Date.UTC(), " ", slices.Sorted(slices.Values(m.Flags)), " ", store.Digest(raw)))
		}
	}
	slices.Sort(lines)
	return lines
}

// runJob does a Job's work as its pod would.
func runJob(t *testing.T, job worker.Job, engine string) (result Result) {
	t.Helper()
	plan := Plan{Day: noon, Rule: Rule{Before: noon}, ArchivedBefore: noon.AddDate(0, 0, -30), Mailboxes: []MailboxPlan{{Address: office, Engine: engine, Host: "comune/pec.test"}}}
	raw, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(job.PlanDir, worker.PlanFile), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := archiveJob(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	raw, err = os.ReadFile(job.Log)
	if err != nil {
		t.Fatal(err)
	}
	var last worker.Result
	if err := json.Unmarshal(raw, &last); err != nil || last.Reason != "" {
		t.Fatalf("the Job left %s (%v)", raw, err)
	}
	if err := json.Unmarshal(last.Data, &result); err != nil {
		t.Fatal(err)
	}
	return result
}

// endless is a mailbox whose messages are made when they are read.
type endless struct {
	messages int
	size     int
}

func (e endless) Folders(context.Context, string) ([]store.Folder, error) {
	return []store.Folder{{Name: "INBOX"}}, nil
}

func (e endless) Messages(context.Context, string, string, uint32) (listed []store.Message, err error) {
	for i := range e.messages {
		listed = append(listed, store.Message{UID: uint32(i + 1), GUID: fmt.Sprintf("%032x", i), Date: daysAgo(200).Add(time.Duration(i) * time.Second), Size: int64(e.size)})
	}
	return listed, nil
}

func (e endless) Open(_ context.Context, _, _ string, uid uint32) (io.ReadCloser, error) {
	line := fmt.Sprintf("%08d %s\r\n", uid, strings.Repeat("x", 60))
	head := "Subject: grande\r\n\r\n"
	body := io.LimitReader(&repeating{line: line}, int64(e.size-len(head)))
	return io.NopCloser(io.MultiReader(strings.NewReader(head), body)), nil
}

type repeating struct {
	line string
	at   int
}

func (r *repeating) Read(b []byte) (int, error) {
	n := copy(b, r.line[r.at:])
	r.at = (r.at + n) % len(r.line)
	return n, nil
}

func TestMemoryDoesNotGrowWithTheMail(t *testing.T) {
	if os.Getenv(insideVariable) != "" {
		work := task(t, noon)
		if _, err := Archive(t.Context(), endless{messages: 40, size: 8 << 20}, Directory(t.TempDir()), work); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			if peak, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				fmt.Println("peak:", strings.TrimSpace(peak))
			}
		}
		return
	}
	out := inProcess(t)
	var peak int
	if _, after, ok := strings.Cut(out, "peak: "); ok {
		_, _ = fmt.Sscanf(after, "%d kB", &peak)
	}
	const mail, most = 320 << 10, 96 << 10 // kB
	if peak == 0 || peak > most {
		t.Errorf("archiving %d kB of mail took %d kB, want at most %d; %s", mail, peak, most, out)
	}
	t.Logf("archived %d kB of mail in %d kB of memory", mail, peak)
}
