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
package engine
