package stack

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/directory"
)

func template(t *testing.T) corev1.PodTemplateSpec {
	t.Helper()
	objects, err := Objects(makeDomain(), makeSettings())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if s, ok := o.(*appsv1.StatefulSet); ok {
			return s.Spec.Template
		}
	}
	t.Fatal("no StatefulSet")
	return corev1.PodTemplateSpec{}
}

func TestTwiceTheSame(t *testing.T) {
	first, err := Objects(makeDomain(), makeSettings())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		again, err := Objects(makeDomain(), makeSettings())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("comune.", 30) + "it"
	names := map[string]Names{}
	for _, domain := range []string{"a.it", "a-b.it", "a.b.it", long, long[7:], strings.Repeat("x", 29) + ".it"} {
		n := NamesFor(domain)
		for _, name := range []string{n.StatefulSet, n.Mail, n.Engine, n.ConfigMap, n.EngineSecret, n.MailClaim, n.QueueClaim, n.EngineClaim} {
			if problems := validation.IsDNS1035Label(name); len(problems) > 0 || len(name) > 52 {
				t.Errorf("%s: the name %q: %v", domain, name, problems)
			}
		}
		for other, m := range names {
			if m.StatefulSet == n.StatefulSet {
				t.Errorf("%s and %s have one name", domain, other)
			}
		}
		names[domain] = n
		if d := makeDomain(); !labelsFit(withName(d, domain)) {
			t.Errorf("%s: a label is not valid", domain)
		}
	}
}

func TestShardsHaveNamesOfTheirOwn(t *testing.T) {
	want := Names{
		StatefulSet: "pec-pec-esempio-test-b626e3c0", Mail: "pec-pec-esempio-test-b626e3c0-mail", Engine: "pec-pec-esempio-test-b626e3c0-engine",
		ConfigMap: "pec-pec-esempio-test-b626e3c0-config", EngineSecret: "pec-pec-esempio-test-b626e3c0-engine",
		MailClaim: "pec-pec-esempio-test-b626e3c0-mail", QueueClaim: "pec-pec-esempio-test-b626e3c0-queue", EngineClaim: "pec-pec-esempio-test-b626e3c0-engine",
		Certificate: "pec-pec-esempio-test-b626e3c0-tls",
	}
	if diff := cmp.Diff(want, ShardNames("pec.esempio.test", 0)); diff != "" {
		t.Errorf("the first shard's objects, whose claims hold mail already, have other names: %s", diff)
	}
	if name := ShardNames("pec.esempio.test", 1).MailClaim; name != "pec-pec-esempio-test-b626e3c0-1-mail" {
		t.Errorf("the second shard's claim is %s", name)
	}
	seen := map[string]int{}
	for shard := range 32 {
		n := ShardNames(strings.Repeat("comune.", 30)+"it", shard)
		for _, name := range []string{n.StatefulSet, n.Mail, n.ConfigMap, n.QueueClaim, n.EngineClaim, n.Certificate} {
			if other, twice := seen[name]; twice {
				t.Errorf("shards %d and %d share %s", other, shard, name)
			}
			if seen[name] = shard; len(name) > 52 {
				t.Errorf("%s has %d characters", name, len(name))
			}
		}
	}
}

func withName(d *v1alpha1.PECDomain, name string) *v1alpha1.PECDomain {
	d.Name = name
	return d
}

func labelsFit(d *v1alpha1.PECDomain) bool {
	for _, value := range labels(d) {
		if len(validation.IsValidLabelValue(value)) > 0 {
			return false
		}
	}
	return true
}

func TestPodSecurity(t *testing.T) {
	pod := template(t)
	checks, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(level api.Level, spec corev1.PodSpec) string {
		results := checks.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &pod.ObjectMeta, &spec)
		total := policy.AggregateCheckResults(results)
		return total.ForbiddenDetail()
	}
	if why := refused(api.LevelBaseline, pod.Spec); why != "" {
		t.Errorf("the pod is not baseline: %s", why)
	}
	var others []string
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		alone := *pod.Spec.DeepCopy()
		alone.InitContainers, alone.Containers = nil, []corev1.Container{c}
		if why := refused(api.LevelRestricted, alone); why != "" {
			others = append(others, c.Name)
		}
		sc := c.SecurityContext
		if !*sc.ReadOnlyRootFilesystem || *sc.AllowPrivilegeEscalation || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("%s may write its root, gain privileges or keep capabilities", c.Name)
		}
	}
	if !slices.Equal(others, []string{"postfix"}) {
		t.Errorf("not restricted: %v, want postfix alone", others)
	}
	if *pod.Spec.AutomountServiceAccountToken || *pod.Spec.EnableServiceLinks {
		t.Error("the pod gets a token of Kubernetes, or the addresses of the namespace's Services")
	}
}

// The exact capabilities; TestPostfixCapabilities shows that none is too many.
func TestCapabilities(t *testing.T) {
	want := map[string][]corev1.Capability{"postfix": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}}
	for _, c := range template(t).Spec.Containers {
		if got := c.SecurityContext.Capabilities.Add; !slices.Equal(got, want[c.Name]) {
			t.Errorf("%s adds %v, want %v", c.Name, got, want[c.Name])
		}
	}
}

func TestWhoSeesWhat(t *testing.T) {
	want := map[string][]string{
		volumeSigning: {"engine"}, volumeKeys: {"engine"}, volumeDoveadm: {"dovecot"}, volumeTLS: {"dovecot", "engine", "postfix"},
		volumeMail: {"dovecot"}, volumeQueue: {"postfix"}, volumeEngine: {"dovecot", "engine", "postfix", "prepare"},
	}
	spec := template(t).Spec
	got := map[string][]string{}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, m := range c.VolumeMounts {
			got[m.Name] = append(got[m.Name], c.Name)
			if m.Name == volumeEngine && m.SubPath != directoryName && !slices.Contains([]string{"engine", "prepare"}, c.Name) {
				t.Errorf("%s sees the engine's evidence", c.Name)
			}
		}
	}
	for volume, containers := range want {
		slices.Sort(got[volume])
		if !slices.Equal(got[volume], containers) {
			t.Errorf("volume %s is seen by %v, want %v", volume, got[volume], containers)
		}
	}
}

func TestClaimsHaveNoOwner(t *testing.T) {
	claims := Claims(makeDomain())
	if len(claims) != 3 {
		t.Errorf("%d claims, want 3", len(claims))
	}
	for _, c := range claims {
		if len(c.OwnerReferences) > 0 || len(c.Finalizers) > 0 {
			t.Errorf("%s would go when something else goes", c.Name)
		}
	}
}

func TestConfigurationRollsThePod(t *testing.T) {
	hash := func(change func(*v1alpha1.PECDomain)) string {
		d := makeDomain()
		change(d)
		content, err := files(d, makeSettings())
		if err != nil {
			t.Fatal(err)
		}
		h, err := hashOf(content)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	same := hash(func(*v1alpha1.PECDomain) {})
	if other := hash(func(d *v1alpha1.PECDomain) { d.Spec.Holder.Name = "Comune di Esempio" }); other != same {
		t.Error("another holder rolls the pod")
	}
	if other := hash(func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.Provider.Name = "Gestore Nuovo" }); other == same {
		t.Error("another provider's name does not roll the pod")
	}
}

func TestNoMailHostOfTheSite(t *testing.T) {
	s := makeSettings()
	s.Site = "c"
	if _, err := Objects(makeDomain(), s); err == nil || !strings.Contains(err.Error(), `no mail host of site "c"`) {
		t.Errorf("got %v", err)
	}
}

func TestDirectoryIsWhereTheEngineWritesIt(t *testing.T) {
	if got := path.Base(directoryDB); got != directory.FileName {
		t.Errorf("Postfix and Dovecot read %s, the engine writes %s", got, directory.FileName)
	}
}
