package stack

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// withEverything is a domain whose key is in an HSM, whose index is downloaded and whose log is time-stamped.
func withEverything() *v1alpha1.PECDomain {
	d := makeDomain()
	m := d.Spec.Provider.Managed
	secret := func(name string) *v1alpha1.SecretReference { return &v1alpha1.SecretReference{SecretName: name} }
	m.Signing.PKCS11 = &v1alpha1.PKCS11{
		Module: "/usr/lib/hsm/libhsm.so", TokenLabel: "pec", KeyLabel: "firma", PINSecretRef: *secret("hsm-pin"), ConfigSecretRef: secret("hsm-config"),
		Image: "registry.test/hsm:1", Environment: []v1alpha1.EnvironmentVariable{{Name: "HSM_CONF", Value: "/etc/pec/pkcs11/hsm.conf"}},
	}
	m.ProvidersIndex.URL = "https://indice.test/index.ldif.p7m"
	m.ProvidersIndex.ClientCertSecretRef, m.ProvidersIndex.CASecretRef = secret("index-client"), secret("index-ca")
	m.Timestamping = &v1alpha1.Timestamping{URL: "https://tsa.test/", CASecretRef: secret("tsa-ca")}
	return d
}

func podOf(t *testing.T, d *v1alpha1.PECDomain) corev1.PodSpec {
	t.Helper()
	objects, err := Objects(d, makeSettings())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if s, ok := o.(*appsv1.StatefulSet); ok {
			return s.Spec.Template.Spec
		}
	}
	t.Fatal("no StatefulSet")
	return corev1.PodSpec{}
}

// The HSM's process sees the PIN and its library's files, and neither mail, evidence, engine's keys nor the certificate; the engine sees no PIN, and
// no private key of the signing Secret.
func TestHSMStandsApart(t *testing.T) {
	spec := podOf(t, withEverything())
	sees := map[string][]string{}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, m := range c.VolumeMounts {
			sees[c.Name] = append(sees[c.Name], m.Name)
		}
		slices.Sort(sees[c.Name])
	}
	if want := []string{volumePIN, volumePKCS11, volumeSignerRun, volumeTemporary}; !slices.Equal(sees["signer"], want) {
		t.Errorf("the signer sees %v, want %v", sees["signer"], want)
	}
	for name, volumes := range sees {
		if name != "signer" && (slices.Contains(volumes, volumePIN) || slices.Contains(volumes, volumePKCS11)) {
			t.Errorf("%s sees %v", name, volumes)
		}
	}
	optional := map[string]bool{}
	for _, v := range spec.Volumes {
		if v.Name == volumeSigning && (len(v.Secret.Items) != 1 || v.Secret.Items[0].Key != corev1.TLSCertKey) {
			t.Errorf("the engine is shown %v of the signing Secret", v.Secret.Items)
		}
		optional[v.Name] = v.Secret != nil && v.Secret.Optional != nil && *v.Secret.Optional
	}
	for _, name := range []string{volumeTimestamp, volumeIndexClient, volumeIndexCA} {
		if !optional[name] {
			t.Errorf("mail waits for the Secret of volume %s", name)
		}
	}
	if optional[volumePIN] {
		t.Error("the signer starts without its PIN")
	}
	signer := spec.Containers[slices.IndexFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == "signer" })]
	if signer.Image != "registry.test/hsm:1" || !*signer.SecurityContext.RunAsNonRoot || strings.Contains(strings.Join(signer.Command, " "), "hsm-pin") {
		t.Errorf("%+v", signer)
	}
}

func TestEngineIsToldOfItsSources(t *testing.T) {
	e := EngineSettings(withEverything(), makeSettings())
	if e.Signer != signerSocket || e.Timestamping.URL != "https://tsa.test/" || e.Timestamping.CA == "" || e.Index.URL == "" || e.Index.ClientCert == "" || e.Index.SignerCA == "" {
		t.Errorf("%+v", e)
	}
	if plain := EngineSettings(makeDomain(), makeSettings()); plain.Signer != "" || plain.Timestamping.URL != "" || plain.Index.URL != "" {
		t.Errorf("%+v", plain)
	}
}
