package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MailboxMigration moves listed mailboxes, by a dated calendar, from another provider or domain to a domain here. It is a batch: it
// ends, and its top condition is Succeeded. The target's preferred site acts on it; the other one shows it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=mbxmig,categories=pec
// +kubebuilder:selectablefield:JSONPath=`.spec.target.domainRef.name`
// +kubebuilder:selectablefield:JSONPath=`.spec.source.type`
// +kubebuilder:printcolumn:name="Source",type=string,JSONPath=`.spec.source.type`,description="Where the mail comes from: Domain (a PECDomain of this namespace) or IMAP (any IMAPS server)."
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.target.domainRef.name`,description="The domain that the mail goes to."
// +kubebuilder:printcolumn:name="Mailboxes",type=integer,JSONPath=`.status.mailboxes.total`,description="Mailboxes that asked to be moved."
// +kubebuilder:printcolumn:name="Copied",type=integer,JSONPath=`.status.mailboxes.copied`,description="Mailboxes that the last pass copied whole."
// +kubebuilder:printcolumn:name="Verified",type=integer,JSONPath=`.status.mailboxes.verified`,description="Mailboxes whose copy was proved complete."
// +kubebuilder:printcolumn:name="Messages",type=integer,JSONPath=`.status.messages`,description="Messages at the source, as the last pass read them."
// +kubebuilder:printcolumn:name="Site",type=string,JSONPath=`.status.acting.site`,description="The site that acts."
// +kubebuilder:printcolumn:name="Succeeded",type=string,JSONPath=`.status.conditions[?(@.type=="Succeeded")].status`,description="Whether every phase is done."
// +kubebuilder:printcolumn:name="Progress",type=string,JSONPath=`.status.conditions[?(@.type=="PhasesSettled")].message`,description="What runs or waits now, and what comes next."
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,description="Time since the resource was created."
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Succeeded")].reason`,description="Why Succeeded has its value, in one word."
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Succeeded")].message`,description="Why Succeeded has its value, and what to do."
type MailboxMigration struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object; of its labels and annotations the operator writes none.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what should be moved, and when; the operator never writes it.
	// +required
	Spec MailboxMigrationSpec `json:"spec,omitzero"`
	// status is what the operator of this site observed.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status MailboxMigrationStatus `json:"status,omitempty,omitzero"`
}

// MailboxMigrationSpec is what should be moved, and when.
//
// +kubebuilder:validation:XValidation:rule="self.source.type != 'Domain' || !has(self.source.domainRef) || self.source.domainRef.name != self.target.domainRef.name",message="source and target are the same domain: name another PECDomain in source.domainRef or in target.domainRef"
// +kubebuilder:validation:XValidation:rule="self.source.type != 'Domain' || !has(self.source.domainRef) || self.mailboxes.all(m, m.address.endsWith('@' + self.source.domainRef.name))",message="every mailbox must be in the source's domain: correct the address, or move mailboxes of another domain with a MailboxMigration of their own"
type MailboxMigrationSpec struct {
	// suspend is Reconciliation to make the operator start nothing more of this migration. None when not given.
	// +optional
	Suspend Suspend `json:"suspend,omitempty"`
	// source is where the mail is.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="source cannot change: what was copied came from there; create another MailboxMigration"
	Source MigrationSource `json:"source,omitzero"`
	// target is where the mail goes.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="target cannot change: what was copied is there; create another MailboxMigration"
	Target MigrationTarget `json:"target,omitzero"`
	// mailboxes are those that asked to be moved, one entry each: who is not listed is not migrated. More than fit are moved by
	// several MailboxMigrations with the same calendar.
	// +required
	// +listType=map
	// +listMapKey=address
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	Mailboxes []MigratedMailbox `json:"mailboxes,omitempty"`
	// keep is what the holders will find unchanged; PromisesKept shows whether they will.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=4
	Keep []MigrationKeep `json:"keep,omitempty"`
	// calendar says when each phase begins.
	// +required
	Calendar MigrationCalendar `json:"calendar,omitzero"`
	// copy says how fast messages are copied.
	// +optional
	Copy *MigrationCopy `json:"copy,omitempty"`
	// approveSkipped are the SHA-256 sums, in hex, of messages that cannot be copied and may be left behind.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=64
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[0-9a-f]{64}$`
	ApproveSkipped []string `json:"approveSkipped,omitempty"`
	// run says which run this is.
	// +optional
	Run *MigrationRun `json:"run,omitempty"`
}

// MigrationSourceType says what kind of source mail is copied from.
// +kubebuilder:validation:Enum=Domain;IMAP
type MigrationSourceType string

const (
	// MigrationFromDomain copies from a PECDomain of the same namespace.
	MigrationFromDomain MigrationSourceType = "Domain"
	// MigrationFromIMAP copies from any IMAPS server.
	MigrationFromIMAP MigrationSourceType = "IMAP"
)

// MigrationSource is a union of the places that mail can come from.
//
// +kubebuilder:validation:XValidation:rule="(self.type == 'Domain') == has(self.domainRef)",message="give source.domainRef exactly when source.type is Domain"
// +kubebuilder:validation:XValidation:rule="(self.type == 'IMAP') == has(self.imap)",message="give source.imap exactly when source.type is IMAP"
// +union
type MigrationSource struct {
	// type selects which of the other fields is given.
	// +required
	// +unionDiscriminator
	Type MigrationSourceType `json:"type,omitempty"`
	// domainRef names the PECDomain, in the same namespace.
	// +optional
	DomainRef *LocalReference `json:"domainRef,omitempty"`
	// imap is the server.
	// +optional
	IMAP *IMAPSource `json:"imap,omitempty"`
}

// IMAPSource is an IMAPS server that mail is copied from, on port 993 of an address of the internet, or of a network in the chart's value
// external.networks.
//
// +kubebuilder:validation:XValidation:rule="!has(self.port) || self.port == 993",message="mail is read over IMAPS: leave the port of source.imap out, or give 993"
type IMAPSource struct {
	Endpoint `json:",inline"`
	// caSecretRef names the Secret (key ca.crt) with the roots of the server's certificate; the system's when not given.
	// +optional
	CASecretRef *SecretReference `json:"caSecretRef,omitempty"`
}

// MigrationTarget is the domain that mail goes to.
type MigrationTarget struct {
	// domainRef names the PECDomain, in the same namespace.
	// +required
	DomainRef LocalReference `json:"domainRef,omitzero"`
}

// MigratedMailbox is one mailbox that asked to be moved.
type MigratedMailbox struct {
	// address of the mailbox at the source.
	// +required
	Address EmailAddress `json:"address,omitempty"`
	// sourceCredentials names the Secret with the mailbox's password at the source.
	// +required
	SourceCredentials SecretKeyReference `json:"sourceCredentials,omitzero"`
	// request is the holder's request, for the record.
	// +required
	Request MigrationRequest `json:"request,omitzero"`
}

// MigrationRequest is a holder's request to be moved.
type MigrationRequest struct {
	// protocol number of the request.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9./_ -]+$`
	Protocol string `json:"protocol,omitempty"`
	// date of the request.
	// +required
	Date Date `json:"date,omitempty"`
}

// MigrationKeep is something that holders find unchanged; the condition PromisesKept says whether they will, for as far as that can be
// known: Name, that the copy has the same address; Password, that the target mailbox's Secret holds the password that opens the
// source; Endpoints, that the servers' names stay; SendingLimits, where the source is a PECDomain here, that none becomes lower. The
// limits and the submission server of another provider are not known here. Nothing is changed for it.
// +kubebuilder:validation:Enum=Name;Password;Endpoints;SendingLimits
type MigrationKeep string

const (
	// KeepName is the mailbox's address.
	KeepName MigrationKeep = "Name"
	// KeepPassword is the holder's password.
	KeepPassword MigrationKeep = "Password"
	// KeepEndpoints are the names of the servers that mail programs use.
	KeepEndpoints MigrationKeep = "Endpoints"
	// KeepSendingLimits are the limits of what may be sent.
	KeepSendingLimits MigrationKeep = "SendingLimits"
)

// IfMissed says what to do with a phase whose time passed while nobody acted.
// +kubebuilder:validation:Enum=RunLate;Skip;Hold
type IfMissed string

const (
	// IfMissedRunLate runs it late.
	IfMissedRunLate IfMissed = "RunLate"
	// IfMissedSkip leaves it out.
	IfMissedSkip IfMissed = "Skip"
	// IfMissedHold waits for a person.
	IfMissedHold IfMissed = "Hold"
)

// MigrationPhaseName names a dated phase. The copy passes, the final one, verification and cut-over are derived from these.
// +kubebuilder:validation:Enum=Freeze;RequestsClose;BlockSending;OpenNew;OldReadOnly;Archive;Destroy
type MigrationPhaseName string

const (
	// PhaseFreeze is the time in which no mailbox is made, changed or closed at the source.
	PhaseFreeze MigrationPhaseName = "Freeze"
	// PhaseRequestsClose is when the list of mailboxes closes.
	PhaseRequestsClose MigrationPhaseName = "RequestsClose"
	// PhaseBlockSending is when the old mailboxes stop sending.
	PhaseBlockSending MigrationPhaseName = "BlockSending"
	// PhaseOpenNew is when the new mailboxes open.
	PhaseOpenNew MigrationPhaseName = "OpenNew"
	// PhaseOldReadOnly is the time in which holders may still read the old mailboxes.
	PhaseOldReadOnly MigrationPhaseName = "OldReadOnly"
	// PhaseArchive is the time in which the old mail is kept and nobody reads it.
	PhaseArchive MigrationPhaseName = "Archive"
	// PhaseDestroy is when the old mail is destroyed.
	PhaseDestroy MigrationPhaseName = "Destroy"
)

// MigrationCalendar is a dated plan. Phases are ordered by rules between them, whatever their order in the list.
//
// +kubebuilder:validation:XValidation:rule="self.phases.exists(p, p.name == 'BlockSending') && self.phases.exists(p, p.name == 'OpenNew')",message="give the phases BlockSending and OpenNew: the final copy, its verification and the cut-over lie between them"
// +kubebuilder:validation:XValidation:rule="self.phases.all(a, a.name != 'BlockSending' || self.phases.all(b, b.name != 'OpenNew' || a.at < b.at))",message="OpenNew must be after BlockSending: move one of them, what is sent in between would be missing from the final copy"
// +kubebuilder:validation:XValidation:rule="self.phases.all(a, a.name != 'Freeze' || self.phases.all(b, b.name != 'BlockSending' || a.at <= b.at))",message="Freeze must not begin after BlockSending: move one of them, mailboxes would change under the final copy"
// +kubebuilder:validation:XValidation:rule="self.phases.all(a, a.name != 'RequestsClose' || self.phases.all(b, b.name != 'BlockSending' || a.at <= b.at))",message="RequestsClose must not be after BlockSending: move one of them, a mailbox listed later could not be copied in time"
// +kubebuilder:validation:XValidation:rule="self.phases.all(a, a.name != 'OldReadOnly' || self.phases.all(b, b.name != 'BlockSending' || a.at >= b.at))",message="OldReadOnly must not begin before BlockSending: move one of them, a mailbox that only reads cannot send"
// +kubebuilder:validation:XValidation:rule="self.phases.all(a, a.name != 'Archive' || self.phases.all(b, b.name != 'OldReadOnly' || a.at >= b.at))",message="Archive must not begin before OldReadOnly: move one of them, the holders read the old mailboxes first"
// +kubebuilder:validation:XValidation:rule="self.phases.all(a, a.name != 'Destroy' || self.phases.all(b, b.at <= a.at))",message="Destroy must come after every other phase has begun: move it to a later time"
type MigrationCalendar struct {
	// timeZone of every time here.
	// +required
	TimeZone TimeZone `json:"timeZone,omitempty"`
	// ifMissed says what to do with a phase whose time passed while nobody acted; Hold when not given. Destroy always holds.
	// +optional
	IfMissed IfMissed `json:"ifMissed,omitempty"`
	// phases of the plan.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=2
	// +kubebuilder:validation:MaxItems=7
	Phases []MigrationPhase `json:"phases,omitempty"`
	// overrides are what people decided about slots that are held, because their time passed while nobody acted.
	// +optional
	// +listType=map
	// +listMapKey=slot
	// +kubebuilder:validation:MaxItems=16
	Overrides []MigrationOverride `json:"overrides,omitempty"`
}

// OverrideVerdict is what a person decides about a slot that is held.
// +kubebuilder:validation:Enum=Release;Drop
type OverrideVerdict string

// MigrationOverride is a person's word about one slot that is held; it never moves one forward.
type MigrationOverride struct {
	// slot is its name, as the condition PhasesSettled shows it, like block-sending or freeze-end.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9-]+$`
	Slot string `json:"slot,omitempty"`
	// at is the time that was missed, so that an old override says nothing about another date.
	// +required
	At LocalTime `json:"at,omitempty"`
	// verdict is Release to run it late, Drop to leave it out.
	// +required
	Verdict OverrideVerdict `json:"verdict,omitempty"`
	// by is who decided.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	By string `json:"by,omitempty"`
	// reason is why.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason,omitempty"`
}

// MigrationPhase is one dated phase.
//
// +kubebuilder:validation:XValidation:rule="has(self.until) ? self.name in ['Freeze', 'OldReadOnly', 'Archive'] : self.name != 'Freeze'",message="give until for Freeze, for OldReadOnly and Archive if the letter has it, and for no other phase: those are a moment"
// +kubebuilder:validation:XValidation:rule="!has(self.until) || self.at < self.until",message="until must be after at: correct one of them"
// +kubebuilder:validation:XValidation:rule="!has(self.endpoint) || self.name == 'OldReadOnly'",message="endpoint is where the old mailboxes are read: give it for OldReadOnly only"
type MigrationPhase struct {
	// name of the phase.
	// +required
	Name MigrationPhaseName `json:"name,omitempty"`
	// at is when it begins.
	// +required
	At LocalTime `json:"at,omitempty"`
	// until is when it ends; OldReadOnly without it ends when Archive begins, Archive when Destroy begins. Of two dates for the same
	// end the later wins.
	// +optional
	Until LocalTime `json:"until,omitempty"`
	// endpoint is the host where the old mailboxes are read, by IMAPS. Each is opened there when it is verified, with its password at the
	// source, and PromisesKept shows whether it can be read and not written.
	// +optional
	Endpoint Hostname `json:"endpoint,omitempty"`
}

// DryRun says whether anything is written.
// +kubebuilder:validation:Enum=Enabled;Disabled
type DryRun string

const (
	// DryRunEnabled reads and counts, and writes nothing.
	DryRunEnabled DryRun = "Enabled"
	// DryRunDisabled copies.
	DryRunDisabled DryRun = "Disabled"
)

// MigrationCopy says how fast messages are copied: the source's limits, not ours.
type MigrationCopy struct {
	// maxParallel is how many mailboxes are copied at once; 4 when not given.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	MaxParallel *int32 `json:"maxParallel,omitempty"`
	// maxMessagesPerSecond over all mailboxes; without limit when not given.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	MaxMessagesPerSecond *int32 `json:"maxMessagesPerSecond,omitempty"`
	// windows in which copying may start; any time when not given. The final copy must find one before OpenNew.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=14
	Windows []Window `json:"windows,omitempty"`
	// dryRun says whether anything is written; Disabled when not given.
	// +optional
	DryRun DryRun `json:"dryRun,omitempty"`
}

// MigrationRun names a run: another token runs what failed again, and after the verification says that the MX records are moved.
type MigrationRun struct {
	// token of the run, like "r1".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._-]+$`
	Token string `json:"token,omitempty"`
}

// MailboxMigrationStatus is what the operator of this site observed.
type MailboxMigrationStatus struct {
	// observedGeneration is the generation that the conditions speak of; -1 before the first look.
	// +optional
	// +kubebuilder:default=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// lastHandledReconcileAt is the last value of the annotation pec-operator.dev/reconcile-requested-at that a pass has answered.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
	// conditions are the facts about the migration; the top one is Succeeded.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=13
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// phases are those of the calendar, with the times they come to.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=7
	Phases []MigrationPhaseStatus `json:"phases,omitempty"`
	// mailboxes counts how far the mailboxes are.
	// +optional
	Mailboxes *MigrationCounts `json:"mailboxes,omitempty"`
	// messages that were copied.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Messages *int64 `json:"messages,omitempty"`
	// bytes that were copied.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Bytes *int64 `json:"bytes,omitempty"`
	// manifest is the list of everything that was copied.
	// +optional
	Manifest *ManifestStatus `json:"manifest,omitempty"`
	// acting says which site acts on the migration.
	// +optional
	Acting *MigrationActing `json:"acting,omitempty"`
	// run is the token of the run that this speaks of.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Run string `json:"run,omitempty"`
}

// MigrationActing says which site acts, and what the other one needs to go on in its place.
type MigrationActing struct {
	// site that acts, as far as this one knows.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Site string `json:"site,omitempty"`
	// epoch counts who began to act in another's place; of two sites that say that they act, the one with the lower epoch stops.
	// +required
	// +kubebuilder:validation:Minimum=1
	Epoch *int64 `json:"epoch,omitempty"`
	// settled are the slots of the timetable that are over, like verify.Done or archive.Missed, but for the daily copies.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=24
	// +kubebuilder:validation:items:Pattern=`^[a-z-]+\.(Done|Missed)$`
	Settled []string `json:"settled,omitempty"`
	// list is the SHA-256, in hex, of the list of mailboxes as it closed.
	// +optional
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	List string `json:"list,omitempty"`
}

// MigrationPhaseState says how far a phase is.
// +kubebuilder:validation:Enum=Pending;Held;Running;Done;Skipped
type MigrationPhaseState string

const (
	// PhasePending has not begun.
	PhasePending MigrationPhaseState = "Pending"
	// PhaseHeld waits for a person.
	PhaseHeld MigrationPhaseState = "Held"
	// PhaseRunning is under way.
	PhaseRunning MigrationPhaseState = "Running"
	// PhaseDone is over: a moment has come, a span has ended.
	PhaseDone MigrationPhaseState = "Done"
	// PhaseSkipped was left out.
	PhaseSkipped MigrationPhaseState = "Skipped"
)

// MigrationPhaseStatus is one phase, with the time it comes to.
type MigrationPhaseStatus struct {
	// name of the phase.
	// +required
	Name MigrationPhaseName `json:"name,omitempty"`
	// at is when it begins on the clocks of Europe/Rome, as in the spec.
	// +required
	// +kubebuilder:validation:MinLength=19
	// +kubebuilder:validation:MaxLength=19
	At string `json:"at,omitempty"`
	// startsAt is the same in UTC.
	// +required
	StartsAt metav1.Time `json:"startsAt,omitzero"`
	// endsAt is when it ends, in UTC.
	// +optional
	EndsAt *metav1.Time `json:"endsAt,omitempty"`
	// state says how far it is.
	// +required
	State MigrationPhaseState `json:"state,omitempty"`
	// evidence is where the proof of it is.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=384
	Evidence string `json:"evidence,omitempty"`
}

// MigrationCounts counts how far the mailboxes are.
type MigrationCounts struct {
	// total that are listed.
	// +required
	// +kubebuilder:validation:Minimum=0
	Total *int32 `json:"total,omitempty"`
	// copied up to the last pass.
	// +required
	// +kubebuilder:validation:Minimum=0
	Copied *int32 `json:"copied,omitempty"`
	// verified are those whose copy was proved complete.
	// +required
	// +kubebuilder:validation:Minimum=0
	Verified *int32 `json:"verified,omitempty"`
	// failed are the first of those that failed.
	// +optional
	// +listType=map
	// +listMapKey=address
	// +kubebuilder:validation:MaxItems=16
	Failed []FailedMailbox `json:"failed,omitempty"`
}

// FailedMailbox is a mailbox that could not be moved.
type FailedMailbox struct {
	// address of the mailbox at the source.
	// +required
	Address EmailAddress `json:"address,omitempty"`
	// reason in one word.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Za-z0-9]*$`
	Reason string `json:"reason,omitempty"`
}

// ManifestStatus is a list of messages that is kept elsewhere.
type ManifestStatus struct {
	// digest is its SHA-256, in hex.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	Digest string `json:"digest,omitempty"`
	// location is where it is.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Location string `json:"location,omitempty"`
}

// MailboxMigrationList is a list of MailboxMigration.
//
// +kubebuilder:object:root=true
type MailboxMigrationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MailboxMigration `json:"items"`
}
