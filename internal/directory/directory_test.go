package directory

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
)

const hash = "{BLF-CRYPT}$2y$05$abcdefghijklmnopqrstuuJx0q3bYp5S1N9rC5hG5b0Yw1p6bq9zK"

func opened(t *testing.T) *Directory {
	t.Helper()
	d, err := Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if err := d.PutDomain(t.Context(), admin.Domain{Name: "Pec.Example.it", Local: true}); err != nil {
		t.Fatal(err)
	}
	return d
}

func row() admin.Mailbox {
	return admin.Mailbox{Address: "ufficio@pec.example.it", Domain: "pec.example.it", Password: hash, CredentialsVersion: "s/1", QuotaBytes: 1 << 30, Access: admin.AccessFull}
}

func TestPutMailboxRefuses(t *testing.T) {
	d := opened(t)
	cases := map[string]func(*admin.Mailbox){
		"an address without a domain":              func(m *admin.Mailbox) { m.Address = "ufficio" },
		"an address that SQL or a path could eat":  func(m *admin.Mailbox) { m.Address = "../x'@pec.example.it" },
		"an address of another domain":             func(m *admin.Mailbox) { m.Address = "ufficio@other.it" },
		"a domain that is not served":              func(m *admin.Mailbox) { m.Address, m.Domain = "u@other.it", "other.it" },
		"a clear-text password":                    func(m *admin.Mailbox) { m.Password = "segreta" },
		"a password of scheme PLAIN":               func(m *admin.Mailbox) { m.Password = "{PLAIN}$segreta" },
		"a new mailbox without a password":         func(m *admin.Mailbox) { m.Password = "" },
		"an access that does not exist":            func(m *admin.Mailbox) { m.Access = "Half" },
		"a refusal of sending that does not exist": func(m *admin.Mailbox) { m.SendingRefused = "Whim" },
		"a shard below the first":                  func(m *admin.Mailbox) { m.Shard = -1 },
		"a quota of zero":                          func(m *admin.Mailbox) { m.QuotaBytes = 0 },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			m := row()
			change(&m)
			if _, err := d.PutMailbox(t.Context(), m); !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v, want a refusal", err)
			}
		})
	}
}

func TestRestoreChangesNoRowThatIsPlacedMeanwhile(t *testing.T) {
	d := opened(t)
	for i := range 200 {
		lost, placed := row(), row()
		lost.Address = fmt.Sprintf("u%d@pec.example.it", i)
		placed.Address, lost.Access = lost.Address, admin.AccessSuspended
		var group sync.WaitGroup
		group.Go(func() {
			if err := d.Restore(t.Context(), lost); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			if _, err := d.PutMailbox(t.Context(), placed); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		if got, err := d.Mailbox(t.Context(), lost.Address); err != nil || got.Access != admin.AccessFull {
			t.Fatalf("of %d rows the last is %s, %v", i+1, got.Access, err)
		}
	}
}

func TestPutMailboxKeepsThePasswordThatIsNotGiven(t *testing.T) {
	d := opened(t)
	m := row()
	m.Address = "Ufficio@PEC.example.it"
	if before, err := d.PutMailbox(t.Context(), m); err != nil || before.Address != "" {
		t.Fatalf("new row: before %v, %v", before, err)
	}
	m = row()
	m.Password, m.Access = "", admin.AccessReadOnly
	if before, err := d.PutMailbox(t.Context(), m); err != nil || before.Access != admin.AccessFull {
		t.Fatalf("changed row: before %v, %v", before, err)
	}
	var password string
	if err := d.db.QueryRow(`SELECT password FROM mailbox`).Scan(&password); err != nil || password != hash {
		t.Fatalf("stored password %q, %v", password, err)
	}
	got, err := d.Mailbox(t.Context(), "ufficio@pec.example.it")
	if err != nil || !got.Same(m) || got.Password != "" {
		t.Fatalf("read back %+v, %v, want %+v without a password", got, err, m)
	}
	if rows, err := d.Mailboxes(t.Context(), "pec.example.it"); err != nil || len(rows) != 1 {
		t.Fatalf("listed %v, %v", rows, err)
	}
	if rows, err := d.Mailboxes(t.Context(), "other.it"); err != nil || len(rows) != 0 {
		t.Fatalf("listed %v, %v for a domain without mailboxes", rows, err)
	}
}

func TestATombstoneSaysWhoseItWasAndSinceWhen(t *testing.T) {
	d := opened(t)
	m := row()
	m.Owner, m.AdmittedAs, m.SendingRefused = admin.Owner{Namespace: "comune", UID: "u-1"}, "Massive", admin.RefusalMigration
	m.Access, m.ClosedAt = admin.AccessClosed, time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("Rome", 3600))
	if _, err := d.PutMailbox(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	m.FrozenUntil = m.ClosedAt.Add(time.Hour)
	if _, err := d.PutMailbox(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Mailbox(t.Context(), m.Address); err != nil || !got.Same(m) {
		t.Fatalf("read back %+v, %v", got, err)
	}
	if n, err := d.Count(t.Context()); n != 0 || err != nil {
		t.Fatalf("counts %d open mailboxes, %v", n, err)
	}
}

func TestOnlyANewPasswordTakesBackThatTheHolderChangedIt(t *testing.T) {
	d := opened(t)
	changed := func(m admin.Mailbox) bool {
		t.Helper()
		if _, err := d.PutMailbox(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		got, err := d.Mailbox(t.Context(), m.Address)
		if err != nil {
			t.Fatal(err)
		}
		return got.PasswordChangedByHolder
	}
	m := row()
	m.PasswordChangedByHolder = true
	if changed(m) {
		t.Fatal("the operator's word made it true")
	}
	if _, err := d.db.Exec(`UPDATE mailbox SET password_changed = 1`); err != nil {
		t.Fatal(err)
	}
	m.Password, m.QuotaBytes = "", 5
	if !changed(m) {
		t.Fatal("another quota took it back")
	}
	m.Password = hash
	if changed(m) {
		t.Fatal("a new first password did not take it back")
	}
}

// former is the schema of the first release.
const former = `CREATE TABLE domain (name TEXT PRIMARY KEY);
CREATE TABLE mailbox (
  address TEXT PRIMARY KEY, domain TEXT NOT NULL REFERENCES domain (name), password TEXT NOT NULL, credentials_version TEXT NOT NULL,
  quota_bytes INTEGER NOT NULL, access TEXT NOT NULL CHECK (access IN ('Full', 'ReadOnly', 'Suspended', 'Closed'))
);
INSERT INTO domain VALUES ('pec.example.it');
INSERT INTO mailbox VALUES ('ufficio@pec.example.it', 'pec.example.it', '` + hash + `', 's/1', 1073741824, 'Full');`

func TestADirectoryOfTheFirstReleaseIsTakenOver(t *testing.T) {
	dir := t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(former); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time the columns are there
		d, err := Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Mailbox(t.Context(), "ufficio@pec.example.it")
		if err != nil || !got.Same(row()) {
			t.Fatalf("read back %+v, %v", got, err)
		}
		if local, err := d.Local(t.Context(), "pec.example.it"); err != nil || !local {
			t.Fatalf("a domain whose mail was delivered here is local: %t, %v", local, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADomainIsLocalOnlyWhenThatIsSaid(t *testing.T) {
	d := opened(t)
	const name = "pec.altro.it"
	for _, step := range []struct {
		what string
		do   func() error
		want admin.Domain
	}{
		{"held", func() error { return d.HoldDomain(t.Context(), "Pec.Altro.it") }, admin.Domain{Name: name}},
		{"said", func() error { return d.PutDomain(t.Context(), admin.Domain{Name: name, Local: true, MX: "1"}) }, admin.Domain{Name: name, Local: true, MX: "1"}},
		{"held again", func() error { return d.HoldDomain(t.Context(), name) }, admin.Domain{Name: name, Local: true, MX: "1"}},
		{"taken back", func() error { return d.PutDomain(t.Context(), admin.Domain{Name: name, MX: "1"}) }, admin.Domain{Name: name, MX: "1"}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		all, err := d.Domains(t.Context())
		if diff := cmp.Diff([]admin.Domain{step.want, {Name: "pec.example.it", Local: true}}, all); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", step.what, err, diff)
		}
		if local, err := d.Local(t.Context(), "PEC.altro.it"); err != nil || local != step.want.Local {
			t.Errorf("%s: local %t, %v", step.what, local, err)
		}
	}
	lost := row()
	lost.Address, lost.Domain = "ufficio@pec.perso.it", "pec.perso.it"
	if err := d.Restore(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	if local, err := d.Local(t.Context(), lost.Domain); err != nil || local {
		t.Errorf("a domain that was made again for a lost row is local: %t, %v", local, err)
	}
	if err := d.PutDomain(t.Context(), admin.Domain{Name: "no domain"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("what is no domain name: %v", err)
	}
}

func TestARowKeepsItsShard(t *testing.T) {
	d := opened(t)
	for _, shard := range []int{0, 3} {
		m := row()
		m.Shard = shard
		if _, err := d.PutMailbox(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Mailbox(t.Context(), m.Address); err != nil || got.Shard != shard {
			t.Errorf("read back shard %d, %v, want %d", got.Shard, err, shard)
		}
	}
}

func TestUnknownMailboxIsNotFound(t *testing.T) {
	if _, err := opened(t).Mailbox(t.Context(), "nessuno@pec.example.it"); !errors.Is(err, admin.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
}

func TestPeerIsOne(t *testing.T) {
	d := opened(t)
	if _, isTold, err := d.Peer(t.Context()); isTold || err != nil {
		t.Fatalf("before any was put: %v %v", isTold, err)
	}
	for _, address := range []string{"one:9443", "two:9443"} {
		if err := d.PutPeer(t.Context(), admin.Peer{Site: "b", Address: address, CABundle: "pem"}); err != nil {
			t.Fatal(err)
		}
	}
	if p, isTold, err := d.Peer(t.Context()); !isTold || err != nil || p.Address != "two:9443" {
		t.Fatalf("got %+v %v %v", p, isTold, err)
	}
	if err := d.PutPeer(t.Context(), admin.Peer{}); err != nil {
		t.Fatal(err)
	}
	if p, isTold, err := d.Peer(t.Context()); !isTold || p != (admin.Peer{}) || err != nil {
		t.Fatalf("taken back, it is %+v, %v %v: nobody, and that is known", p, isTold, err)
	}
}

func TestFilesStayReadableForTheOtherContainersAfterClose(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "directory")
	for range 2 { // the second time they are there already
		d, err := Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.PutDomain(t.Context(), admin.Domain{Name: "pec.example.it", Local: true}); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{"", "-wal", "-shm"} {
			info, err := os.Stat(filepath.Join(dir, FileName+suffix))
			if err != nil || info.Mode().Perm()&0o444 != 0o444 {
				t.Fatalf("%s%s: %v, %v, want it there and readable by all", FileName, suffix, info, err)
			}
		}
	}
}

// A provider whose mail domain was mistyped, or has another now, delivers nothing of the former one's mail unless it is told to.
func TestReceiptsComeToOneDomain(t *testing.T) {
	d := opened(t)
	local := func(when string, want ...string) {
		t.Helper()
		var got []string
		domains, err := d.Domains(t.Context())
		for _, domain := range domains {
			if domain.Local {
				got = append(got, domain.Name)
			}
		}
		if !slices.Equal(got, want) || err != nil {
			t.Errorf("%s mail is delivered for %v, %v, want %v", when, got, err, want)
		}
	}
	for _, step := range []struct {
		when, receipts string
		want           []string
	}{
		{"at first", "pec.gestoer.test", []string{"pec.example.it", "pec.gestoer.test"}},
		{"after a restart", "pec.gestoer.test", []string{"pec.example.it", "pec.gestoer.test"}},
		{"corrected", "pec.gestore.test", []string{"pec.example.it", "pec.gestore.test"}},
		{"at a domain that is local anyway", "pec.example.it", []string{"pec.example.it"}},
	} {
		if err := d.HoldReceipts(t.Context(), step.receipts); err != nil {
			t.Fatal(err)
		}
		local(step.when, step.want...)
	}
	if err := d.PutDomain(t.Context(), admin.Domain{Name: "pec.gestore.test", Local: true}); err != nil {
		t.Fatal(err)
	}
	local("where a PECDomain's MX says so", "pec.example.it", "pec.gestore.test")
}

// Who opens a mailbox last says what becomes of the former holder's script; what changes besides says nothing of it.
func TestWhatBecomesOfAFormerHoldersScript(t *testing.T) {
	d := opened(t)
	m := row()
	place := func(access admin.Access, isDeactivatedThere bool) func() error {
		return func() error {
			m.Access = access
			outcomes, err := d.PlaceAfter(t.Context(), []admin.Place{{Address: m.Address, Mailbox: &m}}, func(admin.Mailbox) bool { return isDeactivatedThere })
			return errors.Join(err, outcomes[0].Err)
		}
	}
	for _, step := range []struct {
		name string
		do   func() error
		want FormerScript
	}{
		{"made", place(admin.AccessFull, true), ScriptEnded},
		{"closed", place(admin.AccessClosed, true), ScriptEnded},
		{"opened, at another site first", place(admin.AccessFull, true), ScriptEndedThere},
		{"a new password", func() error { return d.SetPassword(t.Context(), m.Address, hash) }, ScriptEndedThere},
		{"closed before its word came", place(admin.AccessClosed, false), ScriptEnded},
		{"opened here first", place(admin.AccessFull, false), ScriptActive},
		{"suspended", place(admin.AccessSuspended, true), ScriptActive},
		{"closed before it was done", place(admin.AccessClosed, false), ScriptActive},
		{"opened, at another site first, again", place(admin.AccessFull, true), ScriptEndedThere},
		{"done", func() error { return d.ScriptsDeactivated(t.Context(), []string{m.Address}) }, ScriptEnded},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		ending, err := d.Ending(t.Context())
		if got, readErr := d.FormerScript(t.Context(), m.Address); got != step.want || ending[m.Address].FormerScript != step.want || errors.Join(err, readErr) != nil {
			t.Errorf("%s: %d and %d, want %d; %v", step.name, got, ending[m.Address].FormerScript, step.want, errors.Join(err, readErr))
		}
	}
}
