package v1alpha1

// DNSMode says who writes the domain's MX records.
// +kubebuilder:validation:Enum=VerifyOnly;RFC2136;ExternalDNS
type DNSMode string

const (
	// DNSVerifyOnly leaves writing to people: the operator observes and words the request.
	DNSVerifyOnly DNSMode = "VerifyOnly"
	// DNSRFC2136 sends signed updates to the zone's primary server.
	DNSRFC2136 DNSMode = "RFC2136"
	// DNSExternalDNS hands the records to external-dns.
	DNSExternalDNS DNSMode = "ExternalDNS"
)

// DomainDNS is a union of the ways in which MX records come to name the domain's hosts.
//
// +kubebuilder:validation:XValidation:rule="(self.mode == 'RFC2136') == has(self.rfc2136)",message="give dns.rfc2136 exactly when dns.mode is RFC2136"
// +kubebuilder:validation:XValidation:rule="(self.mode == 'ExternalDNS') == has(self.externalDNS)",message="give dns.externalDNS exactly when dns.mode is ExternalDNS"
// +kubebuilder:validation:XValidation:rule="self.mode != 'VerifyOnly' || (!has(self.takeover) && (!has(self.onDelete) || self.onDelete == 'Retain'))",message="dns.mode VerifyOnly writes nothing: leave out dns.takeover and dns.onDelete RemoveIfOurs, or choose RFC2136 or ExternalDNS"
// +union
type DomainDNS struct {
	// mode selects who writes.
	// +required
	// +unionDiscriminator
	Mode DNSMode `json:"mode,omitempty"`
	// takeover says which records of others may be replaced; none when not given.
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
	// expectedCurrent is the whole set of MX hosts that may be replaced; another set is left alone.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	ExpectedCurrent []Hostname `json:"expectedCurrent,omitempty"`
	// approvedBy is who approved, with the protocol number.
	// +optional
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=256
	ApprovedBy string `json:"approvedBy,omitempty"`
}

// RFC2136 is a primary server that takes signed updates.
type RFC2136 struct {
	// server that updates are sent to, over TCP port 53.
	// +required
	Server Hostname `json:"server,omitempty"`
	// zone that is updated.
	// +required
	Zone Hostname `json:"zone,omitempty"`
	// tsigSecretRef names the Secret (keys name and secret) with the key that updates are signed with.
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

// DNSExtra are the records beside MX that are looked at. (Ignore, not "Off": YAML 1.1, which kubectl reads, takes that for false.)
type DNSExtra struct {
	// spf is the sender policy.
	// +optional
	SPF RecordCheck `json:"spf,omitempty"`
	// dkim are the keys of signatures.
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
