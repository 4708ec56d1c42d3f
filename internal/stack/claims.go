package stack

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// Claims are the volume claims of a Managed domain. They are made once and have no owner: deleting the PECDomain, the namespace's
// other objects or the chart leaves every message where it is.
func Claims(d *v1alpha1.PECDomain) []*corev1.PersistentVolumeClaim {
	n := NamesFor(d.Name)
	storage := d.Spec.Provider.Managed.Storage
	var out []*corev1.PersistentVolumeClaim
	for _, name := range []string{n.MailClaim, n.QueueClaim, n.EngineClaim} {
		out = append(out, &corev1.PersistentVolumeClaim{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
			ObjectMeta: meta(d, name),
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				StorageClassName: storage.StorageClassName,
				Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: storage.Size.DeepCopy()}},
			},
		})
	}
	return out
}
