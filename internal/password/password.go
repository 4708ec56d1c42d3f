// Package password says which passwords a mailbox may have, and makes and checks their hashes as Dovecot does.
package password

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
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
	return "{BLF-CRYPT}$2y$" + strings.TrimPrefix(string(hash), "$2a$"), nil
}

// ErrScheme marks a hash that only Dovecot can check.
var ErrScheme = errors.New("a hash of this scheme cannot be checked here")

// Matches says whether a password is that of a {SCHEME} hash.
func Matches(hash string, raw []byte) (bool, error) {
	scheme, rest, _ := strings.Cut(strings.TrimPrefix(hash, "{"), "}")
	switch strings.ToUpper(scheme) {
	case "BLF-CRYPT":
		if len(raw) > maxBytes {
			return false, nil
		}
		err := bcrypt.CompareHashAndPassword([]byte(rest), raw)
		if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			return false, nil
		}
		return err == nil, err
	case "ARGON2ID":
		return matchesArgon(rest, raw)
	}
	return false, ErrScheme
}

var argonForm = regexp.MustCompile(`^\$argon2id\$v=19\$m=([0-9]{1,9}),t=([0-9]{1,3}),p=([0-9]{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$`)

func matchesArgon(hash string, raw []byte) (bool, error) {
	m := argonForm.FindStringSubmatch(hash)
	if m == nil {
		return false, ErrScheme
	}
	memory, _ := strconv.Atoi(m[1])
	passes, _ := strconv.Atoi(m[2])
	lanes, _ := strconv.Atoi(m[3])
	salt, saltErr := base64.RawStdEncoding.DecodeString(m[4])
	want, wantErr := base64.RawStdEncoding.DecodeString(m[5])
	if saltErr != nil || wantErr != nil || memory > MaxArgonMemory || passes < 1 || lanes < 1 || lanes > 255 || len(want) == 0 {
		return false, ErrScheme
	}
	got := argon2.IDKey(raw, salt, uint32(passes), uint32(memory), uint8(lanes), uint32(len(want))) //nolint:gosec // bounded above
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}
