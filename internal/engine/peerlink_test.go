package engine

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/pki"
)

// site is a world with certificates of its own authority, a doveadm password, and a Dovecot that echoes a dsync stream.
type site struct {
	*world
	authority *pki.Authority
	link      string // address of its peer link
	sync      string // address of its sync destination
}

func newSite(t *testing.T, name, uri string) *site {
	t.Helper()
	w := newWorld(t)
	pair, err := pki.NewAuthority(name, w.now)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{world: w}
	if s.authority, err = pki.LoadAuthority(pair); err != nil {
		t.Fatal(err)
	}
	leaf, err := s.authority.Issue(pki.Leaf{URI: uri, DNSNames: []string{"localhost", engines.Leaf(name, host).DNSNames[0]}}, w.now)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	w.settings.Site = name
	w.settings.Files.AdminCert, w.settings.Files.AdminKey, w.settings.Files.AdminCA = file("tls.crt", leaf.Cert), file("tls.key", leaf.Key), file("ca.crt", s.authority.PEM)
	w.settings.Files.DoveadmPassword = file("password", []byte("parola-"+name+"\n"))
	w.settings.Next.Doveadm = echoingDovecot(t, "parola-"+name)
	w.crash()                                    // start again with these settings
	w.engine.mergeable.Store("anna@"+ours, true) // the stand-in for Dovecot has no folders
	s.link, s.sync = s.listen(s.engine.servePeer), s.listen(s.engine.serveSyncDestination)
	return s
}

func (s *site) listen(serve func(context.Context, net.Listener) error) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	go func() { _ = serve(s.t.Context(), l) }()
	return l.Addr().String()
}

func (s *site) knows(other *site) {
	peer := admin.Peer{Site: other.settings.Site, Address: other.link, CABundle: string(other.authority.PEM)}
	if err := s.engine.directory.PutPeer(s.t.Context(), peer); err != nil {
		s.t.Fatal(err)
	}
}

func echoingDovecot(t *testing.T, password string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				w := newWire(conn)
				user, err := acceptDsync(w, password)
				if err != nil {
					return
				}
				_ = w.writeLine("\n+")
				_, _ = io.WriteString(conn, user+": ")
				_, _ = io.Copy(conn, w)
			}()
		}
	}()
	return l.Addr().String()
}

// dsync does what the site's own Dovecot does to sync a mailbox.
func (s *site) dsync(mailbox, password string) (string, error) {
	conn, err := net.Dial("tcp", s.sync)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	w := newWire(conn)
	if err := startDsync(w, password, mailbox); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "ciao"); err != nil {
		return "", err
	}
	w.closeWrite()
	answer, err := io.ReadAll(w)
	return string(answer), err
}

func TestPeerLinkCarriesOneMailboxBetweenTwoDovecots(t *testing.T) {
	a, b := newSite(t, "a", admin.EngineURI("a", ours)), newSite(t, "b", admin.EngineURI("b", ours))
	a.knows(b)
	b.knows(a)
	for _, s := range []*site{a, b} {
		if got, err := s.dsync("anna@"+ours, "parola-"+s.settings.Site); err != nil || got != "anna@"+ours+": ciao" {
			t.Fatalf("from site %s: %q, %v", s.settings.Site, got, err)
		}
	}
}

func TestPeerLinkRefuses(t *testing.T) {
	cases := map[string]struct {
		uri               string // in the dialling engine's certificate
		trustOther        bool   // whether the answering engine trusts another authority instead
		mailbox, password string
	}{
		"a mailbox that the other site's directory does not hold": {uri: admin.EngineURI("a", ours), mailbox: "nessuno@" + ours, password: "parola-a"},
		"an engine of another domain":                             {uri: admin.EngineURI("a", "pec.tre.test"), mailbox: "anna@" + ours, password: "parola-a"},
		"an operator":                                             {uri: admin.OperatorURI("a"), mailbox: "anna@" + ours, password: "parola-a"},
		"an engine of another authority":                          {uri: admin.EngineURI("a", ours), trustOther: true, mailbox: "anna@" + ours, password: "parola-a"},
		"a program in the pod without the password":               {uri: admin.EngineURI("a", ours), mailbox: "anna@" + ours, password: "indovinata"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a, b := newSite(t, "a", c.uri), newSite(t, "b", admin.EngineURI("b", ours))
			a.knows(b)
			b.knows(a)
			if c.trustOther {
				b.knows(&site{world: a.world, link: a.link, authority: b.authority})
			}
			if got, err := a.dsync(c.mailbox, c.password); err == nil {
				t.Fatalf("it got through: %q", got)
			}
		})
	}
}

func TestDoveadmCommandsOtherThanDsyncDoNotPass(t *testing.T) {
	a := newSite(t, "a", admin.EngineURI("a", ours))
	for _, command := range []string{
		"\tanna@" + ours + "\texpunge\t-uanna@" + ours,
		"\tanna@" + ours + "\tdsync-server\t-umario@" + ours,
		"\tanna@" + ours + "\tdsync-server\t-uanna@" + ours + "\t-A",
		"D\t\tdsync-server\t-u",
	} {
		conn, err := net.Dial("tcp", a.sync)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		w := newWire(conn)
		answer := ""
		for _, line := range []string{wireClientVersion, doveadmPlain("parola-a"), command} {
			if err := w.writeLine(line); err != nil {
				t.Fatal(err)
			}
		}
		rest, _ := io.ReadAll(w)
		answer = string(rest)
		_ = conn.Close()
		if strings.Count(answer, "+") != 1 { // that of the login
			t.Errorf("%q was answered %q", command, answer)
		}
	}
}

// A peer that is taken back gets nothing more over a sync that this site began either.
func TestASyncWithAPeerThatIsTakenBackEnds(t *testing.T) {
	a, b := newSite(t, "a", admin.EngineURI("a", ours)), newSite(t, "b", admin.EngineURI("b", ours))
	a.knows(b)
	b.knows(a)
	conn, err := net.Dial("tcp", a.sync)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	w := newWire(conn)
	if err := startDsync(w, "parola-a", "anna@"+ours); err != nil {
		t.Fatal(err)
	}
	greeting := make([]byte, len("anna@"+ours+": "))
	if _, err := io.ReadFull(w, greeting); err != nil {
		t.Fatalf("the sync does not run: %v", err)
	}
	if _, err := a.engine.putPeer(httptest.NewRequest(http.MethodPut, "/", strings.NewReader("{}"))); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(w); err != nil || len(rest) > 0 {
		t.Errorf("the sync goes on: %q, %v", rest, err)
	}
}
