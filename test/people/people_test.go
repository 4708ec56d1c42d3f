// Package people tests who may do what: the roles for people and the admission policies, as real users of a real API server.
package people

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/apitest"
)

var server *apitest.Server

func TestMain(m *testing.M) { apitest.Main(m, &server) }

// the namespace of a body, and another one.
const body, elsewhere = "comune", "altrove"

// world is an API server with our policies and roles, and the clients of people in it.
type world struct{ admin, front, back client.Client }

func newWorld(t *testing.T) *world {
	t.Helper()
	s := apitest.Need(t, server)
	w := &world{admin: newClient(t, s.Config)}
	for _, ns := range []string{body, elsewhere} {
		create(t, w.admin, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	}
	s.RunControllers(t, "clusterrole-aggregation-controller")
	s.Install(t, "config/rbac/people.yaml", "config/policies/contract.yaml", "config/policies/held.yaml",
		"config/policies/inhabited.yaml", "config/policies/kinds.yaml")
	as := map[string]client.Client{}
	for _, role := range []string{"pec-front-office", "pec-back-office", "pec-auditor"} {
		config, err := s.AddUser(role)
		must(t, err)
		as[role] = newClient(t, config)
		create(t, w.admin, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role, Namespace: body},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: role}}})
	}
	w.front, w.back = as["pec-front-office"], as["pec-back-office"]
	// Aggregated rules and policies take a moment; the last of them to be in force is waited for.
	eventually(t, func() bool {
		return allowed(t, w.admin, "pec-back-office", attributes{"update", "pecdomains", "contract", body}) &&
			allowed(t, w.admin, "pec-front-office", attributes{"delete", "mailboxes", "", body}) &&
			allowed(t, w.admin, "pec-auditor", attributes{"list", "mailboxes", "", body})
	})
	probe := makeDomain("pec.prova.test")
	probe.Spec.Contract = &v1alpha1.Contract{Reference: "C-0", Standard: ptr.To(int32(1))}
	give(t, w.admin, "pec-prober", "pecdomains", "create")
	eventually(t, func() bool {
		prober := impersonate(t, "pec-prober")
		held := makeMailbox("prova")
		held.Spec.LegalHolds = []v1alpha1.LegalHold{{Reference: "x", Since: "2026-01-01"}}
		create(t, w.admin, held)
		inForce := apierrors.IsForbidden(w.admin.Delete(context.Background(), held))
		if inForce {
			held.Spec.LegalHolds = nil
			update(t, w.admin, held)
			must(t, w.admin.Delete(context.Background(), held))
		}
		return inForce && apierrors.IsForbidden(prober.Create(context.Background(), probe.DeepCopy(), client.DryRunAll))
	})
	return w
}

func TestPeople(t *testing.T) {
	w := newWorld(t)
	t.Run("roles", func(t *testing.T) { testRoles(t, w) })
	t.Run("contract", func(t *testing.T) { testContract(t, w) })
	t.Run("folders", func(t *testing.T) { testFolders(t, w) })
	t.Run("held", func(t *testing.T) { testHeld(t, w) })
	t.Run("inhabited", func(t *testing.T) { testInhabited(t, w) })
	t.Run("kinds", func(t *testing.T) { testKinds(t, w) })
}

// attributes are what somebody wants to do in a namespace: verb, resource, subresource, namespace.
type attributes struct{ verb, resource, subresource, namespace string }

// testRoles is `kubectl auth can-i`, as a table.
func testRoles(t *testing.T, w *world) {
	const front, back, auditor = "pec-front-office", "pec-back-office", "pec-auditor"
	for name, c := range map[string]struct {
		attributes
		may []string // of the three; the others may not
	}{
		"everybody reads mailboxes":                      {attributes{"list", "mailboxes", "", body}, []string{front, back, auditor}},
		"everybody reads domains":                        {attributes{"get", "pecdomains", "", body}, []string{front, back, auditor}},
		"everybody watches migrations":                   {attributes{"watch", "mailboxmigrations", "", body}, []string{front, back, auditor}},
		"everybody reads retention policies":             {attributes{"get", "retentionpolicies", "", body}, []string{front, back, auditor}},
		"everybody reads events":                         {attributes{"list", "events", "", body}, []string{front, back, auditor}},
		"everybody reads events of the newer group":      {attributes{"list", "events.events.k8s.io", "", body}, []string{front, back, auditor}},
		"the offices make mailboxes":                     {attributes{"create", "mailboxes", "", body}, []string{front, back}},
		"the offices change mailboxes":                   {attributes{"patch", "mailboxes", "", body}, []string{front, back}},
		"the offices delete mailboxes":                   {attributes{"delete", "mailboxes", "", body}, []string{front, back}},
		"nobody deletes mailboxes by the collection":     {attributes{"deletecollection", "mailboxes", "", body}, nil},
		"the back office makes domains":                  {attributes{"create", "pecdomains", "", body}, []string{back}},
		"the back office changes domains":                {attributes{"update", "pecdomains", "", body}, []string{back}},
		"the back office changes contracts":              {attributes{"update", "pecdomains", "contract", body}, []string{back}},
		"the back office makes migrations":               {attributes{"create", "mailboxmigrations", "", body}, []string{back}},
		"the back office changes retention":              {attributes{"patch", "retentionpolicies", "", body}, []string{back}},
		"nobody writes a status":                         {attributes{"patch", "mailboxes", "status", body}, nil},
		"nobody reads Secrets":                           {attributes{"get", "secrets", "", body}, nil},
		"nobody reads mailboxes where they have no role": {attributes{"list", "mailboxes", "", elsewhere}, nil},
		"nobody deletes a CRD":                           {attributes{"delete", "customresourcedefinitions.apiextensions.k8s.io", "", ""}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, user := range []string{front, back, auditor} {
				if got, want := allowed(t, w.admin, user, c.attributes), slices.Contains(c.may, user); got != want {
					t.Errorf("%s: %v, want %v", user, got, want)
				}
			}
		})
	}
}

func testContract(t *testing.T, w *world) {
	ctx := context.Background()
	contract := &v1alpha1.Contract{Reference: "C-12", Standard: ptr.To(int32(400))}
	// Two accounts that a GitOps tool impersonates, one per folder: both may write domains, one of them contracts.
	give(t, w.admin, "gitops-domains", "pecdomains", "get", "create", "update", "patch", "delete")
	give(t, w.admin, "gitops-contracts", "pecdomains", "get", "create", "update", "patch")
	give(t, w.admin, "gitops-contracts", "pecdomains/contract", "update")
	domains, contracts := impersonate(t, "gitops-domains"), impersonate(t, "gitops-contracts")

	domain, free := makeDomain("pec.contratto.test"), makeDomain("pec.contratto.test")
	domain.Spec.Contract = contract
	// A domain without a contract admits everybody for good: to make one is a decision about the contract too.
	for _, d := range []*v1alpha1.PECDomain{domain, free} {
		forbidden(t, "spec.contract is the back office's", domains.Create(ctx, d.DeepCopy(), client.DryRunAll))
		forbidden(t, "spec.contract is the back office's", domains.Create(ctx, d.DeepCopy()))
		must(t, w.back.Create(ctx, d.DeepCopy(), client.DryRunAll))
	}
	eventually(t, func() bool { return contracts.Create(ctx, free.DeepCopy(), client.DryRunAll) == nil })
	must(t, contracts.Create(ctx, free))
	free.Spec.Contract = contract
	forbidden(t, "spec.contract is the back office's", domains.Update(ctx, free.DeepCopy()))
	must(t, contracts.Update(ctx, free))
	must(t, domains.Delete(ctx, free))
	forbidden(t, "spec.contract is the back office's", domains.Create(ctx, makeDomain(free.Name)))
	must(t, contracts.Create(ctx, domain))

	elsewhere := makeDomain("pec.altrove.test") // nothing is provisioned where another provider runs it
	elsewhere.Spec.Provider = v1alpha1.DomainProvider{Type: v1alpha1.ProviderExternal, External: &v1alpha1.ExternalProvider{
		Name: "Altro gestore", MailExchangers: []v1alpha1.Hostname{"mx.altrove.test"}, IMAP: v1alpha1.Endpoint{Host: "imaps.altrove.test"}}}
	must(t, domains.Create(ctx, elsewhere))

	domain.Spec.Holder.Name = "Comune di Altrove"
	must(t, domains.Update(ctx, domain)) // the contract is there and stays
	domain.Spec.Contract.Standard = ptr.To(int32(4000))
	forbidden(t, "spec.contract is the back office's", domains.Update(ctx, domain.DeepCopy()))
	domain.Spec.Contract = nil
	forbidden(t, "spec.contract is the back office's", domains.Update(ctx, domain.DeepCopy()))
	must(t, w.back.Update(ctx, domain))
}

// testFolders is GitOps: two accounts apply their own part of one domain, and neither takes the other's.
func testFolders(t *testing.T, w *world) {
	ctx := context.Background()
	apply := func(account string, spec map[string]any, options ...client.ApplyOption) error {
		object := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "pec-operator.dev/v1alpha1", "kind": "PECDomain",
			"metadata": map[string]any{"name": "pec.cartelle.test", "namespace": body}, "spec": spec,
		}}
		return impersonate(t, account).Apply(ctx, client.ApplyConfigurationFromUnstructured(object), append(options, client.FieldOwner(account))...)
	}
	domain := map[string]any{"holder": map[string]any{"name": "Comune di Esempio"}, "provider": map[string]any{"type": "Hosted",
		"hosted": map[string]any{"host": map[string]any{"name": "pec.gestore.test", "namespace": "gestore"}}}}
	part := func(quota string) map[string]any {
		return map[string]any{"mailboxDefaults": map[string]any{"quota": quota}}
	}
	// Before the folder with contracts was applied the others can make no domain, which would admit everybody.
	forbidden(t, "spec.contract is the back office's", apply("gitops-domains", domain))
	contract := maps.Clone(domain)
	contract["contract"] = map[string]any{"reference": "C-12", "standard": int64(400)}
	must(t, apply("gitops-contracts", contract))
	must(t, apply("gitops-domains", part("2Gi")))
	must(t, apply("gitops-contracts", contract))
	must(t, apply("gitops-domains", part("3Gi")))
	more := part("3Gi")
	more["contract"] = map[string]any{"reference": "C-12", "standard": int64(4000)}
	forbidden(t, "spec.contract is the back office's", apply("gitops-domains", more, client.ForceOwnership))
	got := &v1alpha1.PECDomain{}
	must(t, w.admin.Get(ctx, client.ObjectKey{Namespace: body, Name: "pec.cartelle.test"}, got))
	if *got.Spec.Contract.Standard != 400 || got.Spec.MailboxDefaults.Quota.String() != "3Gi" {
		t.Errorf("after both applied their part: contract %v, defaults %v", got.Spec.Contract, got.Spec.MailboxDefaults)
	}
}

func testHeld(t *testing.T, w *world) {
	ctx := context.Background()
	hold := []v1alpha1.LegalHold{{Reference: "RG 123/2026", Since: "2026-03-01"}}
	free, held := makeMailbox("libera"), makeMailbox("trattenuta")
	held.Spec.LegalHolds = hold
	create(t, w.front, free, held)
	must(t, w.front.Delete(ctx, free))

	const words = "is under legal hold RG 123/2026"
	forbidden(t, words, w.front.Delete(ctx, held, client.DryRunAll))
	forbidden(t, words, w.front.Delete(ctx, held))
	forbidden(t, words, w.admin.Delete(ctx, held))
	forbidden(t, words, w.admin.DeleteAllOf(ctx, &v1alpha1.Mailbox{}, client.InNamespace(body)))

	for name, annotations := range map[string]map[string]string{
		"the name alone":         {"pec-operator.dev/confirm-delete": held.Name},
		"the reason alone":       {"pec-operator.dev/confirm-reason": "sentenza depositata"},
		"the name of another":    {"pec-operator.dev/confirm-delete": free.Name, "pec-operator.dev/confirm-reason": "sentenza depositata"},
		"a reason that is blank": {"pec-operator.dev/confirm-delete": held.Name, "pec-operator.dev/confirm-reason": "                "},
	} {
		held.Annotations = annotations
		update(t, w.front, held)
		if err := w.front.Delete(ctx, held, client.DryRunAll); !apierrors.IsForbidden(err) {
			t.Errorf("%s was enough: %v", name, err)
		}
	}
	held.Annotations = map[string]string{"pec-operator.dev/confirm-delete": held.Name, "pec-operator.dev/confirm-reason": "sentenza depositata"}
	update(t, w.front, held)
	must(t, w.front.Delete(ctx, held, client.DryRunAll))
	must(t, w.front.Delete(ctx, held))

	policy := &v1alpha1.RetentionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "lunga", Namespace: body}, Spec: v1alpha1.RetentionPolicySpec{
		Mailboxes: v1alpha1.RetainedMailboxes{Type: v1alpha1.RetainedReferring}, LegalHolds: hold}}
	create(t, w.back, policy)
	forbidden(t, words, w.back.Delete(ctx, policy))
	policy.Spec.LegalHolds = nil
	update(t, w.back, policy)
	must(t, w.back.Delete(ctx, policy))
}

func testInhabited(t *testing.T, w *world) {
	ctx := context.Background()
	domain := makeDomain("pec.abitato.test")
	create(t, w.back, domain)
	domain.Status.Mailboxes = &v1alpha1.MailboxCounts{Total: ptr.To(int32(3)), Ready: ptr.To(int32(3))}
	must(t, w.admin.Status().Update(ctx, domain))
	forbidden(t, "has 3 mailboxes", w.back.Delete(ctx, domain, client.DryRunAll))
	forbidden(t, "has 3 mailboxes", w.back.Delete(ctx, domain))
	domain.Annotations = map[string]string{"pec-operator.dev/confirm-delete": domain.Name, "pec-operator.dev/confirm-reason": "migrato altrove"}
	update(t, w.back, domain)
	must(t, w.back.Delete(ctx, domain))

	empty := makeDomain("pec.vuoto.test")
	create(t, w.back, empty)
	must(t, w.back.Delete(ctx, empty))
}

func testKinds(t *testing.T, w *world) {
	ctx := context.Background()
	for _, name := range []string{"mailboxes", "mailboxmigrations", "pecdomains", "retentionpolicies"} {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		must(t, w.admin.Get(ctx, client.ObjectKey{Name: name + ".pec-operator.dev"}, crd))
		forbidden(t, "deletes every object of that kind", w.admin.Delete(ctx, crd, client.DryRunAll))
		crd.Annotations["pec-operator.dev/confirm-delete"] = crd.Name
		crd.Annotations["pec-operator.dev/confirm-reason"] = "fine della prova"
		update(t, w.admin, crd)
		must(t, w.admin.Delete(ctx, crd, client.DryRunAll))
	}
}

// The chart installs the policies unless its value says no.
func TestChart(t *testing.T) {
	helm := os.Getenv("PEC_HELM")
	if helm == "" {
		t.Skip("needs helm; run make unit")
	}
	for value, want := range map[string]int{"true": 4, "false": 0} {
		out, err := exec.Command(helm, "template", "pec", filepath.Join("..", "..", "charts", "pec-operator"),
			"--set", "site=a,image=i,mailImage=m,policies="+value).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got := strings.Count(string(out), "kind: ValidatingAdmissionPolicy\n"); got != want {
			t.Errorf("with policies=%s the chart has %d policies, want %d", value, got, want)
		}
		if got := strings.Count(string(out), "aggregationRule:"); got != 3 {
			t.Errorf("the chart has %d aggregated roles, want 3", got)
		}
	}
}

func makeDomain(name string) *v1alpha1.PECDomain {
	return &v1alpha1.PECDomain{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: body}, Spec: v1alpha1.PECDomainSpec{
		Holder: v1alpha1.DomainHolder{Name: "Comune di Esempio"},
		Provider: v1alpha1.DomainProvider{Type: v1alpha1.ProviderHosted,
			Hosted: &v1alpha1.HostedProvider{Host: v1alpha1.DomainReference{Name: "pec.gestore.test", Namespace: "gestore"}}}}}
}

func makeMailbox(local string) *v1alpha1.Mailbox {
	return &v1alpha1.Mailbox{ObjectMeta: metav1.ObjectMeta{Name: local + ".at.pec.comune.test", Namespace: body}, Spec: v1alpha1.MailboxSpec{
		DomainRef: v1alpha1.LocalReference{Name: "pec.comune.test"}, LocalPart: local, Quota: ptr.To(resource.MustParse("1Gi")),
		Holder:      v1alpha1.MailboxHolder{Name: "Maria Bianchi"},
		Credentials: v1alpha1.MailboxCredentials{SecretRef: v1alpha1.SecretKeyReference{Name: "password"}},
		RequestedAt: metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}}
}

func newClient(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme} {
		must(t, add(scheme))
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	must(t, err)
	return c
}

// impersonate is an administrator's client that acts as a service account of the body's namespace.
func impersonate(t *testing.T, account string) client.Client {
	t.Helper()
	config := rest.CopyConfig(server.Config)
	config.Impersonate.UserName = "system:serviceaccount:" + body + ":" + account
	return newClient(t, config)
}

// give gives a service account of the body's namespace verbs on a resource of ours.
func give(t *testing.T, admin client.Client, account, resource string, verbs ...string) {
	t.Helper()
	name := metav1.ObjectMeta{Name: account + "-" + strings.ReplaceAll(resource, "/", "-"), Namespace: body}
	create(t, admin, &rbacv1.Role{ObjectMeta: name, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"pec-operator.dev"}, Resources: []string{resource}, Verbs: verbs}}},
		&rbacv1.RoleBinding{ObjectMeta: name, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name.Name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: body}}})
}

// allowed asks the API server whether a user may do something.
func allowed(t *testing.T, admin client.Client, user string, a attributes) bool {
	t.Helper()
	resource, group, _ := strings.Cut(a.resource, ".") // as kubectl takes them
	switch a.resource {
	case "mailboxes", "pecdomains", "mailboxmigrations", "retentionpolicies":
		group = "pec-operator.dev"
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: a.namespace, Verb: a.verb, Group: group, Resource: resource, Subresource: a.subresource}}}
	must(t, admin.Create(context.Background(), review))
	return review.Status.Allowed
}

func create(t *testing.T, c client.Client, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		must(t, client.IgnoreAlreadyExists(c.Create(context.Background(), o)))
	}
}

// update changes the object to what is given, whatever is there.
func update(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	must(t, c.Update(context.Background(), o))
}

func forbidden(t *testing.T, words string, err error) {
	t.Helper()
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), words) {
		t.Errorf("%v, want a refusal that says %q", err, words)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatal("30 seconds were not enough")
}
