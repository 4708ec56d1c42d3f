package engine

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// loginTry is what Dovecot says of a login: before it checks the password, and after. Nothing of the password is in it.
type loginTry struct {
	Login    string `json:"login"`
	Remote   string `json:"remote"` // the client's address; none if nobody connected (doveadm auth test)
	Protocol string `json:"protocol"`
	// The rest is said after.
	Success  bool   `json:"success"`
	FailType string `json:"fail_type"`
	Refused  bool   `json:"policy_reject"`
}

// maxLoginTry bounds what is read of one, in bytes: Dovecot takes lines of a client of up to 8 KiB.
const maxLoginTry = 64 << 10

// loginPolicy answers Dovecot, on loopback, whether it may check a password, and hears what became of it (its auth policy protocol). An
// engine that does not answer keeps nobody from his mail: Dovecot then checks every password.
func (e *Engine) loginPolicy() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		key, err := e.doveadmKey.Get()
		if key == "" {
			e.log.Warn("a login is not bounded: Dovecot's key cannot be read", "error", err)
			http.Error(w, "the key cannot be read", http.StatusServiceUnavailable)
			return
		}
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-API-Key")), []byte(key)) != 1 {
			http.Error(w, "only this pod's Dovecot may ask this", http.StatusUnauthorized)
			return
		}
		var try loginTry
		if err := json.NewDecoder(io.LimitReader(r.Body, maxLoginTry)).Decode(&try); err != nil {
			http.Error(w, "this is no login: "+err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(e.judgeLogin(r.URL.Query().Get("command"), try)) // a Dovecot that is gone needs no answer
	})
	return &http.Server{
		Handler: mux, ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelWarn), MaxHeaderBytes: 16 << 10,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
	}
}

// loginVerdict is an answer to Dovecot: below zero the login is refused, with a sentence to the client.
type loginVerdict struct {
	Status  int    `json:"status"`
	Message string `json:"msg"`
}

func (e *Engine) judgeLogin(command string, try loginTry) loginVerdict {
	if try.Remote == "" {
		return loginVerdict{}
	}
	address := fold(try.Login)
	if len(address) > 254 || !ordinaryForm.MatchString(address) {
		address = "" // no mailbox has that: one bound for all such tries, and a key of bounded length
	}
	if command == "report" {
		if !try.Refused {
			e.gate.checked(address, try.Remote, e.outcomeOf(address, try), e.now())
		}
		return loginVerdict{}
	}
	row, err := e.directory.Mailbox(context.Background(), address)
	if e.notYet(context.Background(), address, row, err) != nil {
		return refuseLogin(try, "this server does not know yet how this mailbox stands: the password was not looked at, try it again later")
	}
	refused := e.gate.mayCheck(address, try.Remote, e.now())
	if refused.wait == 0 {
		return loginVerdict{}
	}
	e.countRefusedLogin(try.Protocol, address, try.Remote, refused)
	return refuseLogin(try, "too many wrong passwords for this mailbox or from this network, or too many at once: this one was not looked at, try it again in some minutes")
}

func refuseLogin(try loginTry, why string) loginVerdict {
	if try.Protocol == "imap" {
		why = "[UNAVAILABLE] " + why // Dovecot takes the code from here; in the other protocols it leaves no place for one
	}
	return loginVerdict{-1, why}
}

// outcomeOf is what became of a password; none if nobody looked at it: where Dovecot knows no account, one that exists lets nobody in at
// that port, and what is given there again and again may well be right.
func (e *Engine) outcomeOf(address string, try loginTry) string {
	switch {
	case try.Success:
		return loginGood
	case try.FailType == "internal", try.FailType == "account" && e.isMailbox(address):
		return ""
	}
	return loginWrong
}

// isMailbox says whether an address is a mailbox's; one that cannot be looked up is bounded as if.
func (e *Engine) isMailbox(address string) bool {
	_, err := e.directory.Mailbox(context.Background(), address)
	return !errors.Is(err, admin.ErrNotFound)
}

// loginDoors are where holders log in, as Dovecot names them, and the API.
var loginDoors = map[string]bool{"imap": true, "pop3": true, "smtp": true, "sieve": true, "api": true}

// countRefusedLogin counts a try that was refused, and says so in the log once in the time in which a try comes back: whoever guesses goes on.
func (e *Engine) countRefusedLogin(door, address, client string, r tryVerdict) {
	if !loginDoors[door] {
		door = "other"
	}
	e.metrics.refusals.WithLabelValues(door).Inc()
	if r.isNews {
		e.log.Warn("logins are refused, unchecked: too many tries", "door", door, "mailbox", address, "client", client, "wait", r.wait.Round(time.Second))
	}
}
