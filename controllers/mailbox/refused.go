package mailbox

import (
	"cmp"
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// hostRefused are the phases of a mailbox whose domain's host does not list the namespace any more. The stack serves on what it holds of it: who
// is to be out must be out, whoever quarrels with whom.
var hostRefused = []reconcile.Phase[*scope]{readRow, findMigrations, readCredentials, judgeAccess, takeAway}

// isHostRefused says whether a domain's host does not list its namespace, or not any more. Pure.
func isHostRefused(d *v1alpha1.PECDomain) bool {
	host := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionHostReady)
	return host != nil && host.Status == metav1.ConditionFalse && host.Reason == v1alpha1.ReasonHostRefused &&
		!meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionDomainConflict)
}

// takeAwayOrWait ends a pass over a mailbox whose domain takes none. Where that is because the host refuses its namespace, the stack is first
// asked to take away what the spec does not allow any more.
func (s *scope) takeAwayOrWait(ctx context.Context) (reconcile.Result, error) {
	if !isHostRefused(s.domain) {
		return reconcile.Result{}, s.domainWaits()
	}
	engine := engines.First(refs.Host(s.domain))
	s.engine, s.directory = s.Engines.For(engine), s.Engines.Directory(engine)
	return reconcile.Walk(ctx, s, hostRefused...)
}

// takeAway has the stack take from a mailbox what the spec does not allow any more, and a password that was replaced.
func takeAway(ctx context.Context, s *scope) (reconcile.Result, error) {
	access, sending := rowAccess(s.access)
	if row := takenAway(s.has.Mailbox, access, sending, s.version()); !s.isAway() && (!s.has.Settled || !s.has.Mailbox.Same(row)) {
		has := s.has
		if err := s.ask(ctx, has, admin.Place{Address: row.Address, Mailbox: &row, If: &has.Mailbox}); err != nil {
			return reconcile.Result{}, err
		}
	}
	s.showAccess()
	return reconcile.Result{}, cmp.Or(s.ends, s.domainWaits())
}

// rowStrictness orders the accesses of a row.
var rowStrictness = map[admin.Access]int{admin.AccessFull: 0, admin.AccessReadOnly: 1, admin.AccessSuspended: 2, admin.AccessClosed: 3}

// takenAway is a row with what is taken from it, and nothing that is given. Pure.
func takenAway(row admin.Mailbox, access admin.Access, sending admin.Refusal, version string) admin.Mailbox {
	switch {
	case row.Access == admin.AccessClosed:
		return row
	case rowStrictness[access] > rowStrictness[row.Access]:
		row.Access, row.SendingRefused = access, sending
	case access == row.Access && row.SendingRefused == "":
		row.SendingRefused = sending
	}
	row.CredentialsVersion = version
	return row
}
