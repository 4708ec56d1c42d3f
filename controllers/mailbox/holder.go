package mailbox

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
)

// engineSettings are the settings of a holder that the stack keeps.
var engineSettings = map[v1alpha1.HolderSetting]admin.Choice{
	v1alpha1.HolderPassword:      admin.ChoicePassword,
	v1alpha1.HolderOrdinaryMail:  admin.ChoiceOrdinaryMail,
	v1alpha1.HolderNotifications: admin.ChoiceNotifications,
	v1alpha1.HolderRules:         admin.ChoiceRules,
	v1alpha1.HolderAntispam:      admin.ChoiceAntispam,
}

// given is what the spec, and its domain's, give to the holder. Pure.
func given(m *v1alpha1.Mailbox, d *v1alpha1.PECDomain) admin.Given {
	g := admin.Given{Antispam: admin.Antispam(m.Spec.Antispam)}
	for _, setting := range m.LeftToHolder() {
		if choice, ok := engineSettings[setting]; ok {
			g.MayChange = append(g.MayChange, choice)
		}
	}
	if n := m.Spec.Notifications; n != nil {
		g.Notifications.Frequency = admin.Frequency(n.Frequency)
		for _, address := range n.Addresses {
			g.Notifications.Addresses = append(g.Notifications.Addresses, string(address))
		}
	}
	for _, r := range m.Spec.Rules {
		g.Rules = append(g.Rules, admin.Rule(r))
	}
	if limits := m.SendingIn(d); limits != nil {
		g.MessagesPerDay, g.RecipientsPerMessage = int(ptr.Deref(limits.MessagesPerDay, 0)), int(ptr.Deref(limits.RecipientsPerMessage, 0))
	}
	return g
}

// holderStatus is what is shown of it. Pure.
func holderStatus(h admin.Holder) *v1alpha1.HolderStatus {
	now := h.InForce
	status := &v1alpha1.HolderStatus{
		OrdinaryMail: v1alpha1.OrdinaryMailPolicy(cmp.Or(now.OrdinaryMail.Policy, admin.OrdinaryDiscard)), Antispam: v1alpha1.Antispam(cmp.Or(now.Antispam, admin.AntispamDisabled)),
		Notified: ptr.To(int32(len(now.Notifications.Addresses))), Rules: ptr.To(int32(len(now.Rules))), //nolint:gosec // both are bounded
	}
	for _, choice := range h.Changed {
		status.Changed = append(status.Changed, v1alpha1.HolderSetting(choice))
	}
	if !h.PasswordChangedAt.IsZero() {
		status.PasswordChangedAt = ptr.To(metav1.NewTime(h.PasswordChangedAt).Rfc3339Copy())
	}
	return status
}
