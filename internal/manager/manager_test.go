package manager_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/pecdomain"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/apitest"
	"github.com/pec-operator/pec-operator/internal/manager"
	pecpassword "github.com/pec-operator/pec-operator/internal/password"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/reconcile/check"
	"github.com/pec-operator/pec-operator/internal/stack"
)

var server *apitest.Server

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.FromSlogHandler(passLog{Handler: slog.NewTextHandler(&logs, nil), ended: passesEnded}))
	_ = flag.Set("test.parallel", "8") // what runs beside others here waits; unless the command line says otherwise
	apitest.Main(m, &server)
}

// logs is everything that the operators of this package logged.
var logs logBuffer

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// canary is a password; see noSecrets.
const canary = "canary-9f3c-password"

// site is an operator at work on an API server, with namespaces of its own.
type site struct {
	client.Client
	on     *apitest.Server
	pods   *apitest.Pods
	writes *apitest.Writes
	ns     string // of the Managed domain
	domain string
	// options and operator are what the operator was started with, and its account.
	options  manager.Options
	operator *rest.Config
	// restart ends the operator and starts another one.
	restart func()
}

type siteOptions struct {
	name        string // "a" when empty
	server      *apitest.Server
	namespaces  []string               // beside its own, with a Role
	withoutRole string                 // a namespace that is listed and has no Role
	peer        []byte                 // kubeconfig
	change      func(*manager.Options) // of any other option
}

// noDNS is the network of a test that is not about DNS, nor about another provider.
func noDNS(_ context.Context, network, _ string) (net.Conn, error) {
	return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
}

// newSite starts an operator, with the rights that the chart gives, that lives until the test ends. ns must be unique within a
// server.
func newSite(t *testing.T, ns string, o siteOptions) *site {
	t.Helper()
	if o.server == nil {
		o.server = apitest.Need(t, server)
	}
	if o.name == "" {
		o.name = "a"
	}
	c, err := client.New(o.server.Config, client.Options{Scheme: manager.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Client: c, on: o.server, ns: ns, domain: "pec." + ns + ".test", writes: &apitest.Writes{}}
	granted := append([]string{ns}, o.namespaces...)
	listed := slices.Clone(granted)
	if o.withoutRole != "" {
		listed = append(listed, o.withoutRole)
	}
	for _, name := range listed {
		s.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	own := ns + "-operatore"
	s.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: own}})
	operator := o.server.AddOperator(t, own, granted...)
	s.pods = apitest.RunPods(t, o.name, c)
	options := manager.Options{
		Flags: manager.Flags{
			Site: o.name, Namespace: own, Namespaces: listed, MailImage: "mail:test",
			LeaderElect: true, MetricsAddress: "0", HealthAddress: "0", DNSInterval: 24 * time.Hour, ExternalInterval: time.Hour,
			DNSRoots: []netip.Addr{apitest.Root},
		},
		Hooks: manager.Hooks{EngineAddress: s.pods.Address, DNSDial: noDNS, ExternalConnect: noDNS},
	}
	if o.change != nil {
		o.change(&options)
	}
	if o.peer != nil {
		options.PeerKubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
		if err := os.WriteFile(options.PeerKubeconfig, o.peer, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.options, s.operator = options, operator
	stop := s.start(t)
	s.restart = func() {
		stop()
		stop = s.start(t)
	}
	t.Cleanup(func() {
		s.noSecrets(t)
		s.deleteAll(t)
		stop()
	})
	return s
}

// start starts the operator, and answers what ends it.
func (s *site) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	mgr, err := manager.New(ctx, s.writes.Watch(s.operator), s.options)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the operator ended: %v", err)
		}
	}
}

// deleteAll keeps one test's objects from another test's operator: our kinds are watched cluster-wide.
func (s *site) deleteAll(t *testing.T) {
	for _, kind := range []struct {
		of  client.Object
		all client.ObjectList
	}{
		{&v1alpha1.MailboxMigration{}, &v1alpha1.MailboxMigrationList{}}, {&v1alpha1.RetentionPolicy{}, &v1alpha1.RetentionPolicyList{}},
		{&v1alpha1.Mailbox{}, &v1alpha1.MailboxList{}}, {&v1alpha1.PECDomain{}, &v1alpha1.PECDomainList{}}, {&appsv1.StatefulSet{}, &appsv1.StatefulSetList{}},
	} {
		if err := s.List(context.Background(), kind.all); err != nil {
			t.Error(err)
		}
		namespaces := map[string]bool{}
		_ = meta.EachListItem(kind.all, func(o runtime.Object) error {
			namespaces[o.(client.Object).GetNamespace()] = true
			return nil
		})
		for namespace := range namespaces {
			in := client.InNamespace(namespace)
			err := s.DeleteAllOf(context.Background(), kind.of, in)
			for again := 0; apierrors.IsTimeout(err) && again < 5; again++ { // a thousand mailboxes take longer than one call may
				err = s.DeleteAllOf(context.Background(), kind.of, in)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
}

func (s *site) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := s.Create(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *site) get(t *testing.T, ns, name string, o client.Object) {
	t.Helper()
	if err := s.Get(context.Background(), client.ObjectKey{Namespace: ns, Name: name}, o); err != nil {
		t.Fatal(err)
	}
}

// update reads an object, changes it and writes it.
func update[T client.Object](t *testing.T, s *site, o T, change func(T)) {
	t.Helper()
	eventually(t, func() error {
		if err := s.Get(context.Background(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		change(o)
		return s.Update(context.Background(), o)
	})
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	eventuallyWithin(t, 30*time.Second, f)
}

func eventuallyWithin(t *testing.T, limit time.Duration, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// waitFor waits until a condition of an object has a status and a reason, and lets the oracle judge the whole status.
func (s *site) waitFor(t *testing.T, o reconcile.Object, conditionType string, status metav1.ConditionStatus, reason string) *metav1.Condition {
	t.Helper()
	var c *metav1.Condition
	eventually(t, func() error {
		if err := s.Get(context.Background(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		c = meta.FindStatusCondition(o.GetConditions(), conditionType)
		if c == nil || c.Status != status || c.Reason != reason || o.GetObservedGeneration() != o.GetGeneration() {
			raw, _ := json.MarshalIndent(o.GetConditions(), "", " ")
			return errors.New(o.GetName() + " is not " + conditionType + "=" + string(status) + " " + reason + ": " + string(raw))
		}
		return nil
	})
	check.Status(t, o)
	return c
}

func (s *site) ready(t *testing.T, objects ...reconcile.Object) {
	t.Helper()
	for _, o := range objects {
		s.waitFor(t, o, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonServed)
	}
}

// makeDomain is a Managed domain of a namespace, with everything that it names.
func (s *site) makeDomain(change ...func(*v1alpha1.PECDomain)) *v1alpha1.PECDomain {
	d := &v1alpha1.PECDomain{
		ObjectMeta: metav1.ObjectMeta{Name: s.domain, Namespace: s.ns},
		Spec: v1alpha1.PECDomainSpec{
			Holder: v1alpha1.DomainHolder{Name: "Gestore Esempio"},
			DNS:    &v1alpha1.DomainDNS{Mode: v1alpha1.DNSIgnore}, // but where a test is about DNS
			Provider: v1alpha1.DomainProvider{Type: v1alpha1.ProviderManaged, Managed: &v1alpha1.ManagedProvider{
				Provider: v1alpha1.ProviderIdentity{Name: "Gestore Esempio S.p.A.", MailDomain: s.domain, MailReceipt: "ricevute@" + s.domain},
				MailHosts: []v1alpha1.MailHost{
					{Host: "mx-a." + s.ns + ".test", Site: "a", Preference: ptr.To(int32(10)), PeerLink: "link-a." + s.ns + ".test:9443"},
					{Host: "mx-b." + s.ns + ".test", Site: "b", Preference: ptr.To(int32(20)), PeerLink: "link-b." + s.ns + ".test:9443"},
				},
				Endpoints:      v1alpha1.Endpoints{Submission: "smtps." + s.ns + ".test", IMAP: "imaps." + s.ns + ".test"},
				Storage:        v1alpha1.Storage{Size: resource.MustParse("1Gi")},
				TLS:            v1alpha1.ServerCertificate{SecretName: "mail-tls"},
				Signing:        v1alpha1.Signing{SecretName: "signing"},
				ProvidersIndex: v1alpha1.ProvidersIndex{ConfigMapRef: v1alpha1.LocalReference{Name: "providers-index"}},
			}},
		},
	}
	for _, c := range change {
		c(d)
	}
	return d
}

func (s *site) hostedDomain(ns, name string) *v1alpha1.PECDomain {
	return &v1alpha1.PECDomain{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns},
		Spec: v1alpha1.PECDomainSpec{
			Holder: v1alpha1.DomainHolder{Name: "Comune di Esempio"},
			DNS:    &v1alpha1.DomainDNS{Mode: v1alpha1.DNSIgnore},
			Provider: v1alpha1.DomainProvider{Type: v1alpha1.ProviderHosted,
				Hosted: &v1alpha1.HostedProvider{Host: v1alpha1.DomainReference{Name: s.domain, Namespace: s.ns}}},
		},
	}
}

// provide makes what a person provides for a Managed domain.
func (s *site) provide(t *testing.T) {
	t.Helper()
	s.create(t, certificateSecret(t, s.ns, "mail-tls", time.Now().Add(time.Hour)), certificateSecret(t, s.ns, "signing", time.Now().Add(time.Hour)),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "providers-index"}, Data: map[string]string{"index.ldif": "x", "roots.pem": "x"}})
}

func makeMailbox(ns, localPart, domain string, change ...func(*v1alpha1.Mailbox)) *v1alpha1.Mailbox {
	m := &v1alpha1.Mailbox{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: strings.ReplaceAll(localPart, "_", "--") + ".at." + domain},
		Spec: v1alpha1.MailboxSpec{
			DomainRef: v1alpha1.LocalReference{Name: domain}, LocalPart: localPart,
			Holder: v1alpha1.MailboxHolder{Name: "Maria Bianchi"}, Quota: ptr.To(resource.MustParse("1Gi")),
			Credentials: v1alpha1.MailboxCredentials{SecretRef: v1alpha1.SecretKeyReference{Name: "password"}},
			RequestedAt: metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
		},
	}
	for _, c := range change {
		c(m)
	}
	return m
}

func password(ns, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "password"}, Data: map[string][]byte{"password": []byte(value)}}
}

func certificateSecret(t *testing.T, ns, name string, notAfter time.Time) *corev1.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: notAfter.Add(-24 * time.Hour), NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}}
}

func TestFromYAMLToAReadyMailbox(t *testing.T) {
	s := newSite(t, "strada", siteOptions{namespaces: []string{"comune"}})
	domain := s.makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.AllowedNamespaces = []string{"comune"} })
	own, other := makeMailbox(s.ns, "protocollo", s.domain), makeMailbox("comune", "ufficio_tributi", "pec.comune.test")
	hosted := s.hostedDomain("comune", "pec.comune.test")
	hosted.Spec.Contract = &v1alpha1.Contract{Reference: "C-1", Standard: ptr.To(int32(1))}
	waiting := makeMailbox("comune", "zelante", "pec.comune.test")
	// In the order that a GitOps tool might choose: everything waits for what it needs.
	s.create(t, own, waiting, other, password(s.ns, canary), password("comune", canary), hosted, domain)
	s.provide(t)
	s.ready(t, domain, hosted, own, other)
	s.held(t, waiting, v1alpha1.ReasonHeldByContract, "contract C-1")

	s.pods.With(t, s.domain, func(e *apitest.Engine) {
		for _, address := range []string{"protocollo@" + s.domain, "ufficio_tributi@pec.comune.test"} {
			row := e.Rows[address]
			if row.QuotaBytes != 1<<30 || row.Access != admin.AccessFull || !strings.HasPrefix(row.Password, "{BLF-CRYPT}$2y$12$") {
				t.Errorf("row of %s: quota %d, access %s, hash %.16s...", address, row.QuotaBytes, row.Access, row.Password)
			}
		}
	})
	eventually(t, func() error {
		s.get(t, s.ns, s.domain, domain)
		if c := domain.Status.Mailboxes; c == nil || *c.Total != 1 || *c.Ready != 1 {
			return errors.New("the domain counts its mailboxes wrongly")
		}
		return nil
	})
	if domain.Status.PeerLink == nil || !strings.Contains(domain.Status.PeerLink.CABundle, "BEGIN CERTIFICATE") {
		t.Error("the site's authority is not in the status, where the other site reads it")
	}

	t.Run("a mailbox is Ready at once, in one write", func(t *testing.T) {
		s.settle(t)
		quick := makeMailbox(s.ns, "veloce", s.domain)
		began := time.Now()
		s.create(t, quick)
		s.ready(t, quick)
		if took := time.Since(began); took > promptly {
			t.Errorf("it took %s", took)
		}
		n := 0
		for _, call := range s.writes.Take() {
			if strings.Contains(call, "/mailboxes/") {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d writes for one mailbox, want one", n)
		}
	})

	t.Run("what becomes of ordinary mail is its mailbox's word, else its domain's", func(t *testing.T) {
		row := func(policy admin.OrdinaryMail, to string) {
			t.Helper()
			eventually(t, func() (err error) {
				s.pods.With(t, s.domain, func(e *apitest.Engine) {
					if r := e.Rows[own.Address()]; r.OrdinaryMail != policy || r.ForwardTo != to {
						err = fmt.Errorf("the row says %q %q, want %q %q", r.OrdinaryMail, r.ForwardTo, policy, to)
					}
				})
				return err
			})
		}
		row(admin.OrdinaryDiscard, "")
		update(t, s, domain, func(d *v1alpha1.PECDomain) {
			d.Spec.MailboxDefaults = &v1alpha1.MailboxDefaults{OrdinaryMail: &v1alpha1.OrdinaryMail{Policy: v1alpha1.OrdinaryMailDeliver}}
		})
		row(admin.OrdinaryDeliver, "")
		update(t, s, own, func(m *v1alpha1.Mailbox) {
			m.Spec.OrdinaryMail = &v1alpha1.OrdinaryMail{Policy: v1alpha1.OrdinaryMailForward, ForwardTo: "casa@ordinaria.test"}
		})
		row(admin.OrdinaryForward, "casa@ordinaria.test")
	})

	t.Run("an access that is withdrawn is withdrawn though the Secret is gone", func(t *testing.T) {
		if err := s.Delete(context.Background(), password(s.ns, "")); err != nil {
			t.Fatal(err)
		}
		update(t, s, own, func(m *v1alpha1.Mailbox) { m.Spec.Access = v1alpha1.AccessSuspended })
		s.waitFor(t, own, v1alpha1.ConditionCredentialsValid, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing)
		s.pods.With(t, s.domain, func(e *apitest.Engine) {
			if row := e.Rows[own.Address()]; row.Access != admin.AccessSuspended || row.Password == "" {
				t.Errorf("the row is %s", row.Access)
			}
		})
	})

	t.Run("a deleted mailbox is closed, keeps its row, and opens again", func(t *testing.T) {
		if err := s.Delete(context.Background(), other); err != nil {
			t.Fatal(err)
		}
		access := func() (a admin.Access) {
			s.pods.With(t, s.domain, func(e *apitest.Engine) { a = e.Rows["ufficio_tributi@pec.comune.test"].Access })
			return a
		}
		eventually(t, func() error {
			if a := access(); a != admin.AccessClosed {
				return errors.New("the row is " + string(a))
			}
			return nil
		})
		again := makeMailbox("comune", "ufficio_tributi", "pec.comune.test")
		s.create(t, again)
		s.ready(t, again)
		if a := access(); a != admin.AccessFull {
			t.Errorf("after the mailbox came back its row is %s", a)
		}
	})

	t.Run("what the engine complains of is said", func(t *testing.T) {
		s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Problems = []string{"the disk is full"} })
		c := s.waitFor(t, domain, v1alpha1.ConditionStackReady, metav1.ConditionFalse, v1alpha1.ReasonEngineProblem)
		if !strings.Contains(c.Message, "the disk is full") {
			t.Errorf("message is %q", c.Message)
		}
		s.waitFor(t, hosted, v1alpha1.ConditionHostReady, metav1.ConditionFalse, v1alpha1.ReasonHostNotReady)
		s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Problems = nil })
		s.ready(t, domain, hosted)
	})

	t.Run("how the virus scanner stands is said", func(t *testing.T) {
		for _, c := range []struct {
			says   admin.Antivirus
			status metav1.ConditionStatus
			reason string
		}{
			{admin.Antivirus{}, metav1.ConditionFalse, v1alpha1.ReasonAntivirusAbsent},
			{admin.Antivirus{Configured: true, Problem: "the definitions are old"}, metav1.ConditionFalse, v1alpha1.ReasonAntivirusWaits},
			{admin.Antivirus{Configured: true}, metav1.ConditionTrue, v1alpha1.ReasonDefinitionsFresh},
		} {
			s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Antivirus = c.says })
			s.request(t, domain, c.reason) // now, not at the next look
			s.waitFor(t, domain, v1alpha1.ConditionAntivirusFresh, c.status, c.reason)
		}
		s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Antivirus = admin.Antivirus{} })
	})

	t.Run("claims have no owner, and deleting every resource leaves them", func(t *testing.T) {
		for _, o := range []client.Object{hosted, domain} {
			if err := s.Delete(context.Background(), o); err != nil {
				t.Fatal(err)
			}
		}
		n := stack.NamesFor(s.domain)
		for _, name := range []string{n.MailClaim, n.QueueClaim, n.EngineClaim} {
			claim := &corev1.PersistentVolumeClaim{}
			s.get(t, s.ns, name, claim)
			if len(claim.OwnerReferences) != 0 || claim.DeletionTimestamp != nil {
				t.Errorf("claim %s: owners %v, deleted %v", name, claim.OwnerReferences, claim.DeletionTimestamp)
			}
		}
		set := &appsv1.StatefulSet{}
		s.get(t, s.ns, n.StatefulSet, set)
		if len(set.OwnerReferences) != 1 {
			t.Error("the StatefulSet would outlive its domain: the operator may not delete it")
		}
	})
}

func TestWhatAPersonMustDoIsSaid(t *testing.T) {
	s := newSite(t, "mancante", siteOptions{})
	domain := s.makeDomain()
	box := makeMailbox(s.ns, "protocollo", s.domain)
	s.create(t, domain, box)
	for _, condition := range []string{v1alpha1.ConditionCertificateValid, v1alpha1.ConditionSigningReady} {
		c := s.waitFor(t, domain, condition, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing)
		if !strings.Contains(c.Message, "tls.crt") {
			t.Errorf("%s does not say which key is missing: %q", condition, c.Message)
		}
	}
	s.waitFor(t, domain, v1alpha1.ConditionIndexFresh, metav1.ConditionFalse, v1alpha1.ReasonIndexMissing)
	s.waitFor(t, box, v1alpha1.ConditionCredentialsValid, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing)

	expired, tls := certificateSecret(t, s.ns, "signing", time.Now().Add(-time.Hour)), certificateSecret(t, s.ns, "mail-tls", time.Now().Add(time.Hour))
	tls.Data["tls.key"] = expired.Data["tls.key"]
	s.create(t, expired, tls)
	poke(t, s, domain)
	s.waitFor(t, domain, v1alpha1.ConditionSigningReady, metav1.ConditionFalse, v1alpha1.ReasonCertificateExpired)
	s.waitFor(t, domain, v1alpha1.ConditionCertificateValid, metav1.ConditionFalse, v1alpha1.ReasonKeyMismatch)

	reserved := makeMailbox(s.ns, "ricevute", s.domain)
	s.create(t, reserved)
	s.waitFor(t, reserved, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonAddressReserved)
	lonely := makeMailbox(s.ns, "protocollo", "pec.nessuno.test")
	s.create(t, lonely)
	s.waitFor(t, lonely, v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonDomainNotFound)
}

func TestWhatIsOnlyStoredIsSaid(t *testing.T) {
	s := newSite(t, "riposto", siteOptions{})
	domain := s.makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.DNS.Extra = &v1alpha1.DNSExtra{DKIM: v1alpha1.RecordVerify} })
	box := makeMailbox(s.ns, "protocollo", s.domain, func(m *v1alpha1.Mailbox) {
		m.Spec.Antispam = v1alpha1.AntispamEnabled
		m.Spec.LegalHolds = []v1alpha1.LegalHold{{Reference: "RG 123/2026", Since: "2026-03-01"}}
	})
	s.provide(t)
	s.create(t, domain, box, password(s.ns, canary))

	s.ready(t, domain, box)
	if c := s.waitFor(t, domain, v1alpha1.ConditionNotInForce, metav1.ConditionTrue, v1alpha1.ReasonFieldsStored); !strings.HasSuffix(c.Message, ": dns.extra.dkim") {
		t.Errorf("%s: %q does not name the field", domain.Name, c.Message)
	}
	if c := s.waitFor(t, box, v1alpha1.ConditionSpamFilterMissing, metav1.ConditionTrue, v1alpha1.ReasonStackWithoutFilter); !strings.Contains(c.Message, s.domain) {
		t.Errorf("the stack without a filter is not named: %q", c.Message)
	}
	if c := s.waitFor(t, box, v1alpha1.ConditionUnderLegalHold, metav1.ConditionTrue, v1alpha1.ReasonHoldListed); !strings.Contains(c.Message, "RG 123/2026") {
		t.Errorf("the hold is not named: %q", c.Message)
	}
	update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.Antispam = v1alpha1.AntispamEnabled })
	update(t, s, box, func(m *v1alpha1.Mailbox) { m.Spec.LegalHolds = nil })
	eventually(t, func() error {
		s.get(t, s.ns, box.Name, box)
		for _, name := range []string{v1alpha1.ConditionSpamFilterMissing, v1alpha1.ConditionUnderLegalHold} {
			if meta.FindStatusCondition(box.Status.Conditions, name) != nil {
				return errors.New(name + " stays after its cause is gone")
			}
		}
		return nil
	})
}

// poke changes the spec without meaning, so that the next pass comes now and not at the next poll.
func poke(t *testing.T, s *site, d *v1alpha1.PECDomain) {
	t.Helper()
	update(t, s, d, func(d *v1alpha1.PECDomain) { d.Spec.Holder.Name += "." })
}

// loseClaim takes the claim of the mail of the site's domain away.
func (s *site) loseClaim(t *testing.T) *corev1.PersistentVolumeClaim {
	t.Helper()
	claim := &corev1.PersistentVolumeClaim{}
	s.get(t, s.ns, stack.NamesFor(s.domain).MailClaim, claim)
	claim.Finalizers = nil // no controller here releases pvc-protection
	if err := errors.Join(s.Update(context.Background(), claim), s.Delete(context.Background(), claim)); err != nil {
		t.Fatal(err)
	}
	return claim
}

func TestALostClaimIsNotMadeAgain(t *testing.T) {
	ctx := context.Background()
	s := newSite(t, "perduto", siteOptions{})
	domain := s.makeDomain()
	s.provide(t)
	s.create(t, domain)
	s.ready(t, domain)
	stays, goes := makeMailbox(s.ns, "resta", s.domain), makeMailbox(s.ns, "va", s.domain)
	s.create(t, password(s.ns, hashed), stays, goes)
	s.ready(t, stays, goes)
	lost := s.loseClaim(t)
	poke(t, s, domain)
	s.waitFor(t, domain, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonClaimMissing)
	if err := s.Get(ctx, client.ObjectKeyFromObject(lost), &corev1.PersistentVolumeClaim{}); err == nil {
		t.Fatal("the claim was made again: an empty volume passes for the mail")
	}

	// What is the matter with the domain keeps nobody in who is to be out.
	if err := s.Delete(ctx, goes); err != nil {
		t.Fatal(err)
	}
	update(t, s, stays, func(m *v1alpha1.Mailbox) { m.Spec.Access = v1alpha1.AccessSuspended })
	eventually(t, func() error {
		if is, was := s.row(t, stays.Address()).Access, s.row(t, goes.Address()).Access; is != admin.AccessSuspended || was != admin.AccessClosed {
			return fmt.Errorf("the suspended mailbox is %s, the deleted one %s", is, was)
		}
		return nil
	})

	replaced := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: lost.Namespace, Name: lost.Name}, Spec: lost.Spec}
	s.create(t, replaced)
	poke(t, s, domain)
	s.waitFor(t, domain, v1alpha1.ConditionClaimLost, metav1.ConditionTrue, v1alpha1.ReasonClaimReplaced)

	update(t, s, replaced, func(c *corev1.PersistentVolumeClaim) {
		c.Annotations = map[string]string{pecdomain.RestoredAnnotation: "true"}
	})
	poke(t, s, domain)
	s.ready(t, domain)
}

func TestClaimsGrow(t *testing.T) {
	ctx := context.Background()
	s := newSite(t, "cresce", siteOptions{})
	s.create(t, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "expands"}, Provisioner: "test", AllowVolumeExpansion: ptr.To(true)})
	domain := s.makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.Storage.StorageClassName = ptr.To("expands") })
	s.provide(t)
	s.create(t, domain)
	s.ready(t, domain)
	var claims corev1.PersistentVolumeClaimList
	if err := s.List(ctx, &claims, client.InNamespace(s.ns)); err != nil {
		t.Fatal(err)
	}
	for i := range claims.Items {
		claim := &claims.Items[i]
		claim.Status.Phase, claim.Status.Capacity = corev1.ClaimBound, claim.Spec.Resources.Requests
		if err := s.Status().Update(ctx, claim); err != nil {
			t.Fatal(err)
		}
	}
	update(t, s, domain, func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.Storage.Size = resource.MustParse("2Gi") })
	s.ready(t, domain)
	for i := range claims.Items {
		claim := &claims.Items[i]
		s.get(t, s.ns, claim.Name, claim)
		if asked := claim.Spec.Resources.Requests[corev1.ResourceStorage]; asked.String() != "2Gi" {
			t.Errorf("claim %s asks for %s", claim.Name, asked.String())
		}
	}
}

func TestTheOlderClaimOfADomainWins(t *testing.T) {
	s := newSite(t, "conteso", siteOptions{namespaces: []string{"conteso-altro"}})
	first := s.makeDomain()
	s.provide(t)
	s.create(t, first)
	s.ready(t, first)
	time.Sleep(1100 * time.Millisecond) // creation times have whole seconds
	second := s.makeDomain(func(d *v1alpha1.PECDomain) { d.Namespace = "conteso-altro" })
	s.create(t, second)
	s.waitFor(t, second, v1alpha1.ConditionDomainConflict, metav1.ConditionTrue, v1alpha1.ReasonDomainClaimed)
	var claims corev1.PersistentVolumeClaimList
	if err := s.List(context.Background(), &claims, client.InNamespace("conteso-altro")); err != nil || len(claims.Items) > 0 {
		t.Errorf("the loser made %d claims (%v)", len(claims.Items), err)
	}
	if err := s.Delete(context.Background(), first); err != nil {
		t.Fatal(err)
	}
	s.waitFor(t, second, v1alpha1.ConditionSigningReady, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing)
}

func TestAHostServesWhomItLists(t *testing.T) {
	s := newSite(t, "ospite", siteOptions{namespaces: []string{"ospite-comune"}})
	host, guest := s.makeDomain(), s.hostedDomain("ospite-comune", "pec.ospite-comune.test")
	s.create(t, guest)
	s.waitFor(t, guest, v1alpha1.ConditionHostReady, metav1.ConditionFalse, v1alpha1.ReasonHostNotFound)
	s.provide(t)
	s.create(t, host)
	s.ready(t, host)
	c := s.waitFor(t, guest, v1alpha1.ConditionHostReady, metav1.ConditionFalse, v1alpha1.ReasonHostRefused)
	if !strings.Contains(c.Message, "allowedNamespaces") {
		t.Errorf("the refusal does not say what to add: %q", c.Message)
	}
	s.pods.With(t, s.domain, func(e *apitest.Engine) {
		if len(e.Domains) != 1 {
			t.Errorf("the stack holds %v", e.Domains)
		}
	})
	update(t, s, host, func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.AllowedNamespaces = []string{"ospite-comune"} })
	s.ready(t, guest)

	box := makeMailbox("ospite-comune", "protocollo", guest.Name, func(m *v1alpha1.Mailbox) { m.Spec.Antispam = v1alpha1.AntispamEnabled })
	s.create(t, password("ospite-comune", hashed), box)
	s.ready(t, box)
	s.waitFor(t, box, v1alpha1.ConditionSpamFilterMissing, metav1.ConditionTrue, v1alpha1.ReasonStackWithoutFilter)
	update(t, s, host, func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.Antispam = v1alpha1.AntispamEnabled })
	eventuallyWithin(t, promptly, func() error {
		s.read(t, box)
		if c := meta.FindStatusCondition(box.Status.Conditions, v1alpha1.ConditionSpamFilterMissing); c != nil {
			return errors.New(c.Message)
		}
		return nil
	})

	// The stack serves on what it holds of a namespace that its owner does not list any more.
	lists := func(namespaces ...string) {
		update(t, s, host, func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.AllowedNamespaces = namespaces })
	}
	holds := func(access admin.Access, version func(string) bool) {
		t.Helper()
		eventually(t, func() error {
			row := s.row(t, box.Address())
			if row.Access != access || !version(row.CredentialsVersion) {
				return fmt.Errorf("the row is %s, of Secret %s", row.Access, row.CredentialsVersion)
			}
			return nil
		})
	}
	first := s.row(t, box.Address()).CredentialsVersion
	as, other := func(version string) bool { return version == first }, func(version string) bool { return version != first }
	lists()
	s.waitFor(t, guest, v1alpha1.ConditionHostReady, metav1.ConditionFalse, v1alpha1.ReasonHostRefused)
	s.waitFor(t, box, v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonDomainNotReady)
	update(t, s, box, func(m *v1alpha1.Mailbox) { m.Spec.Access = v1alpha1.AccessSuspended })
	holds(admin.AccessSuspended, as)
	secret := password("ospite-comune", hashed)
	update(t, s, secret, func(o *corev1.Secret) { o.Data["password"] = []byte("la-parola-del-successore") })
	holds(admin.AccessSuspended, other)
	update(t, s, box, func(m *v1alpha1.Mailbox) { m.Spec.Access = v1alpha1.AccessFull })
	s.waitFor(t, box, v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonDomainNotReady)
	holds(admin.AccessSuspended, other)
	lists("ospite-comune")
	s.ready(t, guest, box)
	holds(admin.AccessFull, other)

	update(t, s, host, func(d *v1alpha1.PECDomain) {
		d.Spec.Provider.Managed.Provider.MailReceipt = box.Address()
	})
	s.waitFor(t, box, v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonAddressReserved)
}

func TestANamespaceWithoutARoleHoldsUpNobody(t *testing.T) {
	s := newSite(t, "assegnato", siteOptions{withoutRole: "senza-ruolo", peer: []byte("of a site that was never introduced")})
	s.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "non-elencato"}})
	granted := s.makeDomain()
	s.provide(t)
	for _, ns := range []string{"senza-ruolo", "non-elencato"} {
		d := s.makeDomain(func(d *v1alpha1.PECDomain) { d.Namespace, d.Name = ns, "pec."+ns+".test" })
		s.create(t, d)
		c := s.waitFor(t, d, v1alpha1.ConditionStackReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotGranted)
		if !strings.Contains(c.Message, "--namespace assegnato-operatore ") || !strings.Contains(c.Message, ns) {
			t.Errorf("the message has no command: %q", c.Message)
		}
	}
	s.create(t, granted)
	s.ready(t, granted)

	// One that had a Role, and a mailbox whose Secret is compared with the other site's.
	update(t, s, granted, func(d *v1alpha1.PECDomain) {
		d.Spec.Provider.Managed.AllowedNamespaces = []string{"senza-ruolo"}
	})
	guest := s.hostedDomain("senza-ruolo", "pec.tolta.test")
	s.create(t, guest)
	s.ready(t, guest)
	box := makeMailbox("senza-ruolo", "protocollo", guest.Name)
	s.behind(t, func(e *apitest.Engine) {
		e.Rows[box.Address()] = admin.Mailbox{Address: box.Address(), Domain: guest.Name, QuotaBytes: 1, Access: admin.AccessFull, Owner: admin.Owner{Namespace: "senza-ruolo"}}
		e.Secrets[box.Address()] = admin.Secrets{Pair: "1", Theirs: hashed}
		e.Usage[box.Address()] = admin.Usage{Bytes: 1024, Messages: 3}
	})
	s.create(t, box)
	s.waitFor(t, box, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotGranted)
	s.waitFor(t, box, v1alpha1.ConditionProvisioned, metav1.ConditionTrue, v1alpha1.ReasonRowPlaced)
	retrying := meta.FindStatusCondition(box.Status.Conditions, v1alpha1.ConditionReconciling)
	if box.Status.Usage == nil || retrying != nil && retrying.Reason == v1alpha1.ReasonRetrying {
		t.Errorf("its usage is %+v, its conditions %+v", box.Status.Usage, box.Status.Conditions)
	}
}

// checkInForce has site a hold a mailbox of site b's with the same spec, which it cannot provision yet, and then can.
func checkInForce(t *testing.T, a, b *site, domainA, domainB *v1alpha1.PECDomain, later func()) {
	t.Helper()
	look := func(s *site, d *v1alpha1.PECDomain, token string) {
		t.Helper()
		s.request(t, d, token)
		eventually(t, func() error {
			if s.get(t, s.ns, d.Name, d); d.Status.LastHandledReconcileAt != token {
				return errors.New("the domain was not looked at")
			}
			return nil
		})
	}
	at := map[*site]*v1alpha1.Mailbox{a: makeMailbox(a.ns, "solo-b", a.domain), b: makeMailbox(b.ns, "solo-b", b.domain)}
	a.create(t, at[a])
	b.create(t, password(b.ns, canary))
	b.ready(t, at[b])
	look(b, domainB, "provisioned")
	look(a, domainA, "not provisioned")
	later()
	look(a, domainA, "for a minute")
	a.waitFor(t, domainA, v1alpha1.ConditionSpecInSync, metav1.ConditionFalse, v1alpha1.ReasonInForceDiffers)
	if seen := domainA.Status.Sites[1].Specs; seen == nil || !slices.Equal(seen.Names, []string{"solo-b"}) {
		t.Errorf("site a sees of what is in force at site b %+v", seen)
	}
	a.create(t, password(a.ns, canary))
	a.ready(t, at[a])
	look(a, domainA, "provisioned")
	a.waitFor(t, domainA, v1alpha1.ConditionSpecInSync, metav1.ConditionTrue, v1alpha1.ReasonSpecsEqual)

	// Both are given a larger quota, which is in force at site b alone.
	refuses := func(refusals map[string]string) {
		a.pods.With(t, a.domain, func(e *apitest.Engine) { e.Refuses = refusals })
	}
	refuses(map[string]string{at[a].Address(): "its disk is small"})
	for s, m := range at {
		update(t, s, m, func(m *v1alpha1.Mailbox) { m.Spec.Quota = ptr.To(resource.MustParse("2Gi")) })
	}
	b.ready(t, at[b])
	a.waitFor(t, at[a], v1alpha1.ConditionProvisioned, metav1.ConditionFalse, v1alpha1.ReasonEngineRefuses)
	if own, others := at[a].Status.Quota, at[b].Status.Quota; own != "1Gi" || others != "2Gi" {
		t.Errorf("site a says that %s is in force, site b %s", own, others)
	}
	look(b, domainB, "larger")
	look(a, domainA, "not larger")
	later()
	look(a, domainA, "not larger for a minute")
	a.waitFor(t, domainA, v1alpha1.ConditionSpecInSync, metav1.ConditionFalse, v1alpha1.ReasonInForceDiffers)
	if seen := domainA.Status.Sites[1].Specs; seen == nil || !slices.Equal(seen.Names, []string{"solo-b"}) {
		t.Errorf("site a sees of the quota at site b %+v", seen)
	}
	refuses(nil)
	a.request(t, at[a], "larger")
	a.ready(t, at[a])
	look(a, domainA, "larger")
	a.waitFor(t, domainA, v1alpha1.ConditionSpecInSync, metav1.ConditionTrue, v1alpha1.ReasonSpecsEqual)
}

// checkSecrets has a site, whose clock is ahead, asked about the other's hash: of another password, and then of its own.
func checkSecrets(t *testing.T, s *site) {
	const former, present = "parola-di-prima", "parola-di-adesso"
	box, secret := makeMailbox(s.ns, "due-segreti", s.domain), password(s.ns, former)
	secret.Name, box.Spec.Credentials.SecretRef.Name = "due-segreti", "due-segreti"
	s.create(t, secret, box)
	s.ready(t, box)
	ask := func(pair, of string) {
		hash, err := pecpassword.Hash([]byte(of), 10)
		if err != nil {
			t.Fatal(err)
		}
		s.pods.With(t, s.domain, func(e *apitest.Engine) { e.Secrets[box.Address()] = admin.Secrets{Pair: pair, Theirs: hash} })
	}
	ask("1", present)
	c := s.waitFor(t, box, v1alpha1.ConditionSecretsDiffer, metav1.ConditionTrue, v1alpha1.ReasonSitesGivenOtherSecrets)
	if !strings.Contains(c.Message, "due-segreti") || strings.Contains(c.Message, present) || strings.Contains(c.Message, former) {
		t.Errorf("the message is %q", c.Message)
	}
	s.ready(t, box) // the mailbox works here, as its spec says
	secret.Data = map[string][]byte{"password": []byte(present)}
	if err := s.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	ask("2", present)
	eventually(t, func() error {
		s.get(t, s.ns, box.Name, box)
		var found admin.Compared
		s.pods.With(t, s.domain, func(e *apitest.Engine) { found = e.Compared[box.Address()] })
		if found != (admin.Compared{Pair: "2", Same: true}) || meta.FindStatusCondition(box.Status.Conditions, v1alpha1.ConditionSecretsDiffer) != nil {
			return fmt.Errorf("the stack was told %+v; the conditions are %v", found, box.Status.Conditions)
		}
		return nil
	})
	s.pods.With(t, s.domain, func(e *apitest.Engine) { delete(e.Secrets, box.Address()) })
}

// lists fails unless the column Sites of a domain has these.
func (s *site) lists(t *testing.T, d *v1alpha1.PECDomain, want string) {
	t.Helper()
	s.get(t, s.ns, d.Name, d)
	if d.Status.ReadySites != want {
		t.Errorf("the sites where %s is Ready are %q, not %q: %v", d.Name, d.Status.ReadySites, want, d.Status.Sites)
	}
}

// tells waits until the engine of a site was told of a peer.
func (s *site) tells(t *testing.T, want *admin.Peer) {
	t.Helper()
	eventually(t, func() (err error) {
		s.pods.With(t, s.domain, func(e *apitest.Engine) {
			if !equality.Semantic.DeepEqual(e.Peer, want) {
				err = fmt.Errorf("the engine knows of the peer %+v, not %+v", e.Peer, want)
			}
		})
		return err
	})
}

func TestTwoSitesAndAPeerThatIsGone(t *testing.T) {
	apitest.Need(t, server)
	second, err := apitest.Start()
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			if err := second.Stop(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	toA, toB := server.AddPeer(t, "peer-b"), second.AddPeer(t, "peer-a")
	var ahead atomic.Int64 // by how much the clock of site a is put forward
	a := newSite(t, "duesiti", siteOptions{name: "a", peer: toB, change: func(o *manager.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}})
	var domainA *v1alpha1.PECDomain
	t.Run("both sites", func(t *testing.T) {
		b := newSite(t, "duesiti", siteOptions{name: "b", server: second, peer: toA})
		domainA = a.makeDomain()
		domainB := b.makeDomain()
		a.provide(t)
		b.provide(t)
		a.create(t, domainA)
		a.ready(t, domainA)
		a.waitFor(t, domainA, v1alpha1.ConditionSpecInSync, metav1.ConditionFalse, v1alpha1.ReasonPeerLacksObject)
		b.create(t, domainB)
		b.ready(t, domainB)
		poke(t, a, domainA)
		a.waitFor(t, domainA, v1alpha1.ConditionSpecInSync, metav1.ConditionFalse, v1alpha1.ReasonSpecsDiffer)
		a.lists(t, domainA, "a,b")
		poke(t, b, domainB)
		b.waitFor(t, domainB, v1alpha1.ConditionSpecInSync, metav1.ConditionTrue, v1alpha1.ReasonSpecsEqual)
		a.waitFor(t, domainA, v1alpha1.ConditionPeerReachable, metav1.ConditionTrue, v1alpha1.ReasonPeerAnswers)
		if len(domainB.Status.Sites) != 2 || domainB.Status.Sites[1].Name != "a" || domainB.Status.Sites[1].Ready != metav1.ConditionTrue {
			t.Errorf("site b sees %v", domainB.Status.Sites)
		}
		a.tells(t, &admin.Peer{Site: "b", Address: "link-b.duesiti.test:9443", CABundle: domainB.Status.PeerLink.CABundle})
		a.pods.With(t, a.domain, func(e *apitest.Engine) { // its volume came back from a backup
			e.Peer = &admin.Peer{Site: "b", Address: "link-b.duesiti.test:9443", CABundle: "an authority of last year"}
		})
		a.request(t, domainA, "restored")
		a.tells(t, &admin.Peer{Site: "b", Address: "link-b.duesiti.test:9443", CABundle: domainB.Status.PeerLink.CABundle})
		// What the peer's status says can be wrong; this site's mailboxes have no part in that.
		linked := func(refuses string) {
			a.pods.With(t, a.domain, func(e *apitest.Engine) { e.Peer, e.RefusesPeer = nil, refuses })
			a.request(t, domainA, "link "+refuses)
		}
		linked("no certificate in it")
		a.waitFor(t, domainA, v1alpha1.ConditionStoresInSync, metav1.ConditionUnknown, v1alpha1.ReasonPeerLinkRefused)
		a.waitFor(t, domainA, v1alpha1.ConditionDirectoryInSync, metav1.ConditionTrue, v1alpha1.ReasonDomainPlaced)
		linked("")
		a.request(t, domainA, "equal")
		a.waitFor(t, domainA, v1alpha1.ConditionSpecInSync, metav1.ConditionTrue, v1alpha1.ReasonSpecsEqual)
		a.waitFor(t, domainA, v1alpha1.ConditionStoresInSync, metav1.ConditionUnknown, v1alpha1.ReasonStoresNotCompared)
		said := func(stores admin.Stores) {
			a.pods.With(t, a.domain, func(e *apitest.Engine) { e.Stores = &stores })
		}
		said(admin.Stores{Mailboxes: 2, Compared: 2, Own: "0a", Theirs: "0a"})
		a.request(t, domainA, "stores agree")
		a.waitFor(t, domainA, v1alpha1.ConditionStoresInSync, metav1.ConditionTrue, v1alpha1.ReasonStoresEqual)
		said(admin.Stores{Mailboxes: 2, Compared: 2, Own: "0a", Theirs: "0b", Differing: 1, Diverged: 1, Addresses: []string{"anna@" + a.domain}})
		a.request(t, domainA, "stores diverge")
		a.waitFor(t, domainA, v1alpha1.ConditionStoresInSync, metav1.ConditionFalse, v1alpha1.ReasonStoresDiverged)
		if own, theirs := domainA.Status.Sites[0].Stores, domainA.Status.Sites[1].Stores; own.Digest != "0a" || theirs.Digest != "0b" || !slices.Equal(theirs.Addresses, []string{"anna@" + a.domain}) {
			t.Errorf("site a shows of the stores %+v and %+v", own, theirs)
		}
		said(admin.Stores{Mailboxes: 2, Compared: 2, Own: "0a", Theirs: "0a"})
		b.create(t, makeMailbox(b.ns, "solo-b", b.domain))
		eventually(t, func() error {
			b.get(t, b.ns, b.domain, domainB)
			if len(domainB.Status.Sites) == 0 || *domainB.Status.Sites[0].Mailboxes != 1 {
				return errors.New("site b does not count its mailbox")
			}
			return nil
		})
		a.request(t, domainA, "seen")
		eventually(t, func() error {
			a.get(t, a.ns, a.domain, domainA)
			if domainA.Status.LastHandledReconcileAt != "seen" {
				return errors.New("site a has not looked")
			}
			return nil
		})
		ahead.Store(int64(2 * time.Minute))
		a.request(t, domainA, "later")
		a.waitFor(t, domainA, v1alpha1.ConditionSpecInSync, metav1.ConditionFalse, v1alpha1.ReasonMailboxesDiffer)
		seen := domainA.Status.Sites[1].Specs
		if seen == nil || !slices.Equal(seen.Names, []string{"solo-b"}) || *seen.Differing != 1 || seen.Digest != domainB.Status.Sites[0].Specs.Digest {
			t.Errorf("site a sees of site b's mailboxes %+v", seen)
		}
		checkInForce(t, a, b, domainA, domainB, func() { ahead.Add(int64(2 * time.Minute)) })
	})
	t.Run("the sites' Secrets are compared", func(t *testing.T) { checkSecrets(t, a) })
	a.request(t, domainA, "deleted there")
	a.waitFor(t, domainA, v1alpha1.ConditionSpecInSync, metav1.ConditionFalse, v1alpha1.ReasonPeerLacksObject)
	a.lists(t, domainA, "a")
	stop()
	box := makeMailbox(a.ns, "superstite", a.domain)
	a.create(t, box)
	a.ready(t, box)
	a.pods.With(t, a.domain, func(e *apitest.Engine) {
		if e.Peer == nil {
			t.Error("a peer that is silent was taken from the engine")
		}
	})
	update(t, a, domainA, func(d *v1alpha1.PECDomain) { d.Spec.Provider.Managed.MailHosts[1].PeerLink = "" })
	a.tells(t, &admin.Peer{})
	t.Run("an operator starts while its peer is dead", func(t *testing.T) {
		c := newSite(t, "riavvio", siteOptions{peer: toB})
		domain := c.makeDomain()
		c.provide(t)
		c.create(t, domain)
		c.ready(t, domain)
	})
}
