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
	"math/big"
	"slices"
	"time"
)

// Signer signs documents as one provider: CMS signed-data (RFC 5652), detached, DER, SHA-256. Safe for concurrent use if its
// key is.
type Signer struct {
	chain     []*x509.Certificate // leaf first
	key       crypto.Signer
	algorithm pkix.AlgorithmIdentifier
	certs     []byte // of the chain
	bound     []byte // the signed attribute that binds the leaf
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
		s.algorithm = pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}
	case *ecdsa.PublicKey:
		if !public.Equal(leaf.PublicKey) {
			return nil, errors.New("making a signer: the key is not that of the first certificate")
		}
		s.algorithm = pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256}
	default:
		return nil, fmt.Errorf("making a signer: keys of type %T are not for PEC", public)
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, errors.New("making a signer: the certificate is not for digital signatures")
	}
	if len(leaf.EmailAddresses) == 0 {
		return nil, errors.New("making a signer: the certificate names no mail address (rfc822Name)")
	}
	for _, c := range chain {
		s.certs = append(s.certs, c.Raw...)
	}
	hash := sha256.Sum256(leaf.Raw)
	bound, err := encodeAttribute(oidSigningCertificateV2, signingCertificate{[]certificateID{{hash[:]}}})
	if err != nil {
		return nil, fmt.Errorf("making a signer: %w", err)
	}
	s.bound = bound
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

// The structures of RFC 5652, as far as a detached signature by one signer needs them.
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content signedData `asn1:"explicit,tag:0"`
	}
	signedData struct {
		Version          int
		DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
		Content          encapsulated
		Certificates     asn1.RawValue
		Signers          []signerInfo `asn1:"set"`
	}
	encapsulated struct {
		Type    asn1.ObjectIdentifier
		Content []byte `asn1:"explicit,optional,tag:0"` // nil: detached
	}
	signerInfo struct {
		Version            int
		Issuer             issuerAndSerial
		DigestAlgorithm    pkix.AlgorithmIdentifier
		SignedAttributes   asn1.RawValue
		SignatureAlgorithm pkix.AlgorithmIdentifier
		Signature          []byte
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values []asn1.RawValue `asn1:"set"`
	}
	// signingCertificate is SigningCertificateV2 of RFC 5035 with SHA-256, its default.
	signingCertificate struct{ Certs []certificateID }
	certificateID      struct{ Hash []byte }
)

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

// signOver makes the signature over content with this SHA-256, dated at; detached, unless the content is enclosed. The attributes bind the certificate (signingCertificateV2), so
// that nobody can show another certificate of the same key. The library that reads signatures cannot write them for a given
// instant, and an instant of its own choosing would make two documents of one event.
func (s *Signer) signOver(contentDigest, enclosed []byte, at time.Time) ([]byte, error) {
	attributes, err := s.signedAttributes(contentDigest, at)
	if err != nil {
		return nil, fmt.Errorf("encoding signed attributes: %w", err)
	}
	// They are hashed as a SET and sent with a context tag (RFC 5652 5.4).
	set, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: attributes})
	if err != nil {
		return nil, fmt.Errorf("encoding signed attributes: %w", err)
	}
	digest := sha256.Sum256(set)
	signature, err := s.key.Sign(s.random(), digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", s.chain[0].Subject, err)
	}
	leaf := s.chain[0]
	info := signerInfo{
		Version:            1,
		Issuer:             issuerAndSerial{Issuer: asn1.RawValue{FullBytes: leaf.RawIssuer}, Serial: leaf.SerialNumber},
		DigestAlgorithm:    pkix.AlgorithmIdentifier{Algorithm: oidSHA256},
		SignedAttributes:   contextZero(attributes),
		SignatureAlgorithm: s.algorithm,
		Signature:          signature,
	}
	data := signedData{
		Version:          1,
		DigestAlgorithms: []pkix.AlgorithmIdentifier{{Algorithm: oidSHA256}},
		Certificates:     contextZero(s.certs),
		Signers:          []signerInfo{info},
	}
	data.Content = encapsulated{oidData, enclosed}
	der, err := asn1.Marshal(contentInfo{Type: oidSignedData, Content: data})
	if err != nil {
		return nil, fmt.Errorf("encoding signature: %w", err)
	}
	return der, nil
}

// random is nil for an ECDSA key of ours: Go then signs deterministically (RFC 6979), and a document that is made again after
// a crash is the same document. RSA PKCS#1 v1.5 needs no randomness; other keys get it.
func (s *Signer) random() io.Reader {
	if _, ours := s.key.(*ecdsa.PrivateKey); ours {
		return nil
	}
	return rand.Reader
}

// plainData is the signed attribute that the content is data.
var plainData = func() []byte {
	der, err := encodeAttribute(oidContentType, oidData)
	if err != nil {
		panic("pec: constants that cannot be encoded: " + err.Error())
	}
	return der
}()

// signedAttributes is the content of the SET OF signed attributes, sorted as DER asks.
func (s *Signer) signedAttributes(digest []byte, at time.Time) ([]byte, error) {
	signed, err := encodeAttribute(oidSigningTime, at.UTC().Truncate(time.Second))
	if err != nil {
		return nil, err
	}
	hash, err := encodeAttribute(oidMessageDigest, digest)
	if err != nil {
		return nil, err
	}
	encoded := [][]byte{plainData, signed, hash, s.bound}
	slices.SortFunc(encoded, bytes.Compare)
	return bytes.Join(encoded, nil), nil
}

func encodeAttribute(oid asn1.ObjectIdentifier, value any) ([]byte, error) {
	der, err := asn1.Marshal(value)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(attribute{Type: oid, Values: []asn1.RawValue{{FullBytes: der}}})
}

// contextZero is [0] IMPLICIT of a SET with this content.
func contextZero(content []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: content}
}
