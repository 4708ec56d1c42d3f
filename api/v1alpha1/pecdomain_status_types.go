package v1alpha1

// SiteSpecs are a site's Mailbox resources of one domain in a line, so that two sites that were given different Git revisions are seen.
type SiteSpecs struct {
	// digest of the names and specs of the site's Mailbox resources; the sites agree when theirs are equal.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^[0-9a-f]+$`
	Digest string `json:"digest,omitempty"`
	// differing is how many mailboxes only one of the two sites has, or each with another spec; given where the digests differ.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Differing *int32 `json:"differing,omitempty"`
	// names are the local parts of the first ten of them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9._-]+$`
	Names []string `json:"names,omitempty"`
}

// EndpointsStatus is what has to be given to a holder's program, and to who looks after the DNS. The services speak TLS from the first
// byte.
type EndpointsStatus struct {
	// submission is where holders send (SMTPS).
	// +optional
	Submission *Endpoint `json:"submission,omitempty"`
	// imap is where holders read (IMAPS).
	// +optional
	IMAP *Endpoint `json:"imap,omitempty"`
	// pop3 is where holders fetch (POP3S).
	// +optional
	POP3 *Endpoint `json:"pop3,omitempty"`
	// mailExchangers are the hosts that the domain's MX records must name, the preferred one first.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	MailExchangers []Hostname `json:"mailExchangers,omitempty"`
}
