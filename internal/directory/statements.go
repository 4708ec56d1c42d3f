package directory

import (
	"context"
	"database/sql"
	"fmt"
)

// The queries of every placing, every reading of one mailbox and every delivery.
const (
	readMailbox = `SELECT ` + mailboxColumns + ` FROM mailbox WHERE address = ?`
	readEntry   = entryQuery + ` WHERE address = ?`
	readGiven   = `SELECT given FROM mailbox WHERE address = ?`
	countDomain = `SELECT count(*) FROM domain WHERE name = ?`
	storeGiven  = `UPDATE mailbox SET given = ? WHERE address = ?`
	storeEnding = `INSERT INTO ending (address, change, reopened) VALUES (?, random(), ?) ON CONFLICT (address) DO UPDATE SET
		change = excluded.change, reopened = coalesce(nullif(excluded.reopened, 0), reopened)`
	// The next opening asks anew whether the other site has seen to the script.
	dropEndedThere   = `UPDATE ending SET reopened = 0 WHERE address = ? AND reopened = ?`
	readFormerScript = `SELECT coalesce(max(reopened), 0) FROM ending WHERE address = ?`
	// storeMailbox forgets that the holder chose the password when it gets another.
	storeMailbox = `INSERT INTO mailbox (address, domain, password, credentials_version, quota_bytes, access,
		sending_refused, admitted_as, owner_namespace, owner_uid, closed_at, ordinary_mail, forward_to, frozen_until, admitted_in, shard, restored, given)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, coalesce(?18, '{}')) ON CONFLICT (address) DO UPDATE SET
		password = CASE WHEN ?3 = '' THEN password ELSE ?3 END, credentials_version = ?4, quota_bytes = ?5, access = ?6,
		sending_refused = ?7, admitted_as = ?8, owner_namespace = ?9, owner_uid = ?10, closed_at = ?11, ordinary_mail = ?12, forward_to = ?13,
		frozen_until = ?14, admitted_in = ?15, shard = ?16, restored = ?17, given = coalesce(?18, given),
		password_changed = CASE WHEN ?3 = '' THEN password_changed ELSE 0 END`
)

// database compiles the queries above once: compiling them each time was a quarter of what ten thousand new mailboxes cost the engine.
type database struct {
	*sql.DB
	compiled map[string]*sql.Stmt
}

// transaction is one of a database, with its compiled queries.
type transaction struct {
	*sql.Tx
	compiled map[string]*sql.Stmt
}

// compile is called once, when the schema is there.
func (d *database) compile(ctx context.Context) error {
	d.compiled = map[string]*sql.Stmt{}
	for _, query := range []string{readMailbox, readEntry, readGiven, countDomain, storeGiven, storeEnding, dropEndedThere, readFormerScript, storeMailbox} {
		statement, err := d.PrepareContext(ctx, query)
		if err != nil {
			return fmt.Errorf("compiling %q for the directory: %w", query, err)
		}
		d.compiled[query] = statement
	}
	return nil
}

// QueryRowContext is sql.DB's.
func (d *database) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if statement := d.compiled[query]; statement != nil {
		return statement.QueryRowContext(ctx, args...)
	}
	return d.DB.QueryRowContext(ctx, query, args...)
}

// begin begins a transaction.
func (d *database) begin(ctx context.Context) (*transaction, error) {
	tx, err := d.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &transaction{tx, d.compiled}, nil
}

// QueryRowContext is sql.Tx's.
func (t *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if statement := t.compiled[query]; statement != nil {
		return t.StmtContext(ctx, statement).QueryRowContext(ctx, args...)
	}
	return t.Tx.QueryRowContext(ctx, query, args...)
}

// ExecContext is sql.Tx's.
func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if statement := t.compiled[query]; statement != nil {
		return t.StmtContext(ctx, statement).ExecContext(ctx, args...)
	}
	return t.Tx.ExecContext(ctx, query, args...)
}
