// Package jobs turns a plan of work on mailboxes into an Indexed Job, one index a mailbox, and reads what came of it. Building is
// pure: the same plan gives the same objects, under names that derive from it, so that who crashed finds what was begun.
package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/internal/jobs/worker"
)

const (
	// OwnerAnnotation holds the kind and the name of the resource that a Job works for, SlotAnnotation what part of its work.
	OwnerAnnotation = "pec-operator.dev/job-owner"
	SlotAnnotation  = "pec-operator.dev/job-slot"

	container = "job"
	program   = "/usr/local/bin/pec-operator"
	runAs     = 5000 // vmail in the image
	// retries of one index: a source that is away for some minutes comes back within them (10 s, 20 s, 40 s, ... up to 6 min).
	retries = 6
	// slugLength leaves room for "pec-", the hash, and the index and random end of a pod's name in 63 characters.
	slugLength = 30
)

// Plan is the work of one Job.
type Plan struct {
	// Owner is the resource that the Job works for; the cluster's garbage collector ends the Job when it is deleted.
	Owner metav1.OwnerReference
	// Namespace is the owner's.
	Namespace string
	// Slot names the part of the owner's work; with the owner it makes the Job's name.
	Slot string
	// Image holds this program.
	Image string
	// Arguments of the program, the role first.
	Arguments []string
	// Plan is plan.json: the work, without secrets.
	Plan []byte
	// Mailboxes is how many indexes there are, Parallel how many of them run at once.
	Mailboxes, Parallel int32
	// Sources are credentials that pods may read, all in the owner's namespace.
	Sources []Source
	// Claim is a volume claim for what the work leaves behind; "" for none.
	Claim string
}

// Source is one key of a Secret of the owner's namespace, and the name of the file that it becomes.
type Source struct{ File, Secret, Key string }

// Name is that of a Job and of what it needs: deterministic, at most 43 characters.
func Name(kind, owner, slot string) string {
	slug := strings.ReplaceAll(owner, ".", "-")
	slug = strings.Trim(slug[:min(len(slug), slugLength)], "-")
	sum := sha256.Sum256([]byte(kind + "\x00" + owner + "\x00" + slot))
	return "pec-" + slug + "-" + hex.EncodeToString(sum[:4])
}

// Name is that of the plan's Job, ConfigMap and Secret.
func (p Plan) Name() string { return Name(p.Owner.Kind, p.Owner.Name, p.Slot) }

func (p Plan) meta() metav1.ObjectMeta {
	owner := p.Owner
	owner.Controller, owner.BlockOwnerDeletion = nil, nil // blocking would need rights over the owner's finalizers
	return metav1.ObjectMeta{
		Name: p.Name(), Namespace: p.Namespace,
		Labels:          map[string]string{"app.kubernetes.io/component": "job", "app.kubernetes.io/managed-by": "pec-operator", "app.kubernetes.io/part-of": "pec"},
		Annotations:     map[string]string{OwnerAnnotation: p.Owner.Kind + "/" + p.Owner.Name, SlotAnnotation: p.Slot},
		OwnerReferences: []metav1.OwnerReference{owner},
	}
}

// ConfigMap holds the plan.
func (p Plan) ConfigMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: p.meta(), Immutable: ptr.To(true),
		Data: map[string]string{worker.PlanFile: string(p.Plan)},
	}
}

// Job is the Job, suspended: who opens its window lets it run.
func (p Plan) Job() *batchv1.Job {
	return &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: p.meta(),
		Spec: batchv1.JobSpec{
			Suspend:        ptr.To(true),
			CompletionMode: ptr.To(batchv1.IndexedCompletion),
			Completions:    ptr.To(p.Mailboxes), Parallelism: ptr.To(min(p.Parallel, p.Mailboxes)),
			BackoffLimitPerIndex: ptr.To(int32(retries)),
			PodReplacementPolicy: ptr.To(batchv1.Failed), // never two pods on one mailbox
			PodFailurePolicy:     failurePolicy(),
			Template:             corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.meta().Labels}, Spec: p.pod()},
		},
	}
}

func failurePolicy() *batchv1.PodFailurePolicy {
	exits := func(action batchv1.PodFailurePolicyAction, codes ...int32) batchv1.PodFailurePolicyRule {
		return batchv1.PodFailurePolicyRule{Action: action, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
			ContainerName: ptr.To(container), Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: codes,
		}}
	}
	return &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
		{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
			{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue},
		}},
		exits(batchv1.PodFailurePolicyActionFailIndex, worker.ExitCredentials, worker.ExitPerson),
		exits(batchv1.PodFailurePolicyActionFailJob, worker.ExitConfiguration),
	}}
}

// pod meets Pod Security's profile "restricted", and holds no Kubernetes token.
func (p Plan) pod() corev1.PodSpec {
	return corev1.PodSpec{
		RestartPolicy:                corev1.RestartPolicyNever, // the failure policy wants it
		AutomountServiceAccountToken: ptr.To(false),
		EnableServiceLinks:           ptr.To(false),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To(int64(runAs)), RunAsGroup: ptr.To(int64(runAs)), FSGroup: ptr.To(int64(runAs)),
			FSGroupChangePolicy: ptr.To(corev1.FSGroupChangeOnRootMismatch),
			SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name: container, Image: p.Image, ImagePullPolicy: corev1.PullIfNotPresent,
			Command: append([]string{program}, p.Arguments...),
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
			}},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
			TerminationMessagePolicy: corev1.TerminationMessageReadFile,
			VolumeMounts:             p.mounts(),
		}},
		Volumes: p.volumes(),
	}
}

const (
	volumePlan    = "plan"
	volumeSource  = "source"
	volumeArchive = "archive"
	volumeTmp     = "tmp"
)

func (p Plan) mounts() []corev1.VolumeMount {
	mounts := []corev1.VolumeMount{{Name: volumePlan, MountPath: worker.PlanDir, ReadOnly: true}, {Name: volumeTmp, MountPath: "/tmp"}}
	if len(p.Sources) > 0 {
		mounts = append(mounts, corev1.VolumeMount{Name: volumeSource, MountPath: worker.SourceDir, ReadOnly: true})
	}
	if p.Claim != "" {
		mounts = append(mounts, corev1.VolumeMount{Name: volumeArchive, MountPath: worker.ClaimDir})
	}
	return mounts
}

func (p Plan) volumes() []corev1.Volume {
	named := corev1.LocalObjectReference{Name: p.Name()}
	volumes := []corev1.Volume{
		projected(volumePlan, corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: named}},
			corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: named}}),
		{Name: volumeTmp, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	if len(p.Sources) > 0 {
		var sources []corev1.VolumeProjection
		for _, s := range p.Sources {
			sources = append(sources, corev1.VolumeProjection{Secret: &corev1.SecretProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: s.Secret}, Items: []corev1.KeyToPath{{Key: s.Key, Path: s.File}},
				// A Secret that is missing must fail its own mailbox, not keep the pods of all from starting.
				Optional: ptr.To(true),
			}})
		}
		volumes = append(volumes, projected(volumeSource, sources...))
	}
	if p.Claim != "" {
		claim := &corev1.PersistentVolumeClaimVolumeSource{ClaimName: p.Claim}
		volumes = append(volumes, corev1.Volume{Name: volumeArchive, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: claim}})
	}
	return volumes
}

func projected(name string, sources ...corev1.VolumeProjection) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources, DefaultMode: ptr.To(int32(0o440))}}}
}
