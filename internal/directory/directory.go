// Package directory is the stack's list of domains and mailboxes: a SQLite database that the engine alone writes, and that
// Dovecot and Postfix read at each login and each recipient.
//
// Rows are changed in place, in transactions: a database replaced by rename goes unnoticed until the readers are restarted,
// whereas a committed row is seen by the next query. The readers must reach the directory's -wal and -shm files, and one
// reader (Postfix, uid postfix, a read-only mount) cannot create them: so the engine keeps its one connection open for life,
// tells SQLite to leave both files behind when it closes, and the modes are 0755 for the directory and 0644 for the files.
package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// FileName is the database inside the directory that the pod's containers share.
const FileName = "directory.sqlite"

// ErrInvalid marks a row that the directory refuses; the caller has to change it.
var ErrInvalid = errors.New("refused by the directory")

const schema = `
CREATE TABLE IF NOT EXISTS domain (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS mailbox (
  address TEXT PRIMARY KEY,
  domain TEXT NOT NULL REFERENCES domain (name),
  password TEXT NOT NULL,
  credentials_version TEXT NOT NULL,
  quota_bytes INTEGER NOT NULL,
  access TEXT NOT NULL CHECK (access IN ('Full', 'ReadOnly', 'Suspended', 'Closed'))
);
CREATE INDEX IF NOT EXISTS mailbox_domain ON mailbox (domain);
CREATE TABLE IF NOT EXISTS certified_domain (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS peer (one INTEGER PRIMARY KEY CHECK (one = 1), site TEXT NOT NULL, address TEXT NOT NULL, ca_bundle TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS ending (address TEXT PRIMARY KEY, change INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS whole (one INTEGER PRIMARY KEY CHECK (one = 1));
CREATE TABLE IF NOT EXISTS job_grant (
  job TEXT NOT NULL, address TEXT NOT NULL, writes INTEGER NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (job, address)
);`

// laterColumns are those that a database made by an earlier release lacks. A domain of such a one was delivered here, and still is.
var laterColumns = []struct{ table, name, definition string }{
	{"domain", "local", `INTEGER NOT NULL DEFAULT 1`},
	{"domain", "mx", `TEXT NOT NULL DEFAULT ''`},
	{"domain", "receipts", `INTEGER NOT NULL DEFAULT 0`},
	{"mailbox", "sending_refused", `TEXT NOT NULL DEFAULT '' CHECK (sending_refused IN ('', 'FirstLogin', 'Migration'))`},
	{"mailbox", "admitted_as", `TEXT NOT NULL DEFAULT ''`},
	{"mailbox", "owner_namespace", `TEXT NOT NULL DEFAULT ''`},
	{"mailbox", "owner_uid", `TEXT NOT NULL DEFAULT ''`},
	{"mailbox", "closed_at", `INTEGER NOT NULL DEFAULT 0`},
	{"mailbox", "password_changed", `INTEGER NOT NULL DEFAULT 0`},
	{"mailbox", "given", `TEXT NOT NULL DEFAULT '{}'`},
	{"mailbox", "ordinary_mail", `TEXT NOT NULL DEFAULT 'Discard' CHECK (ordinary_mail IN ('Discard', 'Forward', 'Deliver'))`},
	{"mailbox", "forward_to", `TEXT NOT NULL DEFAULT ''`},
	{"mailbox", "frozen_until", `INTEGER NOT NULL DEFAULT 0`},
	{"mailbox", "admitted_in", `TEXT NOT NULL DEFAULT ''`},
	{"mailbox", "shard", `INTEGER NOT NULL DEFAULT 0`},
	{"mailbox", "restored", `INTEGER NOT NULL DEFAULT 0`},
	{"ending", "reopened", `INTEGER NOT NULL DEFAULT 0`}, // End.FormerScript
}

// Directory is the open database.
type Directory struct{ db *database }

// Open opens the database in dir, which is made with its schema if it is not there.
func Open(ctx context.Context, dir string) (*Directory, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("opening directory: %w", err)
	}
	path := filepath.Join(dir, FileName)
	if err := makeReadable(dir, path); err != nil {
		return nil, err
	}
	pragmas := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: path, RawQuery: pragmas.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("opening directory %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	d := &Directory{db: &database{DB: db}}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("making the schema of %s: %w", path, err)
	}
	if err := d.addColumns(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	if err := errors.Join(d.keepWAL(ctx), d.db.compile(ctx)); err != nil {
		_ = db.Close()
		return nil, err
	}
	return d, nil
}

// addColumns brings a database of an earlier release up to this one's columns.
func (d *Directory) addColumns(ctx context.Context) error {
	rows, err := d.db.QueryContext(ctx, `SELECT t.name || '.' || c.name FROM pragma_table_list AS t, pragma_table_info(t.name) AS c`)
	if err != nil {
		return fmt.Errorf("reading the columns of the directory: %w", err)
	}
	present, err := collect(rows, func(rows *sql.Rows) (name string, err error) { return name, rows.Scan(&name) })
	if err != nil {
		return fmt.Errorf("reading the columns of the directory: %w", err)
	}
	for _, c := range laterColumns {
		if slices.Contains(present, c.table+"."+c.name) {
			continue
		}
		if _, err := d.db.ExecContext(ctx, `ALTER TABLE `+c.table+` ADD COLUMN `+c.name+` `+c.definition); err != nil {
			return fmt.Errorf("adding column %s to %s of the directory: %w", c.name, c.table, err)
		}
	}
	return nil
}

// makeReadable makes the database file, with the modes that a reader of another uid needs. SQLite gives -wal and -shm the mode of the database
// file, so that is made first; chmod, because the umask of a container is not ours to choose.
func makeReadable(dir, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("making %s: %w", path, err)
	}
	if err := errors.Join(f.Chmod(0o644), f.Close(), os.Chmod(dir, 0o755)); err != nil {
		return fmt.Errorf("making %s readable: %w", path, err)
	}
	return nil
}

// keepWAL leaves -wal and -shm in place when the engine stops, so that Postfix goes on reading while it restarts.
func (d *Directory) keepWAL(ctx context.Context) error {
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("reaching the directory's connection: %w", err)
	}
	defer func() { _ = conn.Close() }()
	err = conn.Raw(func(driver any) error {
		_, err := driver.(sqlite.FileControl).FileControlPersistWAL("main", 1)
		return err
	})
	if err != nil {
		return fmt.Errorf("keeping the directory's write-ahead log: %w", err)
	}
	return nil
}

// Close closes the database.
func (d *Directory) Close() error { return d.db.Close() }

// Version changes whenever somebody else than this Directory has changed the database.
func (d *Directory) Version(ctx context.Context) (n int64, err error) {
	if err := d.db.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&n); err != nil {
		return 0, fmt.Errorf("reading the version of the directory: %w", err)
	}
	return n, nil
}

// PutDomain makes a domain's row.
func (d *Directory) PutDomain(ctx context.Context, domain admin.Domain) error {
	return d.putDomain(ctx, domain, `DO UPDATE SET local = excluded.local, mx = excluded.mx`)
}

// HoldDomain makes a domain that the directory does not hold, so that it can hold its mailboxes. Its mail is not delivered here before
// PutDomain says so. One that is there stays as it is.
func (d *Directory) HoldDomain(ctx context.Context, name string) error {
	return d.putDomain(ctx, admin.Domain{Name: name}, `DO NOTHING`)
}

// HoldReceipts makes a domain local because the provider's receipts come to it, and the one that was so before local no more: of that the
// operator says whether its mail is still delivered here.
func (d *Directory) HoldReceipts(ctx context.Context, name string) error {
	if err := d.putDomain(ctx, admin.Domain{Name: name}, `DO NOTHING`); err != nil {
		return err
	}
	name = strings.ToLower(name)
	if _, err := d.db.ExecContext(ctx, `UPDATE domain SET local = (name = ?1), receipts = (name = ?1) WHERE receipts OR name = ?1`, name); err != nil {
		return fmt.Errorf("noting that receipts come to %s: %w", name, err)
	}
	return nil
}

func (d *Directory) putDomain(ctx context.Context, domain admin.Domain, onConflict string) error {
	name := strings.ToLower(domain.Name)
	if !domainForm.MatchString(name) || len(name) > 253 {
		return fmt.Errorf("domain %q: %w: not a domain name", name, ErrInvalid)
	}
	if _, err := d.db.ExecContext(ctx, `INSERT INTO domain (name, local, mx) VALUES (?, ?, ?) ON CONFLICT (name) `+onConflict, name, domain.Local, domain.MX); err != nil {
		return fmt.Errorf("storing domain %s: %w", name, err)
	}
	return nil
}

// Domains lists the domains, sorted by name.
func (d *Directory) Domains(ctx context.Context) ([]admin.Domain, error) {
	rows, err := d.db.QueryContext(ctx, `SELECT name, local, mx FROM domain ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("listing domains: %w", err)
	}
	return collect(rows, func(rows *sql.Rows) (domain admin.Domain, err error) {
		return domain, rows.Scan(&domain.Name, &domain.Local, &domain.MX)
	})
}

// Local says whether a domain's mail is delivered here.
func (d *Directory) Local(ctx context.Context, name string) (bool, error) {
	var n int
	if err := d.db.QueryRowContext(ctx, `SELECT count(*) FROM domain WHERE name = ? AND local`, strings.ToLower(name)).Scan(&n); err != nil {
		return false, fmt.Errorf("reading domain %s: %w", name, err)
	}
	return n > 0, nil
}

// Whole says whether the directory has all mailboxes that it should have, and so all domains, by the operator's word or by both sites' logs.
// Postfix reads it too: it refuses nobody for good before.
func (d *Directory) Whole(ctx context.Context) (bool, error) {
	var n int
	if err := d.db.QueryRowContext(ctx, `SELECT count(*) FROM whole`).Scan(&n); err != nil {
		return false, fmt.Errorf("reading whether the directory is whole: %w", err)
	}
	return n > 0, nil
}

// SetWhole notes that the directory has every mailbox that it should have.
func (d *Directory) SetWhole(ctx context.Context) error {
	if _, err := d.db.ExecContext(ctx, `INSERT INTO whole (one) VALUES (1) ON CONFLICT DO NOTHING`); err != nil {
		return fmt.Errorf("noting that the directory is whole: %w", err)
	}
	return nil
}

const mailboxColumns = `address, domain, credentials_version, quota_bytes, access,
	sending_refused, admitted_as, owner_namespace, owner_uid, closed_at, password_changed, ordinary_mail, forward_to, frozen_until, admitted_in, shard, restored`

// scanMailbox reads a row's mailboxColumns, and what follows them.
func scanMailbox(row interface{ Scan(...any) error }, more ...any) (m admin.Mailbox, err error) {
	var closedAt, frozenUntil int64
	err = row.Scan(append([]any{&m.Address, &m.Domain, &m.CredentialsVersion, &m.QuotaBytes, &m.Access,
		&m.SendingRefused, &m.AdmittedAs, &m.Owner.Namespace, &m.Owner.UID, &closedAt, &m.PasswordChangedByHolder, &m.OrdinaryMail, &m.ForwardTo, &frozenUntil, &m.AdmittedIn, &m.Shard, &m.Restored}, more...)...)
	m.ClosedAt, m.FrozenUntil = timeOf(closedAt), timeOf(frozenUntil)
	return m, err
}

// timeOf is a time that the directory keeps in seconds.
func timeOf(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// Mailbox reads one row, without its password. admin.ErrNotFound if there is none.
func (d *Directory) Mailbox(ctx context.Context, address string) (admin.Mailbox, error) {
	m, err := scanMailbox(d.db.QueryRowContext(ctx, readMailbox, strings.ToLower(address)))
	if errors.Is(err, sql.ErrNoRows) {
		return m, fmt.Errorf("mailbox %s: %w", address, admin.ErrNotFound)
	}
	if err != nil {
		return m, fmt.Errorf("reading mailbox %s: %w", address, err)
	}
	return m, nil
}
