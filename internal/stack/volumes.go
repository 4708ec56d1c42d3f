package stack

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// secretMode lets root and the pod's group read: Postfix opens the key as root, Dovecot and the engine are of the group.
const secretMode = 0o440

// volumes of the pod. Which container sees which is in the containers; the signing key is the engine's alone.
func volumes(d *v1alpha1.PECDomain) []corev1.Volume {
	n, m := NamesFor(d.Name), d.Spec.Provider.Managed
	return append(antivirusVolumes(d), []corev1.Volume{
		claimVolume(volumeMail, n.MailClaim),
		claimVolume(volumeQueue, n.QueueClaim),
		claimVolume(volumeEngine, n.EngineClaim),
		configVolume(volumePostfix, n.ConfigMap, fileMain, fileMaster, fileDomains, fileMailboxes, fileSenders, filePolicy, fileRefusals),
		configVolume(volumeDovecot, n.ConfigMap, fileDovecot),
		configVolume(volumeSettings, n.ConfigMap, fileEngine),
		configVolume(volumeIndex, m.ProvidersIndex.ConfigMapRef.Name),
		secretVolume(volumeTLS, m.TLS.SecretName, corev1.TLSCertKey, corev1.TLSPrivateKeyKey),
		secretVolume(volumeSigning, m.Signing.SecretName, corev1.TLSCertKey, corev1.TLSPrivateKeyKey),
		secretVolume(volumeKeys, n.EngineSecret),
		secretVolume(volumeDoveadm, n.EngineSecret, "doveadm.conf"),
		emptyVolume(volumePostfixRun),
		emptyVolume(volumeDovecotRun),
		emptyVolume(volumeTemporary),
	}...)
}

func claimVolume(name, claim string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
	}}
}

// configVolume shows the files given of a ConfigMap, or all.
func configVolume(name, configMap string, files ...string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: configMap}, Items: items(files), DefaultMode: ptr.To(int32(0o444)),
	}}}
}

// secretVolume shows the keys given of a Secret, or all.
func secretVolume(name, secret string, keys ...string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: secret, Items: items(keys), DefaultMode: ptr.To(int32(secretMode)),
	}}}
}

func emptyVolume(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

func items(keys []string) []corev1.KeyToPath {
	var out []corev1.KeyToPath
	for _, k := range keys {
		out = append(out, corev1.KeyToPath{Key: k, Path: k})
	}
	return out
}

func mount(volume, path string) corev1.VolumeMount {
	return corev1.VolumeMount{Name: volume, MountPath: path}
}

// fixed is a mount that is only read.
func fixed(volume, path string) corev1.VolumeMount {
	return corev1.VolumeMount{Name: volume, MountPath: path, ReadOnly: true}
}

// directoryMount shows Postfix and Dovecot the directory, and nothing else of the engine's claim.
func directoryMount() corev1.VolumeMount {
	m := fixed(volumeEngine, directoryDir)
	m.SubPath = directoryName
	return m
}
