// Package e2e walks the demo's road with assertions, on two real sites of this checkout's own, and then does to them what happens
// to sites: wrong input, a lost building, killed processes, deleted resources.
//
// The tests share one pair of sites and run in the order of the files' tests; PEC_KEEP=1 leaves the sites up for a look.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/test/road"
)

// Mailboxes of config/samples.
const (
	municipality = "protocollo@pec.comune-esempio.test" // hosted on the first provider
	firstOffice  = "ufficio@pec.gestore-uno.test"
	secondOffice = "ufficio@pec.gestore-due.test"
)

var r *road.Road

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "4") // what runs beside others here waits; unless the command line says otherwise
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	instance := os.Getenv("PEC_INSTANCE")
	if instance == "" {
		return 0, errors.New("PEC_INSTANCE is not set: run `make e2e`, which names the sites of this checkout")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	r = &road.Road{Root: root, Instance: instance, HelmPath: os.Getenv("PEC_HELM"), Out: os.Stderr}
	if os.Getenv("PEC_KEEP") == "" {
		defer r.Down(context.WithoutCancel(ctx))
	}
	for _, step := range []func() error{
		func() error { return r.Sites(ctx) },
		func() error { return r.Install(ctx) },
		func() error { return r.ApplySamples(ctx) },
		func() error { return r.Zones(ctx) },
		func() error { return r.WaitReady(ctx, 5*time.Minute) },
	} {
		if err := step(); err != nil {
			return 0, err
		}
	}
	return m.Run(), nil
}

func account(t *testing.T, site, address string) road.Account {
	t.Helper()
	a, err := r.Account(t.Context(), site, address)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func kubectl(t *testing.T, site string, args ...string) string {
	t.Helper()
	out, err := r.Kubectl(t.Context(), site, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
