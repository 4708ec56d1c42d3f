package engine

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics count what the engine does. No address is a label: there are too many, and they are people's.
type metrics struct {
	registry                                                                         *prometheus.Registry
	received, submissions, notices, deliveries, scans, spam, syncs, logins, refusals *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "pec", Subsystem: "engine", Name: name, Help: help}, []string{label})
		m.registry.MustRegister(c)
		return c
	}
	m.received = counter("received_total", "Messages judged at the end of DATA on the MX port, by what they were.", "type")
	m.submissions = counter("submissions_total", "Submissions decided by the access point.", "outcome")
	m.notices = counter("notices_total", "Notices made, by type.", "type")
	m.deliveries = counter("deliveries_total", "Certified messages that reached the delivery point, by outcome.", "outcome")
	m.scans = counter("scans_total", "Messages given to the virus scanner, by outcome.", "outcome")
	m.spam = counter("spam_checks_total", "Ordinary messages for mailboxes that have them judged, by what the spam filter made of them.", "outcome")
	m.syncs = counter("syncs_total", "Mailbox syncs with the other site, by outcome.", "outcome")
	m.logins = counter("holder_logins_total", "Logins of holders over the API, by outcome.", "outcome")
	m.refusals = counter("logins_refused_total", "Logins that were refused before the password was looked at, by protocol: too many were wrong.", "protocol")
	return m
}

// gauge adds a value that is read when the metrics are.
func (m *metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "pec", Subsystem: "engine", Name: name, Help: help}, value))
}

// healthServer answers the kubelet and the metrics' reader. Alive means that a restart would not help; ready means that mail
// sent here now would be certified and stored.
func (e *Engine) healthServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := e.evidence.Failed(); err != nil {
			http.Error(w, fmt.Sprintf("the evidence log takes no more records: %v", err), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if problems := e.problems(r.Context()); len(problems) > 0 {
			http.Error(w, strings.Join(problems, "\n"), http.StatusServiceUnavailable)
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(e.metrics.registry, promhttp.HandlerOpts{}))
	return &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
}

// problems are sentences on what keeps the engine from all its work; an empty list means ready.
func (e *Engine) problems(ctx context.Context) []string {
	list := []string{}
	check := func(what string, err error) {
		if err != nil {
			list = append(list, fmt.Sprintf("%s: %v", what, err))
		}
	}
	check("the evidence log takes no more records", e.evidence.Failed())
	_, err := e.directory.Count(ctx)
	check("the mailbox directory cannot be read", err)
	_, err = e.signer.Get()
	check("the signing certificate cannot be used", err)
	_, _, err = e.index.Get()
	check("the providers' index cannot be used", err)
	_, err = e.identity.Get()
	check("the certificate for operator and peer cannot be used", err)
	check("Dovecot takes no deliveries", e.dovecot.reachable())
	check("Postfix takes nothing back", e.postfix.reachable())
	return list
}
