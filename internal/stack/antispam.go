package stack

import (
	_ "embed" // rspamd's files hold nothing of any resource

	corev1 "k8s.io/api/core/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// rspamd stands in the pod beside ClamAV: it too speaks in clear and asks nobody who they are. It has the rules that read a message
// and nothing else: no name server, no list, no list of hashes and no Redis, so that it works in a cluster without a way out, keeps
// nothing, and tells nobody what it was shown.

// rspamdConf is rspamd.conf.
//
//go:embed rspamd.conf
var rspamdConf string

// suffixes are the ends of domain names by which rspamd finds addresses in text that begin with no scheme. With the whole list of
// public suffixes it starts in ten seconds of a core instead of one, and takes 300 MiB instead of 90.
const suffixes = "biz\ncom\ncc\nch\ncn\nde\nes\neu\nfr\ninfo\nio\nit\nme\nnet\nonline\norg\npl\nro\nru\nshop\nsite\nsu\ntk\ntop\nuk\nus\nxyz\n"

func rspamdOf(d *v1alpha1.PECDomain) string {
	if !d.RunsSpamFilter() {
		return ""
	}
	return loopback(portRspamd)
}

// spamFilter is rspamd. It has no probe: without it ordinary mail is delivered unjudged, whereas a pod that is not ready would take
// certified mail away too.
func spamFilter(m *v1alpha1.ManagedProvider, s Settings) []corev1.Container {
	if m.Antispam != v1alpha1.AntispamEnabled {
		return nil
	}
	c := restricted("antispam", s)
	c.Command = []string{"/usr/bin/rspamd", "--no-fork", "--config", antispamDir + "/" + fileRspamd}
	c.VolumeMounts = []corev1.VolumeMount{readOnly(volumeAntispam, antispamDir), mount(volumeAntispamTemp, "/tmp")}
	return []corev1.Container{c}
}

func spamFilterVolumes(d *v1alpha1.PECDomain) []corev1.Volume {
	if !d.RunsSpamFilter() {
		return nil
	}
	return []corev1.Volume{configVolume(volumeAntispam, NamesFor(d.Name).ConfigMap, fileRspamd, fileSuffixes), emptyVolume(volumeAntispamTemp)}
}
