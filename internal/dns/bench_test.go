package dns

import (
	"fmt"
	"sync"
	"testing"
)

// A pass over 400 domains, each with its own zone at BIND and NSD, sixteen at a time, by an observer that knows nothing yet.
func BenchmarkPassOver400Domains(b *testing.B) {
	const all = 400
	w := newWorld(b)
	for i := range all {
		name := fmt.Sprintf("comune-%d.example.it.", i)
		w.zones[name] = zoneText(name, "@SERVERS@", "pec MX 10 mx-a.gestore.it.", "pec MX 20 mx-b.gestore.it.")
	}
	servers(b, "named", "nsd")
	w.start(true)
	b.ResetTimer()
	queries := 0
	for range b.N {
		o := w.observer()
		var lock sync.Mutex
		var wait sync.WaitGroup
		slots := make(chan struct{}, 16)
		for i := range all {
			slots <- struct{}{}
			wait.Go(func() {
				defer func() { <-slots }()
				d := Desired{Domain: fmt.Sprintf("pec.comune-%d.example.it", i), MX: oursSet}
				seen := o.Observe(b.Context(), d.Domain)
				if v := Classify(d, seen); v.State != Ours {
					b.Errorf("%s is %s: %s", d.Domain, v.State, v.Sentence)
				}
				lock.Lock()
				queries += seen.Queries
				lock.Unlock()
			})
		}
		wait.Wait()
	}
	b.ReportMetric(float64(queries)/float64(b.N)/all, "queries/domain")
	b.ReportMetric(float64(all)*float64(b.N)/b.Elapsed().Seconds(), "domains/s")
}
