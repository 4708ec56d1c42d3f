package engine

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/audit"
	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/providers"
)

// signingPair is a certificate of ours that nobody has used yet, with its key.
type signingPair struct {
	cert, key []byte // PEM
	leaf      *x509.Certificate
}

func newSigningPair(t *testing.T) signingPair {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := *keys().leaves[ours]
	template.SerialNumber = big.NewInt(99)
	der, err := x509.CreateCertificate(rand.Reader, &template, keys().root, key.Public(), keys().rootKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signingPair{leaf: leaf, cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})}
}

// extracted is what the command gives of the engine's log.
func (w *world) extracted(args ...string) []audit.Event {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	dir := filepath.Join(w.settings.Files.State, evidenceDir)
	if err := audit.Run(append([]string{"extract", dir, "--format", "json"}, args...), w.now, &stdout, &stderr); err != nil {
		w.t.Fatalf("%v\n%s", err, &stderr)
	}
	var events []audit.Event
	if err := json.Unmarshal(stdout.Bytes(), &events); err != nil {
		w.t.Fatal(err)
	}
	return events
}

func eventNames(events []audit.Event) []string {
	var names []string
	for _, e := range events {
		names = append(names, e.Event)
	}
	slices.Sort(names)
	return names
}

// Each event that the rules know has one record, and each record all that the rules ask for.
func TestEveryEventIsInTheExtractWithAllItsFields(t *testing.T) {
	w := newWorld(t)
	w.submit(sender, []string{"anna@" + ours, "piena@" + ours}, letter(sender, "anna@"+ours+", piena@"+ours, ""))
	w.run(30)
	_, raw := foreignEnvelope(t, "luca@"+theirs, "anna@"+ours, "4jX5CV9999zmF")
	w.mu.Lock()
	id := w.enqueue("incoming", "luca@"+theirs, []string{"anna@" + ours}, raw)
	w.mu.Unlock()
	if answer := w.engine.judgeTransaction(id, transaction{Port: portMX, From: "luca@" + theirs, Recipients: []string{"anna@" + ours}}, raw); answer != "" {
		t.Fatal(answer)
	}
	w.run(30)
	ownEvents := []string{
		"accettazione", "avvenuta-consegna", "busta-di-trasporto", "consegna", "deposito-di-ricevuta", "deposito-di-ricevuta", "deposito-di-ricevuta",
		"errore-consegna", "esito-ricevuto", "esito-ricevuto", "mancata-consegna", "presa-in-carico", "presa-in-carico",
		"presa-in-carico-ricevuta", "presa-in-carico-ricevuta", "ricevuta-di-altro-gestore", "ricevuta-di-altro-gestore", "ricezione", "ricezione",
	}
	own := w.extracted("--holder", strings.ToUpper(sender))
	for i, e := range own {
		if e.Identifier == "" || e.MessageID != "<1@client.test>" || e.Sender != sender || len(e.Recipients) != 2 || e.Subject != "Prova" ||
			e.Provider != "Gestore "+ours || e.Time.IsZero() || e.Record == 0 || len(e.Hash) != 64 {
			t.Errorf("event %d lacks something: %+v", i, e)
		}
	}
	if diff := cmp.Diff(ownEvents, eventNames(own)); diff != "" {
		t.Error(diff)
	}
	// A recipient sees what concerns all or himself, of both messages; of the other recipient only the name.
	for _, e := range w.extracted("--holder", "anna@"+ours) {
		if slices.Contains(e.Concerned, "piena@"+ours) && !slices.Contains(e.Concerned, "anna@"+ours) {
			t.Errorf("anna is shown %+v", e)
		}
	}
	foreign := w.extracted("--identifier", pec.Identifier("x", "4jX5CV9999zmF", theirs))
	if diff := cmp.Diff([]string{"avvenuta-consegna", "consegna", "presa-in-carico", "ricezione"}, eventNames(foreign)); diff != "" {
		t.Error(diff)
	}
	for _, e := range foreign {
		if e.Sender != "luca@"+theirs || e.Provider != "Gestore "+theirs || e.Subject != "Prova" {
			t.Errorf("%+v", e)
		}
	}
	today := w.now.In(pec.Rome()).Format(time.DateOnly)
	if got := w.extracted("--from", today, "--to", today); len(got) != len(own)+len(foreign) {
		t.Errorf("%d events of the day, want %d", len(got), len(own)+len(foreign))
	}
	if got := w.extracted("--from", "2020-01-01", "--to", "2020-12-31"); len(got) != 0 {
		t.Errorf("%d events of a day without any", len(got))
	}
}

// A disk that is full takes no evidence, so the engine takes no mail; when there is room again nothing was lost.
func TestFullDiskIsAnsweredWithATemporaryRefusal(t *testing.T) {
	w := newWorld(t)
	_ = w.engine.Close()
	if err := syscall.Mount("none", w.settings.Files.State, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("mounting a small disk takes root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(w.settings.Files.State, syscall.MNT_DETACH) })
	w.start()
	w.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
	ballast := filepath.Join(w.settings.Files.State, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if _ = f.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	q := w.queue[0]
	for _, err := range w.engine.access(q.mail) {
		if err == nil {
			t.Error("the access point took a message that it has no evidence of")
		}
	}
	// The last page of the log may have had room for some records.
	var answer string
	for i := 0; answer == "" && i < 100; i++ {
		answer = w.engine.judgeTransaction(q.id+strings.Repeat("x", i+1), transaction{Port: portSubmission, User: sender, From: sender, Recipients: []string{"anna@" + ours}}, nil)
	}
	if !strings.HasPrefix(answer, "4") {
		t.Errorf("the milter answered %q", answer)
	}
	if len(w.engine.problems(t.Context())) == 0 {
		t.Error("the engine says that it is ready")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	w.crash()
	w.run(20)
	want := []string{"posta-certificata"}
	if diff := cmp.Diff(want, w.titles("anna@"+ours)); diff != "" {
		t.Error(diff)
	}
}

// The key is exchanged while mail flows: no restart, and the signatures of both keys are good as long as the index has both.
func TestSigningKeyIsExchangedWithoutARestart(t *testing.T) {
	w := newWorld(t)
	renewed := newSigningPair(t)
	index := providers.Format([]providers.Entry{
		{IndexEntry: pec.IndexEntry{Name: "Gestore " + ours, MailReceipt: "ricevute@" + ours, Domains: []string{ours}}, Certificates: []*x509.Certificate{keys().leaves[ours], renewed.leaf}},
	})
	if err := os.WriteFile(w.settings.Files.ProvidersIndex, index, 0o600); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(2 * time.Second) // the index is looked at once a second
	w.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
	if errs := w.engine.access(w.queue[0].mail); errs[0] != nil {
		t.Fatal(errs)
	}
	engine := w.engine
	for path, content := range map[string][]byte{w.settings.Files.SigningCert: renewed.cert, w.settings.Files.SigningKey: renewed.key} {
		if err := os.WriteFile(path+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	w.run(20)
	w.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
	w.run(20)
	if w.engine != engine {
		t.Fatal("the engine was started again")
	}
	parsed, err := providers.Parse(index)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(keys().root)
	signers := map[string]int{}
	for _, mailbox := range []string{sender, "anna@" + ours} {
		for _, raw := range w.store[mailbox] {
			_, document, _ := bytes.Cut(raw, []byte("; ")) // our trace
			_, document, _ = bytes.Cut(document, []byte("\r\n"))
			j := pec.Classify(document, parsed, roots, w.now)
			if j.Type == pec.TypeOrdinary || j.Type == pec.TypeAnomaly {
				t.Errorf("in %s: %s %v", mailbox, j.Type, j.Errors)
			}
			signers[pec.Open(document).Signature.Signer.SerialNumber.String()]++
		}
	}
	if old, renew := signers[keys().leaves[ours].SerialNumber.String()], signers[renewed.leaf.SerialNumber.String()]; old == 0 || renew == 0 || len(w.store["anna@"+ours]) != 2 {
		t.Errorf("signed with the old key %d, with the new one %d; anna has %d messages", old, renew, len(w.store["anna@"+ours]))
	}
}

// A day that ends is sealed with the key that signs the mail.
func TestDayIsSealedByTheEngine(t *testing.T) {
	w := newWorld(t)
	w.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
	w.run(20)
	w.now = w.now.Add(24 * time.Hour)
	w.engine.sealer.Pass(t.Context())
	day := w.now.Add(-24 * time.Hour).In(pec.Rome()).Format(time.DateOnly)
	if s := w.engine.seals(); s.Day != day || s.Records == 0 || s.LastError != "" || s.Late || s.Stamping {
		t.Fatalf("%+v", s)
	}
	r, err := evidence.Verify(filepath.Join(w.settings.Files.State, evidenceDir), evidence.Expect{Provider: w.settings.Provider.ServiceAddress, Now: w.now})
	if err != nil || len(r.Faults) > 0 || len(r.Seals) != 1 {
		t.Fatalf("%v %+v", err, r)
	}
}

// A site proves the other's closed days from its mirror. A seal that is not what the log recorded is not taken, and somebody is told.
func TestTheSealsOfOneSiteComeToTheOther(t *testing.T) {
	a, b := newTwins(t)
	closeDay := func() (day string) {
		t.Helper()
		day = dayOf(a.time())
		later(24*time.Hour, a, b)
		a.engine.sealer.Pass(t.Context())
		return day
	}
	mirror := func() evidence.Report {
		t.Helper()
		r, err := evidence.Verify(filepath.Join(b.settings.Files.State, mirrorsDir, a.engine.logName), evidence.Expect{Provider: a.settings.Provider.ServiceAddress, Now: a.time()})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a.submit(sender, []string{"anna@" + ours}, letter(sender, "anna@"+ours, ""))
	a.world.run(enoughRounds)
	first := closeDay()
	eventually(t, func() string {
		if lacking, err := b.engine.mirrors.of(a.engine.logName).LackingSeals(); err != nil || len(lacking) > 0 || len(mirror().Seals) == 0 {
			return fmt.Sprint("lacking: ", lacking, err, b.engine.replication().LastError)
		}
		return ""
	})
	if r := mirror(); len(r.Faults) > 0 || len(r.Seals) != 1 || r.Seals[0].Day != first || r.Site != "a" {
		t.Fatalf("%+v", r)
	}

	cut(a, b)
	second := closeDay() // its only record is the first day's seal
	seal := filepath.Join(a.settings.Files.State, evidenceDir, "seals", second+".json")
	whole, err := os.ReadFile(seal)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(seal, bytes.Replace(whole, []byte(second), []byte(first), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	heal(a, b)
	eventually(t, func() string {
		if n := b.engine.replication().CopiesLacking; n != 1 {
			return fmt.Sprint(n, " are said to be lacking")
		}
		return ""
	})
	if r := mirror(); len(r.Seals) != 1 || len(r.Faults) > 0 || !strings.Contains(strings.Join(r.Notes, " "), second+".json has not come here yet") {
		t.Fatalf("%+v", r)
	}
	if err := os.WriteFile(seal, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	later(relistEvery, a, b) // what could not be had is asked for over the next connection
	eventually(t, func() string {
		if r := mirror(); len(r.Seals) != 2 || len(r.Faults) > 0 || b.engine.replication().CopiesLacking != 0 {
			return fmt.Sprintf("%+v", r)
		}
		return ""
	})
}
