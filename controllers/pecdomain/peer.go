package pecdomain

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/peer"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

const (
	// unreachableAfter is how long the peer must be silent before that is said: a restart over there is no news.
	unreachableAfter = 50 * time.Second
	// unknownAfter is how long what was last read of the peer is still believed.
	unknownAfter = 5 * time.Minute
)

// observePeer reads the other site's resource. It never ends a pass: whatever the peer does, this site goes on.
func observePeer(ctx context.Context, s *scope) (reconcile.Result, error) {
	state := s.Peer.State()
	if !state.Configured {
		return reconcile.Result{}, nil
	}
	other, err := s.Peer.Domain(ctx, client.ObjectKeyFromObject(s.domain))
	if local := localSite(other); local != nil && local.Name == s.Stack.Site {
		s.False(v1alpha1.ConditionPeerReachable, v1alpha1.ReasonPeerIsSelf, fmt.Sprintf(
			"what answers as the other site says that it is site %s, as this one; correct the kubeconfig of the peer, or the value site", local.Name))
		s.Say(v1alpha1.ConditionSpecInSync, metav1.ConditionUnknown, v1alpha1.ReasonPeerUnknown, "nothing is read of the other site: PeerReachable says why")
		return reconcile.Result{RequeueAfter: later}, nil
	}
	s.peer = other
	s.apart = s.compareMailboxes(ctx)
	known := func(t string) *metav1.Condition { return meta.FindStatusCondition(s.domain.Status.Conditions, t) }
	for _, c := range []*metav1.Condition{
		judgeReachable(state, known(v1alpha1.ConditionPeerReachable), s.Now),
		judgeSpec(s.domain, peerWord{domain: s.peer, err: err, apart: s.apart, state: state}, known(v1alpha1.ConditionSpecInSync), s.Now),
	} {
		if c != nil {
			s.Say(c.Type, c.Status, c.Reason, c.Message)
		}
	}
	return reconcile.Result{RequeueAfter: later}, nil
}

// judgeReachable is PeerReachable; nil while nothing is known yet. Pure.
func judgeReachable(state peer.State, known *metav1.Condition, now time.Time) *metav1.Condition {
	c := &metav1.Condition{Type: v1alpha1.ConditionPeerReachable}
	switch {
	case state.Reachable:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonPeerAnswers, "the other site's API server answers"
	case now.Sub(state.Since) < unreachableAfter:
		return known
	default:
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonPeerUnreachable
		c.Message = "the other site cannot be read: " + state.Why + "; this site goes on without it"
	}
	return c
}

// peerWord is what a pass knows of the other site's resource.
type peerWord struct {
	domain *v1alpha1.PECDomain // nil when it could not be read
	err    error               // of reading it
	apart  *apart              // where its mailboxes differ
	state  peer.State
}

// judgeSpec is SpecInSync; nil while nothing is known yet. Pure.
func judgeSpec(own *v1alpha1.PECDomain, other peerWord, known *metav1.Condition, now time.Time) *metav1.Condition {
	c := &metav1.Condition{Type: v1alpha1.ConditionSpecInSync}
	switch {
	case other.domain != nil && specHash(own) == specHash(other.domain):
		return judgeMailboxes(other.apart, known, now)
	case other.domain != nil:
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonSpecsDiffer
		c.Message = "the other site holds another spec; see whether both clusters follow the same Git revision"
	case apierrors.IsNotFound(other.err):
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonPeerLacksObject
		c.Message = "the other site does not have this PECDomain; apply it there too (its absence deletes nothing here)"
	case known != nil && errors.Is(other.err, peer.ErrNotConnected) && now.Sub(other.state.Since) < unknownAfter:
		return known
	case known == nil && now.Sub(other.state.Since) < unreachableAfter:
		return nil
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, v1alpha1.ReasonPeerUnknown, "the other site's spec could not be read for too long"
	}
	return c
}

// judgeMailboxes is SpecInSync of sites that hold the same spec of the domain. A difference that was spoken of and that nobody has looked into
// since, because the process is new, is believed. Pure.
func judgeMailboxes(a *apart, known *metav1.Condition, now time.Time) *metav1.Condition {
	c := &metav1.Condition{Type: v1alpha1.ConditionSpecInSync, Status: metav1.ConditionFalse}
	wasSaid := known != nil && (known.Reason == v1alpha1.ReasonMailboxesDiffer || known.Reason == v1alpha1.ReasonInForceDiffers)
	switch {
	case a != nil && a.own == "" && wasSaid && !a.settled(now):
		return known
	case a == nil || !a.settled(now):
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonSpecsEqual, "both sites hold the same specs"
	case a.inForce:
		c.Reason = v1alpha1.ReasonInForceDiffers
		c.Message = "both sites hold the same Mailbox resources and have other quotas or accesses in force, status.sites names the mailboxes; see Admitted and status.quota of each at both sites"
	default:
		c.Reason = v1alpha1.ReasonMailboxesDiffer
		c.Message = "the other site holds other Mailbox resources of this domain, status.sites names them; see whether both clusters follow the same Git revision"
	}
	return c
}

// linkPeer tells the engine where its peer is and whose certificates to trust there, when it holds another word of that: it may have been
// told by an operator that is gone, or before its volume came back from a backup.
func linkPeer(ctx context.Context, s *scope) (reconcile.Result, error) {
	link, known := peerLink(s.domain, s.peer, s.Stack.Site, s.engineStatus.Peer.Site)
	switch {
	case !known && s.peer != nil && s.peer.Status.PeerLink == nil && s.domain.Spec.Provider.Managed.HasOtherLink(s.Stack.Site):
		return reconcile.Result{RequeueAfter: soon}, nil // the other site is being set up
	case !known, link.Digest() == s.engineStatus.Peer.Digest:
		return reconcile.Result{}, nil
	}
	err := s.engine.PutPeer(ctx, link)
	switch {
	case errors.Is(err, admin.ErrRefused):
		s.Say(v1alpha1.ConditionStoresInSync, metav1.ConditionUnknown, v1alpha1.ReasonPeerLinkRefused, "the engine does not take the link to the other site, "+err.Error()+
			"; see provider.managed.mailHosts here and status.peerLink of this PECDomain there; this site goes on without it")
		return reconcile.Result{RequeueAfter: later}, nil
	case err != nil:
		return reconcile.Result{}, s.directoryWaits(err)
	}
	return reconcile.Result{}, nil
}

// peerLink is what the engine of site at should know of its peer, of which it was told that it is site told: the address from our own spec, the
// authority from the peer's status, because only the peer knows it. A site that our spec names no link of is nobody's peer any more; one
// that cannot be read stays what it is. Pure.
func peerLink(own, other *v1alpha1.PECDomain, at, told string) (link admin.Peer, known bool) {
	managed := own.Spec.Provider.Managed
	if site := localSite(other); site != nil && other.Status.PeerLink != nil {
		link = admin.Peer{Site: site.Name, Address: managed.PeerLink(site.Name), CABundle: other.Status.PeerLink.CABundle}
	}
	if link.Address == "" {
		return admin.Peer{}, !managed.HasOtherLink(at) || told != "" && managed.PeerLink(told) == ""
	}
	return link, true
}

// localSite is what the site that wrote a status says of itself; nil when it has said nothing.
func localSite(d *v1alpha1.PECDomain) *v1alpha1.SiteStatus {
	if d == nil {
		return nil
	}
	for i := range d.Status.Sites {
		if d.Status.Sites[i].Locality == v1alpha1.SiteLocal {
			return &d.Status.Sites[i]
		}
	}
	return nil
}
