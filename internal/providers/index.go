// Package providers holds the index of certified-mail providers (indice dei gestori, IGPEC): which certificates sign for
// which provider, and which domains it manages. It reads the LDIF that the index is distributed as.
//
// Source: RFC 6109 4.5 (schema, LDIF) and 2.2.2 (search by certificate hash, then comparison of the bytes).
package providers

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the index is keyed by SHA-1; the bytes are compared afterwards
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
	"github.com/go-ldap/ldif"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// maxIndexBytes bounds the LDIF. Twenty providers with three certificates each and ten thousand domains take about 1 MB.
const maxIndexBytes = 64 << 20

// Entry is one provider as the index lists it.
type Entry struct {
	pec.IndexEntry
	Certificates []*x509.Certificate
	Location     string // URL of the provider's own signed LDIF, "" if it is published otherwise
}

// Index answers for one parsed LDIF. It does not change, and is safe for concurrent use.
type Index struct {
	signers map[string]*signer         // by lower-case SHA-1 of the certificate, hexadecimal
	domains map[string]*pec.IndexEntry // by lower-case domain; where two providers overlap, the first listed
}

type signer struct {
	der      []byte
	provider *pec.IndexEntry
}

var _ pec.Index = (*Index)(nil)

// Signer finds the provider that holds exactly this certificate: by SHA-1, then by its bytes, because SHA-1 alone is no proof.
func (x *Index) Signer(cert *x509.Certificate) (pec.IndexEntry, bool) {
	s, ok := x.signers[fingerprint(cert.Raw)]
	if !ok || !bytes.Equal(s.der, cert.Raw) {
		return pec.IndexEntry{}, false
	}
	return *s.provider, true
}

// Certified says whether a domain belongs to any provider, whatever its case.
func (x *Index) Certified(domain string) bool {
	_, ok := x.domains[strings.ToLower(domain)]
	return ok
}

// Domains lists every provider's domains, lower case, in no order.
func (x *Index) Domains() []string { return slices.Collect(maps.Keys(x.domains)) }

// MailReceipt is the service mailbox of the provider that manages a domain: where notices to the provider itself go.
func (x *Index) MailReceipt(domain string) (address string, ok bool) {
	p, ok := x.domains[strings.ToLower(domain)]
	if !ok {
		return "", false
	}
	return p.MailReceipt, true
}

// Load reads the index and the roots (PEM) that the signing certificates chain to.
func Load(ldifPath, rootsPath string) (*Index, *x509.CertPool, error) {
	index, err := LoadIndex(ldifPath)
	if err != nil {
		return nil, nil, err
	}
	roots, err := LoadRoots(rootsPath)
	if err != nil {
		return nil, nil, err
	}
	return index, roots, nil
}

// LoadIndex reads the index alone.
func LoadIndex(path string) (*Index, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading providers' index: %w", err)
	}
	index, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("reading providers' index %s: %w", path, err)
	}
	return index, nil
}

// LoadRoots reads the roots alone.
func LoadRoots(path string) (*x509.CertPool, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading providers' roots: %w", err)
	}
	pool, count := x509.NewCertPool(), 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading providers' roots %s: certificate %d: %w", path, count+1, err)
		}
		pool.AddCert(cert)
		count++
	}
	if count == 0 {
		return nil, fmt.Errorf("reading providers' roots %s: it holds no PEM certificate", path)
	}
	return pool, nil
}

// Parse reads the index. It is strict: an index of which a part was skipped would turn that provider's certified mail into
// ordinary mail without a word. Entries that are no providers (the root of the tree) are passed over.
func Parse(raw []byte) (*Index, error) {
	if len(raw) > maxIndexBytes {
		return nil, fmt.Errorf("parsing LDIF: it exceeds %d bytes", maxIndexBytes)
	}
	if err := refuseURLs(raw); err != nil {
		return nil, err
	}
	parsed, err := ldif.Parse(string(raw))
	if err != nil {
		return nil, fmt.Errorf("parsing LDIF: %w", err)
	}
	x := &Index{signers: map[string]*signer{}, domains: map[string]*pec.IndexEntry{}}
	for _, e := range parsed.Entries {
		if e.Entry == nil {
			return nil, errors.New("parsing LDIF: it holds a change record, not only content")
		}
		if err := x.add(e.Entry); err != nil {
			return nil, fmt.Errorf("parsing entry %q: %w", e.Entry.DN, err)
		}
	}
	if len(x.signers) == 0 {
		return nil, errors.New("parsing LDIF: it lists no provider's certificate")
	}
	return x, nil
}

// refuseURLs refuses values given as "attribute:< URL": the library would read local files, and an index comes from outside.
func refuseURLs(raw []byte) error {
	unfolded := strings.NewReplacer("\r\n ", "", "\n ", "").Replace(string(raw))
	for line := range strings.Lines(unfolded) {
		if _, rest, _ := strings.Cut(line, ":"); strings.HasPrefix(rest, "<") && !strings.HasPrefix(line, "#") {
			return errors.New("parsing LDIF: values by URL are not accepted")
		}
	}
	return nil
}

// add takes one entry in.
func (x *Index) add(e *ldap.Entry) error {
	if !slices.ContainsFunc(values(e, "objectClass"), func(c string) bool { return strings.EqualFold(c, "provider") }) {
		return nil
	}
	names, receipts := values(e, "providerName"), values(e, "mailReceipt")
	domains, certificates := values(e, "managedDomains"), values(e, "providerCertificate")
	switch {
	case len(names) != 1:
		return errors.New("providerName must have one value")
	case len(receipts) != 1 || !pec.IsAddress(receipts[0]):
		return errors.New("mailReceipt must be one mail address")
	case len(domains) == 0 || len(certificates) == 0:
		return errors.New("managedDomains and providerCertificate must have values")
	}
	provider := &pec.IndexEntry{Name: names[0], MailReceipt: receipts[0]}
	for _, d := range domains {
		d = strings.ToLower(d)
		provider.Domains = append(provider.Domains, d)
		if _, taken := x.domains[d]; !taken {
			x.domains[d] = provider
		}
	}
	return x.addCertificates(provider, certificates, values(e, "providerCertificateHash"))
}

// addCertificates takes a provider's certificates in. Each must be listed by its hash as well: a certificate without one cannot
// be found by anybody who follows the rules, so it was not meant to sign.
func (x *Index) addCertificates(provider *pec.IndexEntry, certificates, hashes []string) error {
	listed := map[string]bool{}
	for _, h := range hashes {
		listed[strings.ToLower(h)] = true
	}
	for _, der := range certificates {
		sum := fingerprint([]byte(der))
		if !listed[sum] {
			return fmt.Errorf("certificate %s is not in providerCertificateHash", sum)
		}
		if other, taken := x.signers[sum]; taken {
			if other.provider.Name != provider.Name {
				return fmt.Errorf("certificate %s belongs to %q already", sum, other.provider.Name)
			}
			// The same provider's second environment: the certificate signs for the domains of both.
			other.provider.Domains = append(other.provider.Domains, provider.Domains...)
			continue
		}
		x.signers[sum] = &signer{der: []byte(der), provider: provider}
	}
	return nil
}

// values are those of an attribute, whatever the case of its name, with or without the option ";binary".
func values(e *ldap.Entry, name string) []string {
	var found []string
	for _, a := range e.Attributes {
		base, _, _ := strings.Cut(a.Name, ";")
		if strings.EqualFold(base, name) {
			found = append(found, a.Values...)
		}
	}
	return found
}

func fingerprint(der []byte) string {
	sum := sha1.Sum(der) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
}
