package engine

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/mailtest"
	"github.com/pec-operator/pec-operator/internal/pki"
	"github.com/pec-operator/pec-operator/internal/store"
)

// job is a client of the site's engine with a job's certificate, by that authority.
func (s *site) job(name string, by *pki.Authority, address string) *store.Client {
	s.t.Helper()
	leaf, err := by.Issue(pki.Leaf{URI: admin.JobURI(s.settings.Site, "comune", name)}, s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(leaf.Cert, leaf.Key)
	if err != nil {
		s.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	return store.NewClient("https://localhost:"+port, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: s.authority.Pool()})
}

// withDovecot is a site whose Dovecot is real, and a job that may write into the mailbox of "mario".
func withDovecot(t *testing.T) (s *site, address string, job *store.Client) {
	t.Helper()
	d := mailtest.StartStack(t, ours, "{BLF-CRYPT}$2y$05$x", sender, "anna@"+ours)
	s = newSite(t, "a", admin.EngineURI("a", ours))
	s.settings.Next.Doveadm = "127.0.0.1:24245"
	if err := os.WriteFile(s.settings.Files.DoveadmPassword, []byte(mailtest.DoveadmPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	s.crash()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Dovecot:\n%s", d.Log)
		}
	})
	address = s.listen(serveHTTP(s.engine.adminServer()))
	_, port, _ := net.SplitHostPort(address)
	operator := s.clientAt("https://localhost:"+port, admin.OperatorURI("a"))
	if err := operator.PutGrant(t.Context(), "comune", "copia", admin.Grant{Addresses: []string{sender}, Write: true, Until: s.now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	return s, address, s.job("copia", s.authority, address)
}

func (s *site) clientAt(base, uri string) *admin.Client {
	s.t.Helper()
	leaf, err := s.authority.Issue(pki.Leaf{URI: uri}, s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(leaf.Cert, leaf.Key)
	if err != nil {
		s.t.Fatal(err)
	}
	return admin.NewClient(base, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: s.authority.Pool()})
}

func TestStore(t *testing.T) {
	mailtest.Inside(t, func(t *testing.T) {
		_, address, job := withDovecot(t)
		for name, check := range map[string]func(*testing.T, string, *store.Client){
			"a message comes back byte for byte, with all that was said of it": checkSaved,
			"a GUID that is in the folder is not saved again":                  checkNotTwice,
			"bytes that are not those announced are not saved":                 checkDigest,
			"a request that is cut leaves nothing":                             checkCut,
			"what is not there is not found":                                   checkAbsent,
			"what doveadm would take for a pattern is refused":                 checkPatterns,
			"a folder of many pages is listed whole":                           checkPages,
		} {
			t.Run(name, func(t *testing.T) { check(t, address, job) })
		}
	})
}

// hostile has what a line protocol could stumble over.
var hostile = []byte("From: a@b.test\r\nSubject: \xe0\xe8\xf9\r\n\r\n.\r\n..two\r\n.dot\r\ntab\there\r\none \x01 two \x01t\r\n" + strings.Repeat("x", 70000) + "\r\n\r\nno line end")

func newMessage(folder string, n int, raw []byte) store.New {
	return store.New{Folder: folder, GUID: fmt.Sprintf("%032x", n), Date: time.Unix(1650000000, 0), SHA256: store.Digest(raw)}
}

func checkSaved(t *testing.T, _ string, job *store.Client) {
	ctx, folder := t.Context(), "Prot. 2021/Società \"è\""
	for range 2 {
		if err := job.MakeFolder(ctx, sender, folder); err != nil {
			t.Fatal(err)
		}
	}
	m := newMessage(folder, 1, hostile)
	m.UID, m.Flags = 7, []string{`\Seen`, "$Forwarded", "urgente"}
	saved, err := job.Save(ctx, sender, m, bytes.NewReader(hostile))
	if err != nil || saved != (store.Saved{UID: 7}) {
		t.Fatalf("saved %+v, %v", saved, err)
	}
	list, err := job.Messages(ctx, sender, folder, 0)
	if err != nil || len(list) != 1 {
		t.Fatalf("listed %+v, %v", list, err)
	}
	got := list[0]
	slices.Sort(got.Flags)
	if got.GUID != m.GUID || got.UID != 7 || !got.Date.Equal(m.Date) || got.Size != int64(len(hostile)) || !slices.Equal(got.Flags, []string{"$Forwarded", `\Seen`, "urgente"}) {
		t.Errorf("listed %+v", got)
	}
	if raw := readAll(t, job, folder, 7); !bytes.Equal(raw, hostile) {
		t.Errorf("%d bytes came back otherwise, of %d", len(raw), len(hostile))
	}
	if err := job.SetFlags(ctx, sender, folder, m.GUID, nil); err != nil {
		t.Fatal(err)
	}
	if list, err = job.Messages(ctx, sender, folder, 0); err != nil || len(list) != 1 || len(list[0].Flags) != 0 {
		t.Errorf("flags taken away: %+v, %v", list, err)
	}
	folders, err := job.Folders(ctx, sender)
	if err != nil || !slices.ContainsFunc(folders, func(f store.Folder) bool {
		return f.Name == folder && f.Messages == 1 && f.UIDNext == 8 && f.UIDValidity > 0
	}) {
		t.Errorf("folders %+v, %v", folders, err)
	}
}

func readAll(t *testing.T, job *store.Client, folder string, uid uint32) []byte {
	t.Helper()
	r, err := job.Open(t.Context(), sender, folder, uid)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func checkNotTwice(t *testing.T, _ string, job *store.Client) {
	one, two := []byte("Subject: one\r\n\r\n1\r\n"), []byte("Subject: two\r\n\r\n2\r\n")
	first, err := job.Save(t.Context(), sender, newMessage("INBOX", 10, one), bytes.NewReader(one))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := job.Save(t.Context(), sender, newMessage("INBOX", 10, two), bytes.NewReader(two)); err != nil || again != (store.Saved{UID: first.UID, Existed: true}) {
		t.Errorf("saved again %+v, %v", again, err)
	}
	if raw := readAll(t, job, "INBOX", first.UID); !bytes.Equal(raw, one) {
		t.Errorf("it holds %q", raw)
	}
}

func count(t *testing.T, job *store.Client, guid string) (n int) {
	t.Helper()
	list, err := job.Messages(t.Context(), sender, "INBOX", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if m.GUID == guid {
			n++
		}
	}
	return n
}

func checkDigest(t *testing.T, _ string, job *store.Client) {
	m := newMessage("INBOX", 20, []byte("one thing"))
	if _, err := job.Save(t.Context(), sender, m, strings.NewReader("another thing")); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if n := count(t, job, m.GUID); n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

func checkCut(t *testing.T, _ string, job *store.Client) {
	m := newMessage("INBOX", 30, hostile)
	kept := doveadmSessions(t)
	reader, writer := io.Pipe()
	go func() {
		_, _ = writer.Write(hostile[:60000])
		time.Sleep(100 * time.Millisecond)
		_ = writer.CloseWithError(errors.New("the job was killed"))
	}()
	if _, err := job.Save(t.Context(), sender, m, reader); err == nil {
		t.Fatal("a cut request was answered")
	}
	for end := time.Now().Add(10 * time.Second); doveadmSessions(t) > max(0, kept-1); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("Dovecot waits for the rest of the message")
		}
	}
	if n := count(t, job, m.GUID); n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

// doveadmSessions are the connections that Dovecot has open on its doveadm port, the engine's end closed or not.
func doveadmSessions(t *testing.T) (n int) {
	t.Helper()
	raw, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const established, closeWait = "01", "08"
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); strings.HasSuffix(f[1], fmt.Sprintf(":%04X", 24245)) && (f[3] == established || f[3] == closeWait) {
			n++
		}
	}
	return n
}

func checkAbsent(t *testing.T, _ string, job *store.Client) {
	_, list := job.Messages(t.Context(), sender, "Nessuna", 0)
	_, open := job.Open(t.Context(), sender, "INBOX", 4000000)
	_, save := job.Save(t.Context(), sender, newMessage("Nessuna", 40, nil), strings.NewReader(""))
	flags := job.SetFlags(t.Context(), sender, "INBOX", fmt.Sprintf("%032x", 41), nil)
	for name, err := range map[string]error{"a folder": list, "a message": open, "a folder to save in": save, "a message to flag": flags} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func checkPatterns(t *testing.T, _ string, job *store.Client) {
	for _, folder := range []string{"", "*", "INB%", "-A", "a\nb"} {
		if _, err := job.Messages(t.Context(), sender, folder, 0); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("listing %q: %v", folder, err)
		}
		if err := job.MakeFolder(t.Context(), sender, folder); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("making %q: %v", folder, err)
		}
	}
	m := newMessage("INBOX", 50, nil)
	m.Flags = []string{"a b"}
	if _, err := job.Save(t.Context(), sender, m, strings.NewReader("")); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("a flag of two words: %v", err)
	}
}

func checkPages(t *testing.T, _ string, job *store.Client) {
	if err := job.MakeFolder(t.Context(), sender, "Molti"); err != nil {
		t.Fatal(err)
	}
	raw := []byte("Subject: x\r\n\r\nx\r\n")
	want := []uint32{1, store.PageSize, store.PageSize + 1, 3 * store.PageSize}
	for i, uid := range want {
		m := newMessage("Molti", 60+i, raw)
		m.UID = uid
		if saved, err := job.Save(t.Context(), sender, m, bytes.NewReader(raw)); err != nil || saved.UID != uid {
			t.Fatalf("saved %+v, %v", saved, err)
		}
	}
	list, err := job.Messages(t.Context(), sender, "Molti", 0)
	var got []uint32
	for _, m := range list {
		got = append(got, m.UID)
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("listed %v, %v", got, err)
	}
}

func TestStoreIsForWhomItWasGranted(t *testing.T) {
	s, other := newSite(t, "a", admin.EngineURI("a", ours)), newSite(t, "b", admin.EngineURI("b", ours))
	address := s.listen(serveHTTP(s.engine.adminServer()))
	_, port, _ := net.SplitHostPort(address)
	operator := s.clientAt("https://localhost:"+port, admin.OperatorURI("a"))
	put := func(name string, g admin.Grant) {
		if err := operator.PutGrant(t.Context(), "comune", name, g); err != nil {
			t.Fatal(err)
		}
	}
	later := s.now.Add(time.Minute)
	put("lettura", admin.Grant{Addresses: []string{sender}, Until: later})
	put("altra", admin.Grant{Addresses: []string{"anna@" + ours}, Write: true, Until: later})
	put("tolta", admin.Grant{Addresses: []string{sender}, Write: true, Until: later})
	put("tolta", admin.Grant{})
	put("scaduta", admin.Grant{Addresses: []string{sender}, Write: true, Until: s.now.Add(time.Second)})
	s.now = s.now.Add(2 * time.Second)
	if err := operator.PutGrant(t.Context(), "comune", "tardi", admin.Grant{Addresses: []string{sender}, Until: s.now}); err == nil {
		t.Error("a grant that has ended was taken")
	}
	s.crash() // grants outlive the engine
	address = s.listen(serveHTTP(s.engine.adminServer()))
	for _, name := range []string{"altra", "tolta", "scaduta", "mai"} {
		if _, err := s.job(name, s.authority, address).Folders(t.Context(), sender); !errors.Is(err, store.ErrDenied) {
			t.Errorf("job %s: %v", name, err)
		}
	}
	reader := s.job("lettura", s.authority, address)
	if _, err := reader.Folders(t.Context(), sender); err == nil || errors.Is(err, store.ErrDenied) { // no Dovecot answers here
		t.Errorf("a granted job: %v", err)
	}
	if err := reader.MakeFolder(t.Context(), sender, "x"); !errors.Is(err, store.ErrDenied) {
		t.Errorf("writing with a grant to read: %v", err)
	}
	if _, err := s.job("lettura", other.authority, address).Folders(t.Context(), sender); err == nil || errors.Is(err, store.ErrDenied) {
		t.Errorf("a job by another authority came as far as a request: %v", err)
	}
	_, port, _ = net.SplitHostPort(address)
	asOperator := s.clientAt("https://localhost:"+port, admin.JobURI("a", "comune", "lettura"))
	if _, err := asOperator.Status(t.Context()); err == nil {
		t.Error("a job was answered as the operator is")
	}
	if err := asOperator.PutGrant(t.Context(), "comune", "lettura", admin.Grant{Addresses: []string{sender}, Write: true, Until: later}); err == nil {
		t.Error("a job granted itself more")
	}
}
