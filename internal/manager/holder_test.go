package manager_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/apitest"
)

// What a spec gives to a holder is in the stack, follows the spec, and is counted in status.
func TestWhatTheHolderIsGivenReachesTheStack(t *testing.T) {
	s := newSite(t, "titolare", siteOptions{})
	domain := s.makeDomain(func(d *v1alpha1.PECDomain) {
		d.Spec.MailboxDefaults = &v1alpha1.MailboxDefaults{Sending: &v1alpha1.SendingLimits{MessagesPerDay: ptr.To(int32(7))}}
	})
	box := makeMailbox(s.ns, "protocollo", s.domain, func(m *v1alpha1.Mailbox) {
		m.Spec.Rules = []v1alpha1.InboundRule{{Name: "ricevute", Header: "Subject", Contains: "CONSEGNA:", Folder: "Ricevute"}}
		m.Spec.HolderMayChange = []v1alpha1.HolderSetting{v1alpha1.HolderPassword}
	})
	s.provide(t)
	s.create(t, domain, box, password(s.ns, canary))
	s.ready(t, domain, box)
	want := admin.Given{MayChange: []admin.Choice{admin.ChoicePassword}, MessagesPerDay: 7,
		Rules: []admin.Rule{{Name: "ricevute", Header: "Subject", Contains: "CONSEGNA:", Folder: "Ricevute"}}}
	check := func() {
		t.Helper()
		eventually(t, func() error {
			var got admin.Given
			s.pods.With(t, s.domain, func(e *apitest.Engine) { got = e.Given[box.Address()] })
			if diff := cmp.Diff(want, got); diff != "" {
				return fmt.Errorf("given to the holder (-want +got):\n%s", diff)
			}
			s.get(t, s.ns, box.Name, box)
			if h := box.Status.Holder; h == nil || int(ptr.Deref(h.Rules, -1)) != len(want.Rules) {
				return fmt.Errorf("status.holder is %+v", h)
			}
			return nil
		})
	}
	check()
	update(t, s, box, func(m *v1alpha1.Mailbox) { m.Spec.Rules = nil })
	want.Rules = nil
	check()
}
