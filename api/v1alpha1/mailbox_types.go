package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MailboxType is the use that a mailbox is contracted for.
// +kubebuilder:validation:Enum=Standard
type MailboxType string

// MailboxStandard is a mailbox that people read.
const MailboxStandard MailboxType = "Standard"

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
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.status.address`,description="The certified address."
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`,description="The use that the mailbox is contracted for."
// +kubebuilder:printcolumn:name="Quota",type=string,JSONPath=`.spec.quota`,description="How much the mailbox may hold."
// +kubebuilder:printcolumn:name="Access",type=string,JSONPath=`.spec.access`,description="What the holder may do: Full, ReadOnly or Suspended."
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the mailbox works at this site as its spec says."
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,description="Time since the resource was created."
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why Ready has its value, in one word."
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,description="Why Ready has its value, and what to do."
// +kubebuilder:validation:XValidation:rule="self.metadata.name == self.spec.localPart.replace('_', '--') + '.at.' + self.spec.domainRef.name",message="metadata.name derives from the address, so that no address exists twice: set it to <localPart, each _ written -->.at.<domainRef.name>"
type Mailbox struct {
	metav1.TypeMeta `json:",inline"`
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

// MailboxSpec is what a mailbox should be.
type MailboxSpec struct {
	// suspend is Reconciliation to make the operator leave this mailbox as it is; mail keeps flowing. None when not given.
	// +optional
	Suspend Suspend `json:"suspend,omitempty"`
	// domainRef names the PECDomain, in the same namespace, that the mailbox is in.
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
	// type is the use that the mailbox is contracted for.
	// +optional
	// +kubebuilder:default=Standard
	Type MailboxType `json:"type,omitempty"`
	// quota is how much the mailbox may hold.
	// +required
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1M')) >= 0",message="quota must be 1M or more: give bytes with a unit, like 2Gi"
	Quota resource.Quantity `json:"quota,omitzero"`
	// access is what the holder may do.
	// +optional
	// +kubebuilder:default=Full
	Access MailboxAccess `json:"access,omitempty"`
	// credentials is where the mailbox's password comes from.
	// +required
	Credentials MailboxCredentials `json:"credentials,omitzero"`
	// requestedAt is when the holder asked for the mailbox, for the record.
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
	// secretRef names the Secret with the password: eight characters or more, or a {BLF-CRYPT} or {ARGON2ID} hash. Editing the
	// Secret changes the password.
	// +required
	SecretRef SecretKeyReference `json:"secretRef,omitzero"`
}

// MailboxStatus is what the operator of this site observed.
type MailboxStatus struct {
	// observedGeneration is the generation that the conditions speak of; -1 before the first look.
	// +optional
	// +kubebuilder:default=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// address is the certified address.
	// +optional
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=320
	Address string `json:"address,omitempty"`
	// conditions are the facts about this site's part of the mailbox.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=24
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// MailboxList is a list of Mailbox.
//
// +kubebuilder:object:root=true
type MailboxList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Mailbox `json:"items"`
}
