package mailbox

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/calendar"
)

// readopted announces that a mailbox is open again.
func readopted(r events.EventRecorder, m *v1alpha1.Mailbox, closedAt time.Time) {
	r.Eventf(m, nil, corev1.EventTypeNormal, v1alpha1.ReasonReadopted, "Reconcile", "%s", reopened(closedAt))
}

func reopened(closedAt time.Time) string {
	if closedAt.IsZero() { // by a release that did not write it down
		return "the mailbox had been closed; it is open again with the mail that it had"
	}
	return "the mailbox had been closed on " + calendar.Day(closedAt) + "; it is open again with the mail that it had"
}
