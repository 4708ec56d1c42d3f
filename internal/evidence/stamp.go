package evidence

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // ESSCertID of RFC 2634 is SHA-1; it names a certificate that is verified otherwise
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/smallstep/pkcs7"
)

// maxStamp bounds an authority's answer, in bytes: a token with its chain takes about six thousand.
const maxStamp = 256 << 10

// RequestStamp asks the authority at url to time-stamp content (RFC 3161, SHA-256, with a nonce) and returns its answer, which is
// verified: over this content, to this question, by a certificate for time-stamping that chains to roots.
func RequestStamp(ctx context.Context, client *http.Client, url string, roots *x509.CertPool, content []byte) ([]byte, error) {
	digest := sha256.Sum256(content)
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, fmt.Errorf("making a nonce: %w", err)
	}
	question, err := (&timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Certificates: true, Nonce: nonce}).Marshal()
	if err != nil {
		return nil, fmt.Errorf("encoding the time-stamp request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(question))
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", url, err)
	}
	req.Header.Set("Content-Type", "application/timestamp-query")
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the authority: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxStamp))
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking %s: it answered %s", url, resp.Status)
	}
	stamp, err := readStamp(answer, content)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", url, err)
	}
	if stamp.nonce == nil || stamp.nonce.Cmp(nonce) != 0 {
		return nil, fmt.Errorf("asking %s: the answer is to another question (nonce)", url)
	}
	if err := stamp.verifyChain(roots); err != nil {
		return nil, fmt.Errorf("asking %s: %w", url, err)
	}
	return answer, nil
}

// stamp is a time-stamp whose signature holds.
type stamp struct {
	time   time.Time
	nonce  *big.Int
	signer *x509.Certificate
	others []*x509.Certificate
}

var (
	oidTSTInfo              = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidSigningCertificate   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12}
	oidSigningCertificateV2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
)

// readStamp checks an authority's answer by itself: one signer, the signature holds, and it is over this content.
func readStamp(answer, content []byte) (stamp, error) {
	parsed, err := timestamp.ParseResponse(answer)
	if err != nil {
		return stamp{}, fmt.Errorf("reading the time-stamp: %w", err)
	}
	digest := sha256.Sum256(content)
	if parsed.HashAlgorithm != crypto.SHA256 || !bytes.Equal(parsed.HashedMessage, digest[:]) {
		return stamp{}, errors.New("the time-stamp is over something else")
	}
	if !parsed.AddTSACertificate {
		return stamp{}, errors.New("the time-stamp brings no certificate")
	}
	p7, err := pkcs7.Parse(parsed.RawToken)
	if err != nil {
		return stamp{}, fmt.Errorf("reading the time-stamp: %w", err)
	}
	signer := p7.GetOnlySigner()
	if signer == nil {
		return stamp{}, errors.New("the time-stamp has not exactly one signer with a certificate")
	}
	var kind asn1.ObjectIdentifier
	if err := p7.UnmarshalSignedAttribute(oidContentType, &kind); err != nil || !kind.Equal(oidTSTInfo) {
		return stamp{}, errors.New("what is signed is no time-stamp")
	}
	if !namesCertificate(p7, signer) {
		return stamp{}, errors.New("the time-stamp does not name the certificate that it is signed with")
	}
	return stamp{time: parsed.Time, nonce: parsed.Nonce, signer: signer, others: p7.Certificates}, nil
}

// namesCertificate looks for the certificate in the signed attribute that must bind it (RFC 3161 2.4.2, RFC 5816).
func namesCertificate(p7 *pkcs7.PKCS7, cert *x509.Certificate) bool {
	type certID struct {
		Hash   []byte
		Issuer asn1.RawValue `asn1:"optional"`
	}
	type certIDV2 struct {
		Algorithm asn1.RawValue `asn1:"optional,tag:16"`
		Hash      []byte
		Issuer    asn1.RawValue `asn1:"optional"`
	}
	var v1 struct{ Certs []certID }
	if p7.UnmarshalSignedAttribute(oidSigningCertificate, &v1) == nil && len(v1.Certs) > 0 {
		sum := sha1.Sum(cert.Raw) //nolint:gosec // as above
		return bytes.Equal(v1.Certs[0].Hash, sum[:])
	}
	var v2 struct{ Certs []certIDV2 }
	if p7.UnmarshalSignedAttribute(oidSigningCertificateV2, &v2) != nil || len(v2.Certs) == 0 {
		return false
	}
	// The algorithm is not read: of the digests of this certificate, one has these bytes.
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		d := h.New()
		d.Write(cert.Raw)
		if bytes.Equal(v2.Certs[0].Hash, d.Sum(nil)) {
			return true
		}
	}
	return false
}

// verifyChain checks that the authority's certificate led to a root at the time of the stamp, and is for time-stamping.
func (s stamp) verifyChain(roots *x509.CertPool) error {
	intermediates := x509.NewCertPool()
	for _, c := range s.others {
		intermediates.AddCert(c)
	}
	_, err := s.signer.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: s.time, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	})
	if err != nil {
		return fmt.Errorf("the time-stamp's certificate %s: %w", s.signer.Subject, err)
	}
	return nil
}
