package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DNSMode says who writes the domain's MX records.
// +kubebuilder:validation:Enum=VerifyOnly;RFC2136;ExternalDNS;Ignore
type DNSMode string

const (
	// DNSVerifyOnly leaves writing to people: the operator observes and words the request.
	DNSVerifyOnly DNSMode = "VerifyOnly"
	// DNSRFC2136 sends signed updates to the zone's primary server.
	DNSRFC2136 DNSMode = "RFC2136"
	// DNSExternalDNS leaves writing to external-dns. This release stores how it was set up and does what VerifyOnly does.
	DNSExternalDNS DNSMode = "ExternalDNS"
	// DNSIgnore asks nothing and says nothing: the records are looked after elsewhere.
	DNSIgnore DNSMode = "Ignore"
)

// DomainDNS is a union of the ways in which MX records come to name the domain's hosts.
//
// +kubebuilder:validation:XValidation:rule="(self.mode == 'RFC2136') == has(self.rfc2136)",message="give dns.rfc2136 exactly when dns.mode is RFC2136"
// +kubebuilder:validation:XValidation:rule="(self.mode == 'ExternalDNS') == has(self.externalDNS)",message="give dns.externalDNS exactly when dns.mode is ExternalDNS"
// +kubebuilder:validation:XValidation:rule="self.mode in ['RFC2136', 'ExternalDNS'] || !has(self.onDelete) || self.onDelete == 'Retain'",message="only dns.mode RFC2136 and ExternalDNS write: leave out dns.onDelete RemoveIfOurs, or choose one of them"
// +union
type DomainDNS struct {
	// mode selects who writes; VerifyOnly where dns is not given.
	// +required
	// +unionDiscriminator
	Mode DNSMode `json:"mode,omitempty"`
	// takeover says which records of others may be replaced; none when not given. With VerifyOnly it turns the warning about them
	// into a request to replace them.
	// +optional
	Takeover *DNSTakeover `json:"takeover,omitempty"`
	// rfc2136 is the zone's primary server.
	// +optional
	RFC2136 *RFC2136 `json:"rfc2136,omitempty"`
	// externalDNS is how external-dns was set up; it cannot be asked.
	// +optional
	ExternalDNS *ExternalDNS `json:"externalDNS,omitempty"`
	// onDelete is what becomes of our records when this resource is deleted; Retain when not given.
	// +optional
	OnDelete DNSOnDelete `json:"onDelete,omitempty"`
	// extra are the records beside MX that are looked at; those not given are ignored.
	// +optional
	Extra *DNSExtra `json:"extra,omitempty"`
}

// DNSOnDelete says what becomes of records when their domain's resource is deleted.
// +kubebuilder:validation:Enum=Retain;RemoveIfOurs
type DNSOnDelete string

const (
	// DNSRetain leaves them.
	DNSRetain DNSOnDelete = "Retain"
	// DNSRemoveIfOurs removes those that are still as we wrote them.
	DNSRemoveIfOurs DNSOnDelete = "RemoveIfOurs"
)

// TakeoverPolicy says whether records of others may be replaced.
// +kubebuilder:validation:Enum=Never;FromExpected
type TakeoverPolicy string

const (
	// TakeoverNever replaces none.
	TakeoverNever TakeoverPolicy = "Never"
	// TakeoverFromExpected replaces exactly the expected ones.
	TakeoverFromExpected TakeoverPolicy = "FromExpected"
)

// DNSTakeover is the permission to replace records of others.
//
// +kubebuilder:validation:XValidation:rule="(self.policy == 'FromExpected') == (has(self.expectedCurrent) && has(self.approvedBy))",message="give takeover.expectedCurrent, the whole MX set that may be replaced, and takeover.approvedBy exactly when takeover.policy is FromExpected"
type DNSTakeover struct {
	// policy says whether any may be replaced.
	// +required
	Policy TakeoverPolicy `json:"policy,omitempty"`
	// expectedCurrent is the whole MX set that may be replaced; a set that differs by one record is left alone.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	ExpectedCurrent []MXRecord `json:"expectedCurrent,omitempty"`
	// approvedBy is who approved, with the protocol number.
	// +optional
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`[0-9]`
	ApprovedBy string `json:"approvedBy,omitempty"`
}

// MXRecord is one MX record.
type MXRecord struct {
	// preference of the record.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Preference *int32 `json:"preference,omitempty"`
	// host that the record names.
	// +required
	Host Hostname `json:"host,omitempty"`
}

// RFC2136 is a primary server that takes signed updates.
type RFC2136 struct {
	// server that updates are sent to, over TCP port 53.
	// +required
	Server Hostname `json:"server,omitempty"`
	// zone that is updated.
	// +required
	Zone Hostname `json:"zone,omitempty"`
	// tsigSecretRef names the Secret with the key that updates are signed with: name, and secret in base64 as tsig-keygen prints it.
	// +required
	TSIGSecretRef SecretReference `json:"tsigSecretRef,omitzero"`
	// algorithm of the key.
	// +required
	// +kubebuilder:validation:Enum=HMAC-SHA256;HMAC-SHA512
	Algorithm string `json:"algorithm,omitempty"`
}

// ExternalDNS is how external-dns was set up, as its administrator states.
type ExternalDNS struct {
	// ownerID is its --txt-owner-id; without one it protects no record of others.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._-]+$`
	OwnerID string `json:"ownerID,omitempty"`
	// provider is its --provider; only those that handle MX records are listed.
	// +required
	// +kubebuilder:validation:Enum=aws;azure;cloudflare;google;pdns;webhook
	Provider string `json:"provider,omitempty"`
}

// RecordCheck says whether records beside MX are looked at.
// +kubebuilder:validation:Enum=Verify;Ignore
type RecordCheck string

const (
	// RecordVerify looks at them.
	RecordVerify RecordCheck = "Verify"
	// RecordIgnore does not.
	RecordIgnore RecordCheck = "Ignore"
)

// DNSExtra are the records beside MX that are looked at. (Ignore, not "Off": YAML 1.1, which kubectl reads, takes that for false.)
type DNSExtra struct {
	// spf is the sender policy.
	// +optional
	SPF RecordCheck `json:"spf,omitempty"`
	// dkim are the keys of signatures. This release stores it: nothing says which selectors are in use.
	// +optional
	DKIM RecordCheck `json:"dkim,omitempty"`
	// dmarc is the policy on both.
	// +optional
	DMARC RecordCheck `json:"dmarc,omitempty"`
	// mtaSTS is the policy on transport security.
	// +optional
	MTASTS RecordCheck `json:"mtaSTS,omitempty"`
	// tlsRPT is where failures of it are reported.
	// +optional
	TLSRPT RecordCheck `json:"tlsRPT,omitempty"`
	// dane are the TLSA records of the mail hosts.
	// +optional
	DANE RecordCheck `json:"dane,omitempty"`
}

// DNSState is what a domain's MX is, as all authoritative servers tell it.
// +kubebuilder:validation:Enum=None;Ours;Foreign;Hybrid;Drifted;Missing;Conflict;Alias;Lame;Unverifiable
type DNSState string

// DNSStatus is what this site saw of the domain's records, and what it does about them.
type DNSStatus struct {
	// state of the MX set; another is believed after two rounds, and none is given up for one silent server.
	// +optional
	State DNSState `json:"state,omitempty"`
	// since is when the state became this one.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// message is what was seen, in one sentence.
	// +optional
	// +kubebuilder:validation:MaxLength=384
	Message string `json:"message,omitempty"`
	// zone that holds the domain.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[ -~]*$`
	Zone string `json:"zone,omitempty"`
	// current is the MX set that every server has; empty when there is none, or when they do not agree.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=262
	// +kubebuilder:validation:items:Pattern=`^[ -~]*$`
	Current []string `json:"current,omitempty"`
	// currentNotShown counts the records of the set that current has no room for.
	// +optional
	// +kubebuilder:validation:Minimum=1
	CurrentNotShown *int32 `json:"currentNotShown,omitempty"`
	// previous is the set that was there before this operator's last write: what to put back by hand, should it have been wrong.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=262
	// +kubebuilder:validation:items:Pattern=`^[ -~]*$`
	Previous []string `json:"previous,omitempty"`
	// previousNotShown counts the records of the set that previous has no room for.
	// +optional
	// +kubebuilder:validation:Minimum=1
	PreviousNotShown *int32 `json:"previousNotShown,omitempty"`
	// epoch of the owner text: of two sites, the one with the lower epoch stops.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Epoch *int64 `json:"epoch,omitempty"`
	// observed is what each address of each authoritative server answered when something last changed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=12
	Observed []DNSServerView `json:"observed,omitempty"`
	// observedNotShown counts the addresses that were asked and that observed has no room for.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedNotShown *int32 `json:"observedNotShown,omitempty"`
	// recordRequest is what the administrator of the zone is asked for; absent when nothing is to be done.
	// +optional
	RecordRequest *RecordRequest `json:"recordRequest,omitempty"`
	// cutOver is the change of provider that is under way, or was last made.
	// +optional
	CutOver *CutOverStatus `json:"cutOver,omitempty"`
	// checks are the records and hosts beside the MX set that were looked at.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=12
	Checks []DNSCheck `json:"checks,omitempty"`
}

// DNSServerView is what one address of one authoritative server answered.
type DNSServerView struct {
	// server is its name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[ -~]*$`
	Server string `json:"server,omitempty"`
	// address that was asked.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-fA-F:.%]*$`
	Address string `json:"address,omitempty"`
	// fault is what it did instead of answering with authority, like Timeout or Lame.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^[A-Za-z]*$`
	Fault string `json:"fault,omitempty"`
	// mx is the set that it has.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[ -~]*$`
	MX string `json:"mx,omitempty"`
	// owner is the text at the owner name.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[ -~]*$`
	Owner string `json:"owner,omitempty"`
	// serial of the zone when something else in this entry last changed.
	// +optional
	Serial *int64 `json:"serial,omitempty"`
	// ttl of the set, in seconds.
	// +optional
	TTL *int64 `json:"ttl,omitempty"`
}

// RecordRequest is one request, ready to be sent, in two languages.
type RecordRequest struct {
	// italian text.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2560
	Italian string `json:"italian,omitempty"`
	// english text.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2560
	English string `json:"english,omitempty"`
	// deadline is when the records should be there; after it the domain is Stalled.
	// +required
	Deadline metav1.Time `json:"deadline,omitzero"`
}

// CutOverStatus is where a change of provider stands.
type CutOverStatus struct {
	// phase is LowerTTL, WaitOldTTL, Swap, Verify, WaitCaches, RaiseTTL or Done.
	// +required
	// +kubebuilder:validation:Enum=LowerTTL;WaitOldTTL;Swap;Verify;WaitCaches;RaiseTTL;Done
	Phase string `json:"phase,omitempty"`
	// since is when the phase began.
	// +required
	Since metav1.Time `json:"since,omitzero"`
	// message is what the phase waits for.
	// +optional
	// +kubebuilder:validation:MaxLength=192
	Message string `json:"message,omitempty"`
	// until is when the phase ends, where that is known.
	// +optional
	Until *metav1.Time `json:"until,omitempty"`
	// oldHostsUntil is until when the old hosts must go on taking mail.
	// +optional
	OldHostsUntil *metav1.Time `json:"oldHostsUntil,omitempty"`
}

// DNSCheck is the outcome of looking at one kind of record or host beside the MX set.
type DNSCheck struct {
	// name is MailHosts, Endpoints, Delegation, OtherSite, SPF, DMARC, MTA-STS, TLS-RPT, DANE, CAA or DNSSEC.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^[A-Za-z-]+$`
	Name string `json:"name,omitempty"`
	// result is Sound, Absent (nothing there, which harms nothing), Faulty, or Unknown (it could not be looked at).
	// +required
	// +kubebuilder:validation:Enum=Sound;Absent;Faulty;Unknown
	Result string `json:"result,omitempty"`
	// message is what was found.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=192
	Message string `json:"message,omitempty"`
}
