package stack

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// Settings are what the operator of a site knows and a PECDomain does not say.
type Settings struct {
	Site  string // the operator's --site
	Image string // the mail image: Postfix, Dovecot and this program
}

const (
	// DomainAnnotation holds the whole domain: a label holds 63 characters, a domain has up to 253.
	DomainAnnotation = "pec-operator.dev/domain"
	// configHash, on the pod, makes a change of a configuration file roll it: none of the programs reads its files again.
	configHash = "pec-operator.dev/config-hash"
)

// Objects are what runs for a Managed domain, besides its claims and Secrets. They are whole and ready for server-side apply.
func Objects(d *v1alpha1.PECDomain, s Settings) ([]client.Object, error) {
	content, err := files(d, s)
	if err != nil {
		return nil, err
	}
	hash, err := hashOf(content)
	if err != nil {
		return nil, fmt.Errorf("hashing the configuration of %s: %w", d.Name, err)
	}
	return []client.Object{
		configMap(d, content), headlessService(d), mailService(d), engineService(d), disruptionBudget(d), statefulSet(d, s, hash),
	}, nil
}

// hashOf relies on encoding/json sorting the keys of a map.
func hashOf(content map[string]string) (string, error) {
	raw, err := json.Marshal(content)
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8]), err
}

func meta(d *v1alpha1.PECDomain, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: d.Namespace,
		Labels:      labels(d),
		Annotations: map[string]string{DomainAnnotation: d.Name},
	}
}

func labels(d *v1alpha1.PECDomain) map[string]string {
	all := selector(d)
	all["app.kubernetes.io/component"] = "mail-stack"
	all["app.kubernetes.io/managed-by"] = "pec-operator"
	all["app.kubernetes.io/part-of"] = "pec"
	return all
}

// selector is what tells a stack's pods; it can never change, because a StatefulSet's selector cannot.
func selector(d *v1alpha1.PECDomain) map[string]string {
	return map[string]string{"app.kubernetes.io/name": "pec-stack", "app.kubernetes.io/instance": NamesFor(d.Name).StatefulSet}
}

func configMap(d *v1alpha1.PECDomain, content map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: meta(d, NamesFor(d.Name).ConfigMap),
		Data:       content,
	}
}

func service(d *v1alpha1.PECDomain, name string, spec corev1.ServiceSpec) *corev1.Service {
	spec.Selector = selector(d)
	return &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta(d, name), Spec: spec}
}

func port(name string, outside, inside int32) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Protocol: corev1.ProtocolTCP, Port: outside, TargetPort: intstr.FromInt32(inside)}
}

// headlessService is the one that a StatefulSet must name.
func headlessService(d *v1alpha1.PECDomain) *corev1.Service {
	return service(d, NamesFor(d.Name).StatefulSet, corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: corev1.ClusterIPNone,
		Ports: []corev1.ServicePort{port("admin", AdminPort, AdminPort)},
	})
}

// mailService is what the world reaches. The policy Local keeps the client's address, which the milter and the Received header
// record.
func mailService(d *v1alpha1.PECDomain) *corev1.Service {
	return service(d, NamesFor(d.Name).Mail, corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
		Ports: []corev1.ServicePort{
			port("smtp", 25, portMX), port("submissions", 465, portSubmissions), port("imaps", 993, portIMAPS),
			port("pop3s", 995, portPOP3S), port("sieve", 4190, portSieve), port("holders", 443, portHolder), port("peer", portPeerLink, portPeerLink),
		},
	})
}

// engineService is what the operator calls. It reaches an engine that is not ready, because its status says why.
func engineService(d *v1alpha1.PECDomain) *corev1.Service {
	return service(d, NamesFor(d.Name).Engine, corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, PublishNotReadyAddresses: true,
		Ports: []corev1.ServicePort{port("admin", AdminPort, AdminPort)},
	})
}

// disruptionBudget lets a node be drained: the other site serves meanwhile.
func disruptionBudget(d *v1alpha1.PECDomain) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: meta(d, NamesFor(d.Name).StatefulSet),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr.To(intstr.FromInt32(1)),
			Selector:       &metav1.LabelSelector{MatchLabels: selector(d)},
		},
	}
}

func statefulSet(d *v1alpha1.PECDomain, s Settings, hash string) *appsv1.StatefulSet {
	name := NamesFor(d.Name).StatefulSet
	pod := metav1.ObjectMeta{Labels: labels(d), Annotations: map[string]string{DomainAnnotation: d.Name, configHash: hash}}
	return &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: meta(d, name),
		Spec: appsv1.StatefulSetSpec{
			Replicas:             ptr.To(int32(1)), // one server per mailbox: Dovecot allows no second one on the same store
			ServiceName:          name,
			Selector:             &metav1.LabelSelector{MatchLabels: selector(d)},
			RevisionHistoryLimit: ptr.To(int32(3)),
			// In order, the controller waits for a broken pod to become ready before it replaces it: a bad image would stay for ever.
			PodManagementPolicy: appsv1.ParallelPodManagement,
			Template:            corev1.PodTemplateSpec{ObjectMeta: pod, Spec: podSpec(d, s)},
		},
	}
}
