package mailbox

import (
	"context"
	"fmt"
	"time"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// apartAfter is how long the sites' Secrets must differ before that is said: a new password reaches no two clusters at once.
const apartAfter = time.Minute

// compareSecrets says when the sites were given different Secrets: the holder's password then depends on which building answers him. What
// is not known is no difference: a peer that is silent, has no Secret, or was not asked yet.
func compareSecrets(ctx context.Context, s *scope) (reconcile.Result, error) {
	if !s.Peer.State().Configured {
		return reconcile.Result{}, nil
	}
	if s.holder.Secrets.Theirs != "" && s.credentials != nil && s.away == nil {
		if err := s.checkTheirs(ctx); err != nil {
			return reconcile.Result{}, err
		}
	}
	if since := s.holder.Secrets.DifferSince; !since.IsZero() {
		if wait := since.Add(apartAfter).Sub(s.Now); wait > 0 {
			return reconcile.Result{RequeueAfter: wait}, nil
		}
		ref := s.mailbox.Spec.Credentials.SecretRef
		s.True(v1alpha1.ConditionSecretsDiffer, v1alpha1.ReasonSitesGivenOtherSecrets, fmt.Sprintf(
			"the two sites were given different passwords for this mailbox, so that its holder's works at one of them only: give Secret %s the same key %s at both; this goes by itself", ref.Name, ref.KeyOrDefault()))
	}
	return reconcile.Result{}, nil
}

// checkTheirs checks the hash that the other site made against the Secret that this site's row is from, and tells the stack, which keeps the
// answer: the check is as slow as a login.
func (s *scope) checkTheirs(ctx context.Context) error {
	c, _, _, err := s.secret(ctx)
	if err != nil || c.version != s.row.CredentialsVersion {
		return err // a Secret that has become another is placed first
	}
	same, err := c.gives(s.holder.Secrets.Theirs)
	if err != nil {
		return fmt.Errorf("checking the other site's hash of %s: %w", s.mailbox.Address(), err)
	}
	return s.place(ctx, admin.Place{Address: s.mailbox.Address(), Compared: &admin.Compared{Pair: s.holder.Secrets.Pair, Same: same}})
}
