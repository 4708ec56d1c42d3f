package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
)

const (
	stateRoot = "/var/lib/pec-sites"
	netnsRoot = "/run/netns"
	internet  = "internet"
	wire      = "wire"
)

// siteNames are the two sites; machineNames are everything that has processes of its own.
var (
	siteNames    = []string{"a", "b"}
	machineNames = []string{"a", "b", internet}
)

// instance is one pair of sites with its internet. Everything it has on the machine is named after it, and only by the methods below.
type instance struct{ name string }

var instanceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$`)

// newInstance checks the name: at most 30 characters, since socket paths made from it may not be longer than 107 bytes.
func newInstance(name string) (instance, error) {
	if !instanceName.MatchString(name) {
		return instance{}, fmt.Errorf("instance name %q: use 1 to 30 lower-case letters, digits and hyphens, no hyphen at either end", name)
	}
	return instance{name}, nil
}

func (i instance) dir(parts ...string) string {
	return filepath.Join(append([]string{stateRoot, i.name}, parts...)...)
}

// netns is the name of a network namespace. Dots cannot occur in an instance's name, so no two instances can share one.
func (i instance) netns(machine string) string { return "pec." + i.name + "." + machine }

func (i instance) netnsPath(machine string) string { return filepath.Join(netnsRoot, i.netns(machine)) }

// cgroup is the control group, below the root of every hierarchy, that holds every process of the instance and nothing else.
func (i instance) cgroup() string { return "pec." + i.name }

// hostInterface is the machine's own end of the wire; Linux allows 15 characters.
func (i instance) hostInterface() string {
	sum := sha256.Sum256([]byte(i.name))
	return "pec" + hex.EncodeToString(sum[:6])
}

func (i instance) recordFile() string         { return i.dir("instance.json") }
func (i instance) loadedFile() string         { return i.dir("images.json") }
func (i instance) daemonLog() string          { return i.dir("daemon.log") }
func (i instance) kubeconfig(s string) string { return i.dir(s, "kubeconfig") }
func (i instance) containerdSocket(s string) string {
	return i.dir(s, "run", "containerd", "containerd.sock")
}

// record is what a living instance has written down about itself.
type record struct {
	Network  netip.Prefix `json:"network"`
	Launcher string       `json:"launcher"` // path of the launcher that runs it; another path means other sources
	Binaries binaries     `json:"binaries"`
}

func (r record) network() network { return network{r.Network} }
