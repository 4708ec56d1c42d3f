package mailbox

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
)

func TestTakenAway(t *testing.T) {
	row := func(access admin.Access, sending admin.Refusal, version string) admin.Mailbox {
		return admin.Mailbox{Address: "anna@pec.test", QuotaBytes: 1, Access: access, SendingRefused: sending, CredentialsVersion: version}
	}
	for name, c := range map[string]struct {
		has     admin.Mailbox
		access  admin.Access
		sending admin.Refusal
		version string
		want    admin.Mailbox
	}{
		"an access":                              {row(admin.AccessFull, "", "1"), admin.AccessSuspended, "", "1", row(admin.AccessSuspended, "", "1")},
		"an access that was sending already":     {row(admin.AccessFull, admin.RefusalFirstLogin, "1"), admin.AccessReadOnly, "", "1", row(admin.AccessReadOnly, "", "1")},
		"sending":                                {row(admin.AccessFull, "", "1"), admin.AccessFull, admin.RefusalMigration, "1", row(admin.AccessFull, admin.RefusalMigration, "1")},
		"a former password":                      {row(admin.AccessFull, "", "1"), admin.AccessFull, "", "2", row(admin.AccessFull, "", "2")},
		"an access is not given back":            {row(admin.AccessSuspended, "", "1"), admin.AccessFull, "", "1", row(admin.AccessSuspended, "", "1")},
		"nor a milder one":                       {row(admin.AccessSuspended, "", "1"), admin.AccessReadOnly, "", "1", row(admin.AccessSuspended, "", "1")},
		"nor sending":                            {row(admin.AccessFull, admin.RefusalMigration, "1"), admin.AccessFull, "", "1", row(admin.AccessFull, admin.RefusalMigration, "1")},
		"who is closed is not opened or changed": {row(admin.AccessClosed, "", "1"), admin.AccessFull, "", "2", row(admin.AccessClosed, "", "1")},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, takenAway(c.has, c.access, c.sending, c.version)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReopens(t *testing.T) {
	closed, open := admin.Mailbox{Access: admin.AccessClosed}, admin.Mailbox{Access: admin.AccessReadOnly}
	for name, c := range map[string]struct {
		had, has admin.Mailbox
		want     bool
	}{
		"a closed mailbox that was opened":       {closed, open, true},
		"one of which the opening was refused":   {closed, closed, false},
		"a mailbox that was open":                {open, open, false},
		"a new mailbox":                          {admin.Mailbox{}, open, false},
		"one that was closed while it was asked": {open, closed, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := reopens(c.had, c.has); got != c.want {
				t.Errorf("reopens: %t", got)
			}
		})
	}
}
