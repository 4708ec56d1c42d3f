package engine

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// publishes puts a copy of the authority's list where the engine keeps them.
func (w *world) publishes(revoked ...*x509.Certificate) {
	w.t.Helper()
	list := x509.RevocationList{Number: big.NewInt(1), ThisUpdate: w.now.Add(-time.Hour), NextUpdate: w.now.Add(time.Hour)}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: w.now.Add(-time.Hour)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, &list, keys().root, keys().rootKey)
	if err != nil {
		w.t.Fatal(err)
	}
	dir := filepath.Join(w.settings.Files.State, revocationsDir)
	copied := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Headers: map[string]string{"Source": "http://crl.test/x.crl"}, Bytes: der})
	if err := os.MkdirAll(dir, 0o750); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x.pem"), copied, 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.crash() // it reads them when it starts
}

func TestRevokedProviderIsAStranger(t *testing.T) {
	from := "bruno@" + theirs
	for name, c := range map[string]struct {
		to      string
		list    func(w *world)
		answer  string
		mailbox []string
		want    pec.Standing
	}{
		"nothing is known":                        {to: "anna@" + ours, list: func(*world) {}, mailbox: []string{"posta-certificata"}, want: pec.StandingUnknown},
		"the list does not name it":               {to: "anna@" + ours, list: func(w *world) { w.publishes(keys().leaves[ours]) }, mailbox: []string{"posta-certificata"}, want: pec.StandingGood},
		"revoked, to who takes certified only":    {to: "anna@" + ours, list: func(w *world) { w.publishes(keys().leaves[theirs]) }, answer: answerUncertified, mailbox: []string{}},
		"revoked, to who takes ordinary mail too": {to: "aperta@" + ours, list: func(w *world) { w.publishes(keys().leaves[theirs]) }, mailbox: []string{"errore"}, want: pec.StandingRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.list(w)
			_, raw := foreignEnvelope(t, from, c.to, "q1")
			if answer := w.arrive(from, []string{c.to}, raw); answer != c.answer {
				t.Fatalf("answered %q", answer)
			}
			if c.answer == "" {
				var tx transaction
				if found, err := w.engine.lookup(kindTransaction, w.queue[0].id, &tx); err != nil || !found || tx.Standing != c.want {
					t.Errorf("recorded %+v, %v", tx, err)
				}
			}
			if err := os.RemoveAll(filepath.Join(w.settings.Files.State, revocationsDir)); err != nil { // what was judged stays judged
				t.Fatal(err)
			}
			w.crash()
			w.run(enoughRounds)
			if diff := cmp.Diff(c.mailbox, w.titles(c.to)); diff != "" {
				t.Errorf("mailbox (-want +got):\n%s", diff)
			}
		})
	}
}

// What was certified when it came in does not get stuck because a list came in between.
func TestRevocationAfterTheMilterChangesNothing(t *testing.T) {
	w := newWorld(t)
	from := "bruno@" + theirs
	_, raw := foreignEnvelope(t, from, "anna@"+ours, "q1")
	if answer := w.arrive(from, []string{"anna@" + ours}, raw); answer != "" {
		t.Fatalf("answered %q", answer)
	}
	w.publishes(keys().leaves[theirs])
	w.run(enoughRounds)
	if diff := cmp.Diff([]string{"posta-certificata"}, w.titles("anna@"+ours)); diff != "" {
		t.Errorf("mailbox (-want +got):\n%s", diff)
	}
}
