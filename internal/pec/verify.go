package pec

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"github.com/smallstep/pkcs7"
)

// maxCMSCertificates bounds the work of path building for a stranger's certificates.
const maxCMSCertificates = 16

// signature is a verified CMS signature: who signed, and the other certificates that came with it.
type signature struct {
	leaf   *x509.Certificate
	others []*x509.Certificate
}

// verifySignature checks a detached CMS signature over exactly these bytes: one signer, signed attributes present, digest SHA-1
// (still sent by real providers) or stronger. It says nothing of whether the certificate is to be believed.
func verifySignature(content, cms []byte) (signature, error) {
	der, err := toDER(cms)
	if err != nil {
		return signature{}, err
	}
	p7, err := pkcs7.Parse(der)
	if err != nil {
		return signature{}, fmt.Errorf("parsing CMS: %w", err)
	}
	leaf := p7.GetOnlySigner()
	switch {
	case leaf == nil:
		return signature{}, errors.New("the signature has not exactly one signer with a certificate")
	case len(p7.Content) > 0:
		return signature{}, errors.New("the signature is not detached")
	case len(p7.Certificates) > maxCMSCertificates:
		return signature{}, errors.New("the signature brings too many certificates")
	}
	// Without signed attributes the signature value is over the content itself, and an attacker could present the signed
	// attributes of a real message as the content.
	var kind asn1.ObjectIdentifier
	if err := p7.UnmarshalSignedAttribute(oidContentType, &kind); err != nil || !kind.Equal(oidData) {
		return signature{}, errors.New("the signature has no signed attributes for plain data")
	}
	p7.Content = content
	if err := p7.Verify(); err != nil {
		return signature{}, fmt.Errorf("verifying CMS: %w", err)
	}
	return signature{leaf: leaf, others: p7.Certificates}, nil
}

// verifyChain checks that the signer's certificate leads to a root and was valid at that time.
func (s signature) verifyChain(roots *x509.CertPool, at time.Time) error {
	intermediates := x509.NewCertPool()
	for _, c := range s.others {
		intermediates.AddCert(c)
	}
	_, err := s.leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	})
	return err
}
