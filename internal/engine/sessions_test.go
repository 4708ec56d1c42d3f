package engine

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
)

// A Dovecot that does not answer when a holder changes his password ends his sessions when it does, also if the engine died meanwhile.
func TestSessionsThatCouldNotBeEndedEndLater(t *testing.T) {
	w := givenWorld(t)
	w.deafDovecot(true)
	before := len(w.kicked())
	if status, _, answer := w.as(sender, first, http.MethodPut, "/v1/settings/password", `{"password":"`+second+`"}`); status != http.StatusOK || !w.knows(sender, second) {
		t.Fatalf("with a Dovecot that does not answer: %d %s", status, answer)
	}
	w.crash()
	if failed := w.engine.endSessions(t.Context()); failed[sender] == nil {
		t.Fatal("the sessions live on, and nobody says so")
	}
	w.deafDovecot(false)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { _ = w.engine.runEnding(ctx) })
	defer group.Wait()
	defer cancel()
	eventually(t, func() string {
		if !slices.Equal(w.kicked()[before:], []string{sender}) {
			return "no session was ended"
		}
		return ""
	})
}

// A login that was under way when its password was replaced is a session only later: what was ended is ended again, also if the engine
// died in between, and then no more.
func TestSessionsEndAgain(t *testing.T) {
	for name, c := range map[string]struct {
		between func(*world)
		times   int // in the end
	}{
		"by one engine":              {func(*world) {}, 3},
		"the engine died in between": {(*world).crash, 4}, // the next one knows nothing of the first time
	} {
		t.Run(name, func(t *testing.T) {
			w := givenWorld(t)
			before := len(w.kicked())
			passes := func(after time.Duration, want int) {
				t.Helper()
				w.later(after)
				if failed := w.engine.endSessions(t.Context()); len(failed) > 0 {
					t.Fatal(failed)
				}
				if got := w.kicked()[before:]; len(got) != want || slices.ContainsFunc(got, func(a string) bool { return a != sender }) {
					t.Fatalf("after %v the sessions of %v ended, want %d times %s", after, got, want, sender)
				}
			}
			w.put(sender, "s/2", second, admin.AccessFull)
			passes(0, 1)
			c.between(w)
			passes(0, c.times-2)
			passes(endAgain[0]-time.Second, c.times-2)
			passes(time.Second, c.times-1)
			passes(endAgain[1]-endAgain[0]-time.Second, c.times-1)
			passes(time.Second, c.times)
			passes(time.Hour, c.times)
			if ending, err := w.engine.directory.Ending(t.Context()); len(ending) > 0 || err != nil {
				t.Errorf("%v are ended for ever; %v", ending, err)
			}
		})
	}
}

// What changes while the sessions of before are being ended is another change.
func TestAChangeWhileSessionsEndIsNotLost(t *testing.T) {
	w := givenWorld(t)
	d := w.engine.directory
	change := func() map[string]directory.End {
		t.Helper()
		if err := d.SetPassword(t.Context(), sender, hashed(t, second)); err != nil {
			t.Fatal(err)
		}
		ending, err := d.Ending(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return ending
	}
	first, again := change(), change()
	for _, step := range []struct {
		ended map[string]directory.End
		want  int
	}{{first, 1}, {again, 0}} {
		err := d.Ended(t.Context(), step.ended)
		ending, listErr := d.Ending(t.Context())
		if len(ending) != step.want || errors.Join(err, listErr) != nil {
			t.Errorf("%v are to be ended, want %d; %v", ending, step.want, errors.Join(err, listErr))
		}
	}
}

func TestWhoLoggedInWithAFormerPasswordSendsNothing(t *testing.T) {
	w := givenWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, meanwhile := w.engine.newMilter(portSubmission), func() {}
	made := server.NewMilter
	server.NewMilter = func() milter.Milter { return judging{made(), &meanwhile} }
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	client := milter.NewClientWithOptions("tcp", l.Addr().String(), milter.ClientOptions{Dialer: &net.Dialer{}, ProtocolMask: milter.OptNoBody})
	defer client.Close()
	connect := func() *milter.ClientSession {
		t.Helper()
		s, err := client.Session()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	login := []string{"{auth_authen}", strings.ToUpper(sender)}
	begin := func(s *milter.ClientSession) *milter.Action {
		t.Helper()
		if err := s.Macros(milter.CodeMail, login...); err != nil {
			t.Fatal(err)
		}
		action, err := s.Mail(sender, nil)
		if err != nil {
			t.Fatal(err)
		}
		return action
	}
	end := func(s *milter.ClientSession, queueID string) *milter.Action {
		t.Helper()
		if _, err := s.Rcpt("anna@"+ours, nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Macros(milter.CodeEOB, append([]string{"i", queueID}, login...)...); err != nil {
			t.Fatal(err)
		}
		_, action, err := s.End()
		if err != nil {
			t.Fatal(err)
		}
		return action
	}
	isAnswered := func(what string, got *milter.Action, want int) {
		t.Helper()
		if got.SMTPCode != want {
			t.Errorf("%s is answered %d %s, want %d", what, got.SMTPCode, got.SMTPText, want)
		}
	}
	open, halfway := connect(), connect()
	isAnswered("before the change", begin(halfway), 0)
	w.put(sender, "s/2", second, admin.AccessFull)
	isAnswered("MAIL in a session that was open", begin(open), 421)
	isAnswered("the end of a message that was begun", end(halfway, "4jX5CV0001zmF"), 421)
	fresh := connect()
	isAnswered("MAIL in a new session", begin(fresh), 0)
	isAnswered("the end of a message in a new session", end(fresh, "4jX5CV0002zmF"), 0)
	w.put("anna@"+ours, "s/2", second, admin.AccessFull)
	isAnswered("MAIL after another mailbox's change", begin(fresh), 0)
	w.put(sender, "s/2", "", admin.AccessFull)
	isAnswered("MAIL after a change that is none of the password", begin(fresh), 0)
	meanwhile = func() { w.engine.logins.change(sender) }
	isAnswered("the end of a message during which it is changed", end(fresh, "4jX5CV0003zmF"), 0)
	isAnswered("the next MAIL of that session", begin(fresh), 421)
}

// judging is a session in which something happens between a message's judgement and its answer.
type judging struct {
	milter.Milter
	meanwhile *func()
}

func (j judging) Body(m *milter.Modifier) (milter.Response, error) {
	defer (*j.meanwhile)()
	return j.Milter.Body(m)
}
