package engine

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/password"
	"github.com/pec-operator/pec-operator/internal/sieve"
)

var choices = []admin.Choice{admin.ChoicePassword, admin.ChoiceOrdinaryMail, admin.ChoiceNotifications, admin.ChoiceRules, admin.ChoiceAntispam}

func checkGiven(h admin.Given) error {
	for _, c := range h.MayChange {
		if !slices.Contains(choices, c) {
			return fmt.Errorf("no setting of a holder: %q", c)
		}
	}
	if h.Antispam != "" && !isAntispam(h.Antispam) {
		return fmt.Errorf("antispam must be %s or %s", admin.AntispamEnabled, admin.AntispamDisabled)
	}
	if h.MessagesPerDay < 0 || h.RecipientsPerMessage < 0 {
		return errors.New("a limit is not below zero")
	}
	return errors.Join(sieve.Check(h.Rules), checkNotifications(h.Notifications))
}

func isAntispam(a admin.Antispam) bool {
	return a == admin.AntispamEnabled || a == admin.AntispamDisabled
}

const maxNotified = 10

func checkNotifications(n admin.Notifications) error {
	switch {
	case len(n.Addresses) > maxNotified:
		return fmt.Errorf("notifications go to %d addresses at most", maxNotified)
	case n.Frequency != "" && n.Frequency != admin.EachMessage && n.Frequency != admin.Daily:
		return fmt.Errorf("frequency must be %s or %s", admin.EachMessage, admin.Daily)
	}
	for _, address := range n.Addresses {
		if !ordinaryForm.MatchString(address) {
			return fmt.Errorf("%q is no mail address with a domain in lower case", address)
		}
	}
	return nil
}

// denial is an answer to a holder: what is wrong in one word for programs and in a sentence for people.
type denial struct {
	status  int
	Code    string `json:"code"`
	Message string `json:"message"`
	wait    time.Duration
}

func (d denial) Error() string { return d.Message }

func invalid(message string) error {
	return denial{status: http.StatusUnprocessableEntity, Code: "invalid", Message: message}
}

const (
	// maxHolderBody bounds a holder's request, in bytes; 32 rules of the longest texts are a half of it.
	maxHolderBody = 64 << 10
	realm         = `Basic realm="mailbox", charset="UTF-8"`
)

// session is a holder who logged in, for one request.
type session struct {
	*http.Request
	row    admin.Mailbox
	client string
	secret []byte // the password he logged in with
	hash   string // and what it was checked with
}

// holderServer is the API of the mailboxes' holders (docs/holder.md).
func (e *Engine) holderServer() *http.Server {
	mux := http.NewServeMux()
	handle := func(pattern string, answer func(session) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxHolderBody)
			s, err := e.login(r)
			var result any
			if err == nil {
				result, err = answer(s)
			}
			e.answerHolder(w, r, result, err)
		})
	}
	handle("GET /v1/settings", func(s session) (any, error) { return e.settingsOf(s.Context(), s.row.Address) })
	handle("PUT /v1/settings/password", e.choosePassword)
	handle("PUT /v1/settings/ordinary-mail", e.chooseOrdinaryMail)
	handle("DELETE /v1/settings/ordinary-mail", e.withdraw(admin.ChoiceOrdinaryMail))
	handle("PUT /v1/settings/notifications", e.chooseNotifications)
	handle("PUT /v1/settings/rules", e.chooseRules)
	handle("PUT /v1/settings/antispam", e.chooseAntispam)
	handle("DELETE /v1/settings/antispam", e.withdraw(admin.ChoiceAntispam))
	handle("DELETE /v1/settings/notifications", e.withdraw(admin.ChoiceNotifications))
	handle("DELETE /v1/settings/rules", e.withdraw(admin.ChoiceRules))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		e.answerHolder(w, r, nil, denial{status: http.StatusNotFound, Code: "not-found", Message: "there is nothing here; the documentation lists what there is"})
	})
	return &http.Server{
		Handler: mux, ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := e.holderTLS.Get()
			if pair == nil {
				return nil, err
			}
			return pair, nil
		}},
	}
}

func (e *Engine) answerHolder(w http.ResponseWriter, r *http.Request, result any, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err == nil {
		if err := json.NewEncoder(w).Encode(result); err != nil {
			e.log.Warn("answering a holder", "path", r.URL.Path, "error", err)
		}
		return
	}
	var said denial
	if !errors.As(err, &said) {
		e.log.Error("answering a holder", "path", r.URL.Path, "error", err)
		said = denial{status: http.StatusServiceUnavailable, Code: "unavailable", Message: "this cannot be done now; nothing is lost, please try again later", wait: time.Minute}
	}
	if said.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", realm)
	}
	if said.wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(said.wait/time.Second)+1))
	}
	w.WriteHeader(said.status)
	_ = json.NewEncoder(w).Encode(map[string]denial{"error": said}) // a client that is gone needs no answer
}

// loginRecord is a try to log in that was checked.
type loginRecord struct {
	Address string `json:"address"`
	Client  string `json:"client"`
	Request string `json:"request"`
	Outcome string `json:"outcome"`
}

// noPassword is a hash that nothing matches: whether a mailbox exists must not show in how long the answer takes.
const noPassword = "{BLF-CRYPT}$2y$12$N7DbUhgP3eRL2kSpgJGQzOfA3M9j8TXrbmGX2sxJNwCAQ4iSkFqQq"

// login finds out who asks. The tries that were checked are in the evidence; of those beyond the bounds, of which there is no end, the
// engine's own log has one line for each time in which a try comes back.
func (e *Engine) login(r *http.Request) (session, error) {
	client, _, _ := net.SplitHostPort(r.RemoteAddr)
	user, secret, given := r.BasicAuth()
	address := fold(user)
	if !given || len(address) > 254 || !ordinaryForm.MatchString(address) {
		return session{}, denial{status: http.StatusUnauthorized, Code: "login-required", Message: "log in with the mailbox's address and its password (HTTP Basic)"}
	}
	for _, asks := range []func(address, client string, now time.Time) tryVerdict{e.gate.takeAPITry, e.gate.mayCheck} {
		if refused := asks(address, client, e.now()); refused.wait > 0 {
			e.countRefusedLogin("api", address, client, refused)
			e.metrics.logins.WithLabelValues("limited").Inc()
			return session{}, denial{status: http.StatusTooManyRequests, Code: "too-many-tries", Message: "too many tries; wait before the next one", wait: refused.wait}
		}
	}
	row, hash, outcome, err := e.checkLogin(r.Context(), address, []byte(secret))
	e.gate.checked(address, client, outcome, e.now())
	if err != nil {
		return session{}, err
	}
	at := e.now().UTC()
	record := loginRecord{Address: address, Client: client, Request: r.Method + " " + r.URL.Path, Outcome: outcome}
	records, _ := e.evidence.Head()
	if _, err := e.record(kindLogin, fmt.Sprintf("%s %s %s %d", address, client, at.Format(time.RFC3339Nano), records), "", &record); err != nil {
		return session{}, err
	}
	e.metrics.logins.WithLabelValues(outcome).Inc()
	switch outcome {
	case loginWrong:
		return session{}, errWrongCredentials
	case loginClosed:
		return session{}, errSuspended
	}
	return session{Request: r, row: row, client: client, secret: []byte(secret), hash: hash}, nil
}

var (
	errWrongCredentials = denial{status: http.StatusUnauthorized, Code: "wrong-credentials", Message: "the address or the password is wrong"}
	errSuspended        = denial{status: http.StatusForbidden, Code: "mailbox-suspended", Message: "the mailbox is suspended or closed; ask who manages your domain"}
)

// The outcomes of a login.
const (
	loginGood   = "good"
	loginWrong  = "wrong"
	loginClosed = "closed"
)

func (e *Engine) checkLogin(ctx context.Context, address string, secret []byte) (row admin.Mailbox, hash, outcome string, err error) {
	select {
	case e.gate.checks <- struct{}{}:
		defer func() { <-e.gate.checks }()
	case <-ctx.Done():
		return row, "", "", fmt.Errorf("checking a login: %w", ctx.Err())
	}
	row, err = e.directory.Mailbox(ctx, address)
	if err := e.notYet(ctx, address, row, err); err != nil {
		return row, "", "", err
	}
	unknown := errors.Is(err, admin.ErrNotFound)
	if err != nil && !unknown {
		return row, "", "", err
	}
	hash = noPassword
	if !unknown {
		if hash, err = e.directory.Password(ctx, address); err != nil {
			return row, "", "", err
		}
	}
	matches, err := password.Matches(hash, secret)
	switch {
	case err != nil:
		return row, "", "", fmt.Errorf("checking the password of %s: %w", address, err)
	case unknown || !matches:
		return row, hash, loginWrong, nil
	case isShut(row):
		return row, hash, loginClosed, nil
	}
	return row, hash, loginGood, nil
}

// isShut says whether a mailbox lets nobody in.
func isShut(row admin.Mailbox) bool {
	return row.Access == admin.AccessSuspended || row.Access == admin.AccessClosed
}

// holderSettings is what a holder sees.
type holderSettings struct {
	Address       string              `json:"address"`
	MayChange     []admin.Choice      `json:"mayChange"`
	Changed       []admin.Choice      `json:"changed"`
	OrdinaryMail  admin.Ordinary      `json:"ordinaryMail"`
	Notifications admin.Notifications `json:"notifications"`
	Rules         []admin.Rule        `json:"rules"`
	Antispam      admin.Antispam      `json:"antispam"`
	Sending       holderSending       `json:"sending"`
	Password      holderPassword      `json:"password"`
	// FrozenUntil is when something can be changed again, while nothing can.
	FrozenUntil time.Time `json:"frozenUntil,omitzero"`
}

type holderSending struct {
	MessagesPerDay       int `json:"messagesPerDay,omitempty"`
	RecipientsPerMessage int `json:"recipientsPerMessage"`
	SentToday            int `json:"sentToday"`
}

type holderPassword struct {
	MustChange bool      `json:"mustChange"`
	ChangedAt  time.Time `json:"changedAt,omitzero"`
}

func (e *Engine) settingsOf(ctx context.Context, address string) (holderSettings, error) {
	row, err := e.directory.Mailbox(ctx, address)
	if err != nil {
		return holderSettings{}, err
	}
	h, err := e.holder(ctx, row)
	if err != nil {
		return holderSettings{}, err
	}
	limit := e.settings.Limits.MaxRecipients
	if h.Given.RecipientsPerMessage > 0 {
		limit = min(limit, h.Given.RecipientsPerMessage)
	}
	frozen := row.FrozenUntil
	if !frozen.After(e.now()) {
		frozen = time.Time{}
	}
	return holderSettings{
		FrozenUntil: frozen,
		Address:     row.Address, MayChange: append([]admin.Choice{}, h.Given.MayChange...), Changed: append([]admin.Choice{}, h.Changed...),
		OrdinaryMail: h.InForce.OrdinaryMail, Notifications: h.InForce.Notifications, Rules: append([]admin.Rule{}, h.InForce.Rules...),
		Antispam: cmp.Or(h.InForce.Antispam, admin.AntispamDisabled),
		Sending:  holderSending{MessagesPerDay: h.Given.MessagesPerDay, RecipientsPerMessage: limit, SentToday: h.SentToday},
		Password: holderPassword{MustChange: row.SendingRefused == admin.RefusalFirstLogin && !row.PasswordChangedByHolder, ChangedAt: h.PasswordChangedAt},
	}, nil
}

// readBody decodes a holder's request.
func readBody[T any](s session) (T, error) {
	v, err := decodeStrict[T](s.Body)
	if err != nil {
		return v, denial{status: http.StatusBadRequest, Code: "bad-request", Message: "the body is not the JSON that this takes: " + err.Error()}
	}
	return v, nil
}

// may says whether the holder may change a setting. During a Freeze nothing is kept to be done later: a new password that acts weeks
// after it was chosen is one that he has forgotten. The date is in the row, so that it passes also when no operator is there.
func (e *Engine) may(ctx context.Context, row admin.Mailbox, setting admin.Choice) error {
	if left := row.FrozenUntil.Sub(e.now()); left > 0 {
		return denial{status: http.StatusConflict, Code: "frozen", wait: left, Message: fmt.Sprintf(
			"the mailbox is being moved: nothing of it can be changed before %s; nothing was changed now, please do it again then", calendar.Minute(row.FrozenUntil))}
	}
	given, err := e.directory.Given(ctx, row.Address)
	if err == nil && !slices.Contains(given.MayChange, setting) {
		return denial{status: http.StatusForbidden, Code: "not-yours", Message: "who manages your domain keeps this setting; ask there"}
	}
	return err
}

// mayStill says whether one who logged in may change a setting of the mailbox as it is now. A body can be half a minute behind its
// login: who held it back while he was put out would choose the password that counts.
func (e *Engine) mayStill(s session, now admin.Mailbox, setting admin.Choice) error {
	hash, err := e.directory.Password(s.Context(), now.Address)
	switch {
	case err != nil:
		return err
	case hash != s.hash:
		return errWrongCredentials
	case isShut(now):
		return errSuspended
	}
	return e.may(s.Context(), now, setting)
}

// changed records the choice and answers the settings as they are then.
func (e *Engine) changed(s session, c choice) (any, error) {
	c.Address, c.Client = s.row.Address, s.client
	if err := e.choose(s.Context(), c, func(now admin.Mailbox) error { return e.mayStill(s, now, c.Setting) }); err != nil {
		return nil, err
	}
	return e.settingsOf(s.Context(), s.row.Address)
}

func (e *Engine) choosePassword(s session) (any, error) {
	wanted, err := readBody[struct {
		Password string `json:"password"`
	}](s)
	if err != nil {
		return nil, err
	}
	if problem := password.Problem([]byte(wanted.Password)); problem != "" {
		return nil, invalid(problem)
	}
	if strings.ContainsRune(wanted.Password, utf8.RuneError) { // what the decoder makes of an escape of half a character
		return nil, invalid("the password has a character that cannot be read; write it without")
	}
	if wanted.Password == string(s.secret) || strings.EqualFold(wanted.Password, s.row.Address) {
		return nil, invalid("the new password is the one that you have, or your address; choose another")
	}
	if err := e.may(s.Context(), s.row, admin.ChoicePassword); err != nil {
		return nil, err
	}
	hash, err := password.Hash([]byte(wanted.Password), password.Cost)
	if err != nil {
		return nil, fmt.Errorf("hashing the password of %s: %w", s.row.Address, err)
	}
	result, err := e.changed(s, choice{Setting: admin.ChoicePassword, Password: hash})
	if err != nil {
		return nil, err
	}
	e.endSessionsOf(s.Context(), s.row.Address) // the change stands even if that has to be done later
	return result, nil
}

func (e *Engine) chooseOrdinaryMail(s session) (any, error) {
	o, err := readBody[admin.Ordinary](s)
	if err != nil {
		return nil, err
	}
	switch {
	case !slices.Contains([]admin.OrdinaryMail{admin.OrdinaryDiscard, admin.OrdinaryForward, admin.OrdinaryDeliver}, o.Policy):
		return nil, invalid("policy must be Discard, Forward or Deliver")
	case (o.Policy == admin.OrdinaryForward) != (o.ForwardTo != ""):
		return nil, invalid("give forwardTo exactly with policy Forward")
	case o.ForwardTo != "":
		problem, err := e.notOrdinary(s.Context(), o.ForwardTo)
		if err != nil {
			return nil, err
		}
		if problem != "" {
			return nil, invalid(o.ForwardTo + ": " + problem)
		}
	}
	return e.changed(s, choice{Setting: admin.ChoiceOrdinaryMail, OrdinaryMail: &o})
}

func (e *Engine) chooseNotifications(s session) (any, error) {
	n, err := readBody[admin.Notifications](s)
	if err != nil {
		return nil, err
	}
	if err := checkNotifications(n); err != nil {
		return nil, invalid(err.Error())
	}
	for _, address := range n.Addresses {
		problem, err := e.notOrdinary(s.Context(), address)
		if err != nil {
			return nil, err
		}
		if problem != "" {
			return nil, invalid(address + ": " + problem)
		}
	}
	return e.changed(s, choice{Setting: admin.ChoiceNotifications, Notifications: &n})
}

func (e *Engine) chooseRules(s session) (any, error) {
	rules, err := readBody[struct {
		Rules []admin.Rule `json:"rules"`
	}](s)
	if err != nil {
		return nil, err
	}
	if err := sieve.Check(rules.Rules); err != nil {
		return nil, invalid(err.Error())
	}
	return e.changed(s, choice{Setting: admin.ChoiceRules, Rules: rules.Rules})
}

func (e *Engine) chooseAntispam(s session) (any, error) {
	wanted, err := readBody[struct {
		Antispam admin.Antispam `json:"antispam"`
	}](s)
	switch {
	case err != nil:
		return nil, err
	case !isAntispam(wanted.Antispam):
		return nil, invalid("antispam must be Enabled or Disabled")
	case wanted.Antispam == admin.AntispamEnabled && e.settings.Rspamd == "":
		return nil, invalid("no spam filter runs here; ask who manages your domain")
	}
	return e.changed(s, choice{Setting: admin.ChoiceAntispam, Antispam: wanted.Antispam})
}

func (e *Engine) withdraw(setting admin.Choice) func(session) (any, error) {
	return func(s session) (any, error) {
		return e.changed(s, choice{Setting: setting, Withdrawn: true})
	}
}
