package road

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// Samples are the manifests that `kubectl apply -k config/samples` applies: as text, and decoded to know what they need. The letter
// of 2022 is not among them: its dates are over.
type Samples struct {
	Text       string
	Namespaces []string
	Domains    []v1alpha1.PECDomain
	Mailboxes  []v1alpha1.Mailbox
}

func readSamples(root string) (Samples, error) {
	folder := filepath.Join(root, "config/samples")
	raw, err := os.ReadFile(filepath.Join(folder, "kustomization.yaml"))
	if err != nil {
		return Samples{}, fmt.Errorf("reading samples: %w", err)
	}
	var list struct {
		Resources []string `json:"resources"`
	}
	if err := yaml.Unmarshal(raw, &list); err != nil {
		return Samples{}, fmt.Errorf("decoding the samples' kustomization: %w", err)
	}
	var s Samples
	for _, file := range list.Resources {
		raw, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			return Samples{}, fmt.Errorf("reading sample: %w", err)
		}
		for document := range strings.SplitSeq("\n"+string(raw), "\n---") {
			if err := s.add(document); err != nil {
				return Samples{}, fmt.Errorf("decoding %s: %w", file, err)
			}
		}
	}
	return s, nil
}

func (s *Samples) add(document string) error {
	var kind struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
		return err
	}
	switch kind.Kind {
	case "":
		return nil
	case "Namespace":
		s.Namespaces = append(s.Namespaces, kind.Metadata.Name)
	case "PECDomain":
		var d v1alpha1.PECDomain
		if err := yaml.UnmarshalStrict([]byte(document), &d); err != nil {
			return err
		}
		s.Domains = append(s.Domains, d)
	case "Mailbox":
		var m v1alpha1.Mailbox
		if err := yaml.UnmarshalStrict([]byte(document), &m); err != nil {
			return err
		}
		s.Mailboxes = append(s.Mailboxes, m)
	}
	s.Text += "---\n" + document + "\n"
	return nil
}

// managed answers the Managed domains, in the order of their names.
func (s Samples) managed() []v1alpha1.PECDomain {
	var managed []v1alpha1.PECDomain
	for _, d := range s.Domains {
		if d.Spec.Provider.Managed != nil {
			managed = append(managed, d)
		}
	}
	slices.SortFunc(managed, func(a, b v1alpha1.PECDomain) int { return cmp.Compare(a.Name, b.Name) })
	return managed
}

// updated answers the domains whose records the operator itself writes.
func (s Samples) updated() []v1alpha1.PECDomain {
	return slices.DeleteFunc(slices.Clone(s.Domains), func(d v1alpha1.PECDomain) bool { return d.DNSMode() != v1alpha1.DNSRFC2136 })
}

// host answers the Managed domain whose stack serves a domain.
func (s Samples) host(domain string) (v1alpha1.PECDomain, error) {
	for _, d := range s.Domains {
		if d.Name != domain {
			continue
		}
		on := d.Host()
		for _, h := range s.managed() {
			if h.Name == on.Name && h.Namespace == on.Namespace {
				return h, nil
			}
		}
	}
	return v1alpha1.PECDomain{}, fmt.Errorf("no Managed domain serves %s in the samples", domain)
}

// servedBy answers the names of the domains on a stack, its own first.
func (s Samples) servedBy(host v1alpha1.PECDomain) []string {
	names := []string{host.Name}
	for _, d := range s.Domains {
		if on := d.Host(); d.Name != host.Name && on.Name == host.Name && on.Namespace == host.Namespace {
			names = append(names, d.Name)
		}
	}
	return names
}

// hostNames are the names that the certificate of a stack must carry.
func hostNames(d v1alpha1.PECDomain) []string {
	m := d.Spec.Provider.Managed
	names := []string{m.Endpoints.Submission, m.Endpoints.IMAP}
	if m.Endpoints.POP3 != "" {
		names = append(names, m.Endpoints.POP3)
	}
	for _, h := range m.MailHosts {
		names = append(names, h.Host)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// manifest renders an object as YAML for kubectl.
func manifest(objects ...any) (string, error) {
	var all strings.Builder
	for _, o := range objects {
		raw, err := yaml.Marshal(o)
		if err != nil {
			return "", fmt.Errorf("encoding %T: %w", o, err)
		}
		all.WriteString("---\n" + string(raw))
	}
	return all.String(), nil
}

func secret(namespace, name string, data map[string]string) corev1.Secret {
	s := corev1.Secret{StringData: data}
	s.APIVersion, s.Kind, s.Namespace, s.Name = "v1", "Secret", namespace, name
	return s
}
