package manager_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/manager"
)

// flux and argo are the field managers of the two tools.
const flux, argo = client.FieldOwner("kustomize-controller"), client.FieldOwner("argocd-controller")

// manifests are the objects of our kinds in the samples and in the pages of the kinds, as people keep them in Git; of two with one name,
// the first.
func manifests(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	kindsSeen, seen := map[string]bool{}, map[string]bool{}
	for _, pattern := range []string{"../../config/samples/*.yaml", "../../docs/kinds/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no manifests at %s: %v", pattern, err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, document := range documents(file, string(raw)) {
				if !strings.Contains(document, "apiVersion: pec-operator.dev/") {
					continue
				}
				o := &unstructured.Unstructured{}
				if err := yaml.Unmarshal([]byte(document), &o.Object); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				if key := o.GetKind() + " " + client.ObjectKeyFromObject(o).String(); !seen[key] {
					seen[key], kindsSeen[o.GetKind()] = true, true
					out = append(out, o)
				}
			}
		}
	}
	if len(kindsSeen) < 4 {
		t.Fatalf("the manifests have the kinds %v only", slices.Sorted(maps.Keys(kindsSeen)))
	}
	return out
}

// documents are the YAML documents of a manifest, or of the fenced blocks of a page.
func documents(file, text string) []string {
	if strings.HasSuffix(file, ".md") {
		var blocks []string
		for _, rest := range strings.Split(text, "```yaml\n")[1:] {
			block, _, _ := strings.Cut(rest, "```")
			blocks = append(blocks, block)
		}
		text = strings.Join(blocks, "\n---\n")
	}
	return strings.Split(text, "\n---\n")
}

func TestGitOpsToolsSeeNoDrift(t *testing.T) {
	objects := manifests(t)
	namespaces := map[string]bool{}
	for _, o := range objects {
		namespaces[o.GetNamespace()] = true
	}
	mx := func(host string) string { return "pec MX 10 mx-a." + host + ".\npec MX 20 mx-b." + host + ".\n" }
	names := apitest.RunNames(t, map[string]string{ // the samples' domains, as their zones should be
		"gestore-uno.test": hostsOf() + mx("gestore-uno.test"), "gestore-due.test": hostsOf() + mx("gestore-due.test"), "comune-esempio.test": mx("gestore-uno.test")})
	s := newSite(t, "gitops", siteOptions{namespaces: slices.Sorted(maps.Keys(namespaces)), change: func(o *manager.Options) { o.DNSDial = names.Dial }})
	for ns := range namespaces {
		s.create(t, archive(ns), certificateSecret(t, ns, "mail-tls", time.Now().Add(time.Hour)), certificateSecret(t, ns, "signing", time.Now().Add(time.Hour)),
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "providers-index"}, Data: map[string]string{"index.ldif": "x", "roots.pem": "x"}})
	}
	for _, o := range objects {
		if name, _, _ := unstructured.NestedString(o.Object, "spec", "credentials", "secretRef", "name"); name != "" {
			secret := password(o.GetNamespace(), canary)
			secret.Name = name
			s.create(t, secret)
		}
		if name, _, _ := unstructured.NestedString(o.Object, "spec", "archive", "destination", "s3", "credentialsSecretRef", "secretName"); name != "" {
			s.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: name},
				Data: map[string][]byte{"accessKeyID": []byte("x"), "secretAccessKey": []byte(canary)}})
		}
		s.apply(t, o, flux)
	}
	acts := watched(t)
	for _, o := range objects {
		switch o.GetNamespace() {
		case "gestore-uno", "gestore-due", "comune-esempio": // the samples, which have everything that they need
			eventually(t, func() error { return s.evaluated(t, o, acts) })
		}
	}
	s.settle(t)

	for _, o := range objects {
		t.Run(o.GetKind()+" "+o.GetName(), func(t *testing.T) {
			live := s.live(t, o)
			if !slices.Contains(acts, o.GetKind()) {
				// Nobody has written its status: the first write after the creation stores the default that reading it showed.
				s.apply(t, o, flux)
				live = s.live(t, o)
			}
			if observed, _, _ := unstructured.NestedInt64(live.Object, "status", "observedGeneration"); slices.Contains(acts, o.GetKind()) && observed != live.GetGeneration() {
				t.Errorf("its controller has observed generation %d of %d", observed, live.GetGeneration())
			}
			s.apply(t, o, flux)
			if again := s.live(t, o); again.GetResourceVersion() != live.GetResourceVersion() {
				t.Errorf("a second apply changed it:\n%s", cmp.Diff(live.Object, again.Object))
			}
			predicted := s.apply(t, o, argo, client.DryRunAll)
			for _, p := range []*unstructured.Unstructured{live, predicted} {
				p.SetManagedFields(nil)
			}
			if diff := cmp.Diff(live.Object, predicted.Object); diff != "" {
				t.Errorf("a server-side diff shows drift (-live +predicted):\n%s", diff)
			}
			for _, f := range s.live(t, o).GetManagedFields() {
				switch {
				case f.Manager == string(flux) && f.Subresource == "":
				case f.Manager == "pec-operator" && f.Subresource == "status":
				default:
					t.Errorf("%s owns fields of %q: %s", f.Manager, f.Subresource, f.FieldsV1)
				}
			}
		})
	}
	if calls := s.writes.Take(); len(calls) > 0 {
		t.Errorf("applying the same again made the operator write: %q", calls)
	}
}

// evaluated says what keeps an object of a kind that a controller acts on from being Ready; or a letter, whose dates are over, from
// waiting for a person.
func (s *site) evaluated(t *testing.T, o *unstructured.Unstructured, acts []string) error {
	if !slices.Contains(acts, o.GetKind()) {
		return nil
	}
	conditions, _, _ := unstructured.NestedSlice(s.live(t, o).Object, "status", "conditions")
	condition, status := v1alpha1.ConditionReady, "True"
	if o.GetKind() == "MailboxMigration" {
		condition, status = v1alpha1.ConditionPhasesSettled, "False"
	}
	for _, c := range conditions {
		if c := c.(map[string]any); c["type"] == condition && c["status"] == status {
			return nil
		}
	}
	return fmt.Errorf("%s is not %s=%s: %v", o.GetName(), condition, status, conditions)
}

// apply applies a manifest as a tool does, by force, and answers what the API server made of it.
func (s *site) apply(t *testing.T, o *unstructured.Unstructured, as client.FieldOwner, options ...client.ApplyOption) *unstructured.Unstructured {
	t.Helper()
	o = o.DeepCopy()
	err := s.Apply(context.Background(), client.ApplyConfigurationFromUnstructured(o), append(options, as, client.ForceOwnership)...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (s *site) live(t *testing.T, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(o.GroupVersionKind())
	s.get(t, o.GetNamespace(), o.GetName(), live)
	return live
}
