package mailboxmigration

import (
	"context"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// findings are what speaks against a promise, and what cannot be known.
type findings struct{ broken, unknown []string }

func (f *findings) breaks(format string, args ...any) {
	f.broken = append(f.broken, fmt.Sprintf(format, args...))
}

func (f *findings) lacks(format string, args ...any) {
	f.unknown = append(f.unknown, fmt.Sprintf(format, args...))
}

// ends are a listed mailbox at both ends, as far as it is a resource here.
type ends struct {
	migrated       v1alpha1.MigratedMailbox
	target, source *v1alpha1.Mailbox
}

// judgePromises says whether the holders will find unchanged what the letter promises. It changes nothing and holds nothing up. Once the
// new mailboxes are open they are their holders', and what was found then stays.
func judgePromises(ctx context.Context, s *scope) (reconcile.Result, error) {
	endpoint := s.oldEndpoint()
	if s.part != acts || len(s.migration.Spec.Keep) == 0 && endpoint == "" {
		return reconcile.Result{}, nil
	}
	known := meta.FindStatusCondition(s.migration.Status.Conditions, v1alpha1.ConditionPromisesKept)
	_, open := s.ledger.done(calendar.OpenNew)
	_, verified := s.ledger.done(calendar.Verify)
	key := client.ObjectKeyFromObject(s.migration)
	news := s.migration.Status.ObservedGeneration != s.migration.Generation || verified != s.wasVerified()
	due, _ := s.promiseLooks.Due(key, false, s.Jobs.Now())
	if known != nil && (open || !news && !due) {
		s.Say(known.Type, known.Status, known.Reason, known.Message)
		return reconcile.Result{}, nil
	}
	f, err := s.findPromises(ctx, endpoint)
	if err != nil {
		return reconcile.Result{}, err
	}
	c := f.condition()
	s.Say(c.Type, c.Status, c.Reason, c.Message)
	return reconcile.Result{}, nil
}

// wasVerified says whether the last pass knew that all is verified.
func (s *scope) wasVerified() bool {
	return meta.IsStatusConditionTrue(s.migration.Status.Conditions, v1alpha1.ConditionMailboxesCopied)
}

// condition is PromisesKept. Pure.
func (f findings) condition() metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionPromisesKept, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAllKept,
		Message: "the holders will find unchanged what the letter promises"}
	switch {
	case len(f.broken) > 0:
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonPromiseBroken
	case len(f.unknown) > 0:
		c.Status, c.Reason = metav1.ConditionUnknown, v1alpha1.ReasonPromiseUnproved
	default:
		return c
	}
	c.Message = strings.Join(slices.Concat(f.broken, f.unknown), "; ")
	return c
}

func (s *scope) findPromises(ctx context.Context, endpoint string) (f findings, err error) {
	from, err := s.sourceDomain(ctx)
	if err != nil {
		return f, err
	}
	list, _ := s.mailboxes()
	all := make([]ends, len(list))
	for i, m := range list {
		all[i].migrated = m
		if all[i].target, err = s.mailboxOf(ctx, targetAddress(string(m.Address), s.migration)); err == nil && from != nil {
			all[i].source, err = s.mailboxOf(ctx, string(m.Address))
		}
		if err != nil {
			return f, err
		}
	}
	for _, keep := range s.migration.Spec.Keep {
		switch keep {
		case v1alpha1.KeepName:
			judgeNames(&f, all, s.migration)
		case v1alpha1.KeepPassword:
			err = s.judgePasswords(ctx, &f, all)
		case v1alpha1.KeepEndpoints:
			err = s.judgeEndpoints(ctx, &f, from)
		case v1alpha1.KeepSendingLimits:
			judgeLimits(&f, all, from, s.target.domain)
		}
		if err != nil {
			return f, err
		}
	}
	if endpoint != "" {
		s.judgeOld(&f, endpoint)
	}
	return f, nil
}

// sourceDomain is the source where it is a PECDomain here; nil when it is another server.
func (s *scope) sourceDomain(ctx context.Context) (*v1alpha1.PECDomain, error) {
	ref := s.migration.Spec.Source.DomainRef
	if ref == nil {
		return nil, nil
	}
	domain := &v1alpha1.PECDomain{}
	if err := s.Client.Get(ctx, types.NamespacedName{Namespace: s.migration.Namespace, Name: ref.Name}, domain); err != nil {
		return nil, ignoreMissing(err, "reading the source's domain "+ref.Name)
	}
	return domain, nil
}

func (s *scope) mailboxOf(ctx context.Context, address string) (*v1alpha1.Mailbox, error) {
	m := &v1alpha1.Mailbox{}
	name := v1alpha1.MailboxName(address)
	if err := s.Client.Get(ctx, types.NamespacedName{Namespace: s.migration.Namespace, Name: name}, m); err != nil {
		return nil, ignoreMissing(err, "reading mailbox "+name)
	}
	return m, nil
}

func ignoreMissing(err error, doing string) error {
	if client.IgnoreNotFound(err) == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// judgeNames looks whether the copies have the same addresses. Pure.
func judgeNames(f *findings, all []ends, m *v1alpha1.MailboxMigration) {
	var renamed []string
	for _, e := range all {
		if target := targetAddress(string(e.migrated.Address), m); target != string(e.migrated.Address) {
			renamed = append(renamed, string(e.migrated.Address)+" becomes "+target)
		}
	}
	if len(renamed) > 0 {
		f.breaks("Name: %s; name the source's own domain as target, or tell the holders", few(renamed))
	}
}

// judgePasswords looks whether the Secret of each target mailbox holds what opens the source. A hash cannot be compared without
// taking a core for seconds, and none is tried at the source: that can lock the account.
func (s *scope) judgePasswords(ctx context.Context, f *findings, all []ends) error {
	var other, hashed, missing []string
	for _, e := range all {
		address := string(e.migrated.Address)
		if e.target == nil {
			missing = append(missing, targetAddress(address, s.migration))
			continue
		}
		there, err := s.secret(ctx, e.migrated.SourceCredentials)
		if err != nil {
			return err
		}
		here, err := s.secret(ctx, e.target.Spec.Credentials.SecretRef)
		switch {
		case err != nil:
			return err
		case len(there) == 0 || len(here) == 0:
			missing = append(missing, address)
		case here[0] == '{':
			hashed = append(hashed, address)
		case subtle.ConstantTimeCompare(there, here) == 0:
			other = append(other, address)
		}
	}
	if len(other) > 0 {
		f.breaks("Password: the Secret of the target mailbox holds another one than the source's for %s; put the source's there, or tell the holders", few(other))
	}
	if len(missing) > 0 {
		f.lacks("Password: there is no mailbox, or no password, of %s to compare", few(missing))
	}
	if len(hashed) > 0 {
		f.lacks("Password: a hash is not compared, for %s", few(hashed))
	}
	return nil
}

// secret reads a key past the cache; nil when it is not there.
func (s *scope) secret(ctx context.Context, ref v1alpha1.SecretKeyReference) ([]byte, error) {
	secret := &corev1.Secret{}
	if err := s.Live.Get(ctx, client.ObjectKey{Namespace: s.migration.Namespace, Name: ref.Name}, secret); err != nil {
		return nil, ignoreMissing(err, "reading Secret "+ref.Name)
	}
	return secret.Data[ref.KeyOrDefault()], nil
}

// judgeEndpoints looks whether the servers' names stay.
func (s *scope) judgeEndpoints(ctx context.Context, f *findings, from *v1alpha1.PECDomain) error {
	is, err := s.endpointsOf(ctx, s.target.domain)
	if err != nil {
		return err
	}
	was, err := s.endpointsBefore(ctx, from)
	if err != nil || was == nil || is == nil {
		return err // TargetReady says that a stack is not there
	}
	for _, e := range [][3]string{{"IMAPS", was.IMAP, is.IMAP}, {"SMTPS", was.Submission, is.Submission}, {"POP3S", was.POP3, is.POP3}} {
		if e[1] != "" && e[1] != e[2] {
			f.breaks("Endpoints: %s was %s and becomes %q; give the target's stack the same name, or tell the holders", e[0], e[1], e[2])
		}
	}
	if was.Submission == "" {
		f.lacks("Endpoints: the SMTPS and POP3S servers of the source are not known here; compare them with the letter")
	}
	return nil
}

// endpointsBefore are those of the source, as far as they are known.
func (s *scope) endpointsBefore(ctx context.Context, from *v1alpha1.PECDomain) (*v1alpha1.Endpoints, error) {
	switch imap := s.migration.Spec.Source.IMAP; {
	case imap != nil:
		return &v1alpha1.Endpoints{IMAP: string(imap.Host)}, nil
	case from == nil:
		return nil, nil
	case from.Spec.Provider.External != nil:
		return &v1alpha1.Endpoints{IMAP: string(from.Spec.Provider.External.IMAP.Host)}, nil
	}
	return s.endpointsOf(ctx, from)
}

// endpointsOf are those of the stack that serves a domain; nil when none does.
func (s *scope) endpointsOf(ctx context.Context, domain *v1alpha1.PECDomain) (*v1alpha1.Endpoints, error) {
	host := &v1alpha1.PECDomain{}
	if err := s.Client.Get(ctx, refs.Host(domain), host); err != nil {
		return nil, ignoreMissing(err, "reading the host of "+domain.Name)
	}
	if host.Spec.Provider.Managed == nil {
		return nil, nil
	}
	return &host.Spec.Provider.Managed.Endpoints, nil
}

// judgeLimits looks whether a mailbox may send less than before. Pure.
func judgeLimits(f *findings, all []ends, from, to *v1alpha1.PECDomain) {
	if from == nil || from.Spec.Provider.External != nil {
		f.lacks("SendingLimits: those of the source are not known here; write them in spec.sending of the target mailboxes")
		return
	}
	var lower []string
	for _, e := range all {
		if e.source == nil || e.target == nil {
			continue
		}
		was, is := ptr.Deref(e.source.SendingIn(from), v1alpha1.SendingLimits{}), ptr.Deref(e.target.SendingIn(to), v1alpha1.SendingLimits{})
		if below(is.MessagesPerDay, was.MessagesPerDay) || below(is.RecipientsPerMessage, was.RecipientsPerMessage) {
			lower = append(lower, string(e.migrated.Address))
		}
	}
	if len(lower) > 0 {
		f.breaks("SendingLimits: the target mailbox may send less than %s does; raise its spec.sending", few(lower))
	}
}

// below says whether a limit is lower than another; nil is none. Pure.
func below(is, was *int32) bool { return is != nil && (was == nil || *is < *was) }

// oldEndpoint is where the letter says that the old mailboxes are read.
func (s *scope) oldEndpoint() string {
	for _, p := range s.migration.Spec.Calendar.Phases {
		if p.Name == v1alpha1.PhaseOldReadOnly {
			return string(p.Endpoint)
		}
	}
	return ""
}

// old is where the old mailboxes are read, and what the certificate there bears; nothing before OldReadOnly has begun. The stack of a
// source here is reached by its Service.
func (s *scope) old() (address, name string) {
	endpoint := s.oldEndpoint()
	if _, begun := s.ledger.done(calendar.OldReadOnly); !begun || endpoint == "" {
		return "", ""
	}
	if from := s.source; endpoint == from.name {
		return from.address, from.name
	}
	return hostPort(endpoint), ""
}

// judgeOld looks at what the verification found where the old mailboxes are read.
func (s *scope) judgeOld(f *findings, endpoint string) {
	verified, ok := s.ledger.done(calendar.Verify)
	if !ok || verified.Outcome == nil || !verified.Outcome.Opened {
		f.lacks("endpoint %s: it is looked at with the verification, if OldReadOnly has begun by then", endpoint)
		return
	}
	if faults := withReasons(verified.Outcome.Old); len(faults) > 0 {
		f.breaks("endpoint %s: not read-only, or not to be read, for %s; have the old provider correct it", endpoint, few(faults))
	}
}

// few names the first of many.
func few(names []string) string { return reconcile.FirstOf(names, 5, ", ") }
