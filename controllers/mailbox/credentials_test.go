package mailbox

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/directory"
)

func TestJudgeSecret(t *testing.T) {
	const salted = "abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234" // 53 characters
	sha := strings.Repeat("A", 86)
	directory, err := directory.Open(t.Context(), t.TempDir())
	if err == nil {
		err = directory.PutDomain(t.Context(), admin.Domain{Name: "pec.example.it"})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer directory.Close()
	for name, c := range map[string]struct {
		raw  string
		want string
	}{
		"nothing is a missing Secret":                       {"", v1alpha1.ReasonSecretMissing},
		"eight characters are enough":                       {"òàùèìéç1", v1alpha1.ReasonCredentialsAccepted},
		"seven are not":                                     {"òàùèìéç", v1alpha1.ReasonPasswordUnusable},
		"72 bytes are what bcrypt reads":                    {strings.Repeat("a", 72), v1alpha1.ReasonCredentialsAccepted},
		"73 are more":                                       {strings.Repeat("a", 73), v1alpha1.ReasonPasswordUnusable},
		"echo leaves a line end":                            {"password\n", v1alpha1.ReasonPasswordUnusable},
		"a NUL cannot be typed":                             {"pass\x00word", v1alpha1.ReasonPasswordUnusable},
		"bytes that are no UTF-8 cannot be typed":           {"password\xff", v1alpha1.ReasonPasswordUnusable},
		"a bcrypt hash is taken as it is":                   {"{BLF-CRYPT}$2y$12$" + salted, v1alpha1.ReasonCredentialsAccepted},
		"its scheme in lower case too":                      {"{blf-crypt}$2y$12$" + salted, v1alpha1.ReasonCredentialsAccepted},
		"a cheap bcrypt hash is not":                        {"{BLF-CRYPT}$2y$05$" + salted, v1alpha1.ReasonHashUnusable},
		"a bcrypt hash that was cut is not":                 {"{BLF-CRYPT}$2y$12$abc", v1alpha1.ReasonHashUnusable},
		"an argon2id hash of 19 MiB is taken":               {"{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA", v1alpha1.ReasonCredentialsAccepted},
		"one of 64 MiB would end Dovecot":                   {"{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHQ$aGFzaA", v1alpha1.ReasonHashUnusable},
		"one that takes a thousand passes is not":           {"{ARGON2ID}$argon2id$v=19$m=19456,t=999,p=1$c2FsdHNhbHQ$aGFzaA", v1alpha1.ReasonHashUnusable},
		"a hash of most imports is taken":                   {"{SHA512-CRYPT}$6$abcdefgh$" + sha, v1alpha1.ReasonCredentialsAccepted},
		"its rounds in bounds too":                          {"{sha512-crypt}$6$rounds=656000$abcdefgh$" + sha, v1alpha1.ReasonCredentialsAccepted},
		"too few rounds are not":                            {"{SHA512-CRYPT}$6$rounds=1000$abcdefgh$" + sha, v1alpha1.ReasonHashUnusable},
		"too many are not":                                  {"{SHA512-CRYPT}$6$rounds=1000001$abcdefgh$" + sha, v1alpha1.ReasonHashUnusable},
		"one that was cut is not":                           {"{SHA512-CRYPT}$6$abcdefgh$" + sha[1:], v1alpha1.ReasonHashUnusable},
		"clear text in disguise is an unknown scheme":       {"{PLAIN}password", v1alpha1.ReasonHashUnusable},
		"a scheme that the stack does not check is refused": {"{MD5-CRYPT}$1$abc$def", v1alpha1.ReasonHashUnusable},
		"a brace alone is a password":                       {"{password", v1alpha1.ReasonCredentialsAccepted},
	} {
		t.Run(name, func(t *testing.T) {
			got := judgeSecret([]byte(c.raw))
			if got.reason != c.want {
				t.Errorf("%s (%s), want %s", got.reason, got.message, c.want)
			}
			if got.reason == v1alpha1.ReasonCredentialsAccepted && got.hashed != "" {
				row := admin.Mailbox{Address: "a@pec.example.it", Domain: "pec.example.it", Password: got.hashed, QuotaBytes: 1, Access: admin.AccessFull}
				if _, err := directory.PutMailbox(t.Context(), row); err != nil {
					t.Errorf("what is accepted is refused by the stack's directory: %v", err)
				}
			}
			if c.raw != "" && strings.Contains(got.message, c.raw) {
				t.Errorf("the message repeats the password: %q", got.message)
			}
		})
	}
}

func TestHash(t *testing.T) {
	hash, err := judgeSecret([]byte("una password lunga")).hash()
	if err != nil {
		t.Fatal(err)
	}
	raw, ok := strings.CutPrefix(hash, "{BLF-CRYPT}$2y$12$")
	if !ok {
		t.Fatalf("the hash begins %.18s", hash)
	}
	if err := bcrypt.CompareHashAndPassword([]byte("$2a$12$"+raw), []byte("una password lunga")); err != nil {
		t.Errorf("the holder could not log in: %v", err)
	}
}

func TestCredentialsAreNeverPrinted(t *testing.T) {
	c := judgeSecret([]byte("segretissima")).credentials
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, c); strings.Contains(got, "segretissima") {
			t.Errorf("%s prints %q", verb, got)
		}
		if got := fmt.Sprintf(verb, &c); strings.Contains(got, "segretissima") {
			t.Errorf("%s of a pointer prints %q", verb, got)
		}
	}
}
