package retention

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/store"
)

// mailbox is a store in memory, for what is about selection, packages and crashes; the road through Dovecot has a test of its own.
type mailbox struct {
	mu      sync.Mutex
	folders map[string][]stored
	opened  int
}

type stored struct {
	store.Message
	raw []byte
}

// newMailbox makes a mailbox of about n messages, the same for the same n but for what is signed: certified messages with their
// receipts, ordinary mail, equal copies, 8-bit and empty bodies, bare folders and nested ones.
func newMailbox(t testing.TB, n int) *mailbox {
	t.Helper()
	box := &mailbox{folders: map[string][]stored{}}
	folders := []string{"INBOX", "Prot.2025/In arrivo", "Società", "Sent"}
	r := mathrand.New(mathrand.NewPCG(1, uint64(n)))
	documents := certified(t)
	for i := 0; box.count() < n; i++ {
		folder, date := folders[i%3], daysAgo(400-i*7%300)
		switch i % 5 {
		case 0:
			for j, raw := range documents[i/5%len(documents)] {
				box.add([]string{folder, "INBOX", "INBOX"}[j], date.Add(time.Duration(j)*time.Minute), raw)
			}
		case 1:
			equal := fmt.Appendf(nil, "Subject: due volte %d\r\n\r\nuguale\r\n", i)
			box.add(folder, date, equal)
			box.add(folder, date, equal)
		case 2:
			box.add(folder, date, fmt.Appendf(nil, "Message-ID: <m%d@client.test>\r\nSubject: vuoto\r\n\r\n", i))
		case 3:
			box.add(folder, date, fmt.Appendf(nil, "Subject: caff\xe8\r\n\r\n%s\x80\xff\r\n.\r\n", strings.Repeat("8 bit \xc3\xa8\r\n", r.IntN(200))))
		default:
			box.add("Sent", date, fmt.Appendf(nil, "Message-ID: <s%d@client.test>\r\nSubject: inviato\r\n\r\n%s\r\n", i, strings.Repeat("riga\r\n", r.IntN(500))), `\Seen`, "Etichetta")
		}
	}
	return box
}

// certified are some envelopes, each with its acceptance and its delivery receipt.
var certified = func() func(testing.TB) [][3][]byte {
	var once sync.Once
	var sets [][3][]byte
	return func(t testing.TB) [][3][]byte {
		once.Do(func() {
			for i := range 8 {
				sets = append(sets, certify(t, i))
			}
		})
		return sets
	}
}()

func certify(t testing.TB, i int) (set [3][]byte) {
	t.Helper()
	provider := pec.Provider{Name: "Gestore di prova", MailDomain: "pec.test", ServiceAddress: "posta-certificata@pec.test"}
	signer := testSigner(t, provider.ServiceAddress)
	raw := fmt.Appendf(nil, "From: a@pec.test\r\nTo: b@pec.test\r\nMessage-ID: <client-%d@a.test>\r\nSubject: Prova %d\r\nDate: Mon, 2 Feb 2026 10:00:00 +0100\r\n\r\ntesto\r\n", i, i)
	original, err := pec.ReadOriginal(io.NewSectionReader(bytes.NewReader(raw), 0, int64(len(raw))))
	if err != nil {
		t.Fatal(err)
	}
	at := daysAgo(30)
	transit := original.Transit(pec.Identifier("a", fmt.Sprint("queue", i), "pec.test"), "a@pec.test", []string{"b@pec.test"}, func(string) bool { return true })
	envelope, err := signer.Envelope(provider, transit, original, nil, at)
	if err != nil {
		t.Fatal(err)
	}
	acceptance, err := signer.Acceptance(provider, transit, fmt.Sprintf("acc-%d@pec.test", i), at)
	if err != nil {
		t.Fatal(err)
	}
	delivery, err := signer.Delivery(provider, transit, fmt.Sprintf("del-%d@pec.test", i), "b@pec.test", raw, at)
	if err != nil {
		t.Fatal(err)
	}
	return [3][]byte{envelope, acceptance, delivery}
}

// testSigner is the same in every process that runs these tests.
func testSigner(t testing.TB, address string) *pec.Signer {
	t.Helper()
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "prova"}, EmailAddresses: []string{address},
		NotBefore: daysAgo(1000), NotAfter: noon.AddDate(10, 0, 0),
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := pec.NewSignerWithKey([]*x509.Certificate{leaf}, key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func (b *mailbox) add(folder string, date time.Time, raw []byte, flags ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	uid := uint32(len(b.folders[folder]) + 1)
	guid := store.Digest(fmt.Appendf(nil, "%s %d", folder, uid))[:32]
	b.folders[folder] = append(b.folders[folder], stored{store.Message{GUID: guid, UID: uid, Date: date, Size: int64(len(raw)), Flags: flags}, raw})
}

func (b *mailbox) count() (n int) {
	for _, messages := range b.folders {
		n += len(messages)
	}
	return n
}

// all is the mailbox as a multiset: folder, date, flags and hash of every message.
func (b *mailbox) all() (lines []string) {
	for folder, messages := range b.folders {
		for _, m := range messages {
			flags := slices.Sorted(slices.Values(m.Flags))
			lines = append(lines, fmt.Sprint(folder, " ", m.Date.UTC(), " ", flags, " ", store.Digest(m.raw)))
		}
	}
	slices.Sort(lines)
	return lines
}

func (b *mailbox) bytesOf(m Message) []byte {
	for _, s := range b.folders[m.Folder] {
		if s.GUID == m.GUID {
			return s.raw
		}
	}
	return nil
}

func (b *mailbox) opener() Opener {
	return func(m Message) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.bytesOf(m))), nil }
}

func (b *mailbox) described(t testing.TB) (all []Message) {
	t.Helper()
	for folder, messages := range b.folders {
		for _, s := range messages {
			m, err := describe(folder, s.Message, bytes.NewReader(s.raw))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
	}
	return all
}

// The methods of source and sink.

func (b *mailbox) Folders(context.Context, string) (folders []store.Folder, err error) {
	for name := range b.folders {
		folders = append(folders, store.Folder{Name: name})
	}
	return folders, nil
}

func (b *mailbox) Messages(_ context.Context, _, folder string, after uint32) (listed []store.Message, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.folders[folder] {
		if s.UID > after {
			listed = append(listed, s.Message)
		}
	}
	return listed, nil
}

func (b *mailbox) Open(_ context.Context, _, folder string, uid uint32) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened++
	for _, s := range b.folders[folder] {
		if s.UID == uid {
			return io.NopCloser(bytes.NewReader(s.raw)), nil
		}
	}
	return nil, store.ErrNotFound
}

func (b *mailbox) MakeFolder(context.Context, string, string) error { return nil }

func (b *mailbox) Save(_ context.Context, _ string, m store.New, body io.Reader) (store.Saved, error) {
	raw, err := io.ReadAll(body)
	if err != nil {
		return store.Saved{}, err
	}
	if store.Digest(raw) != m.SHA256 {
		return store.Saved{}, store.ErrInvalid
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.folders[m.Folder] {
		if s.GUID == m.GUID {
			return store.Saved{UID: s.UID, Existed: true}, nil
		}
	}
	uid := uint32(len(b.folders[m.Folder]) + 1)
	b.folders[m.Folder] = append(b.folders[m.Folder], stored{store.Message{GUID: m.GUID, UID: uid, Date: m.Date, Size: int64(len(raw)), Flags: m.Flags}, raw})
	return store.Saved{UID: uid}, nil
}
