package manager_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// public are the keys of Secrets whose values everybody may see.
var public = []string{corev1.TLSCertKey, corev1.ServiceAccountRootCAKey, "username", "name"}

// noSecrets looks for every value of every Secret of the cluster, whoever made it and for what, wherever people and tools look. It ends
// every test that has an operator.
func (s *site) noSecrets(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	var secrets corev1.SecretList
	if err := s.List(ctx, &secrets); err != nil {
		t.Fatal(err)
	}
	places := s.places(t)
	n := 0
	for i := range secrets.Items {
		for key, value := range secrets.Items[i].Data {
			if slices.Contains(public, key) || len(value) < 8 {
				continue
			}
			n++
			for _, form := range forms(value) {
				for place, text := range places {
					if bytes.Contains(text, form) {
						t.Errorf("key %s of Secret %s stands in %s", key, client.ObjectKeyFromObject(&secrets.Items[i]), place)
					}
				}
			}
		}
	}
	if n == 0 {
		t.Error("no Secret was looked for")
	}
}

// places are the texts in which no secret may stand, by what they are.
func (s *site) places(t *testing.T) map[string][]byte {
	t.Helper()
	places := map[string][]byte{"the operators' log": []byte(logs.String()), "the operator's options": fmt.Appendf(nil, "%+v", s.options)}
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		places["metric "+family.GetName()] = []byte(family.String())
	}
	// The pods' arguments and environment are in the StatefulSets.
	for _, list := range []client.ObjectList{
		&v1alpha1.PECDomainList{}, &v1alpha1.MailboxList{}, &v1alpha1.MailboxMigrationList{}, &v1alpha1.RetentionPolicyList{},
		&eventsv1.EventList{}, &corev1.ConfigMapList{}, &corev1.ServiceList{}, &corev1.PersistentVolumeClaimList{},
		&appsv1.StatefulSetList{}, &policyv1.PodDisruptionBudgetList{},
	} {
		if err := s.List(context.Background(), list); err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		places[fmt.Sprintf("%T", list)] = raw
	}
	return places
}

// forms are how a value may stand somewhere: as it is, in base64, and of a PEM block its longest line.
func forms(value []byte) [][]byte {
	out := [][]byte{bytes.TrimSpace(value), []byte(base64.StdEncoding.EncodeToString(value))}
	if strings.Contains(string(value), "-----BEGIN") {
		longest := ""
		for line := range strings.Lines(string(value)) {
			if line = strings.TrimSpace(line); len(line) > len(longest) && !strings.Contains(line, "-----") {
				longest = line
			}
		}
		out = append(out, []byte(longest))
	}
	return out
}
