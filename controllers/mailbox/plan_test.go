package mailbox

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/engines"
)

func TestPlan(t *testing.T) {
	row := admin.Mailbox{Address: "a@d", Domain: "d", CredentialsVersion: "1", QuotaBytes: 1, Access: admin.AccessFull, OrdinaryMail: admin.OrdinaryDiscard, AdmittedAs: "Standard"}
	rules := admin.Given{Rules: []admin.Rule{{Name: "n", Header: "To", Contains: "c", Folder: "f"}}}
	with := func(change func(*admin.Mailbox)) admin.Mailbox {
		other := row
		change(&other)
		return other
	}
	suspended := with(func(m *admin.Mailbox) { m.Access = admin.AccessSuspended })
	larger := with(func(m *admin.Mailbox) { m.QuotaBytes = 2 })
	both := with(func(m *admin.Mailbox) { m.QuotaBytes, m.Access = 2, admin.AccessSuspended })
	changed := with(func(m *admin.Mailbox) { m.CredentialsVersion = "2" })
	closed := with(func(m *admin.Mailbox) { m.Access, m.ClosedAt = admin.AccessClosed, time.Unix(1000, 0) })
	opened := with(func(m *admin.Mailbox) { m.ClosedAt = time.Unix(1000, 0) })
	lost := with(func(m *admin.Mailbox) { m.Restored = true })
	delivers := with(func(m *admin.Mailbox) { m.OrdinaryMail = admin.OrdinaryDeliver })
	holder := with(func(m *admin.Mailbox) { m.PasswordChangedByHolder = true })
	known := func(row admin.Mailbox, given admin.Given) engines.Known {
		return engines.Known{Placed: admin.Placed{Mailbox: row, Holder: admin.Holder{Given: given}}, There: true, Settled: true}
	}
	here, halfDone, nothing := known(row, admin.Given{}), known(row, admin.Given{}), engines.Known{Settled: true}
	halfDone.Settled = false
	place := func(m *admin.Mailbox, g *admin.Given) *admin.Place {
		return &admin.Place{Address: row.Address, Mailbox: m, Given: g}
	}
	for name, c := range map[string]struct {
		has    engines.Known
		want   admin.Mailbox
		gives  admin.Given
		frozen bool

		ask      *admin.Place
		held     string
		password bool
	}{
		"what is there as it is wanted asks for nothing":          {has: here, want: row},
		"what its holder changed himself is no difference":        {has: known(holder, admin.Given{}), want: row},
		"a new mailbox is its row and a password":                 {has: nothing, want: row, ask: place(&row, nil), password: true},
		"with what its holder is given":                           {has: nothing, want: row, gives: rules, ask: place(&row, &rules), password: true},
		"a quota is the row alone, with the password that it has": {has: here, want: larger, ask: place(&larger, nil)},
		"a new Secret is another password":                        {has: here, want: changed, ask: place(&changed, nil), password: true},
		"a closed mailbox is opened":                              {has: known(closed, admin.Given{}), want: opened, ask: place(&opened, nil)},
		"one that the engine made again from its log is placed":   {has: known(lost, admin.Given{}), want: row, ask: place(&row, nil)},
		"also during a freeze, with what the log did not know":    {has: known(lost, admin.Given{}), want: delivers, gives: rules, frozen: true, ask: place(&delivers, &rules)},
		"and so is one whose row is gone":                         {has: nothing, want: delivers, gives: rules, frozen: true, ask: place(&delivers, &rules), password: true},
		"what is half done is asked for again":                    {has: halfDone, want: row, ask: place(&row, nil)},
		"rules are not the row":                                   {has: here, want: row, gives: rules, ask: place(nil, &rules)},
		"rules that are taken back are":                           {has: known(row, rules), want: row, ask: place(nil, &admin.Given{})},
		"a change of both is asked for at once":                   {has: here, want: larger, gives: rules, ask: place(&larger, &rules)},
		"a freeze holds a quota":                                  {has: here, want: larger, frozen: true, held: heldRow},
		"and a password":                                          {has: here, want: changed, frozen: true, held: heldRow},
		"and rules":                                               {has: here, want: row, gives: rules, frozen: true, held: heldGiven},
		"and of both it names the row":                            {has: here, want: larger, gives: rules, frozen: true, held: heldRow},
		"a freeze does not hold a lock":                           {has: here, want: suspended, frozen: true, ask: place(&suspended, nil)},
		"nor lets a quota by with it":                             {has: here, want: both, gives: rules, frozen: true, ask: place(&suspended, nil), held: heldRow},
		"what is half done is asked for again in a freeze too":    {has: halfDone, want: larger, frozen: true, ask: place(&row, nil), held: heldRow},
	} {
		t.Run(name, func(t *testing.T) {
			if c.ask != nil && c.ask.Mailbox != nil {
				c.ask.If = &c.has.Mailbox
			}
			ask, held := plan(c.has, c.want, c.gives, c.frozen)
			if diff := cmp.Diff(c.ask, ask); diff != "" || held != c.held {
				t.Errorf("held %q (-want +asked):\n%s", held, diff)
			}
			if ask != nil && ask.Mailbox != nil && newPassword(c.has, *ask.Mailbox) != c.password {
				t.Errorf("a new password: %t", !c.password)
			}
		})
	}
}
