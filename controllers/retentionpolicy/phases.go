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
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/peer"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// mailbox is a mailbox of the policy.
type mailbox struct {
	address string
	host    types.NamespacedName // of the stack that holds its mail
	engine  string               // base URL
	site    string               // that archives it; "" is any
	review  bool                 // not this site
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
	if len(found.overlaps) > 0 {
		s.True(v1alpha1.ConditionOverlapping, v1alpha1.ReasonFirstNameWins,
			"what policies select alike is under the one whose name comes first: "+named(found.overlaps)+"; give these mailboxes retentionPolicyRef, or select each once")
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
	key := refs.Host(domain)
	if err := s.Client.Get(ctx, key, host); err != nil {
		return mailbox{}, fmt.Errorf("reading host %s of %s: %w", key, name, err)
	}
	if host.Spec.Provider.Type != v1alpha1.ProviderManaged {
		return mailbox{}, reconcile.Stalled(v1alpha1.ConditionArchiving, v1alpha1.ReasonHostNotManaged, fmt.Sprintf(
			"the mail of %s is not on a stack of this operator, which is all that this release archives; take its mailboxes out of this policy, or delete the policy", name))
	}
	return mailbox{host: key, engine: s.Engines.URL(engines.First(key)), site: refs.PreferredSite(domain, host)}, nil
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

// isOurs says whether this site archives a mailbox: the preferred one does, or the other in its place once it is silent for long enough.
// Only into a bucket, that both write: what a package holds is archived once, whoever looks next, while a volume claim is one site's.
func (s *scope) isOurs(m mailbox) bool {
	role := peer.RoleOf(s.Site, m.site, s.Peer.State(), s.StandIn, s.Jobs.Now())
	if !role.Deputy {
		return role.Acts
	}
	if a := s.policy.Spec.Archive; a == nil || a.Destination.S3 == nil {
		return false
	}
	s.True(v1alpha1.ConditionStandingIn, v1alpha1.ReasonPreferredSiteSilent, "site "+m.site+", the preferred one, is silent; this one archives in its place until that answers")
	return true
}

// findWork is what this site has to archive, and, with remove, what it has to list of what the other site archives.
func findWork(ctx context.Context, s *scope) (reconcile.Result, error) {
	for _, m := range s.selected {
		if s.isOurs(m) {
			s.work, s.archives = append(s.work, m), true
		} else if m.review = true; s.policy.Spec.Remove != nil {
			s.work = append(s.work, m)
		}
	}
	if s.policy.Spec.Remove == nil {
		s.policy.Status.DueForRemoval = nil
	}
	if !s.idle() {
		var err error
		if s.missing, err = s.lookAtDestination(ctx); err != nil {
			return reconcile.Result{}, err
		}
		if s.missing != nil && !s.archives {
			s.work, s.policy.Status.DueForRemoval = nil, nil // what lies at the other site only cannot be reviewed here
		}
	}
	switch {
	case s.policy.Spec.Archive == nil:
		s.True(v1alpha1.ConditionArchiving, v1alpha1.ReasonNothingToArchive, "the policy has no archive")
	case len(s.selected) == 0:
		s.True(v1alpha1.ConditionArchiving, v1alpha1.ReasonNothingToArchive, "no mailbox is selected; see spec.mailboxes, and retentionPolicyRef of the mailboxes")
	case len(s.work) == 0:
		s.True(v1alpha1.ConditionArchiving, v1alpha1.ReasonPreferredSiteArchives, s.whoArchives())
	}
	return reconcile.Result{}, nil
}

func (s *scope) whoArchives() string {
	return "site " + s.selected[0].site + " is preferred for these mailboxes and archives them; what it reports is shown"
}

// idle says whether there is nothing to do here.
func (s *scope) idle() bool { return s.policy.Spec.Archive == nil || len(s.work) == 0 }

// lookAtPeer shows what the other site says. It never ends a pass.
func lookAtPeer(ctx context.Context, s *scope) (reconcile.Result, error) {
	if !s.Peer.State().Configured {
		s.showArchived(s.policy.Status.Archived)
		return reconcile.Result{}, nil
	}
	other, err := s.Peer.Policy(ctx, client.ObjectKeyFromObject(s.policy))
	switch {
	case err == nil:
		s.peer = peerList{looked: true, answers: true, there: true, due: other.Status.DueForRemoval, restore: other.Status.Restore}
	case apierrors.IsNotFound(err):
		s.peer = peerList{looked: true, answers: true}
	case errors.Is(err, peer.ErrNotConnected):
		s.peer = peerList{looked: true}
	default:
		return reconcile.Result{}, err
	}
	status := &s.policy.Status
	if err == nil && !s.archives && len(s.selected) > 0 {
		status.LastRun, status.Archived = other.Status.LastRun, other.Status.Archived
	}
	s.showArchived(status.Archived)
	return reconcile.Result{RequeueAfter: longest}, nil
}

// showArchived shows how much is archived, and how much of it waits for document management.
func (s *scope) showArchived(messages *int64) {
	s.policy.Status.Archived, s.policy.Status.AwaitingAcknowledgement = messages, nil
	if o := s.policy.Spec.Offload; o != nil && o.Acknowledgement == v1alpha1.AcknowledgementRequired {
		s.policy.Status.AwaitingAcknowledgement = messages // nothing is acknowledged before something is handed over
	}
}

// compareLists shows whether both sites would remove the same, at the end of a pass that looked at the other one: a run may have made
// a list in it.
func (s *scope) compareLists() {
	status := &s.policy.Status
	switch {
	case s.policy.Spec.Remove == nil || !s.Peer.State().Configured:
		status.Disputes = nil
		if status.DueForRemoval != nil {
			status.DueForRemoval.Sites = []string{s.Site}
		}
		return
	case !s.peer.looked:
		return
	}
	status.Disputes = nil
	if s.missing != nil && !s.archives {
		s.True(v1alpha1.ConditionWaitingForPeer, v1alpha1.ReasonArchiveNotHere, "this site cannot review what the other archives: "+s.missing.message+
			"; both must be able to read the archive before anything could be removed")
		return
	}
	addresses := make([]string, len(s.selected))
	for i, m := range s.selected {
		addresses[i] = m.address
	}
	v := judgeLists(s.Site, status.DueForRemoval, s.peer, addresses)
	if status.DueForRemoval != nil {
		status.DueForRemoval.Sites = v.sites
	}
	status.Disputes = v.disputes
	if v.condition != "" {
		s.True(v.condition, v.reason, v.message)
	}
}

// missing is what a Job would lack, and the reason for a condition.
type missing struct{ reason, message string }

// findDestination sees that a Job could write where the policy says: a pod whose volume is missing would wait without a word.
func findDestination(_ context.Context, s *scope) (reconcile.Result, error) {
	if s.idle() || s.missing == nil {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, reconcile.Waiting(recheck, v1alpha1.ConditionArchiving, s.missing.reason, s.missing.message)
}

// lookAtDestination answers what a Job would lack, nil for nothing.
func (s *scope) lookAtDestination(ctx context.Context) (*missing, error) {
	ns := s.policy.Namespace
	if message := s.Namespaces.Missing(ns, nil); message != "" {
		return &missing{v1alpha1.ReasonNamespaceNotGranted, message}, nil
	}
	if claim := s.policy.Spec.Archive.Destination.VolumeClaim; claim != nil {
		err := s.Live.Get(ctx, client.ObjectKey{Namespace: ns, Name: claim.Name}, &corev1.PersistentVolumeClaim{})
		if apierrors.IsNotFound(err) {
			return &missing{v1alpha1.ReasonDestinationMissing, fmt.Sprintf(
				"there is no PersistentVolumeClaim %s in namespace %s; create it, the operator never makes one for an archive", claim.Name, ns)}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading PersistentVolumeClaim %s/%s: %w", ns, claim.Name, err)
		}
		return nil, nil
	}
	for _, source := range sourcesOf(s.policy) {
		secret := &corev1.Secret{}
		err := s.Live.Get(ctx, client.ObjectKey{Namespace: ns, Name: source.Secret}, secret)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("reading Secret %s/%s: %w", ns, source.Secret, err)
		}
		if len(secret.Data[source.Key]) == 0 {
			return &missing{v1alpha1.ReasonDestinationMissing, fmt.Sprintf("Secret %s has no key %s; create it", source.Secret, source.Key)}, nil
		}
	}
	return nil, nil
}
