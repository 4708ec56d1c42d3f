// Command demo walks the main job on two real sites and prints what it sees: `make demo`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pec-operator/pec-operator/test/road"
)

// The municipality writes to a mailbox of the other provider; both are in config/samples.
const (
	sender    = "protocollo@pec.comune-esempio.test"
	recipient = "ufficio@pec.gestore-due.test"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "\nThe demo stopped: %v\n\nRun `make demo` again: it goes on from what is there. `make demo-down` removes everything it started.\n"+
			"Logs: `hack/sites/run status` names their folder; `hack/sites/run kubectl a -- logs -n pec-system deploy/pec-operator` shows the operator's.\n", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	r := &road.Road{Root: root, Instance: "demo", HelmPath: os.Getenv("PEC_HELM"), Out: os.Stdout}
	started, built := time.Now(), time.Duration(0)
	var walk road.Walk
	steps := []struct {
		title string
		do    func() error
	}{
		{"Build the Kubernetes binaries and the images (once; then cached)", func() error { return r.Build(ctx) }},
		{"Start the sites a and b, and an internet with its own DNS", func() error { return r.Sites(ctx) }},
		{"Install the operator in both sites", func() error { return r.Install(ctx) }},
		{"Apply config/samples in both sites", func() error { return r.ApplySamples(ctx) }},
		{"Publish the demo's zones", func() error { return r.Zones(ctx) }},
		{"Wait until every resource is Current at both sites", func() error { return r.WaitReady(ctx, 5*time.Minute) }},
		{"Send one certified message and verify all that comes of it", func() (err error) {
			walk, err = r.Walk(ctx, sender, recipient)
			return err
		}},
	}
	for i, step := range steps {
		fmt.Printf("[%d/%d] %s\n", i+1, len(steps), step.title)
		begun := time.Now()
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
		took := time.Since(begun)
		fmt.Printf("      done in %.1f s\n", took.Seconds())
		if i == 0 {
			built = took
		}
	}
	return report(ctx, r, walk, built, time.Since(started)-built)
}

func report(ctx context.Context, r *road.Road, w road.Walk, built, took time.Duration) error {
	for _, site := range road.SiteNames {
		table, err := r.Kubectl(ctx, site, "get", "pec", "-A")
		if err != nil {
			return err
		}
		fmt.Printf("\nSite %s: kubectl get pec -A\n%s", site, table)
	}
	fmt.Printf(`
%s wrote to %s; the message is certified as
  identifier        %s
  accettazione      <%s>  %.1f s after the client's 250
  posta-certificata <%s>  %.1f s
  avvenuta-consegna <%s>  %.1f s
OpenSSL verified the three signatures, xmllint the three daticert.xml, and the original came out byte for byte.

Building what was not in the cache took %.0f s, the demo itself %.0f s. Where to look next:
  hack/sites/run kubectl a get pec -A                          the family, at site a
  hack/sites/run kubectl a describe mailbox -n comune-esempio  one mailbox, in words
  hack/sites/run cut b; hack/sites/run restore b               lose a building, get it back
  make demo-down                                               remove everything
`, w.Sender, w.Recipient, w.Acceptance.Data.Identifier,
		road.MessageIDOf(w.Acceptance.Raw), w.Accepted.Seconds(),
		road.MessageIDOf(w.Envelope.Raw), w.Transported.Seconds(),
		road.MessageIDOf(w.Delivery.Raw), w.Delivered.Seconds(), built.Seconds(), took.Seconds())
	return nil
}
