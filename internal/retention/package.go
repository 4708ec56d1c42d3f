package retention

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"time"
)

// Names in a package. The machines' index comes first, so that reading it reads nothing else.
const (
	linesName  = "index.jsonl"
	pindexName = "PIndex.xml"
)

// Package is what one tar file holds: a selection of one mailbox. Its bytes follow from it and from nothing else, neither clock
// nor machine: made twice, it is the same file twice, and a byte that was changed anywhere shows.
type Package struct {
	Mailbox  string
	Before   time.Time // of the rule
	Messages []Message
}

// NewPackage makes a package of a selection and gives each message its name in it.
func NewPackage(mailbox string, before time.Time, selected []Message) Package {
	p := Package{Mailbox: mailbox, Before: before.UTC(), Messages: slices.Clone(selected)}
	for i := range p.Messages {
		p.Messages[i].File = fmt.Sprintf("eml/%06d.eml", i+1)
	}
	return p
}

// Digest is the SHA-256 of the machines' index, and with it of everything.
func (p Package) Digest() string { return digestOf(p.lines()) }

func digestOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// Size of the tar file, in bytes.
func (p Package) Size() (int64, error) {
	pindex, err := p.pindex()
	if err != nil {
		return 0, err
	}
	size := entrySize(int64(len(p.lines()))) + entrySize(int64(len(pindex))) + 2*blockSize
	for _, m := range p.Messages {
		size += entrySize(m.Size)
	}
	return size, nil
}

const blockSize = 512

// entrySize is a header and the content, filled to whole blocks.
func entrySize(content int64) int64 {
	return blockSize + (content+blockSize-1)/blockSize*blockSize
}

// Opener opens a message's bytes.
type Opener func(Message) (io.ReadCloser, error)

// errChanged is the fault of a message whose bytes are others than those that were selected.
var errChanged = errors.New("its bytes are not those that were selected")

// Write writes the tar file, one message at a time. A message that is not what was selected ends it with an error.
func (p Package) Write(w io.Writer, open Opener) error {
	pindex, err := p.pindex()
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	if err := addBytes(out, linesName, p.lines()); err != nil {
		return err
	}
	if err := addBytes(out, pindexName, pindex); err != nil {
		return err
	}
	for _, m := range p.Messages {
		if err := add(out, m, open); err != nil {
			return fmt.Errorf("packing message %s: %w", m.GUID, err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("ending the package: %w", err)
	}
	return nil
}

// header of an entry, with nothing in it that depends on when or where.
func header(name string, size int64) *tar.Header {
	return &tar.Header{Name: name, Size: size, Mode: 0o444, Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
}

func addBytes(out *tar.Writer, name string, raw []byte) error {
	if err := out.WriteHeader(header(name, int64(len(raw)))); err != nil {
		return fmt.Errorf("packing %s: %w", name, err)
	}
	if _, err := out.Write(raw); err != nil {
		return fmt.Errorf("packing %s: %w", name, err)
	}
	return nil
}

func add(out *tar.Writer, m Message, open Opener) error {
	body, err := open(m)
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // it was only read
	if err := out.WriteHeader(header(m.File, m.Size)); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), body)
	switch {
	case errors.Is(err, tar.ErrWriteTooLong):
		return errChanged
	case err != nil:
		return err
	case n != m.Size || hex.EncodeToString(sum.Sum(nil)) != m.SHA256:
		return errChanged
	}
	return nil
}

// ErrCorrupt is the fault of a package that is not as it was written.
var ErrCorrupt = errors.New("the package is not as it was written")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

// maxIndex bounds an index that is read, in bytes.
const maxIndex = 1 << 30

// ReadIndex reads the beginning of a package, without checking the rest of it.
func ReadIndex(r io.Reader) (Package, error) {
	p, _, err := readIndex(tar.NewReader(r))
	return p, err
}

func readIndex(in *tar.Reader) (Package, []byte, error) {
	head, err := in.Next()
	if err != nil || head.Name != linesName || head.Size > maxIndex {
		return Package{}, nil, corrupt("it does not begin with %s", linesName)
	}
	raw, err := io.ReadAll(in)
	if err != nil {
		return Package{}, nil, corrupt("%s: %v", linesName, err)
	}
	p, err := readLines(bytes.NewReader(raw))
	if err != nil {
		return Package{}, nil, corrupt("%v", err)
	}
	return p, raw, nil
}

// Verified is what was found in a package that is whole.
type Verified struct {
	Package
	SHA256 string // of the tar file
}

// Verify reads a package from its first byte to its last and answers ErrCorrupt unless it is what its own index makes: it writes
// the package again, into a hash, from the index and the messages as they are read, and every byte must agree.
func Verify(r io.Reader) (Verified, error) {
	from := &noting{r: r}
	found, err := verify(from)
	if from.err != nil {
		// What could not be read says nothing of the package.
		return Verified{}, fmt.Errorf("reading the package: %w", from.err)
	}
	return found, err
}

// noting remembers why reading failed, which the layers above may put into other words.
type noting struct {
	r   io.Reader
	err error
}

func (n *noting) Read(b []byte) (int, error) {
	read, err := n.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return read, err
}

func verify(r io.Reader) (Verified, error) {
	found, again := sha256.New(), sha256.New()
	whole := io.TeeReader(r, found)
	in := tar.NewReader(whole)
	p, raw, err := readIndex(in)
	if err != nil {
		return Verified{}, err
	}
	next := func(m Message) (io.ReadCloser, error) {
		head, err := in.Next()
		if err != nil || head.Name != m.File || head.Size != m.Size {
			return nil, corrupt("%s is not where the index says", m.File)
		}
		return io.NopCloser(in), nil
	}
	if !bytes.Equal(p.lines(), raw) {
		return Verified{}, corrupt("%s is not as this program writes it", linesName)
	}
	if _, err := in.Next(); err != nil {
		return Verified{}, corrupt("%s is missing", pindexName)
	}
	if err := p.Write(again, next); err != nil {
		return Verified{}, corrupt("%v", err)
	}
	if _, err := io.Copy(io.Discard, whole); err != nil {
		return Verified{}, err
	}
	sum := found.Sum(nil)
	if !bytes.Equal(sum, again.Sum(nil)) {
		return Verified{}, corrupt("its bytes are not those that its index makes")
	}
	return Verified{Package: p, SHA256: hex.EncodeToString(sum)}, nil
}

// Extract reads a package and gives the messages that are wanted to each, which must read them to the end: there, and not
// before, it is told whether the bytes are right.
func Extract(r io.Reader, wanted func(Message) bool, each func(Message, io.Reader) error) error {
	in := tar.NewReader(r)
	p, _, err := readIndex(in)
	if err != nil {
		return err
	}
	if head, err := in.Next(); err != nil || head.Name != pindexName {
		return corrupt("%s is missing", pindexName)
	}
	for _, m := range p.Messages {
		if head, err := in.Next(); err != nil || head.Name != m.File || head.Size != m.Size {
			return corrupt("%s is not where the index says", m.File)
		}
		if !wanted(m) {
			continue
		}
		if err := each(m, &checked{r: in, hash: sha256.New(), want: m}); err != nil {
			return fmt.Errorf("restoring %s: %w", m.File, err)
		}
	}
	return nil
}

// checked ends in ErrCorrupt instead of EOF when what was read is not what the index says.
type checked struct {
	r    io.Reader
	hash hash.Hash
	want Message
}

func (c *checked) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.hash.Write(b[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(c.hash.Sum(nil)) != c.want.SHA256 {
		return n, corrupt("%s has another hash than the index says", c.want.File)
	}
	return n, err
}
