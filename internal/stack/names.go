// Package stack turns a Managed PECDomain into what runs for it at one site: Kubernetes objects, and the files of Postfix,
// Dovecot and the engine. It is pure: the same domain and settings give the same bytes, so that applying twice changes nothing.
package stack

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

// Names are the names of a domain's objects. None is longer than 52 characters: the StatefulSet's pods carry its name and a
// hash of eleven in a label, and a label holds 63.
type Names struct {
	StatefulSet string // also the headless Service and the PodDisruptionBudget
	Mail        string // LoadBalancer Service of the mail ports
	Engine      string // ClusterIP Service of the engine's admin API
	ConfigMap   string
	// EngineSecret is made by the operator: tls.crt, tls.key, and the keys below.
	EngineSecret string
	MailClaim    string // the store of Dovecot
	QueueClaim   string // the queue of Postfix
	EngineClaim  string // evidence, custody copies, directory
	// Certificate is that of the mail ports where cert-manager issues it, and the Secret that it fills.
	Certificate string
}

// The keys of the engine's Secret, beside tls.crt and tls.key.
const (
	KeyAuthority       = "ca.crt"
	KeyDoveadmPassword = "doveadm-password"
	KeyDoveadmAPIKey   = "doveadm-apikey"
	KeyDoveadmConf     = "doveadm.conf" // password and API key, as dovecot.conf includes them
)

// The keys of the ConfigMap with the providers' index, which a person makes.
const (
	KeyIndex = "index.ldif"
	KeyRoots = "roots.pem"
)

// slugLength leaves room for "pec-", a hash and the longest suffix.
const slugLength = 30

// NamesFor names the objects of a domain's first shard, which is the only one in this release.
func NamesFor(domain string) Names { return ShardNames(domain, 0) }

// ShardNames names the objects of one shard of a domain. The hash keeps apart domains whose slugs are equal. The first shard, 0, bears no
// number: its claims hold mail under these names since there were no others.
func ShardNames(domain string, shard int) Names {
	number := ""
	if shard > 0 {
		number = "-" + strconv.Itoa(shard)
	}
	slug := strings.ReplaceAll(domain, ".", "-")
	slug = strings.Trim(slug[:min(len(slug), slugLength-len(number))], "-")
	sum := sha256.Sum256([]byte(domain))
	name := "pec-" + slug + "-" + hex.EncodeToString(sum[:4]) + number
	return Names{
		StatefulSet: name, Mail: name + "-mail", Engine: name + "-engine", ConfigMap: name + "-config", EngineSecret: name + "-engine",
		MailClaim: name + "-mail", QueueClaim: name + "-queue", EngineClaim: name + "-engine",
		Certificate: name + "-tls",
	}
}

// TLSSecret is the Secret with the certificate of a Managed domain's mail ports.
func TLSSecret(d *v1alpha1.PECDomain) string {
	return cmp.Or(d.Spec.Provider.Managed.TLS.SecretName, NamesFor(d.Name).Certificate)
}

// EngineHosts are the names under which the engine is reached inside the cluster: the DNS names of its certificate.
func (n Names) EngineHosts(namespace string) []string {
	return []string{n.Engine + "." + namespace + ".svc", n.Engine + "." + namespace, n.Engine}
}
