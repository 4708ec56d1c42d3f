package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
)

const (
	storageClass = "local-retain"
	volumeRoot   = "/var/lib/volumes"
)

// volumeProvider gives each claim of the class local-retain a folder of the site: always the same one for the same namespace and name,
// so that a claim which is deleted and made again finds its data. A folder has no size of its own: growing it only changes the record.
type volumeProvider struct {
	core *typed.CoreV1Client
	node string
}

func (p volumeProvider) provide(ctx context.Context) error {
	claims, err := p.core.PersistentVolumeClaims("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing claims: %w", err)
	}
	volumes, err := p.core.PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing volumes: %w", err)
	}
	existing := map[string]*corev1.PersistentVolume{}
	for n := range volumes.Items {
		existing[volumes.Items[n].Name] = &volumes.Items[n]
	}
	var failed []error
	for n := range claims.Items {
		claim := &claims.Items[n]
		if claim.DeletionTimestamp != nil || claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName != storageClass {
			continue
		}
		if err := p.provideFor(ctx, claim, existing[volumeName(claim)]); err != nil {
			failed = append(failed, fmt.Errorf("providing the volume of claim %s/%s: %w", claim.Namespace, claim.Name, err))
		}
	}
	return errors.Join(failed...)
}

func (p volumeProvider) provideFor(ctx context.Context, claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) error {
	if volume == nil {
		volume = newVolume(claim, p.node)
		if err := os.MkdirAll(volume.Spec.Local.Path, 0o755); err != nil {
			return err
		}
		_, err := p.core.PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
		return err
	}
	if fitted := fitVolume(volume, claim); fitted != nil {
		if _, err := p.core.PersistentVolumes().Update(ctx, fitted, metav1.UpdateOptions{}); err != nil {
			return err
		}
		volume = fitted
	}
	if grown := growClaim(claim, volume); grown != nil {
		_, err := p.core.PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, grown, metav1.UpdateOptions{})
		return err
	}
	return nil
}

// volumeName is deterministic; the hash keeps ("a-b", "c") and ("a", "b-c") apart.
func volumeName(claim *corev1.PersistentVolumeClaim) string {
	sum := sha256.Sum256([]byte(claim.Namespace + "/" + claim.Name))
	return "local-" + hex.EncodeToString(sum[:8])
}

func newVolume(claim *corev1.PersistentVolumeClaim, node string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: volumeName(claim)},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName:              storageClass,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			ClaimRef:                      referenceTo(claim),
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				Local: &corev1.LocalVolumeSource{Path: filepath.Join(volumeRoot, claim.Namespace, claim.Name)},
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node},
				}},
			}}}},
		},
	}
}

func referenceTo(claim *corev1.PersistentVolumeClaim) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
	}
}

// fitVolume returns the volume as the claim needs it, nil if it is so already: released volumes go to the new claim of the same name,
// and the capacity follows a grown request.
func fitVolume(volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolume {
	fitted, changed := volume.DeepCopy(), false
	if volume.Spec.ClaimRef == nil || volume.Spec.ClaimRef.UID != claim.UID {
		fitted.Spec.ClaimRef, changed = referenceTo(claim), true
	}
	request := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if request.Cmp(volume.Spec.Capacity[corev1.ResourceStorage]) > 0 {
		fitted.Spec.Capacity, changed = corev1.ResourceList{corev1.ResourceStorage: request}, true
	}
	if !changed {
		return nil
	}
	return fitted
}

// growClaim returns the bound claim with the volume's larger capacity in its status, nil if it is there already.
func growClaim(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) *corev1.PersistentVolumeClaim {
	capacity := volume.Spec.Capacity[corev1.ResourceStorage]
	if claim.Status.Phase != corev1.ClaimBound || capacity.Cmp(claim.Status.Capacity[corev1.ResourceStorage]) <= 0 {
		return nil
	}
	grown := claim.DeepCopy()
	grown.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: capacity}
	grown.Status.Conditions = nil
	return grown
}
