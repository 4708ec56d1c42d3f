package pec

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Standing is what the issuers of a chain say of its certificates.
type Standing string

// The standings. Unknown is no fault of the signer's: a list that is not there, or not for that time, accuses nobody.
const (
	StandingGood    Standing = "good"
	StandingRevoked Standing = "revoked"
	StandingUnknown Standing = "unknown"
)

// CRLs are the revocation lists at hand (RFC 5280 5). Nothing is fetched for them, and they do not change once made.
type CRLs struct {
	byIssuer map[string][]*crl // the issuer's name in DER
}

// crl is one list, made to be asked often.
type crl struct {
	list    *x509.RevocationList
	revoked map[string]x509.RevocationListEntry // by serial number
	scope   scope

	mu       sync.Mutex
	verified map[[sha256.Size]byte]bool // by issuer's certificate: did it sign this list
}

// scope is what a list speaks of, if that is not everything of its issuer.
type scope struct {
	Point             asn1.RawValue  `asn1:"optional,tag:0"`
	OnlyUsers         bool           `asn1:"optional,tag:1"`
	OnlyAuthorities   bool           `asn1:"optional,tag:2"`
	OnlySomeReasons   asn1.BitString `asn1:"optional,tag:3"`
	Indirect          bool           `asn1:"optional,tag:4"`
	OnlyAttributeKind bool           `asn1:"optional,tag:5"`
	unread            bool
}

var oidIssuingDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}

// NewCRLs makes them of lists; whose signature does not hold is never believed.
func NewCRLs(lists ...*x509.RevocationList) *CRLs {
	c := &CRLs{byIssuer: map[string][]*crl{}}
	for _, list := range lists {
		one := &crl{list: list, revoked: make(map[string]x509.RevocationListEntry, len(list.RevokedCertificateEntries)), scope: scopeOf(list), verified: map[[sha256.Size]byte]bool{}}
		for _, e := range list.RevokedCertificateEntries {
			one.revoked[e.SerialNumber.String()] = e
		}
		c.byIssuer[string(list.RawIssuer)] = append(c.byIssuer[string(list.RawIssuer)], one)
	}
	return c
}

// ParseCRLs reads lists: PEM, one or more, or one in DER.
func ParseCRLs(raw []byte) ([]*x509.RevocationList, error) {
	block, rest := pem.Decode(raw)
	if block == nil {
		list, err := x509.ParseRevocationList(raw)
		if err != nil {
			return nil, fmt.Errorf("reading a revocation list: %w", err)
		}
		return []*x509.RevocationList{list}, nil
	}
	var lists []*x509.RevocationList
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			return nil, errors.New("reading a revocation list: PEM of type " + block.Type)
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading revocation list %d: %w", len(lists)+1, err)
		}
		lists = append(lists, list)
	}
	return lists, nil
}

func scopeOf(list *x509.RevocationList) (s scope) {
	for _, e := range list.Extensions {
		switch {
		case e.Id.Equal(oidIssuingDistributionPoint):
			rest, err := asn1.Unmarshal(e.Value, &s)
			s.unread = s.unread || err != nil || len(rest) > 0
		case e.Critical:
			s.unread = true
		}
	}
	return s
}

// covers says that a certificate would be in the list if it were revoked.
func (s scope) covers(cert *x509.Certificate) bool {
	switch {
	case s.unread, s.Indirect, s.OnlyAttributeKind, s.OnlySomeReasons.BitLength > 0:
		return false
	case s.OnlyUsers && cert.IsCA, s.OnlyAuthorities && !cert.IsCA:
		return false
	case len(s.Point.FullBytes) == 0:
		return true
	}
	for _, url := range cert.CRLDistributionPoints {
		if bytes.Contains(s.Point.Bytes, []byte(url)) {
			return true
		}
	}
	return false
}

// Standing judges a chain, leaf first and root last, whose leaf signed at one time what arrived at another. why says in English which
// certificate it is about. nil lists know nothing.
func (c *CRLs) Standing(chain []*x509.Certificate, signed, at time.Time) (s Standing, why string) {
	s = StandingGood
	for i, cert := range chain[:len(chain)-1] {
		one, reason := c.standing(cert, chain[i+1], signed, at)
		if one == StandingRevoked {
			return one, reason
		}
		if one == StandingUnknown && s == StandingGood {
			s, why = one, reason
		}
	}
	return s, why
}

func (c *CRLs) standing(cert, issuer *x509.Certificate, signed, at time.Time) (Standing, string) {
	known := false
	if c != nil {
		for _, one := range c.byIssuer[string(cert.RawIssuer)] {
			if !one.isOf(issuer) {
				continue
			}
			if e, listed := one.revoked[cert.SerialNumber.String()]; listed && revokes(e, signed, at) {
				return StandingRevoked, fmt.Sprintf("%s was revoked on %s", cert.Subject, e.RevocationTime.UTC().Format(time.RFC3339))
			}
			// An issuer drops what has expired from its lists: a later one says nothing of it.
			known = known || one.scope.covers(cert) && !at.After(one.list.NextUpdate) && !one.list.ThisUpdate.After(cert.NotAfter)
		}
	}
	if known {
		return StandingGood, ""
	}
	return StandingUnknown, fmt.Sprintf("no revocation list of %s is in force", cert.Issuer)
}

// isOf says whether an issuer signed the list. One RSA verification a list and issuer, not one a message.
func (c *crl) isOf(issuer *x509.Certificate) bool {
	key := sha256.Sum256(issuer.Raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	holds, known := c.verified[key]
	if !known {
		holds = c.list.CheckSignatureFrom(issuer) == nil
		c.verified[key] = holds
	}
	return holds
}

const (
	reasonKeyCompromise = 1
	reasonCACompromise  = 2
	// queued is how long a message may wait on its way (RFC 6109 2.2.2).
	queued = 24 * time.Hour
)

// revokes says whether an entry takes its force from what was signed then and arrived at that time. A signature that says it is older than
// the revocation is believed for as long as a message may wait in a queue; if the key was stolen it is not, because whoever has the
// key chooses what the signature says.
func revokes(e x509.RevocationListEntry, signed, at time.Time) bool {
	if e.RevocationTime.After(at) {
		return false
	}
	stolen := e.ReasonCode == reasonKeyCompromise || e.ReasonCode == reasonCACompromise
	return stolen || signed.IsZero() || at.Sub(signed) > queued || !e.RevocationTime.After(signed)
}
