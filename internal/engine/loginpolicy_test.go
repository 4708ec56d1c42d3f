package engine

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/evidence"
)

// asksPolicy says something of a login as Dovecot does.
func (w *world) asksPolicy(key, command, body string) (status int, answer string) {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodPost, "/?command="+command, strings.NewReader(body))
	r.Header.Set("X-API-Key", key)
	recorder := httptest.NewRecorder()
	w.engine.loginPolicy().Handler.ServeHTTP(recorder, r)
	raw, err := io.ReadAll(recorder.Result().Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return recorder.Code, string(raw)
}

const dovecotsKey = "la-chiave-di-dovecot"

func (w *world) givenDovecotsKey() {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(dovecotsKey+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.engine.doveadmKey = newReloading(parseLine, path)
}

func TestLoginPolicy(t *testing.T) {
	const wrong = `{"login":"` + sender + `","remote":"192.0.2.9","protocol":"pop3","fail_type":"credentials","success":false,"policy_reject":false,"pwhash":"","tls":true}`
	for name, c := range map[string]struct {
		report      string // so often said, each time after it was asked, as there are tries of a mailbox
		ask         string
		wantRefused string // the beginning of what the client is told
	}{
		"nothing went before":                  {"", `{"login":"` + sender + `","remote":"192.0.2.9","protocol":"imap"}`, ""},
		"wrong passwords at another port":      {wrong, `{"login":"` + sender + `","remote":"192.0.2.9","protocol":"imap"}`, "[UNAVAILABLE] too many"},
		"at a port whose answers have no code": {wrong, `{"login":"` + sender + `","remote":"192.0.2.9","protocol":"smtp"}`, "too many"},
		"the address in capitals":              {wrong, `{"login":"` + strings.ToUpper(sender) + `","remote":"192.0.2.9","protocol":"sieve"}`, "too many"},
		"another client":                       {wrong, `{"login":"` + sender + `","remote":"192.0.2.10","protocol":"imap"}`, ""},
		"nobody connected":                     {wrong, `{"login":"` + sender + `","remote":"","protocol":"imap"}`, ""},
		"nobody connected, before":             {strings.Replace(wrong, "192.0.2.9", "", 1), `{"login":"` + sender + `","remote":"192.0.2.9","protocol":"imap"}`, ""},
		"a mailbox that does not exist": {
			strings.Replace(strings.Replace(wrong, sender, "nessuno@"+ours, 1), "credentials", "account", 1), `{"login":"nessuno@` + ours + `","remote":"192.0.2.9","protocol":"imap"}`, "[UNAVAILABLE] too many",
		},
		"a port that lets nobody into the mailbox": {strings.Replace(wrong, "credentials", "account", 1), `{"login":"` + sender + `","remote":"192.0.2.9","protocol":"imap"}`, ""},
		"a name that is no address":                {strings.Replace(wrong, sender, "' OR 1", 1), `{"login":"` + strings.Repeat("x", 2000) + `","remote":"192.0.2.9","protocol":"imap"}`, "[UNAVAILABLE] too many"},
		"the directory was away":                   {strings.Replace(wrong, "credentials", "internal", 1), `{"login":"` + sender + `","remote":"192.0.2.9","protocol":"imap"}`, ""},
		"the tries had been refused":               {strings.Replace(wrong, `"policy_reject":false`, `"policy_reject":true`, 1), `{"login":"` + sender + `","remote":"192.0.2.9","protocol":"imap"}`, ""},
		"the passwords were right":                 {strings.Replace(wrong, `"success":false`, `"success":true`, 1), `{"login":"` + sender + `","remote":"192.0.2.9","protocol":"imap"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := givenWorld(t)
			w.givenDovecotsKey()
			for range triesPerPair {
				if c.report == "" {
					break
				}
				w.asksPolicy(dovecotsKey, "allow", c.report)
				if status, answer := w.asksPolicy(dovecotsKey, "report", c.report); status != http.StatusOK {
					t.Fatalf("a report is answered %d %s", status, answer)
				}
			}
			status, answer := w.asksPolicy(dovecotsKey, "allow", c.ask)
			var got loginVerdict
			if err := json.Unmarshal([]byte(answer), &got); err != nil || status != http.StatusOK {
				t.Fatalf("answered %d %s", status, answer)
			}
			if (got.Status < 0) != (c.wantRefused != "") || !strings.HasPrefix(got.Message, c.wantRefused) {
				t.Errorf("answered %+v, want %q", got, c.wantRefused)
			}
			counted := httptest.NewRecorder()
			w.engine.healthServer().Handler.ServeHTTP(counted, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
			if strings.Contains(counted.Body.String(), "pec_engine_logins_refused_total{") != (c.wantRefused != "") {
				t.Errorf("refused %q, and the metrics are\n%s", c.wantRefused, counted.Body)
			}
		})
	}
}

// Who logs in before it can be known how his mailbox stands is not told that he errs, and nothing says so of him afterwards.
func TestNobodyIsToldThatHisPasswordIsWrongBeforeHisMailboxIsKnown(t *testing.T) {
	const address = "nuova@" + ours
	here := func(t *testing.T, lose func(*world)) *world {
		w := newWorld(t)
		w.put(address, "s/1", first, admin.AccessFull)
		w.alone = true
		lose(w)
		return w
	}
	for name, given := range map[string]func(t *testing.T) *world{
		"the volume is new":      func(t *testing.T) *world { return here(t, (*world).rebuildAlone) },
		"the directory was lost": func(t *testing.T) *world { return here(t, (*world).loseDirectory) },
		"its row was made again from the log": func(t *testing.T) *world {
			return here(t, func(w *world) {
				w.change(address, func(row *admin.Mailbox) { row.Access, row.Restored = admin.AccessSuspended, true })
			})
		},
		"it is open at the other site": func(t *testing.T) *world {
			a, b := newTwins(t)
			b.put(address, "s/1", first, admin.AccessFull)
			agree(t, a, b)
			return a.world
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := given(t)
			w.givenDovecotsKey()
			const login = `{"login":"` + address + `","remote":"192.0.2.9","protocol":"imap","fail_type":"policy","policy_reject":true}`
			for range triesPerAddress {
				if _, answer := w.asksPolicy(dovecotsKey, "allow", login); !strings.Contains(answer, `"[UNAVAILABLE] this server does not know yet`) {
					t.Fatalf("a port answers %s", answer)
				}
				w.asksPolicy(dovecotsKey, "report", login)
			}
			if status, code, _ := w.as(address, first, http.MethodGet, "/v1/settings", ""); status != http.StatusServiceUnavailable {
				t.Errorf("the API answers %d %s", status, code)
			}
			w.records(kindLogin, func(r evidence.Record) { t.Errorf("recorded for good: %s", r.Key) })
			w.put(address, "s/1", first, admin.AccessFull)
			if _, answer := w.asksPolicy(dovecotsKey, "allow", login); !strings.Contains(answer, `"status":0`) {
				t.Errorf("when it is placed a port answers %s", answer)
			}
			if status, code, _ := w.as(address, first, http.MethodGet, "/v1/settings", ""); status != http.StatusOK {
				t.Errorf("when it is placed the API answers %d %s", status, code)
			}
		})
	}
}

// One bound for a mailbox, whichever door: the API's wrong passwords count at the ports, and theirs at the API.
func TestTheAPIAndThePortsCountTogether(t *testing.T) {
	w := givenWorld(t)
	w.givenDovecotsKey()
	const asked = `{"login":"` + sender + `","remote":"192.0.2.9","protocol":"imap"}`
	for range triesPerPair / 2 {
		w.as(sender, "sbagliata", http.MethodGet, "/v1/settings", "")
		w.asksPolicy(dovecotsKey, "allow", asked)
		w.asksPolicy(dovecotsKey, "report", `{"login":"`+sender+`","remote":"192.0.2.9","protocol":"imap","fail_type":"credentials"}`)
	}
	if _, answer := w.asksPolicy(dovecotsKey, "allow", asked); !strings.Contains(answer, `"status":-1`) {
		t.Errorf("a port answers %s", answer)
	}
	if status, code, _ := w.as(sender, first, http.MethodGet, "/v1/settings", ""); status != http.StatusTooManyRequests {
		t.Errorf("the API answers %d %s", status, code)
	}
	w.later(2 * pairRefill)
	if status, code, _ := w.as(sender, first, http.MethodGet, "/v1/settings", ""); status != http.StatusOK {
		t.Errorf("after a while the API answers %d %s", status, code)
	}
}

func TestOnlyDovecotIsAnswered(t *testing.T) {
	w := givenWorld(t)
	const body = `{"login":"` + sender + `","remote":"192.0.2.9","protocol":"imap"}`
	if status, _ := w.asksPolicy(dovecotsKey, "allow", body); status != http.StatusServiceUnavailable {
		t.Errorf("without a key it is answered %d", status)
	}
	w.givenDovecotsKey()
	for name, c := range map[string]struct {
		key, body string
		want      int
	}{
		"the key":           {dovecotsKey, body, http.StatusOK},
		"another key":       {"x", body, http.StatusUnauthorized},
		"no key":            {"", body, http.StatusUnauthorized},
		"what is no JSON":   {dovecotsKey, "login=x", http.StatusBadRequest},
		"a body too long":   {dovecotsKey, `{"login":"` + strings.Repeat("x", maxLoginTry) + `"}`, http.StatusBadRequest},
		"a field of others": {dovecotsKey, `{"device_id":"x","tls":true,"remote":"192.0.2.9"}`, http.StatusOK},
	} {
		if status, answer := w.asksPolicy(c.key, "allow", c.body); status != c.want || strings.Contains(answer, dovecotsKey) {
			t.Errorf("%s is answered %d %s, want %d", name, status, answer, c.want)
		}
	}
}
