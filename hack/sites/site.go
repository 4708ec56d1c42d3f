package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Paths inside a site, where every server finds what it needs.
const (
	configDir = "/var/lib/config"
	pkiDir    = configDir + "/pki"
	logDir    = "/var/log"

	// servingMark appears when every server has been started; /run starts empty, so it never tells of an earlier run.
	servingMark = "run/serving"
)

// serverPatience is how long a site waits for one of its servers before it starts over. Long: on a machine that is busy with builds a
// start takes minutes, and starting over would only add to that.
const serverPatience = 10 * time.Minute

// site is what a site's files and command lines are made from.
type site struct {
	Name       string
	Address    string
	Internet   string
	PodNetwork string
	PauseImage string
	addresses  siteAddresses
}

func (i instance) site(name string, n network) site {
	addresses := n.site(name)
	return site{
		Name: name, Address: addresses.node.String(), Internet: n.internet().String(),
		PodNetwork: addresses.pods.String(), addresses: addresses,
	}
}

// configure writes everything that the site reads, below its state; certificates are made once and kept.
func (i instance) configure(s site, now time.Time) error {
	config := i.dir(s.Name, "lib", "config")
	pki := filepath.Join(config, "pki")
	if err := issueSite(pki, s.Name, s.addresses, now); err != nil {
		return err
	}
	for name, template := range map[string]string{
		"containerd.toml": "containerd.toml", "cni/site.conflist": "cni.conflist", "kubelet.yaml": "kubelet.yaml",
		"kube-proxy.yaml": "kube-proxy.yaml", "Corefile": "Corefile", "bootstrap.yaml": "bootstrap.yaml", "resolv.conf": "resolv.conf",
	} {
		if err := writeFile(filepath.Join(config, name), []byte(mustRender(template, s)), 0o644); err != nil {
			return err
		}
	}
	paths := map[string]string{i.kubeconfig(s.Name): "admin"}
	for _, user := range []string{"admin", "kubelet", "kube-proxy", "coredns", "controller-manager", "scheduler"} {
		paths[filepath.Join(config, user+".kubeconfig")] = user
	}
	for path, user := range paths {
		content, err := kubeconfig(pki, i.name+"-"+s.Name, s.Address, user)
		if err != nil {
			return err
		}
		if err := writeFile(path, []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// kubeconfig is complete in itself: it works from the machine, from the other site and inside the site alike.
func kubeconfig(pki, cluster, address, user string) (string, error) {
	var encoded [3]string
	for n, file := range []string{"ca.crt", user + ".crt", user + ".key"} {
		content, err := os.ReadFile(filepath.Join(pki, file))
		if err != nil {
			return "", err
		}
		encoded[n] = base64.StdEncoding.EncodeToString(content)
	}
	return mustRender("kubeconfig", map[string]string{
		"Cluster": cluster, "Address": address, "User": user, "CA": encoded[0], "Certificate": encoded[1], "Key": encoded[2],
	}), nil
}

// serveSite runs inside the site and starts its servers, each once what it needs answers.
func serveSite(ctx context.Context, s site) error {
	start := func(p process) { go keep(ctx, p, logDir) }
	start(etcd())
	start(containerd())
	imported := make(chan error, 1)
	go func() { imported <- importPause(ctx) }()
	if err := waitFor(ctx, "etcd", serverPatience, dialable("127.0.0.1:2379")); err != nil {
		return err
	}
	start(apiserver(s))
	client, err := adminClient(pkiDir)
	if err != nil {
		return err
	}
	if err := waitFor(ctx, "kube-apiserver", serverPatience, ready(client, "https://"+s.Address+":6443/readyz")); err != nil {
		return err
	}
	start(controllerManager())
	start(scheduler())
	start(kubeProxy())
	if err := <-imported; err != nil {
		return err
	}
	start(kubelet(s))
	if err := applyBootstrap(ctx); err != nil {
		return err
	}
	start(coredns())
	if err := waitFor(ctx, "kubelet", serverPatience, dialable("127.0.0.1:10248")); err != nil {
		return err
	}
	if err := os.WriteFile("/"+servingMark, nil, 0o644); err != nil {
		return err
	}
	log.Printf("site %s serves", s.Name)
	return provide(ctx, s)
}

// setHeld makes the site's supervisor leave a server alone once it has ended, or start it again.
func (i instance) setHeld(site, server string, held bool) error {
	mark := i.dir(site, heldDir, server)
	if held {
		return writeFile(mark, nil, 0o644)
	}
	if err := os.Remove(mark); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("releasing %s of site %s: %w", server, site, err)
	}
	return nil
}

// applyBootstrap gives the cluster its StorageClass and CoreDNS its rights.
func applyBootstrap(ctx context.Context) error {
	return waitFor(ctx, "the site's first objects", serverPatience, func(ctx context.Context) error {
		_, err := run(ctx, binDir+"/kubectl", "--kubeconfig", configDir+"/admin.kubeconfig", "apply", "--server-side", "--force-conflicts",
			"-f", configDir+"/bootstrap.yaml")
		return err
	})
}

// importPause brings the sandbox image in before the kubelet needs it.
func importPause(ctx context.Context) error {
	return waitFor(ctx, "containerd", serverPatience, func(ctx context.Context) error {
		_, err := run(ctx, "ctr", "--namespace", "k8s.io", "images", "import", binDir+"/pause.tar")
		return err
	})
}

// waitFor tries until check succeeds; the error tells what did not come and why.
func waitFor(ctx context.Context, what string, limit time.Duration, check func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := check(limited)
		if err == nil {
			return nil
		}
		select {
		case <-limited.Done():
			return fmt.Errorf("waiting %s for %s: %w", limit, what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func dialable(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return connection.Close()
	}
}

func ready(client *http.Client, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", url, response.Status)
		}
		return nil
	}
}

// adminClient speaks to a site's kube-apiserver as its administrator; pki is the site's folder of certificates.
func adminClient(pki string) (*http.Client, error) {
	ca, err := os.ReadFile(filepath.Join(pki, "ca.crt"))
	if err != nil {
		return nil, err
	}
	certificate, err := tls.LoadX509KeyPair(filepath.Join(pki, "admin.crt"), filepath.Join(pki, "admin.key"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("reading %s/ca.crt: no certificate in it", pki)
	}
	return &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs: roots, Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12,
		}},
	}, nil
}
