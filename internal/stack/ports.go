package stack

import "strconv"

// Ports of the pod. None is below 1024, so that no container needs a capability to listen.
const (
	portMX          = 2525
	portSubmissions = 2465
	portIMAPS       = 10993
	portPOP3S       = 10995
	portSieve       = 14190
	portHolder      = 10443
	portPeerLink    = 9443
	AdminPort       = 8443 // of the engine's admin API, also on its Service
	portHealth      = 8081
)

// Ports on the pod's loopback: only the containers of the pod reach them, and they trust each other.
const (
	portAccess          = 10024 // engine, LMTP: what submission accepted
	portIncoming        = 10025 // engine, LMTP: what arrives for local domains
	portReinject        = 10026 // Postfix, SMTP: what the engine sends
	portMilterMX        = 10027 // engine
	portMilterSubmit    = 10028 // engine
	portLoginPolicy     = 10029 // engine, HTTP: whether Dovecot may check a password
	portLMTP            = 2424  // Dovecot
	portAuth            = 12345 // Dovecot, SASL for Postfix
	portDoveadm         = 24245 // Dovecot, doveadm protocol
	portSyncDestination = 24246 // engine: its end of the sync stream
	portDoveadmHTTP     = 24280 // Dovecot
	portClamd           = 3310  // ClamAV
	portRspamd          = 11333 // rspamd
)

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

func everywhere(port int) string { return ":" + strconv.Itoa(port) }
