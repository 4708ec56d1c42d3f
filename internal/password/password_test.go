package password

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Hashes of "una password lunga" that openssl passwd -6 and crypt(3) made.
const (
	opensslMade = "{SHA512-CRYPT}$6$abcdefgh$ow/etwL60.6iNnGyAe5qyh/5G5YZn3OCmEEkgv59Wn.0s3pn5PvVDlcEMWZfSh3KfTWsxYeDOWGQXXJkG6/X//"
	cryptMade   = "{SHA512-CRYPT}$6$rounds=6000$saltsalt$trO5L1zxsFORALL9AidUGcKTzm6/OwB2IOkTdxH3nAi3FdO5kdML/dmbaqYSUVb91mhNNiDXheql3wnPj8KUl0"
)

func TestMatches(t *testing.T) {
	const right = "una password lunga"
	bcrypted, err := Hash([]byte(right), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	argoned := func(memory int) string {
		sum := argon2.IDKey([]byte(right), []byte("salt-of-16-bytes"), 2, uint32(memory), 1, 32)
		return fmt.Sprintf("{ARGON2ID}$argon2id$v=19$m=%d,t=2,p=1$%s$%s", memory, base64.RawStdEncoding.EncodeToString([]byte("salt-of-16-bytes")), base64.RawStdEncoding.EncodeToString(sum))
	}
	for name, c := range map[string]struct {
		hash, password string
		want           bool
		err            error
	}{
		"the right one by bcrypt":          {bcrypted, right, true, nil},
		"another":                          {bcrypted, right + "x", false, nil},
		"one longer than bcrypt reads":     {bcrypted, strings.Repeat("x", 100), false, nil},
		"the right one by SHA512-CRYPT":    {opensslMade, right, true, nil},
		"another by SHA512-CRYPT":          {opensslMade, right + "x", false, nil},
		"one of SHA512-CRYPT with rounds":  {cryptMade, right, true, nil},
		"one that takes SHA512 too long":   {opensslMade, strings.Repeat("x", 300), false, nil},
		"too many rounds":                  {strings.Replace(cryptMade, "6000", "6000000", 1), right, false, ErrScheme},
		"the right one by Argon2id":        {argoned(1024), right, true, nil},
		"another by Argon2id":              {argoned(1024), "x", false, nil},
		"a hash that takes too much":       {argoned(20 * 1024), right, false, ErrScheme},
		"a scheme that is not checked":     {"{PLAIN}" + right, right, false, ErrScheme},
		"an Argon2id hash that was cut":    {argoned(1024)[:60], right, false, ErrScheme},
		"an Argon2id hash without a pass":  {strings.Replace(argoned(1024), "t=2", "t=0", 1), right, false, ErrScheme},
		"an Argon2id hash without a lane":  {strings.Replace(argoned(1024), "p=1", "p=0", 1), right, false, ErrScheme},
		"a hash without a scheme in front": {right, right, false, ErrScheme},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Matches(c.hash, []byte(c.password)); got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%v, %v, want %v, %v", got, err, c.want, c.err)
			}
		})
	}
}
