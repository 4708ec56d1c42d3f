package pecdomain

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// mergingAfter is how old a difference between the stores must be to be spoken of: mail is on its way to the other site all day.
const mergingAfter = 2 * time.Minute

// compareStores says whether both sites' stores hold the same mail, as the engine told when it was asked in this pass.
func compareStores(_ context.Context, s *scope) (reconcile.Result, error) {
	if _, said := s.Said(v1alpha1.ConditionStoresInSync); said || !s.Peer.State().Configured {
		return reconcile.Result{}, nil
	}
	known := meta.FindStatusCondition(s.domain.Status.Conditions, v1alpha1.ConditionStoresInSync)
	c := judgeStores(s.domain.Spec.Provider.Managed.HasOtherLink(s.Stack.Site), s.engineStatus.Peer.Stores, known, s.Now)
	s.Say(c.Type, c.Status, c.Reason, c.Message)
	return reconcile.Result{}, nil
}

// judgeStores is StoresInSync; linked says whether the spec gives the other site a peer link. Nothing in it moves while the stores stay as
// they are, nor with each delivery: what differs for a moment is not spoken of. Pure.
func judgeStores(linked bool, stores *admin.Stores, known *metav1.Condition, now time.Time) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionStoresInSync, Status: metav1.ConditionUnknown}
	diverged := known != nil && known.Reason == v1alpha1.ReasonStoresDiverged
	switch {
	case !linked:
		c.Reason, c.Message = v1alpha1.ReasonSingleSite, "provider.managed.mailHosts gives no other site a peerLink: nothing is copied there; add it"
	case stores == nil:
		c.Reason, c.Message = v1alpha1.ReasonStoresNotCompared, "the engine has not compared its store with the other site's yet"
	case stores.Failed.After(stores.Reached) && now.Sub(stores.Reached) >= unknownAfter:
		c.Reason, c.Message = v1alpha1.ReasonPeerUnreachable, "the other site's engine cannot be reached: mail goes on here, and the stores merge when it is back"
	case stores.Diverged > 0 || (stores.Differing > 0 && diverged):
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonStoresDiverged
		c.Message = "some mailboxes have not held the same mail at both sites for half an hour, and syncs do not mend it: status.sites[].stores names them; the engine's log at both sites says why"
	case stores.Differing > 0 && now.Sub(stores.Since) >= mergingAfter:
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonStoresMerging
		c.Message = "some mailboxes hold mail that the other site does not have yet; they are being merged"
	case stores.Compared < stores.Mailboxes && known != nil && known.Reason == v1alpha1.ReasonStoresEqual:
		return *known // a mailbox that was just made, or an engine that has just started
	case stores.Compared < stores.Mailboxes:
		c.Reason, c.Message = v1alpha1.ReasonStoresNotCompared, "not every mailbox has been compared with the other site's yet"
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonStoresEqual, "both sites' stores hold the same mail, as their digests say"
	}
	return c
}

// siteStores is a site's stores as the status shows them; differing mailboxes are the other site's. Pure.
func siteStores(digest string, differ *admin.Stores) *v1alpha1.SiteStores {
	if digest == "" {
		return nil
	}
	out := &v1alpha1.SiteStores{Digest: digest}
	if differ != nil && differ.Diverged > 0 {
		out.Differing = ptr.To(int32(min(differ.Diverged, 1<<30))) //nolint:gosec // bounded in the line
		for _, address := range differ.Addresses[:min(len(differ.Addresses), maxNames)] {
			out.Addresses = append(out.Addresses, address[:min(len(address), maxAddress)])
		}
	}
	return out
}

// ownStores is what the engine told of this site's stores in this pass; what was known while it does not answer.
func (s *scope) ownStores() *v1alpha1.SiteStores {
	stores, asked := s.storesSaid()
	if !asked {
		return s.storesBefore(v1alpha1.SiteLocal)
	}
	return siteStores(stores.Own, nil)
}

// peerStores is the same of the other site's.
func (s *scope) peerStores() *v1alpha1.SiteStores {
	stores, asked := s.storesSaid()
	if !asked {
		return s.storesBefore(v1alpha1.SitePeer)
	}
	return siteStores(stores.Theirs, stores)
}

// storesSaid is what the engine said; false when it did not answer in this pass. A Hosted domain's host speaks for the stack.
func (s *scope) storesSaid() (*admin.Stores, bool) {
	if s.domain.Spec.Provider.Type != v1alpha1.ProviderManaged {
		return &admin.Stores{}, true
	}
	if s.engineStatus.Site == "" {
		return nil, false
	}
	if s.engineStatus.Peer.Stores == nil {
		return &admin.Stores{}, true
	}
	return s.engineStatus.Peer.Stores, true
}

func (s *scope) storesBefore(locality v1alpha1.SiteLocality) *v1alpha1.SiteStores {
	for _, site := range s.domain.Status.Sites {
		if site.Locality == locality {
			return site.Stores
		}
	}
	return nil
}

// maxAddress is how much of an address the status shows.
const maxAddress = 96
