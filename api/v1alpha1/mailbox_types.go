package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MailboxType is the use that a mailbox is contracted for.
// +kubebuilder:validation:Enum=Standard;Massive
type MailboxType string

const (
	// MailboxStandard is a mailbox that people read.
	MailboxStandard MailboxType = "Standard"
	// MailboxMassive is a mailbox that an application sends in bulk from.
	MailboxMassive MailboxType = "Massive"
)

// MailboxAccess says what the holder of a mailbox may do.
// +kubebuilder:validation:Enum=Full;ReadOnly;Suspended
type MailboxAccess string

const (
	// AccessFull lets the holder read and send; mail is delivered.
	AccessFull MailboxAccess = "Full"
	// AccessReadOnly lets the holder read; nothing is sent from the mailbox nor delivered to it.
	AccessReadOnly MailboxAccess = "ReadOnly"
	// AccessSuspended keeps the holder out; nothing is sent or delivered, everything is kept.
	AccessSuspended MailboxAccess = "Suspended"
)

// Mailbox is one certified mailbox; its name derives from its address.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=mailboxes,scope=Namespaced,shortName=mbx,categories=pec
// +kubebuilder:selectablefield:JSONPath=`.spec.domainRef.name`
// +kubebuilder:selectablefield:JSONPath=`.spec.access`
// +kubebuilder:selectablefield:JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.status.address`,description="The certified address."
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`,description="The use that the resource asks for; status.admittedAs is what the mailbox is provisioned as."
// +kubebuilder:printcolumn:name="Used%",type=integer,JSONPath=`.status.usage.percent`,description="How much of the quota is used."
// +kubebuilder:printcolumn:name="Quota",type=string,JSONPath=`.status.quota`,description="How much the mailbox may hold: its own quota, or its domain's default."
// +kubebuilder:printcolumn:name="Access",type=string,JSONPath=`.status.effectiveAccess.access`,description="What the holder may do now: Full, ReceiveOnly, ReadOnly or Suspended."
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the mailbox works at this site as its spec says."
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,description="Time since the resource was created."
// +kubebuilder:printcolumn:name="Requested",type=date,priority=1,JSONPath=`.spec.requestedAt`,description="Time since the holder asked for the mailbox, by the resource's own word; much more than Age is worth a question where others wait."
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why Ready has its value, in one word."
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,description="Why Ready has its value, and what to do."
// +kubebuilder:validation:XValidation:rule="self.metadata.name == self.spec.localPart.replace('_', '--') + '.at.' + self.spec.domainRef.name",message="metadata.name derives from the address, so that no address exists twice: set it to <localPart, each _ written -->.at.<domainRef.name>"
type Mailbox struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object; of its labels and annotations the operator writes none.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the mailbox should be; the operator never writes it.
	// +required
	Spec MailboxSpec `json:"spec,omitzero"`
	// status is what the operator of this site observed.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status MailboxStatus `json:"status,omitempty,omitzero"`
}

// MailboxSpec is what a mailbox should be. Fields that this release only stores say so; the condition NotInForce names those
// that a Mailbox uses. A mailbox of an External domain is its provider's: it is watched with quota and credentials, and nothing else of
// its spec acts.
//
// +kubebuilder:validation:XValidation:rule="(self.type == 'Massive') == has(self.massive)",message="give massive, with justification and expectedMessagesPerMonth, exactly when type is Massive"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.legalHolds) || size(oldSelf.legalHolds) == 0 || !has(oldSelf.quota) || (has(self.quota) && quantity(string(self.quota)).compareTo(quantity(string(oldSelf.quota))) >= 0)",message="quota cannot shrink while legalHolds has an entry: restore the former quota, or end the hold in a change of its own first"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.legalHolds) || size(oldSelf.legalHolds) == 0 || !has(oldSelf.retentionPolicyRef) || (has(self.retentionPolicyRef) && self.retentionPolicyRef == oldSelf.retentionPolicyRef)",message="retentionPolicyRef cannot change while legalHolds has an entry: restore the former policy, or end the hold in a change of its own first"
// +kubebuilder:validation:XValidation:rule="!has(self.holderMayChange) || 'Password' in self.holderMayChange || !has(self.credentials.firstLogin) || self.credentials.firstLogin != 'MustChange'",message="firstLogin MustChange asks for a change that holderMayChange does not allow: add Password to holderMayChange"
type MailboxSpec struct {
	// suspend is Reconciliation to make the operator leave this mailbox as it is; mail keeps flowing. None when not given.
	// +optional
	Suspend Suspend `json:"suspend,omitempty"`
	// domainRef names the PECDomain, in the same namespace, that the mailbox is in. Of an External one it is only watched.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="domainRef cannot change: a mailbox of another domain is another mailbox; create it"
	DomainRef LocalReference `json:"domainRef,omitzero"`
	// localPart of the address, before the @.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]+([._-][a-z0-9]+)*$')",message="localPart must be lower-case letters and digits, with single dots, hyphens or underscores between them, like ufficio.protocollo"
	// +kubebuilder:validation:XValidation:rule="!self.split('.').exists(l, l == 'at')",message="localPart must not have 'at' between dots: the resource's name could not tell it from another address; choose another local part"
	// +kubebuilder:validation:XValidation:rule="!(self in ['posta-certificata', 'postmaster'])",message="localPart posta-certificata and postmaster are reserved for the service itself: choose another local part"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="localPart cannot change: a mailbox with another address is another mailbox; create it"
	LocalPart string `json:"localPart,omitempty"`
	// holder (titolare) is the person who is legally responsible for the mailbox.
	// +required
	Holder MailboxHolder `json:"holder,omitzero"`
	// type is the use that the mailbox is contracted for: Standard, or Massive to send in bulk, by a grant of the contract.
	// +optional
	// +kubebuilder:default=Standard
	// +unionDiscriminator
	Type MailboxType `json:"type,omitempty"`
	// massive is why a Massive mailbox is needed and what it will send. Such a mailbox needs a grant of the domain's contract.
	// +optional
	Massive *MassiveUse `json:"massive,omitempty"`
	// quota is how much the mailbox may hold; mailboxDefaults.quota of the domain when not given. Without either nothing is provisioned.
	// +optional
	// +kubebuilder:validation:XValidation:rule="size(string(self)) <= 32 && quantity(string(self)).compareTo(quantity('1M')) >= 0",message="quota must be 1M or more: give bytes with a unit, like 2Gi"
	Quota *resource.Quantity `json:"quota,omitempty"`
	// access is the most that the holder may do: Full; ReadOnly, nothing is sent, delivered or changed; Suspended, he cannot log in
	// either. status.effectiveAccess is what he may do now.
	// +optional
	// +kubebuilder:default=Full
	Access MailboxAccess `json:"access,omitempty"`
	// credentials is where the mailbox's password comes from.
	// +required
	Credentials MailboxCredentials `json:"credentials,omitzero"`
	// ordinaryMail is what becomes of mail that is not certified; mailboxDefaults of the domain when not given, and Discard without those.
	// +optional
	OrdinaryMail *OrdinaryMail `json:"ordinaryMail,omitempty"`
	// notifications tell the holder elsewhere that certified mail arrived. The holder may change them, if holderMayChange lets him.
	// +optional
	Notifications *Notifications `json:"notifications,omitempty"`
	// antispam judges ordinary mail, if the stack runs a spam filter: what looks like spam goes into the folder Junk, and what
	// certainly is, or would be forwarded, is refused (550) when it arrives. Certified mail is never judged. Disabled when not given.
	// The holder may change it, if holderMayChange lets him.
	// +optional
	Antispam Antispam `json:"antispam,omitempty"`
	// rules file arriving mail into folders; the first that matches decides. None of them loses a message. The holder may change
	// them, if holderMayChange lets him.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Rules []InboundRule `json:"rules,omitempty"`
	// sending bounds what the mailbox may send, beside the limits of the domain; mailboxDefaults.sending of the domain when not given.
	// +optional
	Sending *SendingLimits `json:"sending,omitempty"`
	// holderMayChange are the settings that the holder may change himself; all when not given. What he changed is in
	// status.holder and in no spec, and stands until he gives it back or may change it no more.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="!('Nothing' in self) || size(self) == 1",message="Nothing stands alone in holderMayChange: leave it out, or the others"
	HolderMayChange []HolderSetting `json:"holderMayChange,omitempty"`
	// aliases are refused: a certified mailbox has one address.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="size(self) == 0",message="a certified mailbox has no aliases: its receipts name the one address that the message was sent to; leave aliases out and create a Mailbox for each address"
	Aliases []EmailAddress `json:"aliases,omitempty"`
	// retentionPolicyRef names the RetentionPolicy, in the same namespace, of this mailbox.
	// +optional
	RetentionPolicyRef *LocalReference `json:"retentionPolicyRef,omitempty"`
	// legalHolds are the orders that nothing of this mailbox be lost. While there is one, this resource cannot be deleted without
	// confirmation, and its quota and retention cannot shrink. This release does not keep the holder from deleting messages: set
	// access to Suspended where the order asks for that.
	// +optional
	// +listType=map
	// +listMapKey=reference
	// +kubebuilder:validation:MaxItems=16
	LegalHolds []LegalHold `json:"legalHolds,omitempty"`
	// requestedAt is when the holder asked for the mailbox: the place in the queue, when the domain's contract is used up.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="requestedAt cannot change: it records when the mailbox was asked for; restore the former value"
	RequestedAt metav1.Time `json:"requestedAt,omitzero"`
	// deletionPolicy says what becomes of the mail when this resource is deleted. Retain, the only one and the default, closes
	// the mailbox and keeps its mail.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// MailboxHolder (titolare) is the person who is legally responsible for a mailbox.
type MailboxHolder struct {
	// name of the person.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`
	// role of the person in the body that holds the domain, like "Sindaco" (mayor).
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Role string `json:"role,omitempty"`
}

// MailboxCredentials is where a mailbox's password comes from.
type MailboxCredentials struct {
	// secretRef names the Secret with the password: eight characters or more, or a {BLF-CRYPT}, {ARGON2ID} (19 MiB at most) or
	// {SHA512-CRYPT} hash. Editing the Secret changes the password.
	// +required
	SecretRef SecretKeyReference `json:"secretRef,omitzero"`
	// firstLogin says whether the holder must change the password before he sends; KeepPassword when not given.
	// +optional
	FirstLogin FirstLogin `json:"firstLogin,omitempty"`
}

// FirstLogin says whether the password of the Secret is the holder's own.
// +kubebuilder:validation:Enum=MustChange;KeepPassword
type FirstLogin string

const (
	// FirstLoginMustChange lets the holder read but not send until he has changed the password.
	FirstLoginMustChange FirstLogin = "MustChange"
	// FirstLoginKeepPassword takes the password of the Secret for the holder's own.
	FirstLoginKeepPassword FirstLogin = "KeepPassword"
)

// MassiveUse is why a mailbox that sends in bulk is needed.
type MassiveUse struct {
	// justification is the evident need for bulk sending, in words that whoever grants it can judge.
	// +required
	// +kubebuilder:validation:MinLength=20
	// +kubebuilder:validation:MaxLength=1024
	Justification string `json:"justification,omitempty"`
	// expectedMessagesPerMonth is what the mailbox will send.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000000
	ExpectedMessagesPerMonth *int32 `json:"expectedMessagesPerMonth,omitempty"`
}

// OrdinaryMailPolicy says what becomes of mail that is not certified.
// +kubebuilder:validation:Enum=Discard;Forward;Deliver
type OrdinaryMailPolicy string

const (
	// OrdinaryMailDiscard refuses it (550) when it arrives, so that its sender's server tells the sender.
	OrdinaryMailDiscard OrdinaryMailPolicy = "Discard"
	// OrdinaryMailForward sends it on to an ordinary address, as it is.
	OrdinaryMailForward OrdinaryMailPolicy = "Forward"
	// OrdinaryMailDeliver delivers it in an anomaly envelope (busta di anomalia).
	OrdinaryMailDeliver OrdinaryMailPolicy = "Deliver"
)

// OrdinaryMail is a union of what may become of mail that is not certified.
//
// +kubebuilder:validation:XValidation:rule="(self.policy == 'Forward') == has(self.forwardTo)",message="give ordinaryMail.forwardTo exactly when ordinaryMail.policy is Forward"
// +union
type OrdinaryMail struct {
	// policy selects what becomes of it: Discard refuses it (550) when it arrives, Forward sends it on as it is, Deliver puts it into
	// the mailbox in an anomaly envelope (busta di anomalia).
	// +required
	// +unionDiscriminator
	Policy OrdinaryMailPolicy `json:"policy,omitempty"`
	// forwardTo is the ordinary address that it is sent on to.
	// +optional
	ForwardTo EmailAddress `json:"forwardTo,omitempty"`
}

// Notifications tell a holder that certified mail arrived.
type Notifications struct {
	// addresses are the ordinary addresses that are told.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	Addresses []EmailAddress `json:"addresses,omitempty"`
	// frequency is how often they are told: EachMessage, as it arrives, or Daily, at seven in the morning. EachMessage when not given.
	// +optional
	Frequency NotificationFrequency `json:"frequency,omitempty"`
}

// Antispam says whether ordinary mail is judged by a spam filter.
// +kubebuilder:validation:Enum=Enabled;Disabled
type Antispam string

const (
	// AntispamEnabled judges ordinary mail.
	AntispamEnabled Antispam = "Enabled"
	// AntispamDisabled leaves it unjudged.
	AntispamDisabled Antispam = "Disabled"
)

// InboundRule files arriving mail into a folder.
type InboundRule struct {
	// name of the rule, for people.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="!self.matches('[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]')",message="name in rules must be one line, without control characters"
	Name string `json:"name,omitempty"`
	// header that is looked at.
	// +required
	// +kubebuilder:validation:Enum=From;To;Subject
	Header string `json:"header,omitempty"`
	// contains is what the header must have in it, in upper or lower case.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="!self.matches('[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]')",message="contains in rules must be one line, without control characters"
	Contains string `json:"contains,omitempty"`
	// folder that the message is filed into.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029*%\\\\\\\\]+$') && self.trim() == self && self.split('/').all(p, p != '' && p != '.' && p != '..' && !p.startsWith('~') && p.upperAscii() != 'EXPUNGED')",message="folder in rules must be a name like Clienti/Rossi, without *, % and backslash, and not EXPUNGED, which holders do not see"
	Folder string `json:"folder,omitempty"`
}

// SendingLimits bound what a mailbox may send.
//
// +kubebuilder:validation:XValidation:rule="!has(self.recipientsPerMessage) || self.recipientsPerMessage >= 50",message="sending.recipientsPerMessage is below the law's floor: give 50 or more"
type SendingLimits struct {
	// messagesPerDay that the mailbox may send; a day begins at midnight in Rome. Unbounded when not given.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000000
	MessagesPerDay *int32 `json:"messagesPerDay,omitempty"`
	// recipientsPerMessage that one message may have, 50 or more; what the stack certifies (limits.maxRecipients) when not given.
	// +optional
	// +kubebuilder:validation:Maximum=10000
	RecipientsPerMessage *int32 `json:"recipientsPerMessage,omitempty"`
}

// MailboxStatus is what the operator of this site observed.
type MailboxStatus struct {
	// observedGeneration is the generation that the conditions speak of; -1 before the first look.
	// +optional
	// +kubebuilder:default=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// lastHandledReconcileAt is the last value of the annotation pec-operator.dev/reconcile-requested-at that a pass has answered.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
	// address is the certified address.
	// +optional
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=320
	Address string `json:"address,omitempty"`
	// admittedAs is the type that the mailbox is provisioned as; nothing is provisioned while it is not there.
	// +optional
	AdmittedAs MailboxType `json:"admittedAs,omitempty"`
	// quota is how much the mailbox may hold now, like 2Gi; on an External domain, as its provider says, or else the spec.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Quota string `json:"quota,omitempty"`
	// triedSecretVersion (External domain) is the version of the Secret that was last tried at the provider, and after an @ a hash of the
	// provider's host and port and of the key. What was refused is not tried again before one of them is another.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	TriedSecretVersion string `json:"triedSecretVersion,omitempty"`
	// usage is what the mailbox holds, looked at every few minutes and written when it changed by something that matters.
	// +optional
	Usage *MailboxUsage `json:"usage,omitempty"`
	// effectiveAccess is what the holder may do now, and by what rule.
	// +optional
	EffectiveAccess *EffectiveAccess `json:"effectiveAccess,omitempty"`
	// holder is what the holder changed, and how much of his settings is in force.
	// +optional
	Holder *HolderStatus `json:"holder,omitempty"`
	// conditions are the facts about this site's part of the mailbox.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=24
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// MailboxUsage is what a mailbox holds, as its quota counts it.
type MailboxUsage struct {
	// bytes of all messages.
	// +required
	// +kubebuilder:validation:Minimum=0
	Bytes *int64 `json:"bytes,omitempty"`
	// messages in all folders.
	// +required
	// +kubebuilder:validation:Minimum=0
	Messages *int64 `json:"messages,omitempty"`
	// percent of the quota; not there where nobody says how much fits.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Percent *int32 `json:"percent,omitempty"`
	// growthPerDay are the bytes that it grows by in a day, in two figures: those of the messages that arrived in the last 30 days, by the
	// dates that they have, and are still there. Not there before the mailbox was searched, which is done once a day.
	// +optional
	// +kubebuilder:validation:Minimum=0
	GrowthPerDay *int64 `json:"growthPerDay,omitempty"`
	// fullOn is the day on which the quota is reached at that rate; not there when that is more than two years away.
	// +optional
	FullOn Date `json:"fullOn,omitempty"`
	// oldPercent is how much of the bytes arrived more than a year ago, in steps of five.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	OldPercent *int32 `json:"oldPercent,omitempty"`
	// sentPerMonth is how many messages of it were accepted for sending in the last 30 days, at either site, in two figures.
	// +optional
	// +kubebuilder:validation:Minimum=0
	SentPerMonth *int64 `json:"sentPerMonth,omitempty"`
}

// AccessLevel says what the holder of a mailbox may do now, all rules considered; each level allows less than the one before.
// +kubebuilder:validation:Enum=Full;ReceiveOnly;ReadOnly;Suspended
type AccessLevel string

const (
	// LevelFull lets the holder read and send; mail is delivered.
	LevelFull AccessLevel = "Full"
	// LevelReceiveOnly lets the holder read; mail is delivered, and sending is refused with the reason.
	LevelReceiveOnly AccessLevel = "ReceiveOnly"
	// LevelReadOnly lets the holder read; nothing is sent from the mailbox nor delivered to it.
	LevelReadOnly AccessLevel = "ReadOnly"
	// LevelSuspended keeps the holder out; nothing is sent or delivered, everything is kept.
	LevelSuspended AccessLevel = "Suspended"
)

// AccessRule is the rule that an access comes from.
// +kubebuilder:validation:Enum=Spec;FirstLogin;MigrationBlockSending;MigrationOldReadOnly;MigrationArchive
type AccessRule string

const (
	// RuleSpec is spec.access.
	RuleSpec AccessRule = "Spec"
	// RuleFirstLogin is credentials.firstLogin MustChange, until the holder has changed the password.
	RuleFirstLogin AccessRule = "FirstLogin"
	// RuleBlockSending is the phase BlockSending of a MailboxMigration that moves this mailbox away.
	RuleBlockSending AccessRule = "MigrationBlockSending"
	// RuleOldReadOnly is the phase OldReadOnly of a MailboxMigration that moves this mailbox away.
	RuleOldReadOnly AccessRule = "MigrationOldReadOnly"
	// RuleArchive is the phase Archive, or Destroy, of a MailboxMigration that moves this mailbox away.
	RuleArchive AccessRule = "MigrationArchive"
)

// EffectiveAccess is the strictest of what the rules allow.
type EffectiveAccess struct {
	// access is what the holder may do.
	// +required
	Access AccessLevel `json:"access,omitempty"`
	// reason is the rule that says so; of several that say the same, the first.
	// +required
	Reason AccessRule `json:"reason,omitempty"`
	// migration is the name of the MailboxMigration whose phase says so.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Migration string `json:"migration,omitempty"`
}

// MailboxList is a list of Mailbox.
//
// +kubebuilder:object:root=true
type MailboxList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Mailbox `json:"items"`
}
