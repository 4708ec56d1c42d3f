package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/password"
	"github.com/pec-operator/pec-operator/internal/sieve"
)

const (
	first  = "la prima password"
	second = "la seconda password"
	third  = "la terza password"
)

var allChoices = []admin.Choice{admin.ChoiceAntispam, admin.ChoiceNotifications, admin.ChoiceOrdinaryMail, admin.ChoicePassword, admin.ChoiceRules}

// hashed is a Secret's password as the operator places it; a low cost keeps the tests quick.
func hashed(t testing.TB, raw string) string {
	t.Helper()
	hash, err := password.Hash([]byte(raw), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// put does what the operator's PUT of a row does.
func (w *world) put(address, version, raw string, access admin.Access) {
	w.t.Helper()
	m := admin.Mailbox{Address: address, Domain: ours, CredentialsVersion: version, QuotaBytes: 1, Access: access}
	if raw != "" {
		m.Password = hashed(w.t, raw)
	}
	w.place(admin.Place{Address: address, Mailbox: &m})
}

func (w *world) place(p admin.Place) {
	w.t.Helper()
	if a := w.placing(p); a.Refused+a.Failed != "" {
		w.t.Fatalf("%s: %+v", p.Address, a)
	}
}

func (w *world) placing(p admin.Place) admin.Answer {
	w.t.Helper()
	body, err := json.Marshal([]admin.Place{p})
	if err != nil {
		w.t.Fatal(err)
	}
	answered, err := w.engine.putPlaced(httptest.NewRequest(http.MethodPut, "/", bytes.NewReader(body)))
	if err != nil {
		w.t.Fatal(err)
	}
	return answered.([]admin.Answer)[0]
}

func (w *world) give(address string, h admin.Given) {
	w.t.Helper()
	w.place(admin.Place{Address: address, Given: &h})
}

// as is a holder's request; it answers the status, the error's code, and the body.
func (w *world) as(user, secret, method, path, body string) (status int, code, answer string) {
	w.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.9:1234"
	if user != "" {
		r.SetBasicAuth(user, secret)
	}
	recorder := httptest.NewRecorder()
	w.engine.holderServer().Handler.ServeHTTP(recorder, r)
	var said struct {
		Error denial `json:"error"`
	}
	_ = json.Unmarshal(recorder.Body.Bytes(), &said)
	return recorder.Code, said.Error.Code, recorder.Body.String()
}

// knows says whether a password is the mailbox's.
func (w *world) knows(address, raw string) bool {
	w.t.Helper()
	hash, err := w.engine.directory.Password(w.t.Context(), address)
	if err != nil {
		w.t.Fatal(err)
	}
	ok, err := password.Matches(hash, []byte(raw))
	if err != nil {
		w.t.Fatal(err)
	}
	return ok
}

// givenWorld is a world whose mailbox has a password and a holder who may change everything.
func givenWorld(t *testing.T) *world {
	w := newWorld(t)
	w.put(sender, "s/1", first, admin.AccessFull)
	w.give(sender, admin.Given{MayChange: allChoices})
	return w
}

// later moves the clock.
func (w *world) later(d time.Duration) { w.now = w.now.Add(d) }

func TestHolderAPI(t *testing.T) {
	w := givenWorld(t)
	if err := w.engine.directory.HoldDomain(t.Context(), "altrui.test"); err != nil {
		t.Fatal(err)
	}
	w.put("letta@"+ours, "s/1", first, admin.AccessReadOnly)
	w.put("sospesa@"+ours, "s/1", first, admin.AccessSuspended)
	const hidingRule = `{"rules":[{"name":"a","header":"From","contains":"x","folder":"EXPUNGED"}]}`
	for name, c := range map[string]struct {
		user, secret, method, path, body string
		wantStatus                       int
		wantCode                         string
	}{
		"no login":                                   {"", "", "GET", "/v1/settings", "", 401, "login-required"},
		"a wrong password":                           {sender, "sbagliata", "GET", "/v1/settings", "", 401, "wrong-credentials"},
		"an unknown mailbox answers the same":        {"nessuno@" + ours, first, "GET", "/v1/settings", "", 401, "wrong-credentials"},
		"a login that is no address":                 {"' OR '1'='1", first, "GET", "/v1/settings", "", 401, "login-required"},
		"a suspended mailbox":                        {"sospesa@" + ours, first, "GET", "/v1/settings", "", 403, "mailbox-suspended"},
		"a read-only mailbox may look":               {"letta@" + ours, first, "GET", "/v1/settings", "", 200, ""},
		"the address in capitals":                    {strings.ToUpper(sender), first, "GET", "/v1/settings", "", 200, ""},
		"a path that is not there":                   {sender, first, "GET", "/v1/else", "", 404, "not-found"},
		"a password that is too short":               {sender, first, "PUT", "/v1/settings/password", `{"password":"corta"}`, 422, "invalid"},
		"a password with a line end":                 {sender, first, "PUT", "/v1/settings/password", `{"password":"lunga\nlunga"}`, 422, "invalid"},
		"the same password again":                    {sender, first, "PUT", "/v1/settings/password", `{"password":"` + first + `"}`, 422, "invalid"},
		"a field that is not there":                  {sender, first, "PUT", "/v1/settings/password", `{"pasword":"lunga lunga"}`, 400, "bad-request"},
		"two values":                                 {sender, first, "PUT", "/v1/settings/password", `{"password":"lunga lunga"}{}`, 400, "bad-request"},
		"a body that is too long":                    {sender, first, "PUT", "/v1/settings/password", `{"password":"` + strings.Repeat("x", 70<<10) + `"}`, 400, "bad-request"},
		"a password in Latin-1":                      {sender, first, "PUT", "/v1/settings/password", "{\"password\":\"Citt\xe0 2026!\"}", 400, "bad-request"},
		"a password with half a character":           {sender, first, "PUT", "/v1/settings/password", `{"password":"Citt\ud83d 2026!"}`, 422, "invalid"},
		"a rule in Latin-1":                          {sender, first, "PUT", "/v1/settings/rules", "{\"rules\":[{\"name\":\"a\",\"header\":\"From\",\"contains\":\"citt\xe0\",\"folder\":\"X\"}]}", 400, "bad-request"},
		"a certified address to notify":              {sender, first, "PUT", "/v1/settings/notifications", `{"addresses":["x@` + theirs + `"]}`, 422, "invalid"},
		"one of our own to notify":                   {sender, first, "PUT", "/v1/settings/notifications", `{"addresses":["anna@` + ours + `"]}`, 422, "invalid"},
		"one of a domain that a guest only asks for": {sender, first, "PUT", "/v1/settings/notifications", `{"addresses":["x@altrui.test"]}`, 200, ""},
		"an address with a line end to notify":       {sender, first, "PUT", "/v1/settings/notifications", `{"addresses":["x@ordinaria.test\r\nBcc: y@z.test"]}`, 422, "invalid"},
		"a policy that is not there":                 {sender, first, "PUT", "/v1/settings/ordinary-mail", `{"policy":"Bounce"}`, 422, "invalid"},
		"forwarding to nowhere":                      {sender, first, "PUT", "/v1/settings/ordinary-mail", `{"policy":"Forward"}`, 422, "invalid"},
		"forwarding to a certified mailbox":          {sender, first, "PUT", "/v1/settings/ordinary-mail", `{"policy":"Forward","forwardTo":"x@` + theirs + `"}`, 422, "invalid"},
		"an antispam that is not there":              {sender, first, "PUT", "/v1/settings/antispam", `{"antispam":"Yes"}`, 422, "invalid"},
		"a frequency that is not there":              {sender, first, "PUT", "/v1/settings/notifications", `{"addresses":["x@ordinaria.test"],"frequency":"Weekly"}`, 422, "invalid"},
		"a rule that hides messages":                 {sender, first, "PUT", "/v1/settings/rules", hidingRule, 422, "invalid"},
		"what the domain keeps":                      {"letta@" + ours, first, "PUT", "/v1/settings/rules", `{"rules":[]}`, 403, "not-yours"},
	} {
		t.Run(name, func(t *testing.T) {
			w.later(time.Hour) // the gate is open again
			status, code, answer := w.as(c.user, c.secret, c.method, c.path, c.body)
			if status != c.wantStatus || code != c.wantCode {
				t.Errorf("answered %d %s, want %d %s: %s", status, code, c.wantStatus, c.wantCode, answer)
			}
			if strings.Contains(answer, first) {
				t.Errorf("the answer repeats the password: %s", answer)
			}
			if status >= 400 && !w.knows(sender, first) {
				t.Error("a refused request changed the password")
			}
		})
	}
}

func TestHolderChangesHisSettings(t *testing.T) {
	w := givenWorld(t)
	for path, body := range map[string]string{
		"/v1/settings/notifications": `{"addresses":["mario@ordinaria.test"],"frequency":"Daily"}`,
		"/v1/settings/rules":         `{"rules":[{"name":"clienti","header":"From","contains":"rossi@","folder":"Clienti/Rossi"}]}`,
		"/v1/settings/ordinary-mail": `{"policy":"Forward","forwardTo":"mario@ordinaria.test"}`,
		"/v1/settings/antispam":      `{"antispam":"Enabled"}`,
		"/v1/settings/password":      `{"password":"` + second + `"}`,
	} {
		if status, _, answer := w.as(sender, map[bool]string{true: second, false: first}[w.knows(sender, second)], http.MethodPut, path, body); status != http.StatusOK {
			t.Fatalf("%s is answered %d %s", path, status, answer)
		}
	}
	w.crash()
	status, _, answer := w.as(sender, second, http.MethodGet, "/v1/settings", "")
	var got holderSettings
	if err := json.Unmarshal([]byte(answer), &got); err != nil || status != http.StatusOK {
		t.Fatalf("answered %d %s: %v", status, answer, err)
	}
	want := holderSettings{
		Address: sender, MayChange: allChoices, Changed: allChoices, Sending: holderSending{RecipientsPerMessage: 10},
		Notifications: admin.Notifications{Addresses: []string{"mario@ordinaria.test"}, Frequency: admin.Daily},
		Rules:         []admin.Rule{{Name: "clienti", Header: "From", Contains: "rossi@", Folder: "Clienti/Rossi"}},
		OrdinaryMail:  admin.Ordinary{Policy: admin.OrdinaryForward, ForwardTo: "mario@ordinaria.test"},
		Antispam:      admin.AntispamEnabled,
		Password:      holderPassword{ChangedAt: got.Password.ChangedAt},
	}
	if diff := cmp.Diff(want, got); diff != "" || got.Password.ChangedAt.IsZero() {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	if r, err := w.engine.recipientOf(t.Context(), sender); err != nil || r.inForce.OrdinaryMail != want.OrdinaryMail {
		t.Errorf("ordinary mail is judged by %+v, %v", r, err)
	}
	script := filepath.Join(w.settings.Files.State, directoryDir, sieve.Dir, sieve.Path(sender))
	if raw, err := os.ReadFile(script); err != nil || !strings.Contains(string(raw), `fileinto :create "Clienti/Rossi"`) {
		t.Errorf("the rules for Dovecot are %q, %v", raw, err)
	}
	if status, _, answer := w.as(sender, second, http.MethodDelete, "/v1/settings/rules", ""); status != http.StatusOK || strings.Contains(answer, "Clienti") {
		t.Errorf("withdrawn rules: %d %s", status, answer)
	}
	if _, err := os.Stat(script); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("withdrawn rules still file: %v", err)
	}
}

// Of an address that is as long as one may be the engine has files with names that are none too long, and a file that cannot be written
// keeps nobody else from his settings.
func TestRulesOfAnyAddressKeepNoEngineFromStarting(t *testing.T) {
	w := givenWorld(t)
	longest := strings.Repeat("l", 64) + "@" + strings.Repeat(strings.Repeat("d", 60)+".", 3) + "it"
	domain := domainOf(longest)
	if err := w.engine.directory.PutDomain(t.Context(), admin.Domain{Name: domain, Local: true}); err != nil {
		t.Fatal(err)
	}
	rules := admin.Given{Rules: []admin.Rule{{Name: "a", Header: "From", Contains: "x", Folder: "Clienti"}}}
	w.place(admin.Place{Address: longest, Given: &rules, Mailbox: &admin.Mailbox{
		Address: longest, Domain: domain, Password: hashed(t, first), CredentialsVersion: "s/1", QuotaBytes: 1, Access: admin.AccessFull}})
	w.give(sender, rules)
	flat := w.engine.rulesPath(sender + sieve.Suffix)
	if err := os.WriteFile(flat, []byte("keep;\n"), 0o644); err != nil { // of a release before this one
		t.Fatal(err)
	}
	scripts := []string{w.engine.rulesPath(sieve.Path(longest)), w.engine.rulesPath(sieve.Path(sender))}
	files := func(when string) {
		t.Helper()
		for _, script := range scripts {
			if raw, err := os.ReadFile(script); err != nil || !strings.Contains(string(raw), `fileinto :create "Clienti"`) {
				t.Errorf("%s the rules are %q, %v", when, raw, err)
			}
		}
	}
	files("when they are placed")
	w.crash()
	files("after a restart")
	if _, err := os.Stat(flat); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the script of an earlier release is still there: %v", err)
	}
	obstacle := filepath.Dir(w.engine.rulesPath(sieve.Path(longest)))
	if err := errors.Join(os.RemoveAll(obstacle), os.Remove(scripts[1]), os.WriteFile(obstacle, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	w.crash()
	if _, err := os.Stat(scripts[1]); err != nil {
		t.Errorf("another mailbox's rules were not written: %v", err)
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	w.engine.retryLater(t.Context())
	files("when they can be written again")
}

// hangingUp is a client who is gone once a record is on disk.
type hangingUp struct {
	journal
	hangUp func()
}

func (h *hangingUp) Append(kind, key, identifier string, data any) (evidence.Record, error) {
	r, err := h.journal.Append(kind, key, identifier, data)
	h.hangUp()
	return r, err
}

// anybody may choose.
func anybody(admin.Mailbox) error { return nil }

func TestWhatIsRecordedActsAlsoWithoutWhoAskedForIt(t *testing.T) {
	w := givenWorld(t)
	rules := []admin.Rule{{Name: "a", Header: "From", Contains: "x", Folder: "Clienti"}}
	working := w.engine.journal
	for _, c := range []choice{{Setting: admin.ChoicePassword, Password: hashed(t, second)}, {Setting: admin.ChoiceRules, Rules: rules}} {
		ctx, hangUp := context.WithCancel(t.Context())
		w.engine.journal = &hangingUp{working, hangUp}
		c.Address = sender
		if err := w.engine.choose(ctx, c, anybody); err != nil {
			t.Errorf("%s: %v", c.Setting, err)
		}
	}
	w.engine.journal = working
	script := w.engine.rulesPath(sieve.Path(sender))
	if _, err := os.Stat(script); err != nil || !w.knows(sender, second) {
		t.Errorf("what the log says does not act: the password is %v, the rules %v", w.knows(sender, second), err)
	}
	broken := filepath.Dir(script) // a folder that cannot be written
	if err := errors.Join(os.RemoveAll(broken), os.WriteFile(broken, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := w.engine.choose(t.Context(), choice{Address: sender, Setting: admin.ChoiceRules, Rules: rules}, anybody); err == nil {
		t.Fatal("rules that could not be written are answered as if they acted")
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	w.engine.retryLater(t.Context())
	if _, err := os.Stat(script); err != nil {
		t.Errorf("what the log says does not act in the end: %v", err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	row, err := w.engine.directory.Mailbox(t.Context(), sender)
	if err != nil {
		t.Fatal(err)
	}
	row.Access, row.Password = admin.AccessReadOnly, hashed(t, third)
	began := w.engine.logins.changes()
	if err := w.engine.actOn(ctx, admin.Place{Address: sender, Mailbox: &row}, directory.Outcome{Before: row}); err != nil || !w.engine.logins.former(sender, began) {
		t.Errorf("a row that was placed does not act: %v", err)
	}
}

func TestAFreezeRefusesAHoldersChangesUntilItEnds(t *testing.T) {
	w := givenWorld(t)
	row, err := w.engine.directory.Mailbox(t.Context(), sender)
	if err != nil {
		t.Fatal(err)
	}
	row.FrozenUntil = time.Date(2022, 5, 9, 7, 0, 0, 0, time.UTC)
	if _, err := w.engine.directory.PutMailbox(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	w.now = row.FrozenUntil.Add(-time.Hour)
	for path, body := range map[string]string{
		"PUT /v1/settings/password":         `{"password": "` + second + `"}`,
		"PUT /v1/settings/ordinary-mail":    `{"policy": "Deliver"}`,
		"PUT /v1/settings/rules":            `{"rules": []}`,
		"DELETE /v1/settings/notifications": "",
	} {
		method, path, _ := strings.Cut(path, " ")
		status, code, answer := w.as(sender, first, method, path, body)
		if status != http.StatusConflict || code != "frozen" || !strings.Contains(answer, "before 2022-05-09 09:00 CEST") {
			t.Errorf("%s %s: %d %s: %s", method, path, status, code, answer)
		}
	}
	if !w.knows(sender, first) {
		t.Error("the password changed")
	}
	if status, _, answer := w.as(sender, first, http.MethodGet, "/v1/settings", ""); status != http.StatusOK || !strings.Contains(answer, `"frozenUntil":"2022-05-09T07:00:00Z"`) {
		t.Errorf("the settings are %d: %s", status, answer)
	}
	w.now = row.FrozenUntil
	if status, code, _ := w.as(sender, first, http.MethodPut, "/v1/settings/password", `{"password": "`+second+`"}`); status != http.StatusOK || !w.knows(sender, second) {
		t.Errorf("after the freeze: %d %s", status, code)
	}
	if status, _, answer := w.as(sender, second, http.MethodGet, "/v1/settings", ""); status != http.StatusOK || strings.Contains(answer, "frozenUntil") {
		t.Errorf("after the freeze the settings are %d: %s", status, answer)
	}
}

// Who holds back the body of his change while he is put out changes nothing.
func TestAChangeThatWasBegunBeforeItsHolderWasPutOutIsRefused(t *testing.T) {
	freeze := func(w *world) {
		row, err := w.engine.directory.Mailbox(t.Context(), sender)
		if err != nil {
			t.Fatal(err)
		}
		row.FrozenUntil = w.now.Add(time.Hour)
		w.place(admin.Place{Address: sender, Mailbox: &row})
	}
	const rules = `{"rules":[{"name":"a","header":"From","contains":"x","folder":"Altrove"}]}`
	for name, c := range map[string]struct {
		path, body string
		then       func(*world)
		wantStatus int
		wantCode   string
		knows      string
	}{
		"a password, and the Secret was edited":       {"password", `{"password":"` + second + `"}`, func(w *world) { w.put(sender, "s/2", third, admin.AccessFull) }, 401, "wrong-credentials", third},
		"rules, and the Secret was edited":            {"rules", rules, func(w *world) { w.put(sender, "s/2", third, admin.AccessFull) }, 401, "wrong-credentials", third},
		"rules, and the mailbox was suspended":        {"rules", rules, func(w *world) { w.put(sender, "s/1", "", admin.AccessSuspended) }, 403, "mailbox-suspended", first},
		"a password, and the mailbox was frozen":      {"password", `{"password":"` + second + `"}`, freeze, 409, "frozen", first},
		"a password, and it is not his to choose now": {"password", `{"password":"` + second + `"}`, func(w *world) { w.give(sender, admin.Given{}) }, 403, "not-yours", first},
	} {
		t.Run(name, func(t *testing.T) {
			w := givenWorld(t)
			half := len(c.body) / 2
			reader, writer := io.Pipe()
			r := httptest.NewRequest(http.MethodPut, "/v1/settings/"+c.path, reader)
			r.RemoteAddr = "192.0.2.9:1234"
			r.SetBasicAuth(sender, first)
			recorder, done := httptest.NewRecorder(), make(chan struct{})
			go func() {
				defer close(done)
				w.engine.holderServer().Handler.ServeHTTP(recorder, r)
			}()
			if _, err := io.WriteString(writer, c.body[:half]); err != nil { // read, and so he is logged in
				t.Fatal(err)
			}
			c.then(w)
			_, err := io.WriteString(writer, c.body[half:])
			if err = errors.Join(err, writer.Close()); err != nil {
				t.Fatal(err)
			}
			<-done
			var said struct {
				Error denial `json:"error"`
			}
			_ = json.Unmarshal(recorder.Body.Bytes(), &said)
			if recorder.Code != c.wantStatus || said.Error.Code != c.wantCode {
				t.Errorf("answered %d %s, want %d %s", recorder.Code, recorder.Body, c.wantStatus, c.wantCode)
			}
			w.crash()
			if !w.knows(sender, c.knows) {
				t.Errorf("the password is not %q", c.knows)
			}
			w.records(kindChoice, func(r evidence.Record) { t.Errorf("a choice is in the log: %s", r.Key) })
		})
	}
}

func TestPasswordOfHolderAndSecret(t *testing.T) {
	w := givenWorld(t)
	change := func(from, to string) {
		t.Helper()
		w.later(-time.Hour) // the clock went back since the Secret was placed
		if status, _, answer := w.as(sender, from, http.MethodPut, "/v1/settings/password", `{"password":"`+to+`"}`); status != http.StatusOK {
			t.Fatalf("answered %d %s", status, answer)
		}
	}
	change(first, second)
	w.later(time.Hour)
	steps := []struct {
		when string
		do   func()
		want string
	}{
		{"the holder changed it", func() {}, second},
		{"the engine was killed", w.crash, second},
		{"the operator put the row again without a password", func() { w.put(sender, "s/1", "", admin.AccessFull) }, second},
		{"the operator repeated the Secret's placement", func() { w.put(sender, "s/1", first, admin.AccessFull) }, second},
		{"the directory was lost and made again", func() { w.loseDirectory(); w.put(sender, "s/1", first, admin.AccessFull) }, second},
		{"the Secret changed", func() { w.put(sender, "s/2", third, admin.AccessFull) }, third},
		{"the engine was killed after that", w.crash, third},
	}
	for _, s := range steps {
		s.do()
		if !w.knows(sender, s.want) {
			t.Errorf("after %s the password is not %q", s.when, s.want)
		}
	}
	row, err := w.engine.directory.Mailbox(t.Context(), sender)
	if err != nil || row.PasswordChangedByHolder {
		t.Errorf("the Secret's password passes for the holder's: %+v, %v", row, err)
	}
}

// loseDirectory ends the engine, takes its directory away, and starts it.
func (w *world) loseDirectory() {
	w.t.Helper()
	_ = w.engine.Close()
	if err := os.RemoveAll(filepath.Join(w.settings.Files.State, directoryDir)); err != nil {
		w.t.Fatal(err)
	}
	w.start()
}

func TestWhoGetsAnAddressAfterwardsGetsNothingOfTheFormerHolder(t *testing.T) {
	w := givenWorld(t)
	if status, _, answer := w.as(sender, first, http.MethodPut, "/v1/settings/notifications", `{"addresses":["mario@ordinaria.test"]}`); status != http.StatusOK {
		t.Fatal(answer)
	}
	w.later(time.Hour)
	row, err := w.engine.directory.Mailbox(t.Context(), sender)
	if err != nil {
		t.Fatal(err)
	}
	row.ClosedAt = w.now // as the operator does: closed, and opened again for somebody else
	if _, err := w.engine.directory.PutMailbox(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	if status, _, answer := w.as(sender, first, http.MethodGet, "/v1/settings", ""); status != http.StatusOK || strings.Contains(answer, "mario@ordinaria") {
		t.Errorf("answered %d %s", status, answer)
	}
}

// The choices of two sites make the same settings in whatever order, and however often, their records come.
func TestChoicesMergeByTime(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	one := func(hours int, site string, addresses ...string) choice {
		return choice{Address: sender, Setting: admin.ChoiceNotifications, At: at.Add(time.Duration(hours) * time.Hour), Site: site, Notifications: &admin.Notifications{Addresses: addresses}}
	}
	records := []choice{one(0, "a", "1@x.test"), one(2, "b", "2@x.test"), one(2, "a", "3@x.test"), one(1, "a", "4@x.test")}
	for i := range records {
		h := newHolders(neverClosed)
		for j := range 2 * len(records) {
			h.addChoice(records[(i+j)%len(records)])
		}
		if got, ok := h.of(admin.Mailbox{Address: sender}, admin.ChoiceNotifications); !ok || got.Notifications.Addresses[0] != "2@x.test" {
			t.Errorf("beginning with record %d: %+v, %v", i, got, ok)
		}
	}
	if records[1].key() == records[2].key() || records[0].key() == records[3].key() {
		t.Error("two choices have one key: a merge would lose one")
	}
}

func TestLoginsAreBoundedAndInTheLog(t *testing.T) {
	w := givenWorld(t)
	limited := 0
	for range triesPerPair + 3 {
		if status, code, _ := w.as(sender, "sbagliata", http.MethodGet, "/v1/settings", ""); status == http.StatusTooManyRequests && code == "too-many-tries" {
			limited++
		}
	}
	if limited != 3 {
		t.Errorf("%d tries were refused unchecked, want 3", limited)
	}
	if status, _, _ := w.as(sender, first, http.MethodGet, "/v1/settings", ""); status != http.StatusTooManyRequests {
		t.Errorf("the right password passed at once: %d", status)
	}
	w.later(2 * pairRefill)
	if status, _, answer := w.as(sender, first, http.MethodGet, "/v1/settings", ""); status != http.StatusOK {
		t.Errorf("after a while: %d %s", status, answer)
	}
	outcomes := map[string]int{}
	w.records(kindLogin, func(r evidence.Record) {
		var l loginRecord
		if err := r.Decode(&l); err != nil || l.Client != "192.0.2.9" || l.Address != sender {
			t.Errorf("recorded %+v, %v", l, err)
		}
		outcomes[l.Outcome]++
	})
	if diff := cmp.Diff(map[string]int{loginWrong: triesPerPair, loginGood: 1}, outcomes); diff != "" {
		t.Errorf("recorded logins (-want +got):\n%s", diff)
	}
}

// records visits the log's records of a kind.
func (w *world) records(kind string, visit func(evidence.Record)) {
	w.t.Helper()
	err := evidence.Walk(filepath.Join(w.settings.Files.State, evidenceDir), func(_ string, r evidence.Record) error {
		if r.Kind == kind {
			visit(r)
		}
		return nil
	}, func(fault string) { w.t.Error(fault) })
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestWhichPasswordIsInForce(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 22, 10, minute, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		chosen, secret, everywhere  int // minutes
		speaks, byHolder, undecided bool
	}{
		"chosen after the Secret was placed":                                  {chosen: 2, secret: 1, everywhere: 1, speaks: true, byHolder: true},
		"chosen before it was changed":                                        {chosen: 1, secret: 2, everywhere: 2, speaks: true},
		"chosen at that instant":                                              {chosen: 1, secret: 1, everywhere: 1, speaks: true},
		"a site that was rebuilt reads the Secret later: no edit":             {chosen: 2, secret: 3, everywhere: 1, speaks: true, byHolder: true, undecided: true},
		"changed here, while the other site is silent and cannot be expected": {chosen: 2, secret: 3, everywhere: 1, undecided: true},
		"chosen after the Secret, while the other site is silent":             {chosen: 2, secret: 1, everywhere: 1, byHolder: true},
	} {
		own, placed := choice{At: at(c.chosen), Password: "own"}, placement{At: at(c.secret), Password: "secret"}
		hash, byHolder, undecided := passwordInForce(own, placed, at(c.everywhere), c.speaks)
		want := map[bool]string{true: "own", false: "secret"}[c.byHolder]
		if hash != want || byHolder != c.byHolder || undecided != c.undecided {
			t.Errorf("%s: %s, by the holder %v, undecided %v", name, hash, byHolder, undecided)
		}
	}
	if hash, byHolder, undecided := passwordInForce(choice{}, placement{Password: "secret"}, time.Time{}, false); hash != "secret" || byHolder || undecided {
		t.Errorf("nothing chosen: %s, by the holder %v, undecided %v", hash, byHolder, undecided)
	}
}

func neverClosed(string) time.Time { return time.Time{} }

func TestWhatIsSentOnADayIsCountedOnce(t *testing.T) {
	s := newSentToday()
	for _, step := range []struct {
		what, day string
		n         int
		record    string
		want      int
	}{
		{"the first", "2026-11-21", 1, "", 1},
		{"one that a log tells of", "2026-11-21", 1, "r1", 0},
		{"the same again", "2026-11-21", 1, "r1", 0},
		{"the third", "2026-11-21", 1, "", 3},
		{"the first of the next day", "2026-11-22", 1, "", 1},
		{"one that began before midnight", "2026-11-21", 1, "", 0},
		{"one that was taken back after it", "2026-11-21", -1, "", 0},
		{"a record of the day before", "2026-11-21", 1, "r2", 0},
		{"the second of the next day", "2026-11-22", 1, "", 2},
	} {
		if step.record != "" {
			s.addRecord(sender, step.day, step.record)
			continue
		}
		if got := s.add(sender, step.day, step.n); got != step.want {
			t.Errorf("%s: the sum is %d, want %d", step.what, got, step.want)
		}
	}
	if got := s.of(sender, "2026-11-22"); got != 2 {
		t.Errorf("%d are shown, want 2", got)
	}
}

func TestSendingLimits(t *testing.T) {
	w := givenWorld(t)
	w.now = time.Date(2026, 11, 22, 22, 59, 0, 0, time.UTC) // a minute to midnight in Rome
	w.give(sender, admin.Given{MessagesPerDay: 2, RecipientsPerMessage: 3})
	n := 0
	submit := func(rcpts ...string) string {
		n++
		return w.engine.judgeTransaction(fmt.Sprintf("4jX5CV%04dzzz", n), transaction{Port: portSubmission, User: sender, From: strings.ToUpper(sender[:1]) + sender[1:], Recipients: rcpts}, nil)
	}
	wantAnswer := func(what, got, want string) {
		t.Helper()
		if (got == "") != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("%s is answered %q, want %q", what, got, want)
		}
	}
	wantAnswer("four recipients", submit("a", "b", "c", "d"), "550 5.5.3 ")
	wantAnswer("the first message", submit("a", "b", "c"), "")
	w.crash()
	w.now = time.Date(2026, 11, 22, 22, 59, 30, 0, time.UTC)
	wantAnswer("the second, after a restart", submit("a"), "")
	wantAnswer("the third", submit("a"), "450 4.7.1 ")
	w.crash()
	wantAnswer("the third, after another restart", submit("a"), "450 4.7.1 ")
	w.now = time.Date(2026, 11, 22, 23, 0, 0, 0, time.UTC)
	wantAnswer("one after midnight in Rome", submit("a"), "")
	w.give(sender, admin.Given{})
	for range 5 {
		wantAnswer("one without a limit", submit("a", "b", "c", "d"), "")
	}
	wantAnswer("one of nobody", w.engine.judgeTransaction("4jX5CVzzzz", transaction{Port: portSubmission, User: "nessuno@" + ours, From: "nessuno@" + ours, Recipients: []string{"a"}}, nil), "550 5.7.1 ")
}

// What Postfix let through while the mailbox might still send is judged again when the message has ended.
func TestRightsAreAskedForAtTheEndOfAMessage(t *testing.T) {
	for name, c := range map[string]struct {
		row     admin.Mailbox
		changed bool // the holder has changed the first password
		want    string
	}{
		"a mailbox with full access":               {row: admin.Mailbox{Access: admin.AccessFull}},
		"a suspended one":                          {row: admin.Mailbox{Access: admin.AccessSuspended}, want: answerNotEnabled},
		"one that may only read":                   {row: admin.Mailbox{Access: admin.AccessReadOnly}, want: answerNotEnabled},
		"one whose resource is gone":               {row: admin.Mailbox{Access: admin.AccessClosed}, want: answerNotEnabled},
		"one that moves away":                      {row: admin.Mailbox{Access: admin.AccessFull, SendingRefused: admin.RefusalMigration}, want: admin.AnswerMigration},
		"one that moves away, with a new password": {row: admin.Mailbox{Access: admin.AccessFull, SendingRefused: admin.RefusalMigration}, changed: true, want: admin.AnswerMigration},
		"one with its first password":              {row: admin.Mailbox{Access: admin.AccessFull, SendingRefused: admin.RefusalFirstLogin}, want: admin.AnswerFirstLogin},
		"one whose first password was changed":     {row: admin.Mailbox{Access: admin.AccessFull, SendingRefused: admin.RefusalFirstLogin}, changed: true},
		"a suspended one that moves away":          {row: admin.Mailbox{Access: admin.AccessSuspended, SendingRefused: admin.RefusalMigration}, want: answerNotEnabled},
	} {
		t.Run(name, func(t *testing.T) {
			w := givenWorld(t)
			c.row.Address, c.row.Domain, c.row.CredentialsVersion, c.row.QuotaBytes = sender, ours, "s/1", 1
			w.place(admin.Place{Address: sender, Mailbox: &c.row})
			if c.changed {
				if err := w.engine.directory.SetPassword(t.Context(), sender, hashed(t, second)); err != nil {
					t.Fatal(err)
				}
			}
			submit := func(queueID string) string {
				return w.engine.judgeTransaction(queueID, transaction{Port: portSubmission, User: sender, From: sender, Recipients: []string{"anna@" + ours}}, nil)
			}
			if got := submit("4jX5CV0001zmF"); got != c.want {
				t.Errorf("its message is answered %q, want %q", got, c.want)
			}
			found, err := w.engine.lookup(kindTransaction, "4jX5CV0001zmF", nil)
			if found != (c.want == "") || err != nil {
				t.Errorf("the log has it: %t, %v", found, err)
			}
			if err := w.engine.directory.Close(); err != nil {
				t.Fatal(err)
			}
			if got := submit("4jX5CV0002zmF"); got != answerTemporary {
				t.Errorf("with a directory that cannot be read it is answered %q", got)
			}
		})
	}
}

// arriving delivers a certified message of another provider to a mailbox.
func (w *world) arriving(to, queueID string) {
	w.t.Helper()
	from := "bruno@" + theirs
	_, raw := foreignEnvelope(w.t, from, to, queueID)
	id := w.enqueue("incoming", from, []string{to}, raw)
	if answer := w.engine.judgeTransaction(id, transaction{Port: portMX, From: from, Recipients: []string{to}}, raw); answer != "" {
		w.t.Fatal(answer)
	}
	w.run(enoughRounds)
}

// told lists the notifications that went out, "recipient text".
func (w *world) told() []message {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []message
	for _, m := range w.outside {
		if strings.HasSuffix(m.to, "@ordinaria.test") {
			list = append(list, m)
		}
	}
	return list
}

func TestNotificationOfEachMessage(t *testing.T) {
	w := givenWorld(t)
	given := admin.Given{Notifications: admin.Notifications{Addresses: []string{"mario@ordinaria.test", "anna@" + theirs}}}
	if _, err := w.engine.directory.Place(t.Context(), []admin.Place{{Address: sender, Given: &given}}); err != nil { // its domain is certified since
		t.Fatal(err)
	}
	w.arriving(sender, "q1")
	w.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, "")) // whose receipts are no news
	w.run(enoughRounds)
	for range 2 {
		w.engine.notify(t.Context())
		w.crash()
		w.engine.notify(t.Context())
	}
	told := w.told()
	if len(told) != 1 {
		t.Fatalf("%d notifications went out, want 1", len(told))
	}
	m, err := netmail.ReadMessage(bytes.NewReader(told[0].bytes))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	if told[0].from != "" || m.Header.Get("Auto-Submitted") != "auto-generated" || !strings.Contains(string(text), sender) {
		t.Errorf("from %q: %v\n%s", told[0].from, m.Header, text)
	}
	if strings.Contains(string(told[0].bytes), "bruno") || strings.Contains(string(told[0].bytes), "Prova") {
		t.Errorf("the notification shows something of the message:\n%s", told[0].bytes)
	}
	for _, o := range w.outside {
		if strings.HasPrefix(o.to, "anna@"+theirs) {
			t.Error("a certified mailbox was notified")
		}
	}
}

func TestDailyNotification(t *testing.T) {
	w := givenWorld(t)
	w.now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).Truncate(time.Second)
	w.give(sender, admin.Given{Notifications: admin.Notifications{Addresses: []string{"mario@ordinaria.test"}, Frequency: admin.Daily}})
	w.engine.arrivals.add(arrival{mailbox: sender, key: "1", at: w.now, certified: true})
	w.engine.arrivals.add(arrival{mailbox: sender, key: "2", at: w.now.Add(time.Hour), certified: true})
	w.engine.arrivals.add(arrival{mailbox: sender, key: "3", at: w.now.Add(24 * time.Hour), certified: true})
	w.engine.notify(t.Context())
	if n := len(w.told()); n != 0 {
		t.Fatalf("%d notifications before the hour", n)
	}
	w.now = time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC) // 07:00 in Rome
	for range 2 {
		w.engine.notify(t.Context())
	}
	told := w.told()
	if len(told) != 1 || !strings.Contains(string(told[0].bytes), "2 certified messages") {
		t.Fatalf("%d notifications: %q", len(told), told)
	}
}

// After a lost directory holders are told of what had arrived before, as soon as it is known again whom to tell; of a mailbox that was closed
// nobody is.
func TestALostDirectoryLosesNoNotification(t *testing.T) {
	for name, c := range map[string]struct {
		frequency admin.Frequency
		closed    bool
		want      int // notifications, at once and in the morning
	}{
		"each message":           {frequency: admin.EachMessage, want: 1},
		"once a day":             {frequency: admin.Daily, want: 1},
		"a mailbox that is gone": {frequency: admin.Daily, closed: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			row := former(t, "ufficio", admin.AccessFull, 1<<20)
			given := admin.Given{Notifications: admin.Notifications{Addresses: []string{"casa@ordinaria.test"}, Frequency: c.frequency}}
			w.place(admin.Place{Address: row.Address, Mailbox: &row, Given: &given})
			w.arriving(row.Address, "q1")
			if c.closed {
				row = w.close(row)
			}
			w.alone = true
			w.loseDirectory()
			for range 3 {
				w.engine.notify(t.Context())
				w.later(notifyEvery)
			}
			if !c.closed {
				w.place(admin.Place{Address: row.Address, Mailbox: &row, Given: &given})
			}
			w.engine.notify(t.Context())
			w.later(25 * time.Hour) // over seven in the morning in Rome, on the longest day too
			w.engine.notify(t.Context())
			if got := len(w.told()); got != c.want {
				t.Errorf("%d notifications went out, want %d", got, c.want)
			}
		})
	}
}

func TestAnArrivalCostsNothingForThoseThatWaitForTheMorning(t *testing.T) {
	w := givenWorld(t)
	w.now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	daily := admin.Given{Notifications: admin.Notifications{Addresses: []string{"mario@ordinaria.test"}, Frequency: admin.Daily}}
	other := "altra@" + ours
	w.give(sender, daily)
	w.give(other, daily)
	arrive := func(mailbox string, n int) {
		for range n {
			w.engine.arrivals.add(arrival{mailbox: mailbox, key: rand.Text(), at: w.now, certified: true})
		}
	}
	reads, read := 0, w.engine.arrivals.of
	w.engine.arrivals.of = func(ctx context.Context, mailbox string) (admin.Notifications, error) {
		reads++
		return read(ctx, mailbox)
	}
	pass := func(what string, wantReads, wantTold int) {
		t.Helper()
		reads = 0
		w.engine.notify(t.Context())
		if told := len(w.told()); reads != wantReads || told != wantTold {
			t.Errorf("%s: settings were read %d times and %d notifications sent, want %d and %d", what, reads, told, wantReads, wantTold)
		}
	}
	arrive(sender, 20_000)
	arrive(other, 1)
	pass("20,001 arrivals in two mailboxes", 2, 0)
	pass("nothing new", 0, 0)
	arrive(other, 1)
	pass("one more arrival", 1, 0)
	daily.Notifications.Frequency = admin.EachMessage
	w.give(other, daily)
	pass("a holder who wants to be told at once", 1, 2)
	w.now = time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC) // 07:00 in Rome
	pass("the morning", 1, 3)
	pass("after it", 0, 3)
}

func TestNotificationThatIsNotTakenIsTriedAgain(t *testing.T) {
	w := givenWorld(t)
	w.give(sender, admin.Given{Notifications: admin.Notifications{Addresses: []string{"mario@ordinaria.test"}}})
	working := w.engine.postfix
	w.engine.postfix = newRelay("127.0.0.1:1", "x", false)
	w.engine.arrivals.add(arrival{mailbox: sender, key: "1", at: w.now, certified: true})
	w.engine.notify(t.Context())
	w.engine.postfix = working
	w.engine.notify(t.Context())
	if n := len(w.told()); n != 0 {
		t.Fatalf("%d notifications at once", n)
	}
	w.later(notifyRetry)
	w.engine.notify(t.Context())
	if n := len(w.told()); n != 1 {
		t.Fatalf("%d notifications, want 1", n)
	}
}

func TestTimeOfADailyNotificationInRome(t *testing.T) {
	for at, want := range map[string]string{
		"2026-11-22T05:59:59Z": "2026-11-22T06:00:00Z",
		"2026-11-22T06:00:00Z": "2026-11-23T06:00:00Z",
		"2026-10-24T20:00:00Z": "2026-10-25T06:00:00Z", // the night in which clocks go back
		"2026-03-28T20:00:00Z": "2026-03-29T05:00:00Z", // and forward
	} {
		parsed, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := (arrival{at: parsed}).dailyAt().UTC().Format(time.RFC3339); got != want {
			t.Errorf("a daily notification of %s is at %s, want %s", at, got, want)
		}
	}
}
