package mailbox

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/password"
)

// credentials are a password, or a hash that somebody else made. They are never printed.
type credentials struct {
	password []byte
	hashed   string
	// version names the Secret and the state of it that they come from; resourceVersion is that state alone.
	version, resourceVersion string
}

// String keeps a password out of every log and message that prints the struct.
func (credentials) String() string { return "(credentials)" }

// GoString is String for %#v.
func (c credentials) GoString() string { return c.String() }

// hash is what the directory stores.
func (c credentials) hash() (string, error) {
	if c.hashed != "" {
		return c.hashed, nil
	}
	return password.Hash(c.password, password.Cost)
}

// gives says whether they give the password that a hash is of. A ready hash is known to do so only for itself.
func (c credentials) gives(hash string) (bool, error) {
	if c.hashed != "" {
		return c.hashed == hash, nil
	}
	return password.Matches(hash, c.password)
}

var (
	schemed  = regexp.MustCompile(`^\{([A-Za-z0-9.-]+)\}(.*)$`)
	bcrypted = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)
	argon    = regexp.MustCompile(`^\$argon2id\$v=19\$m=([0-9]{1,9}),t=[0-9]{1,3},p=[0-9]{1,3}\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+$`)
)

// judge says whether the bytes of a Secret can be a mailbox's credentials, in one reason and one sentence that tells what to do
// and never repeats them. Pure.
func judge(raw []byte) (c credentials, reason, message string) {
	if len(raw) == 0 {
		return c, v1alpha1.ReasonSecretMissing, "it is missing or empty; create it with the mailbox's password"
	}
	if m := schemed.FindSubmatch(raw); m != nil {
		if problem := judgeHash(string(m[1]), string(m[2])); problem != "" {
			return c, v1alpha1.ReasonHashUnusable, problem
		}
		return credentials{hashed: string(raw)}, v1alpha1.ReasonCredentialsAccepted, "the hash is one that the stack checks"
	}
	if message = password.Problem(raw); message == "" {
		return credentials{password: raw}, v1alpha1.ReasonCredentialsAccepted, "the password can be used"
	}
	return c, v1alpha1.ReasonPasswordUnusable, message
}

// judgeHash says what is wrong with a {SCHEME} hash, or "".
func judgeHash(scheme, hash string) string {
	switch strings.ToUpper(scheme) {
	case "BLF-CRYPT":
		m := bcrypted.FindStringSubmatch(hash)
		if m == nil {
			return "the {BLF-CRYPT} hash is not of the form $2y$12$...; make it again"
		}
		if cost, _ := strconv.Atoi(m[1]); cost < 10 || cost > 14 {
			return "the {BLF-CRYPT} hash has a cost outside 10 to 14; make it again with cost 12"
		}
	case "ARGON2ID":
		m := argon.FindStringSubmatch(hash)
		if m == nil {
			return "the {ARGON2ID} hash is not of the form $argon2id$v=19$m=...; make it again"
		}
		if memory, _ := strconv.Atoi(m[1]); memory > password.MaxArgonMemory {
			return fmt.Sprintf("the {ARGON2ID} hash takes more than %d KiB for one login; make it again with less", password.MaxArgonMemory)
		}
	default:
		return "its {SCHEME} is not one that the stack checks; give the password itself, or a {BLF-CRYPT} or {ARGON2ID} hash"
	}
	return ""
}
