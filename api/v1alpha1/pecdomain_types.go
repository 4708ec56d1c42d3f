package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ProviderType says who runs the mail stack of a domain.
// +kubebuilder:validation:Enum=Managed;Hosted;External
type ProviderType string

const (
	// ProviderManaged is a domain whose mail stack this operator runs.
	ProviderManaged ProviderType = "Managed"
	// ProviderHosted is a domain that lives on the stack of a Managed one.
	ProviderHosted ProviderType = "Hosted"
	// ProviderExternal is a domain that an accredited provider outside this operator runs.
	ProviderExternal ProviderType = "External"
)

// PECDomain is a certified-mail domain; its name is the domain.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=pecd,categories=pec
// +kubebuilder:selectablefield:JSONPath=`.spec.provider.type`
// +kubebuilder:printcolumn:name="Provider",type=string,JSONPath=`.spec.provider.type`,description="Who runs the mail stack: Managed (this operator), Hosted (the stack of another PECDomain) or External (another provider)."
// +kubebuilder:printcolumn:name="DNS",type=string,JSONPath=`.status.dns.state`,description="What the domain's MX set is: Ours, or what is the matter with it."
// +kubebuilder:printcolumn:name="Mailboxes",type=integer,JSONPath=`.status.mailboxes.total`,description="Mailbox resources of this domain."
// +kubebuilder:printcolumn:name="Sites",type=string,JSONPath=`.status.readySites`,description="Sites where the domain is Ready."
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether this site accepts, certifies and delivers the domain's mail."
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,description="Time since the resource was created."
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why Ready has its value, in one word."
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,description="Why Ready has its value, and what to do."
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^([a-z0-9]([a-z0-9-]*[a-z0-9])?[.])+[a-z]([a-z0-9-]*[a-z0-9])?$')",message="metadata.name is the domain: give it at least two labels of lower-case letters, digits and inner hyphens, like pec.comune.esempio.it; the last one starts with a letter"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.matches('[^.]{64}')",message="metadata.name is the domain: shorten the label that has more than 63 characters, DNS cannot hold it"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.matches('(^|[.])([^x.][^.]|x[^n.])--')",message="metadata.name is the domain: write an internationalised label as its A-label (xn--...); no other label may have hyphens as third and fourth characters"
type PECDomain struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object; of its labels and annotations the operator writes none.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the domain should be; the operator never writes it.
	// +required
	Spec PECDomainSpec `json:"spec,omitzero"`
	// status is what the operator of this site observed.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status PECDomainStatus `json:"status,omitempty,omitzero"`
}

// PECDomainSpec is what a domain should be. Fields that this release only stores say so; the condition NotInForce names those
// that a PECDomain uses.
//
// +kubebuilder:validation:XValidation:rule="!has(self.preferredSite) || self.provider.type != 'Managed' || self.provider.managed.mailHosts.exists(h, h.site == self.preferredSite)",message="preferredSite must be the site of one of provider.managed.mailHosts: add a mail host of that site, or name another site"
type PECDomainSpec struct {
	// suspend is Reconciliation to make the operator leave this domain as it is; mail keeps flowing. None when not given.
	// +optional
	Suspend Suspend `json:"suspend,omitempty"`
	// holder is the body that answers for the domain.
	// +required
	Holder DomainHolder `json:"holder,omitzero"`
	// provider says who runs the domain's mail stack, and how.
	// +required
	Provider DomainProvider `json:"provider,omitzero"`
	// dns says how the domain's MX records come to name its hosts; they are verified and requested (VerifyOnly) when not given.
	// +optional
	DNS *DomainDNS `json:"dns,omitempty"`
	// contract is what may be provisioned in this domain; only the back office may change it. A mailbox beyond it waits and is
	// admitted by itself when there is room; what is provisioned stays. Without a contract every mailbox is admitted.
	// +optional
	Contract *Contract `json:"contract,omitempty"`
	// mailboxDefaults are for the mailboxes that do not say otherwise.
	// +optional
	MailboxDefaults *MailboxDefaults `json:"mailboxDefaults,omitempty"`
	// serviceLevel is what was promised of the service; with it, submission, IMAP and the mail hosts are measured.
	// +optional
	ServiceLevel *ServiceLevel `json:"serviceLevel,omitempty"`
	// preferredSite is the site that serves the domain while both live.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	PreferredSite string `json:"preferredSite,omitempty"`
	// deletionPolicy says what becomes of the mail when this resource is deleted. Retain, the only one and the default, keeps
	// every claim.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// DomainHolder is the public body or company that a domain belongs to.
type DomainHolder struct {
	// name of the body, like "Comune di Esempio".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`
	// ipaCode is the body's code in the index of public administrations (IPA), like "c_e123".
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-]+$`
	IPACode string `json:"ipaCode,omitempty"`
	// contact is the e-mail address of the office that answers for the domain.
	// +optional
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=254
	// +kubebuilder:validation:Pattern=`^[^@\s]+@[^@\s]+$`
	Contact string `json:"contact,omitempty"`
}

// DomainProvider is a union of the ways a domain can be served.
//
// +kubebuilder:validation:XValidation:rule="self.type == oldSelf.type",message="provider.type cannot change: moving a domain between providers is a migration of its mail; create the new domain first"
// +kubebuilder:validation:XValidation:rule="(self.type == 'Managed') == has(self.managed)",message="give provider.managed exactly when provider.type is Managed"
// +kubebuilder:validation:XValidation:rule="(self.type == 'Hosted') == has(self.hosted)",message="give provider.hosted exactly when provider.type is Hosted"
// +kubebuilder:validation:XValidation:rule="(self.type == 'External') == has(self.external)",message="give provider.external exactly when provider.type is External"
// +union
type DomainProvider struct {
	// type selects which of the other fields is given.
	// +required
	// +unionDiscriminator
	Type ProviderType `json:"type,omitempty"`
	// managed is the mail stack that this operator runs.
	// +optional
	Managed *ManagedProvider `json:"managed,omitempty"`
	// hosted names the domain whose stack serves this one.
	// +optional
	Hosted *HostedProvider `json:"hosted,omitempty"`
	// external describes the provider that runs the domain's mail stack. The domain's DNS and the use of its mailboxes are watched, from preferredSite (from every site without one).
	// +optional
	External *ExternalProvider `json:"external,omitempty"`
}

// ManagedProvider describes a mail stack that this operator runs, the same at both sites.
type ManagedProvider struct {
	// provider is the certified-mail provider (gestore) that signs here.
	// +required
	Provider ProviderIdentity `json:"provider,omitzero"`
	// allowedNamespaces are the namespaces whose PECDomains may be Hosted on this stack, besides this domain's own.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=512
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	AllowedNamespaces []string `json:"allowedNamespaces,omitempty"`
	// mailHosts are the hosts that the domain's MX records must name; one or more per site.
	// +required
	// +listType=map
	// +listMapKey=host
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	MailHosts []MailHost `json:"mailHosts,omitempty"`
	// endpoints are the host names that mail clients are given.
	// +required
	Endpoints Endpoints `json:"endpoints,omitzero"`
	// serviceAddress is the local part, at provider.mailDomain, of the From of every notice; "posta-certificata" when not given.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[a-z0-9]+([._-][a-z0-9]+)*$`
	ServiceAddress string `json:"serviceAddress,omitempty"`
	// shards is how many pods the domain's mailboxes are spread over; one when not given.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32
	// +kubebuilder:validation:XValidation:rule="self == 1",message="shards must be 1: this release runs one pod for a domain and site"
	Shards *int32 `json:"shards,omitempty"`
	// storage is where the stack keeps mail, queue and evidence.
	// +required
	Storage Storage `json:"storage,omitzero"`
	// tls is the certificate that clients and other mail servers are shown.
	// +required
	TLS ServerCertificate `json:"tls,omitzero"`
	// signing is the key that signs every notice and envelope.
	// +required
	Signing Signing `json:"signing,omitzero"`
	// antivirus is what messages are checked with, at access and at arrival. Without it nothing is checked, which no accredited
	// provider may do, and the condition AntivirusFresh says so.
	// +optional
	Antivirus *Antivirus `json:"antivirus,omitempty"`
	// antispam is Enabled to run a spam filter (rspamd) in the stack's pod, which judges the ordinary mail of the mailboxes that want
	// it. None runs when not given. A change restarts the pod.
	// +optional
	Antispam Antispam `json:"antispam,omitempty"`
	// timestamping is the authority (TSA) that stamps the seal of each day of the log; without it the seals are signed alone.
	// +optional
	Timestamping *Timestamping `json:"timestamping,omitempty"`
	// limits are those of the access point; what is not given has the operator's default.
	// +optional
	Limits *Limits `json:"limits,omitempty"`
	// providersIndex is where the index of certified-mail providers (IGPEC) comes from.
	// +required
	ProvidersIndex ProvidersIndex `json:"providersIndex,omitzero"`
}

// ProviderIdentity is a certified-mail provider as daticert.xml and the providers' index name it.
type ProviderIdentity struct {
	// name of the provider, like "Gestore Esempio S.p.A.".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`
	// mailDomain is the provider's own certified domain: the domain of the notices' From and of every message identifier.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?$`
	MailDomain string `json:"mailDomain,omitempty"`
	// mailReceipt is the address that other providers send their take-charge receipts (presa in carico) to.
	// +required
	// +kubebuilder:validation:MinLength=5
	// +kubebuilder:validation:MaxLength=254
	// +kubebuilder:validation:Pattern=`^[a-z0-9]+([._-][a-z0-9]+)*@([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?$`
	MailReceipt string `json:"mailReceipt,omitempty"`
}

// MailHost is one host that MX records name.
type MailHost struct {
	// host is the fully qualified name; it belongs to one site only.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?$`
	Host string `json:"host,omitempty"`
	// site is the building that the host stands in: the --site of the operator there.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	Site string `json:"site,omitempty"`
	// preference of the MX record; the lowest is tried first.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Preference *int32 `json:"preference,omitempty"`
	// peerLink is the host:port where the engine of this site answers the engine of the other one.
	// +optional
	// +kubebuilder:validation:MinLength=5
	// +kubebuilder:validation:MaxLength=259
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?:[0-9]{1,5}$`
	PeerLink string `json:"peerLink,omitempty"`
}

// Endpoints are the host names that mail clients connect to.
type Endpoints struct {
	// submission is the host of the SMTPS service (port 465).
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?$`
	Submission string `json:"submission,omitempty"`
	// imap is the host of the IMAPS service (port 993).
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?$`
	IMAP string `json:"imap,omitempty"`
	// pop3 is the host of the POP3S service (port 995).
	// +optional
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?$`
	POP3 string `json:"pop3,omitempty"`
}

// Storage is what the stack's volume claims ask for.
//
// +kubebuilder:validation:XValidation:rule="quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",message="storage.size can only grow: give a size that is not smaller than before, a volume cannot shrink under its mail"
// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",message="storage.storageClassName cannot change: a claim keeps the class it was made with; restore the former value"
// +kubebuilder:validation:XValidation:rule="size(string(self.size)) <= 32 && quantity(string(self.size)).isGreaterThan(quantity('0'))",message="storage.size must be more than zero: give the size of one volume, like 100Gi"
type Storage struct {
	// size of each of the stack's three claims (mail, queue, engine); it can grow, never shrink.
	// +required
	Size resource.Quantity `json:"size,omitzero"`
	// storageClassName is the class of the claims; the cluster's default when not given. It must be of a class that expands.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	StorageClassName *string `json:"storageClassName,omitempty"`
}

// Limits bound what the access point certifies; the law's floors (DM 2/11/2005, art. 12) are 50 recipients and 30 MB for one
// message times its recipients.
//
// +kubebuilder:validation:XValidation:rule="!has(self.maxMessageSize) || (size(string(self.maxMessageSize)) <= 32 && quantity(string(self.maxMessageSize)).compareTo(quantity('30M')) >= 0)",message="limits.maxMessageSize is below the law's floor: give 30M (30,000,000 bytes) or more"
// +kubebuilder:validation:XValidation:rule="!has(self.maxSizeTimesRecipients) || (size(string(self.maxSizeTimesRecipients)) <= 32 && quantity(string(self.maxSizeTimesRecipients)).compareTo(quantity('30M')) >= 0)",message="limits.maxSizeTimesRecipients is below the law's floor: give 30M (30,000,000 bytes) or more"
// +kubebuilder:validation:XValidation:rule="!has(self.maxRecipients) || self.maxRecipients >= 50",message="limits.maxRecipients is below the law's floor: give 50 or more"
type Limits struct {
	// maxRecipients of one message; 500 when not given.
	// +optional
	// +kubebuilder:validation:Maximum=10000
	MaxRecipients *int32 `json:"maxRecipients,omitempty"`
	// maxMessageSize in bytes; 100Mi when not given.
	// +optional
	MaxMessageSize *resource.Quantity `json:"maxMessageSize,omitempty"`
	// maxSizeTimesRecipients is the size of a message times the number of its recipients, in bytes; 100Mi when not given.
	// +optional
	MaxSizeTimesRecipients *resource.Quantity `json:"maxSizeTimesRecipients,omitempty"`
}

// ServerCertificate is a union of where the certificate of the mail ports comes from.
//
// +kubebuilder:validation:XValidation:rule="has(self.secretName) != has(self.issuerRef)",message="give exactly one of secretName and issuerRef in provider.managed.tls: a Secret that you keep, or the cert-manager issuer that the operator asks for one"
// +kubebuilder:validation:MinProperties=1
type ServerCertificate struct {
	// secretName names the Secret (keys tls.crt, tls.key) with the certificate, leaf first, and its key.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	SecretName string `json:"secretName,omitempty"`
	// issuerRef names who issues the certificate: the operator makes a cert-manager Certificate for the endpoints and for the mail hosts of
	// its site, and the stack uses the Secret that cert-manager fills. Needs the chart's value certManager.
	// +optional
	IssuerRef *IssuerReference `json:"issuerRef,omitempty"`
}

// IssuerReference names an issuer of cert-manager.
type IssuerReference struct {
	// name of the issuer.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`
	// kind of the issuer: Issuer, in the domain's namespace, when not given; ClusterIssuer; or that of another issuer.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Za-z0-9]*$`
	Kind string `json:"kind,omitempty"`
	// group of the issuer; cert-manager.io when not given.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	Group string `json:"group,omitempty"`
}

// Signing is a certificate with its key, in a Secret or in an HSM.
type Signing struct {
	// secretName is the name of the Secret with the certificate (key tls.crt, leaf first, then its chain) and, unless pkcs11 is
	// given, its key (key tls.key). What is changed in it acts within two minutes and without a restart.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	SecretName string `json:"secretName,omitempty"`
	// pkcs11 is the HSM that holds the key, used by a small process of its own in the stack's pod.
	// +optional
	PKCS11 *PKCS11 `json:"pkcs11,omitempty"`
}

// PKCS11 is a key in an HSM.
type PKCS11 struct {
	// module is the path of the maker's PKCS#11 library in the image.
	// +required
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^/[A-Za-z0-9._/+-]+$`
	Module string `json:"module,omitempty"`
	// tokenLabel names the token.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9 ._:-]+$`
	TokenLabel string `json:"tokenLabel,omitempty"`
	// keyLabel names the private key in the token.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9 ._:-]+$`
	KeyLabel string `json:"keyLabel,omitempty"`
	// pinSecretRef names the Secret (key pin) with the token's PIN; only the process that uses the HSM sees it.
	// +required
	PINSecretRef SecretReference `json:"pinSecretRef,omitzero"`
	// configSecretRef names a Secret whose keys are files that the library reads, shown to it in /etc/pec/pkcs11.
	// +optional
	ConfigSecretRef *SecretReference `json:"configSecretRef,omitempty"`
	// image with the library and the program pec-signer; the stack's own image when not given.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9./:@_-]+$`
	Image string `json:"image,omitempty"`
	// environment are variables that the library reads.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Environment []EnvironmentVariable `json:"environment,omitempty"`
}

// EnvironmentVariable is one variable of a process; it holds no secret.
type EnvironmentVariable struct {
	// name of the variable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Z0-9_]*$`
	Name string `json:"name,omitempty"`
	// value of the variable.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9 ./:_,=-]+$`
	Value string `json:"value,omitempty"`
}

// ProvidersIndex is where the index of certified-mail providers comes from.
//
// +kubebuilder:validation:XValidation:rule="has(self.url) || (!has(self.clientCertSecretRef) && !has(self.caSecretRef))",message="clientCertSecretRef and caSecretRef are for a download: give providersIndex.url too, or leave them out"
// +kubebuilder:validation:XValidation:rule="!has(self.url) || !self.url.startsWith('https://') || has(self.caSecretRef)",message="providersIndex.caSecretRef must name the Secret whose key signer.crt says who may sign the index that is downloaded over https"
type ProvidersIndex struct {
	// configMapRef names a ConfigMap with the roots that the providers' certificates chain to (key roots.pem) and the index (key
	// index.ldif). With url the index in it counts until the first download, and may be left out.
	// +required
	ConfigMapRef LocalReference `json:"configMapRef,omitzero"`
	// url is where the index is downloaded from once a day: https of an LDIF that is signed as .p7m, or ldaps of the directory itself, whose
	// path is the base (o=postacert when it has none). The last good copy stays in force.
	// +optional
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^(https|ldaps)://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/%?=&,-]*)?$`
	URL string `json:"url,omitempty"`
	// clientCertSecretRef names the Secret (keys tls.crt, tls.key) with the certificate that is shown to the source.
	// +optional
	ClientCertSecretRef *SecretReference `json:"clientCertSecretRef,omitempty"`
	// caSecretRef names the Secret with the roots of the source's own certificate (key ca.crt; the system's when it is not there), and for https
	// the roots of the certificates, or the very ones, that the index may be signed with (key signer.crt).
	// +optional
	CASecretRef *SecretReference `json:"caSecretRef,omitempty"`
}

// HostedProvider names the domain whose stack serves this one.
type HostedProvider struct {
	// host is a Managed PECDomain that lists this domain's namespace in its allowedNamespaces. (Not "on": YAML 1.1, which
	// kubectl reads, takes that for the boolean true.)
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="provider.hosted.host cannot change: moving a domain between stacks is a migration of its mail; restore the former value"
	Host DomainReference `json:"host,omitzero"`
}

// DomainReference names a PECDomain in any namespace.
type DomainReference struct {
	// name of the PECDomain.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`
	// namespace of the PECDomain; this domain's own when not given.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	Namespace string `json:"namespace,omitempty"`
}

// ExternalProvider describes a domain that another provider runs, as its letter prints it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.imap) || !has(self.imap.port) || self.imap.port == 993",message="mailboxes are looked at over IMAPS: leave the port of provider.external.imap out, or give 993"
type ExternalProvider struct {
	// name of the provider.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`
	// mailExchangers are the hosts that the domain's MX records should name.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	MailExchangers []Hostname `json:"mailExchangers,omitempty"`
	// imap is the provider's IMAPS service, on port 993 of an address of the internet, or of a network in the chart's value
	// external.networks. The use of the domain's mailboxes is watched there, and nothing is changed.
	// +required
	IMAP Endpoint `json:"imap,omitzero"`
	// pop3 is the provider's POP3S service.
	// +optional
	POP3 *Endpoint `json:"pop3,omitempty"`
	// submission is the provider's SMTPS service.
	// +optional
	Submission *Endpoint `json:"submission,omitempty"`
}

// Antivirus is what messages are checked with: a ClamAV in the stack's pod.
type Antivirus struct {
	// definitions are the files that ClamAV reads.
	// +required
	Definitions AntivirusDefinitions `json:"definitions,omitzero"`
	// definitionsMaxAgeMinutes is the time since the definitions' last refresh, told by the newest file among them, beyond which
	// messages wait instead of being taken unchecked.
	// +required
	// +kubebuilder:validation:Minimum=15
	// +kubebuilder:validation:Maximum=1440
	DefinitionsMaxAgeMinutes *int32 `json:"definitionsMaxAgeMinutes,omitempty"`
	// memory is what ClamAV is given, request and limit: beyond it it is killed and starts again, and messages wait meanwhile. Without it, 2Gi
	// for definitions in a claim, which all of ClamAV's own need, and 256Mi for those in a ConfigMap, which cannot be many.
	// +optional
	// +kubebuilder:validation:XValidation:rule="size(string(self)) <= 32 && quantity(string(self)).compareTo(quantity('128Mi')) >= 0",message="antivirus.memory must be 128Mi or more: give bytes with a unit, like 2Gi"
	Memory *resource.Quantity `json:"memory,omitempty"`
}

// AntivirusDefinitions is a union of where virus definitions come from. Whoever refreshes them renews the time of a file at each
// successful check, also when there was nothing new.
//
// +kubebuilder:validation:XValidation:rule="has(self.configMapRef) != has(self.claimRef)",message="give exactly one of configMapRef and claimRef in antivirus.definitions"
// +kubebuilder:validation:MinProperties=1
type AntivirusDefinitions struct {
	// configMapRef names a ConfigMap whose keys are files of definitions.
	// +optional
	ConfigMapRef *LocalReference `json:"configMapRef,omitempty"`
	// claimRef names a PersistentVolumeClaim with the definitions at its root; the stack only reads it.
	// +optional
	ClaimRef *LocalReference `json:"claimRef,omitempty"`
}

// Timestamping is a timestamping authority (RFC 3161).
type Timestamping struct {
	// url of the authority.
	// +required
	URL HTTPSURL `json:"url,omitempty"`
	// caSecretRef names the Secret (key ca.crt) with the roots of the authority's certificate; the system's when not given.
	// +optional
	CASecretRef *SecretReference `json:"caSecretRef,omitempty"`
}

// MailboxDefaults are for the mailboxes of a domain that do not say otherwise.
type MailboxDefaults struct {
	// quota is how much a mailbox may hold.
	// +optional
	// +kubebuilder:validation:XValidation:rule="size(string(self)) <= 32 && quantity(string(self)).compareTo(quantity('1M')) >= 0",message="mailboxDefaults.quota must be 1M or more: give bytes with a unit, like 2Gi"
	Quota *resource.Quantity `json:"quota,omitempty"`
	// ordinaryMail is what becomes of mail that is not certified.
	// +optional
	OrdinaryMail *OrdinaryMail `json:"ordinaryMail,omitempty"`
	// sending bounds what a mailbox may send.
	// +optional
	Sending *SendingLimits `json:"sending,omitempty"`
}

// ServiceLevel is what was promised of the service.
type ServiceLevel struct {
	// availabilityPercent over four months, like "99.8"; write the quotation marks. The law's floor is 99.8.
	// +required
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=7
	// +kubebuilder:validation:Pattern=`^(100|[0-9]{2}(\.[0-9]{1,4})?)$`
	// +kubebuilder:validation:XValidation:rule="double(self) >= 99.8",message="availabilityPercent is below the law's floor: give \"99.8\" or more"
	AvailabilityPercent string `json:"availabilityPercent,omitempty"`
}

// PECDomainStatus is what the operator of this site observed.
type PECDomainStatus struct {
	// observedGeneration is the generation that the conditions speak of; -1 before the first look.
	// +optional
	// +kubebuilder:default=-1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// lastHandledReconcileAt is the last value of the annotation pec-operator.dev/reconcile-requested-at that a pass has answered.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	LastHandledReconcileAt string `json:"lastHandledReconcileAt,omitempty"`
	// conditions are the facts about this site's part of the domain.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=24
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// sites is what each site says of itself, as far as this one knows, and where the other one differs from it.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=2
	Sites []SiteStatus `json:"sites,omitempty"`
	// readySites names the sites that are Ready, separated by commas: derived from sites, for the printed column, because a column
	// shows one value. A site that could not be read for five minutes is not among them.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	ReadySites string `json:"readySites,omitempty"`
	// mailboxes counts the Mailbox resources of this domain.
	// +optional
	Mailboxes *MailboxCounts `json:"mailboxes,omitempty"`
	// evidence is the last day of this site's event log that was sealed: a head kept outside the log, which shows if records go missing.
	// +optional
	Evidence *EvidenceStatus `json:"evidence,omitempty"`
	// contract is what this domain's contract comes to; of a domain that draws on another's, its part.
	// +optional
	Contract *ContractStatus `json:"contract,omitempty"`
	// peerLink is what the other site needs to trust this site's engine.
	// +optional
	PeerLink *PeerLinkStatus `json:"peerLink,omitempty"`
	// serviceLevel is what the promised service has come to.
	// +optional
	ServiceLevel *ServiceLevelStatus `json:"serviceLevel,omitempty"`
	// endpoints are what the holders' programs and other mail servers connect to; absent while a Hosted domain has no host.
	// +optional
	Endpoints *EndpointsStatus `json:"endpoints,omitempty"`
	// dns is what was seen of the domain's records, and what is asked of who runs the zone.
	// +optional
	DNS *DNSStatus `json:"dns,omitempty"`
	// claims are the volume claims that were made; one that is recorded here and gone is never made again.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Claims []ClaimStatus `json:"claims,omitempty"`
}

// SiteLocality tells this site from the other.
// +kubebuilder:validation:Enum=Local;Peer
type SiteLocality string

const (
	// SiteLocal is the site whose operator wrote the status.
	SiteLocal SiteLocality = "Local"
	// SitePeer is the other site, as its own status was last read.
	SitePeer SiteLocality = "Peer"
)

// SiteStatus is one site's view of the domain.
type SiteStatus struct {
	// name of the site.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	Name string `json:"name,omitempty"`
	// locality is Local for the site whose operator wrote this.
	// +required
	Locality SiteLocality `json:"locality,omitempty"`
	// ready is the status of the site's Ready condition.
	// +required
	// +kubebuilder:validation:Enum=True;False;Unknown
	Ready metav1.ConditionStatus `json:"ready,omitempty"`
	// observedTime is when something else in this entry last changed.
	// +required
	ObservedTime metav1.Time `json:"observedTime,omitzero"`
	// specHash is a hash of the site's spec; the sites agree when theirs are equal.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	SpecHash string `json:"specHash,omitempty"`
	// mailboxes counts the Mailbox resources of the domain at the site.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Mailboxes *int32 `json:"mailboxes,omitempty"`
	// specs is what the site's Mailbox resources of the domain come to.
	// +optional
	Specs *SiteSpecs `json:"specs,omitempty"`
	// stores is what the stores of a Managed domain hold at the site.
	// +optional
	Stores *SiteStores `json:"stores,omitempty"`
}

// MailboxCounts counts Mailbox resources.
type MailboxCounts struct {
	// total of the domain's Mailbox resources.
	// +required
	// +kubebuilder:validation:Minimum=0
	Total *int32 `json:"total,omitempty"`
	// nearQuota is how many of them hold 80 % of their quota or more.
	// +optional
	// +kubebuilder:validation:Minimum=0
	NearQuota *int32 `json:"nearQuota,omitempty"`
	// ready is how many of them are Ready.
	// +required
	// +kubebuilder:validation:Minimum=0
	Ready *int32 `json:"ready,omitempty"`
}

// PeerLinkStatus is what the other site needs to trust this one.
type PeerLinkStatus struct {
	// caBundle is the site's certificate authority, PEM. Public: it holds no key.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9+/=\s-]+$`
	CABundle string `json:"caBundle,omitempty"`
}

// EvidenceStatus is the end of a sealed day of the event log.
type EvidenceStatus struct {
	// day that was sealed, on the clocks of Europe/Rome.
	// +required
	// +kubebuilder:validation:MinLength=10
	// +kubebuilder:validation:MaxLength=10
	// +kubebuilder:validation:Pattern=`^[0-9-]+$`
	Day string `json:"day,omitempty"`
	// records up to the end of the day.
	// +required
	// +kubebuilder:validation:Minimum=1
	Records *int64 `json:"records,omitempty"`
	// head is the hash of the last of them, hexadecimal.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]+$`
	Head string `json:"head,omitempty"`
}

// ClaimStatus is one volume claim that was made for the stack.
type ClaimStatus struct {
	// name of the PersistentVolumeClaim.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`
	// uid that the claim had; a claim of the same name with another uid is another volume.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9-]+$`
	UID string `json:"uid,omitempty"`
}

// PECDomainList is a list of PECDomain.
//
// +kubebuilder:object:root=true
type PECDomainList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PECDomain `json:"items"`
}
