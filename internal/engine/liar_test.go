package engine

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pki"
)

// liar is who has the certificate of the engine at site b, and answers what a test wants.
func newLiar(t *testing.T, a *twin, answer func(verb string, w *wire)) {
	t.Helper()
	pair, err := pki.NewAuthority("b", a.time())
	if err != nil {
		t.Fatal(err)
	}
	authority, err := pki.LoadAuthority(pair)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := authority.Issue(pki.Leaf{URI: admin.EngineURI("b", ours), DNSNames: []string{"localhost"}}, a.time())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.X509KeyPair(leaf.Cert, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert})
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
				verb, err := w.readLine()
				if err == nil && w.writeLine(peerOK) == nil {
					answer(verb, w)
				}
			}()
		}
	}()
	peer := admin.Peer{Site: "b", Address: l.Addr().String(), CABundle: string(authority.PEM)}
	if err := a.engine.directory.PutPeer(t.Context(), peer); err != nil {
		t.Fatal(err)
	}
}

// foreignLines are records of some log, as they lie on disk.
func foreignLines(t *testing.T, n int, data any) (lines []string) {
	t.Helper()
	dir := t.TempDir()
	l, err := evidence.Open(dir, evidence.DefaultSegmentSize, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := l.Append(kindDelivering, fmt.Sprint(i), "", data); err != nil {
			t.Fatal(err)
		}
	}
	_ = l.Close()
	raw, err := os.ReadFile(filepath.Join(dir, "00000000000000000001.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.SplitAfter(strings.TrimSuffix(string(raw), "\n"), "\n")
}

const itsLog = "b-0123456789abcdef"

// Nothing that a peer may say makes an engine take what is not a log, remember without a bound, write outside its folder, or stop.
func TestPeerThatLies(t *testing.T) {
	good := strings.Join(foreignLines(t, 3, "x"), "") + "\n"
	cases := map[string]struct {
		chains string // the answer to "chains"
		after  string // the answer to "after"
		want   string // in the error that the operator is told
		breaks bool
	}{
		"another site's log":              {chains: "c-0123456789abcdef\n.\n", want: "as a log"},
		"a path for a log":                {chains: "b-0123456789abcdef/../../x\n.\n", want: "as a log"},
		"a former log of a third site":    {chains: itsLog + "\nc-0123456789abcdef\n.\n", want: "as a log"},
		"logs without an end":             {chains: itsLog + "\n" + strings.Repeat("b-1123456789abcdef\n", 1000), want: "too many"},
		"a line without an end":           {chains: strings.Repeat("b", 1<<20), want: "buffer full"},
		"no records at all":               {chains: itsLog + "\n.\n", after: "ciao\n", want: "ciao"},
		"more bytes than are ever sent":   {chains: itsLog + "\n.\n", after: "from 0 - 99999999999 1\n", want: "99999999999"},
		"fewer bytes than it says":        {chains: itsLog + "\n.\n", after: "from 0 - 100000 1\n" + good, want: "EOF"},
		"a size below zero":               {chains: itsLog + "\n.\n", after: "from 0 - -1 1\n", want: "-1"},
		"records of another place":        {chains: itsLog + "\n.\n", after: fmt.Sprintf("from 7 %s 0 9\n", strings.Repeat("0", 64)), want: ""},
		"records that are none":           {chains: itsLog + "\n.\n", after: "from 0 - 5 1\nciao\n", want: "intact", breaks: true},
		"records with a changed byte":     {chains: itsLog + "\n.\n", after: fmt.Sprintf("from 0 - %d 3\n%s", len(good), strings.Replace(good, `"x"`, `"y"`, 1)), want: "intact", breaks: true},
		"records without the first one":   {chains: itsLog + "\n.\n", after: fmt.Sprintf("from 0 - %d 3\n%s", len(good)-strings.Index(good, "\n")-1, good[strings.Index(good, "\n")+1:]), want: "intact", breaks: true},
		"that it has no log, for ever":    {chains: itsLog + "\n.\n", after: "elsewhere\n", want: "does not hold"},
		"nothing, and hangs up":           {},
		"an answer to what was not asked": {chains: "\n\n\n"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newTwin(t, "a")
			newLiar(t, a, func(verb string, w *wire) {
				for line, err := w.readLine(); err == nil; line, err = w.readLine() {
					answer := c.after
					if verb == verbRecords && line == "chains" {
						answer = c.chains
					}
					if _, err := w.Write([]byte(answer)); err != nil {
						return
					}
					if answer == "" || strings.Contains(answer, "100000 1") {
						return
					}
				}
			})
			eventually(t, func() string {
				r := a.engine.replication()
				switch {
				case c.want != "" && !strings.Contains(r.LastError, c.want):
					return fmt.Sprintf("the operator is told %q", r.LastError)
				case c.breaks && r.Breaks == 0:
					return "the break is not counted"
				}
				return ""
			})
			for _, m := range a.engine.mirrors.all() {
				if m.Head().Seq != 0 && m.Head().Seq != 7 {
					t.Errorf("%d records of %s were taken", m.Head().Seq, m.name)
				}
			}
			if !a.engine.replica.caughtUpAt.IsZero() {
				t.Error("it counts as heard")
			}
			a.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
			a.world.run(enoughRounds)
			if n := len(a.titles("anna@" + ours)); n != 1 {
				t.Errorf("%d messages were delivered, want 1", n)
			}
		})
	}
}

func TestPeerThatOffersAnotherMessageUnderItsName(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	lines := strings.Join(foreignLines(t, 1, map[string]string{"digest": digest}), "") + "\n"
	cases := map[string]struct {
		answer             string
		divergent, lacking int
		want               string
	}{
		"another body":            {answer: "4\nciao", divergent: 1, lacking: 1},
		"nothing":                 {answer: "-\n", lacking: 1},
		"more than is ever taken": {answer: "99999999999\n", want: "99999999999"},
		"less than it says":       {answer: "100\nciao", want: "the connection ended"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newTwin(t, "a")
			newLiar(t, a, func(verb string, w *wire) {
				for line, err := w.readLine(); err == nil; line, err = w.readLine() {
					answer := "ok\n"
					switch {
					case line == "chains":
						answer = itsLog + "\n.\n"
					case strings.HasPrefix(line, "after "+itsLog+" 0"):
						answer = fmt.Sprintf("from 0 - %d 1\n%s", len(lines), lines)
					case strings.HasPrefix(line, "after "):
						f := strings.Fields(line)
						time.Sleep(10 * time.Millisecond)
						answer = fmt.Sprintf("from %s %s 0 1\n", f[2], f[3])
					case strings.HasPrefix(line, "copy "):
						answer = c.answer
					}
					if _, err := w.Write([]byte(answer)); err != nil || answer == "100\nciao" {
						return
					}
				}
			})
			eventually(t, func() string {
				r := a.engine.replication()
				if r.Divergent != c.divergent || r.CopiesLacking != c.lacking || !strings.Contains(r.LastError, c.want) {
					return fmt.Sprintf("%+v", r)
				}
				return ""
			})
			if a.engine.custody.Has(digest) {
				t.Error("it was taken")
			}
		})
	}
}

// The records hold what a domain's holders did, and their passwords' hashes: only the engine of the same domain at the other site
// gets them.
func TestRecordsAreForThePeerAlone(t *testing.T) {
	for name, uri := range map[string]string{
		"the engine of another domain": admin.EngineURI("b", theirs),
		"the operator of the site":     admin.OperatorURI("b"),
		"an engine of a third site":    admin.EngineURI("c", ours),
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newTwin(t, "a"), &twin{site: newSite(t, "b", uri), door: newDoor(t)}
			a.meets(b)
			b.meets(a)
			for _, verb := range []string{verbRecords, verbCopies} {
				if w, _, err := b.engine.dialPeer(context.Background(), verb); err == nil {
					_ = w.Close()
					t.Errorf("%s were opened to it", verb)
				}
			}
		})
	}
}

func TestFullVolumeIsKeptForTheSitesOwnLog(t *testing.T) {
	a, b := newTwins(t)
	a.engine.replica.reserve = 1 << 62
	b.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
	b.world.run(enoughRounds)
	eventually(t, func() string {
		if r := a.engine.replication(); !strings.Contains(r.LastError, "nearly full") {
			return "the operator is told " + r.LastError
		}
		return ""
	})
	a.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
	a.world.run(enoughRounds)
	if n := len(a.titles("anna@" + ours)); n != 1 {
		t.Errorf("%d messages were delivered, want 1", n)
	}
}

// FuzzPeerAnswer reads what a peer may answer to a question for records.
func FuzzPeerAnswer(f *testing.F) {
	f.Add("from 0 - 5 1\nciao\n")
	f.Add("elsewhere\n")
	f.Add("from 18446744073709551615 " + strings.Repeat("f", 64) + " 9223372036854775807 18446744073709551615\n")
	f.Fuzz(func(t *testing.T, answer string) {
		one, other := net.Pipe()
		go func() {
			_, _ = bufio.NewReader(other).ReadString('\n')
			_, _ = other.Write([]byte(answer))
			_ = other.Close()
		}()
		got, err := askAfter(newWire(one), itsLog, evidence.Position{})
		if err == nil && len(got.lines) > len(answer) {
			t.Error("more was read than was sent")
		}
		_ = one.Close()
	})
}
