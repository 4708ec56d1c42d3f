package docs

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/apitest"
)

var server *apitest.Server

func TestMain(m *testing.M) { apitest.Main(m, &server) }

// body is the namespace of the tasks, box the mailbox that they are about.
const body, box = "comune-esempio", "anagrafe.at.pec.comune-esempio.test"

// The tasks are followed as they are written: each manifest is applied, each command is run by bash against a real API server whose
// objects have the status that an operator gives them, and each change of a spec is made to the page's own mailbox.
func TestTheTasksCanBeFollowed(t *testing.T) {
	ctx, c, page := context.Background(), municipality(t), read(t, filepath.Join(root, "docs", "mailboxes.md"))
	t.Run("commands", func(t *testing.T) {
		shell, ran := newShell(t), 0
		for _, block := range apitest.Fenced(page, "") {
			if strings.Contains(block, "curl ") {
				continue // of the holder's API, which is no API server's
			}
			ran++
			if out := shell(block); strings.TrimSpace(out) == "" || strings.Contains(out, "<none>") {
				t.Errorf("%s\nanswers %q: it asks for a field that is not there", block, out)
			}
		}
		if ran < 6 {
			t.Errorf("%d commands: the test reads the page wrongly", ran)
		}
		var secret corev1.Secret
		if err := c.Get(ctx, client.ObjectKey{Namespace: body, Name: "anagrafe-password"}, &secret); err != nil || string(secret.Data["password"]) != typed {
			t.Errorf("the Secret holds %q, %v", secret.Data["password"], err)
		}
	})
	t.Run("fragments", func(t *testing.T) {
		seen := 0
		for _, block := range apitest.Fenced(page, "yaml") {
			if !strings.HasPrefix(strings.TrimSpace(block), "spec:") {
				continue
			}
			seen++
			var object client.Object = &v1alpha1.Mailbox{ObjectMeta: metav1.ObjectMeta{Namespace: body, Name: box}}
			if strings.Contains(block, "contract:") {
				object = &v1alpha1.PECDomain{ObjectMeta: metav1.ObjectMeta{Namespace: body, Name: "pec.comune-esempio.test"}}
			}
			if err := change(c, object, block); err != nil {
				t.Errorf("%s\n%v", block, err)
			}
		}
		if seen < 4 {
			t.Errorf("%d fragments: the test reads the page wrongly", seen)
		}
	})
	massive := &v1alpha1.Mailbox{ObjectMeta: metav1.ObjectMeta{Namespace: body, Name: "avvisi.at.pec.comune-esempio.test"}}
	for sentence, spec := range map[string]string{
		"a larger quota":             "{quota: 20Gi}",
		"nobody is in":               "{access: Suspended}",
		"it is only read":            "{access: ReadOnly}",
		"judged as spam":             "{antispam: Enabled}",
		"ordinary mail is refused":   "{ordinaryMail: {policy: Discard, forwardTo: null}}",
		"it no longer sends in bulk": "{type: Standard, massive: null}",
	} {
		t.Run(sentence, func(t *testing.T) {
			if err := change(c, massive, "spec: "+spec); err != nil {
				t.Error(err)
			}
		})
	}
}

// The kubeconfig that one site writes for the other is one that the operator there can read.
func TestTheSitesCanBeIntroduced(t *testing.T) {
	ctx, c := context.Background(), newClient(t)
	const own = "pec-system"
	must(t, c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: own}}))
	must(t, c.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: own, Name: "pec-peer-reader"},
		Data: map[string][]byte{"token": []byte("un-gettone"), "ca.crt": []byte("un-certificato")}}))
	shell := newShell(t)
	for _, block := range apitest.Fenced(read(t, filepath.Join(root, "docs", "running.md")), "") {
		shell(block)
	}
	var given corev1.Secret
	must(t, c.Get(ctx, client.ObjectKey{Namespace: own, Name: "peer-kubeconfig"}, &given))
	config, err := clientcmd.Load(given.Data["kubeconfig"])
	must(t, err)
	at := config.Contexts[config.CurrentContext]
	if user, cluster := config.AuthInfos[at.AuthInfo], config.Clusters[at.Cluster]; user.Token != "un-gettone" ||
		string(cluster.CertificateAuthorityData) != "un-certificato" || cluster.Server != "https://ADDRESS-OF-B:6443" {
		t.Errorf("the other site is given %q %q %q", user.Token, cluster.CertificateAuthorityData, cluster.Server)
	}
}

// change merges a fragment of YAML into an object, and only asks whether the API server takes it.
func change(c client.Client, object client.Object, fragment string) error {
	patch, err := yaml.YAMLToJSON([]byte(fragment))
	if err != nil {
		return err
	}
	return c.Patch(context.Background(), object, client.RawPatch(types.MergePatchType, patch), client.DryRunAll, client.FieldValidation("Strict"))
}

// municipality makes the objects of the tasks, with the status that an operator gives them.
func municipality(t *testing.T) client.Client {
	t.Helper()
	ctx, c := context.Background(), newClient(t)
	must(t, c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: body}}))
	for _, name := range []string{"mailboxes.md", "pecdomain.md", "mailbox.md"} {
		for where, document := range apitest.Examples(t) {
			object := &unstructured.Unstructured{}
			must(t, yaml.Unmarshal([]byte(document), &object.Object))
			if strings.HasPrefix(where, name) && object.GetNamespace() == body {
				must(t, c.Create(ctx, object, client.FieldValidation("Strict")))
			}
		}
	}
	is := func(condition string) metav1.Condition {
		return metav1.Condition{Type: condition, Status: metav1.ConditionTrue, Reason: "Esempio", Message: "esempio", LastTransitionTime: metav1.NewTime(time.Unix(1, 0))}
	}
	var domain v1alpha1.PECDomain
	must(t, c.Get(ctx, client.ObjectKey{Namespace: body, Name: "pec.comune-esempio.test"}, &domain))
	domain.Status.Conditions = []metav1.Condition{is(v1alpha1.ConditionDirectoryInSync)}
	domain.Status.Endpoints = &v1alpha1.EndpointsStatus{IMAP: &v1alpha1.Endpoint{Host: "imaps.gestore.test", Port: ptr.To(int32(993))}}
	domain.Status.ObservedGeneration = domain.Generation
	must(t, c.Status().Update(ctx, &domain))
	var mailboxes v1alpha1.MailboxList
	must(t, c.List(ctx, &mailboxes, client.InNamespace(body)))
	for i := range mailboxes.Items {
		m := &mailboxes.Items[i]
		m.Status.Address = m.Address()
		m.Status.EffectiveAccess = &v1alpha1.EffectiveAccess{Access: v1alpha1.LevelFull, Reason: v1alpha1.RuleSpec}
		m.Status.Holder = &v1alpha1.HolderStatus{OrdinaryMail: v1alpha1.OrdinaryMailForward, Changed: []v1alpha1.HolderSetting{"Password"}}
		m.Status.Usage = &v1alpha1.MailboxUsage{Bytes: ptr.To(int64(1 << 30)), Messages: ptr.To(int64(2000)), Percent: ptr.To(int32(50)), FullOn: "2027-01-31", OldPercent: ptr.To(int32(60)), SentPerMonth: ptr.To(int64(4000))}
		m.Status.Conditions = []metav1.Condition{is(v1alpha1.ConditionCredentialsValid), is(v1alpha1.ConditionArchiveRecommended)}
		must(t, c.Status().Update(ctx, m))
	}
	return c
}

func newClient(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	utilruntime.Must(clientscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	c, err := client.New(apitest.Need(t, server).Config, client.Options{Scheme: scheme})
	must(t, err)
	return c
}

// typed is what a person types where a command asks for a password.
const typed = "una-parola-lunga"

// newShell is a bash of somebody who administers both sites, which here are one.
func newShell(t *testing.T) func(script string) string {
	t.Helper()
	raw, err := server.Kubeconfig("tasks")
	must(t, err)
	config, err := clientcmd.Load(raw)
	must(t, err)
	for _, site := range []string{"site-a", "site-b"} {
		config.Contexts[site] = config.Contexts[config.CurrentContext]
	}
	dir := t.TempDir()
	must(t, clientcmd.WriteToFile(*config, filepath.Join(dir, "kubeconfig")))
	must(t, os.Symlink(filepath.Join(os.Getenv(apitest.ServersVariable), "kubectl"), filepath.Join(dir, "kubectl")))
	return func(script string) string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "KUBECONFIG="+filepath.Join(dir, "kubeconfig"), "HOME="+dir)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(typed+"\n")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			t.Errorf("%s\n%v: %s", script, err, errs.String())
		}
		return out.String()
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
