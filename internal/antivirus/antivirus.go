// Package antivirus asks a clamd of the pod whether content holds a virus, and tells how old its definitions are.
package antivirus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Scanner is a clamd that listens on loopback.
type Scanner struct {
	Address     string // host:port
	Definitions string // the folder that clamd reads its definitions from
}

const (
	connectTimeout = 5 * time.Second
	// scanTimeout is longer than clamd's own limit for one scan, which ends with an answer.
	scanTimeout = 5 * time.Minute
	pieceSize   = 64 << 10
	answerLimit = 4 << 10
)

// Scan answers with the name of what was found, "" when there is nothing. Whatever keeps clamd from a whole scan is an error:
// what was not scanned was not found clean.
func (s Scanner) Scan(r io.Reader) (threat string, err error) {
	answer, err := s.ask("INSTREAM", r)
	if err != nil {
		return "", fmt.Errorf("scanning for viruses: %w", err)
	}
	// "stream: OK", "stream: <name> FOUND", or "... ERROR" for what could not be scanned.
	said, ours := strings.CutPrefix(answer, "stream: ")
	if name, found := strings.CutSuffix(said, " FOUND"); ours && found {
		return name, nil
	}
	if ours && said == "OK" {
		return "", nil
	}
	return "", fmt.Errorf("scanning for viruses: clamd answered %q", answer)
}

// Version is what clamd says of itself.
func (s Scanner) Version() (string, error) {
	answer, err := s.ask("VERSION", nil)
	if err == nil && !strings.HasPrefix(answer, "ClamAV ") {
		err = fmt.Errorf("clamd answered %q", answer)
	}
	if err != nil {
		return "", fmt.Errorf("asking clamd for its version: %w", err)
	}
	return answer, nil
}

// ask sends a command, and content in pieces that each begin with their length; a piece of no length is the end.
func (s Scanner) ask(command string, content io.Reader) (string, error) {
	conn, err := net.DialTimeout("tcp", s.Address, connectTimeout)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(scanTimeout)); err != nil {
		return "", err
	}
	_, err = io.WriteString(conn, "z"+command+"\x00")
	if err == nil && content != nil {
		var unread error
		if unread, err = sendPieces(conn, content); unread != nil {
			return "", unread // whatever clamd says of the half it got
		}
	}
	// A refusal comes while we still send (the stream is longer than clamd takes): its answer says more than the broken pipe.
	answer, readErr := io.ReadAll(io.LimitReader(conn, answerLimit))
	if said := strings.TrimRight(string(answer), "\x00\n"); said != "" && readErr == nil {
		return said, nil
	}
	if err = errors.Join(err, readErr); err == nil {
		err = errors.New("clamd closed the connection without an answer")
	}
	return "", err
}

// sendPieces tells apart content that could not be read and a clamd that took no more of it.
func sendPieces(w io.Writer, content io.Reader) (unread, unsent error) {
	piece := make([]byte, 4+pieceSize)
	for {
		n, err := io.ReadFull(content, piece[4:])
		if n > 0 {
			binary.BigEndian.PutUint32(piece, uint32(n)) //nolint:gosec // n is at most pieceSize
			if _, err := w.Write(piece[:4+n]); err != nil {
				return nil, err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			_, err = w.Write([]byte{0, 0, 0, 0})
			return nil, err
		}
		if err != nil {
			return err, nil
		}
	}
}

// Refreshed is when the definitions were refreshed last: the time of the newest file. The definitions' own date would not do:
// where nothing new was published they are old and yet as fresh as can be.
func (s Scanner) Refreshed() (time.Time, error) {
	entries, err := os.ReadDir(s.Definitions)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the virus definitions: %w", err)
	}
	var newest time.Time
	for _, e := range entries {
		// Stat, not the entry's own: the files of a ConfigMap are links.
		info, err := os.Stat(filepath.Join(s.Definitions, e.Name()))
		if err == nil && info.Mode().IsRegular() && info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	if newest.IsZero() {
		return newest, fmt.Errorf("reading the virus definitions: no file in %s", s.Definitions)
	}
	return newest, nil
}
