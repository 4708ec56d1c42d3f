package providers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// lister is an authority that publishes a list, and a certificate of its.
type lister struct {
	t          *testing.T
	key        *ecdsa.PrivateKey
	root, leaf *x509.Certificate
	now        time.Time
	body       []byte // what the server answers; nil: 404
	asked      int
	server     *httptest.Server
}

func newLister(t *testing.T) *lister {
	t.Helper()
	l := &lister{t: t, now: time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)}
	l.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if l.asked++; l.body == nil {
			http.NotFound(w, nil)
			return
		}
		_, _ = w.Write(l.body)
	}))
	t.Cleanup(l.server.Close)
	l.key, l.root = l.authority()
	template := x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: l.root.NotBefore, NotAfter: l.root.NotAfter, CRLDistributionPoints: []string{"ldap://a.test/x", l.server.URL + "/x.crl"}}
	l.leaf = l.certificate(&template, l.root, l.key)
	return l
}

func (l *lister) authority() (*ecdsa.PrivateKey, *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		l.t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Autorita'"}, NotBefore: l.now.AddDate(-1, 0, 0), NotAfter: l.now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}
	return key, l.certificate(&template, &template, key)
}

func (l *lister) certificate(template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	l.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
	if err != nil {
		l.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// list is a list of an instant, signed with a key.
func (l *lister) list(key *ecdsa.PrivateKey, at time.Time, revoked ...int64) []byte {
	l.t.Helper()
	template := x509.RevocationList{Number: big.NewInt(at.Unix()), ThisUpdate: at, NextUpdate: at.Add(48 * time.Hour)}
	for _, serial := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: at})
	}
	der, err := x509.CreateRevocationList(rand.Reader, &template, l.root, key)
	if err != nil {
		l.t.Fatal(err)
	}
	return der
}

func (l *lister) chain() []*x509.Certificate { return []*x509.Certificate{l.leaf, l.root} }

func (l *lister) standing(r *Revocations) pec.Standing {
	s, _ := r.Get().Standing(l.chain(), l.now, l.now)
	return s
}

func (l *lister) open(dir string) *Revocations {
	l.t.Helper()
	r, err := OpenRevocations(dir, func() time.Time { return l.now })
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func TestRevocationListsAreKept(t *testing.T) {
	l, dir := newLister(t), t.TempDir()
	thief, _ := l.authority()
	r := l.open(dir)
	begun := l.now
	steps := []struct {
		sentence string
		after    time.Duration // since the step before
		body     []byte
		asked    int // altogether
		want     pec.Standing
		wantErr  string
	}{
		{"nothing is published", 0, nil, 1, pec.StandingUnknown, "404"},
		{"a failure is not tried again at once", time.Minute, l.list(l.key, begun), 1, pec.StandingUnknown, "404"},
		{"it is after five minutes", 5 * time.Minute, l.list(l.key, begun), 2, pec.StandingGood, ""},
		{"a copy is good for an hour", 50 * time.Minute, l.list(l.key, begun.Add(time.Minute), 2), 2, pec.StandingGood, ""},
		{"then the certificate is revoked", 10 * time.Minute, l.list(l.key, begun.Add(time.Minute), 2), 3, pec.StandingRevoked, ""},
		{"an older list does not forget it", time.Hour, l.list(l.key, begun), 4, pec.StandingRevoked, "older than the copy"},
		{"nor one that somebody else signed", time.Hour, l.list(thief, begun.Add(2*time.Hour)), 5, pec.StandingRevoked, "did not sign it"},
		{"nor an answer that is no list", time.Hour, []byte("<html>"), 6, pec.StandingRevoked, "reading a revocation list"},
		{"nor one without an end", time.Hour, make([]byte, maxListBytes+1), 7, pec.StandingRevoked, "exceeds"},
		{"the authority takes it back", time.Hour, l.list(l.key, begun.Add(4*time.Hour)), 8, pec.StandingGood, ""},
		{"and is not heard of for two days after that", 53 * time.Hour, nil, 9, pec.StandingUnknown, "404"},
	}
	for _, step := range steps {
		l.now, l.body = l.now.Add(step.after), step.body
		for range 2 { // a second pass asks nothing
			r.Want(l.chain())
			r.Pass(t.Context())
		}
		s := r.State()
		if got := l.standing(r); got != step.want || l.asked != step.asked || (s.Err != nil) != (step.wantErr != "") || s.Err != nil && !strings.Contains(s.Err.Error(), step.wantErr) {
			t.Errorf("%s: %s, asked %d times, %v", step.sentence, got, l.asked, s.Err)
		}
		if again := l.open(dir); l.standing(again) != step.want {
			t.Errorf("%s: after a restart it stands %s", step.sentence, l.standing(again))
		}
	}
	if s := r.State(); s.Wanted != 1 || s.Missing != 0 || l.now.Sub(s.Oldest) != 53*time.Hour {
		t.Errorf("state %+v at %s", s, l.now)
	}
}

// Who asks for a judgement gets it at once, however long an authority takes to answer.
func TestMailDoesNotWaitForRevocationLists(t *testing.T) {
	l := newLister(t)
	hang, came := make(chan struct{}), make(chan struct{})
	l.server.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(came); <-hang })
	r := l.open(t.TempDir())
	r.Want(l.chain())
	done := make(chan struct{})
	go func() { r.Pass(t.Context()); close(done) }()
	<-came
	r.Want(l.chain())
	if got := l.standing(r); got != pec.StandingUnknown || r.State().Missing != 1 {
		t.Errorf("stands %s", got)
	}
	close(hang)
	<-done
}

func TestNumberOfRevocationListsIsBounded(t *testing.T) {
	l := newLister(t)
	r := l.open(t.TempDir())
	for i := range 2 * maxLists {
		l.leaf.CRLDistributionPoints = []string{fmt.Sprintf("http://127.0.0.1:1/%d.crl", i), "file:///etc/passwd", "://"}
		r.Want(l.chain())
	}
	if s := r.State(); s.Wanted != maxLists {
		t.Errorf("%d lists are wanted", s.Wanted)
	}
}
