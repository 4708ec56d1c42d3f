package pec

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/smallstep/pkcs7"
)

// maxCMSCertificates bounds the work of path building for a stranger's certificates.
const maxCMSCertificates = 16

// Signature is what a signature shows by itself: with which certificate's key, and when as the signer says. Whether that
// certificate is to be believed, the index and its chain tell.
type Signature struct {
	Signer *x509.Certificate // nil if it could not be read
	Digest string            // "sha1", "sha256" and so on; the dotted identifier if unknown, "" if unreadable
	Time   time.Time         // signingTime; zero if it has none

	others []*x509.Certificate
}

var digestNames = map[string]string{
	"1.2.840.113549.2.5": "md5", "1.3.14.3.2.26": "sha1", "2.16.840.1.101.3.4.2.4": "sha224",
	oidSHA256.String(): "sha256", "2.16.840.1.101.3.4.2.2": "sha384", "2.16.840.1.101.3.4.2.3": "sha512",
}

// VerifyDetached checks a signature of [Signer.SignDetached], or of anybody else, over exactly these bytes. Whether the signer is to
// be believed, [Signature.VerifyChain] tells.
func VerifyDetached(content, cms []byte) (Signature, error) { return readSignature(content, cms) }

// readSignature checks a detached CMS signature over exactly these bytes: one signer, signed attributes present, digest SHA-1
// (still sent by real providers) or stronger. With an error the signature holds what could be read.
func readSignature(content, cms []byte) (s Signature, err error) {
	p7, err := parseCMS(cms)
	if err != nil {
		return s, err
	}
	if len(p7.Content) > 0 {
		s.Signer = p7.GetOnlySigner()
		return s, errors.New("the signature is not detached")
	}
	p7.Content = content
	return readSigned(p7)
}

// OpenEnclosed takes the content out of a signature that holds it, as a ".p7m" file does, and checks the signature over it.
func OpenEnclosed(cms []byte) (content []byte, s Signature, err error) {
	p7, err := parseCMS(cms)
	if err != nil {
		return nil, s, err
	}
	if len(p7.Content) == 0 {
		return nil, s, errors.New("the signature holds no content")
	}
	s, err = readSigned(p7)
	return p7.Content, s, err
}

func parseCMS(cms []byte) (*pkcs7.PKCS7, error) {
	der, err := toDER(cms)
	if err != nil {
		return nil, err
	}
	p7, err := pkcs7.Parse(der)
	if err != nil {
		return nil, fmt.Errorf("parsing CMS: %w", err)
	}
	return p7, nil
}

// readSigned checks a signature whose content is at hand.
func readSigned(p7 *pkcs7.PKCS7) (s Signature, err error) {
	s.Signer, s.others = p7.GetOnlySigner(), p7.Certificates
	switch {
	case s.Signer == nil:
		return s, errors.New("the signature has not exactly one signer with a certificate")
	case len(p7.Certificates) > maxCMSCertificates:
		return s, errors.New("the signature brings too many certificates")
	}
	oid := p7.Signers[0].DigestAlgorithm.Algorithm.String()
	if s.Digest = digestNames[oid]; s.Digest == "" {
		s.Digest = oid
	}
	if err := p7.UnmarshalSignedAttribute(oidSigningTime, &s.Time); err != nil {
		s.Time = time.Time{} // it may be left out
	}
	// Without signed attributes the signature value is over the content itself, and an attacker could present the signed
	// attributes of a real message as the content.
	var kind asn1.ObjectIdentifier
	if err := p7.UnmarshalSignedAttribute(oidContentType, &kind); err != nil || !kind.Equal(oidData) {
		return s, errors.New("the signature has no signed attributes for plain data")
	}
	if err := verifyBytes(p7, s.Signer); err != nil {
		return s, fmt.Errorf("verifying CMS: %w", err)
	}
	return s, nil
}

// verifyBytes checks digest and signature and nothing else. The library would first hold the signing time against the
// certificate's validity, and not look at the signature of an expired one; that question belongs to the chain.
func verifyBytes(p7 *pkcs7.PKCS7, leaf *x509.Certificate) error {
	from, to := leaf.NotBefore, leaf.NotAfter
	defer func() { leaf.NotBefore, leaf.NotAfter = from, to }()
	leaf.NotBefore, leaf.NotAfter = time.Time{}, time.Unix(1<<40, 0)
	return p7.Verify()
}

// VerifyChain checks that the signer's certificate leads to a root, was valid at that time, and when it signed, and is for mail.
func (s Signature) VerifyChain(roots *x509.CertPool, at time.Time) error {
	_, err := s.chainTo(roots, at, x509.ExtKeyUsageEmailProtection)
	return err
}

// VerifyAnyUse is [Signature.VerifyChain] for what is no mail: the certificate may be for any use.
func (s Signature) VerifyAnyUse(roots *x509.CertPool, at time.Time) error {
	_, err := s.chainTo(roots, at, x509.ExtKeyUsageAny)
	return err
}

// chainTo is the chain, leaf first and root last.
func (s Signature) chainTo(roots *x509.CertPool, at time.Time, use x509.ExtKeyUsage) ([]*x509.Certificate, error) {
	if !s.Time.IsZero() && (s.Time.Before(s.Signer.NotBefore) || s.Time.After(s.Signer.NotAfter)) {
		return nil, fmt.Errorf("signed at %s, outside of the certificate's validity", s.Time.Format(time.RFC3339))
	}
	key := s.chainKey(roots, use)
	if chain := chains.find(key, at); chain != nil {
		return chain, nil
	}
	intermediates := x509.NewCertPool()
	for _, c := range s.others {
		intermediates.AddCert(c)
	}
	found, err := s.Signer.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{use},
	})
	if err != nil {
		return nil, err
	}
	chains.add(key, found[0])
	return found[0], nil
}

// chainKey is everything besides the time that decides on a chain.
func (s Signature) chainKey(roots *x509.CertPool, use x509.ExtKeyUsage) chainKey {
	h := sha256.New()
	for _, c := range append([]*x509.Certificate{s.Signer}, s.others...) {
		h.Write(c.Raw) // DER tells by itself where it ends
	}
	return chainKey{roots, use, [sha256.Size]byte(h.Sum(nil))}
}

type chainKey struct {
	roots *x509.CertPool
	use   x509.ExtKeyUsage
	certs [sha256.Size]byte
}

// term is how long all certificates of a chain are valid.
type term struct{ from, to time.Time }

func termOf(chain []*x509.Certificate) term {
	t := term{chain[0].NotBefore, chain[0].NotAfter}
	for _, c := range chain[1:] {
		if c.NotBefore.After(t.from) {
			t.from = c.NotBefore
		}
		if c.NotAfter.Before(t.to) {
			t.to = c.NotAfter
		}
	}
	return t
}

// chains are those that were found to hold. A few certificates sign all mail, and their chain costs more than their signature; only
// the time can change what was found, because a pool of roots is never changed once it is in use.
var chains = knownChains{found: map[chainKey]knownChain{}}

type knownChains struct {
	mu    sync.Mutex
	found map[chainKey]knownChain
}

type knownChain struct {
	term
	certs []*x509.Certificate
}

// maxChains bounds the memory of what was found: beyond it, all is found again.
const maxChains = 1000

func (k *knownChains) find(key chainKey, at time.Time) []*x509.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c, known := k.found[key]; known && !at.Before(c.from) && !at.After(c.to) {
		return c.certs
	}
	return nil
}

func (k *knownChains) add(key chainKey, chain []*x509.Certificate) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.found) >= maxChains {
		clear(k.found)
	}
	k.found[key] = knownChain{termOf(chain), chain}
}
