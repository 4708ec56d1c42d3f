package road

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// SystemNamespace is where the operator lives.
const SystemNamespace = "pec-system"

// Install puts the CRDs and the operator in both sites, each with a read-only kubeconfig for the other, and the Secrets and the
// providers' index that the samples refer to.
func (r *Road) Install(ctx context.Context) error {
	var err error
	if r.samples, err = readSamples(r.Root); err != nil {
		return err
	}
	if r.material, err = loadMaterial(r.state("material.json"), r.samples); err != nil {
		return err
	}
	err = onEachSite(func(site string) error {
		material, err := r.material.manifests(site, r.samples)
		if err != nil {
			return err
		}
		return errors.Join(r.Apply(ctx, site, r.namespaces()+material), r.Helm(ctx, site, "upgrade", "--install", "pec-operator",
			filepath.Join(r.Root, "charts/pec-operator"), "--set", "site="+site, "--set", "image="+r.env.Images.Operator,
			"--set", "mailImage="+r.env.Images.Mail, "--set", "namespaces={"+strings.Join(r.samples.Namespaces, ",")+"}",
			"--set", "peer.kubeconfigSecret=peer-kubeconfig",
			// The demo's internet has a root of its own, and a day of twenty seconds; its old provider is a Service.
			"--set", "dns.roots={"+r.env.Internet.Address+"}", "--set", "dns.interval=20s", "--set", "dns.operatorID=demo",
			"--set", "external.networks={10.96.0.0/16}"))
	})
	if err != nil {
		return err
	}
	return onEachSite(func(site string) error { return r.introduce(ctx, site, otherSite(site)) })
}

// Helm runs helm for the operator's namespace at a site.
func (r *Road) Helm(ctx context.Context, site string, args ...string) error {
	args = append(args, "--kubeconfig", r.env.Sites[site].Kubeconfig, "--namespace", SystemNamespace)
	out, err := exec.CommandContext(ctx, r.HelmPath, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("helm %s at site %s: %w: %s", args[0], site, err, out)
	}
	return nil
}

func (r *Road) namespaces() string {
	var all strings.Builder
	for _, name := range append(slices.Clone(r.samples.Namespaces), SystemNamespace) {
		fmt.Fprintf(&all, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {pod-security.kubernetes.io/enforce: baseline}}\n", name)
	}
	return all.String()
}

// introduce gives a site's operator the right to read the project's kinds at the other site, and nothing else there.
func (r *Road) introduce(ctx context.Context, site, peer string) error {
	var token string
	err := r.until(ctx, time.Minute, 200*time.Millisecond, func() error {
		encoded, err := r.Kubectl(ctx, peer, "get", "secret", "pec-peer-reader", "-n", SystemNamespace, "-o", "jsonpath={.data.token}")
		if err != nil || encoded == "" {
			return errors.Join(err, errors.New("the peer reader's token is not made yet"))
		}
		raw, err := base64.StdEncoding.DecodeString(encoded)
		token = string(raw)
		return err
	})
	if err != nil {
		return err
	}
	authority, err := r.Kubectl(ctx, peer, "config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.certificate-authority-data}")
	if err != nil {
		return err
	}
	kubeconfig := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: peer, cluster: {server: "https://%s:6443", certificate-authority-data: %s}}]
users: [{name: reader, user: {token: %s}}]
contexts: [{name: peer, context: {cluster: peer, user: reader}}]
current-context: peer
`, r.env.Sites[peer].Address, authority, token)
	text, err := manifest(secret(SystemNamespace, "peer-kubeconfig", map[string]string{"kubeconfig": kubeconfig}))
	if err != nil {
		return err
	}
	return r.Apply(ctx, site, text)
}

// ApplySamples applies config/samples at both sites, as one Git repository would.
func (r *Road) ApplySamples(ctx context.Context) error {
	return onEachSite(func(site string) error {
		// A CRD that was made a moment ago may not be served yet.
		return r.until(ctx, 30*time.Second, 500*time.Millisecond, func() error { return r.Apply(ctx, site, r.samples.Text) })
	})
}

func otherSite(site string) string {
	if site == SiteNames[0] {
		return SiteNames[1]
	}
	return SiteNames[0]
}
