package directory

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/pec"
)

var (
	domainForm    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$`)
	localPartForm = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)
	passwordForm  = regexp.MustCompile(`^\{(BLF-CRYPT|ARGON2ID|SHA512-CRYPT)\}\$[!-~]+$`)
)

// Outcome is what became of one place.
type Outcome struct {
	// Before is the row as it was, without its password, and the zero Mailbox for a new one.
	Before admin.Mailbox
	// Err wraps ErrInvalid, admin.ErrChanged or admin.ErrNotFound when the place was refused.
	Err error
}

// Place creates or changes rows, in one transaction: a hundred mailboxes wait for one disk. An empty Password keeps the stored one.
// A place that is refused holds up no other.
func (d *Directory) Place(ctx context.Context, places []admin.Place) ([]Outcome, error) {
	return d.PlaceAfter(ctx, places, func(admin.Mailbox) bool { return false })
}

// PlaceAfter is Place where another site may have been first: deactivatedThere says of the row of a closed mailbox, as it was, that the site
// has deactivated the former holder's script, and that it is not to be done again here. It is asked in the transaction and must not use the
// directory.
func (d *Directory) PlaceAfter(ctx context.Context, places []admin.Place, deactivatedThere func(before admin.Mailbox) bool) ([]Outcome, error) {
	tx, err := d.db.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("storing mailboxes: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it has nothing to do
	outcomes := make([]Outcome, len(places))
	for i, p := range places {
		o := place(ctx, tx, p, deactivatedThere)
		if o.Err != nil && !errors.Is(o.Err, ErrInvalid) && !errors.Is(o.Err, admin.ErrChanged) && !errors.Is(o.Err, admin.ErrNotFound) {
			return nil, o.Err // the disk, and so all of them
		}
		outcomes[i] = o
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("storing mailboxes: %w", err)
	}
	return outcomes, nil
}

// place stores what is asked for one mailbox: its row, what its holder is given, and that sessions with other rights have to end.
func place(ctx context.Context, tx *transaction, p admin.Place, deactivatedThere func(before admin.Mailbox) bool) (o Outcome) {
	p.Address = strings.ToLower(p.Address)
	before, err := scanEntry(tx.QueryRowContext(ctx, readEntry, p.Address))
	isNew := errors.Is(err, sql.ErrNoRows)
	if err != nil && !isNew {
		o.Err = fmt.Errorf("reading mailbox %s: %w", p.Address, err)
		return o
	}
	o.Before = before.Mailbox
	o.Before.Password = ""
	var end bool
	var former FormerScript
	switch {
	case p.Mailbox != nil:
		o.Err = putRow(ctx, tx, p, o.Before, isNew)
		end = otherRights(o.Before, *p.Mailbox)
		if o.Before.Access == admin.AccessClosed && p.Mailbox.Access != admin.AccessClosed {
			if former = ScriptActive; deactivatedThere(o.Before) {
				former = ScriptEndedThere
			}
		}
	case p.Given != nil && isNew:
		o.Err = fmt.Errorf("mailbox %s: %w", p.Address, admin.ErrNotFound)
	case p.Given != nil:
		o.Err = putGiven(ctx, tx, p.Address, *p.Given)
	}
	if o.Err == nil && p.Mailbox != nil && p.Mailbox.Access == admin.AccessClosed {
		o.Err = dropEnding(ctx, tx, p.Address)
	}
	end = end || (p.Given != nil && losesScripts(before.Given, *p.Given))
	if end && o.Err == nil {
		o.Err = noteEnding(ctx, tx, p.Address, former)
	}
	return o
}

// otherRights says whether who logged in before a row was placed has rights that it does not give any more.
func otherRights(before, m admin.Mailbox) bool {
	return before.Address != "" && (m.Password != "" || m.QuotaBytes != before.QuotaBytes || m.Access != before.Access || m.FrozenUntil.After(before.FrozenUntil))
}

// PutMailbox places one row.
func (d *Directory) PutMailbox(ctx context.Context, m admin.Mailbox) (before admin.Mailbox, err error) {
	outcomes, err := d.Place(ctx, []admin.Place{{Address: m.Address, Mailbox: &m}})
	if err != nil {
		return before, err
	}
	return outcomes[0].Before, outcomes[0].Err
}

// Restore makes a row that was lost, with its domain if that was too. A row that is there stays as it is, also one that is placed meanwhile.
func (d *Directory) Restore(ctx context.Context, m admin.Mailbox) error {
	if err := d.HoldDomain(ctx, m.Domain); err != nil {
		return err
	}
	outcomes, err := d.Place(ctx, []admin.Place{{Address: m.Address, Mailbox: &m, If: &admin.Mailbox{}}})
	if err == nil {
		err = outcomes[0].Err
	}
	if errors.Is(err, admin.ErrChanged) {
		return nil
	}
	return err
}

// putRow stores a mailbox's row, with what its holder is given if the place says that, where it still is what was judged.
func putRow(ctx context.Context, tx *transaction, p admin.Place, before admin.Mailbox, isNew bool) error {
	m := *p.Mailbox
	m.Address, m.Domain = p.Address, strings.ToLower(m.Domain)
	m.OrdinaryMail = cmp.Or(m.OrdinaryMail, admin.OrdinaryDiscard)
	if err := check(m); err != nil {
		return err
	}
	if p.If != nil && !before.Same(*p.If) {
		return fmt.Errorf("mailbox %s: %w", m.Address, admin.ErrChanged)
	}
	if isNew && m.Password == "" {
		return fmt.Errorf("mailbox %s: %w: a new mailbox needs a password hash", m.Address, ErrInvalid)
	}
	var served int
	if err := tx.QueryRowContext(ctx, countDomain, m.Domain).Scan(&served); err != nil {
		return fmt.Errorf("reading domain %s: %w", m.Domain, err)
	}
	if served == 0 {
		return fmt.Errorf("mailbox %s: %w: this stack does not hold %s", m.Address, ErrInvalid, m.Domain)
	}
	var given sql.NullString // not given: it stays as it is
	if p.Given != nil {
		raw, err := encodeGiven(m.Address, *p.Given)
		if err != nil {
			return err
		}
		given = sql.NullString{String: raw, Valid: true}
	}
	_, err := tx.ExecContext(ctx, storeMailbox,
		m.Address, m.Domain, m.Password, m.CredentialsVersion, m.QuotaBytes, string(m.Access),
		string(m.SendingRefused), m.AdmittedAs, m.Owner.Namespace, m.Owner.UID, seconds(m.ClosedAt), string(m.OrdinaryMail), m.ForwardTo, seconds(m.FrozenUntil), m.AdmittedIn, m.Shard, m.Restored,
		given)
	if err != nil {
		return fmt.Errorf("storing mailbox %s: %w", m.Address, err)
	}
	return nil
}

// seconds is a time as the directory keeps it; 0 is none.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func check(m admin.Mailbox) error {
	local, domain, found := strings.Cut(m.Address, "@")
	accesses := []admin.Access{admin.AccessFull, admin.AccessReadOnly, admin.AccessSuspended, admin.AccessClosed}
	reason := ""
	switch {
	case !found || len(local) > 64 || len(m.Address) > 254 || !localPartForm.MatchString(local) || !domainForm.MatchString(domain):
		reason = "not an address of the form name@domain"
	case domain != m.Domain:
		reason = "its domain is not " + m.Domain
	case m.Password != "" && !passwordForm.MatchString(m.Password):
		reason = "the password is no hash of scheme BLF-CRYPT, ARGON2ID or SHA512-CRYPT"
	case m.QuotaBytes <= 0:
		reason = "the quota must be above zero"
	case m.Shard < 0:
		reason = "the first shard is 0"
	case !slices.Contains(accesses, m.Access):
		reason = "unknown access"
	case !slices.Contains([]admin.OrdinaryMail{admin.OrdinaryDiscard, admin.OrdinaryForward, admin.OrdinaryDeliver}, m.OrdinaryMail):
		reason = "unknown policy for ordinary mail"
	case !slices.Contains([]admin.Refusal{"", admin.RefusalFirstLogin, admin.RefusalMigration}, m.SendingRefused):
		reason = "unknown refusal of sending"
	default:
		reason = checkForwarding(m)
	}
	if reason == "" {
		return nil
	}
	return fmt.Errorf("mailbox %s: %w: %s", m.Address, ErrInvalid, reason)
}

// checkForwarding says what is wrong with where ordinary mail goes, "" if nothing is.
func checkForwarding(m admin.Mailbox) string {
	switch {
	case (m.OrdinaryMail == admin.OrdinaryForward) != (m.ForwardTo != ""):
		return "forwardTo is given exactly when ordinary mail is forwarded"
	case m.ForwardTo != "" && (!pec.IsAddress(m.ForwardTo) || strings.EqualFold(m.ForwardTo, m.Address)):
		return "forwardTo is not another mail address"
	}
	return ""
}

// Mailboxes lists the rows of a domain, or of all if domain is empty, sorted and without passwords.
func (d *Directory) Mailboxes(ctx context.Context, domain string) ([]admin.Mailbox, error) {
	rows, err := d.db.QueryContext(ctx, `SELECT `+mailboxColumns+` FROM mailbox WHERE ?1 IN ('', domain) ORDER BY address`, strings.ToLower(domain))
	if err != nil {
		return nil, fmt.Errorf("listing mailboxes: %w", err)
	}
	return collect(rows, func(rows *sql.Rows) (admin.Mailbox, error) { return scanMailbox(rows) })
}

// Count is the number of mailboxes that are not Closed.
func (d *Directory) Count(ctx context.Context) (n int, err error) {
	if err := d.db.QueryRowContext(ctx, `SELECT count(*) FROM mailbox WHERE access <> 'Closed'`).Scan(&n); err != nil {
		return 0, fmt.Errorf("counting mailboxes: %w", err)
	}
	return n, nil
}

// PutCertified makes the list of certified domains (those of the providers' index) what is given. Postfix asks it before it
// sends: to these it goes encrypted or not at all.
func (d *Directory) PutCertified(ctx context.Context, domains []string) error {
	rows, err := d.db.QueryContext(ctx, `SELECT name FROM certified_domain`)
	if err != nil {
		return fmt.Errorf("listing certified domains: %w", err)
	}
	stored, err := collect(rows, func(rows *sql.Rows) (name string, err error) { return name, rows.Scan(&name) })
	if err != nil {
		return fmt.Errorf("listing certified domains: %w", err)
	}
	tx, err := d.db.begin(ctx)
	if err != nil {
		return fmt.Errorf("storing certified domains: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it has nothing to do
	wanted := map[string]bool{}
	for _, name := range domains {
		wanted[strings.ToLower(name)] = true
	}
	for _, name := range stored {
		if !wanted[name] {
			_, err = tx.ExecContext(ctx, `DELETE FROM certified_domain WHERE name = ?`, name)
		}
		if err != nil {
			return fmt.Errorf("storing certified domains: %w", err)
		}
		delete(wanted, name)
	}
	for name := range wanted {
		if _, err := tx.ExecContext(ctx, `INSERT INTO certified_domain (name) VALUES (?)`, name); err != nil {
			return fmt.Errorf("storing certified domain %s: %w", name, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("storing certified domains: %w", err)
	}
	return nil
}

// PutPeer stores where the other site's engine is and whom to trust there; the zero Peer is nowhere and nobody.
func (d *Directory) PutPeer(ctx context.Context, p admin.Peer) error {
	_, err := d.db.ExecContext(ctx, `INSERT INTO peer (one, site, address, ca_bundle) VALUES (1, ?1, ?2, ?3)
		ON CONFLICT (one) DO UPDATE SET site = ?1, address = ?2, ca_bundle = ?3`, p.Site, p.Address, p.CABundle)
	if err != nil {
		return fmt.Errorf("storing the peer: %w", err)
	}
	return nil
}

// Peer reads the peer. isTold is false of a directory that was told of none, not even that there is nobody: it is new, or its former one was lost.
func (d *Directory) Peer(ctx context.Context) (p admin.Peer, isTold bool, err error) {
	err = d.db.QueryRowContext(ctx, `SELECT site, address, ca_bundle FROM peer`).Scan(&p.Site, &p.Address, &p.CABundle)
	if errors.Is(err, sql.ErrNoRows) {
		return p, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("reading the peer: %w", err)
	}
	return p, true, nil
}

// foundOne is admin.ErrNotFound unless a statement changed one row.
func foundOne(result sql.Result, address string) error {
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return fmt.Errorf("mailbox %s: %w", address, admin.ErrNotFound)
}

func collect[T any](rows *sql.Rows, scan func(*sql.Rows) (T, error)) ([]T, error) {
	defer func() { _ = rows.Close() }()
	list := []T{}
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("reading the directory: %w", err)
		}
		list = append(list, item)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading the directory: %w", err)
	}
	return list, nil
}
