// Package scale measures one site with many mailboxes in one domain: a real API server, the operator and the engine as processes of
// their own, and the real Dovecot before the engine's directory. docs/scale.md says what came of it.
package scale
