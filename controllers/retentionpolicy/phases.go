package retentionpolicy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/index"
	"github.com/pec-operator/pec-operator/internal/peer"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// mailbox is a mailbox of the policy.
type mailbox struct {
	address string
	host    types.NamespacedName // of the stack that holds its mail
	engine  string               // base URL
	site    string               // that archives it; "" is any
	holds   []v1alpha1.LegalHold
}

// compareClocks shows whether two promises about the archive differ, whatever else is the matter.
func compareClocks(_ context.Context, s *scope) (reconcile.Result, error) {
	c := judgeClocks(s.policy, s.Now)
	s.Say(c.Type, c.Status, c.Reason, c.Message)
	return reconcile.Result{}, nil
}

// selectMailboxes finds the policy's mailboxes and the stacks that hold them.
func selectMailboxes(ctx context.Context, s *scope) (reconcile.Result, error) {
	var all v1alpha1.MailboxList
	var policies v1alpha1.RetentionPolicyList
	for _, list := range []client.ObjectList{&all, &policies} {
		if err := s.Client.List(ctx, list, client.InNamespace(s.policy.Namespace)); err != nil {
			return reconcile.Result{}, fmt.Errorf("listing what %s selects from: %w", client.ObjectKeyFromObject(s.policy), err)
		}
	}
	found := selectFrom(s.policy, policies.Items, all.Items)
	s.policy.Status.Selected, s.policy.Status.Elsewhere = ptr.To(int32(len(found.mailboxes))), ptr.To(int32(found.elsewhere)) //nolint:gosec // no cluster has as many
	if n := len(found.overlaps); n > 0 {
		s.True(v1alpha1.ConditionOverlapping, v1alpha1.ReasonFirstNameWins, fmt.Sprintf(
			"%d mailboxes are selected alike by two policies, and are under the one whose name comes first: %s; give them retentionPolicyRef, or select them once", n, named(found.overlaps)))
	}
	domains := map[string]mailbox{} // what is common to a domain's mailboxes
	for _, m := range found.mailboxes {
		common, ok := domains[m.Spec.DomainRef.Name]
		if !ok {
			var err error
			if common, err = s.findDomain(ctx, m.Spec.DomainRef.Name); err != nil {
				return reconcile.Result{}, err
			}
			domains[m.Spec.DomainRef.Name] = common
		}
		common.address, common.holds = m.Address(), m.Spec.LegalHolds
		s.selected = append(s.selected, common)
	}
	return reconcile.Result{}, nil
}

// findDomain finds the stack of a domain and the site that archives it.
func (s *scope) findDomain(ctx context.Context, name string) (mailbox, error) {
	domain, host := &v1alpha1.PECDomain{}, &v1alpha1.PECDomain{}
	err := s.Client.Get(ctx, types.NamespacedName{Namespace: s.policy.Namespace, Name: name}, domain)
	if apierrors.IsNotFound(err) {
		return mailbox{}, reconcile.Waiting(recheck, v1alpha1.ConditionArchiving, v1alpha1.ReasonDomainNotFound, fmt.Sprintf(
			"there is no PECDomain %s in namespace %s; create it, or delete its mailboxes", name, s.policy.Namespace))
	}
	if err != nil {
		return mailbox{}, fmt.Errorf("reading domain %s: %w", name, err)
	}
	key := index.Host(domain)
	if err := s.Client.Get(ctx, key, host); err != nil {
		return mailbox{}, fmt.Errorf("reading host %s of %s: %w", key, name, err)
	}
	if host.Spec.Provider.Type != v1alpha1.ProviderManaged {
		return mailbox{}, reconcile.Stalled(v1alpha1.ConditionArchiving, v1alpha1.ReasonHostNotManaged, fmt.Sprintf(
			"the mail of %s is not on a stack of this operator, which is all that this release archives; take its mailboxes out of this policy, or delete the policy", name))
	}
	return mailbox{host: key, engine: s.Engines.URL(key), site: index.PreferredSite(domain, host)}, nil
}

// showHolds makes legal holds visible: what they cover is archived, and never counted as due.
func showHolds(_ context.Context, s *scope) (reconcile.Result, error) {
	var references []string
	for _, hold := range s.policy.Spec.LegalHolds {
		references = append(references, fmt.Sprintf("%s on the policy (since %s)", hold.Reference, hold.Since))
	}
	for _, m := range s.selected {
		for _, hold := range m.holds {
			references = append(references, fmt.Sprintf("%s on %s (since %s)", hold.Reference, m.address, hold.Since))
		}
	}
	s.policy.Status.Holds = ptr.To(int32(len(references)))
	reason, message := judgeHolds(references)
	if was := meta.FindStatusCondition(s.policy.Status.Conditions, v1alpha1.ConditionHoldsRespected); was != nil && was.Message != message {
		s.policy.Status.DueForRemoval = nil // it was made under other holds; the next run makes another
	}
	s.True(v1alpha1.ConditionHoldsRespected, reason, message)
	return reconcile.Result{}, nil
}

// judgeHolds is HoldsRespected. Pure.
func judgeHolds(references []string) (reason, message string) {
	const shown = 10
	switch {
	case len(references) == 0:
		return v1alpha1.ReasonNoHold, "there is no legal hold"
	case len(references) > shown:
		sum := sha256.Sum256([]byte(strings.Join(references, "\n"))) // another hold must make another message
		references = append(slices.Clone(references[:shown]), fmt.Sprintf("and %d more (%x)", len(references)-shown, sum[:4]))
	}
	return v1alpha1.ReasonHoldsInForce, strings.Join(references, ", ") + ": what they cover is archived and not counted as due; nothing of it is removed"
}

// lookAtPeer shows what the other site says. It never ends a pass.
func lookAtPeer(ctx context.Context, s *scope) (reconcile.Result, error) {
	state := s.Peer.State()
	if !state.Configured {
		return reconcile.Result{}, nil
	}
	if s.policy.Spec.Remove != nil {
		s.True(v1alpha1.ConditionWaitingForPeer, v1alpha1.ReasonPeerListUnknown,
			"a list of what is due counts once both sites hold it; in this release only the site that archives makes one, so nothing is removed")
	}
	other, err := s.Peer.Policy(ctx, client.ObjectKeyFromObject(s.policy))
	if err != nil && !errors.Is(err, peer.ErrNotConnected) && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, err
	}
	if err == nil && !slices.ContainsFunc(s.selected, s.isOurs) {
		status := &s.policy.Status
		status.LastRun, status.Archived, status.DueForRemoval = other.Status.LastRun, other.Status.Archived, other.Status.DueForRemoval
	}
	return reconcile.Result{RequeueAfter: longest}, nil
}

// isOurs says whether this site archives a mailbox.
func (s *scope) isOurs(m mailbox) bool {
	return m.site == "" || m.site == s.Site || !s.Peer.State().Configured
}

// findWork is what this site has to archive; where there is nothing, the pass has said all.
func findWork(_ context.Context, s *scope) (reconcile.Result, error) {
	for _, m := range s.selected {
		if s.isOurs(m) {
			s.work = append(s.work, m)
		}
	}
	if s.policy.Spec.Remove == nil {
		s.policy.Status.DueForRemoval = nil
	}
	switch {
	case s.policy.Spec.Archive == nil:
		s.True(v1alpha1.ConditionArchiving, v1alpha1.ReasonNothingToArchive, "the policy has no archive")
	case len(s.selected) == 0:
		s.True(v1alpha1.ConditionArchiving, v1alpha1.ReasonNothingToArchive, "no mailbox is selected; see spec.mailboxes, and retentionPolicyRef of the mailboxes")
	case len(s.work) == 0:
		s.True(v1alpha1.ConditionArchiving, v1alpha1.ReasonPreferredSiteArchives,
			"site "+s.selected[0].site+" is preferred for these mailboxes and archives them; what it reports is shown")
	}
	return reconcile.Result{}, nil
}

// idle says whether there is nothing to archive here.
func (s *scope) idle() bool { return s.policy.Spec.Archive == nil || len(s.work) == 0 }

// findDestination sees that a Job could write where the policy says: a pod whose volume is missing would wait without a word.
func findDestination(ctx context.Context, s *scope) (reconcile.Result, error) {
	if s.idle() {
		return reconcile.Result{}, nil
	}
	ns := s.policy.Namespace
	if message := s.Access.Missing(ns, nil); message != "" {
		return reconcile.Result{}, reconcile.Waiting(recheck, v1alpha1.ConditionArchiving, v1alpha1.ReasonNamespaceNotGranted, message)
	}
	missing := func(format string, args ...any) error {
		return reconcile.Waiting(recheck, v1alpha1.ConditionArchiving, v1alpha1.ReasonDestinationMissing, fmt.Sprintf(format, args...))
	}
	if claim := s.policy.Spec.Archive.Destination.VolumeClaim; claim != nil {
		err := s.Live.Get(ctx, client.ObjectKey{Namespace: ns, Name: claim.Name}, &corev1.PersistentVolumeClaim{})
		if apierrors.IsNotFound(err) {
			return reconcile.Result{}, missing("there is no PersistentVolumeClaim %s in namespace %s; create it, the operator never makes one for an archive", claim.Name, ns)
		}
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("reading PersistentVolumeClaim %s/%s: %w", ns, claim.Name, err)
		}
		return reconcile.Result{}, nil
	}
	for _, source := range sourcesOf(s.policy) {
		secret := &corev1.Secret{}
		err := s.Live.Get(ctx, client.ObjectKey{Namespace: ns, Name: source.Secret}, secret)
		if client.IgnoreNotFound(err) != nil {
			return reconcile.Result{}, fmt.Errorf("reading Secret %s/%s: %w", ns, source.Secret, err)
		}
		if len(secret.Data[source.Key]) == 0 {
			return reconcile.Result{}, missing("Secret %s has no key %s; create it", source.Secret, source.Key)
		}
	}
	return reconcile.Result{}, nil
}
