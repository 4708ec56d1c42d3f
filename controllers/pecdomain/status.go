package pecdomain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

var (
	informative = []string{
		v1alpha1.ConditionPeerReachable, v1alpha1.ConditionSpecInSync, v1alpha1.ConditionAntivirusFresh, v1alpha1.ConditionDNSOwned,
		v1alpha1.ConditionDNSRecordsSound, v1alpha1.ConditionContractHonoured, v1alpha1.ConditionEvidenceSealed,
		v1alpha1.ConditionServiceLevelMet, v1alpha1.ConditionStoresInSync, v1alpha1.ConditionRowsLeftOpen,
	}
	adverse   = []string{v1alpha1.ConditionRowsLeftOpen}
	announced = []string{v1alpha1.ConditionDNSVerified}

	managedTable = reconcile.Table{
		Positive: []string{
			v1alpha1.ConditionStorageReady, v1alpha1.ConditionCertificateValid, v1alpha1.ConditionSigningReady,
			v1alpha1.ConditionIndexFresh, v1alpha1.ConditionStackReady, v1alpha1.ConditionDirectoryInSync, v1alpha1.ConditionDNSVerified,
		},
		Negative:    []string{v1alpha1.ConditionDomainConflict, v1alpha1.ConditionClaimLost, v1alpha1.ConditionAwaitingExternal},
		Informative: informative,
		Adverse:     adverse,
		Announced:   announced,
		Served:      "the domain's mail is accepted, certified and delivered at this site",
	}
	hostedTable = reconcile.Table{
		Positive:    []string{v1alpha1.ConditionHostReady, v1alpha1.ConditionDirectoryInSync, v1alpha1.ConditionDNSVerified},
		Negative:    []string{v1alpha1.ConditionDomainConflict, v1alpha1.ConditionAwaitingExternal},
		Informative: informative,
		Announced:   announced,
		Served:      "the host's stack accepts, certifies and delivers the domain's mail at this site",
	}
	externalTable = reconcile.Table{
		Positive:    []string{v1alpha1.ConditionDNSVerified},
		Negative:    []string{v1alpha1.ConditionDomainConflict, v1alpha1.ConditionAwaitingExternal},
		Informative: informative,
		Announced:   announced,
		Served:      "the domain's mail reaches the provider that runs it; whether that accepts it is not watched",
	}
)

// countMailboxes counts the Mailboxes of the domain from the cache.
func (s *scope) countMailboxes(ctx context.Context) (*v1alpha1.MailboxCounts, error) {
	var list v1alpha1.MailboxList
	err := s.Client.List(ctx, &list, client.InNamespace(s.domain.Namespace), client.MatchingFields{refs.MailboxDomain: s.domain.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return s.domain.Status.Mailboxes, fmt.Errorf("counting the mailboxes of %s: %w", s.domain.Name, err)
	}
	var ready, nearQuota int32
	for i := range list.Items {
		conditions := list.Items[i].Status.Conditions
		if meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) {
			ready++
		}
		if meta.IsStatusConditionFalse(conditions, v1alpha1.ConditionQuotaHealthy) {
			nearQuota++
		}
	}
	return &v1alpha1.MailboxCounts{Total: ptr.To(int32(len(list.Items))), Ready: &ready, NearQuota: &nearQuota}, nil
}

// complete fills the rest of the status once the conditions stand.
func (s *scope) complete(counts *v1alpha1.MailboxCounts) {
	status := &s.domain.Status
	status.Mailboxes = counts
	if seals := s.engineStatus.Evidence.Seals; seals.Day != "" {
		status.Evidence = &v1alpha1.EvidenceStatus{Day: seals.Day, Records: ptr.To(int64(seals.Records)), Head: seals.Head}
	}
	if s.domain.Spec.Provider.Type == v1alpha1.ProviderManaged {
		status.PeerLink = &v1alpha1.PeerLinkStatus{CABundle: string(s.Authority.PEM)}
	}
	entries := []v1alpha1.SiteStatus{siteEntry(s.Stack.Site, v1alpha1.SiteLocal, s.domain)}
	if s.specs != nil {
		entries[0].Specs = siteSpecs(s.specs.digest(), nil, s.Now)
	}
	entries[0].Stores = s.ownStores()
	switch other := s.peer; {
	case other != nil && localSite(other) != nil:
		entry := siteEntry(localSite(other).Name, v1alpha1.SitePeer, other)
		entry.Specs = siteSpecs(digestOf(localSite(other)), s.apart, s.Now)
		entry.Stores = s.peerStores()
		entries = append(entries, entry)
	case other == nil && s.Peer.State().Configured:
		entries = append(entries, unreadPeer(status.Sites, meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionSpecInSync))...)
	}
	status.Sites = stampSites(status.Sites, entries, s.Now)
	var ready []string
	for _, site := range status.Sites {
		if site.Ready == metav1.ConditionTrue {
			ready = append(ready, site.Name)
		}
	}
	slices.Sort(ready)
	status.ReadySites = strings.Join(ready, ",")
}

// unreadPeer is the entry of a peer whose resource this pass could not read: what was last known of it, but not that it is Ready once
// nothing is known of its spec any more; none where it has no such PECDomain. Pure.
func unreadPeer(old []v1alpha1.SiteStatus, spec *metav1.Condition) []v1alpha1.SiteStatus {
	at := slices.IndexFunc(old, func(e v1alpha1.SiteStatus) bool { return e.Locality == v1alpha1.SitePeer })
	if at < 0 || spec != nil && spec.Reason == v1alpha1.ReasonPeerLacksObject {
		return nil
	}
	entry := old[at]
	if spec != nil && spec.Reason == v1alpha1.ReasonPeerUnknown {
		entry.Ready = metav1.ConditionUnknown
	}
	return []v1alpha1.SiteStatus{entry}
}

// siteEntry is what a site's status says in one line.
func siteEntry(name string, locality v1alpha1.SiteLocality, d *v1alpha1.PECDomain) v1alpha1.SiteStatus {
	entry := v1alpha1.SiteStatus{Name: name, Locality: locality, Ready: metav1.ConditionUnknown, SpecHash: specHash(d)}
	if ready := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		entry.Ready = ready.Status
	}
	if d.Status.Mailboxes != nil {
		entry.Mailboxes = d.Status.Mailboxes.Total
	}
	return entry
}

// stampSites gives each entry the time of its last change: a time that moved on every pass would be a write on every pass.
func stampSites(old, entries []v1alpha1.SiteStatus, now time.Time) []v1alpha1.SiteStatus {
	for i := range entries {
		entries[i].ObservedTime = metav1.NewTime(now.Truncate(time.Second))
		for _, was := range old {
			kept := entries[i]
			kept.ObservedTime = was.ObservedTime
			if equality.Semantic.DeepEqual(kept, was) {
				entries[i] = kept
			}
		}
	}
	return entries
}

// specHash is equal at two sites when their specs are.
func specHash(d *v1alpha1.PECDomain) string { return hashOf(d.Spec) }
