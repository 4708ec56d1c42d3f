package v1alpha1_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/apitest"
)

var server *apitest.Server

func TestMain(m *testing.M) { apitest.Main(m, &server) }

const (
	domainName = "pec.esempio.test"
	namespace  = "validation"
)

func makeDomain(change func(*v1alpha1.PECDomain)) *v1alpha1.PECDomain {
	d := &v1alpha1.PECDomain{
		ObjectMeta: metav1.ObjectMeta{Name: domainName, Namespace: namespace},
		Spec: v1alpha1.PECDomainSpec{
			Holder:        v1alpha1.DomainHolder{Name: "Gestore Esempio"},
			PreferredSite: "a",
			Provider: v1alpha1.DomainProvider{Type: v1alpha1.ProviderManaged, Managed: &v1alpha1.ManagedProvider{
				Provider:       v1alpha1.ProviderIdentity{Name: "Gestore Esempio S.p.A.", MailDomain: domainName, MailReceipt: "ricevute@" + domainName},
				MailHosts:      []v1alpha1.MailHost{{Host: "mx-a.esempio.test", Site: "a", Preference: ptr.To(int32(10)), PeerLink: "link-a.esempio.test:9443"}},
				Endpoints:      v1alpha1.Endpoints{Submission: "smtps.esempio.test", IMAP: "imaps.esempio.test"},
				Storage:        v1alpha1.Storage{Size: resource.MustParse("1Gi"), StorageClassName: ptr.To("retain")},
				TLS:            v1alpha1.SecretReference{SecretName: "mail-tls"},
				Signing:        v1alpha1.SecretReference{SecretName: "signing"},
				Limits:         &v1alpha1.Limits{},
				ProvidersIndex: v1alpha1.ProvidersIndex{ConfigMapRef: v1alpha1.LocalReference{Name: "providers-index"}},
			}},
		},
	}
	change(d)
	return d
}

func makeHosted(change func(*v1alpha1.PECDomain)) *v1alpha1.PECDomain {
	return makeDomain(func(d *v1alpha1.PECDomain) {
		d.Name = "pec.comune-esempio.test"
		d.Spec.PreferredSite = ""
		d.Spec.Provider = v1alpha1.DomainProvider{Type: v1alpha1.ProviderHosted,
			Hosted: &v1alpha1.HostedProvider{Host: v1alpha1.DomainReference{Name: domainName, Namespace: "gestore"}}}
		change(d)
	})
}

func makeMailbox(localPart string, change func(*v1alpha1.Mailbox)) *v1alpha1.Mailbox {
	m := &v1alpha1.Mailbox{
		ObjectMeta: metav1.ObjectMeta{Name: strings.ReplaceAll(localPart, "_", "--") + ".at." + domainName, Namespace: namespace},
		Spec: v1alpha1.MailboxSpec{
			DomainRef: v1alpha1.LocalReference{Name: domainName}, LocalPart: localPart,
			Holder: v1alpha1.MailboxHolder{Name: "Maria Bianchi"}, Quota: resource.MustParse("1Gi"),
			Credentials: v1alpha1.MailboxCredentials{SecretRef: v1alpha1.SecretKeyReference{Name: "password"}},
			RequestedAt: metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
		},
	}
	change(m)
	return m
}

func domain(change func(*v1alpha1.PECDomain)) client.Object  { return makeDomain(change) }
func hosted(change func(*v1alpha1.PECDomain)) client.Object  { return makeHosted(change) }
func mailbox(local string) client.Object                     { return makeMailbox(local, func(*v1alpha1.Mailbox) {}) }
func changedMailbox(c func(*v1alpha1.Mailbox)) client.Object { return makeMailbox("protocollo", c) }
func limits(l v1alpha1.Limits) client.Object {
	return makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.Limits = &l })
}
func named(name string) client.Object {
	return makeDomain(func(d *v1alpha1.PECDomain) { d.Name = name })
}
func asIs(*v1alpha1.PECDomain) {}

// rules has, for each CEL rule by the beginning of its message, what it accepts and what it refuses. A pair in accept or
// refuse with an after is an update from the first to the second.
var rules = map[string]struct{ accept, refuse []change }{
	"metadata.name is the domain: give it at least two labels": {
		accept: []change{{named("legalmail.test"), nil}, {named("pec.a-b.c1.test"), nil}},
		refuse: []change{{named("esempio"), nil}, {named("pec.esempio.1test"), nil}},
	},
	"metadata.name is the domain: shorten the label": {
		accept: []change{{named(strings.Repeat("a", 63) + ".test"), nil}},
		refuse: []change{{named(strings.Repeat("a", 64) + ".test"), nil}},
	},
	"metadata.name is the domain: write an internationalised label": {
		accept: []change{{named("xn--citt-2na.test"), nil}},
		refuse: []change{{named("ab--cd.test"), nil}},
	},
	"preferredSite must be the site of one of": {
		accept: []change{{domain(asIs), nil}, {domain(func(d *v1alpha1.PECDomain) { d.Spec.PreferredSite = "" }), nil},
			{hosted(func(d *v1alpha1.PECDomain) { d.Spec.PreferredSite = "b" }), nil}},
		refuse: []change{{domain(func(d *v1alpha1.PECDomain) { d.Spec.PreferredSite = "c" }), nil}},
	},
	"provider.type cannot change": {
		accept: []change{{domain(asIs), domain(func(d *v1alpha1.PECDomain) { d.Spec.Holder.Name = "Altro nome" })}},
		refuse: []change{{domain(asIs), hosted(func(d *v1alpha1.PECDomain) { d.Name = domainName })}},
	},
	"give provider.managed exactly when": {
		accept: []change{{domain(asIs), nil}},
		refuse: []change{{domain(func(d *v1alpha1.PECDomain) { d.Spec.PreferredSite, d.Spec.Provider.Managed = "", nil }), nil}},
	},
	"give provider.hosted exactly when": {
		accept: []change{{hosted(asIs), nil}},
		refuse: []change{{domain(func(d *v1alpha1.PECDomain) { d.Spec.Provider.Hosted = makeHosted(asIs).Spec.Provider.Hosted }), nil},
			{hosted(func(d *v1alpha1.PECDomain) { d.Spec.Provider.Hosted = nil }), nil}},
	},
	"storage.size can only grow": {
		accept: []change{{domain(asIs), domain(size("2Gi"))}, {domain(asIs), domain(size("1024Mi"))}},
		refuse: []change{{domain(asIs), domain(size("1000Mi"))}},
	},
	"storage.storageClassName cannot change": {
		accept: []change{{domain(asIs), domain(asIs)}},
		refuse: []change{{domain(asIs), domain(class(ptr.To("other")))}, {domain(asIs), domain(class(nil))}, {domain(class(nil)), domain(asIs)}},
	},
	"storage.size must be more than zero": {
		accept: []change{{domain(size("1Mi")), nil}},
		refuse: []change{{domain(size("-1Gi")), nil}},
	},
	"limits.maxMessageSize is below": {
		accept: []change{{limits(v1alpha1.Limits{MaxMessageSize: ptr.To(resource.MustParse("30000000"))}), nil}, {limits(v1alpha1.Limits{}), nil}},
		refuse: []change{{limits(v1alpha1.Limits{MaxMessageSize: ptr.To(resource.MustParse("29999999"))}), nil}},
	},
	"limits.maxSizeTimesRecipients is below": {
		accept: []change{{limits(v1alpha1.Limits{MaxSizeTimesRecipients: ptr.To(resource.MustParse("30M"))}), nil}},
		refuse: []change{{limits(v1alpha1.Limits{MaxSizeTimesRecipients: ptr.To(resource.MustParse("28Mi"))}), nil}},
	},
	"limits.maxRecipients is below": {
		accept: []change{{limits(v1alpha1.Limits{MaxRecipients: ptr.To(int32(50))}), nil}},
		refuse: []change{{limits(v1alpha1.Limits{MaxRecipients: ptr.To(int32(49))}), nil}},
	},
	"provider.hosted.host cannot change": {
		accept: []change{{hosted(asIs), hosted(func(d *v1alpha1.PECDomain) { d.Spec.Holder.Name = "Altro nome" })}},
		refuse: []change{{hosted(asIs), hosted(func(d *v1alpha1.PECDomain) { d.Spec.Provider.Hosted.Host.Namespace = "altro" })}},
	},
	"metadata.name derives from the address": {
		accept: []change{{mailbox("ufficio.protocollo"), nil}, {mailbox("ufficio_protocollo"), nil}},
		refuse: []change{{changedMailbox(func(m *v1alpha1.Mailbox) { m.Name = "protocollo" }), nil}},
	},
	"domainRef cannot change": {
		accept: []change{{mailbox("protocollo"), changedMailbox(func(m *v1alpha1.Mailbox) { m.Spec.Quota = resource.MustParse("2Gi") })}},
		refuse: []change{{mailbox("protocollo"), changedMailbox(func(m *v1alpha1.Mailbox) { m.Spec.DomainRef.Name = "altro.test" })}},
	},
	"localPart must be lower-case": {
		accept: []change{{mailbox("a"), nil}, {mailbox("a-b.c_d1"), nil}},
		refuse: []change{{changedMailbox(func(m *v1alpha1.Mailbox) { m.Spec.LocalPart = "Protocollo" }), nil},
			{changedMailbox(func(m *v1alpha1.Mailbox) { m.Spec.LocalPart = "a..b" }), nil},
			{changedMailbox(func(m *v1alpha1.Mailbox) { m.Spec.LocalPart = "a--b" }), nil}},
	},
	"localPart must not have 'at'": {
		accept: []change{{mailbox("atti"), nil}, {mailbox("at-b"), nil}},
		refuse: []change{{mailbox("a.at.b"), nil}, {mailbox("at"), nil}},
	},
	"localPart posta-certificata and postmaster": {
		accept: []change{{mailbox("posta"), nil}},
		refuse: []change{{mailbox("posta-certificata"), nil}, {mailbox("postmaster"), nil}},
	},
	"localPart cannot change": {
		accept: []change{{mailbox("protocollo"), mailbox("protocollo")}},
		refuse: []change{{mailbox("protocollo"), changedMailbox(func(m *v1alpha1.Mailbox) { m.Spec.LocalPart = "altro" })}},
	},
	"quota must be 1M or more": {
		accept: []change{{changedMailbox(quota("1M")), nil}},
		refuse: []change{{changedMailbox(quota("999k")), nil}, {changedMailbox(quota("2")), nil}},
	},
	"requestedAt cannot change": {
		accept: []change{{mailbox("protocollo"), mailbox("protocollo")}},
		refuse: []change{{mailbox("protocollo"), changedMailbox(func(m *v1alpha1.Mailbox) { m.Spec.RequestedAt = metav1.NewTime(time.Unix(0, 0)) })}},
	},
}

// change is a create of before, or an update of it to after.
type change struct{ before, after client.Object }

func size(s string) func(*v1alpha1.PECDomain) {
	return func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.Storage.Size = resource.MustParse(s) }
}

func class(c *string) func(*v1alpha1.PECDomain) {
	return func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.Storage.StorageClassName = c }
}

func quota(q string) func(*v1alpha1.Mailbox) {
	return func(m *v1alpha1.Mailbox) { m.Spec.Quota = resource.MustParse(q) }
}

func newClient(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(apitest.Need(t, server).Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRules(t *testing.T) {
	c := newClient(t)
	ctx := context.Background()
	if err := c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	try := func(ch change) error {
		before := ch.before.DeepCopyObject().(client.Object)
		err := c.Create(ctx, before)
		if err != nil || ch.after == nil {
			_ = client.IgnoreNotFound(c.Delete(ctx, before)) // not there when it was refused
			return err
		}
		defer func() { _ = c.Delete(ctx, before) }()
		after := ch.after.DeepCopyObject().(client.Object)
		after.SetResourceVersion(before.GetResourceVersion())
		return c.Update(ctx, after)
	}
	for message, rule := range rules {
		t.Run(message, func(t *testing.T) {
			for i, ch := range rule.accept {
				if err := try(ch); err != nil {
					t.Errorf("accept %d: refused: %v", i, err)
				}
			}
			for i, ch := range rule.refuse {
				err := try(ch)
				if err == nil || !strings.Contains(err.Error(), message) {
					t.Errorf("refuse %d: %v, want a refusal that says %q", i, err, message)
				}
			}
		})
	}
}

// A rule without its pair of cases is a rule that nobody has seen work.
func TestEveryRuleHasItsCases(t *testing.T) {
	found := 0
	for _, message := range ruleMessages(t) {
		found++
		matches := 0
		for prefix, rule := range rules {
			if strings.HasPrefix(message, prefix) && len(rule.accept) > 0 && len(rule.refuse) > 0 {
				matches++
			}
		}
		if matches != 1 {
			t.Errorf("%d pairs of cases for the rule %q, want one", matches, message)
		}
	}
	if found != len(rules) {
		t.Errorf("the generated CRDs have %d rules, the table has %d", found, len(rules))
	}
}

// ruleMessages are the messages of every CEL rule in the generated CRDs.
func ruleMessages(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../config/crd/bases/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	var messages []string
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd any
		if err := yaml.Unmarshal(raw, &crd); err != nil {
			t.Fatal(err)
		}
		messages = collect(crd, messages)
	}
	return messages
}

func collect(node any, messages []string) []string {
	switch node := node.(type) {
	case map[string]any:
		for key, child := range node {
			if rules, ok := child.([]any); ok && key == "x-kubernetes-validations" {
				for _, rule := range rules {
					messages = append(messages, rule.(map[string]any)["message"].(string))
				}
				continue
			}
			messages = collect(child, messages)
		}
	case []any:
		for _, child := range node {
			messages = collect(child, messages)
		}
	}
	return messages
}

// A fresh object must not look as if it had been seen: kstatus would call it Current at once.
func TestFreshObjectsAreNotObserved(t *testing.T) {
	c := newClient(t)
	ctx := context.Background()
	fresh := makeMailbox("fresco", func(m *v1alpha1.Mailbox) { m.Namespace = "default" })
	if err := c.Create(ctx, fresh); err != nil {
		t.Fatal(err)
	}
	if fresh.Status.ObservedGeneration != -1 {
		t.Errorf("observedGeneration of a fresh object is %d, want -1", fresh.Status.ObservedGeneration)
	}
	if fresh.Spec.Access != v1alpha1.AccessFull || fresh.Spec.Type != v1alpha1.MailboxStandard {
		t.Errorf("defaults are %s and %s", fresh.Spec.Access, fresh.Spec.Type)
	}
}
