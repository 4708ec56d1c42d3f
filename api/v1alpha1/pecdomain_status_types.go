package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// SiteSpecs are a site's Mailbox resources of one domain in a line, so that two sites that were given different Git revisions are seen.
type SiteSpecs struct {
	// digest of the names and specs of the site's Mailbox resources and of what is in force of them; the sites agree when theirs are equal.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^[0-9a-f]+$`
	Digest string `json:"digest,omitempty"`
	// differing is how many mailboxes only one of the two sites has, or each with another spec or other things in force; given where the
	// digests differ.
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

// SiteStores are what the stores of a site hold, in a line.
type SiteStores struct {
	// digest of all mail in the site's stores, as the engine that wrote this compared it; taken once an hour, and when the sites come to
	// agree or to differ.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^[0-9a-f]+$`
	Digest string `json:"digest,omitempty"`
	// differing is how many mailboxes have not held the same mail at both sites for half an hour.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Differing *int32 `json:"differing,omitempty"`
	// addresses are the first ten of them, cut after 96 characters.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=96
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9._@-]+$`
	Addresses []string `json:"addresses,omitempty"`
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

// ServiceLevelStatus is what the service has come to in the running period, as this site's operator measured it: in the begun minutes of
// the law's period of four months (DM 2 November 2005, art. 12, paragraphs 3 to 5).
type ServiceLevelStatus struct {
	// periodStart is when the period began: 1 January, 1 May or 1 September on the clocks of Europe/Rome.
	// +required
	PeriodStart metav1.Time `json:"periodStart,omitzero"`
	// availability is the percentage of the measured period that the service will have been there for if nothing more goes down.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8
	// +kubebuilder:validation:Pattern=`^[0-9.]+$`
	Availability string `json:"availability,omitempty"`
	// downMinutes is how long the service was down; of an outage that goes on, every five minutes are added.
	// +required
	// +kubebuilder:validation:Minimum=0
	DownMinutes *int32 `json:"downMinutes,omitempty"`
	// longestOutageMinutes is how long the longest outage lasted.
	// +required
	// +kubebuilder:validation:Minimum=0
	LongestOutageMinutes *int32 `json:"longestOutageMinutes,omitempty"`
	// unmeasuredMinutes is how long nobody could look: before the first look, while no operator worked, and while its name servers or
	// network failed. They count neither as up nor as down.
	// +required
	// +kubebuilder:validation:Minimum=0
	UnmeasuredMinutes *int32 `json:"unmeasuredMinutes,omitempty"`
	// outageSince is when the outage that goes on began.
	// +optional
	OutageSince *metav1.Time `json:"outageSince,omitempty"`
}
