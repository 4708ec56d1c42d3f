// Package admin is the contract between the operator and an engine: the JSON of the engine's admin API and its client.
//
// The API is HTTPS with mutual TLS: the engine shows a certificate of its site's CA, and answers only to one whose URI is
// OperatorURI of the same site, by the same CA. Every PUT is idempotent and durable when it is answered.
//
//	GET  /v1/status                       Status
//	PUT  /v1/domains/{domain}             Domain
//	GET  /v1/digests?known={digest}       Digests; the buckets only when the directory's is another than the one known
//	GET  /v1/placed?bucket={number}...    []Placed, without passwords: the mailboxes of some buckets
//	PUT  /v1/placed                       []Place, answered by []Answer; an empty Password keeps the stored one
//	GET  /v1/mailboxes/{address}/usage    Usage; 404 when unknown
//	PUT  /v1/peer                         Peer; an empty one takes back what was told
//	PUT  /v1/index                        Refresh
//	PUT  /v1/jobs/{namespace}/{name}      Grant
package admin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/mailage"
)

// OperatorURI is the URI in the certificate that the operator of a site shows to the engines of its site.
func OperatorURI(site string) string { return "pec://" + site + "/operator" }

// EngineURI is the URI in the certificate that the engine of a Managed domain shows at a site.
func EngineURI(site, domain string) string { return "pec://" + site + "/engine/" + domain }

// JobURI is the URI in the certificate that a Job shows to the engines of its site; package store is what it may do there.
func JobURI(site, namespace, name string) string { return JobURIs(site) + namespace + "/" + name }

// JobURIs is what every JobURI of a site begins with.
func JobURIs(site string) string { return "pec://" + site + "/job/" }

// Access says what a mailbox's holder may do.
type Access string

// The accesses of a mailbox. Closed is a mailbox whose resource is gone: its mail stays, nobody logs in, nothing is delivered.
const (
	AccessFull      Access = "Full"
	AccessReadOnly  Access = "ReadOnly"
	AccessSuspended Access = "Suspended"
	AccessClosed    Access = "Closed"
)

// OrdinaryMail says what becomes of a mailbox's mail that is not certified.
type OrdinaryMail string

// The policies for ordinary mail. Discard refuses it at the end of DATA, so that its sender is told by its own server.
const (
	OrdinaryDiscard OrdinaryMail = "Discard"
	OrdinaryForward OrdinaryMail = "Forward"
	OrdinaryDeliver OrdinaryMail = "Deliver"
)

// Refusal says by what rule a submission is refused from a mailbox that otherwise has full access.
type Refusal string

// The refusals; "" lets the holder send.
const (
	RefusalFirstLogin Refusal = "FirstLogin" // the holder has not changed the first password yet
	RefusalMigration  Refusal = "Migration"  // the mailbox is moving elsewhere
)

// What the holder of a mailbox that may not send is told: by Postfix as a message begins, and by the engine at its end. A refusal by
// rule is final, because it is no fault of ours. AnswerElsewhere is not final: were mail taken from a domain that is not local, this provider
// would vouch for another's user, and the receipts would go there.
const (
	AnswerElsewhere  = "450 4.7.1 mail of this domain is not handled here now, see its DNS; la posta di questo dominio per ora non si tratta qui"
	AnswerFirstLogin = "550 5.7.1 change your first password before you send; cambiare la prima password per poter inviare"
	AnswerMigration  = "550 5.7.1 this mailbox is moving to another provider and sends no more; casella in migrazione, invio non consentito"
)

// Owner names the Mailbox resource that a row is made from. It is the former one while the row is Closed.
type Owner struct {
	Namespace string `json:"namespace"`
	UID       string `json:"uid"`
}

// Mailbox is one row of the directory. A Closed one is a tombstone: it says whose it was and since when, and its mail is kept.
type Mailbox struct {
	Address string `json:"address"` // lower case
	Domain  string `json:"domain"`
	// Password is a hash with its {SCHEME}; it is never answered.
	Password string `json:"password,omitempty"`
	// CredentialsVersion names the Secret and the version of it that Password was made from, so that it is hashed once.
	CredentialsVersion string `json:"credentialsVersion"`
	QuotaBytes         int64  `json:"quotaBytes"`
	Access             Access `json:"access"`
	// OrdinaryMail is Discard when not given.
	OrdinaryMail OrdinaryMail `json:"ordinaryMail,omitempty"`
	ForwardTo    string       `json:"forwardTo,omitempty"` // exactly with Forward
	// SendingRefused is why nothing may be sent though Access is Full.
	SendingRefused Refusal `json:"sendingRefused,omitempty"`
	// AdmittedAs is the type that the domain's contract counts the mailbox as.
	AdmittedAs string `json:"admittedAs,omitempty"`
	// AdmittedIn is the PECDomain, namespace/name, whose contract counts the mailbox: also while its own domain's resource is not there.
	AdmittedIn string `json:"admittedIn,omitempty"`
	// Shard is the one of its stack that holds its mail; 0 is the first, and the only one in this release.
	Shard int   `json:"shard,omitempty"`
	Owner Owner `json:"owner,omitzero"`
	// ClosedAt is when the mailbox was last closed, in whole seconds; it stays when the mailbox is opened again.
	ClosedAt time.Time `json:"closedAt,omitzero"`
	// FrozenUntil is when a migration's Freeze of the mailbox ends, in whole seconds; until then its holder changes no setting.
	FrozenUntil time.Time `json:"frozenUntil,omitzero"`
	// Restored says that the engine made the row, which is not Closed, again from its log. Nobody has said how the mailbox stands now; who
	// does places it without.
	Restored bool `json:"restored,omitempty"`
	// PasswordChangedByHolder is the engine's own word: no PUT changes it, but a new Password makes it false.
	PasswordChangedByHolder bool `json:"passwordChangedByHolder,omitempty"`
}

// Same says whether the row holds what the operator wants; the password is compared by the version it was made from, and what
// the engine alone says is left out.
func (m Mailbox) Same(other Mailbox) bool {
	if !m.ClosedAt.Equal(other.ClosedAt) || !m.FrozenUntil.Equal(other.FrozenUntil) {
		return false
	}
	m.Password, m.ClosedAt, m.FrozenUntil, m.PasswordChangedByHolder = "", time.Time{}, time.Time{}, false
	other.Password, other.ClosedAt, other.FrozenUntil, other.PasswordChangedByHolder = "", time.Time{}, time.Time{}, false
	m.OrdinaryMail, other.OrdinaryMail = cmp.Or(m.OrdinaryMail, OrdinaryDiscard), cmp.Or(other.OrdinaryMail, OrdinaryDiscard)
	return m == other
}

// Usage is what a mailbox holds, as its quota counts it.
type Usage struct {
	Bytes    int64 `json:"bytes"` // in steps of 1024
	Messages int64 `json:"messages"`
	// Ages is absent until the mailbox was searched, which is done once a day.
	Ages *mailage.Ages `json:"ages,omitempty"`
	// SentInMonth is how many messages of it were accepted for sending in the last mailage.MonthDays days, today among them, at either site.
	SentInMonth int64 `json:"sentInMonth,omitempty"`
}

// Domain is a domain whose mailboxes the stack holds: its own or a hosted one.
type Domain struct {
	Name string `json:"name"`
	// Local says that mail for it is delivered here. Else it goes where the domain's MX says, as that of any stranger's domain; what comes
	// in for it from outside is asked to come again.
	Local bool `json:"local"`
	// MX is the hash of the MX set that last was found to name this stack; "" if none was. The engine only keeps it, for its operator.
	MX string `json:"mx,omitempty"`
}

// Peer is the engine of the same Managed domain at the other site.
type Peer struct {
	Site     string `json:"site"`
	Address  string `json:"address"`  // host:port of its peer link
	CABundle string `json:"caBundle"` // PEM, the other site's CA
}

// Digest tells one peer from another, and from nobody.
func (p Peer) Digest() string {
	return digest(fmt.Appendf(nil, "%q %q %q", p.Site, p.Address, p.CABundle))
}

// Grant lets a Job use the store of some mailboxes for some time. One without addresses takes back what was granted.
type Grant struct {
	Addresses []string `json:"addresses"`
	// Write lets the Job add messages, folders and flags.
	Write bool      `json:"write"`
	Until time.Time `json:"until"`
}

// Status is what the engine says of itself and of its neighbours.
type Status struct {
	Site      string    `json:"site"`
	Domain    string    `json:"domain"`
	Version   string    `json:"version"`
	Mailboxes int       `json:"mailboxes"` // rows that are not Closed
	Domains   []Domain  `json:"domains"`
	Evidence  Evidence  `json:"evidence"`
	Signing   Signing   `json:"signing"`
	Antivirus Antivirus `json:"antivirus"`
	Index     Index     `json:"index"`
	Peer      PeerState `json:"peer"`
	// Incomplete says that the engine's log is new, and nobody said yet that the directory has all mailboxes that it should have: who writes
	// to another address is asked to come again.
	Incomplete bool `json:"incomplete,omitempty"`
	// Replication is how far the event logs and the custody of the two sites are apart.
	Replication Replication `json:"replication,omitzero"`
	Problems    []string    `json:"problems"` // sentences; empty when the engine can do all its work
}

// Evidence is the head of the event log, and how far it is sealed.
type Evidence struct {
	Records uint64 `json:"records"`
	Head    string `json:"head"` // SHA-256 of the last record, hex
	Seals   Seals  `json:"seals"`
}

// Seals are the closed days of the event log. What fails here holds up no mail and is no problem of Status.
type Seals struct {
	Day       string `json:"day,omitempty"`     // of the last seal, on the clocks of Europe/Rome
	Records   uint64 `json:"records,omitempty"` // at its end
	Head      string `json:"head,omitempty"`
	Unsealed  int    `json:"unsealed,omitempty"`  // days that have ended without a seal
	Unstamped int    `json:"unstamped,omitempty"` // seals that wait for their time-stamp
	Stamping  bool   `json:"stamping"`            // there is an authority
	Late      bool   `json:"late,omitempty"`      // something waits for more than a day
	LastError string `json:"lastError,omitempty"`
}

// Signing is the certificate that the engine signs with.
type Signing struct {
	Subject  string    `json:"subject"`
	NotAfter time.Time `json:"notAfter"`
}

// Antivirus is what messages are scanned with.
type Antivirus struct {
	Configured  bool      `json:"configured"`
	Version     string    `json:"version,omitempty"` // of the scanner, as it says itself
	Definitions time.Time `json:"definitions"`       // when they were last refreshed; zero if unknown
	Problem     string    `json:"problem,omitempty"` // why nothing can be scanned now
}

// Index is the copy of the providers' index that was downloaded.
type Index struct {
	Fetched   time.Time `json:"fetched,omitzero"`
	Handled   string    `json:"handled,omitempty"` // the last Refresh that was answered, whatever came of it
	LastError string    `json:"lastError,omitempty"`
	// Unlisted says that the index in force does not list the certificate that this engine signs with: others take its mail for ordinary.
	Unlisted bool `json:"unlisted,omitempty"`
}

// Refresh asks for a download of the index; a token that was handled is not answered again.
type Refresh struct {
	Token string `json:"token"`
}

// PeerState is the peer link as this engine sees it.
type PeerState struct {
	Configured  bool      `json:"configured"`
	Site        string    `json:"site,omitempty"`   // of the Peer that it was told
	Digest      string    `json:"digest,omitempty"` // of what it was told of that, "" before; a backup may hold an older word
	LastSuccess time.Time `json:"lastSuccess"`
	Pending     int       `json:"pending"` // mailboxes that wait to be synced
	LastError   string    `json:"lastError,omitempty"`
	Stores      *Stores   `json:"stores,omitempty"` // nil without a peer, and from an engine of an earlier release
}

// ErrNotFound is answered for a mailbox or domain that the directory does not hold.
var ErrNotFound = errors.New("not in the stack's directory")

// ErrRefused is answered for what the engine does not take as it is: to ask the same again cannot help.
var ErrRefused = errors.New("the engine refuses")

// ErrChanged is answered for a place whose row is not the one that was judged any more: who asked looks again.
var ErrChanged = errors.New("the row has become another since it was judged")

// Client calls one engine.
type Client struct {
	base string
	http *http.Client
}

// NewClient makes a client of the engine at base ("https://host:port"). Each call is bounded to ten seconds, because a
// reconcile that waits for a dead engine would hold up every other mailbox.
func NewClient(base string, tlsConfig *tls.Config) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), http: &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: tlsConfig, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
	}}
}

// Status asks how the engine is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// PutDomain makes the stack hold a domain, and says whether its mail is delivered there.
func (c *Client) PutDomain(ctx context.Context, d Domain) error {
	return c.call(ctx, http.MethodPut, "/v1/domains/"+url.PathEscape(d.Name), d, nil)
}

// Usage asks what a mailbox holds. ErrNotFound if there is no row.
func (c *Client) Usage(ctx context.Context, address string) (Usage, error) {
	var u Usage
	return u, c.call(ctx, http.MethodGet, "/v1/mailboxes/"+url.PathEscape(address)+"/usage", nil, &u)
}

// PutPeer tells the engine where its peer is and whom to trust there; an empty Peer that there is none.
func (c *Client) PutPeer(ctx context.Context, p Peer) error {
	return c.call(ctx, http.MethodPut, "/v1/peer", p, nil)
}

// PutWhole tells the engine that the directory has all mailboxes that it should have (Status.Incomplete).
func (c *Client) PutWhole(ctx context.Context) error {
	return c.call(ctx, http.MethodPut, "/v1/whole", nil, nil)
}

// RefreshIndex asks for a download of the providers' index within a minute.
func (c *Client) RefreshIndex(ctx context.Context, r Refresh) error {
	return c.call(ctx, http.MethodPut, "/v1/index", r, nil)
}

// PutGrant lets the Job of that name use the store as the grant says, instead of as an earlier one said.
func (c *Client) PutGrant(ctx context.Context, namespace, name string, g Grant) error {
	return c.call(ctx, http.MethodPut, "/v1/jobs/"+url.PathEscape(namespace)+"/"+url.PathEscape(name), g, nil)
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("calling engine: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("calling engine: %w", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s %s: %w", method, path, ErrNotFound)
	case resp.StatusCode >= 300:
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		if resp.StatusCode == http.StatusUnprocessableEntity {
			return fmt.Errorf("%w: %s", ErrRefused, strings.TrimSpace(string(text)))
		}
		return fmt.Errorf("engine answered %s to %s %s: %s", resp.Status, method, path, strings.TrimSpace(string(text)))
	case out == nil:
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("decoding the answer to %s %s: %w", method, path, err)
	}
	_, _ = io.Copy(io.Discard, resp.Body) // its last line end: a stream closed before is an error in the engine's log
	return nil
}
