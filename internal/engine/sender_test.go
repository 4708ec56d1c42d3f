package engine

import (
	"strings"
	"testing"
)

// A submission is recorded if who logged in is its sender, and if no other has its identifier.
func TestOnlyWhoLoggedInSubmitsInHisName(t *testing.T) {
	for name, c := range map[string]struct{ user, want string }{
		"the sender":              {sender, ""},
		"the sender, in capitals": {strings.ToUpper(sender), ""},
		"another mailbox":         {"anna@" + ours, answerNotYours},
		"nobody":                  {"", answerTemporary},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tx := transaction{Port: portSubmission, User: c.user, From: "Mario@" + ours, Recipients: []string{"x@ordinaria.test"}}
			if got := w.engine.judgeTransaction("4jX5CV0001zmF", tx, nil); got != c.want {
				t.Errorf("it is answered %q, want %q", got, c.want)
			}
			found, err := w.engine.lookup(kindTransaction, "4jX5CV0001zmF", nil)
			if found != (c.want == "") || err != nil {
				t.Errorf("the log has it: %t, %v", found, err)
			}
			if got := w.engine.sentToday.of(sender, dayOf(w.now)); (got == 1) != (c.want == "") {
				t.Errorf("%d count for the sender's day", got)
			}
		})
	}
}

// Who sends to nobody's domain is told at once; Postfix would take it for this host.
func TestARecipientWithoutADomainIsRefused(t *testing.T) {
	w := newWorld(t)
	for port, from := range map[string]string{portSubmission: sender, portMX: "bruno@" + theirs} {
		for _, to := range []string{"Postmaster", "postmaster@[127.0.0.1]"} {
			if got := milterAnswer(t, w.engine, port, "4jX5CV0001zmF", from, to, []byte(letter(from, to, ""))); got != answerNoDomain {
				t.Errorf("port %s answers %q to %s", port, got, to)
			}
		}
	}
}

// A queue identifier that Postfix made before is another message's.
func TestAnIdentifierThatCameBackIsNotTaken(t *testing.T) {
	w := newWorld(t)
	const queueID = "4jX5CV0001zmF"
	for i, want := range []string{"", answerTemporary} {
		for port, c := range map[string]struct{ from, to string }{portSubmission: {sender, "x@ordinaria.test"}, portMX: {stranger, "aperta@" + ours}} {
			if got := milterAnswer(t, w.engine, port, queueID+port, c.from, c.to, []byte(letter(c.from, c.to, ""))); got != want {
				t.Errorf("message %d at port %s is answered %q, want %q", i+1, port, got, want)
			}
		}
	}
	if got := w.engine.sentToday.of(sender, dayOf(w.now)); got != 1 {
		t.Errorf("%d count for the sender's day, want 1", got)
	}
}
