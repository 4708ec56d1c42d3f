package stack

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

const domain = "pec.gestore-uno.test"

// makeDomain is a Managed domain with sane values.
func makeDomain() *v1alpha1.PECDomain {
	return &v1alpha1.PECDomain{
		ObjectMeta: metav1.ObjectMeta{Name: domain, Namespace: "gestore-uno"},
		Spec: v1alpha1.PECDomainSpec{
			Holder: v1alpha1.DomainHolder{Name: "Gestore Uno S.p.A."},
			Provider: v1alpha1.DomainProvider{Type: v1alpha1.ProviderManaged, Managed: &v1alpha1.ManagedProvider{
				Provider: v1alpha1.ProviderIdentity{Name: "Gestore Uno S.p.A.", MailDomain: domain, MailReceipt: "ricevute@" + domain},
				MailHosts: []v1alpha1.MailHost{
					{Host: "mx-a2.gestore-uno.test", Site: "a", Preference: ptr.To(int32(30))},
					{Host: "mx-a.gestore-uno.test", Site: "a", Preference: ptr.To(int32(10)), PeerLink: "link-a.gestore-uno.test:9443"},
					{Host: "mx-b.gestore-uno.test", Site: "b", Preference: ptr.To(int32(20)), PeerLink: "link-b.gestore-uno.test:9443"},
				},
				Endpoints: v1alpha1.Endpoints{Submission: "smtps.gestore-uno.test", IMAP: "imaps.gestore-uno.test", POP3: "pop3s.gestore-uno.test"},
				Storage:   v1alpha1.Storage{Size: resource.MustParse("10Gi"), StorageClassName: ptr.To("local-retain")},
				TLS:       v1alpha1.ServerCertificate{SecretName: "gestore-uno-tls"},
				Signing:   v1alpha1.Signing{SecretName: "gestore-uno-signing"},
				Antivirus: &v1alpha1.Antivirus{
					Definitions: v1alpha1.AntivirusDefinitions{ConfigMapRef: &v1alpha1.LocalReference{Name: "antivirus-definitions"}}, DefinitionsMaxAgeMinutes: ptr.To(int32(60)),
				},
				Antispam:       v1alpha1.AntispamEnabled,
				ProvidersIndex: v1alpha1.ProvidersIndex{ConfigMapRef: v1alpha1.LocalReference{Name: "providers-index"}},
			}},
		},
	}
}

func makeSettings() Settings { return Settings{Site: "a", Image: "pec-operator/mail:test"} }
