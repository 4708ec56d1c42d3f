package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/durable"
	"github.com/pec-operator/pec-operator/internal/sieve"
)

// choice is one change that a holder made, as the log has it. Of two changes of one setting the later counts, and of two at one
// instant that of the site whose name sorts last: whoever has the records of both sites, in whatever order, has the same settings.
type choice struct {
	Address string       `json:"address"`
	Setting admin.Choice `json:"setting"`
	At      time.Time    `json:"at"`
	Site    string       `json:"site"`
	Client  string       `json:"client"` // the address that asked
	// Withdrawn gives the setting back to what the resource says.
	Withdrawn     bool                 `json:"withdrawn,omitempty"`
	Password      string               `json:"password,omitempty"` // the hash
	OrdinaryMail  *admin.Ordinary      `json:"ordinaryMail,omitempty"`
	Notifications *admin.Notifications `json:"notifications,omitempty"`
	Rules         []admin.Rule         `json:"rules,omitempty"`
	Antispam      admin.Antispam       `json:"antispam,omitempty"`
}

func (c choice) key() string {
	return strings.Join([]string{c.Address, string(c.Setting), c.At.UTC().Format(time.RFC3339Nano), c.Site}, " ")
}

func (c choice) after(other choice) bool {
	return c.At.After(other.At) || c.At.Equal(other.At) && c.Site > other.Site
}

// placement is when a site first had a password from a Secret.
type placement struct {
	Address string    `json:"address"`
	Version string    `json:"version"`
	At      time.Time `json:"at"`
	// Password is the hash, which comes back into force when it is seen later that the Secret counts and not the holder's choice.
	Password string `json:"password,omitempty"`
}

func placementKey(address, version string) string { return address + " " + version }

// holders are what the log says of holders: a view of it, read at start.
type holders struct {
	mu      sync.Mutex
	choices map[string]map[admin.Choice]choice
	// secrets are the last passwords from a Secret, by mailbox and site.
	secrets map[string]map[string]placement
	// formerUntil is until when what holders of an address chose is a former holder's (standings.formerUntil).
	formerUntil func(address string) time.Time
	// verdicts are what the sites found last when they compared them, by mailbox and site.
	verdicts map[string]map[string]compared
}

func newHolders(formerUntil func(address string) time.Time) *holders {
	return &holders{
		choices:     map[string]map[admin.Choice]choice{},
		secrets:     map[string]map[string]placement{},
		formerUntil: formerUntil,
		verdicts:    map[string]map[string]compared{},
	}
}

// addChoice adds a choice, of this site or the other.
func (h *holders) addChoice(c choice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	mine := h.choices[c.Address]
	if mine == nil {
		mine = map[admin.Choice]choice{}
		h.choices[c.Address] = mine
	}
	if last, ok := mine[c.Setting]; !ok || c.after(last) {
		mine[c.Setting] = c
	}
}

// of is the last choice of one setting of a mailbox, if it was made since the mailbox was last closed: whoever gets the address
// after that gets nothing of what the former holder chose. The log says when that was also where the row does not: the other site
// closed it, or the row is new because the directory was lost.
func (h *holders) of(row admin.Mailbox, setting admin.Choice) (choice, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.choices[row.Address][setting]
	return c, ok && !c.Withdrawn && c.At.After(latest(row.ClosedAt, h.formerUntil(row.Address)))
}

// isFormers says whether the last choice of one setting is a former holder's.
func (h *holders) isFormers(row admin.Mailbox, setting admin.Choice) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.choices[row.Address][setting]
	return ok && !c.At.After(latest(row.ClosedAt, h.formerUntil(row.Address)))
}

// addPlacement adds a Secret's password that a site had.
func (h *holders) addPlacement(site string, p placement) {
	h.mu.Lock()
	defer h.mu.Unlock()
	mine := h.secrets[p.Address]
	if mine == nil {
		mine = map[string]placement{}
		h.secrets[p.Address] = mine
	}
	if last, ok := mine[site]; !ok || p.At.After(last.At) {
		mine[site] = p
	}
}

// secret is the last password from the Secret that a site had, the zero placement if it had none.
func (h *holders) secret(address, site string) placement {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.secrets[address][site]
}

// placedAtBoth is since when this site and its peer both had a password from the Secret; since when this one had, where the peer lacks the
// mailbox. A site that comes back, or
// is built anew, reads the Secret later than the holder may have chosen: that alone is no edit, and brings no old password back. A site
// that was given up reads none any more, and is not asked: its last one would count for ever. Pure.
func placedAtBoth(own, peer placement) time.Time {
	if !peer.At.IsZero() && peer.At.Before(own.At) {
		return peer.At
	}
	return own.At
}

// instant is a time for the next choice or Secret of a mailbox: now, or just after what it has to come after, if the clock went back.
func (h *holders) instant(address string, now time.Time, after ...time.Time) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	after = append(after, h.formerUntil(address))
	for _, c := range h.choices[address] {
		after = append(after, c.At)
	}
	at := now.UTC()
	for _, t := range after {
		if !at.After(t) {
			at = t.UTC().Add(time.Nanosecond)
		}
	}
	return at
}

// derive makes a mailbox's password and rules what the resource and the holder's choices say. A mailbox that is not there is
// derived when it comes. Sessions that another password leaves with rights of before are the caller's to end.
func (e *Engine) derive(ctx context.Context, address string) error {
	defer e.rowDigests.touch(address)
	defer e.arrivals.settingsChanged(address)
	defer e.locks.lock("holder " + address)()
	entry, err := e.directory.Entry(ctx, address)
	if errors.Is(err, admin.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := e.derivePassword(ctx, entry.Mailbox); err != nil {
		return err
	}
	return e.writeRules(entry.Address, e.holderOf(entry.Mailbox, entry.Given).InForce.Rules)
}

// deriveOrLater is derive, again in a minute if it fails: what the log says acts without anybody's asking for it once more.
func (e *Engine) deriveOrLater(ctx context.Context, address string) error {
	err := e.derive(ctx, address)
	if err != nil {
		e.later.add(address)
	}
	return err
}

// deriveSoon is deriveOrLater where nobody waits for the answer.
func (e *Engine) deriveSoon(ctx context.Context, address string) {
	if err := e.deriveOrLater(ctx, address); err != nil {
		e.log.Error("deriving a mailbox's settings; it is tried again", "mailbox", address, "error", err)
	}
}

// passwordInForce is the password that counts. The holder's counts if he chose it after both sites had one from the Secret, or, while the other
// site is silent, after this one had. undecided says that these two rules differ now: it is asked again when the other site is heard, or
// falls silent. Pure.
func passwordInForce(c choice, secret placement, atBoth time.Time, speaks bool) (hash string, byHolder, undecided bool) {
	undecided = c.At.After(atBoth) != c.At.After(secret.At)
	since := atBoth
	if !speaks {
		since = secret.At
	}
	if c.At.After(since) {
		return c.Password, true, undecided
	}
	return secret.Password, false, undecided
}

// derivePassword puts the password into the directory that is in force. The Secret's is put back only where the holder's is: otherwise it
// is there, as the operator placed it.
func (e *Engine) derivePassword(ctx context.Context, row admin.Mailbox) error {
	defer e.choosing(row.Address)()
	c, ok := e.holders.of(row, admin.ChoicePassword)
	if !ok {
		if !e.holders.isFormers(row, admin.ChoicePassword) {
			return nil
		}
		c = choice{}
	}
	peer, _, err := e.directory.Peer(ctx)
	if err != nil {
		return err
	}
	secret := e.holders.secret(row.Address, e.settings.Site)
	since := placedAtBoth(secret, e.holders.secret(row.Address, peer.Site))
	hash, byHolder, undecided := passwordInForce(c, secret, since, e.replica.speaks(e.now()))
	if undecided {
		e.later.add(row.Address)
	}
	if !byHolder {
		if !row.PasswordChangedByHolder || hash == "" {
			return nil
		}
		return e.replaced(row.Address, e.directory.ResetPassword(ctx, row.Address, hash))
	}
	if now, err := e.directory.Password(ctx, row.Address); err != nil || now == hash {
		return err
	}
	return e.replaced(row.Address, e.directory.SetPassword(ctx, row.Address, hash))
}

// replaced notes that a mailbox has another password, unless it could not be stored.
func (e *Engine) replaced(address string, err error) error {
	if err == nil {
		e.logins.change(address)
	}
	return err
}

// noteSecret records when a Secret's password came here first: a retry, or a directory that was lost, must not make it newer than what
// the holder chose since.
func (e *Engine) noteSecret(m admin.Mailbox) error {
	if m.Password == "" {
		return nil
	}
	p := placement{Address: fold(m.Address), Version: m.CredentialsVersion, At: e.holders.instant(fold(m.Address), e.now()), Password: m.Password}
	_, err := e.record(kindPlacement, placementKey(p.Address, p.Version), "", &p)
	if err == nil {
		e.holders.addPlacement(e.settings.Site, p)
	}
	return err
}

// choose records a holder's choice and makes it act, if he may choose in the mailbox as it is; what it returns after is on disk. Once
// recorded it acts, also for a holder who hung up or was told that it cannot be done now.
func (e *Engine) choose(ctx context.Context, c choice, may func(admin.Mailbox) error) error {
	c.Address, c.Site = fold(c.Address), e.settings.Site
	if err := e.recordChoice(ctx, c, may); err != nil {
		return err
	}
	return e.deriveOrLater(context.WithoutCancel(ctx), c.Address)
}

func (e *Engine) recordChoice(ctx context.Context, c choice, may func(admin.Mailbox) error) error {
	defer e.choosing(c.Address)()
	row, err := e.directory.Mailbox(ctx, c.Address)
	if err == nil {
		err = may(row)
	}
	if err != nil {
		return err
	}
	secret := e.holders.secret(row.Address, e.settings.Site)
	c.At = e.holders.instant(c.Address, e.now(), secret.At, row.ClosedAt)
	if _, err := e.record(kindChoice, c.key(), "", &c); err != nil {
		return err
	}
	e.holders.addChoice(c)
	return nil
}

// choosing keeps what a choice depends on as it is, while one is made: whether it may be made, and what it has to come after. Who
// changes that waits here too.
func (e *Engine) choosing(address string) (done func()) { return e.locks.lock("choice " + address) }

// holder is a mailbox as its holder has it.
func (e *Engine) holder(ctx context.Context, row admin.Mailbox) (admin.Holder, error) {
	given, err := e.directory.Given(ctx, row.Address)
	if err != nil {
		return admin.Holder{}, err
	}
	return e.holderOf(row, given), nil
}

// holderOf is holder of one who is given that.
func (e *Engine) holderOf(row admin.Mailbox, given admin.Given) admin.Holder {
	h := admin.Holder{
		Given: given, SentToday: e.sentToday.of(row.Address, dayOf(e.now())), Secrets: e.holders.secretsOf(row.Address, e.settings.Site),
		InForce: admin.InForce{
			OrdinaryMail: admin.Ordinary{Policy: row.OrdinaryMail, ForwardTo: row.ForwardTo}, Notifications: given.Notifications, Rules: given.Rules, Antispam: given.Antispam,
		},
	}
	for _, setting := range choices {
		counts := slices.Contains(given.MayChange, setting)
		if setting == admin.ChoicePassword {
			counts = row.PasswordChangedByHolder
		}
		if c, ok := e.holders.of(row, setting); ok && counts && c.act(&h) {
			h.Changed = append(h.Changed, setting)
		}
	}
	slices.Sort(h.Changed)
	return h
}

// act puts what was chosen in force; false if the record does not say what.
func (c choice) act(h *admin.Holder) bool {
	switch {
	case c.Setting == admin.ChoicePassword:
		h.PasswordChangedAt = c.At
	case c.Setting == admin.ChoiceOrdinaryMail && c.OrdinaryMail != nil:
		h.InForce.OrdinaryMail = *c.OrdinaryMail
	case c.Setting == admin.ChoiceNotifications && c.Notifications != nil:
		h.InForce.Notifications = *c.Notifications
	case c.Setting == admin.ChoiceRules:
		h.InForce.Rules = c.Rules
	case c.Setting == admin.ChoiceAntispam:
		h.InForce.Antispam = c.Antispam
	default:
		return false
	}
	return true
}

func (e *Engine) rulesPath(name string) string {
	return filepath.Join(e.settings.Files.State, directoryDir, sieve.Dir, name)
}

// prepareRules places the script that keeps what other scripts would drop.
func (e *Engine) prepareRules() error {
	return writeIfChanged(e.rulesPath(sieve.KeptFile), []byte(sieve.Kept))
}

// removeFlatRules removes the scripts that a release before this one named after the whole address; load has just written them anew
// where Dovecot looks now.
func (e *Engine) removeFlatRules() error {
	paths, err := filepath.Glob(e.rulesPath("?*@*" + sieve.Suffix))
	for _, path := range paths {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return fmt.Errorf("removing the rules of an earlier release: %w", err)
	}
	return nil
}

// writeRules places a mailbox's script for Dovecot, which reads it at the next delivery.
func (e *Engine) writeRules(address string, rules []admin.Rule) error {
	script, err := sieve.Render(rules)
	if err != nil {
		return fmt.Errorf("writing the rules of %s: %w", address, err)
	}
	path := e.rulesPath(sieve.Path(address))
	if script == "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing the rules of %s: %w", address, err)
		}
		return nil
	}
	return writeIfChanged(path, []byte(script))
}

// writeIfChanged gives a file its content at once, unless it has it. The readers run as another user.
func writeIfChanged(path string, content []byte) error {
	if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, content) {
		return nil
	}
	return durable.Write(path, content, 0o644)
}
