package e2e

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/stack"
	"github.com/pec-operator/pec-operator/test/road"
)

// A provider takes its key out of the Secret and into an HSM (here SoftHSM), at both sites: the certificate stays, and so what others
// believe does. What follows this test runs with that key.
func TestTheKeyMovesIntoAnHSM(t *testing.T) {
	const namespace, domain = "gestore-due", "pec.gestore-due.test"
	image, err := r.ExtraImage(t.Context(), "test/e2e/hsm.Dockerfile", tokenWith(t, r.SigningPair(domain).Key))
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	manifest := fmt.Sprintf(`---
apiVersion: v1
kind: Secret
metadata: {name: hsm-pin, namespace: %[1]s}
stringData: {pin: "1234"}
---
apiVersion: v1
kind: Secret
metadata: {name: hsm-config, namespace: %[1]s}
stringData: {softhsm2.conf: "directories.tokendir = /usr/lib/hsm/token\nobjectstore.backend = file\n"}
`, namespace)
	patch := fmt.Sprintf(`{"spec":{"provider":{"managed":{"signing":{"pkcs11":{"module":"/usr/lib/hsm/libhsm.so","tokenLabel":"pec","keyLabel":"firma",
"pinSecretRef":{"secretName":"hsm-pin"},"configSecretRef":{"secretName":"hsm-config"},"image":%q,
"environment":[{"name":"SOFTHSM2_CONF","value":"/etc/pec/pkcs11/softhsm2.conf"}]}}}}}}`, image)
	for _, site := range road.SiteNames {
		if err := r.Apply(t.Context(), site, manifest); err != nil {
			t.Fatal(err)
		}
		kubectl(t, site, "patch", "-n", namespace, "pecdomain/"+domain, "--type=merge", "-p", patch)
	}
	for _, site := range road.SiteNames {
		signs(t, site, namespace, "statefulset/"+stack.NamesFor(domain).StatefulSet)
	}
	t.Logf("both sites sign by the HSM %s after the YAML changed", time.Since(begun).Round(time.Second))

	walk, err := r.Walk(t.Context(), municipality, secondOffice)
	if err != nil {
		t.Fatal(err)
	}
	certificate, _ := pem.Decode([]byte(r.SigningPair(domain).Certificate))
	if signed := pec.Open(walk.Delivery.Raw); signed.Fault != "" || !bytes.Equal(signed.Signature.Signer.Raw, certificate.Bytes) {
		t.Errorf("the delivery receipt is not signed by the certificate of the key in the HSM: %s", signed.Fault)
	}
}

// signs waits until the pod of a site has a signer, is ready, and its engine has no private key to sign with but by the signer.
func signs(t *testing.T, site, namespace, pod string) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		if containers := kubectl(t, site, "get", "-n", namespace, pod, "-o", "jsonpath={.spec.template.spec.containers[*].name}"); !strings.Contains(containers, "signer") {
			return fmt.Errorf("the stack at site %s has the containers %s", site, containers)
		}
		return nil
	})
	kubectl(t, site, "rollout", "status", "-n", namespace, pod, "--timeout=120s")
	// The key leaves the Secret only when nobody reads it any more.
	kubectl(t, site, "patch", "-n", namespace, "secret/signing", "--type=json", "-p", `[{"op":"remove","path":"/data/tls.key"}]`)
	if files := kubectl(t, site, "exec", "-n", namespace, pod, "-c", "engine", "--", "ls", "/etc/pec/signing"); strings.TrimSpace(files) != "tls.crt" {
		t.Errorf("the engine at site %s is shown %q of the signing Secret", site, files)
	}
}

// tokenWith makes a folder with a SoftHSM token that holds a key, as its keeper would, and nothing else.
func tokenWith(t *testing.T, key string) (folder string) {
	t.Helper()
	folder, outside := t.TempDir(), t.TempDir()
	token, config, file := filepath.Join(folder, "token"), filepath.Join(outside, "softhsm2.conf"), filepath.Join(outside, "key.pem")
	if err := os.Mkdir(token, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{config: "directories.tokendir = " + token + "\nobjectstore.backend = file\n", file: key} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"--init-token", "--free", "--label", "pec", "--pin", "1234", "--so-pin", "4321"},
		{"--import", file, "--token", "pec", "--label", "firma", "--id", "01", "--pin", "1234"},
	} {
		command := exec.CommandContext(t.Context(), "softhsm2-util", args...)
		command.Env = append(os.Environ(), "SOFTHSM2_CONF="+config)
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("softhsm2-util %s: %v: %s", args[0], err, out)
		}
	}
	return folder
}
