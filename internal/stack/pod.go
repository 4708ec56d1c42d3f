package stack

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// mailID is the uid and gid of mailUser.
const mailID = 5000

// program is this program in the image.
const program = "/usr/local/bin/pec-operator"

// signerProgram uses an HSM; it is a program of its own because it is no static one.
const (
	signerProgram = "/usr/local/bin/pec-signer"
	signerSocket  = signerRun + "/socket"
)

// Postfix' capabilities, each needed (a test starts it without each in turn):
//
//   - SETUID, SETGID: its daemons leave root.
//   - DAC_OVERRIDE: root reads what belongs to the user postfix, the TLS manager's socket above all; without it port 465 is dead.
//   - CHOWN, FOWNER: it makes its queue on an empty volume and gives it to that user.
//
// NET_BIND_SERVICE is not among them, because no port is below 1024.
var postfixCapabilities = []corev1.Capability{"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}

const settingsFile = engineDir + "/" + fileEngine

// The names of the pod's volumes.
const (
	volumeMail       = "mail"
	volumeQueue      = "queue"
	volumeEngine     = "engine"
	volumePostfix    = "postfix-config"
	volumeDovecot    = "dovecot-config"
	volumeSettings   = "engine-config"
	volumeDoveadm    = "doveadm"
	volumeTLS        = "tls"
	volumeSigning    = "signing"
	volumeKeys       = "keys"
	volumeIndex      = "index"
	volumePostfixRun = "postfix-run"
	volumeDovecotRun = "dovecot-run"
	volumeTemporary  = "tmp"

	volumeAntivirus     = "antivirus-config"
	volumeDefinitions   = "antivirus-definitions"
	volumeAntivirusTemp = "antivirus-tmp"
	volumeAntispam      = "antispam-config"
	volumeAntispamTemp  = "antispam-tmp"
	volumeTimestamp     = "timestamp-ca"
	volumeIndexClient   = "index-client"
	volumeIndexCA       = "index-ca"
	volumePIN           = "pin"
	volumePKCS11        = "pkcs11"
	volumeSignerRun     = "signer-run"
)

func podSpec(d *v1alpha1.PECDomain, s Settings) corev1.PodSpec {
	return corev1.PodSpec{
		AutomountServiceAccountToken:  ptr.To(false),
		EnableServiceLinks:            ptr.To(false),
		TerminationGracePeriodSeconds: ptr.To(int64(30)),
		SecurityContext: &corev1.PodSecurityContext{
			FSGroup: ptr.To(int64(mailID)),
			// A store has millions of files: changing their group at each start would take longer than anything else.
			FSGroupChangePolicy: ptr.To(corev1.FSGroupChangeOnRootMismatch),
			SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		InitContainers: []corev1.Container{prepare(s)},
		Containers:     containers(d.Spec.Provider.Managed, s),
		Volumes:        volumes(d),
	}
}

// prepare makes the folders and the directory's schema, so that Postfix and Dovecot find a database at their first lookup.
func prepare(s Settings) corev1.Container {
	c := restricted("prepare", s)
	c.Command = []string{program, "engine", "prepare", "--settings", settingsFile}
	c.VolumeMounts = []corev1.VolumeMount{mount(volumeEngine, stateDir), readOnly(volumeSettings, engineDir)}
	return c
}

func containers(m *v1alpha1.ManagedProvider, s Settings) []corev1.Container {
	list := []corev1.Container{postfix(s), dovecot(s), engine(m, s)}
	if m.Signing.PKCS11 != nil {
		list = append(list, signer(m.Signing.PKCS11, s))
	}
	return append(append(list, antivirus(m, s)...), spamFilter(m, s)...)
}

// signer is the process that uses the HSM: the maker's library is native code, and the engine, which reads what strangers send, must not
// have it in its memory. Only digests cross the socket.
func signer(hsm *v1alpha1.PKCS11, s Settings) corev1.Container {
	c := restricted("signer", s)
	if hsm.Image != "" {
		c.Image = hsm.Image
	}
	c.Command = []string{
		signerProgram, "--module", hsm.Module, "--token", hsm.TokenLabel, "--key", hsm.KeyLabel, "--pin-file", pinDir + "/pin", "--socket", signerSocket,
	}
	for _, v := range hsm.Environment {
		c.Env = append(c.Env, corev1.EnvVar{Name: v.Name, Value: v.Value})
	}
	c.Lifecycle = lingering(5) // as long as the engine
	c.VolumeMounts = []corev1.VolumeMount{readOnly(volumePIN, pinDir), mount(volumeSignerRun, signerRun), mount(volumeTemporary, "/tmp")}
	if hsm.ConfigSecretRef != nil {
		c.VolumeMounts = append(c.VolumeMounts, readOnly(volumePKCS11, pkcs11Dir))
	}
	return c
}

func engine(m *v1alpha1.ManagedProvider, s Settings) corev1.Container {
	c := restricted("engine", s)
	c.Command = []string{program, "engine", "run", "--settings", settingsFile}
	c.Ports = []corev1.ContainerPort{containerPort("admin", AdminPort), containerPort("peer", portPeerLink), containerPort("holders", portHolder), containerPort("health", portHealth)}
	c.StartupProbe = probe(get("/healthz"), 2, 60)
	c.LivenessProbe = probe(get("/healthz"), 10, 6)
	c.ReadinessProbe = probe(get("/readyz"), 5, 3)
	c.Lifecycle = lingering(5) // longer than its neighbours, to take what they still hand over
	c.VolumeMounts = []corev1.VolumeMount{
		mount(volumeEngine, stateDir), readOnly(volumeSettings, engineDir), readOnly(volumeSigning, signingDir), readOnly(volumeKeys, keysDir),
		readOnly(volumeIndex, indexDir), readOnly(volumeTLS, tlsDir), mount(volumeTemporary, "/tmp"),
	}
	if m.Antivirus != nil {
		c.VolumeMounts = append(c.VolumeMounts, readOnly(volumeDefinitions, definitionsDir))
	}
	for _, a := range auxiliarySecrets(m) {
		c.VolumeMounts = append(c.VolumeMounts, readOnly(a.volume, a.path))
	}
	if m.Signing.PKCS11 != nil {
		c.VolumeMounts = append(c.VolumeMounts, readOnly(volumeSignerRun, signerRun))
	}
	return c
}

func dovecot(s Settings) corev1.Container {
	c := restricted("dovecot", s)
	c.Command = []string{"/usr/sbin/dovecot", "-F", "-c", dovecotDir + "/" + fileDovecot}
	c.Ports = []corev1.ContainerPort{containerPort("imaps", portIMAPS), containerPort("pop3s", portPOP3S), containerPort("sieve", portSieve)}
	c.LivenessProbe = probe(connect(portIMAPS), 20, 6)
	c.ReadinessProbe = probe(connect(portIMAPS), 10, 3)
	c.Lifecycle = lingering(3)
	c.VolumeMounts = []corev1.VolumeMount{
		mount(volumeMail, mailDir), directoryMount(), readOnly(volumeDovecot, dovecotDir), readOnly(volumeTLS, tlsDir), readOnly(volumeDoveadm, keysDir),
		mount(volumeDovecotRun, dovecotRun), mount(volumeTemporary, "/tmp"),
	}
	return c
}

func postfix(s Settings) corev1.Container {
	c := container("postfix", s)
	c.SecurityContext.RunAsUser = ptr.To(int64(0)) // its own command refuses anybody else
	c.SecurityContext.Capabilities.Add = postfixCapabilities
	c.Command = []string{"/usr/sbin/postfix", "-c", postfixDir, "start-fg"}
	c.Env = []corev1.EnvVar{{Name: "MAIL_CONFIG", Value: postfixDir}} // so that `kubectl exec ... postqueue -p` looks at this queue
	c.Ports = []corev1.ContainerPort{containerPort("smtp", portMX), containerPort("submissions", portSubmissions)}
	c.LivenessProbe = probe(connect(portMX), 20, 6)
	c.ReadinessProbe = probe(connect(portMX), 10, 3)
	c.Lifecycle = lingering(3)
	c.VolumeMounts = []corev1.VolumeMount{
		mount(volumeQueue, queueDir), directoryMount(), readOnly(volumePostfix, postfixDir), readOnly(volumeTLS, tlsDir), mount(volumePostfixRun, postfixRun),
	}
	return c
}
