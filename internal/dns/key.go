package dns

import (
	"encoding/base64"
	"fmt"
	"strings"

	miekg "github.com/miekg/dns"
)

// Key is a TSIG key (RFC 8945). It prints without its secret.
type Key struct {
	name, algorithm, secret string
}

// NewKey checks a key's parts. MD5 and SHA-1 are refused, and so is a secret shorter than 16 octets; RFC 8945 6 keeps the first
// two only for old peers.
func NewKey(name, algorithm string, secret []byte) (Key, error) {
	if _, ok := miekg.IsDomainName(name); !ok || name == "" {
		return Key{}, fmt.Errorf("reading TSIG key %q: the name is not a domain name", name)
	}
	algorithm = Name(algorithm)
	switch algorithm {
	case miekg.HmacSHA256, miekg.HmacSHA384, miekg.HmacSHA512:
	default:
		return Key{}, fmt.Errorf("reading TSIG key %s: algorithm %s is not HMAC-SHA256, HMAC-SHA384 or HMAC-SHA512", name, strings.TrimSuffix(algorithm, "."))
	}
	if len(secret) < 16 {
		return Key{}, fmt.Errorf("reading TSIG key %s: the secret has %d octets, at least 16 are needed", name, len(secret))
	}
	return Key{name: Name(name), algorithm: algorithm, secret: base64.StdEncoding.EncodeToString(secret)}, nil
}

func (k Key) String() string {
	return fmt.Sprintf("%s (%s)", k.name, strings.TrimSuffix(k.algorithm, "."))
}

// GoString keeps the secret out of %#v too.
func (k Key) GoString() string { return k.String() }

// sign leaves the message to be signed as it goes out.
func (k Key) sign(m *miekg.Msg, at int64) { m.SetTsig(k.name, k.algorithm, 300, at) }

func (k Key) secrets() map[string]string { return map[string]string{k.name: k.secret} }
