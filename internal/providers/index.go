// Package providers reads the providers' index (IGPEC).
package providers

import (
	"crypto/x509"
	"errors"
	"time"

	"github.com/pec-operator/pec-operator/internal/pec"
)

var errDraft = errors.New("being written")

// Entry is one provider with its certificates.
type Entry struct {
	pec.IndexEntry
	Certificates []*x509.Certificate
}

// Index is the parsed index.
type Index struct{}

// Parse reads LDIF.
func Parse(raw []byte) (*Index, error) { return nil, errDraft }

// Load reads the index and the roots.
func Load(ldifPath, rootsPath string) (*Index, *x509.CertPool, error) { return nil, nil, errDraft }

// Signer implements pec.Index.
func (x *Index) Signer(cert *x509.Certificate) (pec.IndexEntry, bool) { return pec.IndexEntry{}, false }

// Certified implements pec.Index.
func (x *Index) Certified(domain string) bool { return false }

// MailReceipt is the service mailbox of the provider that manages a domain.
func (x *Index) MailReceipt(domain string) (string, bool) { return "", false }

// Format writes LDIF.
func Format(entries []Entry) ([]byte, error) { return nil, errDraft }

// File re-reads the index when its files change.
type File struct{}

// NewFile names the files; the first Get reads them.
func NewFile(ldifPath, rootsPath string, now func() time.Time) *File { return nil }

// Get answers the last good index and roots, and the error of the last reading if that failed.
func (f *File) Get() (*Index, *x509.CertPool, error) { return nil, nil, errDraft }
