package admin

import (
	"reflect"
	"time"
)

// Choice is a setting that a mailbox's holder may change himself.
type Choice string

// The settings that a holder may change.
const (
	ChoicePassword      Choice = "Password"
	ChoiceOrdinaryMail  Choice = "OrdinaryMail"
	ChoiceNotifications Choice = "Notifications"
	ChoiceRules         Choice = "Rules"
	ChoiceAntispam      Choice = "Antispam"
)

// Rule files arriving messages whose header has a text into a folder.
type Rule struct {
	Name     string `json:"name"` // for people
	Header   string `json:"header"`
	Contains string `json:"contains"`
	Folder   string `json:"folder"`
}

// Frequency says how often a holder is told that certified mail arrived.
type Frequency string

// The frequencies of notifications.
const (
	EachMessage Frequency = "EachMessage"
	Daily       Frequency = "Daily"
)

// Notifications tell a holder, on ordinary addresses, that certified mail arrived.
type Notifications struct {
	Addresses []string  `json:"addresses,omitempty"`
	Frequency Frequency `json:"frequency,omitempty"` // EachMessage when not given
}

// Ordinary is what becomes of mail that is not certified.
type Ordinary struct {
	Policy    OrdinaryMail `json:"policy"`
	ForwardTo string       `json:"forwardTo,omitempty"` // exactly with Forward
}

// Antispam says whether a mailbox's ordinary mail is judged by the stack's spam filter.
type Antispam string

// The two; "" is Disabled.
const (
	AntispamEnabled  Antispam = "Enabled"
	AntispamDisabled Antispam = "Disabled"
)

// Given is what a Mailbox's resource says beyond its row: the settings that its holder begins with, those that he may change,
// and what he may send.
type Given struct {
	MayChange     []Choice      `json:"mayChange,omitempty"`
	Notifications Notifications `json:"notifications,omitzero"`
	Rules         []Rule        `json:"rules,omitempty"`
	Antispam      Antispam      `json:"antispam,omitempty"`
	// MessagesPerDay and RecipientsPerMessage bound what is sent; 0 leaves the stack's own limits.
	MessagesPerDay       int `json:"messagesPerDay,omitempty"`
	RecipientsPerMessage int `json:"recipientsPerMessage,omitempty"`
}

// Holder is a mailbox as its holder has it.
type Holder struct {
	// Given is what the operator put.
	Given Given `json:"given"`
	// Changed are the settings that the holder changed and that are in force, sorted.
	Changed []Choice `json:"changed,omitempty"`
	// InForce are the settings as they act now.
	InForce InForce `json:"inForce"`
	// SentToday are the messages submitted since the day began in Rome.
	SentToday int `json:"sentToday,omitempty"`
	// PasswordChangedAt is when the holder last changed the password that is in force; zero when it is the Secret's.
	PasswordChangedAt time.Time `json:"passwordChangedAt,omitzero"`
	// Secrets is how the Secrets of the two sites stand to each other.
	Secrets Secrets `json:"secrets,omitzero"`
}

// Secrets is how the Secrets that the two sites made a mailbox's password from stand to each other: zero when they are equal, and when one
// of them is not known.
type Secrets struct {
	// Pair names the two of which this speaks.
	Pair string `json:"pair,omitempty"`
	// Theirs is the hash that the other site made, for as long as this one is asked whether its Secret gives the same password. It is the
	// one hash that an engine answers: whoever holds the Secret checks it, and there is no other who could.
	Theirs string `json:"theirs,omitempty"`
	// DifferSince is when this site found that its own does not.
	DifferSince time.Time `json:"differSince,omitzero"`
}

// Compared answers Secrets.Theirs.
type Compared struct {
	Pair string `json:"pair"`
	Same bool   `json:"same"`
}

// InForce are a mailbox's settings as they act now.
type InForce struct {
	OrdinaryMail  Ordinary      `json:"ordinaryMail"`
	Notifications Notifications `json:"notifications,omitzero"`
	Rules         []Rule        `json:"rules,omitempty"`
	Antispam      Antispam      `json:"antispam,omitempty"`
}

// Same says whether two are the same.
func (g Given) Same(other Given) bool { return reflect.DeepEqual(g, other) }
