package mailbox

import (
	"strings"
	"testing"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

func TestDiffering(t *testing.T) {
	const (
		salted = "{BLF-CRYPT}$2y$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"
		in     = "at one of them only"
	)
	for name, c := range map[string]struct {
		own  string
		says string
		not  string
	}{
		"a password that the other site's hash is not of is another": {"parola-di-adesso", "different passwords", "cannot be compared"},
		"of two hashes nobody knows it":                              {salted, "two hashes cannot be compared: its holder's password may work", "different passwords"},
		"a Secret that has gone gave a password":                     {"", "different passwords", "cannot be compared"},
	} {
		t.Run(name, func(t *testing.T) {
			own := judgeSecret([]byte(c.own)).credentials
			got := differing(own, v1alpha1.SecretKeyReference{Name: "protocollo"})
			for _, said := range []string{c.says, in, "give Secret protocollo the same key password at both"} {
				if !strings.Contains(got, said) {
					t.Errorf("%q is not in %q", said, got)
				}
			}
			if strings.Contains(got, c.not) || (c.own != "" && strings.Contains(got, c.own)) {
				t.Errorf("it says %q", got)
			}
		})
	}
}
