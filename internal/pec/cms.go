package pec

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Signer signs documents as one provider: CMS signed-data (RFC 5652), detached, DER, SHA-256. Safe for concurrent use if its
// key is.
type Signer struct {
	chain []*x509.Certificate // leaf first
	key   crypto.Signer
	// In DER: the algorithm, the leaf's issuer with its serial number, the whole chain, the signed attribute that binds the leaf.
	algorithm, issuer, certs, bound []byte
}

// NewSigner reads a certificate chain (PEM, leaf first) and the leaf's key (PEM: PKCS#8, PKCS#1 or SEC 1).
func NewSigner(certsPEM, keyPEM []byte) (*Signer, error) {
	chain, err := ParseChain(certsPEM)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	return NewSignerWithKey(chain, key)
}

// ParseChain reads a certificate chain, PEM, leaf first.
func ParseChain(certsPEM []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(certsPEM); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parsing signing certificate %d: %w", len(chain)+1, err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("making a signer: there is no certificate")
	}
	return chain, nil
}

// parseKey says nothing of the key's content in its errors.
func parseKey(keyPEM []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("parsing signing key: it is not PEM")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("parsing signing key: it is neither PKCS#8 nor PKCS#1 nor SEC 1")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("parsing signing key: it cannot sign")
	}
	return signer, nil
}

// NewSignerWithKey takes a key that may live in other hardware. The chain is leaf first; it goes into every signature whole.
func NewSignerWithKey(chain []*x509.Certificate, key crypto.Signer) (*Signer, error) {
	if len(chain) == 0 {
		return nil, errors.New("making a signer: there is no certificate")
	}
	leaf := chain[0]
	s := &Signer{chain: chain, key: key}
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		if !public.Equal(leaf.PublicKey) {
			return nil, errors.New("making a signer: the key is not that of the first certificate")
		}
		s.algorithm = constant(pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue})
	case *ecdsa.PublicKey:
		if !public.Equal(leaf.PublicKey) {
			return nil, errors.New("making a signer: the key is not that of the first certificate")
		}
		s.algorithm = constant(pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256})
	default:
		return nil, fmt.Errorf("making a signer: keys of type %T are not for PEC", public)
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, errors.New("making a signer: the certificate is not for digital signatures")
	}
	if len(leaf.EmailAddresses) == 0 {
		return nil, errors.New("making a signer: the certificate names no mail address (rfc822Name)")
	}
	serial, err := asn1.Marshal(leaf.SerialNumber)
	if err != nil {
		return nil, fmt.Errorf("making a signer: %w", err)
	}
	s.issuer = wrap(tagSequence, leaf.RawIssuer, serial)
	var certs []byte
	for _, c := range chain {
		certs = append(certs, c.Raw...)
	}
	s.certs = wrap(tagZero, certs)
	hash := sha256.Sum256(leaf.Raw) // SigningCertificateV2 of RFC 5035, with its default SHA-256
	s.bound = attribute(constant(oidSigningCertificateV2), wrap(tagSequence, wrap(tagSequence, wrap(tagSequence, wrap(tagOctets, hash[:])))))
	return s, nil
}

// Certificate is the signing certificate.
func (s *Signer) Certificate() *x509.Certificate { return s.chain[0] }

var (
	oidData                 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	oidSigningCertificateV2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidSHA256               = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidRSA                  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidECDSAWithSHA256      = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
)

// The tags of RFC 5652's structures, as far as a signature by one signer needs them.
const (
	tagOctets   = asn1.TagOctetString
	tagSequence = 0x20 | asn1.TagSequence
	tagSet      = 0x20 | asn1.TagSet
	tagZero     = 0xa0 // [0]
)

// What is the same in every signature, in DER.
var (
	signedDataType = constant(oidSignedData)
	dataType       = constant(oidData)
	hashAlgorithm  = constant(pkix.AlgorithmIdentifier{Algorithm: oidSHA256})
	version        = constant(1)
	// plainData is the signed attribute that the content is data.
	plainData         = attribute(constant(oidContentType), dataType)
	signingTimeType   = constant(oidSigningTime)
	messageDigestType = constant(oidMessageDigest)
)

func constant(value any) []byte {
	der, err := asn1.Marshal(value)
	if err != nil {
		panic("pec: a constant that cannot be encoded: " + err.Error())
	}
	return der
}

// attribute is a signed attribute with one value.
func attribute(oid, value []byte) []byte {
	return wrap(tagSequence, oid, wrap(tagSet, value))
}

// SignDetached is the detached signature over something that is no message: a day of the log, an index record.
func (s *Signer) SignDetached(content []byte, at time.Time) ([]byte, error) {
	digest := sha256.Sum256(content)
	return s.sign(digest[:], at)
}

// SignEnclosed is the signature with the content in it, as a ".p7m" file holds both.
func (s *Signer) SignEnclosed(content []byte, at time.Time) ([]byte, error) {
	digest := sha256.Sum256(content)
	return s.signOver(digest[:], content, at)
}

// sign is the detached signature over content with this SHA-256.
func (s *Signer) sign(contentDigest []byte, at time.Time) ([]byte, error) {
	return s.signOver(contentDigest, nil, at)
}

// signOver makes the signature over content with this SHA-256, dated at; detached, unless the content is enclosed. The attributes
// bind the certificate (signingCertificateV2), so
// that nobody can show another certificate of the same key. The library that reads signatures cannot write them for a given
// instant, and an instant of its own choosing would make two documents of one event.
func (s *Signer) signOver(contentDigest, enclosed []byte, at time.Time) ([]byte, error) {
	attributes, err := s.signedAttributes(contentDigest, at)
	if err != nil {
		return nil, fmt.Errorf("encoding signed attributes: %w", err)
	}
	digest := sha256.Sum256(wrap(tagSet, attributes)) // hashed as a SET and sent with a context tag (RFC 5652 5.4)
	signature, err := s.key.Sign(s.random(), digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", s.chain[0].Subject, err)
	}
	content := wrap(tagSequence, dataType)
	if enclosed != nil {
		content = wrap(tagSequence, dataType, wrap(tagZero, wrap(tagOctets, enclosed)))
	}
	signer := wrap(tagSequence, version, s.issuer, hashAlgorithm, wrap(tagZero, attributes), s.algorithm, wrap(tagOctets, signature))
	data := wrap(tagSequence, version, wrap(tagSet, hashAlgorithm), content, s.certs, wrap(tagSet, signer))
	return wrap(tagSequence, signedDataType, wrap(tagZero, data)), nil
}

// random is nil for an ECDSA key of ours: Go then signs deterministically (RFC 6979), and a document that is made again after
// a crash is the same document. RSA PKCS#1 v1.5 needs no randomness; other keys get it.
func (s *Signer) random() io.Reader {
	if _, ours := s.key.(*ecdsa.PrivateKey); ours {
		return nil
	}
	return rand.Reader
}

// signedAttributes is the content of the SET OF signed attributes, sorted as DER asks.
func (s *Signer) signedAttributes(digest []byte, at time.Time) ([]byte, error) {
	instant, err := asn1.Marshal(at.UTC().Truncate(time.Second))
	if err != nil {
		return nil, err
	}
	encoded := [][]byte{plainData, attribute(signingTimeType, instant), attribute(messageDigestType, wrap(tagOctets, digest)), s.bound}
	slices.SortFunc(encoded, bytes.Compare)
	return bytes.Join(encoded, nil), nil
}
