// Package retention archives mail: it selects a mailbox's messages by a rule, writes them byte for byte into packages that never
// change, reads every package back, and puts messages back where they were. It removes nothing; it says what would be due.
//
// Words, explained once:
//
//   - class: certified (an envelope), receipt (what a provider says about a message) or ordinary (all else) ([Class]);
//   - kin: a message and the receipts about it, known by the identifier in their daticert.xml; they are archived side by side;
//   - selection: the messages that a rule asks for, in an order that depends on nothing but them ([Select]);
//   - package: one tar file with an index and the messages, a pure function of the selection ([Package]);
//   - place: where packages are kept, a directory or an S3 bucket, into which things are put once and never changed ([Place]);
//   - seal: the small file beside a package that holds its SHA-256; it is written once the package was read back and found whole,
//     and a package without it counts for nothing yet.
//
// The archive is the only record of what was archived: whoever asks reads the packages' indexes.
package retention
