// Package password says which passwords a mailbox may have, and makes and checks their hashes as Dovecot does.
package password

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
)

const (
	// Cost makes one guess cost about a quarter of a second of a core.
	Cost = 12
	// minCharacters and maxBytes bound a password; bcrypt reads no more than 72 bytes, and the rest would count for nothing.
	minCharacters, maxBytes = 8, 72
	// MaxArgonMemory is the most that one check may take, in KiB: logins in flight would otherwise end Dovecot for want of memory.
	MaxArgonMemory = 19 * 1024
)

// Problem says what keeps raw from being a password and what to do, without repeating it; "" if nothing does.
func Problem(raw []byte) string {
	switch {
	case !utf8.Valid(raw) || bytes.ContainsFunc(raw, unicode.IsControl):
		return "the password has a line end or another control character; write it without"
	case utf8.RuneCount(raw) < minCharacters:
		return fmt.Sprintf("the password is shorter than %d characters; choose a longer one", minCharacters)
	case len(raw) > maxBytes:
		return fmt.Sprintf("the password is longer than %d bytes; choose a shorter one", maxBytes)
	}
	return ""
}

// Hash is what the directory stores of a password without a Problem.
func Hash(raw []byte, cost int) (string, error) {
	hash, err := bcrypt.GenerateFromPassword(raw, cost)
	if err != nil {
		return "", err
	}
	// Go writes $2a$, Dovecot's crypt(3) calls the same algorithm $2y$.
	return "{" + schemeBcrypt + "}$2y$" + strings.TrimPrefix(string(hash), "$2a$"), nil
}
