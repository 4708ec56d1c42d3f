package v1alpha1

// Suspend says whether the operator works on a resource.
// +kubebuilder:validation:Enum=None;Reconciliation
type Suspend string

const (
	// SuspendNone is the ordinary state: the operator works.
	SuspendNone Suspend = "None"
	// SuspendReconciliation makes the operator leave everything as it is; mail keeps flowing.
	SuspendReconciliation Suspend = "Reconciliation"
)

// DeletionPolicy says what becomes of the mail when a resource is deleted.
// +kubebuilder:validation:Enum=Retain
type DeletionPolicy string

// DeletionRetain keeps every message: deleting YAML closes a mailbox, it never empties it.
const DeletionRetain DeletionPolicy = "Retain"

// LocalReference names an object in the same namespace.
type LocalReference struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`
}

// SecretReference names a Secret in the same namespace whose keys are fixed by the field that holds it.
type SecretReference struct {
	// secretName is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	SecretName string `json:"secretName,omitempty"`
}

// SecretKeyReference names one key of a Secret in the same namespace.
type SecretKeyReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`
	// key in the Secret; "password" when not given.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	Key string `json:"key,omitempty"`
}

// Hostname is a fully qualified host name in lower case, without a final dot.
// +kubebuilder:validation:MinLength=3
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:Pattern=`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?$`
type Hostname string

// EmailAddress is an address with a lower-case domain.
// +kubebuilder:validation:MinLength=5
// +kubebuilder:validation:MaxLength=254
// +kubebuilder:validation:Pattern=`^[A-Za-z0-9!#$%&'*+/=?^_{|}~.-]+@([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?$`
type EmailAddress string

// Date is a day, like 2026-03-01.
// +kubebuilder:validation:Format=date
// +kubebuilder:validation:MinLength=10
// +kubebuilder:validation:MaxLength=10
type Date string

// HTTPSURL is the address of a service over HTTPS, without credentials.
// +kubebuilder:validation:MinLength=9
// +kubebuilder:validation:MaxLength=512
// +kubebuilder:validation:Pattern=`^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/%?=&-]*)?$`
type HTTPSURL string

// LocalTime is an absolute time on the clocks of Europe/Rome, as a provider's letter prints it, like 2026-04-28T08:00:00: no zone
// and no offset. The hour that the change to summer time leaves out, and the one that the change back repeats, are refused.
// +kubebuilder:validation:MinLength=19
// +kubebuilder:validation:MaxLength=19
// +kubebuilder:validation:Pattern=`^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$`
// +kubebuilder:validation:XValidation:rule="!format.date().validate(self.substring(0, 10)).hasValue()",message="the calendar has no such day: write one that exists, like 2026-04-30T08:00:00"
// +kubebuilder:validation:XValidation:rule="!(self.matches('^[0-9]{4}-03-(2[5-9]|3[01])T02:') && timestamp(self + 'Z').getDayOfWeek() == 0)",message="this local time does not exist: clocks go from 02:00 to 03:00 that night; choose a time before 02:00 or from 03:00"
// +kubebuilder:validation:XValidation:rule="!(self.matches('^[0-9]{4}-10-(2[5-9]|3[01])T02:') && timestamp(self + 'Z').getDayOfWeek() == 0)",message="this local time exists twice: clocks go back from 03:00 to 02:00 that night; choose a time before 02:00 or from 03:00"
type LocalTime string

// TimeOfDay is a time on the clocks of Europe/Rome, like "22:30"; write the quotation marks.
// +kubebuilder:validation:MinLength=5
// +kubebuilder:validation:MaxLength=5
// +kubebuilder:validation:Pattern=`^([01][0-9]|2[0-3]):[0-5][0-9]$`
type TimeOfDay string

// TimeZone is the zone of every local time here.
// +kubebuilder:validation:Enum=Europe/Rome
type TimeZone string

// Weekday is a day of the week.
// +kubebuilder:validation:Enum=Monday;Tuesday;Wednesday;Thursday;Friday;Saturday;Sunday
type Weekday string

// Window is a part of the day in which work may be started; what runs at its end runs on.
//
// +kubebuilder:validation:XValidation:rule="self.opens != self.closes",message="a window that closes when it opens is none: give two different times, or leave the window out to work at any time"
type Window struct {
	// days on which the window opens; every day when not given.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=7
	Days []Weekday `json:"days,omitempty"`
	// opens is when work may be started.
	// +required
	Opens TimeOfDay `json:"opens,omitempty"`
	// closes is when no more work is started; a time before opens is on the next day.
	// +required
	Closes TimeOfDay `json:"closes,omitempty"`
}

// LegalHold is an order, of a court or of the body itself, that nothing be lost.
type LegalHold struct {
	// reference of the order, like "RG 123/2026".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Reference string `json:"reference,omitempty"`
	// since is the day from which the hold is in force.
	// +required
	Since Date `json:"since,omitempty"`
}

// Endpoint is a service that speaks TLS from the first byte.
type Endpoint struct {
	// host to connect to; its certificate must bear this name.
	// +required
	Host Hostname `json:"host,omitempty"`
	// port to connect to; the service's own (993 IMAPS, 995 POP3S, 465 SMTPS) when not given.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`
}
