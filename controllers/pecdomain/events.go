package pecdomain

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/calendar"
)

// tell announces that an outage began or ended.
func tell(r events.EventRecorder, d *v1alpha1.PECDomain, n news) {
	if n.ended.IsZero() {
		r.Eventf(d, nil, corev1.EventTypeWarning, v1alpha1.ReasonOutageBegan, "Measure", "the service does not answer since %s: %s", calendar.Minute(n.began), n.why)
		return
	}
	r.Eventf(d, nil, corev1.EventTypeNormal, v1alpha1.ReasonOutageEnded, "Measure", "the service answers again: it was down from %s to %s", calendar.Minute(n.began), calendar.Minute(n.ended))
}
