package v1alpha1_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
				TLS:            v1alpha1.ServerCertificate{SecretName: "mail-tls"},
				Signing:        v1alpha1.Signing{SecretName: "signing"},
				Limits:         &v1alpha1.Limits{},
				ProvidersIndex: v1alpha1.ProvidersIndex{ConfigMapRef: v1alpha1.LocalReference{Name: "providers-index"}},
			}},
		},
	}
	change(d)
	return d
}

func left(settings ...v1alpha1.HolderSetting) func(*v1alpha1.MailboxSpec) {
	return func(m *v1alpha1.MailboxSpec) { m.HolderMayChange = settings }
}

func mustChange(m *v1alpha1.MailboxSpec) { m.Credentials.FirstLogin = v1alpha1.FirstLoginMustChange }

func rule(change func(*v1alpha1.InboundRule)) func(*v1alpha1.MailboxSpec) {
	r := v1alpha1.InboundRule{Name: "clienti", Header: "From", Contains: "rossi@", Folder: "Clienti"}
	change(&r)
	return func(m *v1alpha1.MailboxSpec) { m.Rules = []v1alpha1.InboundRule{r} }
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
			Holder: v1alpha1.MailboxHolder{Name: "Maria Bianchi"}, Quota: ptr.To(resource.MustParse("1Gi")),
			Credentials: v1alpha1.MailboxCredentials{SecretRef: v1alpha1.SecretKeyReference{Name: "password"}},
			RequestedAt: metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
		},
	}
	change(m)
	return m
}

func makeMigration(change func(*v1alpha1.MailboxMigration)) *v1alpha1.MailboxMigration {
	m := &v1alpha1.MailboxMigration{
		ObjectMeta: metav1.ObjectMeta{Name: "rupar", Namespace: namespace},
		Spec: v1alpha1.MailboxMigrationSpec{
			Source: v1alpha1.MigrationSource{Type: v1alpha1.MigrationFromDomain, DomainRef: &v1alpha1.LocalReference{Name: "pec.vecchio.test"}},
			Target: v1alpha1.MigrationTarget{DomainRef: v1alpha1.LocalReference{Name: domainName}},
			Mailboxes: []v1alpha1.MigratedMailbox{{Address: "protocollo@pec.vecchio.test",
				SourceCredentials: v1alpha1.SecretKeyReference{Name: "protocollo-old"},
				Request:           v1alpha1.MigrationRequest{Protocol: "123/2022", Date: "2022-04-01"}}},
			Calendar: v1alpha1.MigrationCalendar{TimeZone: "Europe/Rome", Phases: []v1alpha1.MigrationPhase{
				// The calendar of a provider's letter, in its order.
				{Name: v1alpha1.PhaseFreeze, At: "2022-04-20T08:00:00", Until: "2022-05-09T09:00:00"},
				{Name: v1alpha1.PhaseRequestsClose, At: "2022-04-20T12:00:00"},
				{Name: v1alpha1.PhaseBlockSending, At: "2022-04-28T08:00:00"},
				{Name: v1alpha1.PhaseOpenNew, At: "2022-04-28T18:00:00"},
				{Name: v1alpha1.PhaseOldReadOnly, At: "2022-04-28T09:00:00", Until: "2022-06-28T09:00:00", Endpoint: "tempmail.vecchio.test"},
				{Name: v1alpha1.PhaseArchive, At: "2022-06-28T09:00:00", Until: "2023-12-28T00:00:00"},
				{Name: v1alpha1.PhaseDestroy, At: "2024-10-28T00:00:00"},
			}},
		},
	}
	change(m)
	return m
}

func makeRetention(change func(*v1alpha1.RetentionPolicySpec)) *v1alpha1.RetentionPolicy {
	p := &v1alpha1.RetentionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "ordinary", Namespace: namespace},
		Spec: v1alpha1.RetentionPolicySpec{
			Mailboxes: v1alpha1.RetainedMailboxes{Type: v1alpha1.RetainedOfDomain, DomainRef: &v1alpha1.LocalReference{Name: domainName}},
			Archive: &v1alpha1.Archive{OlderThanDays: ptr.To(int32(90)), Destination: v1alpha1.ArchiveDestination{
				Type: v1alpha1.ArchiveToVolumeClaim, VolumeClaim: &v1alpha1.LocalReference{Name: "archive"}}},
			Offload: &v1alpha1.Offload{Type: v1alpha1.OffloadToVolumeClaim, VolumeClaim: &v1alpha1.LocalReference{Name: "protocol"},
				Acknowledgement: v1alpha1.AcknowledgementRequired},
			Remove:       &v1alpha1.Removal{AfterArchiveDays: ptr.To(int32(30)), When: v1alpha1.RemoveAcknowledged},
			Logs:         &v1alpha1.LawfulKeep{KeepMonths: ptr.To(int32(30))},
			Infected:     &v1alpha1.LawfulKeep{KeepMonths: ptr.To(int32(30))},
			Custody:      &v1alpha1.Keep{KeepMonths: ptr.To(int32(12))},
			AfterClosure: &v1alpha1.AfterClosure{ArchiveUntil: "2024-10-28"},
			Schedule:     &v1alpha1.RetentionSchedule{At: "03:00", TimeZone: "Europe/Rome"},
		},
	}
	change(&p.Spec)
	return p
}

func migration(change func(*v1alpha1.MailboxMigrationSpec)) client.Object {
	return makeMigration(func(m *v1alpha1.MailboxMigration) { change(&m.Spec) })
}

// phase is a migration with one phase of its calendar changed.
func phase(name v1alpha1.MigrationPhaseName, change func(*v1alpha1.MigrationPhase)) client.Object {
	return migration(func(m *v1alpha1.MailboxMigrationSpec) {
		for i := range m.Calendar.Phases {
			if m.Calendar.Phases[i].Name == name {
				change(&m.Calendar.Phases[i])
			}
		}
	})
}

func at(name v1alpha1.MigrationPhaseName, time v1alpha1.LocalTime) client.Object {
	return phase(name, func(p *v1alpha1.MigrationPhase) { p.At = time })
}

func until(name v1alpha1.MigrationPhaseName, time v1alpha1.LocalTime) client.Object {
	return phase(name, func(p *v1alpha1.MigrationPhase) { p.Until = time })
}

func override(time v1alpha1.LocalTime) client.Object {
	return migration(func(m *v1alpha1.MailboxMigrationSpec) {
		m.Calendar.Overrides = []v1alpha1.MigrationOverride{{Slot: "freeze", At: time, Verdict: "Release", By: "Mario Rossi", Reason: "the operator was down"}}
	})
}

func retention(change func(*v1alpha1.RetentionPolicySpec)) client.Object {
	return makeRetention(change)
}

var anOffice = v1alpha1.LabelRequirement{Key: "comune.test/office", Operator: v1alpha1.LabelIn, Values: []string{"protocollo", ""}}

// labelled is a policy over mailboxes with a label, that removes nothing.
func labelled(change ...func(*v1alpha1.RetainedMailboxes)) client.Object {
	return retention(func(p *v1alpha1.RetentionPolicySpec) {
		p.Mailboxes, p.Remove = v1alpha1.RetainedMailboxes{Type: v1alpha1.RetainedLabelled, Labels: []v1alpha1.LabelRequirement{anOffice}}, nil
		for _, c := range change {
			c(&p.Mailboxes)
		}
	})
}

// restoring is a policy that is asked to restore a message.
func restoring(token string, change ...func(*v1alpha1.RetentionPolicySpec)) client.Object {
	return retention(func(p *v1alpha1.RetentionPolicySpec) {
		p.Restore = &v1alpha1.Restore{Token: token, Mailbox: "protocollo@pec.comune.test", Messages: &v1alpha1.RestoredMessages{Identifier: "opec1.20260301@pec.test"}}
		for _, c := range change {
			c(p)
		}
	})
}

func otherFolder(p *v1alpha1.RetentionPolicySpec) { p.Restore.Into = "Per il ricorso" }

// held is a policy under a legal hold.
func held(change func(*v1alpha1.RetentionPolicySpec)) client.Object {
	return makeRetention(func(p *v1alpha1.RetentionPolicySpec) {
		p.LegalHolds = []v1alpha1.LegalHold{{Reference: "RG 123/2026", Since: "2026-03-01"}}
		change(p)
	})
}

// heldMailbox is a mailbox under a legal hold, with a retention policy.
func heldMailbox(change func(*v1alpha1.MailboxSpec)) client.Object {
	return makeMailbox("protocollo", func(m *v1alpha1.Mailbox) {
		m.Spec.LegalHolds = []v1alpha1.LegalHold{{Reference: "RG 123/2026", Since: "2026-03-01"}}
		m.Spec.RetentionPolicyRef = &v1alpha1.LocalReference{Name: "long"}
		change(&m.Spec)
	})
}

func spec(change func(*v1alpha1.MailboxSpec)) client.Object {
	return makeMailbox("protocollo", func(m *v1alpha1.Mailbox) { change(&m.Spec) })
}

func managed(change func(*v1alpha1.ManagedProvider)) client.Object {
	return makeDomain(func(d *v1alpha1.PECDomain) { change(d.Spec.Provider.Managed) })
}

func external(change func(*v1alpha1.PECDomain)) client.Object {
	return makeDomain(func(d *v1alpha1.PECDomain) {
		d.Spec.PreferredSite = ""
		d.Spec.Provider = v1alpha1.DomainProvider{Type: v1alpha1.ProviderExternal, External: &v1alpha1.ExternalProvider{
			Name: "Altro gestore", MailExchangers: []v1alpha1.Hostname{"mx.altro.test"}, IMAP: v1alpha1.Endpoint{Host: "imaps.altro.test"}}}
		change(d)
	})
}

func dns(dns v1alpha1.DomainDNS) client.Object {
	return makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.DNS = &dns })
}

// atPort has the provider's IMAPS on a port, and fromPort a migration read from one.
func atPort(port int32) func(*v1alpha1.PECDomain) {
	return func(d *v1alpha1.PECDomain) { d.Spec.Provider.External.IMAP.Port = &port }
}

func fromPort(port int32) client.Object {
	return migration(func(m *v1alpha1.MailboxMigrationSpec) {
		m.Source = v1alpha1.MigrationSource{Type: v1alpha1.MigrationFromIMAP, IMAP: &v1alpha1.IMAPSource{Endpoint: v1alpha1.Endpoint{Host: "imaps.vecchio.test", Port: &port}}}
	})
}

func contract(c v1alpha1.Contract) client.Object {
	return makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.Contract = &c })
}

var some = &v1alpha1.LocalReference{Name: "definitions"}

func scanned(d v1alpha1.AntivirusDefinitions) client.Object {
	return managed(func(m *v1alpha1.ManagedProvider) {
		m.Antivirus = &v1alpha1.Antivirus{Definitions: d, DefinitionsMaxAgeMinutes: ptr.To(int32(60))}
	})
}

var issuer = &v1alpha1.IssuerReference{Name: "interna", Kind: "ClusterIssuer"}

func shown(c v1alpha1.ServerCertificate) client.Object {
	return managed(func(m *v1alpha1.ManagedProvider) { m.TLS = c })
}

func defaults(m v1alpha1.MailboxDefaults) client.Object {
	return makeDomain(func(d *v1alpha1.PECDomain) { d.Spec.MailboxDefaults = &m })
}

var (
	rfc2136     = &v1alpha1.RFC2136{Server: "ns1.esempio.test", Zone: "esempio.test", TSIGSecretRef: v1alpha1.SecretReference{SecretName: "tsig"}, Algorithm: "HMAC-SHA256"}
	externalDNS = &v1alpha1.ExternalDNS{OwnerID: "pec", Provider: "pdns"}
	pool        = &v1alpha1.DomainReference{Name: "pec.regione.test", Namespace: "regione"}
	forward     = &v1alpha1.OrdinaryMail{Policy: v1alpha1.OrdinaryMailForward, ForwardTo: "ufficio@esempio.test"}
	nowhere     = &v1alpha1.OrdinaryMail{Policy: v1alpha1.OrdinaryMailForward}
	toldWhere   = &v1alpha1.OrdinaryMail{Policy: v1alpha1.OrdinaryMailDiscard, ForwardTo: "ufficio@esempio.test"}
	imapSource  = &v1alpha1.IMAPSource{Endpoint: v1alpha1.Endpoint{Host: "imaps.vecchio.test", Port: ptr.To(int32(993))}}
	s3          = &v1alpha1.S3Destination{Endpoint: "https://s3.esempio.test", Bucket: "archive", CredentialsSecretRef: v1alpha1.SecretReference{SecretName: "s3"}}
)

func recipients(n int32) *v1alpha1.SendingLimits {
	return &v1alpha1.SendingLimits{RecipientsPerMessage: &n}
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
	"clientCertSecretRef and caSecretRef are for a download": {
		accept: []change{{managed(func(m *v1alpha1.ManagedProvider) { m.ProvidersIndex.URL = "ldaps://indice.esempio.test" }), nil}},
		refuse: []change{{managed(func(m *v1alpha1.ManagedProvider) {
			m.ProvidersIndex.CASecretRef = &v1alpha1.SecretReference{SecretName: "index-ca"}
		}), nil}},
	},
	"providersIndex.caSecretRef must name the Secret": {
		accept: []change{{managed(func(m *v1alpha1.ManagedProvider) {
			m.ProvidersIndex.URL = "https://indice.esempio.test/index.ldif.p7m"
			m.ProvidersIndex.CASecretRef = &v1alpha1.SecretReference{SecretName: "index-ca"}
		}), nil}},
		refuse: []change{{managed(func(m *v1alpha1.ManagedProvider) { m.ProvidersIndex.URL = "https://indice.esempio.test/index.ldif.p7m" }), nil}},
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
		accept: []change{{mailbox("protocollo"), changedMailbox(func(m *v1alpha1.Mailbox) { m.Spec.Quota = ptr.To(resource.MustParse("2Gi")) })}},
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
	"give provider.external exactly when": {
		accept: []change{{external(asIs), nil}},
		refuse: []change{{external(func(d *v1alpha1.PECDomain) { d.Spec.Provider.External = nil }), nil},
			{domain(func(d *v1alpha1.PECDomain) {
				d.Spec.Provider.External = external(asIs).(*v1alpha1.PECDomain).Spec.Provider.External
			}), nil}},
	},
	"shards must be 1": {
		accept: []change{{managed(func(m *v1alpha1.ManagedProvider) { m.Shards = ptr.To(int32(1)) }), nil}},
		refuse: []change{{managed(func(m *v1alpha1.ManagedProvider) { m.Shards = ptr.To(int32(2)) }), nil}},
	},
	"availabilityPercent is below": {
		accept: []change{{domain(availability("99.8")), nil}, {domain(availability("100")), nil}, {domain(availability("99.93")), nil}},
		refuse: []change{{domain(availability("99.79")), nil}, {domain(availability("98")), nil}},
	},
	"give dns.rfc2136 exactly when": {
		accept: []change{{dns(v1alpha1.DomainDNS{Mode: v1alpha1.DNSRFC2136, RFC2136: rfc2136}), nil}, {dns(v1alpha1.DomainDNS{Mode: v1alpha1.DNSVerifyOnly}), nil}},
		refuse: []change{{dns(v1alpha1.DomainDNS{Mode: v1alpha1.DNSRFC2136}), nil}, {dns(v1alpha1.DomainDNS{Mode: v1alpha1.DNSVerifyOnly, RFC2136: rfc2136}), nil}},
	},
	"give dns.externalDNS exactly when": {
		accept: []change{{dns(v1alpha1.DomainDNS{Mode: v1alpha1.DNSExternalDNS, ExternalDNS: externalDNS}), nil}},
		refuse: []change{{dns(v1alpha1.DomainDNS{Mode: v1alpha1.DNSExternalDNS}), nil}, {dns(v1alpha1.DomainDNS{Mode: v1alpha1.DNSRFC2136, RFC2136: rfc2136, ExternalDNS: externalDNS}), nil}},
	},
	"only dns.mode RFC2136 and ExternalDNS write": {
		accept: []change{{dns(v1alpha1.DomainDNS{Mode: v1alpha1.DNSVerifyOnly, OnDelete: v1alpha1.DNSRetain}), nil},
			{dns(v1alpha1.DomainDNS{Mode: v1alpha1.DNSRFC2136, RFC2136: rfc2136, OnDelete: v1alpha1.DNSRemoveIfOurs}), nil}},
		refuse: []change{{dns(v1alpha1.DomainDNS{Mode: v1alpha1.DNSVerifyOnly, OnDelete: v1alpha1.DNSRemoveIfOurs}), nil}},
	},
	"give takeover.expectedCurrent": {
		accept: []change{{takeover(v1alpha1.DNSTakeover{Policy: v1alpha1.TakeoverNever}), nil},
			{takeover(v1alpha1.DNSTakeover{Policy: v1alpha1.TakeoverFromExpected, ExpectedCurrent: []v1alpha1.MXRecord{{Preference: ptr.To(int32(10)), Host: "mx.altro.test"}}, ApprovedBy: "M. Bianchi, prot. 12"}), nil}},
		refuse: []change{{takeover(v1alpha1.DNSTakeover{Policy: v1alpha1.TakeoverFromExpected, ExpectedCurrent: []v1alpha1.MXRecord{{Preference: ptr.To(int32(10)), Host: "mx.altro.test"}}}), nil},
			{takeover(v1alpha1.DNSTakeover{Policy: v1alpha1.TakeoverFromExpected, ApprovedBy: "M. Bianchi, prot. 12"}), nil},
			{takeover(v1alpha1.DNSTakeover{Policy: v1alpha1.TakeoverNever, ExpectedCurrent: []v1alpha1.MXRecord{{Preference: ptr.To(int32(10)), Host: "mx.altro.test"}}, ApprovedBy: "M. Bianchi, prot. 12"}), nil}},
	},
	"give contract.standard": {
		accept: []change{{contract(v1alpha1.Contract{Reference: "C-12", Standard: ptr.To(int32(400))}), nil}, {contract(v1alpha1.Contract{From: pool}), nil},
			{contract(v1alpha1.Contract{From: pool, Standard: ptr.To(int32(20))}), nil}},
		refuse: []change{{contract(v1alpha1.Contract{Reference: "C-12"}), nil}},
	},
	"give contract.reference": {
		accept: []change{{contract(v1alpha1.Contract{Reference: "C-12", Standard: ptr.To(int32(0))}), nil}},
		refuse: []change{{contract(v1alpha1.Contract{Standard: ptr.To(int32(400))}), nil}},
	},
	"a contract that is drawn on is lent by whose it is": {
		accept: []change{{contract(v1alpha1.Contract{Reference: "C-12", Standard: ptr.To(int32(1)), AllowedNamespaces: []string{"comune-esempio"}}), nil}},
		refuse: []change{{contract(v1alpha1.Contract{From: pool, AllowedNamespaces: []string{"comune-esempio"}}), nil}},
	},
	"a contract that is drawn on ends with the pool": {
		accept: []change{{contract(v1alpha1.Contract{Reference: "C-12", Standard: ptr.To(int32(1)), ValidUntil: "2027-12-31"}), nil}},
		refuse: []change{{contract(v1alpha1.Contract{From: pool, ValidUntil: "2027-12-31"}), nil}},
	},
	"give massive, with justification": {
		accept: []change{{spec(massive), nil}, {mailbox("protocollo"), nil}},
		refuse: []change{{spec(func(m *v1alpha1.MailboxSpec) { m.Type = v1alpha1.MailboxMassive }), nil},
			{spec(func(m *v1alpha1.MailboxSpec) { massive(m); m.Type = v1alpha1.MailboxStandard }), nil}},
	},
	"quota cannot shrink while": {
		accept: []change{{heldMailbox(as), heldMailbox(func(m *v1alpha1.MailboxSpec) { m.Quota = ptr.To(resource.MustParse("2Gi")) })},
			{mailbox("protocollo"), changedMailbox(quota("1M"))},
			{heldMailbox(as), heldMailbox(func(m *v1alpha1.MailboxSpec) { m.LegalHolds = nil })}},
		refuse: []change{{heldMailbox(as), heldMailbox(func(m *v1alpha1.MailboxSpec) { m.Quota = ptr.To(resource.MustParse("1023Mi")) })},
			{heldMailbox(as), heldMailbox(func(m *v1alpha1.MailboxSpec) { m.Quota = nil })},
			{heldMailbox(as), heldMailbox(func(m *v1alpha1.MailboxSpec) { m.Quota, m.LegalHolds = ptr.To(resource.MustParse("1M")), nil })}},
	},
	"retentionPolicyRef cannot change while": {
		accept: []change{{heldMailbox(as), heldMailbox(as)},
			{heldMailbox(func(m *v1alpha1.MailboxSpec) { m.RetentionPolicyRef = nil }), heldMailbox(as)},
			{spec(func(m *v1alpha1.MailboxSpec) { m.RetentionPolicyRef = &v1alpha1.LocalReference{Name: "long"} }), mailbox("protocollo")}},
		refuse: []change{{heldMailbox(as), heldMailbox(func(m *v1alpha1.MailboxSpec) { m.RetentionPolicyRef.Name = "short" })},
			{heldMailbox(as), heldMailbox(func(m *v1alpha1.MailboxSpec) { m.RetentionPolicyRef = nil })}},
	},
	"give ordinaryMail.forwardTo exactly when": {
		accept: []change{{spec(func(m *v1alpha1.MailboxSpec) { m.OrdinaryMail = forward }), nil}, {defaults(v1alpha1.MailboxDefaults{OrdinaryMail: forward}), nil}},
		refuse: []change{{spec(func(m *v1alpha1.MailboxSpec) { m.OrdinaryMail = nowhere }), nil}, {spec(func(m *v1alpha1.MailboxSpec) { m.OrdinaryMail = toldWhere }), nil},
			{defaults(v1alpha1.MailboxDefaults{OrdinaryMail: nowhere}), nil}},
	},
	"give exactly one of secretName and issuerRef in provider.managed.tls": {
		accept: []change{{shown(v1alpha1.ServerCertificate{SecretName: "mail-tls"}), nil}, {shown(v1alpha1.ServerCertificate{IssuerRef: issuer}), nil}},
		refuse: []change{{shown(v1alpha1.ServerCertificate{SecretName: "mail-tls", IssuerRef: issuer}), nil}},
	},
	"give exactly one of configMapRef and claimRef": {
		accept: []change{{scanned(v1alpha1.AntivirusDefinitions{ConfigMapRef: some}), nil}},
		refuse: []change{{scanned(v1alpha1.AntivirusDefinitions{ConfigMapRef: some, ClaimRef: some}), nil}},
	},
	"sending.recipientsPerMessage is below": {
		accept: []change{{spec(func(m *v1alpha1.MailboxSpec) { m.Sending = recipients(50) }), nil}, {defaults(v1alpha1.MailboxDefaults{Sending: recipients(50)}), nil}},
		refuse: []change{{spec(func(m *v1alpha1.MailboxSpec) { m.Sending = recipients(49) }), nil}, {defaults(v1alpha1.MailboxDefaults{Sending: recipients(49)}), nil}},
	},
	"Nothing stands alone in holderMayChange": {
		accept: []change{{spec(left(v1alpha1.HolderNothing)), nil}, {spec(left(v1alpha1.HolderPassword, v1alpha1.HolderRules)), nil}},
		refuse: []change{{spec(left(v1alpha1.HolderNothing, v1alpha1.HolderRules)), nil}},
	},
	"a certified mailbox has no aliases": {
		accept: []change{{spec(func(m *v1alpha1.MailboxSpec) { m.Aliases = nil }), nil}},
		refuse: []change{{spec(func(m *v1alpha1.MailboxSpec) { m.Aliases = []v1alpha1.EmailAddress{"info@" + domainName} }), nil}},
	},
	"firstLogin MustChange asks for a change": {
		accept: []change{{spec(func(m *v1alpha1.MailboxSpec) { mustChange(m); left(v1alpha1.HolderPassword)(m) }), nil}, {spec(mustChange), nil},
			{spec(left(v1alpha1.HolderRules)), nil}},
		refuse: []change{{spec(func(m *v1alpha1.MailboxSpec) { mustChange(m); left(v1alpha1.HolderRules)(m) }), nil}},
	},
	"name in rules must be one line": {
		accept: []change{{spec(rule(func(r *v1alpha1.InboundRule) { r.Name = "Società" })), nil}},
		refuse: []change{{spec(rule(func(r *v1alpha1.InboundRule) { r.Name = "a\nb" })), nil}},
	},
	"contains in rules must be one line": {
		accept: []change{{spec(rule(func(r *v1alpha1.InboundRule) { r.Contains = `"; discard; #` })), nil}},
		refuse: []change{{spec(rule(func(r *v1alpha1.InboundRule) { r.Contains = "a\rb" })), nil}, {spec(rule(func(r *v1alpha1.InboundRule) { r.Contains = "a\u2028b" })), nil}},
	},
	"folder in rules must be a name": {
		accept: []change{{spec(rule(func(r *v1alpha1.InboundRule) { r.Folder = "Clienti/Società 2026" })), nil}},
		refuse: []change{{spec(rule(func(r *v1alpha1.InboundRule) { r.Folder = "../x" })), nil}, {spec(rule(func(r *v1alpha1.InboundRule) { r.Folder = "Expunged" })), nil},
			{spec(rule(func(r *v1alpha1.InboundRule) { r.Folder = "a*" })), nil}, {spec(rule(func(r *v1alpha1.InboundRule) { r.Folder = "a " })), nil},
			{spec(rule(func(r *v1alpha1.InboundRule) { r.Folder = "~x" })), nil}, {spec(rule(func(r *v1alpha1.InboundRule) { r.Folder = `a\b` })), nil}},
	},
	"source and target are the same domain": {
		accept: []change{{migration(moved), nil}},
		refuse: []change{{migration(func(m *v1alpha1.MailboxMigrationSpec) { m.Target.DomainRef.Name = "pec.vecchio.test" }), nil}},
	},
	"every mailbox must be in the source's domain": {
		accept: []change{{migration(moved), nil}, {migration(func(m *v1alpha1.MailboxMigrationSpec) {
			m.Source = v1alpha1.MigrationSource{Type: v1alpha1.MigrationFromIMAP, IMAP: imapSource}
			m.Mailboxes[0].Address = "protocollo@altro.test"
		}), nil}},
		refuse: []change{{migration(func(m *v1alpha1.MailboxMigrationSpec) { m.Mailboxes[0].Address = "protocollo@altro.test" }), nil}},
	},
	"source cannot change": {
		accept: []change{{migration(moved), migration(func(m *v1alpha1.MailboxMigrationSpec) { m.Run = &v1alpha1.MigrationRun{Token: "r2"} })}},
		refuse: []change{{migration(moved), migration(func(m *v1alpha1.MailboxMigrationSpec) {
			m.Source = v1alpha1.MigrationSource{Type: v1alpha1.MigrationFromIMAP, IMAP: imapSource}
		})}},
	},
	"target cannot change": {
		accept: []change{{migration(moved), migration(func(m *v1alpha1.MailboxMigrationSpec) { m.Keep = []v1alpha1.MigrationKeep{"Name"} })}},
		refuse: []change{{migration(moved), migration(func(m *v1alpha1.MailboxMigrationSpec) { m.Target.DomainRef.Name = "altro.test" })}},
	},
	"give source.domainRef exactly when": {
		accept: []change{{migration(moved), nil}},
		refuse: []change{{migration(func(m *v1alpha1.MailboxMigrationSpec) { m.Source.DomainRef = nil }), nil},
			{migration(func(m *v1alpha1.MailboxMigrationSpec) {
				m.Source.Type, m.Source.IMAP = v1alpha1.MigrationFromIMAP, imapSource
			}), nil}},
	},
	"mail is read over IMAPS": {
		accept: []change{{fromPort(993), nil}},
		refuse: []change{{fromPort(143), nil}, {fromPort(6379), nil}},
	},
	"mailboxes are looked at over IMAPS": {
		accept: []change{{external(asIs), nil}, {external(atPort(993)), nil}},
		refuse: []change{{external(atPort(143)), nil}, {external(atPort(6379)), nil}},
	},
	"give source.imap exactly when": {
		accept: []change{{migration(func(m *v1alpha1.MailboxMigrationSpec) {
			m.Source = v1alpha1.MigrationSource{Type: v1alpha1.MigrationFromIMAP, IMAP: imapSource}
		}), nil}},
		refuse: []change{{migration(func(m *v1alpha1.MailboxMigrationSpec) { m.Source.IMAP = imapSource }), nil},
			{migration(func(m *v1alpha1.MailboxMigrationSpec) {
				m.Source = v1alpha1.MigrationSource{Type: v1alpha1.MigrationFromIMAP}
			}), nil}},
	},
	"give the phases BlockSending and OpenNew": {
		accept: []change{{only(v1alpha1.PhaseBlockSending, v1alpha1.PhaseOpenNew), nil}},
		refuse: []change{{only(v1alpha1.PhaseBlockSending, v1alpha1.PhaseArchive), nil}, {only(v1alpha1.PhaseFreeze, v1alpha1.PhaseOpenNew), nil}},
	},
	"OpenNew must be after BlockSending": {
		accept: []change{{migration(moved), nil}, {reversed(migration(moved)), nil}, {at(v1alpha1.PhaseOpenNew, "2022-04-28T08:00:01"), nil}},
		refuse: []change{{at(v1alpha1.PhaseOpenNew, "2022-04-28T08:00:00"), nil}, {reversed(at(v1alpha1.PhaseOpenNew, "2022-04-28T07:00:00")), nil}},
	},
	"Freeze must not begin after BlockSending": {
		accept: []change{{at(v1alpha1.PhaseFreeze, "2022-04-28T08:00:00"), nil}},
		refuse: []change{{at(v1alpha1.PhaseFreeze, "2022-04-28T08:00:01"), nil}, {reversed(at(v1alpha1.PhaseFreeze, "2022-04-29T08:00:00")), nil}},
	},
	"RequestsClose must not be after BlockSending": {
		accept: []change{{at(v1alpha1.PhaseRequestsClose, "2022-04-28T08:00:00"), nil}},
		refuse: []change{{at(v1alpha1.PhaseRequestsClose, "2022-04-28T12:00:00"), nil}, {reversed(at(v1alpha1.PhaseRequestsClose, "2022-04-28T12:00:00")), nil}},
	},
	"OldReadOnly must not begin before BlockSending": {
		accept: []change{{at(v1alpha1.PhaseOldReadOnly, "2022-04-28T08:00:00"), nil}},
		refuse: []change{{at(v1alpha1.PhaseOldReadOnly, "2022-04-28T07:59:59"), nil}, {reversed(at(v1alpha1.PhaseOldReadOnly, "2022-04-27T09:00:00")), nil}},
	},
	"Archive must not begin before OldReadOnly": {
		accept: []change{{at(v1alpha1.PhaseArchive, "2022-06-28T09:00:00"), nil}},
		refuse: []change{{at(v1alpha1.PhaseArchive, "2022-04-28T08:59:59"), nil}, {reversed(at(v1alpha1.PhaseOldReadOnly, "2022-06-28T09:00:01")), nil}},
	},
	"Destroy must come after every other phase": {
		accept: []change{{at(v1alpha1.PhaseDestroy, "2023-12-28T00:00:00"), nil}, {at(v1alpha1.PhaseDestroy, "2023-12-27T00:00:00"), nil}},
		refuse: []change{{at(v1alpha1.PhaseDestroy, "2022-06-28T08:59:59"), nil}, {reversed(at(v1alpha1.PhaseDestroy, "2022-04-01T00:00:00")), nil}},
	},
	"give until for Freeze": {
		accept: []change{{migration(moved), nil}, {until(v1alpha1.PhaseArchive, ""), nil}},
		refuse: []change{{until(v1alpha1.PhaseOpenNew, "2022-04-29T18:00:00"), nil}, {until(v1alpha1.PhaseFreeze, ""), nil}},
	},
	"until must be after at": {
		accept: []change{{until(v1alpha1.PhaseFreeze, "2022-04-20T08:00:01"), nil}},
		refuse: []change{{until(v1alpha1.PhaseFreeze, "2022-04-20T08:00:00"), nil}},
	},
	"endpoint is where the old mailboxes are read": {
		accept: []change{{migration(moved), nil}},
		refuse: []change{{phase(v1alpha1.PhaseArchive, func(p *v1alpha1.MigrationPhase) { p.Endpoint = "tempmail.vecchio.test" }), nil}},
	},
	"the calendar has no such day": {
		accept: []change{{at(v1alpha1.PhaseDestroy, "2028-02-29T00:00:00"), nil}, {until(v1alpha1.PhaseFreeze, "2024-02-29T00:00:00"), nil}, {override("2024-02-29T00:00:00"), nil}},
		refuse: []change{{at(v1alpha1.PhaseDestroy, "2027-02-29T00:00:00"), nil}, {until(v1alpha1.PhaseFreeze, "2023-04-31T00:00:00"), nil}, {override("2023-04-31T00:00:00"), nil}},
	},
	"this local time does not exist": {
		accept: []change{{at(v1alpha1.PhaseDestroy, "2026-03-29T01:59:59"), nil}, {at(v1alpha1.PhaseDestroy, "2026-03-29T03:00:00"), nil},
			{at(v1alpha1.PhaseDestroy, "2026-03-22T02:30:00"), nil}, {at(v1alpha1.PhaseDestroy, "2026-03-30T02:30:00"), nil}, {until(v1alpha1.PhaseFreeze, "2023-03-25T02:30:00"), nil}},
		refuse: []change{{at(v1alpha1.PhaseDestroy, "2026-03-29T02:00:00"), nil}, {at(v1alpha1.PhaseDestroy, "2027-03-28T02:59:59"), nil},
			{at(v1alpha1.PhaseDestroy, "2030-03-31T02:30:00"), nil}, {until(v1alpha1.PhaseFreeze, "2023-03-26T02:30:00"), nil}},
	},
	"this local time exists twice": {
		accept: []change{{at(v1alpha1.PhaseDestroy, "2026-10-25T01:59:59"), nil}, {at(v1alpha1.PhaseDestroy, "2026-10-25T03:00:00"), nil},
			{at(v1alpha1.PhaseDestroy, "2026-10-26T02:30:00"), nil}, {until(v1alpha1.PhaseFreeze, "2022-10-29T02:30:00"), nil}},
		refuse: []change{{at(v1alpha1.PhaseDestroy, "2026-10-25T02:00:00"), nil}, {at(v1alpha1.PhaseDestroy, "2027-10-31T02:59:59"), nil},
			{until(v1alpha1.PhaseFreeze, "2022-10-30T02:30:00"), nil}},
	},
	"a window that closes when it opens": {
		accept: []change{{retentionWindow("22:00", "06:00"), nil}, {migrationWindow("09:00", "17:00"), nil}},
		refuse: []change{{retentionWindow("22:00", "22:00"), nil}, {migrationWindow("00:00", "00:00"), nil}},
	},
	"remove needs archive": {
		accept: []change{{retention(policy), nil}},
		refuse: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) { p.Archive = nil }), nil}},
	},
	"remove.when Acknowledged needs offload": {
		accept: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) { p.Offload, p.Remove.When = nil, v1alpha1.RemoveArchived }), nil}},
		refuse: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) { p.Offload = nil }), nil},
			{retention(func(p *v1alpha1.RetentionPolicySpec) { p.Offload.Acknowledgement = v1alpha1.AcknowledgementNotRequired }), nil}},
	},
	"logs, infected, custody and afterClosure cannot be kept for less": {
		accept: []change{{held(policy), held(func(p *v1alpha1.RetentionPolicySpec) {
			p.Logs.KeepMonths, p.AfterClosure.ArchiveUntil = ptr.To(int32(60)), "2025-01-01"
		})},
			{retention(policy), retention(func(p *v1alpha1.RetentionPolicySpec) { p.Custody.KeepMonths = ptr.To(int32(6)) })}},
		refuse: []change{{held(policy), held(func(p *v1alpha1.RetentionPolicySpec) { p.Logs = nil })},
			{held(func(p *v1alpha1.RetentionPolicySpec) { p.Infected.KeepMonths = ptr.To(int32(31)) }), held(policy)},
			{held(policy), held(func(p *v1alpha1.RetentionPolicySpec) { p.Custody.KeepMonths = ptr.To(int32(6)) })},
			{held(policy), held(func(p *v1alpha1.RetentionPolicySpec) { p.AfterClosure.ArchiveUntil = "2023-12-28" })}},
	},
	"remove cannot be added, come earlier": {
		accept: []change{{held(policy), held(func(p *v1alpha1.RetentionPolicySpec) { p.Remove = nil })},
			{held(policy), held(func(p *v1alpha1.RetentionPolicySpec) { p.Remove.AfterArchiveDays = ptr.To(int32(31)) })}},
		refuse: []change{{held(policy), held(func(p *v1alpha1.RetentionPolicySpec) { p.Remove.AfterArchiveDays = ptr.To(int32(29)) })},
			{held(policy), held(func(p *v1alpha1.RetentionPolicySpec) { p.Remove.When = v1alpha1.RemoveArchived })},
			{held(func(p *v1alpha1.RetentionPolicySpec) { p.Remove = nil }), held(policy)}},
	},
	"give mailboxes.domainRef exactly when": {
		accept: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) {
			p.Mailboxes = v1alpha1.RetainedMailboxes{Type: v1alpha1.RetainedReferring}
		}), nil}},
		refuse: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) { p.Mailboxes.DomainRef = nil }), nil},
			{retention(func(p *v1alpha1.RetentionPolicySpec) { p.Mailboxes.Type = v1alpha1.RetainedReferring }), nil}},
	},
	"give mailboxes.labels exactly when": {
		accept: []change{{labelled(), nil}},
		refuse: []change{{labelled(func(m *v1alpha1.RetainedMailboxes) { m.Labels = nil }), nil},
			{retention(func(p *v1alpha1.RetentionPolicySpec) { p.Mailboxes.Labels = []v1alpha1.LabelRequirement{anOffice} }), nil}},
	},
	"give values exactly when": {
		accept: []change{{labelled(), nil}, {labelled(func(m *v1alpha1.RetainedMailboxes) {
			m.Labels[0].Operator, m.Labels[0].Values = v1alpha1.LabelExists, nil
		}), nil}},
		refuse: []change{{labelled(func(m *v1alpha1.RetainedMailboxes) { m.Labels[0].Values = nil }), nil},
			{labelled(func(m *v1alpha1.RetainedMailboxes) { m.Labels[0].Operator = v1alpha1.LabelDoesNotExist }), nil}},
	},
	"remove is not for mailboxes.type Labelled": {
		accept: []change{{labelled(), nil}},
		refuse: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) {
			p.Mailboxes = v1alpha1.RetainedMailboxes{Type: v1alpha1.RetainedLabelled, Labels: []v1alpha1.LabelRequirement{anOffice}}
		}), nil}},
	},
	"restore needs archive": {
		accept: []change{{restoring("r1"), nil}},
		refuse: []change{{restoring("r1", func(p *v1alpha1.RetentionPolicySpec) { p.Archive, p.Remove = nil, nil }), nil}},
	},
	"restore is done once for each token": {
		accept: []change{{restoring("r1"), restoring("r1")}, {restoring("r1"), restoring("r2", otherFolder)}, {restoring("r1"), retention(policy)}, {retention(policy), restoring("r1")}},
		refuse: []change{{restoring("r1"), restoring("r1", otherFolder)}},
	},
	"give destination.s3 exactly when": {
		accept: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) {
			p.Archive.Destination = v1alpha1.ArchiveDestination{Type: v1alpha1.ArchiveToS3, S3: s3}
		}), nil}},
		refuse: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) { p.Archive.Destination.S3 = s3 }), nil}},
	},
	"give destination.volumeClaim exactly when": {
		accept: []change{{retention(policy), nil}},
		refuse: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) { p.Archive.Destination.VolumeClaim = nil }), nil}},
	},
	"give offload.imap exactly when": {
		accept: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) {
			p.Offload = &v1alpha1.Offload{Type: v1alpha1.OffloadToIMAP, Acknowledgement: v1alpha1.AcknowledgementRequired, IMAP: &v1alpha1.OffloadIMAP{
				Endpoint: v1alpha1.Endpoint{Host: "imaps.esempio.test"}, CredentialsSecretRef: v1alpha1.SecretReference{SecretName: "offload"}}}
		}), nil}},
		refuse: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) { p.Offload.Type = v1alpha1.OffloadToIMAP }), nil}},
	},
	"give offload.volumeClaim exactly when": {
		accept: []change{{retention(policy), nil}},
		refuse: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) { p.Offload.VolumeClaim = nil }), nil}},
	},
	"give offload.http exactly when": {
		accept: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) {
			p.Offload = &v1alpha1.Offload{Type: v1alpha1.OffloadToHTTP, Acknowledgement: v1alpha1.AcknowledgementRequired, HTTP: &v1alpha1.OffloadHTTP{
				URL: "https://protocollo.esempio.test/in", CredentialsSecretRef: v1alpha1.SecretReference{SecretName: "offload"}}}
		}), nil}},
		refuse: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) { p.Offload.Type = v1alpha1.OffloadToHTTP }), nil}},
	},
	"keepMonths is below": {
		accept: []change{{retention(policy), nil}, {retention(func(p *v1alpha1.RetentionPolicySpec) { p.Infected.KeepMonths = ptr.To(int32(31)) }), nil}},
		refuse: []change{{retention(func(p *v1alpha1.RetentionPolicySpec) { p.Logs.KeepMonths = ptr.To(int32(29)) }), nil},
			{retention(func(p *v1alpha1.RetentionPolicySpec) { p.Infected.KeepMonths = ptr.To(int32(29)) }), nil}},
	},
	"schedule.at between 02:00 and 02:59": {
		accept: []change{{retention(schedule("01:59")), nil}, {retention(schedule("03:00")), nil}},
		refuse: []change{{retention(schedule("02:00")), nil}, {retention(schedule("02:30")), nil}},
	},
	"mailboxDefaults.quota must be 1M or more": {
		accept: []change{{defaultQuota("1M"), nil}},
		refuse: []change{{defaultQuota("999k"), nil}},
	},
	"antivirus.memory must be 128Mi or more": {
		accept: []change{{antivirusMemory("128Mi"), nil}, {antivirusMemory("2Gi"), nil}},
		refuse: []change{{antivirusMemory("127Mi"), nil}, {antivirusMemory("2"), nil}},
	},
	"quota must be 1M or more": {
		accept: []change{{changedMailbox(quota("1M")), nil}, {changedMailbox(func(m *v1alpha1.Mailbox) { m.Spec.Quota = nil }), nil}},
		refuse: []change{{changedMailbox(quota("999k")), nil}, {changedMailbox(quota("2")), nil}, {unstructuredQuota(strings.Repeat("0", 32) + "1G"), nil}},
	},
	"requestedAt cannot change": {
		accept: []change{{mailbox("protocollo"), mailbox("protocollo")}},
		refuse: []change{{mailbox("protocollo"), changedMailbox(func(m *v1alpha1.Mailbox) { m.Spec.RequestedAt = metav1.NewTime(time.Unix(0, 0)) })}},
	},
}

func moved(*v1alpha1.MailboxMigrationSpec) {}
func policy(*v1alpha1.RetentionPolicySpec) {}
func as(*v1alpha1.MailboxSpec)             {}

func massive(m *v1alpha1.MailboxSpec) {
	m.Type = v1alpha1.MailboxMassive
	m.Massive = &v1alpha1.MassiveUse{Justification: "avvisi di pagamento a tutti i contribuenti", ExpectedMessagesPerMonth: ptr.To(int32(40000))}
}

func availability(percent string) func(*v1alpha1.PECDomain) {
	return func(d *v1alpha1.PECDomain) {
		d.Spec.ServiceLevel = &v1alpha1.ServiceLevel{AvailabilityPercent: percent}
	}
}

func takeover(t v1alpha1.DNSTakeover) client.Object {
	return dns(v1alpha1.DomainDNS{Mode: v1alpha1.DNSRFC2136, RFC2136: rfc2136, Takeover: &t})
}

// only is a migration with no phases but the named ones.
func only(names ...v1alpha1.MigrationPhaseName) client.Object {
	return migration(func(m *v1alpha1.MailboxMigrationSpec) {
		m.Calendar.Phases = slices.DeleteFunc(m.Calendar.Phases, func(p v1alpha1.MigrationPhase) bool { return !slices.Contains(names, p.Name) })
	})
}

// reversed is a migration with its phases listed in the opposite order.
func reversed(m client.Object) client.Object {
	slices.Reverse(m.(*v1alpha1.MailboxMigration).Spec.Calendar.Phases)
	return m
}

func schedule(at v1alpha1.TimeOfDay) func(*v1alpha1.RetentionPolicySpec) {
	return func(p *v1alpha1.RetentionPolicySpec) { p.Schedule.At = at }
}

func retentionWindow(opens, closes v1alpha1.TimeOfDay) client.Object {
	return retention(func(p *v1alpha1.RetentionPolicySpec) {
		p.Schedule.Windows = []v1alpha1.Window{{Opens: opens, Closes: closes}}
	})
}

func migrationWindow(opens, closes v1alpha1.TimeOfDay) client.Object {
	return migration(func(m *v1alpha1.MailboxMigrationSpec) {
		m.Copy = &v1alpha1.MigrationCopy{Windows: []v1alpha1.Window{{Opens: opens, Closes: closes}}}
	})
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
	return func(m *v1alpha1.Mailbox) { m.Spec.Quota = ptr.To(resource.MustParse(q)) }
}

func defaultQuota(q string) client.Object {
	return defaults(v1alpha1.MailboxDefaults{Quota: ptr.To(resource.MustParse(q))})
}

// antivirusMemory is a Managed domain whose ClamAV is given so much.
func antivirusMemory(q string) client.Object {
	return managed(func(m *v1alpha1.ManagedProvider) {
		m.Antivirus = &v1alpha1.Antivirus{
			Definitions:              v1alpha1.AntivirusDefinitions{ConfigMapRef: &v1alpha1.LocalReference{Name: "definitions"}},
			DefinitionsMaxAgeMinutes: ptr.To(int32(60)), Memory: ptr.To(resource.MustParse(q)),
		}
	})
}

// unstructuredQuota is a mailbox whose quota is written as no program of ours would write it.
func unstructuredQuota(q string) client.Object {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(mailbox("protocollo"))
	if err != nil {
		panic(err)
	}
	content["spec"].(map[string]any)["quota"] = q
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Mailbox"))
	return u
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

// A rule without its pair of cases is a rule that nobody has seen work; one that stands in several places needs as many.
func TestEveryRuleHasItsCases(t *testing.T) {
	places := map[string]int{}
	for _, message := range ruleMessages(t) {
		places[message]++
	}
	for message, n := range places {
		matches := 0
		for prefix, rule := range rules {
			if strings.HasPrefix(message, prefix) && len(rule.accept) >= n && len(rule.refuse) >= n {
				matches++
			}
		}
		if matches != 1 {
			t.Errorf("%d entries with %d accepted and %d refused cases for the rule %q, want one", matches, n, n, message)
		}
	}
	if len(places) != len(rules) {
		t.Errorf("the generated CRDs have %d rules, the table has %d", len(places), len(rules))
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

// An example that does not apply teaches the wrong thing.
func TestExamplesApply(t *testing.T) {
	c := newClient(t)
	for name, document := range apitest.Examples(t) {
		t.Run(name, func(t *testing.T) {
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
				t.Fatal(err)
			}
			object.SetNamespace("default")
			if err := c.Create(context.Background(), object, client.DryRunAll, client.FieldValidation("Strict")); err != nil {
				t.Error(err)
			}
		})
	}
}
