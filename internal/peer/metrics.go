package peer

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// peerUp is 1 while the other site's API server answers.
var peerUp = prometheus.NewGauge(prometheus.GaugeOpts{
	Name: "pec_operator_peer_up",
	Help: "1 while the other site's API server answers this site's reader, 0 otherwise.",
})

func init() { metrics.Registry.MustRegister(peerUp) }
