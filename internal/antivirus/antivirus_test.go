package antivirus

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// answering is a scanner that reads a whole stream and says one thing; the real clamd is asked in internal/stack.
func answering(t *testing.T, say string) Scanner {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		if _, err := r.ReadString(0); err != nil {
			return
		}
		last := [4]byte{1, 1, 1, 1}
		for last != [4]byte{} { // until the piece of no length
			b, err := r.ReadByte()
			if err != nil {
				return
			}
			last = [4]byte{last[1], last[2], last[3], b}
		}
		_, _ = io.WriteString(conn, say)
	}()
	return Scanner{Address: l.Addr().String()}
}

func TestOnlyAPlainYesIsClean(t *testing.T) {
	cases := map[string]struct {
		answer, want string
		fails        bool
	}{
		"clean":                          {answer: "stream: OK\x00"},
		"a virus":                        {answer: "stream: Eicar-Signature FOUND\x00", want: "Eicar-Signature"},
		"a name with blanks":             {answer: "stream: A B FOUND\x00", want: "A B"},
		"a fault of the scanner":         {answer: "INSTREAM size limit exceeded. ERROR\x00", fails: true},
		"another fault":                  {answer: "stream: Can't allocate memory ERROR\x00", fails: true},
		"an answer about something else": {answer: "file: OK\x00", fails: true},
		"half an answer":                 {answer: "stream: O", fails: true},
		"no answer":                      {fails: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := answering(t, c.answer).Scan(strings.NewReader("x"))
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestContentThatCannotBeReadIsNotClean(t *testing.T) {
	s := answering(t, "stream: OK\x00")
	if _, err := s.Scan(io.MultiReader(strings.NewReader("x"), failing{})); err == nil {
		t.Error("half a message was found clean")
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the disk failed") }

func TestRefreshedIsTheTimeOfTheNewestFile(t *testing.T) {
	dir := t.TempDir()
	s := Scanner{Definitions: dir}
	if _, err := s.Refreshed(); err == nil {
		t.Error("an empty folder has a time")
	}
	newest := time.Now().Add(-time.Hour).Truncate(time.Second)
	for name, at := range map[string]time.Time{"main.cvd": newest.Add(-24 * time.Hour), "refreshed": newest} {
		path := filepath.Join(dir, "..data-"+name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, at, at), os.Symlink(path, filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	if at, err := s.Refreshed(); err != nil || !at.Equal(newest) {
		t.Errorf("got %s, %v, want %s", at, err, newest)
	}
}
