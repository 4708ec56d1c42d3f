package mailboxmigration

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/calendar"
)

// The action of an event is its slot: events that differ in nothing but their note are written as one, with the first one's note.
func (s *scope) tellBegun(slot calendar.Slot, note string) {
	s.Recorder.Eventf(s.migration, nil, corev1.EventTypeNormal, v1alpha1.ReasonPhaseBegun, slot.Name, "%s, due %s: %s", slot.Name, calendar.Both(slot.At), note)
}

func (s *scope) tellOver(slot calendar.Slot, note string) {
	s.Recorder.Eventf(s.migration, nil, corev1.EventTypeNormal, v1alpha1.ReasonPhaseOver, slot.Name, "%s, due %s: %s", slot.Name, calendar.Both(slot.At), note)
}

func (s *scope) tellMissed(slot calendar.Slot, note string) {
	s.Recorder.Eventf(s.migration, nil, corev1.EventTypeWarning, v1alpha1.ReasonPhaseMissed, slot.Name, "%s, due %s: %s", slot.Name, calendar.Both(slot.At), note)
}
