package stack

import "github.com/pec-operator/pec-operator/internal/sieve"

// Paths inside the containers.
const (
	postfixDir = "/etc/pec/postfix"
	dovecotDir = "/etc/pec/dovecot"
	engineDir  = "/etc/pec/engine"
	tlsDir     = "/etc/pec/tls"     // what clients and other servers are shown
	signingDir = "/etc/pec/signing" // engine only
	keysDir    = "/etc/pec/keys"    // the engine's own keys; Dovecot sees doveadm.conf of it
	indexDir   = "/etc/pec/index"

	antivirusDir   = "/etc/pec/antivirus"
	definitionsDir = "/var/lib/clamav"
	antispamDir    = "/etc/pec/antispam"
	timestampDir   = "/etc/pec/timestamp"    // roots of the time-stamping authority
	indexClientDir = "/etc/pec/index-client" // what the index' source is shown
	indexCADir     = "/etc/pec/index-ca"
	pinDir         = "/etc/pec/pin"    // the process that uses the HSM, only
	pkcs11Dir      = "/etc/pec/pkcs11" // the files of the HSM's library, that process only
	signerRun      = "/run/pec-signer" // its socket, for the engine

	mailDir      = "/srv/mail"
	queueDir     = "/var/spool/postfix"
	stateDir     = "/var/lib/pec"
	directoryDir = stateDir + "/" + directoryName // every user may enter: SQLite opens the log by its path, as Postfix' user
	directoryDB  = directoryDir + "/directory.sqlite"

	rulesDir = directoryDir + "/" + sieve.Dir

	// Both runtime directories are empty volumes of the kubelet's, owned by root and writable for all. Postfix and Dovecot want
	// to own theirs, so each makes its own below.
	postfixRun = "/run/postfix"
	dovecotRun = "/run/dovecot"
)

// directoryName is the folder on the engine's claim that Postfix and Dovecot see.
const directoryName = "directory"

// The files of the ConfigMap.
const (
	fileMain      = "main.cf"
	fileMaster    = "master.cf"
	fileDomains   = "domains.cf"
	fileElsewhere = "elsewhere.cf"
	fileLoops     = "loops.regexp"
	fileMailboxes = "mailboxes.cf"
	fileSenders   = "senders.cf"
	filePolicy    = "tls-policy.cf"
	fileClamd     = "clamd.conf"
	fileRspamd    = "rspamd.conf"
	fileSuffixes  = "suffixes"
	fileRefusals  = "refusals.cf"
	fileDovecot   = "dovecot.conf"
	fileEngine    = "engine.json"
)
