package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/contract"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// showHolds makes legal holds visible, whatever else is the matter.
func showHolds(_ context.Context, s *scope) (reconcile.Result, error) {
	var references []string
	for _, hold := range s.mailbox.Spec.LegalHolds {
		references = append(references, fmt.Sprintf("%s (since %s)", hold.Reference, hold.Since))
	}
	if len(references) > 0 {
		s.True(v1alpha1.ConditionUnderLegalHold, v1alpha1.ReasonHoldListed, strings.Join(references, ", ")+
			": this resource is deleted only with confirmation, its quota and retention do not shrink; its holder can still delete messages, set access to Suspended to prevent that")
	}
	return reconcile.Result{}, nil
}

// findDomain finds the mailbox's domain, and by who runs it what is done for the mailbox. The watch on PECDomain wakes whoever waits here.
func findDomain(ctx context.Context, s *scope) (reconcile.Result, error) {
	name := s.mailbox.Spec.DomainRef.Name
	domain := &v1alpha1.PECDomain{}
	err := s.Client.Get(ctx, types.NamespacedName{Namespace: s.mailbox.Namespace, Name: name}, domain)
	switch {
	case apierrors.IsNotFound(err):
		return reconcile.Result{}, reconcile.Waiting(recheck, v1alpha1.ConditionProvisioned, v1alpha1.ReasonDomainNotFound, fmt.Sprintf(
			"there is no PECDomain %s in namespace %s; create it, or delete this mailbox", name, s.mailbox.Namespace))
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("reading the domain of %s: %w", s.mailbox.Address(), err)
	}
	s.domain = domain
	if domain.Spec.Provider.External != nil {
		s.road = external
	}
	return reconcile.Result{}, nil
}

// takeRoad does what is done for a mailbox of its domain.
func takeRoad(ctx context.Context, s *scope) (reconcile.Result, error) {
	return reconcile.Walk(ctx, s, s.road.Phases...)
}

// leaveProvider drops what is only of a mailbox that another provider runs: one may have run this.
func leaveProvider(_ context.Context, s *scope) (reconcile.Result, error) {
	s.Poller.forget(client.ObjectKeyFromObject(s.mailbox))
	s.mailbox.Status.TriedSecretVersion = ""
	return reconcile.Result{}, nil
}

// findStack finds the stack that serves the mailbox's domain.
func findStack(ctx context.Context, s *scope) (reconcile.Result, error) {
	if !takesMailboxes(s.domain) && !rowsCount(s.domain) {
		return s.takeAwayOrWait(ctx)
	}
	key := refs.Host(s.domain)
	s.host = &v1alpha1.PECDomain{}
	if err := s.Client.Get(ctx, key, s.host); err != nil {
		return reconcile.Result{}, fmt.Errorf("reading host %s of %s: %w", key, s.domain.Name, err)
	}
	engine := engines.First(key)
	s.engine, s.directory = s.Engines.For(engine), s.Engines.Directory(engine)
	return reconcile.Result{}, nil
}

// refuseOwnAddress keeps the provider's own addresses from being a mailbox's: whoever read that mailbox would read what the provider receives.
func refuseOwnAddress(_ context.Context, s *scope) (reconcile.Result, error) {
	if slices.Contains(ownAddresses(s.host), s.mailbox.Address()) {
		return reconcile.Result{}, reconcile.Stalled(v1alpha1.ConditionProvisioned, v1alpha1.ReasonAddressReserved, fmt.Sprintf(
			"%s is an address of the provider itself, which signs or receives with it; correct provider.managed.provider.mailReceipt or provider.managed.serviceAddress of PECDomain %s, or delete this Mailbox, which shuts it if it was open and keeps its mail, and make one with another local part",
			s.mailbox.Address(), client.ObjectKeyFromObject(s.host)))
	}
	return reconcile.Result{}, nil
}

// showSpamFilter says where ordinary mail was to be judged and nothing there judges it.
func showSpamFilter(_ context.Context, s *scope) (reconcile.Result, error) {
	if s.mailbox.Spec.Antispam == v1alpha1.AntispamEnabled && !s.host.RunsSpamFilter() {
		s.True(v1alpha1.ConditionSpamFilterMissing, v1alpha1.ReasonStackWithoutFilter, fmt.Sprintf(
			"ordinary mail is not judged: the stack of PECDomain %s runs no spam filter; set its provider.managed.antispam to Enabled, or leave antispam of this mailbox out", client.ObjectKeyFromObject(s.host)))
	}
	return reconcile.Result{}, nil
}

// ownAddresses are those that the provider of a stack signs or receives with; none where there is no stack. Pure.
func ownAddresses(host *v1alpha1.PECDomain) []string {
	m := host.Spec.Provider.Managed
	if m == nil {
		return nil
	}
	return []string{m.Provider.MailReceipt, m.ServiceLocalPart() + "@" + m.Provider.MailDomain}
}

// readCredentials reads the Secret and judges it. Credentials that cannot be used do not end the pass: an access that was
// withdrawn must be withdrawn whatever the Secret says.
func readCredentials(ctx context.Context, s *scope) (reconcile.Result, error) {
	if message := s.Namespaces.Missing(s.mailbox.Namespace, nil); message != "" {
		s.False(v1alpha1.ConditionCredentialsValid, v1alpha1.ReasonNamespaceNotGranted, message)
		return reconcile.Result{RequeueAfter: recheck}, nil
	}
	if s.credentials = s.unread(); s.credentials != nil {
		return reconcile.Result{}, nil
	}
	secret, err := s.secret(ctx)
	switch {
	case apierrors.IsForbidden(err):
		s.False(v1alpha1.ConditionCredentialsValid, v1alpha1.ReasonNamespaceNotGranted, s.Namespaces.Missing(s.mailbox.Namespace, err))
		return reconcile.Result{RequeueAfter: recheck}, nil
	case err != nil:
		return reconcile.Result{}, err
	case secret.reason != v1alpha1.ReasonCredentialsAccepted:
		s.False(v1alpha1.ConditionCredentialsValid, secret.reason, secret.message)
		return reconcile.Result{RequeueAfter: recheck}, nil
	}
	s.credentials = &secret.credentials
	s.True(v1alpha1.ConditionCredentialsValid, secret.reason, secret.message)
	if _, watched := s.Secrets.version(s.mailbox.Namespace, s.mailbox.Spec.Credentials.SecretRef.Name); watched && s.directory != nil {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{RequeueAfter: recheck}, nil
}

// secret reads the Secret and judges it: one that is not there has a reason too.
func (s *scope) secret(ctx context.Context) (judgedSecret, error) {
	ref, secret := s.mailbox.Spec.Credentials.SecretRef, &corev1.Secret{}
	// The API server answers from its memory, without asking etcd, once that is no older than what the watch told.
	known := &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: s.Secrets.resourceVersion(s.mailbox.Namespace, ref.Name)}}
	err := s.Live.Get(ctx, client.ObjectKey{Namespace: s.mailbox.Namespace, Name: ref.Name}, secret, known)
	if err != nil && !apierrors.IsNotFound(err) {
		return judgedSecret{}, fmt.Errorf("reading Secret %s/%s: %w", s.mailbox.Namespace, ref.Name, err)
	}
	judged := judgeSecret(secret.Data[ref.KeyOrDefault()])
	if judged.reason != v1alpha1.ReasonCredentialsAccepted {
		judged.message = fmt.Sprintf("Secret %s, key %s: %s", ref.Name, ref.KeyOrDefault(), judged.message)
		return judged, nil
	}
	judged.resourceVersion = secret.ResourceVersion
	judged.version = versionOf(secret) + "#" + ref.KeyOrDefault()
	return judged, nil
}

// placeRow makes the stack hold what the spec says, as far as it is admitted. Where something is held or refused of a mailbox that is there, it
// goes on being looked at: a freeze lasts for weeks, and in them it may fill up.
func placeRow(ctx context.Context, s *scope) (reconcile.Result, error) {
	want := s.wantedRow()
	switch {
	case s.credentials != nil:
		want.CredentialsVersion = s.credentials.version
	case !s.has.There, s.has.Mailbox.Access == admin.AccessClosed: // nobody gets in with what the former holder had
		said, _ := s.Said(v1alpha1.ConditionCredentialsValid)
		return reconcile.Result{}, reconcile.Waiting(recheck, said.Type, said.Reason, said.Message)
	default:
		want.CredentialsVersion = s.has.Mailbox.CredentialsVersion
	}
	freeze, has := freezeOf(s.migrations), s.has
	ask, held := plan(has, want, given(s.mailbox, s.domain), freeze != nil)
	switch {
	case ask != nil && s.isAway():
		return reconcile.Result{}, s.directoryWaits(s.away)
	case s.isAway() && awayForLong(s.domain, s.Now):
		return reconcile.Result{}, s.domainWaits()
	case ask != nil:
		if err := s.ask(ctx, has, *ask); err != nil {
			return reconcile.Result{}, err
		}
	}
	s.showAccess()
	s.showRow(s.has.Mailbox)
	s.mailbox.Status.Holder = holderStatus(s.has.Holder)
	if held != "" && s.ends == nil {
		s.ends = s.heldByFreeze(freeze, held)
	}
	s.sayProvisioned(s.has.Mailbox)
	return reconcile.Result{}, nil
}

// conclude ends a pass in which something is held or refused, after all else was looked at.
func conclude(_ context.Context, s *scope) (reconcile.Result, error) {
	return reconcile.Result{}, s.ends
}

// ask asks the stack for what was planned, with the hash of a new password.
func (s *scope) ask(ctx context.Context, has engines.Known, p admin.Place) error {
	if p.Mailbox != nil && newPassword(has, *p.Mailbox) {
		hash, err := s.credentials.hash()
		if err != nil {
			return fmt.Errorf("hashing the password of %s: %w", p.Address, err)
		}
		p.Mailbox.Password = hash
	}
	if err := s.place(ctx, p); err != nil {
		return err
	}
	if reopens(has.Mailbox, s.has.Mailbox) {
		readopted(s.Recorder, s.mailbox, has.Mailbox.ClosedAt)
	}
	return nil
}

// wantedRow is the row as the spec and the rules want it, but for the credentials.
func (s *scope) wantedRow() admin.Mailbox {
	row := admin.Mailbox{
		Address: s.mailbox.Address(), Domain: s.domain.Name, QuotaBytes: s.granted.Bytes, AdmittedAs: string(s.granted.Type), AdmittedIn: s.countedIn,
		Owner: admin.Owner{Namespace: s.mailbox.Namespace, UID: string(s.mailbox.UID)}, ClosedAt: s.has.Mailbox.ClosedAt,
		Shard: s.has.Mailbox.Shard, FrozenUntil: frozenUntil(s.migrations), // what is in one shard is not moved by a pass
	}
	row.OrdinaryMail, row.ForwardTo = ordinaryMail(s.mailbox, s.domain)
	row.Access, row.SendingRefused = rowAccess(s.access)
	return row
}

// place has the stack hold something of the mailbox, and takes over what it holds then. What is refused of a mailbox that is there ends the pass
// later ([conclude]).
func (s *scope) place(ctx context.Context, p admin.Place) error {
	held, err := s.directory.Place(ctx, p)
	isPlaced := held.Mailbox.Address != "" // also when a part of it was refused
	if isPlaced {
		s.has.Placed = held
		s.showAccess()
	}
	switch {
	case errors.Is(err, admin.ErrChanged):
		s.comeBack = pageAgeAgain
		return errNotYet
	case errors.Is(err, admin.ErrRefused) && isOpen(s.has.Mailbox):
		s.ends = s.engineRefuses(err, isPlaced || p.Mailbox == nil)
		return nil
	case err != nil:
		return s.directoryWaits(err)
	}
	return nil
}

// isOpen says whether a row is that of a mailbox which is there; the zero row is none. Pure.
func isOpen(row admin.Mailbox) bool { return row.Address != "" && row.Access != admin.AccessClosed }

// showRow shows the row that the stack holds now: what the mailbox has, should the row be lost.
func (s *scope) showRow(row admin.Mailbox) {
	quota := s.mailbox.QuotaIn(s.domain)
	if quota == nil || quota.Value() != row.QuotaBytes {
		quota = resource.NewQuantity(row.QuotaBytes, resource.BinarySI)
	}
	s.mailbox.Status.AdmittedAs, s.mailbox.Status.Quota = v1alpha1.MailboxType(row.AdmittedAs), quota.String()
}

// sayProvisioned says how the row that the stack holds stands to the spec.
func (s *scope) sayProvisioned(row admin.Mailbox) {
	verdict, ends := reconcile.Verdict(s.ends)
	switch {
	case ends:
		s.Say(verdict.Type, verdict.Status, verdict.Reason, verdict.Message)
	case !row.ClosedAt.IsZero():
		s.True(v1alpha1.ConditionProvisioned, v1alpha1.ReasonReadopted, reopened(row.ClosedAt))
	default:
		s.True(v1alpha1.ConditionProvisioned, v1alpha1.ReasonRowPlaced, "the stack's directory holds the mailbox as the spec says"+s.heldQuota(row))
	}
}

// heldQuota is what to add where a legal hold keeps a quota that the spec makes smaller.
func (s *scope) heldQuota(row admin.Mailbox) string {
	if quota := s.mailbox.QuotaIn(s.domain); len(s.mailbox.Spec.LegalHolds) > 0 && quota != nil && quota.Value() < row.QuotaBytes {
		return fmt.Sprintf(", but for its quota: the legal hold keeps %s", contract.Size(row.QuotaBytes))
	}
	return ""
}

// ordinaryMail is what becomes of mail that is not certified: as the mailbox says, else its domain, else it is refused. Pure.
func ordinaryMail(m *v1alpha1.Mailbox, d *v1alpha1.PECDomain) (policy admin.OrdinaryMail, forwardTo string) {
	said := m.Spec.OrdinaryMail
	if said == nil && d.Spec.MailboxDefaults != nil {
		said = d.Spec.MailboxDefaults.OrdinaryMail
	}
	if said == nil {
		return admin.OrdinaryDiscard, ""
	}
	return admin.OrdinaryMail(said.Policy), string(said.ForwardTo)
}

// refusedLongest is the longest pause before what the engine refused is asked for again: an engine of another release may take it.
const refusedLongest = 10 * time.Minute

// directoryWaits ends a pass that the engine did not let come to its end.
func (s *scope) directoryWaits(err error) error {
	if errors.Is(err, admin.ErrRefused) {
		return s.engineRefuses(err, false)
	}
	if errors.Is(err, engines.ErrUnfinished) {
		return reconcile.Waiting(soon, v1alpha1.ConditionProvisioned, v1alpha1.ReasonEngineUnreachable, "the directory cannot be brought up to date: "+engines.Why(err))
	}
	return reconcile.Waiting(soon, v1alpha1.ConditionProvisioned, v1alpha1.ReasonEngineUnreachable, fmt.Sprintf(
		"what was changed is in force when the engine answers again, and is asked for until then: %s; kubectl describe pecd -n %s %s says more", engines.Why(err), s.domain.Namespace, s.domain.Name))
}

// engineRefuses ends a pass in which the engine refused what was asked of it, or only a part of that: then the row has the rest.
func (s *scope) engineRefuses(err error, hasRest bool) error {
	rest := "what the stack holds of the mailbox stays as it is until then"
	if hasRest {
		rest = "all else of it is in force"
	}
	return reconcile.Waiting(refusedPause(s.mailbox, s.Now), v1alpha1.ConditionProvisioned, v1alpha1.ReasonEngineRefuses,
		err.Error()+"; correct that in this mailbox or its Secret, or see whether the engine's release is that of the operator; "+rest)
}

// refusedPause is how long to wait before what is refused is asked for again: as long as it has been refused. Pure.
func refusedPause(m *v1alpha1.Mailbox, now time.Time) time.Duration {
	c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionProvisioned)
	if c == nil || c.Reason != v1alpha1.ReasonEngineRefuses {
		return soon
	}
	return min(max(soon, now.Sub(c.LastTransitionTime.Time)), refusedLongest)
}
