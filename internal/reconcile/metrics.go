package reconcile

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// passes counts what passes end in; a kind whose "error" grows has a cause that its conditions cannot name.
var passes = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "pec_operator_passes_total",
	Help: "Passes over objects, by kind and by what ended them: done, waiting, held, stalled, conflict or error.",
}, []string{"kind", "outcome"})

func init() { metrics.Registry.MustRegister(passes) }

func outcome(err error) string {
	switch {
	case err == nil:
		return "done"
	case isStalled(err):
		return "stalled"
	case isHeld(err):
		return "held"
	case isWaiting(err):
		return "waiting"
	}
	return "error"
}
