package stack

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// container is what all have in common: the mail image, no privilege, a read-only root. Requests are small, because two stacks
// and a control plane share two cores on a developer's machine; there is no CPU limit, and memory is bounded by the programs' own
// process limits, because a mail server that is killed in the middle of a delivery is worse than one that is large.
func container(name string, s Settings) corev1.Container {
	return corev1.Container{
		Name: name, Image: s.Image, ImagePullPolicy: corev1.PullIfNotPresent,
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("128Mi"),
		}},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false),
			ReadOnlyRootFilesystem:   ptr.To(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

// restricted is a container that meets Pod Security's profile of that name.
func restricted(name string, s Settings) corev1.Container {
	c := container(name, s)
	c.SecurityContext.RunAsNonRoot = ptr.To(true)
	c.SecurityContext.RunAsUser = ptr.To(int64(mailID))
	c.SecurityContext.RunAsGroup = ptr.To(int64(mailID))
	return c
}

func containerPort(name string, number int32) corev1.ContainerPort {
	return corev1.ContainerPort{Name: name, ContainerPort: number, Protocol: corev1.ProtocolTCP}
}

// probe asks every `period` seconds, and believes `failures` bad answers in a row.
func probe(ask corev1.ProbeHandler, period, failures int32) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: ask, PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: 3}
}

func connect(port int32) corev1.ProbeHandler {
	return corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(port)}}
}

func get(path string) corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(portHealth), Scheme: corev1.URISchemeHTTP}}
}

// lingering keeps a container serving for some seconds after the pod was told to end, until the balancers have taken it out.
func lingering(seconds int64) *corev1.Lifecycle {
	return &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: seconds}}}
}
