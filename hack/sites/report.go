package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// environment is what "env" prints: everything that a script or a test needs to reach an instance.
type environment struct {
	Instance   string                     `json:"instance"`
	Network    string                     `json:"network"`
	Bridge     string                     `json:"bridge"` // this machine's own address on the wire
	Sites      map[string]siteEnvironment `json:"sites"`
	Internet   internetEnvironment        `json:"internet"`
	Images     images                     `json:"images"`     // what "load" imported last, empty before
	MailRootfs string                     `json:"mailRootfs"` // empty until it was made (see "rootfs")
	Kubectl    string                     `json:"kubectl"`
	Servers    string                     `json:"servers"`
}

type siteEnvironment struct {
	Address          string `json:"address"`
	Kubeconfig       string `json:"kubeconfig"`
	Netns            string `json:"netns"`
	LBPool           string `json:"lbPool"`
	ContainerdSocket string `json:"containerdSocket"`
	PodCIDR          string `json:"podCIDR"`
	Logs             string `json:"logs"`
	Volumes          string `json:"volumes"` // <namespace>/<claim> below it
}

type internetEnvironment struct {
	Address string `json:"address"`
	Netns   string `json:"netns"`
	DNS     string `json:"dns"` // host:port
}

func (i instance) env(w workshop) error {
	var r record
	if err := readJSON(i.recordFile(), &r); err != nil {
		return fmt.Errorf("instance %s does not run (start it with \"up\"): %w", i.name, err)
	}
	n := r.network()
	result := environment{
		Instance: i.name, Network: n.prefix.String(), Bridge: n.host().String(),
		Sites:    map[string]siteEnvironment{},
		Internet: internetEnvironment{n.internet().String(), i.netns(internet), n.internet().String() + ":53"},
		Kubectl:  filepath.Join(r.Binaries.Dir, "kubectl"), Servers: r.Binaries.Dir,
	}
	if err := readJSON(i.loadedFile(), &result.Images); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if system, err := w.systemReference(); err == nil && exists(w.rootfsDir(system)) {
		result.MailRootfs = w.rootfsDir(system)
	}
	for _, name := range siteNames {
		s := n.site(name)
		result.Sites[name] = siteEnvironment{
			Address: s.node.String(), Kubeconfig: i.kubeconfig(name), Netns: i.netns(name), LBPool: s.pool.String(),
			ContainerdSocket: i.containerdSocket(name), PodCIDR: s.pods.String(),
			Logs: i.dir(name, "log"), Volumes: i.dir(name, "lib", "volumes"),
		}
	}
	return printJSON(result)
}

func printJSON(value any) error {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// status tells a person what runs.
func (i instance) status(ctx context.Context) error {
	if !i.alive() {
		fmt.Printf("instance %s does not run\n", i.name)
		return nil
	}
	var r record
	if err := readJSON(i.recordFile(), &r); err != nil {
		return err
	}
	cut, err := i.cutSites(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("instance %s, network %s, logs in %s/*/log\n", i.name, r.Network, i.dir())
	for _, name := range machineNames {
		fmt.Printf("%-8s  %s\n", name, strings.Join(i.describe(ctx, r.network(), name, slices.Contains(cut, name)), ", "))
	}
	return nil
}

func (i instance) describe(ctx context.Context, n network, machine string, cut bool) []string {
	if i.initPID(machine) == 0 {
		return []string{"is down"}
	}
	if machine == internet {
		if _, err := askSerial(ctx, n.internet(), ""); err != nil {
			return []string{"names do not answer: " + err.Error()}
		}
		return []string{"names answer at " + n.internet().String()}
	}
	facts := []string{n.site(machine).node.String()}
	client, err := adminClient(i.dir(machine, "lib", "config", "pki"))
	if err != nil {
		return append(facts, err.Error())
	}
	address := n.site(machine).node.String()
	for what, check := range map[string]func(context.Context) error{
		"API": ready(client, "https://"+address+":6443/readyz"), "node": nodeReady(client, address, machine), "DNS": dialable(address + ":53"),
	} {
		if err := check(ctx); err != nil {
			facts = append(facts, what+" does not answer: "+err.Error())
		} else {
			facts = append(facts, what+" answers")
		}
	}
	slices.Sort(facts[1:])
	if cut {
		facts = append(facts, "cut off")
	}
	return facts
}
