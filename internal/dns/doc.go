// Package dns keeps the MX of certified-mail domains right, and never touches one that is not ours: a wrong MX takes a public
// body off the certified list. It looks at every authoritative server of a domain ([Observer]), names what it saw ([Classify],
// [Settle]), decides ([Plan], [Cutover.Next], [Limits.Allow]) and either writes the request that a person carries out
// ([Request]) or makes the change itself under prerequisites ([RFC2136]). Deciding is pure: no clock, no network.
//
// Words, explained once:
//
//   - owner TXT: the record at _pec-owner.<domain> that says which operator wrote the MX set, in which epoch, and its hash;
//   - epoch: the fencing number of the two sites; the site with the lower one finds its prerequisite stale and stops;
//   - view: what one address of one authoritative server answered in one round;
//   - foreign: an MX record that names a host which is neither wanted nor was written by this operator.
//
// Sources: RFC 1034 and 1035 (zones, truncation), 2136 (UPDATE and its prerequisites), 2181 5.2 and 10.3 (sets; an MX names no
// alias), 2308 (negative TTL), 4592 (wildcards), 5321 5.1 (MX), 6672 (DNAME), 7505 (null MX), 8945 (TSIG).
package dns
