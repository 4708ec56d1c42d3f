package providers

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
)

const (
	// listEvery is how late a revocation may be known: authorities publish once a day, and at once when a key was stolen.
	listEvery   = time.Hour
	listRetry   = 5 * time.Minute
	listTimeout = 30 * time.Second
	// maxListBytes is far above the list of an authority that signs for providers alone.
	maxListBytes = 16 << 20
	// maxLists bounds what is kept: the providers are some twenty, their authorities fewer.
	maxLists = 100
	listType = "X509 CRL"
	// listSource is the PEM header that says where a list is from.
	listSource = "Source"
)

// Revocations keep copies of the revocation lists that the certificates of believed chains name (CRL distribution points over
// HTTP), in a directory. Mail never waits for them: a list that is not there makes a standing unknown.
type Revocations struct {
	Dir    string
	Now    func() time.Time
	Client *http.Client

	mu   sync.Mutex
	kept map[string]*keptList // by URL
	view *pec.CRLs
	wake chan struct{}
}

// keptList is the last good copy of a list.
type keptList struct {
	list    *x509.RevocationList // nil if there was none yet
	issuer  *x509.Certificate    // nil until a chain named it
	fetched time.Time
	tried   time.Time
	err     error // of the last attempt
}

// OpenRevocations reads the copies that are there. One that cannot be read is as good as none: it is fetched again.
func OpenRevocations(dir string, now func() time.Time) (*Revocations, error) {
	r := &Revocations{Dir: dir, Now: now, Client: &http.Client{Timeout: listTimeout}, kept: map[string]*keptList{}, wake: make(chan struct{}, 1)}
	paths, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil {
		return nil, fmt.Errorf("reading the revocation lists: %w", err)
	}
	for _, path := range paths {
		if address, kept := readList(path); kept != nil && len(r.kept) < maxLists {
			r.kept[address] = kept
		}
	}
	r.look()
	return r, nil
}

func readList(path string) (address string, kept *keptList) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", nil
	}
	block, _ := pem.Decode(raw)
	info, err := os.Stat(path)
	if block == nil || err != nil {
		return "", nil
	}
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		return "", nil
	}
	return block.Headers[listSource], &keptList{list: list, fetched: info.ModTime()}
}

// look makes the view anew; it is called with the lock held, or before anybody else knows r.
func (r *Revocations) look() {
	var lists []*x509.RevocationList
	for _, address := range slices.Sorted(maps.Keys(r.kept)) {
		if list := r.kept[address].list; list != nil {
			lists = append(lists, list)
		}
	}
	r.view = pec.NewCRLs(lists...)
}

// Get is what is known now.
func (r *Revocations) Get() *pec.CRLs {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view
}

// Want has the lists of a believed chain kept from now on, leaf first and root last. A chain that was not verified must not come
// here: its certificates would choose what we connect to.
func (r *Revocations) Want(chain []*x509.Certificate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, cert := range chain[:max(0, len(chain)-1)] {
		for _, address := range cert.CRLDistributionPoints {
			r.want(address, chain[i+1])
		}
	}
}

func (r *Revocations) want(address string, issuer *x509.Certificate) {
	kept := r.kept[address]
	if kept != nil && kept.issuer != nil && kept.issuer.Equal(issuer) {
		return
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return
	}
	if kept == nil {
		if len(r.kept) >= maxLists {
			return
		}
		kept = &keptList{}
		r.kept[address] = kept
	}
	kept.issuer, kept.tried = issuer, time.Time{}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run fetches what is due until the context ends.
func (r *Revocations) Run(ctx context.Context) error {
	for {
		r.Pass(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(refreshLook):
		case <-r.wake:
		}
	}
}

// Pass fetches what is due, one list after the other.
func (r *Revocations) Pass(ctx context.Context) {
	for address, kept := range r.due() {
		list, err := r.fetch(ctx, address, kept)
		r.mu.Lock()
		now := r.Now()
		if one := r.kept[address]; err == nil {
			one.list, one.fetched = list, now
			r.look()
		}
		r.kept[address].tried, r.kept[address].err = now, err
		r.mu.Unlock()
	}
}

func (r *Revocations) due() map[string]keptList {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, list := r.Now(), map[string]keptList{}
	for address, kept := range r.kept {
		if kept.issuer != nil && now.Sub(kept.fetched) >= listEvery && now.Sub(kept.tried) >= listRetry {
			list[address] = *kept
		}
	}
	return list
}

// fetch gets a list, and keeps it if its issuer signed it and it is no older than the copy: whoever answers in the authority's place
// must be able neither to forget a revocation nor to take the good copy away.
func (r *Revocations) fetch(ctx context.Context, address string, kept keptList) (*x509.RevocationList, error) {
	raw, err := get(ctx, r.Client, address, maxListBytes)
	if err != nil {
		return nil, fmt.Errorf("fetching the revocation list %s: %w", address, err)
	}
	lists, err := pec.ParseCRLs(raw)
	if err != nil {
		return nil, fmt.Errorf("fetching the revocation list %s: %w", address, err)
	}
	list := lists[0]
	if err := list.CheckSignatureFrom(kept.issuer); err != nil {
		return nil, fmt.Errorf("fetching the revocation list %s: %s did not sign it: %w", address, kept.issuer.Subject, err)
	}
	if kept.list != nil && list.ThisUpdate.Before(kept.list.ThisUpdate) && bytes.Equal(list.RawIssuer, kept.list.RawIssuer) {
		return nil, fmt.Errorf("fetching the revocation list %s: it is of %s, older than the copy that is here", address, list.ThisUpdate.UTC().Format(time.RFC3339))
	}
	copied := pem.EncodeToMemory(&pem.Block{Type: listType, Headers: map[string]string{listSource: address}, Bytes: list.Raw})
	return list, store(r.path(address), copied, r.Now())
}

func (r *Revocations) path(address string) string {
	sum := sha256.Sum256([]byte(address))
	return filepath.Join(r.Dir, hex.EncodeToString(sum[:16])+".pem")
}

// RevocationState is how fresh the copies are.
type RevocationState struct {
	Wanted, Missing int       // lists that chains name, and those of them without a copy
	Oldest          time.Time // when the oldest copy was fetched; zero without any
	Err             error     // of a list whose last attempt failed
}

// State tells how fresh the copies are.
func (r *Revocations) State() RevocationState {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := RevocationState{Wanted: len(r.kept)}
	for _, address := range slices.Sorted(maps.Keys(r.kept)) {
		kept := r.kept[address]
		if kept.list == nil {
			s.Missing++
		} else if s.Oldest.IsZero() || kept.fetched.Before(s.Oldest) {
			s.Oldest = kept.fetched
		}
		s.Err = cmp.Or(s.Err, kept.err)
	}
	return s
}
