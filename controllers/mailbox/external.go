package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/imapx"
	"github.com/pec-operator/pec-operator/internal/mailage"
	"github.com/pec-operator/pec-operator/internal/peer"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

const (
	imapsPort = 993
	// firstLook is how long a first look may take before the status says that one is under way: most take less, and are one write.
	firstLook = 4 * time.Second
)

// externalTable declares the conditions of a mailbox that another provider runs.
var externalTable = reconcile.Table{
	Positive:    []string{v1alpha1.ConditionCredentialsValid, v1alpha1.ConditionWatched},
	Informative: []string{v1alpha1.ConditionUnderLegalHold, v1alpha1.ConditionQuotaHealthy, v1alpha1.ConditionArchiveRecommended},
	Adverse:     []string{v1alpha1.ConditionArchiveRecommended},
	Served:      "the mailbox is its provider's, and watched; nothing of it is provisioned here",
}

// external is the way of a mailbox that another provider runs.
var external = reconcile.Road[*scope]{Table: externalTable, Phases: []reconcile.Phase[*scope]{clearProvisioned, leaveToClaimant, readCredentials, requirePassword, watchProvider}}

// clearProvisioned shows nothing of what only a stack has.
func clearProvisioned(_ context.Context, s *scope) (reconcile.Result, error) {
	status := &s.mailbox.Status
	status.AdmittedAs, status.EffectiveAccess, status.Holder = "", nil, nil
	return reconcile.Result{}, nil
}

// leaveToClaimant logs nobody in at the mailboxes of a domain that another namespace claimed first: whoever names it too would guess their
// passwords by the operator, and lock them. The domain's condition may not be there yet.
func leaveToClaimant(ctx context.Context, s *scope) (reconcile.Result, error) {
	first, err := refs.Claimant(ctx, s.Client, s.domain.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	if first != nil && first.Namespace != s.domain.Namespace {
		s.Poller.forget(client.ObjectKeyFromObject(s.mailbox))
		status := &s.mailbox.Status // what was seen of it is another body's
		status.Usage, status.Quota, status.TriedSecretVersion = nil, "", ""
		return reconcile.Result{RequeueAfter: recheck}, reconcile.Stalled(v1alpha1.ConditionWatched, v1alpha1.ReasonDomainNotReady, fmt.Sprintf(
			"namespace %s claimed %s first, so that nobody logs in for this one; DomainConflict of the PECDomain says what to do", first.Namespace, s.domain.Name))
	}
	return reconcile.Result{}, nil
}

// requirePassword wants the password itself: a hash opens no other provider's mailbox.
func requirePassword(_ context.Context, s *scope) (reconcile.Result, error) {
	if s.credentials != nil && s.credentials.hashed != "" {
		ref := s.mailbox.Spec.Credentials.SecretRef
		s.credentials = nil
		s.False(v1alpha1.ConditionCredentialsValid, v1alpha1.ReasonHashUnusable, fmt.Sprintf(
			"Secret %s, key %s: it is a hash, with which nobody logs in at %s; give the password itself", ref.Name, ref.KeyOrDefault(), s.provider().Name))
	}
	return reconcile.Result{}, nil
}

func (s *scope) provider() *v1alpha1.ExternalProvider { return s.domain.Spec.Provider.External }

// watchProvider shows what the last look at the provider saw. Looking is done in the background.
func watchProvider(_ context.Context, s *scope) (reconcile.Result, error) {
	status := &s.mailbox.Status
	if !peer.RoleOf(s.Site, refs.PreferredSite(s.domain, s.domain), s.Peer.State(), s.StandIn, s.Now).Acts {
		status.Usage, status.Quota, status.TriedSecretVersion = nil, "", "" // what is not looked at grows old
		s.True(v1alpha1.ConditionWatched, v1alpha1.ReasonPreferredSiteWatches, "site "+s.domain.Spec.PreferredSite+" is the preferred one of "+s.domain.Name+" and looks; its Mailbox has what it saw")
		return reconcile.Result{RequeueAfter: recheck}, nil
	}
	if s.credentials == nil {
		s.sayAll(s.judgeExternal)
		return reconcile.Result{RequeueAfter: recheck}, nil
	}
	seen := s.Poller.see(s.mailbox, look{provider: s.provider().IMAP.HostPort(imapsPort), version: s.credentials.version}, *s.credentials, s.Request(), s.Now)
	if seen.last == nil {
		return s.awaitLook(seen)
	}
	return s.showSight(*seen.last)
}

// awaitLook repeats what an earlier operator saw until its turn comes. A first look has some seconds before anything is written.
func (s *scope) awaitLook(seen watched) (reconcile.Result, error) {
	if seen.recalled || seen.due.After(s.Now) {
		s.sayAll(s.judgeExternal)
		if was := meta.FindStatusCondition(s.mailbox.Status.Conditions, v1alpha1.ConditionWatched); was != nil && was.Status == metav1.ConditionFalse {
			return reconcile.Result{}, reconcile.Waiting(recheck, was.Type, was.Reason, was.Message)
		}
		s.Repeat(externalTable.Positive...)
		return reconcile.Result{RequeueAfter: recheck}, nil
	}
	if s.comeBack = seen.since.Add(firstLook).Sub(s.Now); s.comeBack > 0 {
		return reconcile.Result{}, errNotYet
	}
	s.sayAll(s.judgeExternal)
	return reconcile.Result{}, reconcile.Waiting(recheck, v1alpha1.ConditionWatched, v1alpha1.ReasonFirstLook, fmt.Sprintf(
		"%s is being asked and has not answered yet; nothing need be done", s.provider().Name))
}

// showSight shows what a look saw, or why it saw nothing: then what was seen before stays.
func (s *scope) showSight(saw sight) (reconcile.Result, error) {
	name, at, ref := s.provider().Name, saw.look.provider, s.mailbox.Spec.Credentials.SecretRef
	if saw.err == nil {
		s.showInventory(saw.inventory)
	}
	s.sayAll(s.judgeExternal)
	switch {
	case errors.Is(saw.err, imapx.ErrCredentials):
		s.mailbox.Status.TriedSecretVersion = saw.look.triedAs(s.credentials.resourceVersion)
		return reconcile.Result{RequeueAfter: recheck}, reconcile.Stalled(v1alpha1.ConditionCredentialsValid, v1alpha1.ReasonRefusedByProvider, fmt.Sprintf(
			"%s refuses %s with the password of Secret %s, key %s: have its holder correct the Secret; it is not tried again before, because wrong passwords lock an account", name, s.mailbox.Address(), ref.Name, ref.KeyOrDefault()))
	case errors.Is(saw.err, imapx.ErrRefused):
		return reconcile.Result{}, reconcile.Waiting(recheck, v1alpha1.ConditionWatched, v1alpha1.ReasonProviderRefuses, fmt.Sprintf(
			"%s (%s) answers and does not open the mailbox now; it is asked again with growing pauses, ask %s if it lasts", name, at, name))
	case saw.err != nil:
		return reconcile.Result{}, reconcile.Waiting(recheck, v1alpha1.ConditionWatched, v1alpha1.ReasonProviderUnreachable, fmt.Sprintf(
			"%s (%s) cannot be asked: %s; it is asked again with growing pauses, see provider.external.imap of %s and the network if it lasts", name, at, imapx.Why(saw.err), s.domain.Name))
	}
	s.mailbox.Status.TriedSecretVersion = saw.look.triedAs(s.credentials.resourceVersion)
	s.True(v1alpha1.ConditionCredentialsValid, v1alpha1.ReasonAcceptedByProvider, name+" lets the operator in with the password")
	s.True(v1alpha1.ConditionWatched, v1alpha1.ReasonProviderAnswers, name+" answers; the mailbox is read, and nothing is changed in it")
	if saw.inventory.Bytes == mailage.Unknown {
		s.Say(v1alpha1.ConditionQuotaHealthy, metav1.ConditionUnknown, v1alpha1.ReasonUseNotTold, fmt.Sprintf(
			"%s tells neither a quota nor the size of a folder, and there are too many messages to add up: ask it how full the mailbox is", name))
	}
	return reconcile.Result{RequeueAfter: recheck}, nil
}

// showInventory puts what a look saw into the status. The provider's word on the quota counts before the spec's.
func (s *scope) showInventory(i imapx.Inventory) {
	status := &s.mailbox.Status
	if i.Bytes == mailage.Unknown {
		status.Usage, status.Quota = nil, ""
		return
	}
	m := measure{bytes: i.Bytes, messages: i.Messages, quota: i.Limit, ages: i.Ages}
	switch said := s.mailbox.QuotaIn(s.domain); {
	case i.Limit > 0:
		status.Quota = resource.NewQuantity(i.Limit, resource.BinarySI).String()
	case said != nil:
		m.quota, status.Quota = said.Value(), said.String()
	default:
		status.Quota = ""
	}
	s.show(m, s.judgeExternal)
}

// judgeExternal is what there is to say of a use.
func (s *scope) judgeExternal(u *v1alpha1.MailboxUsage) []metav1.Condition {
	if u == nil {
		return nil
	}
	var quota int64
	if q, err := resource.ParseQuantity(s.mailbox.Status.Quota); err == nil {
		quota = q.Value()
	}
	said := judgeQuota(u, s.reasonWas(v1alpha1.ConditionQuotaHealthy), quota)
	if said == nil {
		said = []metav1.Condition{{Type: v1alpha1.ConditionQuotaHealthy, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonQuotaNotOffered,
			Message: s.provider().Name + " tells no quota: give spec.quota what its contract says, and the use is judged by that"}}
	}
	return slices.Concat(said, judgeArchive(u, s.reasonWas(v1alpha1.ConditionArchiveRecommended), archiver{provider: s.provider().Name}, s.Now))
}

// concernsWatched says whether a change of a domain changes where its mailboxes are watched, or whether they are. Pure.
func concernsWatched(before, after client.Object) bool {
	old, is := before.(*v1alpha1.PECDomain), after.(*v1alpha1.PECDomain)
	was, now := old.Spec.Provider.External, is.Spec.Provider.External
	return (was == nil) != (now == nil) || (now != nil && (was.IMAP.HostPort(imapsPort) != now.IMAP.HostPort(imapsPort) || was.Name != now.Name || old.Spec.PreferredSite != is.Spec.PreferredSite))
}
