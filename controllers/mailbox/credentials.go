package mailbox

import (
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

// judgedSecret is what a Secret holds, no credentials where it cannot be used, and why, in one reason and one sentence that tells what to do
// and never repeats them.
type judgedSecret struct {
	credentials
	reason, message string
}

// judgeSecret says whether the bytes of a Secret can be a mailbox's credentials. Pure.
func judgeSecret(raw []byte) judgedSecret {
	if len(raw) == 0 {
		return judgedSecret{reason: v1alpha1.ReasonSecretMissing, message: "it is missing or empty; create it with the mailbox's password"}
	}
	if hash, problem, isHash := password.Ready(raw); isHash {
		if problem != "" {
			return judgedSecret{reason: v1alpha1.ReasonHashUnusable, message: problem}
		}
		return judgedSecret{credentials{hashed: hash}, v1alpha1.ReasonCredentialsAccepted, "the hash is one that the stack checks"}
	}
	if problem := password.Problem(raw); problem != "" {
		return judgedSecret{reason: v1alpha1.ReasonPasswordUnusable, message: problem}
	}
	return judgedSecret{credentials{password: raw}, v1alpha1.ReasonCredentialsAccepted, "the password can be used"}
}
