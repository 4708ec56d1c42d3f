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
	list := []corev1.Volume{
		claimVolume(volumeMail, n.MailClaim),
		claimVolume(volumeQueue, n.QueueClaim),
		claimVolume(volumeEngine, n.EngineClaim),
		configVolume(volumePostfix, n.ConfigMap, fileMain, fileMaster, fileDomains, fileElsewhere, fileMailboxes, fileSenders, filePolicy, fileRefusals, fileLoops),
		configVolume(volumeDovecot, n.ConfigMap, fileDovecot),
		configVolume(volumeSettings, n.ConfigMap, fileEngine),
		configVolume(volumeIndex, m.ProvidersIndex.ConfigMapRef.Name),
		secretVolume(volumeTLS, TLSSecret(d), corev1.TLSCertKey, corev1.TLSPrivateKeyKey),
		secretVolume(volumeSigning, m.Signing.SecretName, signingKeys(m)...),
		secretVolume(volumeKeys, n.EngineSecret),
		secretVolume(volumeDoveadm, n.EngineSecret, KeyDoveadmConf),
		emptyVolume(volumePostfixRun),
		emptyVolume(volumeDovecotRun),
		emptyVolume(volumeTemporary),
	}
	for _, s := range auxiliarySecrets(m) {
		list = append(list, secretVolume(s.volume, s.secret))
		list[len(list)-1].Secret.Optional = ptr.To(true)
	}
	if hsm := m.Signing.PKCS11; hsm != nil {
		list = append(list, secretVolume(volumePIN, hsm.PINSecretRef.SecretName, "pin"), emptyVolume(volumeSignerRun))
		if hsm.ConfigSecretRef != nil {
			list = append(list, secretVolume(volumePKCS11, hsm.ConfigSecretRef.SecretName))
		}
	}
	return append(append(list, antivirusVolumes(d)...), spamFilterVolumes(d)...)
}

// signingKeys are the keys of the signing Secret that the engine sees: with an HSM there is no private key in it.
func signingKeys(m *v1alpha1.ManagedProvider) []string {
	if m.Signing.PKCS11 != nil {
		return []string{corev1.TLSCertKey}
	}
	return []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey}
}

// auxiliary is a Secret that the engine reads for something that must not hold up mail: the pod starts without it.
type auxiliary struct{ volume, secret, path string }

func auxiliarySecrets(m *v1alpha1.ManagedProvider) []auxiliary {
	var list []auxiliary
	add := func(volume, path string, ref *v1alpha1.SecretReference) {
		if ref != nil {
			list = append(list, auxiliary{volume, ref.SecretName, path})
		}
	}
	if m.Timestamping != nil {
		add(volumeTimestamp, timestampDir, m.Timestamping.CASecretRef)
	}
	add(volumeIndexClient, indexClientDir, m.ProvidersIndex.ClientCertSecretRef)
	add(volumeIndexCA, indexCADir, m.ProvidersIndex.CASecretRef)
	return list
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

// readOnly is a mount that is only read.
func readOnly(volume, path string) corev1.VolumeMount {
	return corev1.VolumeMount{Name: volume, MountPath: path, ReadOnly: true}
}

// directoryMount shows Postfix and Dovecot the directory, and nothing else of the engine's claim.
func directoryMount() corev1.VolumeMount {
	m := readOnly(volumeEngine, directoryDir)
	m.SubPath = directoryName
	return m
}
