package pec

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Contents are written as often as asked, in pieces: a message is read once to see how it must be carried and once to be
// carried, and never held whole.

// pieceSize is how much of a message is in memory at once.
const pieceSize = 16 << 10

// pieces are buffers: a message is read several times, and most messages are no larger than one.
var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// flat is content in memory.
type flat []byte

func (f flat) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(f)
	return int64(n), err
}

// section is content that is somewhere else, most often in a file.
type section struct{ r *io.SectionReader }

func (s section) WriteTo(w io.Writer) (int64, error) {
	piece := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(piece)
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(s.r, 0, s.r.Size()), piece[:])
	if err == nil && n < s.r.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, fmt.Errorf("copying the message: %w", err)
	}
	return n, nil
}

// joined is one content behind the other.
type joined []io.WriterTo

func (j *joined) add(piece []byte) { *j = append(*j, flat(piece)) }

func (j joined) WriteTo(w io.Writer) (total int64, err error) {
	for _, c := range j {
		n, err := c.WriteTo(w)
		if total += n; err != nil {
			return total, err
		}
	}
	return total, nil
}

func sectionOf(raw []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(raw), 0, int64(len(raw)))
}

// collect gathers in memory what write writes, about that many bytes.
func collect(size int64, write func(io.Writer) error) ([]byte, error) {
	out := bytes.NewBuffer(make([]byte, 0, size))
	if err := write(out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// inBase64 is content encoded in lines of 76, without a final line end.
type inBase64 struct{ io.WriterTo }

func (b inBase64) WriteTo(w io.Writer) (int64, error) {
	e := encoders.Get().(*base64Lines)
	defer encoders.Put(e)
	e.w, e.raw, e.written = w, e.raw[:0], 0
	if _, err := b.WriterTo.WriteTo(e); err != nil {
		return e.written, err
	}
	return e.written, e.flush()
}

// encoders are their blocks.
var encoders = sync.Pool{New: func() any { return new(base64Lines) }}

// base64Lines encodes what is written to it, a block of whole lines at a time.
type base64Lines struct {
	w        io.Writer
	raw, out []byte
	written  int64
}

const (
	base64Line  = 57 // bytes, 76 encoded
	base64Block = 144 * base64Line
)

func (e *base64Lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if len(e.raw) == base64Block {
			if err := e.flush(); err != nil {
				return 0, err
			}
		}
		take := min(len(p), base64Block-len(e.raw))
		e.raw, p = append(e.raw, p[:take]...), p[take:]
	}
	return n, nil
}

func (e *base64Lines) flush() error {
	e.out = slices.Grow(e.out[:0], (len(e.raw)/base64Line+1)*(base64.StdEncoding.EncodedLen(base64Line)+len(crlf)))
	for rest := e.raw; len(rest) > 0; rest = rest[min(base64Line, len(rest)):] {
		if e.written > 0 || len(e.out) > 0 {
			e.out = append(e.out, crlf...)
		}
		e.out = base64.StdEncoding.AppendEncode(e.out, rest[:min(base64Line, len(rest))])
	}
	e.raw = e.raw[:0]
	n, err := e.w.Write(e.out)
	e.written += int64(n)
	return err
}

// scanner looks at content that is written to it: does it survive every hop as it is, and does it hold one of the boundaries
// that are to stand around it?
type scanner struct {
	edges []string // of one length

	unsafe, found bool
	cr            bool // the last byte was CR
	line          int  // bytes since the last CRLF
	tail          []byte
}

func (s *scanner) Write(p []byte) (int, error) {
	if !s.unsafe {
		s.look(p)
	}
	if !s.unsafe && len(s.edges) > 0 {
		s.search(p)
	}
	return len(p), nil
}

// look is for 7 bit, clean line ends and short lines.
func (s *scanner) look(p []byte) {
	s.unsafe = !isASCII(p) || bytes.IndexByte(p, 0) >= 0
	for len(p) > 0 && !s.unsafe {
		if s.cr {
			s.unsafe = p[0] != '\n'
			s.cr, s.line, p = false, 0, p[1:]
			continue
		}
		end := bytes.IndexByte(p, '\r')
		s.cr = end >= 0
		if end < 0 {
			end = len(p)
		}
		s.line += end
		s.unsafe = s.line > maxLine || bytes.IndexByte(p[:end], '\n') >= 0
		if p = p[end:]; s.cr {
			p = p[1:]
		}
	}
}

// search finds a boundary in a piece, or across its beginning.
func (s *scanner) search(p []byte) {
	keep := len(s.edges[0]) - 1
	s.tail = append(s.tail, p[:min(keep, len(p))]...)
	for _, edge := range s.edges {
		s.found = s.found || bytes.Contains(s.tail, []byte(edge)) || bytes.Contains(p, []byte(edge))
	}
	if len(p) > keep {
		s.tail = append(s.tail[:0], p[len(p)-keep:]...)
	}
	s.tail = append(s.tail[:0], s.tail[max(0, len(s.tail)-keep):]...)
}

// safe says that the content can go as it is: 7 bit, clean line ends, short lines.
func (s *scanner) safe() bool { return !s.unsafe && !s.cr }

// wireSafe says that bytes survive every hop as they are.
func wireSafe(b []byte) bool {
	s := &scanner{}
	s.look(b)
	return s.safe()
}
