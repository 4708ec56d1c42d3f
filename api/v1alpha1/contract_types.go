package v1alpha1

// Contract is what may be provisioned in a domain: numbers of its own, or a part of another domain's.
//
// +kubebuilder:validation:XValidation:rule="has(self.from) || has(self.standard)",message="give contract.standard, the number of standard mailboxes, or contract.from, the domain whose contract is drawn on"
// +kubebuilder:validation:XValidation:rule="has(self.from) || has(self.reference)",message="give contract.reference, by which people find the signed contract"
// +kubebuilder:validation:XValidation:rule="!has(self.from) || !has(self.validUntil)",message="a contract that is drawn on ends with the pool: leave contract.validUntil to the domain that contract.from names"
// +kubebuilder:validation:XValidation:rule="!has(self.from) || !has(self.allowedNamespaces)",message="a contract that is drawn on is lent by whose it is: leave contract.allowedNamespaces to the domain that contract.from names"
type Contract struct {
	// reference of the signed contract, like "C-12". Domains that draw on a pool have that of the pool.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Reference string `json:"reference,omitempty"`
	// from names the PECDomain whose contract is drawn on, as a region's municipalities draw on the region's: one in this namespace, or one
	// that lists this namespace in its contract.allowedNamespaces. The numbers beside it are then the most that this domain may draw; what is not given is bounded by the pool alone.
	// +optional
	From *DomainReference `json:"from,omitempty"`
	// allowedNamespaces are the namespaces whose PECDomains may draw on this contract, besides this domain's own. Who is taken off the list
	// gets nothing more; what it has stays, and counts.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=512
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	AllowedNamespaces []string `json:"allowedNamespaces,omitempty"`
	// standard is how many Standard mailboxes there may be. One that was closed counts while its mail is kept.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	Standard *int32 `json:"standard,omitempty"`
	// massive is how many Massive mailboxes there may be; none when not given.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Massive *int32 `json:"massive,omitempty"`
	// storageGiB is how much all quotas together may hold; without limit when not given.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000000
	StorageGiB *int32 `json:"storageGiB,omitempty"`
	// validUntil is the last day of the contract.
	// +optional
	ValidUntil Date `json:"validUntil,omitempty"`
	// massiveGrants are the Massive mailboxes that were approved. Reviewing this list is the approval.
	// +optional
	// +listType=map
	// +listMapKey=address
	// +kubebuilder:validation:MaxItems=24
	MassiveGrants []MassiveGrant `json:"massiveGrants,omitempty"`
}

// MassiveGrant is the approval of one Massive mailbox.
type MassiveGrant struct {
	// address of the mailbox.
	// +required
	Address EmailAddress `json:"address,omitempty"`
	// protocol number of the request.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Protocol string `json:"protocol,omitempty"`
	// date of the approval.
	// +required
	Date Date `json:"date,omitempty"`
	// approver is the person who approved.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Approver string `json:"approver,omitempty"`
}

// ContractLimit is one of the numbers of a contract.
// +kubebuilder:validation:Enum=StandardMailboxes;MassiveMailboxes;Storage
type ContractLimit string

// ContractStatus is what a contract, or a domain's part of one, comes to.
type ContractStatus struct {
	// reference of the contract that counts: of a domain that draws on another's, that one's.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reference string `json:"reference,omitempty"`
	// used is what is provisioned or about to be.
	// +required
	Used ContractUse `json:"used,omitzero"`
	// held is how many requests wait: for room, for a grant, or for a contract that is in force.
	// +required
	// +kubebuilder:validation:Minimum=0
	Held *int32 `json:"held,omitempty"`
	// over are the limits that more is provisioned of than they allow, as after a contract that shrank. Nobody is turned out.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=3
	Over []ContractLimit `json:"over,omitempty"`
}

// ContractUse is what is provisioned.
type ContractUse struct {
	// standard mailboxes.
	// +required
	// +kubebuilder:validation:Minimum=0
	Standard *int32 `json:"standard,omitempty"`
	// massive mailboxes.
	// +required
	// +kubebuilder:validation:Minimum=0
	Massive *int32 `json:"massive,omitempty"`
	// closed are those among them whose resource is gone and whose mail is kept.
	// +required
	// +kubebuilder:validation:Minimum=0
	Closed *int32 `json:"closed,omitempty"`
	// storageGiB is what all quotas come to, rounded up.
	// +required
	// +kubebuilder:validation:Minimum=0
	StorageGiB *int32 `json:"storageGiB,omitempty"`
}
