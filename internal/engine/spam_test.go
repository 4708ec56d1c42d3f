package engine

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/antispam"
)

// judging gives mailboxes of the world an antispam setting.
func (w *world) judging(setting admin.Antispam, names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.give(name+"@"+ours, admin.Given{MayChange: allChoices, Antispam: setting})
	}
}

func TestRefusesSpam(t *testing.T) {
	taking := func(judged admin.Antispam, policy admin.OrdinaryMail) recipient {
		return recipient{inForce: admin.InForce{Antispam: judged, OrdinaryMail: admin.Ordinary{Policy: policy}}}
	}
	delivers, unjudged := taking(admin.AntispamEnabled, admin.OrdinaryDeliver), taking("", admin.OrdinaryDeliver)
	forwards, forwardsUnjudged := taking(admin.AntispamEnabled, admin.OrdinaryForward), taking("", admin.OrdinaryForward)
	for name, c := range map[string]struct {
		class      antispam.Class
		recipients []recipient
		want       bool
	}{
		"clean mail is taken":                                       {antispam.Clean, []recipient{delivers, forwards}, false},
		"suspect mail is taken where it is delivered":               {antispam.Suspect, []recipient{delivers}, false},
		"suspect mail is not forwarded":                             {antispam.Suspect, []recipient{forwards}, true},
		"suspect mail that one recipient takes is taken":            {antispam.Suspect, []recipient{forwards, delivers}, false},
		"certain spam is refused":                                   {antispam.Certain, []recipient{delivers, forwards}, true},
		"certain spam is taken for who does not have it judged":     {antispam.Certain, []recipient{delivers, unjudged}, false},
		"suspect mail for who forwards and does not have it judged": {antispam.Suspect, []recipient{forwardsUnjudged}, false},
	} {
		if got := refusesSpam(c.class, c.recipients); got != c.want {
			t.Errorf("%s: refused %v", name, got)
		}
	}
}

func TestOrdinaryMailIsJudgedWhereItsMailboxWants(t *testing.T) {
	const inbox, filed = "aperta@" + ours, "aperta+Junk@" + ours
	cases := map[string]struct {
		to     []string
		mark   string
		answer string
		shown  int
		stored []string // addresses of Dovecot's that hold it
		out    int
	}{
		"clean mail":                          {to: []string{"aperta@" + ours}, shown: 1, stored: []string{inbox}},
		"suspect mail is filed as such":       {to: []string{"aperta@" + ours}, mark: suspectMark, shown: 1, stored: []string{filed}},
		"certain spam is refused":             {to: []string{"aperta@" + ours}, mark: certainMark, answer: answerSpam, shown: 1},
		"suspect mail is not forwarded":       {to: []string{"avanti@" + ours}, mark: suspectMark, answer: answerSpam, shown: 1},
		"clean mail is forwarded":             {to: []string{"avanti@" + ours}, shown: 1, out: 1},
		"a mailbox that does not want it":     {to: []string{"altra@" + ours}, mark: certainMark, stored: []string{"altra@" + ours}},
		"two mailboxes of which one wants":    {to: []string{"altra@" + ours, "aperta@" + ours}, mark: certainMark, shown: 1, stored: []string{"altra@" + ours, filed}},
		"a virus comes first":                 {to: []string{"aperta@" + ours}, mark: certainMark + virus, answer: answerVirus + ": Test.Virus"},
		"certified mail alone is wanted":      {to: []string{"anna@" + ours}, mark: certainMark, answer: answerUncertified},
		"two mailboxes of which one forwards": {to: []string{"avanti@" + ours, "aperta@" + ours}, mark: suspectMark, shown: 1, stored: []string{filed}, out: 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.judging(admin.AntispamEnabled, "aperta", "avanti", "anna")
			raw := []byte(letter(stranger, c.to[0], "X-Prova: "+c.mark+"\r\n"))
			if answer := w.arrive(stranger, c.to, raw); answer != c.answer {
				t.Fatalf("the milter answered %q, want %q", answer, c.answer)
			}
			w.run(enoughRounds)
			var stored []string
			for address, messages := range w.store {
				stored = append(stored, address)
				marked := bytes.Contains(messages[0], []byte("\r\nX-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=7.2\r\n\ttests=PROVA\r\n"))
				if marked != (address == filed) || len(messages) != 1 || !bytes.Contains(messages[0], raw) {
					t.Errorf("%s: %d messages, marked %v:\n%s", address, len(messages), marked, messages[0])
				}
			}
			slices.Sort(stored)
			if diff := cmp.Diff(c.stored, stored); diff != "" || len(w.outside) != c.out || w.shown != c.shown {
				t.Errorf("%d sent out, %d shown to the filter (-want +got):\n%s", len(w.outside), w.shown, diff)
			}
			for _, m := range w.outside {
				if marked := bytes.Contains(m.bytes, []byte("X-Spam-Flag")); marked != (c.mark != "") || !bytes.HasSuffix(m.bytes, raw) {
					t.Errorf("sent out, marked %v:\n%s", marked, m.bytes)
				}
			}
		})
	}
}

// Envelopes, receipts and what a provider signed in a wrong form reach their mailbox as they are, whatever the message in them is.
func TestCertifiedMailIsNeverShownToTheFilter(t *testing.T) {
	w := newWorld(t)
	w.judging(admin.AntispamEnabled, "anna", "mario", "aperta")
	from := "bruno@" + theirs
	spam := letter(from, "anna@"+ours, "X-Prova: "+certainMark+"\r\nX-Spam-Flag: YES\r\n")
	_, envelope := foreignEnvelopeOf(t, from, "anna@"+ours, "q1", spam)
	_, broken := foreignEnvelopeOf(t, from, "aperta@"+ours, "q2", spam)
	broken = append(broken, "nessuno ha firmato questo\r\n"...)
	for to, raw := range map[string][]byte{"anna@" + ours: envelope, "aperta@" + ours: broken} {
		if answer := w.arrive(from, []string{to}, raw); answer != "" {
			t.Fatalf("%s: %q", to, answer)
		}
	}
	w.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, "X-Prova: "+certainMark+"\r\n"))
	w.run(enoughRounds)
	for mailbox, want := range map[string][]string{
		"anna@" + ours: {"posta-certificata", "posta-certificata"}, sender: {"accettazione", "avvenuta-consegna"}, "aperta@" + ours: {"errore"},
	} {
		got := w.titles(mailbox)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", mailbox, diff)
		}
	}
	for address, messages := range w.store {
		for _, raw := range messages {
			head, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
			if strings.Contains(address, "+") || bytes.Contains(head, []byte("X-Spam")) {
				t.Errorf("marked, for %s:\n%s", address, head)
			}
		}
	}
	if w.shown != 0 {
		t.Errorf("the filter saw %d messages", w.shown)
	}
}

func TestAFilterThatCannotAnswerKeepsNothingOut(t *testing.T) {
	for name, change := range map[string]func(w *world) (text string){
		"it is not there": func(w *world) string {
			w.engine.settings.Rspamd = "127.0.0.1:1"
			return certainMark
		},
		"the message is too large for it": func(w *world) string {
			row, err := w.engine.directory.Mailbox(t.Context(), "aperta@"+ours)
			if err != nil {
				t.Fatal(err)
			}
			row.QuotaBytes = 1 << 30
			if _, err := w.engine.directory.PutMailbox(t.Context(), row); err != nil {
				t.Fatal(err)
			}
			return certainMark + "\r\n\r\n" + strings.Repeat("una riga di testo del tutto innocua\r\n", maxJudged/36)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.judging(admin.AntispamEnabled, "aperta")
			to := "aperta@" + ours
			if answer := w.arrive(stranger, []string{to}, []byte(letter(stranger, to, "")+change(w))); answer != "" {
				t.Fatalf("the milter answered %q", answer)
			}
			w.run(enoughRounds)
			if diff := cmp.Diff([]string{"errore"}, w.titles(to)); diff != "" || w.shown != 0 {
				t.Errorf("%d shown to the filter; mailbox (-want +got):\n%s", w.shown, diff)
			}
		})
	}
}

func TestASettingThatChangedAfterDataActs(t *testing.T) {
	w := newWorld(t)
	w.judging(admin.AntispamEnabled, "aperta")
	to := "aperta@" + ours
	if answer := w.arrive(stranger, []string{to}, []byte(letter(stranger, to, "X-Prova: "+suspectMark+"\r\n"))); answer != "" {
		t.Fatal(answer)
	}
	w.judging(admin.AntispamDisabled, "aperta")
	w.run(enoughRounds)
	if diff := cmp.Diff([]string{"errore"}, w.titles(to)); diff != "" {
		t.Errorf("inbox (-want +got):\n%s", diff)
	}
}

func TestTheOperatorIsToldOfAFilterThatIsNotThere(t *testing.T) {
	w := newWorld(t)
	before, err := w.engine.status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.engine.settings.Rspamd = "127.0.0.1:1"
	after, err := w.engine.status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := append(slices.Clone(before.Problems), "the spam filter does not answer: ordinary mail is delivered unjudged")
	if diff := cmp.Diff(want, after.Problems); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(before.Problems, w.engine.problems(t.Context())); diff != "" {
		t.Errorf("readiness hangs on the filter (-want +got):\n%s", diff)
	}
}

func TestAHolderCannotAskForAFilterThatIsNotThere(t *testing.T) {
	w := givenWorld(t)
	w.engine.settings.Rspamd = ""
	for setting, want := range map[string]int{"Enabled": http.StatusUnprocessableEntity, "Disabled": http.StatusOK} {
		if status, _, answer := w.as(sender, first, http.MethodPut, "/v1/settings/antispam", `{"antispam":"`+setting+`"}`); status != want {
			t.Errorf("%s is answered %d %s", setting, status, answer)
		}
	}
}

func TestSpamFieldsHoldWhatAFilterSays(t *testing.T) {
	s := &spam{Score: 7.25, Rules: []string{"A", "B\r\nX-Evil: yes"}}
	if got, want := string(s.fields()), "X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=7.2\r\n\ttests=A,\r\n\tB__X-Evil:_yes\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A field that every sender can write must not keep a message from the filter of the mailbox that it names.
func TestALateAnswerKeepsNothingFromTheFilter(t *testing.T) {
	const other = "altra@" + ours // has nothing judged
	for name, c := range map[string]struct {
		judged string // the mailbox that has
		extra  string
		room   int
	}{
		"sent on before by a mailbox that forwards": {judged: "avanti", extra: "Delivered-To: " + forwarder + "\r\n", room: 1 << 20},
		"sent on before by one that does not":       {judged: "aperta", extra: "Delivered-To: aperta@" + ours + "\r\n", room: 1 << 20},
		"for a mailbox that has too little room":    {judged: "aperta", room: 64},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.judging(admin.AntispamEnabled, c.judged)
			to := c.judged + "@" + ours
			const stored = 64 << 10
			w.change(to, func(row *admin.Mailbox) { row.QuotaBytes = int64(stored + c.room) })
			w.store[to] = [][]byte{bytes.Repeat([]byte("x"), stored)}
			if answer := w.arrive(stranger, []string{to, other}, []byte(letter(stranger, to, c.extra+"X-Prova: "+certainMark+"\r\n"))); answer != "" {
				t.Fatal(answer)
			}
			w.run(enoughRounds)
			if got := w.store[c.judged+"+Junk@"+ours]; len(got) != 1 || !bytes.Contains(got[0], []byte("\r\nX-Spam-Flag: YES\r\n")) || len(w.store[to]) != 1 {
				t.Errorf("%d messages are filed as spam, %d beside, or none is marked", len(got), len(w.store[to])-1)
			}
			if got := w.store[other]; len(got) != 1 || bytes.Contains(got[0], []byte("X-Spam-Flag")) || w.shown != 1 {
				t.Errorf("the other mailbox has %d, or a marked one; the filter was asked %d times", len(got), w.shown)
			}
		})
	}
}
