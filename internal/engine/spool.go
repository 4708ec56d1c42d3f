package engine

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// spoolMemory is how much of a message is kept in memory, in bytes; what is larger goes to a file without a name.
const spoolMemory = 64 << 10

// spool gathers a message. A large one is a mapped file: it is read as bytes like any other and takes nothing of the heap, so
// that messages under way do not add up to the container's memory.
type spool struct {
	memory bytes.Buffer
	file   *os.File
	mapped []byte
}

func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && s.memory.Len()+len(p) <= spoolMemory {
		return s.memory.Write(p)
	}
	if s.file == nil {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	return s.file.Write(p)
}

// WriteString is for the header, which comes in pieces.
func (s *spool) WriteString(text string) (int, error) { return s.Write([]byte(text)) }

func (s *spool) spill() error {
	f, err := os.CreateTemp("", "pec-message-*")
	if err != nil {
		return fmt.Errorf("keeping a large message: %w", err)
	}
	s.file = f
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("keeping a large message: %w", err)
	}
	if _, err := f.Write(s.memory.Bytes()); err != nil {
		return fmt.Errorf("keeping a large message: %w", err)
	}
	s.memory = bytes.Buffer{}
	return nil
}

// bytes is what was written, until close.
func (s *spool) bytes() ([]byte, error) {
	if s.file == nil {
		return s.memory.Bytes(), nil
	}
	var err error
	s.mapped, err = mapFile(s.file)
	return s.mapped, err
}

// close lets everything go that bytes returned.
func (s *spool) close() {
	if s.mapped != nil {
		_ = unix.Munmap(s.mapped)
	}
	if s.file != nil {
		_ = s.file.Close()
	}
	*s = spool{}
}

// mapFile shows a whole file, which nobody changes any more, as bytes that are only read.
func mapFile(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("mapping a message: %w", err)
	}
	if info.Size() == 0 {
		return nil, nil
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("mapping a message: %w", err)
	}
	return mapped, nil
}

// inCustody shows a message of the custody store as bytes, until done is called.
func (e *Engine) inCustody(digest string) (raw []byte, done func(), err error) {
	f, err := e.custody.Open(digest)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // the mapping stays
	if raw, err = mapFile(f); err != nil {
		return nil, nil, fmt.Errorf("custody %s: %w", digest, err)
	}
	return raw, func() {
		if raw != nil {
			_ = unix.Munmap(raw)
		}
	}, nil
}
