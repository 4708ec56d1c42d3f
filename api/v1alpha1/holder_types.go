package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// HolderSetting is a setting that a holder may change himself, over the holder's API of the stack.
// +kubebuilder:validation:Enum=Nothing;Password;OrdinaryMail;Notifications;Rules;Antispam
type HolderSetting string

const (
	// HolderNothing leaves nothing to the holder.
	HolderNothing HolderSetting = "Nothing"
	// HolderPassword is the password. An edit of the Secret replaces it.
	HolderPassword HolderSetting = "Password"
	// HolderOrdinaryMail is what becomes of mail that is not certified.
	HolderOrdinaryMail HolderSetting = "OrdinaryMail"
	// HolderNotifications are the addresses that are told of certified mail.
	HolderNotifications HolderSetting = "Notifications"
	// HolderRules are the inbound rules.
	HolderRules HolderSetting = "Rules"
	// HolderAntispam is whether ordinary mail is judged.
	HolderAntispam HolderSetting = "Antispam"
)

// NotificationFrequency says how often a holder is told that certified mail arrived.
// +kubebuilder:validation:Enum=EachMessage;Daily
type NotificationFrequency string

const (
	// NotifyEachMessage tells of each message when it arrives.
	NotifyEachMessage NotificationFrequency = "EachMessage"
	// NotifyDaily tells once a day, at seven in the morning, how many there were.
	NotifyDaily NotificationFrequency = "Daily"
)

// HolderStatus is what a holder changed, and how much of his settings is in force at this site.
type HolderStatus struct {
	// changed are the settings that are as the holder chose them and not as the spec says.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	Changed []HolderSetting `json:"changed,omitempty"`
	// passwordChangedAt is when the holder chose the password; not there while it is the Secret's.
	// +optional
	PasswordChangedAt *metav1.Time `json:"passwordChangedAt,omitempty"`
	// ordinaryMail is what becomes of mail that is not certified, as the holder chose or the spec says. Where a holder forwards it to is in
	// the event log and not here: it is his own address.
	// +optional
	OrdinaryMail OrdinaryMailPolicy `json:"ordinaryMail,omitempty"`
	// antispam is whether ordinary mail is to be judged, as the holder chose or the spec says; SpamFilterMissing says where nothing judges it.
	// +optional
	Antispam Antispam `json:"antispam,omitempty"`
	// notified is how many addresses are told of certified mail.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Notified *int32 `json:"notified,omitempty"`
	// rules is how many inbound rules file arriving mail.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Rules *int32 `json:"rules,omitempty"`
}
