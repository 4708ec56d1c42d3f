// Package engine certifies mail between Postfix and Dovecot: it is the access, incoming and delivery point of a certified-mail
// provider, and nothing else. Postfix owns the queues, Dovecot the mailboxes.
//
// Mail reaches it three times. At the end of DATA on the MX and on the submission port a milter judges and records the
// transaction (milter.go). A submission then comes from Postfix' content filter to the access point (access.go), which puts
// the acceptance receipt and the transport envelope back into Postfix. Mail for a local mailbox comes from Postfix' virtual
// transport to the incoming point (incoming.go), which takes it in charge and hands it to Dovecot itself (deliver.go).
//
// Every step is at-least-once from outside and exactly-once in effect: its key derives from its input, its outcome is a
// record of the evidence log (journal.go), its bytes are in custody, and a retry continues where the first try stopped. The
// answer is 250 only when what was produced is safe, and otherwise 4xx: a 5xx would make Postfix write a bounce of its own,
// and only a certified notice may tell a sender of a failure.
//
// The other site runs an engine of the same domain. Each keeps a log of its own and a mirror of the other's (logs.go, replicate.go,
// replica.go), copies the messages that the records name (copies.go), has its Dovecot sync mailboxes over the peer link (peerlink.go,
// wire.go, sync.go), compares what both stores hold (compare.go) and leaves one copy of what both delivered (unite.go).
//
// What an engine knows is a view of all logs that are here, made by load at start and record by record after that: timers.go (who waits
// for an outcome), holder.go and secrets.go (what holders chose, and which password counts), sendlimit.go (what they sent today),
// standings.go (whose a mailbox is), held.go and forwards.go (what waits for a mailbox), senders.go, notify.go. No view is the only copy
// of anything.
//
// It is asked by Postfix (lmtp.go, milter.go), by the site's operator (admin.go, placed.go) and its Jobs (jobstore.go, jobrecords.go),
// by holders (holderapi.go), by Dovecot about logins (loginpolicy.go, gate.go), by the other site (peerlink.go) and by the kubelet
// (health.go).
//
// Words: a transaction is SMTP's, as the milter saw it end. A submission is what a mailbox sends: accepted, or refused. A notice is any
// signed document but the envelope. A delivery is one certified message for one mailbox. A row is a mailbox in the directory; to derive
// it is to make its password and Sieve rules what the row and its holder's choices say. A log's name begins with its site's.
package engine
