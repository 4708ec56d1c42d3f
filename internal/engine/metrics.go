package engine

import "github.com/prometheus/client_golang/prometheus"

// metrics count what the engine does. No address is a label: there are too many, and they are people's.
type metrics struct {
	registry *prometheus.Registry

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
	m.refusals = counter("logins_refused_total", "Logins that were refused before the password was looked at, because too many had been wrong, by protocol.", "protocol")
	return m
}

// gauge adds a value that is read when the metrics are.
func (m *metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "pec", Subsystem: "engine", Name: name, Help: help}, value))
}

// registerGauges shows what the engine is asked for when the metrics are read.
func (e *Engine) registerGauges() {
	e.metrics.gauge("evidence_records", "Records in the evidence log.", func() float64 {
		n, _ := e.evidence.Head()
		return float64(n)
	})
	e.metrics.gauge("timers_open", "Certified recipients whose outcome is not known yet.", func() float64 {
		return float64(e.timers.count(e.settings.Site))
	})
	e.metrics.gauge("deliveries_held", "Receipts and other messages that wait in custody for a mailbox that is full or takes nothing, or that cannot have yet what it sent on and came back.", func() float64 {
		return float64(e.held.count() + len(e.forwards.allOwed()))
	})
	e.metrics.gauge("crl_missing", "Revocation lists that providers' certificates name and that were never had.", func() float64 {
		return float64(e.revocations.State().Missing)
	})
	e.metrics.gauge("crl_age_seconds", "Age of the oldest copy of a revocation list; 0 without any.", e.revocationAge)
	e.metrics.gauge("sync_pending", "Mailboxes that wait to be synced with the other site.", func() float64 {
		return float64(e.sync.state(true).Pending)
	})
	e.registerReplicationGauges()
}

// registerReplicationGauges shows how far the two sites are apart.
func (e *Engine) registerReplicationGauges() {
	e.metrics.gauge("replica_records_behind", "Records of this site that the other one does not hold yet.", func() float64 {
		return float64(e.replication().RecordsBehind)
	})
	e.metrics.gauge("replica_copies_pending", "Deliveries whose message the other site did not have when the receipt went, and has not yet.", func() float64 {
		return float64(e.replication().CopiesPending)
	})
	e.metrics.gauge("replica_copies_lacking", "Messages and files of seals of the other site that it could not give to this one.", func() float64 {
		return float64(e.replication().CopiesLacking)
	})
	e.metrics.gauge("replica_faults", "Records and messages of the other site that were refused since the start, because they were not what they had to be.", func() float64 {
		r := e.replication()
		return float64(r.Breaks + r.Divergent)
	})
	e.metrics.gauge("replica_heard_timestamp_seconds", "Until when all that the other site recorded is here, in seconds since 1970; 0 if it was not heard since the start.", func() float64 {
		if heard := e.replication().HeardAll; !heard.IsZero() {
			return float64(heard.Unix())
		}
		return 0
	})
}

// revocationAge is that of the oldest list, in seconds.
func (e *Engine) revocationAge() float64 {
	oldest := e.revocations.State().Oldest
	if oldest.IsZero() {
		return 0
	}
	return e.now().Sub(oldest).Seconds()
}
