package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/pec-operator/pec-operator/internal/durable"
)

// Custody keeps whole messages under their SHA-256. An IMAP delete, a sync or a broken index cannot reach them.
type Custody struct{ dir string }

// OpenCustody uses dir, which is made if it is not there. The 256 directories below it are made now and synced once: made on
// the way, two writers would have to agree who syncs them.
func OpenCustody(dir string) (*Custody, error) {
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("%02x", i)), 0o750); err != nil {
			return nil, fmt.Errorf("opening custody store: %w", err)
		}
	}
	return &Custody{dir: dir}, durable.Dir(dir)
}

// Put stores a message and returns its hex SHA-256. When it returns, the message is on disk under that name: only then may
// a record name it.
func (c *Custody) Put(message []byte) (string, error) {
	sum := sha256.Sum256(message)
	digest := hex.EncodeToString(sum[:])
	if _, err := os.Stat(c.path(digest)); err == nil {
		return digest, durable.Dir(filepath.Dir(c.path(digest))) // the writer before us may not have come to this
	}
	return c.place(func() (string, error) { return digest, nil }, func(w io.Writer) error {
		_, err := w.Write(message)
		return err
	})
}

// Sweep removes what a process that was killed had not written to its end. Nobody else may be writing.
func (c *Custody) Sweep() error {
	paths, err := filepath.Glob(filepath.Join(c.dir, durable.Unfinished))
	for _, path := range paths {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return fmt.Errorf("sweeping the custody store: %w", err)
	}
	return nil
}

// Has says whether there is a message under a digest.
func (c *Custody) Has(digest string) bool {
	_, err := os.Stat(c.path(digest))
	return err == nil
}

// IsDigest says whether a text can be the name of a message: what the other site sends becomes no path otherwise.
func IsDigest(text string) bool { return digestForm.MatchString(text) }

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ErrOther is a message that is not the one that its name says.
var ErrOther = errors.New("the content is another than its name says")

// Take stores a message that was sent under a digest, if it is that message.
func (c *Custody) Take(digest string, content io.Reader) error {
	if !IsDigest(digest) {
		return fmt.Errorf("storing custody copy %q: %w", digest, ErrOther)
	}
	_, err := c.store(digest, func(w io.Writer) error {
		_, err := io.Copy(w, content)
		return err
	})
	return err
}

// Get returns the message of a digest and checks that it still is that message.
func (c *Custody) Get(digest string) ([]byte, error) {
	if len(digest) != 2*sha256.Size {
		return nil, fmt.Errorf("reading custody copy: %q is no SHA-256", digest)
	}
	message, err := os.ReadFile(c.path(digest))
	if err != nil {
		return nil, fmt.Errorf("reading custody copy: %w", err)
	}
	if sum := sha256.Sum256(message); hex.EncodeToString(sum[:]) != digest {
		return nil, fmt.Errorf("reading custody copy %s: the file was changed; restore it from the peer's copy", digest)
	}
	return message, nil
}

func (c *Custody) path(digest string) string { return filepath.Join(c.dir, digest[:2], digest) }
