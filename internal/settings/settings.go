// Package settings is the one file that tells the engine what it serves: written by internal/stack, read by internal/engine.
//
// It holds no secret: keys, passwords and certificates are files that it names. Everything that changes while mail flows
// (mailboxes, hosted domains, the peer) is not here but in the directory, which the operator changes over the admin API.
package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// Engine is the content of engine.json.
type Engine struct {
	// Site is the name of the building this engine runs in ("a"); part of every key that the engine's journal holds.
	Site string `json:"site"`
	// Domain is the Managed PECDomain whose stack this is.
	Domain string `json:"domain"`
	// Hostname is what Postfix greets with and what our Received headers name.
	Hostname string `json:"hostname"`
	// Provider is the identity in daticert.xml and in the providers' index.
	Provider Provider `json:"provider"`
	// Limits are those of the access point (DM 2/11/2005 art. 12).
	Limits Limits `json:"limits"`
	// Listen holds the addresses that the engine serves.
	Listen Listen `json:"listen"`
	// Next holds the addresses of the programs that the engine talks to in its pod.
	Next Next `json:"next"`
	// Antivirus is what messages are scanned with; the zero value means that nothing is.
	Antivirus Antivirus `json:"antivirus,omitzero"`
	// Rspamd is the host:port of the spam filter; "" when there is none.
	Rspamd string `json:"rspamd,omitempty"`
	// Timestamping is the authority that stamps the seals of the log; without a URL there is none.
	Timestamping Timestamping `json:"timestamping,omitzero"`
	// Index is where the providers' index is downloaded from; without a URL it is the file alone.
	Index Index `json:"index,omitzero"`
	// Signer is the socket of the process that holds the signing key; "" when the key is a file.
	Signer string `json:"signer,omitempty"`
	// Files holds the paths that the engine reads and writes.
	Files Files `json:"files"`
}

// Provider is the certified-mail provider (gestore) that signs here.
type Provider struct {
	Name           string `json:"name"`
	MailDomain     string `json:"mailDomain"`
	MailReceipt    string `json:"mailReceipt"`
	ServiceAddress string `json:"serviceAddress"` // whole address: posta-certificata@<mailDomain>
}

// Limits bound what the access point certifies. Sizes are bytes.
type Limits struct {
	MaxRecipients          int   `json:"maxRecipients"`
	MaxMessageSize         int64 `json:"maxMessageSize"`
	MaxSizeTimesRecipients int64 `json:"maxSizeTimesRecipients"`
}

// Antivirus is a clamd in the pod and the folder of its definitions.
type Antivirus struct {
	Clamd         string `json:"clamd"`         // host:port
	Definitions   string `json:"definitions"`   // the newest file in it tells when they were refreshed
	MaxAgeMinutes int    `json:"maxAgeMinutes"` // beyond it, what cannot be scanned waits
}

// Listen are the engine's own addresses, host:port.
type Listen struct {
	Access          string `json:"access"`          // LMTP, from Postfix' content filter on submission
	Incoming        string `json:"incoming"`        // LMTP, from Postfix' virtual transport
	MilterMX        string `json:"milterMX"`        // milter of the MX port
	MilterSubmit    string `json:"milterSubmit"`    // milter of the submission port
	Admin           string `json:"admin"`           // HTTPS, mutual TLS, the operator only
	PeerLink        string `json:"peerLink"`        // TLS, mutual, the peer's engine only
	Holder          string `json:"holder"`          // HTTPS, the mailboxes' holders
	LoginPolicy     string `json:"loginPolicy"`     // HTTP, whether a password may be checked; this pod's Dovecot only
	Health          string `json:"health"`          // HTTP /healthz /readyz /metrics
	SyncDestination string `json:"syncDestination"` // doveadm protocol, this pod's Dovecot only
}

// Next are the neighbours in the pod, host:port.
type Next struct {
	Reinject    string `json:"reinject"`    // Postfix, SMTP
	LMTP        string `json:"lmtp"`        // Dovecot
	Doveadm     string `json:"doveadm"`     // Dovecot, doveadm protocol
	DoveadmHTTP string `json:"doveadmHTTP"` // Dovecot, HTTP API base URL (plain HTTP on loopback)
}

// Timestamping is a time-stamping authority (RFC 3161).
type Timestamping struct {
	URL string `json:"url"`
	// CA is a PEM file: the roots of the authority's HTTPS server and of its own certificate; the system's when "".
	CA string `json:"ca,omitempty"`
}

// Index is a source of the providers' index. Its files are PEM.
type Index struct {
	URL string `json:"url"` // https: a signed LDIF; ldaps: the directory, the path is the base
	// ClientCert and ClientKey are shown to the source.
	ClientCert string `json:"clientCert,omitempty"`
	ClientKey  string `json:"clientKey,omitempty"`
	// CA are the roots of the source's server; the system's when "".
	CA string `json:"ca,omitempty"`
	// SignerCA are the roots of, or the very, certificates that the LDIF may be signed with.
	SignerCA string `json:"signerCA,omitempty"`
}

// Files are paths inside the engine's container.
type Files struct {
	State           string `json:"state"`           // evidence/, custody/, directory/ below it; on the engine's claim
	SigningCert     string `json:"signingCert"`     // PEM, leaf first, then the chain
	SigningKey      string `json:"signingKey"`      // PEM, PKCS#8, PKCS#1 or SEC 1
	ProvidersIndex  string `json:"providersIndex"`  // LDIF
	ProvidersRoots  string `json:"providersRoots"`  // PEM, roots that the providers' signing certificates chain to
	AdminCert       string `json:"adminCert"`       // PEM, server and client certificate of this engine, by the site's CA
	AdminKey        string `json:"adminKey"`        // PEM
	AdminCA         string `json:"adminCA"`         // PEM, the site's own CA
	HolderCert      string `json:"holderCert"`      // PEM, what holders are shown: the certificate of the mail ports
	HolderKey       string `json:"holderKey"`       // PEM
	DoveadmPassword string `json:"doveadmPassword"` // one line
	DoveadmAPIKey   string `json:"doveadmAPIKey"`   // one line
}

// Load reads and strictly decodes an engine.json; an unknown key is an error, because a typo would silently mean a default.
func Load(path string) (Engine, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Engine{}, fmt.Errorf("reading engine settings: %w", err)
	}
	return Parse(raw)
}

// Parse is Load for bytes at hand.
func Parse(raw []byte) (Engine, error) {
	var e Engine
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		return Engine{}, fmt.Errorf("parsing engine settings: %w", err)
	}
	return e, nil
}
