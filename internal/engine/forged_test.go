package engine

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// Whatever makes the access point read another transaction's identifier in a message, it certifies nothing by it.
func TestAMessageIsCertifiedByItsOwnTransactionOnly(t *testing.T) {
	const queueID, attacker = "4jX5CV7777zmF", "anna@" + ours
	elsewhere := "x@ordinaria.test"
	mine := transaction{Port: portSubmission, User: attacker, From: attacker, Recipients: []string{elsewhere}}
	others := transaction{Port: portSubmission, User: sender, From: sender, Recipients: []string{elsewhere}}
	for name, c := range map[string]struct {
		recorded transaction
		before   bool // its own message came to the access point before
		from, to string
		fails    bool
	}{
		"its own":                             {recorded: mine, from: attacker, to: elsewhere},
		"its own, the sender in capitals":     {recorded: mine, from: strings.ToUpper(attacker), to: elsewhere},
		"its own, again":                      {recorded: mine, before: true, from: attacker, to: elsewhere},
		"one without a login":                 {recorded: transaction{Port: portSubmission, From: attacker, Recipients: []string{elsewhere}}, from: attacker, to: elsewhere, fails: true},
		"one of port 25 in another's name":    {recorded: transaction{Port: portMX, From: sender, Recipients: []string{"aperta@" + ours}}, from: attacker, to: elsewhere, fails: true},
		"one of port 25 in the same name":     {recorded: transaction{Port: portMX, From: attacker, Recipients: []string{elsewhere}}, from: attacker, to: elsewhere, fails: true},
		"another mailbox's":                   {recorded: others, from: attacker, to: elsewhere, fails: true},
		"another mailbox's that is certified": {recorded: others, before: true, from: attacker, to: elsewhere, fails: true},
		"one that has another recipient":      {recorded: mine, before: true, from: attacker, to: "y@ordinaria.test", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if _, err := w.engine.record(kindTransaction, queueID, "", &c.recorded); err != nil {
				t.Fatal(err)
			}
			if c.before {
				if err := w.engine.access(handed(queueID, c.recorded.From, c.recorded.Recipients, letter(c.recorded.From, elsewhere, "")))[0]; err != nil {
					t.Fatal(err)
				}
			}
			sent, told, custody := len(w.outside), len(w.inside), len(custodyOf(t, w))
			text := letter(c.recorded.From, c.recorded.Recipients[0], "X-Falso: vero\r\n") // what the transaction's own checks would pass
			err := w.engine.access(handed(queueID, c.from, []string{c.to}, text))[0]
			if (err != nil) != c.fails {
				t.Fatalf("the access point answered %v", err)
			}
			if c.fails && (len(w.outside) != sent || len(w.inside) != told || len(custodyOf(t, w)) != custody) {
				t.Errorf("%d left, %d notices were made, custody has %d more", len(w.outside)-sent, len(w.inside)-told, len(custodyOf(t, w))-custody)
			}
			if !c.fails && len(w.outside) != 1 {
				t.Errorf("%d left, want 1", len(w.outside))
			}
		})
	}
}

// What a stranger calls a report of Postfix, or a submission's own identifier, makes nothing at the incoming point either.
func TestAStrangersReportEndsNoSubmission(t *testing.T) {
	for name, c := range map[string]struct {
		id    func(submission string) string
		fails bool
	}{
		"under an identifier that the log does not know": {id: func(string) string { return "4jX5CV7777zmF" }},
		"under the submission's identifier":              {id: func(submission string) string { return submission }, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.submit(sender, []string{"x@ordinaria.test"}, letter(sender, "x@ordinaria.test", ""))
			w.run(enoughRounds)
			w.bounce(sender, "Original-Envelope-Id: "+pec.Identifier("a", id, ours), "x@ordinaria.test 5.1.1")
			_, report, _, err := splitReceived(w.queue[0].raw, "mx.uno.test")
			if err != nil {
				t.Fatal(err)
			}
			w.queue = nil
			if err := w.engine.incoming(handed(c.id(id), "", []string{sender}, string(report)))[0]; (err != nil) != c.fails {
				t.Errorf("the incoming point answered %v", err)
			}
			w.run(enoughRounds)
			if diff := cmp.Diff([]string{"accettazione"}, w.titles(sender)); diff != "" {
				t.Errorf("the sender's mailbox (-want +got):\n%s", diff)
			}
		})
	}
}
