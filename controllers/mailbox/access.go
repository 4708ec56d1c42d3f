package mailbox

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// findMigrations finds what moves the mailbox away.
func findMigrations(ctx context.Context, s *scope) (reconcile.Result, error) {
	var migrations v1alpha1.MailboxMigrationList
	key := s.mailbox.Namespace + "/" + s.mailbox.Address()
	if err := s.Client.List(ctx, &migrations, client.MatchingFields{refs.MigrationAddress: key}); err != nil {
		return reconcile.Result{}, fmt.Errorf("listing the migrations of %s: %w", s.mailbox.Address(), err)
	}
	slices.SortFunc(migrations.Items, func(a, b v1alpha1.MailboxMigration) int { return strings.Compare(a.Name, b.Name) })
	s.migrations = migrations.Items
	return reconcile.Result{}, nil
}

// judgeAccess says what the holder is to be allowed.
func judgeAccess(_ context.Context, s *scope) (reconcile.Result, error) {
	s.access = effective(s.mailbox, s.migrations, s.has.Mailbox.PasswordChangedByHolder)
	return reconcile.Result{}, nil
}

// showAccess shows what the holder may do, once the stack's row says so.
func (s *scope) showAccess() {
	if access, sending := rowAccess(s.access); s.has.Mailbox.Access == access && s.has.Mailbox.Sending == sending {
		s.mailbox.Status.EffectiveAccess = &s.access
	}
}

// strictness orders the levels.
var strictness = map[v1alpha1.AccessLevel]int{v1alpha1.LevelFull: 0, v1alpha1.LevelReceiveOnly: 1, v1alpha1.LevelReadOnly: 2, v1alpha1.LevelSuspended: 3}

// phaseLevels are what a phase of a migration away leaves to the holder, once it has begun and also when it is over: what was
// taken away does not come back by itself.
var phaseLevels = map[v1alpha1.MigrationPhaseName]v1alpha1.EffectiveAccess{
	v1alpha1.PhaseBlockSending: {Access: v1alpha1.LevelReceiveOnly, Reason: v1alpha1.RuleBlockSending},
	v1alpha1.PhaseOldReadOnly:  {Access: v1alpha1.LevelReadOnly, Reason: v1alpha1.RuleOldReadOnly},
	v1alpha1.PhaseArchive:      {Access: v1alpha1.LevelSuspended, Reason: v1alpha1.RuleArchive},
	v1alpha1.PhaseDestroy:      {Access: v1alpha1.LevelSuspended, Reason: v1alpha1.RuleArchive},
}

// effective is the strictest of what the rules allow; of several equally strict ones the first: the spec, the first login, then
// the migrations by name. A legal hold alone changes nothing: it keeps mail, it does not keep people out. The migrations are
// those that move the mailbox away, by name. Pure.
func effective(m *v1alpha1.Mailbox, migrations []v1alpha1.MailboxMigration, passwordChanged bool) v1alpha1.EffectiveAccess {
	rules := []v1alpha1.EffectiveAccess{{Access: v1alpha1.AccessLevel(m.Spec.Access), Reason: v1alpha1.RuleSpec}}
	if m.Spec.Credentials.FirstLogin == v1alpha1.FirstLoginMustChange && !passwordChanged {
		rules = append(rules, v1alpha1.EffectiveAccess{Access: v1alpha1.LevelReceiveOnly, Reason: v1alpha1.RuleFirstLogin})
	}
	for i := range migrations {
		for _, phase := range migrations[i].Status.Phases {
			rule, restricts := phaseLevels[phase.Name]
			if restricts && (phase.State == v1alpha1.PhaseRunning || phase.State == v1alpha1.PhaseDone) {
				rule.Migration = migrations[i].Name
				rules = append(rules, rule)
			}
		}
	}
	return slices.MaxFunc(rules, func(a, b v1alpha1.EffectiveAccess) int {
		return cmp.Compare(strictness[a.Access], strictness[b.Access])
	})
}

// rowAccess is how the directory says an access. Pure.
func rowAccess(e v1alpha1.EffectiveAccess) (admin.Access, admin.Refusal) {
	switch {
	case e.Access == v1alpha1.LevelReceiveOnly && e.Reason == v1alpha1.RuleFirstLogin:
		return admin.AccessFull, admin.RefusalFirstLogin
	case e.Access == v1alpha1.LevelReceiveOnly:
		return admin.AccessFull, admin.RefusalMigration
	}
	return admin.Access(e.Access), ""
}
