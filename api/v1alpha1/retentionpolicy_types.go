package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RetentionPolicy says how long mail and its evidence are kept, where they are archived, and what may then be removed. This
// release archives, and shows what would be due for removal; it hands nothing over and removes nothing (NotInForce names what is
// only stored).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=retentionpolicies,scope=Namespaced,shortName=pecret,categories=pec
// +kubebuilder:selectablefield:JSONPath=`.spec.mailboxes.type`
// +kubebuilder:printcolumn:name="Mailboxes",type=string,JSONPath=`.spec.mailboxes.type`,description="Which mailboxes it is for: all of a Domain, those that are Labelled, or those Referring to it."
// +kubebuilder:printcolumn:name="Archive-After",type=integer,JSONPath=`.spec.archive.olderThanDays`,description="Age in days at which a message is archived."
// +kubebuilder:printcolumn:name="Last-Run",type=date,JSONPath=`.status.lastRun`,description="Time since the work was last done."
// +kubebuilder:printcolumn:name="Archived",type=integer,JSONPath=`.status.archived`,description="Messages in the archive."
// +kubebuilder:printcolumn:name="Due",type=integer,JSONPath=`.status.dueForRemoval.count`,description="Messages that would be removed next; this release removes none."
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether this site carries the policy out."
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,description="Time since the resource was created."
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why Ready has its value, in one word."
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,description="Why Ready has its value, and what to do."
type RetentionPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object; of its labels and annotations the operator writes none.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what should be kept, and how long; the operator never writes it.
	// +required
	Spec RetentionPolicySpec `json:"spec,omitzero"`
	// status is what the operator of this site observed.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status RetentionPolicyStatus `json:"status,omitempty,omitzero"`
}

// RetentionPolicySpec is what should be kept, and how long.
//
// +kubebuilder:validation:XValidation:rule="!has(self.remove) || has(self.archive)",message="remove needs archive: say where a message is kept before it is removed from its mailbox"
// +kubebuilder:validation:XValidation:rule="!has(self.restore) || has(self.archive)",message="restore needs archive: say where the packages are that messages are restored from"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.restore) || !has(self.restore) || self.restore == oldSelf.restore || self.restore.token != oldSelf.restore.token",message="restore is done once for each token: give another token with another restore"
// +kubebuilder:validation:XValidation:rule="!has(self.remove) || self.mailboxes.type != 'Labelled'",message="remove is not for mailboxes.type Labelled: what cannot be undone must not hang on a label; choose Domain or Referring"
// +kubebuilder:validation:XValidation:rule="!has(self.remove) || self.remove.when != 'Acknowledged' || (has(self.offload) && self.offload.acknowledgement == 'Required')",message="remove.when Acknowledged needs offload with acknowledgement Required: add it, or choose Archived"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.legalHolds) || size(oldSelf.legalHolds) == 0 || ((!has(oldSelf.logs) || (has(self.logs) && self.logs.keepMonths >= oldSelf.logs.keepMonths)) && (!has(oldSelf.infected) || (has(self.infected) && self.infected.keepMonths >= oldSelf.infected.keepMonths)) && (!has(oldSelf.custody) || (has(self.custody) && self.custody.keepMonths >= oldSelf.custody.keepMonths)) && (!has(oldSelf.afterClosure) || (has(self.afterClosure) && self.afterClosure.archiveUntil >= oldSelf.afterClosure.archiveUntil)))",message="logs, infected, custody and afterClosure cannot be kept for less while legalHolds has an entry: restore the former values, or end the hold in a change of its own first"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.legalHolds) || size(oldSelf.legalHolds) == 0 || !has(self.remove) || (has(oldSelf.remove) && self.remove.afterArchiveDays >= oldSelf.remove.afterArchiveDays && (self.remove.when == oldSelf.remove.when || self.remove.when == 'Acknowledged'))",message="remove cannot be added, come earlier or ask for less while legalHolds has an entry: restore the former value, or end the hold in a change of its own first"
type RetentionPolicySpec struct {
	// suspend is Reconciliation to make the operator start nothing more under this policy. None when not given.
	// +optional
	Suspend Suspend `json:"suspend,omitempty"`
	// mailboxes says which mailboxes the policy is for.
	// +required
	Mailboxes RetainedMailboxes `json:"mailboxes,omitzero"`
	// archive says when messages are archived, and where.
	// +optional
	Archive *Archive `json:"archive,omitempty"`
	// offload hands messages over to the body's document management (scarico).
	// +optional
	Offload *Offload `json:"offload,omitempty"`
	// remove says when archived messages are removed from their mailboxes; never when not given. Both sites must agree on the list.
	// +optional
	Remove *Removal `json:"remove,omitempty"`
	// logs are the provider's logs of messages; the law asks for 30 months.
	// +optional
	Logs *LawfulKeep `json:"logs,omitempty"`
	// infected are messages in which a virus was found; the law asks for 30 months.
	// +optional
	Infected *LawfulKeep `json:"infected,omitempty"`
	// custody are the copies of envelopes and receipts.
	// +optional
	Custody *Keep `json:"custody,omitempty"`
	// afterClosure says what becomes of a mailbox that was closed.
	// +optional
	AfterClosure *AfterClosure `json:"afterClosure,omitempty"`
	// legalHolds are the orders that nothing under this policy be lost: while there is one, nothing is removed, and the policy
	// cannot keep for less.
	// +optional
	// +listType=map
	// +listMapKey=reference
	// +kubebuilder:validation:MaxItems=16
	LegalHolds []LegalHold `json:"legalHolds,omitempty"`
	// schedule says when the work is done; every day at 03:00 when not given.
	// +optional
	Schedule *RetentionSchedule `json:"schedule,omitempty"`
	// restore asks, once for each token, for archived messages to be put back into their mailbox. What the mailbox holds stays as it is.
	// +optional
	Restore *Restore `json:"restore,omitempty"`
}

// Restore asks for messages of the archive to be put back into the mailbox that they were archived from, below a folder of their own.
type Restore struct {
	// token names the request, like "r1"; the same request is done once, and done again under another token.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._-]+$`
	Token string `json:"token,omitempty"`
	// mailbox is its address. Its Mailbox must be in this namespace.
	// +required
	Mailbox EmailAddress `json:"mailbox,omitempty"`
	// messages says which; everything of the mailbox that is archived when not given.
	// +optional
	Messages *RestoredMessages `json:"messages,omitempty"`
	// into is the folder below which messages come, each in a folder of the name that it was archived from; "Ripristino" and the token
	// when not given.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([A-Za-z0-9 ._-]*[A-Za-z0-9_-])?$`
	Into string `json:"into,omitempty"`
}

// RestoredMessages are the messages that match everything that is given.
//
// +kubebuilder:validation:MinProperties=1
type RestoredMessages struct {
	// identifier in daticert.xml: the message and its receipts.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[!-~]+$`
	Identifier string `json:"identifier,omitempty"`
	// messageID is the Message-ID in the header, without brackets.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[!-~]+$`
	MessageID string `json:"messageID,omitempty"`
	// sha256 of the whole message, as the archive's index has it.
	// +optional
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	SHA256 string `json:"sha256,omitempty"`
	// folder that they were archived from, with those below it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Folder string `json:"folder,omitempty"`
	// arrivedFrom is the first day, in Rome, of arrival.
	// +optional
	ArrivedFrom Date `json:"arrivedFrom,omitempty"`
	// arrivedUntil is the last day, in Rome, of arrival.
	// +optional
	ArrivedUntil Date `json:"arrivedUntil,omitempty"`
}

// RetainedMailboxesType says how mailboxes are selected.
// +kubebuilder:validation:Enum=Domain;Labelled;Referring
type RetainedMailboxesType string

const (
	// RetainedOfDomain selects the mailboxes of a domain that no other policy has.
	RetainedOfDomain RetainedMailboxesType = "Domain"
	// RetainedLabelled selects the mailboxes of this namespace with certain labels, unless they name another policy.
	RetainedLabelled RetainedMailboxesType = "Labelled"
	// RetainedReferring selects none but the mailboxes of this namespace whose retentionPolicyRef names the policy.
	RetainedReferring RetainedMailboxesType = "Referring"
)

// RetainedMailboxes is a union of the ways to select mailboxes. A mailbox is under one policy: the one that it names in
// retentionPolicyRef, of whatever type; else one that selects it by its labels; else one of its domain; and of several alike the one
// whose name comes first.
//
// +kubebuilder:validation:XValidation:rule="(self.type == 'Domain') == has(self.domainRef)",message="give mailboxes.domainRef exactly when mailboxes.type is Domain"
// +kubebuilder:validation:XValidation:rule="(self.type == 'Labelled') == has(self.labels)",message="give mailboxes.labels exactly when mailboxes.type is Labelled"
// +union
type RetainedMailboxes struct {
	// type selects how.
	// +required
	// +unionDiscriminator
	Type RetainedMailboxesType `json:"type,omitempty"`
	// domainRef names the PECDomain, in the same namespace.
	// +optional
	DomainRef *LocalReference `json:"domainRef,omitempty"`
	// labels are what a mailbox must have, all of them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Labels []LabelRequirement `json:"labels,omitempty"`
}

// LabelOperator says how a label is compared.
// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
type LabelOperator string

const (
	// LabelIn wants one of the values.
	LabelIn LabelOperator = "In"
	// LabelNotIn wants another value, or no such label.
	LabelNotIn LabelOperator = "NotIn"
	// LabelExists wants the label, with any value.
	LabelExists LabelOperator = "Exists"
	// LabelDoesNotExist wants no such label.
	LabelDoesNotExist LabelOperator = "DoesNotExist"
)

// LabelRequirement is what a label must be, as an expression of a Kubernetes label selector says it.
//
// +kubebuilder:validation:XValidation:rule="(self.operator == 'In' || self.operator == 'NotIn') == has(self.values)",message="give values exactly when operator is In or NotIn"
type LabelRequirement struct {
	// key of the label.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`
	Key string `json:"key,omitempty"`
	// operator says how it is compared.
	// +required
	Operator LabelOperator `json:"operator,omitempty"`
	// values that it is compared with.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=0
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`
	Values []string `json:"values,omitempty"`
}

// Archive says when messages are archived, and where.
type Archive struct {
	// olderThanDays is the age at which a message is archived.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=36500
	OlderThanDays *int32 `json:"olderThanDays,omitempty"`
	// destination is where it is archived.
	// +required
	Destination ArchiveDestination `json:"destination,omitzero"`
	// folders to archive, each with those below it, as their holders named them; all when not given.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	Folders []string `json:"folders,omitempty"`
	// messages says which kinds to archive; all when not given. The receipts about a message go with it in any case.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=3
	Messages []MessageClass `json:"messages,omitempty"`
	// keepMonths is how long a package is kept at least, and how long a bucket with object lock refuses to delete it; 30 when not
	// given. Of this and afterClosure.archiveUntil the later counts.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1200
	KeepMonths *int32 `json:"keepMonths,omitempty"`
	// format of the archive's index; SInCRO (UNI 11386) when not given.
	// +optional
	Format ArchiveFormat `json:"format,omitempty"`
}

// MessageClass is a kind of message.
// +kubebuilder:validation:Enum=Certified;Receipt;Ordinary
type MessageClass string

const (
	// MessageCertified is an envelope.
	MessageCertified MessageClass = "Certified"
	// MessageReceipt is what a provider says about a message: acceptance, delivery, their failures.
	MessageReceipt MessageClass = "Receipt"
	// MessageOrdinary is everything else, anomalies and a sender's own copies among them.
	MessageOrdinary MessageClass = "Ordinary"
)

// ArchiveFormat is the format of an archive's index.
// +kubebuilder:validation:Enum=SInCRO
type ArchiveFormat string

// ArchiveSInCRO is an index in the shape of UNI 11386.
const ArchiveSInCRO ArchiveFormat = "SInCRO"

// ArchiveDestinationType says what kind of place an archive is.
// +kubebuilder:validation:Enum=S3;VolumeClaim
type ArchiveDestinationType string

const (
	// ArchiveToS3 is a bucket of an S3 service.
	ArchiveToS3 ArchiveDestinationType = "S3"
	// ArchiveToVolumeClaim is a volume.
	ArchiveToVolumeClaim ArchiveDestinationType = "VolumeClaim"
)

// ArchiveDestination is a union of the places for an archive.
//
// +kubebuilder:validation:XValidation:rule="(self.type == 'S3') == has(self.s3)",message="give destination.s3 exactly when destination.type is S3"
// +kubebuilder:validation:XValidation:rule="(self.type == 'VolumeClaim') == has(self.volumeClaim)",message="give destination.volumeClaim exactly when destination.type is VolumeClaim"
// +union
type ArchiveDestination struct {
	// type selects which of the other fields is given.
	// +required
	// +unionDiscriminator
	Type ArchiveDestinationType `json:"type,omitempty"`
	// s3 is a bucket.
	// +optional
	S3 *S3Destination `json:"s3,omitempty"`
	// volumeClaim names a PersistentVolumeClaim in the same namespace.
	// +optional
	VolumeClaim *LocalReference `json:"volumeClaim,omitempty"`
}

// ObjectLock says whether the bucket itself must refuse deletion.
// +kubebuilder:validation:Enum=Required;NotRequired
type ObjectLock string

const (
	// ObjectLockRequired archives only into a bucket that refuses deletion for as long as the archive is kept.
	ObjectLockRequired ObjectLock = "Required"
	// ObjectLockNotRequired archives into any bucket.
	ObjectLockNotRequired ObjectLock = "NotRequired"
)

// S3Destination is a bucket of an S3 service.
type S3Destination struct {
	// endpoint of the service.
	// +required
	Endpoint HTTPSURL `json:"endpoint,omitempty"`
	// bucket that is written to.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9][a-z0-9.-]*[a-z0-9]$`
	Bucket string `json:"bucket,omitempty"`
	// prefix of every object's key.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._/-]+$`
	Prefix string `json:"prefix,omitempty"`
	// region of the bucket.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9-]+$`
	Region string `json:"region,omitempty"`
	// objectLock says whether the bucket itself must refuse deletion; Required when not given.
	// +optional
	ObjectLock ObjectLock `json:"objectLock,omitempty"`
	// credentialsSecretRef names the Secret (keys accessKeyID and secretAccessKey).
	// +required
	CredentialsSecretRef SecretReference `json:"credentialsSecretRef,omitzero"`
	// caSecretRef names the Secret (key ca.crt) with the roots of the service's certificate; the system's when not given.
	// +optional
	CASecretRef *SecretReference `json:"caSecretRef,omitempty"`
}

// OffloadType says how messages are handed over.
// +kubebuilder:validation:Enum=IMAP;VolumeClaim;HTTP
type OffloadType string

const (
	// OffloadToIMAP puts them into a mailbox of an IMAPS server.
	OffloadToIMAP OffloadType = "IMAP"
	// OffloadToVolumeClaim writes them to a volume.
	OffloadToVolumeClaim OffloadType = "VolumeClaim"
	// OffloadToHTTP posts them to a service.
	OffloadToHTTP OffloadType = "HTTP"
)

// Acknowledgement says whether the receiver must confirm each message.
// +kubebuilder:validation:Enum=Required;NotRequired
type Acknowledgement string

const (
	// AcknowledgementRequired counts a message as handed over when its receiver confirmed its hash.
	AcknowledgementRequired Acknowledgement = "Required"
	// AcknowledgementNotRequired counts it when it was written.
	AcknowledgementNotRequired Acknowledgement = "NotRequired"
)

// Offload is a union of the ways to hand messages over.
//
// +kubebuilder:validation:XValidation:rule="(self.type == 'IMAP') == has(self.imap)",message="give offload.imap exactly when offload.type is IMAP"
// +kubebuilder:validation:XValidation:rule="(self.type == 'VolumeClaim') == has(self.volumeClaim)",message="give offload.volumeClaim exactly when offload.type is VolumeClaim"
// +kubebuilder:validation:XValidation:rule="(self.type == 'HTTP') == has(self.http)",message="give offload.http exactly when offload.type is HTTP"
// +union
type Offload struct {
	// type selects which of the other fields is given.
	// +required
	// +unionDiscriminator
	Type OffloadType `json:"type,omitempty"`
	// imap is a mailbox of an IMAPS server.
	// +optional
	IMAP *OffloadIMAP `json:"imap,omitempty"`
	// volumeClaim names a PersistentVolumeClaim in the same namespace.
	// +optional
	VolumeClaim *LocalReference `json:"volumeClaim,omitempty"`
	// http is a service.
	// +optional
	HTTP *OffloadHTTP `json:"http,omitempty"`
	// acknowledgement says whether the receiver must confirm each message.
	// +required
	Acknowledgement Acknowledgement `json:"acknowledgement,omitempty"`
}

// OffloadIMAP is a mailbox of an IMAPS server.
type OffloadIMAP struct {
	Endpoint `json:",inline"`
	// credentialsSecretRef names the Secret (keys username and password).
	// +required
	CredentialsSecretRef SecretReference `json:"credentialsSecretRef,omitzero"`
}

// OffloadHTTP is a service that messages are posted to.
type OffloadHTTP struct {
	// url that messages are posted to.
	// +required
	URL HTTPSURL `json:"url,omitempty"`
	// credentialsSecretRef names the Secret (keys tls.crt and tls.key) with the client's certificate.
	// +required
	CredentialsSecretRef SecretReference `json:"credentialsSecretRef,omitzero"`
}

// RemovalCondition says what must have happened to a message before it is removed.
// +kubebuilder:validation:Enum=Acknowledged;Archived
type RemovalCondition string

const (
	// RemoveAcknowledged removes what is archived and was acknowledged by the receiver of the offload.
	RemoveAcknowledged RemovalCondition = "Acknowledged"
	// RemoveArchived removes what is archived.
	RemoveArchived RemovalCondition = "Archived"
)

// Removal says when archived messages are removed from their mailboxes. It cannot be undone.
type Removal struct {
	// afterArchiveDays is how long a message stays in its mailbox once it is archived.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=36500
	AfterArchiveDays *int32 `json:"afterArchiveDays,omitempty"`
	// when says what must have happened to a message.
	// +required
	When RemovalCondition `json:"when,omitempty"`
}

// Keep says how long something is kept.
type Keep struct {
	// keepMonths is how long.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1200
	KeepMonths *int32 `json:"keepMonths,omitempty"`
}

// LawfulKeep says how long something is kept for which the law has a floor of 30 months.
type LawfulKeep struct {
	// keepMonths is how long.
	// +required
	// +kubebuilder:validation:Maximum=1200
	// +kubebuilder:validation:XValidation:rule="self >= 30",message="keepMonths is below the law's floor: give 30 or more"
	KeepMonths *int32 `json:"keepMonths,omitempty"`
}

// AfterClosure says what becomes of a mailbox that was closed.
type AfterClosure struct {
	// archiveUntil is the day until which its mail is kept. Of two promises, give the later.
	// +required
	ArchiveUntil Date `json:"archiveUntil,omitempty"`
}

// RetentionSchedule says when the work is done.
type RetentionSchedule struct {
	// at is the time of day.
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('02:')",message="schedule.at between 02:00 and 02:59 does not exist on one night of the year and exists twice on another: choose a time before 02:00 or from 03:00"
	At TimeOfDay `json:"at,omitempty"`
	// days of the week; every day when not given.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=7
	Days []Weekday `json:"days,omitempty"`
	// timeZone of every time here.
	// +required
	TimeZone TimeZone `json:"timeZone,omitempty"`
	// windows in which work may be started; any time when not given.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=14
	Windows []Window `json:"windows,omitempty"`
}

// RetentionPolicyStatus is what the operator of this site observed.
type RetentionPolicyStatus struct {
	// observedGeneration is the generation that the conditions speak of; -1 before the first look.
	// +optional
	// +kubebuilder:default=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// lastHandledReconcileAt is the last value of the annotation pec-operator.dev/reconcile-requested-at that a pass has answered.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
	// conditions are the facts about the policy at this site; the top one is Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// lastRun is when the work was last done.
	// +optional
	LastRun *metav1.Time `json:"lastRun,omitempty"`
	// nextRun is when it will be done.
	// +optional
	NextRun *metav1.Time `json:"nextRun,omitempty"`
	// runs are the last ones, the newest first.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=7
	Runs []RetentionRun `json:"runs,omitempty"`
	// selected mailboxes: those that are under this policy.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Selected *int32 `json:"selected,omitempty"`
	// elsewhere are the mailboxes that spec.mailboxes selects and that are under another policy.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Elsewhere *int32 `json:"elsewhere,omitempty"`
	// archived messages.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Archived *int64 `json:"archived,omitempty"`
	// awaitingAcknowledgement are, while offload asks for acknowledgement, the archived messages that document management has not
	// acknowledged. This release hands nothing over: it is all of them.
	// +optional
	// +kubebuilder:validation:Minimum=0
	AwaitingAcknowledgement *int64 `json:"awaitingAcknowledgement,omitempty"`
	// dueForRemoval is this site's own list of messages that would be removed next.
	// +optional
	DueForRemoval *DueForRemoval `json:"dueForRemoval,omitempty"`
	// disputes are mailboxes of which one site would remove what the other would not.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Disputes *int64 `json:"disputes,omitempty"`
	// restore is the last restore that was begun.
	// +optional
	Restore *RestoreStatus `json:"restore,omitempty"`
	// holds are the legal holds in force on what is selected.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Holds *int32 `json:"holds,omitempty"`
}

// RetentionRunState is where a run stands.
// +kubebuilder:validation:Enum=Running;Done;Failed;Missed
type RetentionRunState string

const (
	// RunRunning is a run whose Job works, or waits for its window.
	RunRunning RetentionRunState = "Running"
	// RunDone is a run that did the work on every mailbox.
	RunDone RetentionRunState = "Done"
	// RunFailed is a run that ended without some mailboxes; the next one takes them up.
	RunFailed RetentionRunState = "Failed"
	// RunMissed is a run that did not begin before the next was due; the next one does its work.
	RunMissed RetentionRunState = "Missed"
)

// RetentionRun is one run of the schedule.
type RetentionRun struct {
	// name of the run, after its day.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Name string `json:"name,omitempty"`
	// at is when it was due, UTC.
	// +required
	At metav1.Time `json:"at,omitzero"`
	// state is where it stands.
	// +required
	State RetentionRunState `json:"state,omitempty"`
	// mailboxes that it works on.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Mailboxes *int32 `json:"mailboxes,omitempty"`
	// archived messages.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Archived *int64 `json:"archived,omitempty"`
	// failed counts the mailboxes that it ended without; the condition Archiving names some.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Failed *int32 `json:"failed,omitempty"`
}

// DueForRemoval is a list of messages that would be removed next: those that are in the archive long enough, and byte for byte the same
// in this site's store.
type DueForRemoval struct {
	// run that made the list; lists of the same run only are compared.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Run string `json:"run,omitempty"`
	// count of the messages.
	// +required
	// +kubebuilder:validation:Minimum=0
	Count *int64 `json:"count,omitempty"`
	// digest is the SHA-256 of the list, in hex.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	Digest string `json:"digest,omitempty"`
	// mailboxes are those with something due, twelve characters each: the beginnings of the SHA-256 of the address and of its list. By
	// them the sites find which ones differ. It is not given for more than 1,024.
	// +optional
	// +kubebuilder:validation:MinLength=12
	// +kubebuilder:validation:MaxLength=12288
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-]*$`
	Mailboxes string `json:"mailboxes,omitempty"`
	// sites that hold the same list; nothing is removed before both do.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=16
	Sites []string `json:"sites,omitempty"`
}

// RestoreState is where a restore stands.
// +kubebuilder:validation:Enum=Running;Done;Failed
type RestoreState string

const (
	// RestoreRunning is a restore whose Job works.
	RestoreRunning RestoreState = "Running"
	// RestoreDone is a restore that put everything back.
	RestoreDone RestoreState = "Done"
	// RestoreFailed is a restore that ended before; what it had put back stays, and another token does what is left.
	RestoreFailed RestoreState = "Failed"
)

// RestoreStatus is what became of a restore.
type RestoreStatus struct {
	// token of the request.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Token string `json:"token,omitempty"`
	// site that restores.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	Site string `json:"site,omitempty"`
	// slot names its Job among those of the policy.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	Slot string `json:"slot,omitempty"`
	// mailbox that took the messages.
	// +required
	Mailbox EmailAddress `json:"mailbox,omitempty"`
	// into is the folder below which they are.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=80
	Into string `json:"into,omitempty"`
	// state is where it stands.
	// +required
	State RestoreState `json:"state,omitempty"`
	// begunAt is when its Job was let run.
	// +required
	BegunAt metav1.Time `json:"begunAt,omitzero"`
	// restored messages.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Restored *int64 `json:"restored,omitempty"`
	// present counts the messages that were there already, put by an earlier try.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Present *int64 `json:"present,omitempty"`
	// manifest is the list of them, as the engine keeps it with the mailbox.
	// +optional
	Manifest *ManifestStatus `json:"manifest,omitempty"`
	// message is why it failed.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
}

// RetentionPolicyList is a list of RetentionPolicy.
//
// +kubebuilder:object:root=true
type RetentionPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RetentionPolicy `json:"items"`
}
