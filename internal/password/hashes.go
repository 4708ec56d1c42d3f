package password

import (
	"cmp"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt/algorithm/shacrypt"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// The schemes that Dovecot and the engine check, by the name that both know.
const (
	schemeBcrypt = "BLF-CRYPT"
	schemeArgon  = "ARGON2ID"
	schemeSHA512 = "SHA512-CRYPT"
)

const (
	// minCost and maxCost bound a bcrypt hash; 14 takes a second of a core.
	minCost, maxCost = 10, 14
	// maxPasses and maxLanes bound an Argon2id hash beside its memory.
	maxPasses, maxLanes = 20, 16
	// minRounds and maxRounds bound a SHA512-CRYPT hash; the first is what a hash without rounds= has, the last takes a second of a core.
	minRounds, maxRounds = 5000, 1_000_000
	// maxSHABytes bounds a password that is checked with SHA512-CRYPT, whose time grows with the square of it.
	maxSHABytes = 256
)

var (
	schemed    = regexp.MustCompile(`^\{([A-Za-z0-9.-]+)\}(.*)$`)
	bcryptForm = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)
	argonForm  = regexp.MustCompile(`^\$argon2id\$v=19\$m=([0-9]{1,9}),t=([0-9]{1,3}),p=([0-9]{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$`)
	shaForm    = regexp.MustCompile(`^\$6\$(?:rounds=([0-9]{1,9})\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}$`)
)

// Ready takes a {SCHEME} hash that somebody else made: as the directory, Dovecot and Matches know it, with the scheme in capitals, or with a
// sentence of what is wrong with it that does not repeat it. ok is false for what is no {SCHEME} hash.
func Ready(raw []byte) (hash, problem string, ok bool) {
	m := schemed.FindSubmatch(raw)
	if m == nil {
		return "", "", false
	}
	scheme, rest := strings.ToUpper(string(m[1])), string(m[2])
	if problem = problemOf(scheme, rest); problem != "" {
		return "", problem, true
	}
	return "{" + scheme + "}" + rest, "", true
}

// problemOf says what is wrong with a hash of a scheme, or "".
func problemOf(scheme, hash string) string {
	switch scheme {
	case schemeBcrypt:
		m := bcryptForm.FindStringSubmatch(hash)
		if m == nil {
			return "the {BLF-CRYPT} hash is not of the form $2y$12$...; make it again"
		}
		if cost, _ := strconv.Atoi(m[1]); cost < minCost || cost > maxCost {
			return fmt.Sprintf("the {BLF-CRYPT} hash has a cost outside %d to %d; make it again with cost %d", minCost, maxCost, Cost)
		}
	case schemeArgon:
		m := argonForm.FindStringSubmatch(hash)
		if m == nil {
			return "the {ARGON2ID} hash is not of the form $argon2id$v=19$m=...; make it again"
		}
		if memory, _ := strconv.Atoi(m[1]); memory > MaxArgonMemory {
			return fmt.Sprintf("the {ARGON2ID} hash takes more than %d KiB for one login; make it again with less", MaxArgonMemory)
		}
		passes, _ := strconv.Atoi(m[2])
		if lanes, _ := strconv.Atoi(m[3]); passes < 1 || passes > maxPasses || lanes < 1 || lanes > maxLanes {
			return fmt.Sprintf("the {ARGON2ID} hash has t outside 1 to %d, or p outside 1 to %d; make it again with t=2 and p=1", maxPasses, maxLanes)
		}
	case schemeSHA512:
		m := shaForm.FindStringSubmatch(hash)
		if m == nil {
			return "the {SHA512-CRYPT} hash is not of the form $6$salt$... or $6$rounds=N$salt$...; make it again"
		}
		if rounds, _ := strconv.Atoi(cmp.Or(m[1], strconv.Itoa(minRounds))); rounds < minRounds || rounds > maxRounds {
			return fmt.Sprintf("the {SHA512-CRYPT} hash has rounds outside %d to %d; make it again", minRounds, maxRounds)
		}
	default:
		return "its {SCHEME} is not one that the stack checks; give the password itself, or a {BLF-CRYPT}, {ARGON2ID} or {SHA512-CRYPT} hash"
	}
	return ""
}

// ErrScheme marks a hash that only Dovecot can check.
var ErrScheme = errors.New("a hash of this scheme cannot be checked here")

// Matches says whether a password is that of a {SCHEME} hash.
func Matches(hash string, raw []byte) (bool, error) {
	scheme, rest, _ := strings.Cut(strings.TrimPrefix(hash, "{"), "}")
	switch scheme {
	case schemeBcrypt:
		if len(raw) > maxBytes {
			return false, nil
		}
		err := bcrypt.CompareHashAndPassword([]byte(rest), raw)
		if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			return false, nil
		}
		return err == nil, err
	case schemeArgon:
		return matchesArgon(rest, raw)
	case schemeSHA512:
		return matchesSHA512(rest, raw)
	}
	return false, ErrScheme
}

func matchesArgon(hash string, raw []byte) (bool, error) {
	if problemOf(schemeArgon, hash) != "" {
		return false, ErrScheme
	}
	m := argonForm.FindStringSubmatch(hash)
	memory, _ := strconv.Atoi(m[1])
	passes, _ := strconv.Atoi(m[2])
	lanes, _ := strconv.Atoi(m[3])
	salt, saltErr := base64.RawStdEncoding.DecodeString(m[4])
	want, wantErr := base64.RawStdEncoding.DecodeString(m[5])
	if saltErr != nil || wantErr != nil || len(want) == 0 {
		return false, ErrScheme
	}
	got := argon2.IDKey(raw, salt, uint32(passes), uint32(memory), uint8(lanes), uint32(len(want))) //nolint:gosec // bounded above
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

func matchesSHA512(hash string, raw []byte) (bool, error) {
	if problemOf(schemeSHA512, hash) != "" {
		return false, ErrScheme
	}
	digest, err := shacrypt.DecodeVariant(shacrypt.VariantSHA512)(hash)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrScheme, err)
	}
	return len(raw) <= maxSHABytes && digest.MatchBytes(raw), nil
}
