package v1alpha1

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GetConditions returns the conditions, for the shared mechanism.
func (d *PECDomain) GetConditions() []metav1.Condition { return d.Status.Conditions }

// SetConditions replaces the conditions.
func (d *PECDomain) SetConditions(c []metav1.Condition) { d.Status.Conditions = c }

// StatusFields returns the status, to be encoded.
func (d *PECDomain) StatusFields() any { return &d.Status }

// GetObservedGeneration returns the generation that the status speaks of.
func (d *PECDomain) GetObservedGeneration() int64 { return d.Status.ObservedGeneration }

// SetObservedGeneration records the generation that the status speaks of.
func (d *PECDomain) SetObservedGeneration(g int64) { d.Status.ObservedGeneration = g }

// Suspended says whether the operator must leave the domain as it is.
func (d *PECDomain) Suspended() bool { return d.Spec.Suspend == SuspendReconciliation }

// Host is the name and namespace of the PECDomain whose stack serves this one: itself when Managed.
func (d *PECDomain) Host() DomainReference {
	if d.Spec.Provider.Hosted == nil {
		return DomainReference{Name: d.Name, Namespace: d.Namespace}
	}
	on := d.Spec.Provider.Hosted.Host
	if on.Namespace == "" {
		on.Namespace = d.Namespace
	}
	return on
}

// Pool is the name and namespace of the PECDomain whose contract counts for this one; false when it has no contract.
func (d *PECDomain) Pool() (DomainReference, bool) {
	c := d.Spec.Contract
	if c == nil {
		return DomainReference{}, false
	}
	if c.From == nil {
		return DomainReference{Name: d.Name, Namespace: d.Namespace}, true
	}
	pool := *c.From
	if pool.Namespace == "" {
		pool.Namespace = d.Namespace
	}
	return pool, true
}

// Serves says whether the stack of this domain may serve domains of a namespace.
func (d *PECDomain) Serves(namespace string) bool {
	m := d.Spec.Provider.Managed
	return m != nil && d.allows(namespace, m.AllowedNamespaces)
}

// Lends says whether domains of a namespace may draw on the contract of this domain.
func (d *PECDomain) Lends(namespace string) bool {
	c := d.Spec.Contract
	return c != nil && c.From == nil && d.allows(namespace, c.AllowedNamespaces)
}

// allows says whether a namespace is this domain's own, or listed.
func (d *PECDomain) allows(namespace string, listed []string) bool {
	return namespace == d.Namespace || slices.Contains(listed, namespace)
}

// DNSMode is who writes the domain's MX records.
func (d *PECDomain) DNSMode() DNSMode {
	if d.Spec.DNS == nil {
		return DNSVerifyOnly
	}
	return d.Spec.DNS.Mode
}

// ServiceLocalPart is the local part of the notices' From.
func (m *ManagedProvider) ServiceLocalPart() string {
	if m.ServiceAddress == "" {
		return "posta-certificata"
	}
	return m.ServiceAddress
}

// PeerLink is the host:port where the engine of a site answers its peer; "" when no mail host of that site has one.
func (m *ManagedProvider) PeerLink(site string) string {
	for _, h := range m.MailHosts {
		if h.Site == site && h.PeerLink != "" {
			return h.PeerLink
		}
	}
	return ""
}

// HasOtherLink says whether a site other than the given one has a peer link.
func (m *ManagedProvider) HasOtherLink(site string) bool {
	return slices.ContainsFunc(m.MailHosts, func(h MailHost) bool { return h.Site != site && h.PeerLink != "" })
}

// RecipientLimit is the greatest number of recipients of one message.
func (m *ManagedProvider) RecipientLimit() int32 {
	if m.Limits == nil || m.Limits.MaxRecipients == nil {
		return 500
	}
	return *m.Limits.MaxRecipients
}

// defaultSizeLimit is 100 MiB, in bytes.
const defaultSizeLimit = 100 << 20

// MessageSizeLimit is the greatest size of one message, in bytes.
func (m *ManagedProvider) MessageSizeLimit() int64 {
	if m.Limits == nil || m.Limits.MaxMessageSize == nil {
		return defaultSizeLimit
	}
	return m.Limits.MaxMessageSize.Value()
}

// SizeTimesRecipientsLimit is the greatest product of a message's size and its recipients, in bytes.
func (m *ManagedProvider) SizeTimesRecipientsLimit() int64 {
	if m.Limits == nil || m.Limits.MaxSizeTimesRecipients == nil {
		return defaultSizeLimit
	}
	return m.Limits.MaxSizeTimesRecipients.Value()
}

// MemoryGiven is what ClamAV may take.
func (a *Antivirus) MemoryGiven() resource.Quantity {
	switch {
	case a.Memory != nil:
		return *a.Memory
	case a.Definitions.ClaimRef != nil:
		return resource.MustParse("2Gi")
	}
	return resource.MustParse("256Mi")
}

// GetConditions returns the conditions, for the shared mechanism.
func (m *Mailbox) GetConditions() []metav1.Condition { return m.Status.Conditions }

// SetConditions replaces the conditions.
func (m *Mailbox) SetConditions(c []metav1.Condition) { m.Status.Conditions = c }

// StatusFields returns the status, to be encoded.
func (m *Mailbox) StatusFields() any { return &m.Status }

// GetObservedGeneration returns the generation that the status speaks of.
func (m *Mailbox) GetObservedGeneration() int64 { return m.Status.ObservedGeneration }

// SetObservedGeneration records the generation that the status speaks of.
func (m *Mailbox) SetObservedGeneration(g int64) { m.Status.ObservedGeneration = g }

// Suspended says whether the operator must leave the mailbox as it is.
func (m *Mailbox) Suspended() bool { return m.Spec.Suspend == SuspendReconciliation }

// QuotaIn is how much the mailbox may hold in its domain; nil when neither says.
func (m *Mailbox) QuotaIn(d *PECDomain) *resource.Quantity {
	if m.Spec.Quota == nil && d.Spec.MailboxDefaults != nil {
		return d.Spec.MailboxDefaults.Quota
	}
	return m.Spec.Quota
}

// HostPort is host:port, with a default port.
func (e Endpoint) HostPort(port int32) string {
	if e.Port != nil {
		port = *e.Port
	}
	return net.JoinHostPort(string(e.Host), strconv.Itoa(int(port)))
}

// Address is the certified address.
func (m *Mailbox) Address() string { return m.Spec.LocalPart + "@" + m.Spec.DomainRef.Name }

// MailboxName is the name of the Mailbox of an address.
func MailboxName(address string) string {
	local, domain, _ := strings.Cut(strings.ToLower(address), "@")
	return strings.ReplaceAll(local, "_", "--") + ".at." + domain
}

// GetConditions returns the conditions, for the shared mechanism.
func (p *RetentionPolicy) GetConditions() []metav1.Condition { return p.Status.Conditions }

// SetConditions replaces the conditions.
func (p *RetentionPolicy) SetConditions(c []metav1.Condition) { p.Status.Conditions = c }

// StatusFields returns the status, to be encoded.
func (p *RetentionPolicy) StatusFields() any { return &p.Status }

// GetObservedGeneration returns the generation that the status speaks of.
func (p *RetentionPolicy) GetObservedGeneration() int64 { return p.Status.ObservedGeneration }

// SetObservedGeneration records the generation that the status speaks of.
func (p *RetentionPolicy) SetObservedGeneration(g int64) { p.Status.ObservedGeneration = g }

// Suspended says whether the operator must start nothing more under the policy.
func (p *RetentionPolicy) Suspended() bool { return p.Spec.Suspend == SuspendReconciliation }

// defaultKeepMonths is the law's floor for the provider's logs; a package is kept no shorter than the proof of what it holds.
const defaultKeepMonths = 30

// KeepMonthsOrDefault is how long a package is kept at least.
func (a *Archive) KeepMonthsOrDefault() int {
	if a.KeepMonths == nil {
		return defaultKeepMonths
	}
	return int(*a.KeepMonths)
}

// IntoOrDefault is the folder below which messages are restored.
func (r *Restore) IntoOrDefault() string {
	if r.Into == "" {
		return "Ripristino " + r.Token
	}
	return r.Into
}

// ScheduleOrDefault is when the work is done.
func (p *RetentionPolicy) ScheduleOrDefault() RetentionSchedule {
	if p.Spec.Schedule == nil {
		return RetentionSchedule{At: "03:00", TimeZone: "Europe/Rome"}
	}
	return *p.Spec.Schedule
}

// GetConditions returns the conditions, for the shared mechanism.
func (m *MailboxMigration) GetConditions() []metav1.Condition { return m.Status.Conditions }

// SetConditions replaces the conditions.
func (m *MailboxMigration) SetConditions(c []metav1.Condition) { m.Status.Conditions = c }

// StatusFields returns the status, to be encoded.
func (m *MailboxMigration) StatusFields() any { return &m.Status }

// GetObservedGeneration returns the generation that the status speaks of.
func (m *MailboxMigration) GetObservedGeneration() int64 { return m.Status.ObservedGeneration }

// SetObservedGeneration records the generation that the status speaks of.
func (m *MailboxMigration) SetObservedGeneration(g int64) { m.Status.ObservedGeneration = g }

// Suspended says whether the operator must start nothing more of the migration.
func (m *MailboxMigration) Suspended() bool { return m.Spec.Suspend == SuspendReconciliation }

// defaultParallel is how many mailboxes are copied at once when the spec does not say.
const defaultParallel = 4

// ParallelOrDefault is how many mailboxes are copied at once.
func (m *MailboxMigration) ParallelOrDefault() int32 {
	if m.Spec.Copy == nil || m.Spec.Copy.MaxParallel == nil {
		return defaultParallel
	}
	return *m.Spec.Copy.MaxParallel
}

// DryRun says whether nothing may be written.
func (m *MailboxMigration) DryRun() bool {
	return m.Spec.Copy != nil && m.Spec.Copy.DryRun == DryRunEnabled
}

// Token is the run's, "" when none is given.
func (m *MailboxMigration) Token() string {
	if m.Spec.Run == nil {
		return ""
	}
	return m.Spec.Run.Token
}

// Freezing says whether no listed mailbox may be made, changed or closed at the source now, and shows until when.
func (m *MailboxMigration) Freezing() (until *metav1.Time, freezing bool) {
	for _, p := range m.Status.Phases {
		if p.Name == PhaseFreeze && p.State == PhaseRunning {
			return p.EndsAt, true
		}
	}
	return nil, false
}

// RunsSpamFilter says whether the domain's own stack has a spam filter.
func (d *PECDomain) RunsSpamFilter() bool {
	m := d.Spec.Provider.Managed
	return m != nil && m.Antispam == AntispamEnabled
}

// KeyOrDefault is the key to read in the Secret.
func (r SecretKeyReference) KeyOrDefault() string {
	if r.Key == "" {
		return "password"
	}
	return r.Key
}

// LeftToHolder are the settings that the holder may change himself.
func (m *Mailbox) LeftToHolder() []HolderSetting {
	switch said := m.Spec.HolderMayChange; {
	case said == nil:
		return []HolderSetting{HolderPassword, HolderOrdinaryMail, HolderNotifications, HolderRules, HolderAntispam}
	case slices.Contains(said, HolderNothing):
		return nil
	default:
		return said
	}
}

// SendingIn bounds what the mailbox may send in its domain; nil when neither says.
func (m *Mailbox) SendingIn(d *PECDomain) *SendingLimits {
	if m.Spec.Sending == nil && d.Spec.MailboxDefaults != nil {
		return d.Spec.MailboxDefaults.Sending
	}
	return m.Spec.Sending
}
