package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pec-operator/pec-operator/test/road"
)

// A server of the first days announces nothing. What reaches it must need nothing: a relay that converted the body would break the
// signature.
func TestEightBitTextReachesAPeerWithout8BITMIME(t *testing.T) {
	const recipient = "anziano@posta.vecchio.test"
	address, netns := r.Internet()
	arrived := make(chan []byte, 1)
	listener := listenIn(t, netns, address+":25")
	go serveOldSMTP(listener, arrived)
	err := r.PublishZones(t.Context(), map[string][]string{"vecchio.test": {
		"posta.vecchio.test. 60 IN MX 10 mx.vecchio.test.", "mx.vecchio.test. 60 IN A " + address,
	}})
	if err != nil {
		t.Fatal(err)
	}
	original := append(road.Message(municipality, recipient, "prova"), "perch\xe9 no\r\n"...)
	if err := account(t, "a", municipality).Send([]string{recipient}, original); err != nil {
		t.Fatal(err)
	}
	select {
	case raw := <-arrived:
		if i := bytes.IndexFunc(raw, func(r rune) bool { return r > 126 }); i >= 0 {
			t.Errorf("byte %d on the wire is not 7-bit", i)
		}
		envelope, err := road.Open(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Verify(t.Context(), envelope); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(envelope.Original(), original) {
			t.Errorf("the original changed on the way:\n%q", envelope.Original())
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing arrived within a minute")
	}
}

// listenIn listens inside a network namespace: a socket stays in the namespace of the thread that made it.
func listenIn(t *testing.T, netns, address string) net.Listener {
	t.Helper()
	type result struct {
		listener net.Listener
		err      error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: a thread in a foreign namespace must end with its goroutine
		file, err := os.Open(filepath.Join("/run/netns", netns))
		if err != nil {
			made <- result{nil, err}
			return
		}
		defer file.Close()
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			made <- result{nil, fmt.Errorf("entering %s: %w", netns, err)}
			return
		}
		listener, err := net.Listen("tcp", address)
		made <- result{listener, err}
	}()
	got := <-made
	if got.err != nil {
		t.Fatal(got.err)
	}
	t.Cleanup(func() { _ = got.listener.Close() })
	return got.listener
}

// serveOldSMTP takes messages by RFC 821: HELO or EHLO, and no extension.
func serveOldSMTP(listener net.Listener, arrived chan<- []byte) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			in, say := textproto.NewReader(bufio.NewReader(conn)), func(line string) { fmt.Fprintf(conn, "%s\r\n", line) }
			say("220 mx.vecchio.test")
			for {
				line, err := in.ReadLine()
				if err != nil {
					return
				}
				switch verb, _, _ := strings.Cut(strings.ToUpper(line), " "); verb {
				case "DATA":
					say("354 go on")
					body, err := in.ReadDotBytes()
					if err != nil {
						return
					}
					say("250 taken")
					arrived <- bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n"))
				case "QUIT":
					say("221 bye")
					return
				case "STARTTLS":
					say("502 not here")
				default:
					say("250 mx.vecchio.test")
				}
			}
		}()
	}
}
