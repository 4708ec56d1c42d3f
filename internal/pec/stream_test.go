package pec

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// inPieces writes b in pieces of n bytes.
func inPieces(w io.Writer, b []byte, n int) {
	for ; len(b) > n; b = b[n:] {
		must(w.Write(b[:n]))
	}
	must(w.Write(b))
}

// wireSafeByDefinition is what the scanner must find, said as simply as can be.
func wireSafeByDefinition(b []byte) bool {
	for line := range strings.SplitSeq(string(b), "\r\n") {
		if len(line) > maxLine || strings.ContainsAny(line, "\r\n\x00") {
			return false
		}
	}
	for _, c := range b {
		if c > 127 {
			return false
		}
	}
	return true
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte("hello\r\nworld"), 3, "pec-")
	f.Add([]byte("a\r\r\nb\nc\r"), 1, "x")
	f.Add(append(bytes.Repeat([]byte("x"), 999), "\r\n"...), 100, "xxxx")
	f.Add([]byte("--pec-abcdef\r\n"), 5, "pec-abcdef")
	f.Add([]byte("citt\xe0"), 2, "\r\n")
	f.Fuzz(func(t *testing.T, b []byte, piece int, edge string) {
		if piece < 1 || edge == "" {
			t.Skip()
		}
		s := &scanner{edges: []string{edge}}
		inPieces(s, b, piece)
		if want := wireSafeByDefinition(b); s.safe() != want || wireSafe(b) != want {
			t.Fatalf("safe is %t and %t, want %t: %q", s.safe(), wireSafe(b), want, b)
		}
		if s.safe() && s.found != bytes.Contains(b, []byte(edge)) {
			t.Fatalf("found is %t: %q in %q", s.found, edge, b)
		}
	})
}

func TestBase64InAnyPieces(t *testing.T) {
	for _, size := range []int{0, 1, 56, 57, 58, 114, base64Block - 1, base64Block, base64Block + 1, 3*base64Block + 5} {
		raw := bytes.Repeat([]byte("abcdefg\x00\xff"), size/9+1)[:size]
		var want []string
		for rest := raw; len(rest) > 0; rest = rest[min(57, len(rest)):] {
			want = append(want, base64.StdEncoding.EncodeToString(rest[:min(57, len(rest))]))
		}
		for _, piece := range []int{7, 57, 4096, 1 << 20} {
			var out bytes.Buffer
			e := &base64Lines{w: &out}
			inPieces(e, raw, piece)
			if err := e.flush(); err != nil || out.String() != strings.Join(want, "\r\n") || e.written != int64(out.Len()) {
				t.Errorf("%d bytes in pieces of %d: %v, %d bytes", size, piece, err, out.Len())
			}
		}
	}
}

func TestAMessageThatHoldsTheBoundary(t *testing.T) {
	first := string(must(ecdsaIdentity().Envelope(provider, transit(), parsed(t, submitted), nil, at)))
	e := must(parseEntity([]byte(first)))
	inner := must(parseEntity(must(cutMultipart(e.body, e.params["boundary"])).parts[0]))
	for sentence, edge := range map[string]string{"the outer one": e.params["boundary"], "the inner one": inner.params["boundary"]} {
		t.Run(sentence, func(t *testing.T) {
			evil := append(submitted[:len(submitted):len(submitted)], lines("--"+edge, "X: y", "", "--"+edge+"--")...)
			raw := must(ecdsaIdentity().Envelope(provider, transit(), parsed(t, evil), nil, at))
			openssl(t, raw)
			j := Classify(raw, index(ecdsaIdentity()), testCA().roots, at)
			if j.Type != TypeEnvelope || !bytes.Equal(j.Postacert, certified(parsed(t, evil))) {
				t.Errorf("judged %s: %q", j.Type, j.Errors)
			}
			if must(parseEntity(raw)).params["boundary"] == e.params["boundary"] {
				t.Error("the boundary is still the first")
			}
		})
	}
}

func TestStreamIsTheDocument(t *testing.T) {
	file, err := os.Open(writeFile(t, "original.eml", submitted))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	o, err := ReadOriginal(io.NewSectionReader(file, 0, int64(len(submitted))))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := ecdsaIdentity().WriteEnvelope(&out, provider, transit(), o, received, at); err != nil {
		t.Fatal(err)
	}
	if want := documents(t, ecdsaIdentity())["posta-certificata"]; !bytes.Equal(out.Bytes(), want) {
		t.Errorf("streamed %q, want %q", out.Bytes(), want)
	}
}

// failing is a source or a sink that fails behind its first so many bytes.
type failing struct {
	content []byte
	after   int
}

var errFails = errors.New("the disk is gone")

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	n, err := bytes.NewReader(f.content).ReadAt(p, off)
	if off+int64(n) > int64(f.after) {
		return 0, errFails
	}
	return n, err
}

func TestErrorsOfTheDiskAreTold(t *testing.T) {
	long := append(submitted[:len(submitted):len(submitted)], bytes.Repeat(lines("filler"), 20000)...)
	envelope := func(r io.ReaderAt, size int, w io.Writer) error {
		o, err := ReadOriginal(io.NewSectionReader(r, 0, int64(size)))
		if err != nil {
			return err
		}
		return ecdsaIdentity().WriteEnvelope(w, provider, transit(), o, nil, at)
	}
	for sentence, c := range map[string]struct{ got, want error }{
		"reading the header":         {envelope(failing{long, 10}, len(long), io.Discard), errFails},
		"reading the body":           {envelope(failing{long, 100000}, len(long), io.Discard), errFails},
		"a source shorter than said": {envelope(bytes.NewReader(long), len(long)+1, io.Discard), io.ErrUnexpectedEOF},
		"writing":                    {envelope(bytes.NewReader(long), len(long), iotest.TruncateWriter(brokenPipe{}, 50000)), io.ErrClosedPipe},
		"writing the last piece":     {envelope(bytes.NewReader(submitted), len(submitted), brokenPipe{}), io.ErrClosedPipe},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: got %v, want %v", sentence, c.got, c.want)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// endless is a message of any size that takes no memory: a header, then blocks of lines.
type endless struct{ header, block []byte }

func (e endless) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		if at := off + int64(n); at < int64(len(e.header)) {
			n += copy(p[n:], e.header[at:])
		} else {
			n += copy(p[n:], e.block[(at-int64(len(e.header)))%int64(len(e.block)):])
		}
	}
	return n, nil
}

// largeMessage is a message of about that size, safe on the wire or not.
func largeMessage(size int64, safe bool) *io.SectionReader {
	const line = 76
	block := bytes.Repeat(append(bytes.Repeat([]byte("x"), line-2), crlf...), 500)
	if !safe {
		block[0] = 0xe0
	}
	size -= (size - int64(len(submitted))) % line
	return io.NewSectionReader(endless{submitted, block}, 0, size)
}

// allocated is how many bytes f asks of the heap, freed or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// withAttachments is a message of 30 MB: a text, an attachment, and a second one deep inside.
func withAttachments() []byte {
	content := bytes.Repeat(append(bytes.Repeat([]byte("x"), 74), crlf...), 15<<20/76)
	attachment := append([]byte("Content-Type: application/pdf; name=\"atto.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"), content...)
	multi := func(boundary string, parts ...[]byte) []byte {
		out := fmt.Appendf(nil, "Content-Type: multipart/mixed; boundary=%s\r\n\r\n", boundary)
		for _, part := range parts {
			out = append(fmt.Appendf(out, "--%s\r\n", boundary), append(part[:len(part):len(part)], crlf...)...)
		}
		return fmt.Appendf(out, "--%s--\r\n", boundary)
	}
	return append([]byte("From: a@x.it\r\nTo: b@y.it\r\n"), multi("a", lines("Content-Type: text/plain", "", "Buongiorno."), attachment, multi("b", attachment))...)
}

// Nothing that is made of a message of 30 MB takes more than this of the heap, garbage included.
func TestMemoryDoesNotGrowWithTheMessage(t *testing.T) {
	const bound = 256 << 10
	fromFile := func(write func(*Original) error) func(*io.SectionReader) error {
		return func(r *io.SectionReader) error {
			o, err := ReadOriginal(r)
			if err != nil {
				return err
			}
			return write(o)
		}
	}
	delivery := func(kind ReceiptKind, raw []byte) func(*io.SectionReader) error {
		return func(*io.SectionReader) error {
			tr := transit()
			tr.Receipt = kind
			return rsaIdentity().WriteDelivery(io.Discard, provider, tr, noticeID, "bob@pec.other.example.it", raw, at)
		}
	}
	safe, unsafe := largeMessage(30<<20, true), largeMessage(30<<20, false)
	write := map[string]func(*io.SectionReader) error{
		"envelope": fromFile(func(o *Original) error {
			return rsaIdentity().WriteEnvelope(io.Discard, provider, transit(), o, received, at)
		}),
		"anomaly": fromFile(func(o *Original) error {
			return rsaIdentity().WriteAnomaly(io.Discard, provider, o, received, "a@b.it", nil, nil, at)
		}),
		"delivery":               delivery(ReceiptFull, must(io.ReadAll(safe))),
		"delivery in base64":     delivery(ReceiptFull, must(io.ReadAll(unsafe))),
		"brief delivery":         delivery(ReceiptBrief, withAttachments()),
		"brief without any file": delivery(ReceiptBrief, must(io.ReadAll(safe))),
	}
	for name, write := range write {
		for _, r := range []*io.SectionReader{safe, unsafe} {
			t.Run(fmt.Sprintf("%s, safe on the wire %t", name, r == safe), func(t *testing.T) {
				if err := write(r); err != nil { // what is made once for all is made here
					t.Fatal(err)
				}
				got := allocated(func() {
					if err := write(r); err != nil {
						t.Error(err)
					}
				})
				if t.Logf("%d kB", got>>10); got > bound {
					t.Errorf("allocated %d bytes, bound is %d", got, bound)
				}
			})
		}
	}
}
