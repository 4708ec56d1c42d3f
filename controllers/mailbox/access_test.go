package mailbox

import (
	"testing"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
)

func migration(name string, phases ...v1alpha1.MigrationPhaseStatus) v1alpha1.MailboxMigration {
	m := v1alpha1.MailboxMigration{}
	m.Name, m.Status.Phases = name, phases
	return m
}

func in(name v1alpha1.MigrationPhaseName, state v1alpha1.MigrationPhaseState) v1alpha1.MigrationPhaseStatus {
	return v1alpha1.MigrationPhaseStatus{Name: name, State: state}
}

func TestEffective(t *testing.T) {
	full := v1alpha1.EffectiveAccess{Access: v1alpha1.LevelFull, Reason: v1alpha1.RuleSpec}
	by := func(level v1alpha1.AccessLevel, rule v1alpha1.AccessRule, migration string) v1alpha1.EffectiveAccess {
		return v1alpha1.EffectiveAccess{Access: level, Reason: rule, Migration: migration}
	}
	mustChange := func(m *v1alpha1.Mailbox) { m.Spec.Credentials.FirstLogin = v1alpha1.FirstLoginMustChange }
	access := func(a v1alpha1.MailboxAccess) func(*v1alpha1.Mailbox) {
		return func(m *v1alpha1.Mailbox) { m.Spec.Access = a }
	}
	for name, c := range map[string]struct {
		change     func(*v1alpha1.Mailbox)
		migrations []v1alpha1.MailboxMigration
		changed    bool
		want       v1alpha1.EffectiveAccess
	}{
		"the spec alone":                          {want: full},
		"a spec that suspends":                    {change: access(v1alpha1.AccessSuspended), want: by(v1alpha1.LevelSuspended, v1alpha1.RuleSpec, "")},
		"a first password that must be changed":   {change: mustChange, want: by(v1alpha1.LevelReceiveOnly, v1alpha1.RuleFirstLogin, "")},
		"a first password that was changed":       {change: mustChange, changed: true, want: full},
		"a password that may be kept":             {change: func(m *v1alpha1.Mailbox) { m.Spec.Credentials.FirstLogin = v1alpha1.FirstLoginKeepPassword }, want: full},
		"a read-only mailbox stays read-only":     {change: func(m *v1alpha1.Mailbox) { mustChange(m); m.Spec.Access = v1alpha1.AccessReadOnly }, want: by(v1alpha1.LevelReadOnly, v1alpha1.RuleSpec, "")},
		"a hold alone changes nothing":            {change: func(m *v1alpha1.Mailbox) { m.Spec.LegalHolds = []v1alpha1.LegalHold{{Reference: "RG 1/2026"}} }, want: full},
		"a migration that has not begun":          {migrations: []v1alpha1.MailboxMigration{migration("m", in(v1alpha1.PhaseBlockSending, v1alpha1.PhasePending))}, want: full},
		"a phase that is held back":               {migrations: []v1alpha1.MailboxMigration{migration("m", in(v1alpha1.PhaseBlockSending, v1alpha1.PhaseHeld))}, want: full},
		"a phase that was left out":               {migrations: []v1alpha1.MailboxMigration{migration("m", in(v1alpha1.PhaseOldReadOnly, v1alpha1.PhaseSkipped))}, want: full},
		"a freeze changes what people may ask":    {migrations: []v1alpha1.MailboxMigration{migration("m", in(v1alpha1.PhaseFreeze, v1alpha1.PhaseRunning))}, want: full},
		"sending is blocked":                      {migrations: []v1alpha1.MailboxMigration{migration("m", in(v1alpha1.PhaseBlockSending, v1alpha1.PhaseRunning))}, want: by(v1alpha1.LevelReceiveOnly, v1alpha1.RuleBlockSending, "m")},
		"sending stays blocked":                   {migrations: []v1alpha1.MailboxMigration{migration("m", in(v1alpha1.PhaseBlockSending, v1alpha1.PhaseDone))}, want: by(v1alpha1.LevelReceiveOnly, v1alpha1.RuleBlockSending, "m")},
		"the old mailbox is read":                 {migrations: []v1alpha1.MailboxMigration{migration("m", in(v1alpha1.PhaseBlockSending, v1alpha1.PhaseDone), in(v1alpha1.PhaseOldReadOnly, v1alpha1.PhaseRunning))}, want: by(v1alpha1.LevelReadOnly, v1alpha1.RuleOldReadOnly, "m")},
		"the months of reading are over":          {migrations: []v1alpha1.MailboxMigration{migration("m", in(v1alpha1.PhaseOldReadOnly, v1alpha1.PhaseDone))}, want: by(v1alpha1.LevelReadOnly, v1alpha1.RuleOldReadOnly, "m")},
		"what is archived is not read":            {migrations: []v1alpha1.MailboxMigration{migration("m", in(v1alpha1.PhaseOldReadOnly, v1alpha1.PhaseDone), in(v1alpha1.PhaseArchive, v1alpha1.PhaseRunning))}, want: by(v1alpha1.LevelSuspended, v1alpha1.RuleArchive, "m")},
		"of two migrations the strictest":         {migrations: []v1alpha1.MailboxMigration{migration("a", in(v1alpha1.PhaseBlockSending, v1alpha1.PhaseRunning)), migration("b", in(v1alpha1.PhaseOldReadOnly, v1alpha1.PhaseRunning))}, want: by(v1alpha1.LevelReadOnly, v1alpha1.RuleOldReadOnly, "b")},
		"of two as strict the first by name":      {migrations: []v1alpha1.MailboxMigration{migration("a", in(v1alpha1.PhaseBlockSending, v1alpha1.PhaseDone)), migration("b", in(v1alpha1.PhaseBlockSending, v1alpha1.PhaseRunning))}, want: by(v1alpha1.LevelReceiveOnly, v1alpha1.RuleBlockSending, "a")},
		"the first login is named before a phase": {change: mustChange, migrations: []v1alpha1.MailboxMigration{migration("m", in(v1alpha1.PhaseBlockSending, v1alpha1.PhaseRunning))}, want: by(v1alpha1.LevelReceiveOnly, v1alpha1.RuleFirstLogin, "")},
	} {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.Mailbox{Spec: v1alpha1.MailboxSpec{Access: v1alpha1.AccessFull}}
			if c.change != nil {
				c.change(m)
			}
			if got := effective(m, c.migrations, c.changed); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestRowAccess(t *testing.T) {
	for level, want := range map[v1alpha1.EffectiveAccess]struct {
		access  admin.Access
		refusal admin.Refusal
	}{
		{Access: v1alpha1.LevelFull, Reason: v1alpha1.RuleSpec}:                {admin.AccessFull, ""},
		{Access: v1alpha1.LevelReceiveOnly, Reason: v1alpha1.RuleFirstLogin}:   {admin.AccessFull, admin.RefusalFirstLogin},
		{Access: v1alpha1.LevelReceiveOnly, Reason: v1alpha1.RuleBlockSending}: {admin.AccessFull, admin.RefusalMigration},
		{Access: v1alpha1.LevelReadOnly, Reason: v1alpha1.RuleOldReadOnly}:     {admin.AccessReadOnly, ""},
		{Access: v1alpha1.LevelSuspended, Reason: v1alpha1.RuleArchive}:        {admin.AccessSuspended, ""},
	} {
		if access, refusal := rowAccess(level); access != want.access || refusal != want.refusal {
			t.Errorf("%+v is %s %q in the directory", level, access, refusal)
		}
	}
}
