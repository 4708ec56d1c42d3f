package pec

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
)

// Identifier is the PEC identifier of a submission. It depends only on the site and on the long queue identifier that
// Postfix gave the submission, so that a filter that runs again after a crash certifies nothing twice.
func Identifier(site, queueID, mailDomain string) string {
	return "pec" + digest("identifier", site, queueID, mailDomain) + "@" + strings.ToLower(mailDomain)
}

// NoticeID is the Message-ID, without brackets, of what the provider issues about the message identifier: the same facts give
// the same one at every retry and at both sites, and no other provider's notice about that message has it. recipient is the one
// that the notice concerns, "" if it concerns all; extra tells apart what may be issued more than once (the queue identifier
// for presa in carico, the [Deadline] for the warnings).
func (p Provider) NoticeID(identifier string, t Type, recipient string, extra ...string) string {
	domain := strings.ToLower(p.MailDomain)
	parts := append([]string{"notice", domain, identifier, string(t), strings.ToLower(recipient)}, extra...)
	return "pec" + digest(parts...) + "@" + domain
}

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// digest is 130 bits of SHA-256 over the parts, each preceded by its length, so that no two lists run together.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return idEncoding.EncodeToString(h.Sum(nil))[:26]
}
