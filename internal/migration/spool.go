package migration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// inMemory is how much of a message is held in memory; a larger one goes through a file.
const inMemory = 4 << 20

// spool holds one message after another: its digest must be known before it can be offered to the store.
type spool struct {
	memory bytes.Buffer
	file   *os.File // with the whole message, once it is larger than inMemory
	size   int64
	hash   hash.Hash
	last   byte
	before byte
	exact  bool
}

// Reset empties it.
func (s *spool) Reset() {
	s.memory.Reset()
	s.drop()
	s.size, s.hash, s.last, s.before, s.exact = 0, sha256.New(), 0, 0, true
}

func (s *spool) drop() {
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
}

// Write adds to the message.
func (s *spool) Write(p []byte) (int, error) {
	for _, char := range p {
		// Our store keeps lines by their LF: a bare one would come back as CRLF, and of CR CR LF one CR would be lost.
		if char == '\n' && (s.last != '\r' || s.before == '\r') {
			s.exact = false
		}
		s.before, s.last = s.last, char
	}
	s.hash.Write(p)
	s.size += int64(len(p))
	if s.file == nil && s.size > inMemory {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	if s.file != nil {
		n, err := s.file.Write(p)
		if err != nil {
			return n, fmt.Errorf("holding a large message: %w", err)
		}
		return n, nil
	}
	return s.memory.Write(p)
}

// spill moves the message to a file that has no name any more, so that it ends with the process.
func (s *spool) spill() error {
	f, err := os.CreateTemp("", "message-*")
	if err != nil {
		return fmt.Errorf("holding a large message: %w", err)
	}
	_, err = f.Write(s.memory.Bytes())
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		_ = f.Close()
		return fmt.Errorf("holding a large message: %w", err)
	}
	s.file = f
	s.memory.Reset()
	return nil
}

// digest is the SHA-256 of the message, in hex.
func (s *spool) digest() string { return hex.EncodeToString(s.hash.Sum(nil)) }

// reader reads the message from its beginning.
func (s *spool) reader() io.Reader {
	if s.file != nil {
		return io.NewSectionReader(s.file, 0, s.size)
	}
	return bytes.NewReader(s.memory.Bytes())
}
