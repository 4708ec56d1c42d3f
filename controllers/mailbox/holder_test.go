package mailbox

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
)

func TestGiven(t *testing.T) {
	everything := []admin.Choice{admin.ChoicePassword, admin.ChoiceOrdinaryMail, admin.ChoiceNotifications, admin.ChoiceRules, admin.ChoiceAntispam}
	domain := &v1alpha1.PECDomain{Spec: v1alpha1.PECDomainSpec{MailboxDefaults: &v1alpha1.MailboxDefaults{Sending: &v1alpha1.SendingLimits{MessagesPerDay: ptr.To(int32(100))}}}}
	for name, c := range map[string]struct {
		spec v1alpha1.MailboxSpec
		want admin.Given
	}{
		"nothing said leaves all to the holder and the domain's limits": {v1alpha1.MailboxSpec{}, admin.Given{MayChange: everything, MessagesPerDay: 100}},
		"limits of its own replace the domain's": {
			v1alpha1.MailboxSpec{Sending: &v1alpha1.SendingLimits{RecipientsPerMessage: ptr.To(int32(50))}}, admin.Given{MayChange: everything, RecipientsPerMessage: 50}},
		"what is named is left to the holder": {
			v1alpha1.MailboxSpec{HolderMayChange: []v1alpha1.HolderSetting{v1alpha1.HolderRules}}, admin.Given{MayChange: []admin.Choice{admin.ChoiceRules}, MessagesPerDay: 100}},
		"antispam is passed on":  {v1alpha1.MailboxSpec{Antispam: v1alpha1.AntispamEnabled}, admin.Given{MayChange: everything, MessagesPerDay: 100, Antispam: admin.AntispamEnabled}},
		"Nothing leaves nothing": {v1alpha1.MailboxSpec{HolderMayChange: []v1alpha1.HolderSetting{v1alpha1.HolderNothing}}, admin.Given{MessagesPerDay: 100}},
		"rules and notifications are passed on": {
			v1alpha1.MailboxSpec{
				Notifications: &v1alpha1.Notifications{Addresses: []v1alpha1.EmailAddress{"a@ordinaria.test"}, Frequency: v1alpha1.NotifyDaily},
				Rules:         []v1alpha1.InboundRule{{Name: "n", Header: "To", Contains: "c", Folder: "f"}},
			},
			admin.Given{MayChange: everything, MessagesPerDay: 100, Notifications: admin.Notifications{Addresses: []string{"a@ordinaria.test"}, Frequency: admin.Daily},
				Rules: []admin.Rule{{Name: "n", Header: "To", Contains: "c", Folder: "f"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, given(&v1alpha1.Mailbox{Spec: c.spec}, domain)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestHolderStatus(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 0, 0, 123, time.UTC)
	for name, c := range map[string]struct {
		holder admin.Holder
		want   v1alpha1.HolderStatus
	}{
		"what neither spec nor holder says is the default": {
			admin.Holder{}, v1alpha1.HolderStatus{OrdinaryMail: v1alpha1.OrdinaryMailDiscard, Antispam: v1alpha1.AntispamDisabled, Notified: ptr.To(int32(0)), Rules: ptr.To(int32(0))},
		},
		"what is in force is shown, and no address of the holder's": {
			admin.Holder{
				Changed: []admin.Choice{admin.ChoiceOrdinaryMail, admin.ChoicePassword}, PasswordChangedAt: at,
				InForce: admin.InForce{
					OrdinaryMail: admin.Ordinary{Policy: admin.OrdinaryForward, ForwardTo: "casa@ordinaria.test"}, Antispam: admin.AntispamEnabled,
					Notifications: admin.Notifications{Addresses: []string{"a@ordinaria.test"}}, Rules: make([]admin.Rule, 2),
				},
			},
			v1alpha1.HolderStatus{
				Changed: []v1alpha1.HolderSetting{v1alpha1.HolderOrdinaryMail, v1alpha1.HolderPassword}, PasswordChangedAt: ptr.To(metav1.NewTime(at.Truncate(time.Second))),
				OrdinaryMail: v1alpha1.OrdinaryMailForward, Antispam: v1alpha1.AntispamEnabled, Notified: ptr.To(int32(1)), Rules: ptr.To(int32(2)),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(&c.want, holderStatus(c.holder)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
