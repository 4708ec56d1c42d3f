package stack

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/settings"
)

// ClamAV stands in the pod and not beside it: clamd speaks in clear and asks nobody who they are, so it listens on loopback. With
// the full definitions it takes about 1.3 GiB; hosted domains share their host's. It alone has a limit of memory: when it is killed
// mail waits, whereas without a limit it is somebody else who is killed when a node has none left.

func hasAntivirus(d *v1alpha1.PECDomain) bool { return d.Spec.Provider.Managed.Antivirus != nil }

func antivirusSettings(d *v1alpha1.PECDomain) settings.Antivirus {
	if !hasAntivirus(d) {
		return settings.Antivirus{}
	}
	return settings.Antivirus{
		Clamd: loopback(portClamd), Definitions: definitionsDir, MaxAgeMinutes: int(*d.Spec.Provider.Managed.Antivirus.DefinitionsMaxAgeMinutes),
	}
}

// antivirus is clamd. It has no probe: without it mail waits, whereas a pod that is not ready would take IMAP away too.
func antivirus(m *v1alpha1.ManagedProvider, s Settings) []corev1.Container {
	if m.Antivirus == nil {
		return nil
	}
	c := restricted("antivirus", s)
	memory := m.Antivirus.MemoryGiven()
	c.Resources.Requests[corev1.ResourceMemory] = memory
	c.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: memory}
	c.Command = []string{"/usr/sbin/clamd", "--foreground", "--config-file=" + antivirusDir + "/" + fileClamd}
	c.VolumeMounts = []corev1.VolumeMount{readOnly(volumeAntivirus, antivirusDir), readOnly(volumeDefinitions, definitionsDir), mount(volumeAntivirusTemp, "/tmp")}
	return []corev1.Container{c}
}

func antivirusVolumes(d *v1alpha1.PECDomain) []corev1.Volume {
	if !hasAntivirus(d) {
		return nil
	}
	from := d.Spec.Provider.Managed.Antivirus.Definitions
	definitions := corev1.Volume{}
	if from.ClaimRef != nil {
		definitions = claimVolume(volumeDefinitions, from.ClaimRef.Name)
		definitions.PersistentVolumeClaim.ReadOnly = true
	} else {
		definitions = configVolume(volumeDefinitions, from.ConfigMapRef.Name)
	}
	return []corev1.Volume{configVolume(volumeAntivirus, NamesFor(d.Name).ConfigMap, fileClamd), definitions, emptyVolume(volumeAntivirusTemp)}
}

// clamdFile is clamd.conf. Its values are constants and numbers. What is larger than a limit is reported as a threat instead of
// passing unscanned, so that the limits are those of everything that Postfix carries.
func clamdFile(l settings.Limits) string {
	carried := carriedSize(l)
	values := map[string]any{
		"Foreground":               "yes",
		"DatabaseDirectory":        definitionsDir,
		"TemporaryDirectory":       "/tmp",
		"TCPAddr":                  "127.0.0.1",
		"TCPSocket":                portClamd,
		"LogTime":                  "yes",
		"SelfCheck":                60, // seconds: new definitions are in use within a minute
		"StreamMaxLength":          carried,
		"MaxFileSize":              carried,
		"MaxScanSize":              4 * carried, // what archives unpack to
		"AlertExceedsMax":          "yes",
		"MaxThreads":               4,
		"ConcurrentDatabaseReload": "no", // twice the memory otherwise
	}
	var lines []string
	for name, value := range values {
		lines = append(lines, fmt.Sprintf("%s %v\n", name, value))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
