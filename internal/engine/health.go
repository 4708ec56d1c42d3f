package engine

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

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
	check("Dovecot takes no deliveries", e.lmtp.reachable())
	check("Postfix takes nothing back", e.postfix.reachable())
	return list
}
