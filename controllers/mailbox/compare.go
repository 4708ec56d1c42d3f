package mailbox

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

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
	if s.has.Holder.Secrets.Theirs != "" && s.credentials != nil && !s.isAway() {
		if err := s.checkTheirs(ctx); err != nil {
			return reconcile.Result{}, err
		}
	}
	if since := s.has.Holder.Secrets.DifferSince; !since.IsZero() {
		if wait := since.Add(apartAfter).Sub(s.Now); wait > 0 {
			return reconcile.Result{RequeueAfter: wait}, nil
		}
		secret, err := s.secret(ctx)
		if err != nil && !apierrors.IsForbidden(err) { // which CredentialsValid says
			return reconcile.Result{}, err
		}
		s.True(v1alpha1.ConditionSecretsDiffer, v1alpha1.ReasonSitesGivenOtherSecrets, differing(secret.credentials, s.mailbox.Spec.Credentials.SecretRef))
	}
	return reconcile.Result{}, nil
}

// differing says that the other site was given another Secret than this one. With a hash this site knows no more than that it is not the
// other's: two of one password differ too, and then the holder gets in at both. Pure.
func differing(c credentials, ref v1alpha1.SecretKeyReference) string {
	what := "the two sites were given different passwords for this mailbox, so that its holder's works at one of them only"
	if c.hashed != "" {
		what = "this site was given a hash for this mailbox that is not what the other site was given, and two hashes cannot be compared: its holder's password may work at one of them only"
	}
	return fmt.Sprintf("%s: give Secret %s the same key %s at both; this goes by itself", what, ref.Name, ref.KeyOrDefault())
}

// checkTheirs checks the hash that the other site made against the Secret that this site's row is from, and tells the stack, which keeps the
// answer: the check is as slow as a login.
func (s *scope) checkTheirs(ctx context.Context) error {
	secret, err := s.secret(ctx)
	if err != nil || secret.version != s.has.Mailbox.CredentialsVersion {
		return err // a Secret that has become another is placed first
	}
	same, err := secret.gives(s.has.Holder.Secrets.Theirs)
	if err != nil {
		return fmt.Errorf("checking the other site's hash of %s: %w", s.mailbox.Address(), err)
	}
	return s.place(ctx, admin.Place{Address: s.mailbox.Address(), Compared: &admin.Compared{Pair: s.has.Holder.Secrets.Pair, Same: same}})
}
