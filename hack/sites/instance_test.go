package main

import (
	"os"
	"strings"
	"testing"
)

func TestInstanceNames(t *testing.T) {
	for name, valid := range map[string]bool{
		"demo": true, "e2e-1": true, "a": true, strings.Repeat("x", 30): true,
		"": false, "Demo": false, "-demo": false, "demo-": false, "a.b": false, "../x": false, "a b": false, strings.Repeat("x", 31): false,
	} {
		if _, err := newInstance(name); (err == nil) != valid {
			t.Errorf("newInstance(%q): %v, want valid %t", name, err, valid)
		}
	}
}

func TestNothingOfTwoInstancesIsShared(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"demo", "demo-a", "demo-wire", "a", "b", strings.Repeat("x", 30)} {
		i := instance{name}
		names := []string{i.dir(), i.cgroup(), i.hostInterface()}
		for _, machine := range append([]string{wire}, machineNames...) {
			names = append(names, i.netnsPath(machine))
		}
		for _, thing := range names {
			if other, taken := seen[thing]; taken {
				t.Errorf("%s belongs to %s and to %s", thing, other, name)
			}
			seen[thing] = name
		}
		if length := len(i.hostInterface()); length > 15 {
			t.Errorf("the interface %s has %d characters, Linux allows 15", i.hostInterface(), length)
		}
		if length := len(i.containerdSocket("a")); length > 107 {
			t.Errorf("the socket %s has %d bytes, Linux allows 107", i.containerdSocket("a"), length)
		}
	}
}

func TestKubernetesVersionIsThatOfTheModule(t *testing.T) {
	module, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(module), "k8s.io/kubernetes "+kubernetesVersion+"\n") {
		t.Errorf("go.mod does not require k8s.io/kubernetes %s", kubernetesVersion)
	}
}
