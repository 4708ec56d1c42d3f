package stack

import (
	"encoding/json"
	"fmt"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/settings"
)

// files are the contents of the ConfigMap. They hold no secret and nothing that changes while mail flows.
func files(d *v1alpha1.PECDomain, s Settings) (map[string]string, error) {
	e := EngineSettings(d, s)
	if e.Hostname == "" {
		return nil, fmt.Errorf("no mail host of site %q in provider.managed.mailHosts of %s", s.Site, d.Name)
	}
	out, err := postfixFiles(e.Hostname, e.Limits)
	if err != nil {
		return nil, fmt.Errorf("configuring Postfix for %s: %w", d.Name, err)
	}
	if out[fileDovecot], err = dovecotFile(e.Hostname); err != nil {
		return nil, fmt.Errorf("configuring Dovecot for %s: %w", d.Name, err)
	}
	if hasAntivirus(d) {
		out[fileClamd] = clamdFile(e.Limits)
	}
	if d.RunsSpamFilter() {
		out[fileRspamd], out[fileSuffixes] = rspamdConf, suffixes
	}
	if out[fileEngine], err = engineFile(e); err != nil {
		return nil, fmt.Errorf("configuring the engine for %s: %w", d.Name, err)
	}
	return out, nil
}

// engineFile writes engine.json and reads it back.
func engineFile(e settings.Engine) (string, error) {
	raw, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encoding %s: %w", fileEngine, err)
	}
	back, err := settings.Parse(raw)
	if err != nil {
		return "", fmt.Errorf("reading %s back: %w", fileEngine, err)
	}
	if back != e {
		return "", fmt.Errorf("encoding %s: it does not read back as it was meant", fileEngine)
	}
	return string(raw) + "\n", nil
}

// EngineSettings are those of a Managed domain's engine at a site. Hostname is empty when no mail host is of the site.
func EngineSettings(d *v1alpha1.PECDomain, s Settings) settings.Engine {
	m := d.Spec.Provider.Managed
	return settings.Engine{
		Antivirus: antivirusSettings(d), Rspamd: rspamdOf(d),
		Site: s.Site, Domain: d.Name, Hostname: hostname(m, s.Site),
		Provider: settings.Provider{
			Name: m.Provider.Name, MailDomain: m.Provider.MailDomain, MailReceipt: m.Provider.MailReceipt,
			ServiceAddress: m.ServiceLocalPart() + "@" + m.Provider.MailDomain,
		},
		Limits: settings.Limits{
			MaxRecipients: int(m.RecipientLimit()), MaxMessageSize: m.MessageSizeLimit(), MaxSizeTimesRecipients: m.SizeTimesRecipientsLimit(),
		},
		Listen: settings.Listen{
			Access: loopback(portAccess), Incoming: loopback(portIncoming), MilterMX: loopback(portMilterMX), MilterSubmit: loopback(portMilterSubmit),
			SyncDestination: loopback(portSyncDestination), Admin: everywhere(AdminPort), PeerLink: everywhere(portPeerLink), Health: everywhere(portHealth),
			Holder: everywhere(portHolder), LoginPolicy: loopback(portLoginPolicy),
		},
		Next: settings.Next{
			Reinject: loopback(portReinject), LMTP: loopback(portLMTP), Doveadm: loopback(portDoveadm),
			DoveadmHTTP: "http://" + loopback(portDoveadmHTTP),
		},
		Timestamping: timestamping(m), Index: indexSource(m), Signer: signerOf(m),
		Files: settings.Files{
			State: stateDir, SigningCert: signingDir + "/tls.crt", SigningKey: signingDir + "/tls.key",
			ProvidersIndex: indexDir + "/" + KeyIndex, ProvidersRoots: indexDir + "/" + KeyRoots,
			AdminCert: keysDir + "/tls.crt", AdminKey: keysDir + "/tls.key", AdminCA: keysDir + "/" + KeyAuthority,
			HolderCert: tlsDir + "/tls.crt", HolderKey: tlsDir + "/tls.key",
			DoveadmPassword: keysDir + "/" + KeyDoveadmPassword, DoveadmAPIKey: keysDir + "/" + KeyDoveadmAPIKey,
		},
	}
}

func timestamping(m *v1alpha1.ManagedProvider) settings.Timestamping {
	if m.Timestamping == nil {
		return settings.Timestamping{}
	}
	t := settings.Timestamping{URL: string(m.Timestamping.URL)}
	if m.Timestamping.CASecretRef != nil {
		t.CA = timestampDir + "/ca.crt"
	}
	return t
}

func indexSource(m *v1alpha1.ManagedProvider) settings.Index {
	p := m.ProvidersIndex
	i := settings.Index{URL: p.URL}
	if p.ClientCertSecretRef != nil {
		i.ClientCert, i.ClientKey = indexClientDir+"/tls.crt", indexClientDir+"/tls.key"
	}
	if p.CASecretRef != nil {
		i.CA, i.SignerCA = indexCADir+"/ca.crt", indexCADir+"/signer.crt"
	}
	return i
}

func signerOf(m *v1alpha1.ManagedProvider) string {
	if m.Signing.PKCS11 == nil {
		return ""
	}
	return signerSocket
}

// hostname is the mail host of a site that remote servers prefer.
func hostname(m *v1alpha1.ManagedProvider, site string) string {
	best, preference := "", int32(0)
	for _, h := range m.MailHosts {
		if h.Site == site && (best == "" || *h.Preference < preference) {
			best, preference = h.Host, *h.Preference
		}
	}
	return best
}
