package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

func testSite() site {
	s := instance{"demo"}.site("a", candidate("demo", 0))
	s.PauseImage = "pec-operator.dev/pause:0123456789ab"
	return s
}

func TestTemplatesRender(t *testing.T) {
	s := testSite()
	for name, want := range map[string]string{
		"containerd.toml": `sandbox_image = "pec-operator.dev/pause:0123456789ab"`,
		"kubelet.yaml":    `clusterDNS: ["` + s.Address + `"]`,
		"kube-proxy.yaml": "clusterCIDR: 10.244.1.0/24",
		"Corefile":        "forward . " + s.Internet,
		"site.nft":        "ip saddr 10.244.1.0/24",
		"resolv.conf":     "nameserver " + s.Internet,
		"root.zone":       "IN A " + s.Internet,
		"bootstrap.yaml":  "name: local-retain",
	} {
		if text := mustRender(name, s); !strings.Contains(text, want) {
			t.Errorf("%s lacks %q", name, want)
		}
	}
	if !json.Valid([]byte(mustRender("cni.conflist", s))) {
		t.Error("cni.conflist is not JSON")
	}
}

// A server checks its configuration only when it starts; certificates that do not fit each other would show much later.
func TestCertificatesOfASite(t *testing.T) {
	s, dir := testSite(), t.TempDir()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	if err := issueSite(dir, s.Name, s.addresses, now); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, authority, host, group string }{
		{"apiserver", "ca", s.Address, ""},
		{"apiserver", "ca", "kubernetes.default.svc", ""},
		{"apiserver", "ca", "10.96.1.1", ""},
		{"kubelet-server", "ca", s.Address, "system:nodes"},
		{"admin", "ca", "", "system:masters"},
		{"etcd", "etcd-ca", "127.0.0.1", ""},
		{"front-proxy", "front-proxy-ca", "", ""},
	} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, c.name+".crt"), filepath.Join(dir, c.name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		ca, err := os.ReadFile(filepath.Join(dir, c.authority+".crt"))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca)
		options := x509.VerifyOptions{Roots: roots, DNSName: c.host, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
		if _, err := pair.Leaf.Verify(options); err != nil {
			t.Errorf("%s for %q: %v", c.name, c.host, err)
		}
		if c.group != "" && (len(pair.Leaf.Subject.Organization) != 1 || pair.Leaf.Subject.Organization[0] != c.group) {
			t.Errorf("%s: groups %v, want %s", c.name, pair.Leaf.Subject.Organization, c.group)
		}
	}
	before, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := issueSite(dir, s.Name, s.addresses, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "ca.crt")); err != nil || string(after) != string(before) {
		t.Errorf("a second call made other certificates (%v): running sites would refuse each other", err)
	}
	text, err := kubeconfig(dir, "demo-a", s.Address, "admin")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(text))
	if err != nil || config.Host != "https://"+s.Address+":6443" {
		t.Errorf("kubeconfig: %v, %v", config, err)
	}
}

func TestLogFileStaysBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.log")
	l := &logFile{path: path}
	chunk := make([]byte, logLimit/4)
	for range 6 {
		if _, err := l.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]int64{path: logLimit / 2, path + ".1": logLimit} {
		info, err := os.Stat(file)
		if err != nil || info.Size() != want {
			t.Errorf("%s: %v, %v, want %d bytes", file, info, err, want)
		}
	}
}
