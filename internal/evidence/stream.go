package evidence

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pec-operator/pec-operator/internal/durable"
)

// Write stores what write writes, of whatever size, and returns its hex SHA-256. As with Put, it is on disk under that name
// when this returns.
func (c *Custody) Write(write func(io.Writer) error) (string, error) { return c.store("", write) }

// store is Write; of a message whose digest is known, only that message is stored.
func (c *Custody) store(want string, write func(io.Writer) error) (string, error) {
	sum := sha256.New()
	name := func() (string, error) {
		digest := hex.EncodeToString(sum.Sum(nil))
		if want != "" && want != digest {
			return "", fmt.Errorf("storing custody copy %s: %w", want, ErrOther)
		}
		return digest, nil
	}
	return c.place(name, func(w io.Writer) error { return write(io.MultiWriter(w, sum)) })
}

// place has a message written beside the others, and puts it among them under the digest that it then has.
func (c *Custody) place(name func() (digest string, err error), write func(io.Writer) error) (string, error) {
	tmp, err := os.CreateTemp(c.dir, durable.Unfinished)
	if err != nil {
		return "", fmt.Errorf("storing custody copy: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone after the rename, a leftover otherwise
	w := bufio.NewWriter(tmp)
	err = write(w)
	if err = errors.Join(err, w.Flush(), tmp.Sync(), tmp.Close()); err != nil {
		return "", fmt.Errorf("storing custody copy: %w", err)
	}
	digest, err := name()
	if err != nil {
		return "", err
	}
	if err := os.Rename(tmp.Name(), c.path(digest)); err != nil {
		return "", fmt.Errorf("storing custody copy %s: %w", digest, err)
	}
	return digest, durable.Dir(filepath.Dir(c.path(digest)))
}

// Open opens the message of a digest, at its beginning, and checks before that it still is that message.
func (c *Custody) Open(digest string) (*os.File, error) {
	if len(digest) != 2*sha256.Size {
		return nil, fmt.Errorf("opening custody copy: %q is no SHA-256", digest)
	}
	f, err := os.Open(c.path(digest))
	if err != nil {
		return nil, fmt.Errorf("opening custody copy: %w", err)
	}
	sum := sha256.New()
	if _, err = io.Copy(sum, f); err == nil && hex.EncodeToString(sum.Sum(nil)) != digest {
		err = errors.New("the file was changed; restore it from the peer's copy")
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("opening custody copy %s: %w", digest, err)
	}
	return f, nil
}

// Each visits the records that are on disk, in order; those that are appended meanwhile may be left out.
func (l *Log) Each(visit func(Record) error) error {
	l.mu.Lock()
	files, size := l.files, l.size
	l.mu.Unlock()
	for i, f := range files {
		end := size
		if i < len(files)-1 {
			info, err := f.Stat()
			if err != nil {
				return fmt.Errorf("reading evidence: %w", err)
			}
			end = info.Size()
		}
		if err := eachLine(io.NewSectionReader(f, 0, end), visit); err != nil {
			return fmt.Errorf("reading evidence in %s: %w", f.Name(), err)
		}
	}
	return nil
}

func eachLine(r io.Reader, visit func(Record) error) error {
	lines := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(bytes.TrimSpace(line)) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		record, err := decodeLine(line)
		if err == nil {
			err = visit(record)
		}
		if err != nil {
			return err
		}
	}
}
