// Package road walks the project's main job on living sites: from YAML to a certified message in a mailbox.
//
// `make demo` walks it and prints, test/e2e walks it and asserts. Nothing here stands in for anything: the sites are Kubernetes, the
// mail programs are Postfix and Dovecot, the signatures are checked by OpenSSL and the XML by xmllint.
package road

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Road is one walk on the sites of one instance.
type Road struct {
	// Root is the checkout.
	Root string
	// Instance names the sites ("demo"); everything that the launcher makes derives from it.
	Instance string
	// HelmPath is the helm to install with; the Makefile builds it.
	HelmPath string
	// Out receives the progress of long commands.
	Out io.Writer

	env      Env
	samples  Samples
	material *Material
}

// Env is what the launcher says of an instance.
type Env struct {
	Sites map[string]struct {
		Address    string `json:"address"`
		Kubeconfig string `json:"kubeconfig"`
		Netns      string `json:"netns"`
	} `json:"sites"`
	Internet struct {
		Address string `json:"address"`
		Netns   string `json:"netns"`
	} `json:"internet"`
	Images struct {
		Operator string `json:"operator"`
		Mail     string `json:"mail"`
	} `json:"images"`
	Kubectl string `json:"kubectl"`
}

// state is a folder of the road's own beside the instance's; it ends with the instance.
func (r *Road) state(parts ...string) string {
	instance := filepath.Dir(filepath.Dir(r.env.Sites[SiteNames[0]].Kubeconfig))
	return filepath.Join(append([]string{instance, "road"}, parts...)...)
}

// SiteNames are the two buildings.
var SiteNames = []string{"a", "b"}

// Build builds the Kubernetes binaries and the images into the cache, where they are not there yet.
func (r *Road) Build(ctx context.Context) error {
	return errors.Join(r.launcher(ctx, io.Discard, "build"), r.launcher(ctx, io.Discard, "images"))
}

// Sites starts the sites, or finds them running, and loads the images.
func (r *Road) Sites(ctx context.Context) error {
	for _, args := range [][]string{{"up"}, {"load"}} {
		if err := r.launcher(ctx, r.Out, args...); err != nil {
			return err
		}
	}
	return r.readEnv(ctx)
}

func (r *Road) readEnv(ctx context.Context) error {
	var out bytes.Buffer
	if err := r.launcher(ctx, &out, "env"); err != nil {
		return err
	}
	if err := json.Unmarshal(out.Bytes(), &r.env); err != nil {
		return fmt.Errorf("reading the launcher's environment: %w", err)
	}
	return nil
}

// Cut separates a site from the other and from the internet; Restore joins it again.
func (r *Road) Cut(ctx context.Context, site string) error {
	return r.launcher(ctx, r.Out, "cut", site)
}

// Restore undoes Cut.
func (r *Road) Restore(ctx context.Context, site string) error {
	return r.launcher(ctx, r.Out, "restore", site)
}

// Hold makes a server of a site stay away once it has ended; Release lets it be started again.
func (r *Road) Hold(ctx context.Context, site, server string) error {
	return r.launcher(ctx, r.Out, "hold", site, server)
}

// Release undoes Hold.
func (r *Road) Release(ctx context.Context, site, server string) error {
	return r.launcher(ctx, r.Out, "release", site, server)
}

// Down ends everything that the instance started.
func (r *Road) Down(ctx context.Context) error { return r.launcher(ctx, r.Out, "down") }

func (r *Road) launcher(ctx context.Context, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(r.Root, "hack/sites/run"), append([]string{"--instance", r.Instance}, args...)...)
	cmd.Dir = r.Root
	cmd.Stdout, cmd.Stderr = out, r.Out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running hack/sites/run %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// Kubectl runs kubectl at a site and answers what it printed.
func (r *Road) Kubectl(ctx context.Context, site string, args ...string) (string, error) {
	return r.kubectl(ctx, site, "", args...)
}

// Apply applies manifests at a site, by server-side apply as a GitOps tool does.
func (r *Road) Apply(ctx context.Context, site, manifests string) error {
	_, err := r.kubectl(ctx, site, manifests, "apply", "--server-side", "--force-conflicts", "--field-manager=gitops", "-f", "-")
	return err
}

func (r *Road) kubectl(ctx context.Context, site, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, r.env.Kubectl, append([]string{"--kubeconfig", r.env.Sites[site].Kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s at site %s: %w: %s", strings.Join(args, " "), site, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// onEachSite runs f for both sites at once.
func onEachSite(f func(site string) error) error {
	errs := make([]error, len(SiteNames))
	var wg sync.WaitGroup
	for i, site := range SiteNames {
		wg.Go(func() { errs[i] = f(site) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// until repeats check until it answers nil, and answers its last error when the time is over. What it waits for is said every ten
// seconds, so that nobody stares at a silent terminal.
func (r *Road) until(ctx context.Context, within, every time.Duration, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	begun, said := time.Now(), 0*time.Second
	for {
		err := check()
		if err == nil {
			return nil
		}
		if waited := time.Since(begun); waited >= said+10*time.Second {
			said = waited
			fmt.Fprintf(r.Out, "      %.0f s: %s\n", waited.Seconds(), oneLine(err))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", within, err)
		case <-time.After(every):
		}
	}
}

// oneLine is the beginning of an error, for a line of progress.
func oneLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	if len(line) > 200 {
		line = line[:200] + " ..."
	}
	return line
}

// ExtraImage builds one image more from a recipe below the checkout, which follows the project's own Dockerfile and copies from a folder,
// brings it to both sites and answers its reference.
func (r *Road) ExtraImage(ctx context.Context, recipe, folder string) (string, error) {
	var out bytes.Buffer
	err := r.launcher(ctx, &out, "extra", filepath.Join(r.Root, recipe), folder)
	return strings.TrimSpace(out.String()), err
}

// SigningPair answers the certificate and the key that a Managed domain of the samples signs with.
func (r *Road) SigningPair(domain string) Pair { return r.material.Signing[domain] }

// Netns answers the network namespace that a site's own servers run in.
func (r *Road) Netns(site string) string { return r.env.Sites[site].Netns }

// APIServer answers where a site's kube-apiserver listens.
func (r *Road) APIServer(site string) string {
	return net.JoinHostPort(r.env.Sites[site].Address, "6443")
}

// Internet answers the address and the network namespace of the internet between the sites.
func (r *Road) Internet() (address, netns string) {
	return r.env.Internet.Address, r.env.Internet.Netns
}

// MailImage answers the image that the stacks run.
func (r *Road) MailImage() string { return r.env.Images.Mail }
